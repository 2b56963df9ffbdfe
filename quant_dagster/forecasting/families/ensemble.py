"""The sktime ensemble, as a family: members fitted when due, carried forward otherwise."""

from __future__ import annotations

from datetime import date

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.ensemble import MEMBERS, MemberFits, carry_forward, fit_members
from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, Reply, Request


def ensemble_family(request: Request) -> list[Reply]:
    """Theta, exponential smoothing and ARIMA through sktime, weighted by their errors of the last sessions."""
    settings = request.settings
    replies: list[Reply] = [NOT_ASKED] * len(request.tried)
    fits: dict[int, MemberFits] = {}
    fitted_on: dict[int, date] = {}
    for j in np.flatnonzero(request.tried).tolist():
        earlier = request.earlier.get(j)
        due = request.refit is None or bool(request.refit[j]) or earlier is None
        if earlier is not None and not due:
            fits[j], fitted_on[j] = MemberFits.from_json(earlier.parameters), earlier.fitted_on
            continue
        used = _newest(request, j, settings.ensemble_window + settings.ensemble_holdout)
        try:
            fits[j], fitted_on[j] = fit_members(used[: -settings.ensemble_holdout]), request.session
        except ForecastError as error:
            replies[j] = str(error)
    columns = list(fits)
    if not columns:
        return replies
    window = settings.ensemble_window + settings.ensemble_holdout
    aligned = np.full((len(columns), window), np.nan)
    for place, j in enumerate(columns):
        newest = _newest(request, j, window)
        aligned[place, window - len(newest) :] = newest
    found = carry_forward(aligned, [fits[j] for j in columns], holdout=settings.ensemble_holdout, steps=request.steps)
    last = request.at
    for place, j in enumerate(columns):
        members = {name: found.members[i, place, last].tolist() for i, name in enumerate(MEMBERS)}
        longest = found.members[:, place, last[-1]]
        replies[j] = Answer(
            found.total_mean[place, last],
            found.total_std[place, last],
            {"distribution": "normal", **fits[j].as_json()},
            {
                "observations": int(request.history.counts[j]),
                "members": members,
                "weights": dict(zip(MEMBERS, found.weights[:, place].tolist(), strict=True)),
                "one_step_rmse": dict(zip(MEMBERS, found.errors[:, place].tolist(), strict=True)),
                "votes": {"up": int(np.sum(longest > 0.0)), "down": int(np.sum(longest < 0.0))},
            },
            fitted_on=fitted_on[j],
        )
    return replies


def _newest(request: Request, j: int, window: int) -> FloatArray:
    """The symbol's newest returns, at most ``window``, oldest first."""
    count = int(request.history.counts[j])
    return np.ascontiguousarray(request.history.returns[max(0, count - window) : count, j])
