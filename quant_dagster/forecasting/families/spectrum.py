"""Singular spectrum forecasts of log prices, alone and in groups, as families.

The log price path of the window is analysed about its mean, and the forecast return is the difference along the
forecast path, from the reconstruction's newest value: what the price stands off its reconstruction is taken to stay,
because prices hardly return (forecasting that return too multiplies the squared error of a session by three on US
stocks). For the same reason the variance is the naive one, that of the returns times the horizon.
"""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, Reply, Request
from quant_dagster.forecasting.spectrum import singular
from quant_dagster.forecasting.spectrum.change_points import FEWEST, ChangePoints, detect_changes
from quant_dagster.forecasting.spectrum.intervention import (
    LONGEST,
    Action,
    Policy,
    learn,
    past_decisions,
    refitted,
    state_name,
    states_at,
)
from quant_dagster.forecasting.spectrum.multivariate import correlation_blocks, forecast_groups
from quant_dagster.forecasting.spectrum.singular import REASONS, SpectrumForecasts, forecast_spectrum

GROUP = 25  # series a group has, about
CORRELATED = 250  # newest returns by which groups are found
LEARNED_HORIZON = 5  # sessions of the outcomes that the policy is learned from
LARGEST_FORECAST = 4.0  # standard deviations; a recurrence with a root beyond the circle explodes
_DIVERGES = "the recurrence diverges: the forecast is more than 4 standard deviations of the returns"


def ssa_family(request: Request) -> list[Reply]:
    """Recurrent singular spectrum forecasts of each log price path, with its change points in the diagnostics."""
    settings, history = request.settings, request.history
    counts = np.where(request.tried, history.counts, 0)
    paths = _paths(history.returns, counts)
    found = forecast_spectrum(
        _about_mean(paths, counts + 1),
        counts + 1,
        window=settings.ssa_window,
        components=_components(request),
        steps=request.steps,
        tried=request.tried,
        device=settings.ssa_device,
    )
    changes = detect_changes(_within(history.returns, counts), counts)
    means = found.path[:, request.at] - found.last[:, None]
    replies: list[Reply] = []
    for j, status in enumerate(found.status.tolist()):
        if not request.tried[j]:
            replies.append(NOT_ASKED)
        elif status != singular.FITTED:
            replies.append(REASONS[status])
        else:
            replies.append(
                _answer(request, found, j, int(counts[j]), means[j], {}, _change(changes, j, int(counts[j]) - 1))
            )
    return replies


def mssa_family(request: Request) -> list[Reply]:
    """Multivariate singular spectrum forecasts in groups by correlation, with a learned policy after change points.

    A symbol takes part with its newest unbroken run of closes in the window, so that all paths are aligned on the
    sessions. ``parameters`` hold the policy that was learned, the same in all rows.
    """
    settings = request.settings
    closes = request.panel.close[-(settings.window + 1) :]
    runs = _unbroken(closes)
    least = max(settings.min_observations, 2 * settings.ssa_window - 1)
    taking_part = request.tried & (runs >= least)
    if not taking_part.any():
        return [_gap(request, j, int(runs[j]), least) for j in range(len(runs))]
    counts = np.where(taking_part, runs, 0)
    paths = _newest_logs(closes, counts)
    returns = np.diff(paths, axis=0)
    newest = np.diff(np.log(closes[-min(CORRELATED, least) :, taking_part]), axis=0)
    groups = np.full(len(runs), -1)
    groups[taking_part] = correlation_blocks(newest, GROUP)
    found = forecast_groups(
        _about_mean(paths, counts),
        counts,
        groups,
        window=settings.ssa_window,
        components=_components(request),
        steps=request.steps,
        device=settings.ssa_device,
    )
    sizes = np.maximum(counts - 1, 0)
    changes = detect_changes(_within(returns, sizes), sizes)
    policy = learn(
        past_decisions(
            paths,
            counts,
            changes,
            window=settings.ssa_window,
            components=_components(request),
            horizon=LEARNED_HORIZON,
        )
    )
    means = found.path[:, request.at] - found.last[:, None]
    means, interventions = _intervene(request, means, paths, returns, sizes, changes, policy)
    table = policy.table()
    replies: list[Reply] = []
    for j, status in enumerate(found.status.tolist()):
        if not taking_part[j]:
            replies.append(_gap(request, j, int(runs[j]), least))
        elif status != singular.FITTED:
            replies.append(REASONS[status])
        else:
            diagnostics = {"group": int(groups[j]), **interventions[j]}
            replies.append(_answer(request, found, j, int(sizes[j]), means[j], {"policy": table}, diagnostics))
    return replies


