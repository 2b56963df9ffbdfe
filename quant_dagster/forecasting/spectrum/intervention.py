"""What to do with a spectral forecast after a change point, learned from the change points of the past.

After a change the components still hold what the series did before it. Three things can be done: keep the forecast,
shrink it to zero, or fit anew on the data since the change. Which one pays is learned by tabular Q-learning (Watkins &
Dayan 1992) over decisions in the past whose outcome is known: the state is how long ago the change was declared, what
became of the trend, and of the volatility; the reward of an action is by how much its squared error is below that of
keeping, in units of the variance. What would have come of every action is known afterwards, so each is updated, and
what the market does next does not depend on the action. Another action than keeping is taken only on evidence: the mean
reward, sessions counting once however many symbols changed on them, must be clearly above zero.

Finding the changes belongs in ``change_points``; the forecasts themselves in ``singular``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.spectrum.change_points import ChangePoints
from quant_dagster.forecasting.spectrum.singular import forecast_spectrum

LONGEST = 60  # sessions after a change in which the policy is asked
BEFORE = 60  # sessions before the change that its trend and volatility are compared with
SINCE = ("new", "recent", "older")
TREND = ("weak", "same", "reversed")
VOLATILITY = ("calmer", "alike", "louder")
STATES = len(SINCE) * len(TREND) * len(VOLATILITY)
REFIT_FEWEST, REFIT_WINDOW, REFIT_COMPONENTS = 40, 12, 2  # the series fitted anew is short
_SINCE_EDGES, _VOLATILITY_EDGES = (10, 30), (0.8, 1.25)
_STRIDE = 10  # sessions between the decisions of an episode
_FEWEST_FITTED = 250  # values a forecast of the past is made from at least
_MOST_DECISIONS = 360  # replayed; drawn from all where there are more
_LARGEST_REWARD = 10.0  # variances; one crash must not decide
_DISCOUNT, _SWEEPS, _SEED = 0.5, 10, 20030601
_FEWEST_SESSIONS, _CLEARLY = 10, 2.0  # decision sessions of a state, and standard errors above zero


class Action(IntEnum):
    """What is done with the forecast of a symbol that has changed."""

    KEEP = 0
    SHRINK = 1
    REFIT = 2


@dataclass(frozen=True)
class Decisions:
    """Decisions of the past whose outcome is known, ordered by episode and session.

    Attributes
    ----------
    state
        int64, shape (k,), 0 to ``STATES`` - 1.
    session
        int64, shape (k,): the row each was taken at; those of one row are not independent.
    reward
        Shape (k, 3): squared error of keeping less that of each action, in variances of the outcome.
    following
        int64, shape (k,): index of the episode's next decision; -1 at its end.
    """

    state: IntArray
    session: IntArray
    reward: FloatArray
    following: IntArray


@dataclass(frozen=True)
class Policy:
    """The learned table: ``values`` and ``evidence`` (t statistics) of shape (STATES, 3), ``visits`` of (STATES,)."""

    values: FloatArray
    evidence: FloatArray
    visits: IntArray

    def actions(self, states: IntArray) -> IntArray:
        """The action in each state; where there is no clear evidence against it, ``KEEP``."""
        clear = self.evidence > _CLEARLY
        clear[:, Action.KEEP] = True
        best = np.where(clear, self.values, -np.inf).argmax(axis=1)
        return np.asarray(best[states])

    def table(self) -> Mapping[str, object]:
        """States that were visited: the action, the visits, and what shrinking and refitting are worth over keeping."""
        actions = self.actions(np.arange(STATES))
        return {
            state_name(s): [
                Action(int(actions[s])).name.lower(),
                int(self.visits[s]),
                round(float(self.values[s, Action.SHRINK] - self.values[s, Action.KEEP]), 4),
                round(float(self.values[s, Action.REFIT] - self.values[s, Action.KEEP]), 4),
            ]
            for s in np.flatnonzero(self.visits).tolist()
        }


def state_name(state: int) -> str:
    """``since/trend/volatility`` in words."""
    since, rest = divmod(state, len(TREND) * len(VOLATILITY))
    trend, volatility = divmod(rest, len(VOLATILITY))
    return f"{SINCE[since]}/{TREND[trend]}/{VOLATILITY[volatility]}"


def learn(decisions: Decisions, *, seed: int = _SEED) -> Policy:
    """Q-learning over the decisions, replayed in a seeded order; the step is one over the visits of the state.

    ``Q(s, a) <- Q(s, a) + (r(a) + discount max Q(s') - Q(s, a)) / visits`` for every action a.
    """
    table = [[0.0, 0.0, 0.0] for _ in range(STATES)]
    replayed = [0] * STATES
    states, following = decisions.state.tolist(), decisions.following.tolist()
    rewards = decisions.reward.tolist()
    order = np.random.default_rng(seed)
    for _ in range(_SWEEPS):
        for i in order.permutation(len(states)).tolist():
            row, after = table[states[i]], following[i]
            future = _DISCOUNT * max(table[states[after]]) if after >= 0 else 0.0
            replayed[states[i]] += 1
            for a in range(3):
                row[a] += (rewards[i][a] + future - row[a]) / replayed[states[i]]
    visits = np.bincount(decisions.state, minlength=STATES)
    return Policy(np.array(table), _evidence(decisions), visits)


def _evidence(decisions: Decisions) -> FloatArray:
    """Mean reward over its standard error, from the means of each session; 0 with too few of them."""
    found = np.zeros((STATES, 3))
    for state in np.unique(decisions.state).tolist():
        chosen = decisions.state == state
        _, at = np.unique(decisions.session[chosen], return_inverse=True)
        size = np.bincount(at)
        if len(size) < _FEWEST_SESSIONS:
            continue
        for action in (Action.SHRINK, Action.REFIT):
            means = np.bincount(at, decisions.reward[chosen, action]) / size
            error = means.std(ddof=1) / np.sqrt(len(means))
            found[state, action] = means.mean() / error if error > 0.0 else 0.0
    return found


def states_at(returns: FloatArray, column: IntArray, row: IntArray, onset: IntArray, since: IntArray) -> IntArray:
    """State of each (column, row) after a change that began at ``onset`` and was declared ``since`` rows ago.

    The trend is the mean return over its standard error: ``weak`` now below one, else ``same`` or ``reversed`` against
    the ``BEFORE`` returns before the onset; the volatility is the standard deviation since over that before.
    """
    first = np.zeros((1, returns.shape[1]))
    filled = np.nan_to_num(returns)
    sums, squares = np.vstack([first, filled.cumsum(axis=0)]), np.vstack([first, (filled**2).cumsum(axis=0)])

    def moments(start: IntArray, stop: IntArray) -> tuple[FloatArray, FloatArray]:
        size = stop - start
        mean = (sums[stop, column] - sums[start, column]) / size
        return mean, np.sqrt(np.maximum((squares[stop, column] - squares[start, column]) / size - mean**2, 1e-300))

    start = np.minimum(onset, row - 4)
    mean_now, std_now = moments(start, row + 1)
    mean_before, std_before = moments(np.maximum(start - BEFORE, 0), start)
    strength = mean_now / std_now * np.sqrt(row + 1 - start)
    trend = np.where(np.abs(strength) < 1.0, 0, np.where(mean_now * mean_before >= 0.0, 1, 2))
    age = np.searchsorted(_SINCE_EDGES, since, side="right")
    volatility = np.searchsorted(_VOLATILITY_EDGES, std_now / std_before, side="right")
    return np.asarray((age * len(TREND) + trend) * len(VOLATILITY) + volatility)


def past_decisions(
    paths: FloatArray,
    counts: IntArray,
    changes: ChangePoints,
    *,
    window: int,
    components: int,
    horizon: int,
    seed: int = _SEED,
) -> Decisions:
    """Every tenth session of the 60 after each declared change, with what each action would have brought.

    Parameters
    ----------
    paths, counts
        Log prices, shape (n, m), packed from the top; ``changes`` are those of their differences. The newest price is
        no outcome yet: outcomes lie strictly before it.
    window, components
        Of the forecast that is kept or not.
    horizon
        Sessions forecast.
    """
    returns = np.diff(paths, axis=0)
    n = len(returns)
    at, column = np.nonzero(changes.declared)
    later = at[:, None] + np.arange(0, LONGEST + 1, _STRIDE)
    ends = _next_change(at, column, n)[:, None]
    known = (later + horizon < counts[column, None] - 2) & (later < ends) & (later + 2 >= _FEWEST_FITTED)
    episode, place = np.nonzero(known)
    if len(episode) > _MOST_DECISIONS:
        kept = np.unique(episode)
        share = max(1, round(len(kept) * _MOST_DECISIONS / len(episode)))
        drawn = np.random.default_rng(seed).choice(kept, share, replace=False)
        inside = np.isin(episode, drawn)
        episode, place = episode[inside], place[inside]
    row, of = later[episode, place], column[episode]
    onset = changes.onset[at[episode], of]
    state = states_at(returns, of, row, onset, row - at[episode])
    followed = np.append(episode[1:] == episode[:-1], False) if len(episode) else np.zeros(0, np.bool_)
    following = np.where(followed, np.arange(len(episode)) + 1, -1)
    outcome = paths[row + 1 + horizon, of] - paths[row + 1, of]
    kept_mean = continued(paths, of, np.zeros_like(row), row + 1, window, components, horizon)[:, -1]
    anew_mean = refitted(paths, of, onset, row + 1, horizon)[:, -1]
    means = np.stack([kept_mean, np.zeros_like(kept_mean), anew_mean], axis=1)
    means[:, Action.REFIT] = np.where(np.isnan(means[:, Action.REFIT]), kept_mean, means[:, Action.REFIT])
    start = np.maximum(row + 1 - BEFORE, 0)
    variance = np.array([returns[a:b, j].var() for a, b, j in zip(start, row + 1, of, strict=True)])
    scale = np.where(variance > 0.0, horizon * variance, np.inf)
    errors = (outcome[:, None] - means) ** 2 / scale[:, None]
    reward = np.clip(errors[:, :1] - errors, -_LARGEST_REWARD, _LARGEST_REWARD)
    usable = np.isfinite(kept_mean)
    reward[~usable] = 0.0
    return Decisions(state, row, reward, following)


def _next_change(at: IntArray, column: IntArray, n: int) -> IntArray:
    """Row of the next change of the same column; n where there is none."""
    following = np.full(len(at), n)
    order = np.lexsort((at, column))
    same = column[order][1:] == column[order][:-1]
    following[order[:-1]] = np.where(same, at[order][1:], n)
    return following


def continued(
    paths: FloatArray,
    column: IntArray,
    first: IntArray,
    last: IntArray,
    window: int,
    components: int,
    steps: int,
    device: str = "cpu",
) -> FloatArray:
    """Forecast change of each path from its row ``last``, fitted on rows ``first`` to ``last``; shape (k, steps)."""
    size = last - first + 1
    rows = np.minimum(first[:, None] + np.arange(int(size.max(initial=1))), last[:, None])
    values = paths[rows, column[:, None]]
    inside = np.arange(values.shape[1]) < size[:, None]
    values = np.where(inside, values - (np.where(inside, values, 0.0).sum(axis=1) / size)[:, None], np.nan)
    found = forecast_spectrum(values.T, size, window=window, components=components, steps=steps, device=device)
    return np.asarray(found.path - found.last[:, None])


def refitted(paths: FloatArray, column: IntArray, onset: IntArray, last: IntArray, steps: int) -> FloatArray:
    """Forecast change from row ``last``, fitted on the rows since the onset and the newest 40 at least; (k, steps)."""
    first = np.maximum(np.minimum(onset, last - REFIT_FEWEST + 1), 0)
    return continued(paths, column, first, last, REFIT_WINDOW, REFIT_COMPONENTS, steps)
