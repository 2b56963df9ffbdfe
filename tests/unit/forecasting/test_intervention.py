"""The intervention policy: it learns what pays after a change, only from what was known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from quant_dagster.forecasting.spectrum.change_points import detect_changes
from quant_dagster.forecasting.spectrum.intervention import (
    STATES,
    Action,
    Decisions,
    continued,
    learn,
    past_decisions,
    refitted,
    state_name,
    states_at,
)
from quant_dagster.forecasting.spectrum.singular import forecast_spectrum

FloatArray = NDArray[np.float64]
SESSIONS, SERIES, HORIZON = 900, 60, 5


def simulated(ends: bool, seed: int = 3) -> FloatArray:
    """Paths that follow a cycle, which after a change ``ends`` in a random walk, or goes on under thrice the noise."""
    rng = np.random.default_rng(seed)
    t, at = np.arange(SESSIONS)[:, None], rng.integers(400, 700, SERIES)
    cycle = 0.05 * np.sin(2 * np.pi * (t / rng.uniform(25, 40, SERIES) + rng.uniform(0, 1, SERIES)))
    noise = 0.004 * rng.normal(size=(SESSIONS, SERIES))
    after = t >= at
    if not ends:
        return np.asarray(cycle + np.where(after, 3.0, 1.0) * noise)
    walk = np.cumsum(np.where(after, 3.0 * noise, 0.0), axis=0)
    return np.asarray(np.where(after, cycle[at, np.arange(SERIES)] + walk, cycle + noise))


def decisions_of(paths: FloatArray) -> Decisions:
    counts = np.full(paths.shape[1], len(paths))
    changes = detect_changes(np.diff(paths, axis=0), counts - 1)
    return past_decisions(paths, counts, changes, window=60, components=4, horizon=HORIZON)


def test_where_the_past_ends_with_the_change_it_learns_to_shrink() -> None:
    decisions = decisions_of(simulated(ends=True))
    policy = learn(decisions)
    actions = policy.actions(np.arange(STATES))
    taken = np.bincount(actions, weights=policy.visits, minlength=3)
    assert taken[Action.SHRINK] > max(taken[Action.KEEP], 5 * taken[Action.REFIT])
    gained = decisions.reward[np.arange(len(decisions.state)), actions[decisions.state]]
    assert gained.mean() > 0.5 * decisions.reward[:, Action.SHRINK].mean() > 0.5


def test_the_policy_pays_on_series_it_was_not_learned_from() -> None:
    policy = learn(decisions_of(simulated(ends=True)))
    fresh = decisions_of(simulated(ends=True, seed=4))
    gained = fresh.reward[np.arange(len(fresh.state)), policy.actions(fresh.state)]
    assert gained.mean() > 0.5


def test_where_the_past_goes_on_it_keeps() -> None:
    policy = learn(decisions_of(simulated(ends=False)))
    assert set(policy.actions(np.arange(STATES)).tolist()) == {Action.KEEP}


def test_the_policy_does_not_depend_on_later_data() -> None:
    paths = simulated(ends=True)
    later = paths.copy()
    later[800:] = 5.0 + np.random.default_rng(9).normal(size=later[800:].shape).cumsum(axis=0)
    counts = np.full(SERIES, 800)
    found = []
    for known in (paths, later):
        changes = detect_changes(np.diff(known[:800], axis=0), counts - 1)
        decisions = past_decisions(known, counts, changes, window=60, components=4, horizon=HORIZON)
        assert (decisions.session + 1 + HORIZON < 799).all()
        found.append(learn(decisions))
    np.testing.assert_array_equal(found[0].values, found[1].values)
    np.testing.assert_array_equal(found[0].evidence, found[1].evidence)
    assert found[0].table() == found[1].table()


def test_the_newest_price_is_no_outcome_yet() -> None:
    paths = simulated(ends=True)[:800]
    moved = paths.copy()
    moved[-1] += 0.5
    counts = np.full(SERIES, 800)
    changes = detect_changes(np.diff(paths, axis=0), counts - 1)
    tables = [
        learn(past_decisions(known, counts, changes, window=60, components=4, horizon=HORIZON)).table()
        for known in (paths, moved)
    ]
    assert tables[0] == tables[1]


def test_the_table_is_the_same_each_time_and_names_what_it_saw() -> None:
    decisions = decisions_of(simulated(ends=True))
    once, again = learn(decisions), learn(decisions)
    assert once.values.tolist() == again.values.tolist()
    table = once.table()
    assert sum(int(row[1]) for row in table.values() if isinstance(row, list)) == len(decisions.state)
    assert all(row[0] in ("keep", "shrink", "refit") for row in table.values() if isinstance(row, list))


def test_values_of_single_decisions_are_their_mean_rewards() -> None:
    rng = np.random.default_rng(2)
    reward = np.column_stack([np.zeros(60), rng.normal(1.0, 1.0, 60), rng.normal(-1.0, 1.0, 60)])
    state = np.repeat([4, 7], 30)
    policy = learn(Decisions(state, np.arange(60), reward, np.full(60, -1)))
    for s in (4, 7):
        np.testing.assert_allclose(policy.values[s], reward[state == s].mean(axis=0), atol=1e-12)
        assert policy.evidence[s, 1] == pytest.approx(
            reward[state == s, 1].mean() / (reward[state == s, 1].std(ddof=1) / np.sqrt(30))
        )
    assert policy.actions(np.array([4, 7, 0])).tolist() == [Action.SHRINK, Action.SHRINK, Action.KEEP]


def test_what_follows_is_discounted_and_changes_no_choice() -> None:
    reward = np.tile([[0.0, 1.0, -1.0]], (40, 1))
    state, following = np.tile([2, 5], 20), np.tile([0, -1], 20)
    following[::2] = np.arange(1, 40, 2)
    policy = learn(Decisions(state, np.arange(40), reward, following))
    np.testing.assert_allclose(policy.values[5], [0.0, 1.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(policy.values[2], [0.5, 1.5, -0.5], atol=0.03)  # it starts from a future of zero


def test_many_symbols_on_one_day_are_one_piece_of_evidence() -> None:
    reward = np.column_stack([np.zeros(300), np.full(300, 2.0), np.zeros(300)])
    reward[:, 1] += np.random.default_rng(1).normal(size=300)
    one_day = Decisions(np.full(300, 3), np.full(300, 77), reward, np.full(300, -1))
    assert learn(one_day).actions(np.array([3])).tolist() == [Action.KEEP]
    many_days = Decisions(np.full(300, 3), np.arange(300), reward, np.full(300, -1))
    assert learn(many_days).actions(np.array([3])).tolist() == [Action.SHRINK]


def test_without_a_past_change_everything_is_kept() -> None:
    decisions = decisions_of(np.random.default_rng(5).normal(size=(300, 3)).cumsum(axis=0))
    assert len(decisions.state) == 0
    policy = learn(decisions)
    assert policy.table() == {}
    assert (policy.actions(np.arange(STATES)) == Action.KEEP).all()


def test_a_state_says_what_became_of_trend_and_volatility() -> None:
    rng = np.random.default_rng(1)
    calm = np.append(0.01 + 0.005 * rng.normal(size=200), -0.03 + 0.02 * rng.normal(size=40))
    steady = np.append(0.01 + 0.005 * rng.normal(size=200), 0.01 + 0.005 * rng.normal(size=40))
    returns = np.column_stack([calm, steady])
    column, row = np.array([0, 1, 0]), np.array([220, 239, 204])
    states = states_at(returns, column, row, np.array([200, 200, 200]), np.array([12, 31, 0]))
    assert [state_name(s) for s in states.tolist()] == [
        "recent/reversed/louder",
        "older/same/alike",
        "new/reversed/louder",
    ]
    assert len({state_name(s) for s in range(STATES)}) == STATES


def test_forecasts_of_the_past_are_those_that_were_made_then() -> None:
    paths = simulated(ends=True)
    column, last = np.array([3, 9]), np.array([500, 640])
    found = continued(paths, column, np.zeros(2, np.int64), last, 60, 4, HORIZON)
    anew = refitted(paths, column, np.array([430, 620]), last, HORIZON)
    for i, (j, t) in enumerate(zip(column, last, strict=True)):
        x = paths[: t + 1, j : j + 1] - paths[: t + 1, j].mean()
        then = forecast_spectrum(x, np.array([t + 1]), window=60, components=4, steps=HORIZON)
        np.testing.assert_allclose(found[i], then.path[0] - then.last[0], atol=1e-12)
        since = paths[min((430, 620)[i], t - 39) : t + 1, j : j + 1]
        short = forecast_spectrum(since - since.mean(), np.array([len(since)]), window=12, components=2, steps=HORIZON)
        np.testing.assert_allclose(anew[i], short.path[0] - short.last[0], atol=1e-12)