def _intervene(
    request: Request,
    means: FloatArray,
    paths: FloatArray,
    returns: FloatArray,
    sizes: IntArray,
    changes: ChangePoints,
    policy: Policy,
) -> tuple[FloatArray, list[dict[str, object]]]:
    """The forecasts after the policy's action on the symbols that changed of late, and what was done."""
    done: list[dict[str, object]] = [{"intervention": None} for _ in sizes]
    last = np.maximum(sizes - 1, 0)
    every = np.arange(len(sizes))
    since = np.where(sizes > FEWEST, changes.since[last, every], -1)
    of = np.flatnonzero((since >= 0) & (since <= LONGEST))
    if not len(of):
        return means, done
    onset = changes.onset[last[of], of]
    states = states_at(returns, of, last[of], onset, since[of])
    actions = policy.actions(states)
    means = means.copy()
    means[of[actions == Action.SHRINK]] = 0.0
    again = actions == Action.REFIT
    if again.any():
        anew = refitted(paths, of[again], onset[again], last[of[again]] + 1, request.steps)[:, request.at]
        means[of[again]] = np.where(np.isfinite(anew), anew, means[of[again]])
    for j, state, action in zip(of.tolist(), states.tolist(), actions.tolist(), strict=True):
        done[j] = {
            "intervention": Action(action).name.lower(),
            "state": state_name(state),
            "sessions_since_change": int(since[j]),
        }
    return means, done


def _answer(
    request: Request,
    found: SpectrumForecasts,
    j: int,
    observations: int,
    mean: FloatArray,
    parameters: dict[str, object],
    diagnostics: dict[str, object],
) -> Reply:
    std = np.sqrt(request.history.variance[j] * np.array(request.horizons, np.float64))
    if not np.all(np.abs(mean) <= LARGEST_FORECAST * std):
        return _DIVERGES
    return Answer(
        mean,
        std,
        {
            "distribution": "normal",
            "window": request.settings.ssa_window,
            "components": _components(request),
            "variance": float(request.history.variance[j]),
            **parameters,
        },
        {
            "observations": observations,
            "shares": found.shares[j].tolist(),
            "verticality": float(found.verticality[j]),
            "noise_std": float(found.noise_std[j]),
            "device": found.device,
            **diagnostics,
        },
    )


def _change(changes: ChangePoints, j: int, last: int) -> dict[str, object]:
    judged = last >= FEWEST
    since = int(changes.since[last, j])
    return {
        "change_point": bool(changes.declared[last, j]) if judged else None,
        "sessions_since_change": since if since >= 0 else None,
        "change_statistic": float(changes.statistic[last, j]) if judged else None,
    }


def _components(request: Request) -> int:
    return min(request.settings.ssa_components, request.settings.ssa_window - 1)


def _gap(request: Request, j: int, run: int, least: int) -> str:
    if not request.tried[j]:
        return NOT_ASKED
    return f"{run} sessions without a gap to {request.session}; the groups need {least}"


def _paths(returns: FloatArray, counts: IntArray) -> FloatArray:
    """Log prices less the first, shape (n + 1, m), from the returns."""
    inside = np.arange(len(returns))[:, None] < counts
    return np.vstack([np.zeros((1, len(counts))), np.cumsum(np.where(inside, returns, 0.0), axis=0)])


def _about_mean(values: FloatArray, counts: IntArray) -> FloatArray:
    inside = np.arange(len(values))[:, None] < counts
    return np.where(inside, values - np.where(inside, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _within(returns: FloatArray, counts: IntArray) -> FloatArray:
    """The returns within the counts, not less their mean: it is small, and that of all would look ahead."""
    return np.where(np.arange(len(returns))[:, None] < counts, returns, 0.0)


def _unbroken(closes: FloatArray) -> IntArray:
    """Sessions to the last of which each column has a close."""
    valid = np.isfinite(closes) & (closes > 0.0)
    return np.asarray(np.where(valid.all(axis=0), len(closes), (~valid[::-1]).argmax(axis=0)))


def _newest_logs(closes: FloatArray, counts: IntArray) -> FloatArray:
    """Log of the newest ``counts`` closes from the top of each column; zero below."""
    n = len(closes)
    rows = np.minimum(n - counts + np.arange(n)[:, None], n - 1)
    inside = np.arange(n)[:, None] < counts
    return np.log(np.where(inside, np.take_along_axis(closes, rows, axis=0), 1.0))
