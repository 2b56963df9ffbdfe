"""Fits that outlive their session: read back from stored forecasts, carried forward until they are due again.

A model that is slow to fit is estimated every few sessions. What it needs to go on is in the ``parameters`` of its last
row, so that a session stays a function of the lake: nothing is kept beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.forecasting.families.protocol import EarlierFit, Request
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import Status

EarlierFits = Mapping[str, Mapping[str, EarlierFit]]
"""Model, then symbol, to its newest fit."""
DRIFTED_AGE = 10_000
"""Sessions added to the age of a fit from before its model drifted."""
LONGEST_CARRY = 4
"""Times ``refit_sessions`` after which an earlier fit is too old to be read back."""


def earlier_fits(
    forecasts: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    session: date,
    models: Sequence[str],
    drifted: Mapping[str, date] | None = None,
) -> EarlierFits:
    """The newest fit of each carried model and symbol before ``session``.

    Parameters
    ----------
    forecasts
        Rows of ``forecasts`` of earlier sessions; later ones are not looked at.
    sessions
        The panel's sessions, by which the age of a fit is counted.
    models
        The models that carry fits.
    drifted
        Session each model was last found to have drifted: fits of then or before count as oldest, so that they are
        the next to be made anew.
    """
    own = pl.col("status").is_in([Status.FITTED.value, Status.CARRIED.value])
    rows = (
        forecasts.filter((pl.col("session") < session) & pl.col("model").is_in(list(models)) & own)
        .sort("session", "horizon", descending=[True, False])
        .unique(["model", "symbol"], keep="first", maintain_order=True)
    )
    last = int(np.searchsorted(sessions, np.datetime64(session, "D")))
    found: dict[str, dict[str, EarlierFit]] = {}
    for model, symbol, fitted_on, parameters in rows.select("model", "symbol", "fitted_on", "parameters").iter_rows():
        age = last - int(np.searchsorted(sessions, np.datetime64(fitted_on, "D")))
        if drifted is not None and model in drifted and fitted_on <= drifted[model]:
            age += DRIFTED_AGE
        found.setdefault(model, {})[symbol] = EarlierFit(fitted_on, age, json.loads(parameters))
    return found


def due_for_refit(
    symbols: Sequence[str],
    tried: NDArray[np.bool_],
    known: Mapping[int, EarlierFit],
    settings: ForecastParameters,
    *,
    everything: bool,
) -> NDArray[np.bool_]:
    """Which columns are fitted anew: the oldest fits first, never more than spreads the work over the interval.

    A symbol without a fit is the oldest of all. ``everything``: every column that is tried.
    """
    due = np.zeros(len(symbols), np.bool_)
    if everything:
        return due | tried
    asked = np.flatnonzero(tried).tolist()
    budget = max(settings.fewest_refits, -(-len(asked) // settings.refit_sessions))
    ages = {j: known[j].age if j in known else np.inf for j in asked}
    candidates = sorted((j for j in asked if ages[j] >= settings.refit_sessions), key=lambda j: (-ages[j], symbols[j]))
    due[candidates[:budget]] = True
    return due


def waiting_for_a_fit(request: Request) -> NDArray[np.bool_]:
    """Columns that have no fit to carry forward, and whose first one is not due yet."""
    waiting = np.zeros(len(request.tried), np.bool_)
    if request.refit is not None:
        carried = np.zeros_like(waiting)
        carried[list(request.earlier)] = True
        waiting = ~request.refit & ~carried
    return waiting
