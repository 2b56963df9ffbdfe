"""Walking forward: at every origin the desk's own function forecasts from what was known then, and nothing more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import polars as pl

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.carried import LONGEST_CARRY, EarlierFits, earlier_fits
from quant_dagster.forecasting.families.registry import FamilySpec, chosen
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.runner import session_outcomes
from quant_dagster.forecasting.validation.evaluation import Evaluation, Gathering, Progress, Scheme, fit_rows
from quant_dagster.market_data.panel import Panel


def walk_forward(
    panel: Panel,
    *,
    horizons: tuple[int, ...],
    sessions: int,
    settings: ForecastParameters,
    families: Sequence[FamilySpec] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Forecast from each of the newest ``sessions`` origins whose outcome over the shortest horizon is known.

    At the first origin every slow model is fitted; afterwards its fits are carried forward and made anew when due, by
    the rules of the daily cycle. Longer horizons have as many origins less as their outcomes are still to come.

    Parameters
    ----------
    families
        None: those ``settings`` asks for.

    Raises
    ------
    ForecastError
        The history is too short for a single origin.
    """
    specs = chosen(settings) if families is None else tuple(families)
    stop = len(panel.sessions) - min(horizons)
    origins = range(max(settings.min_observations, stop - sessions), stop)
    if len(origins) == 0:
        raise ForecastError(
            f"validation: {len(panel.sessions)} sessions are too few; {settings.min_observations} of them come before "
            "the first origin (forecasting.minimum_observations): load more history"
        )
    carried = [spec.model.value for spec in specs if spec.carried]
    memory: deque[pl.DataFrame] = deque(maxlen=max(1, LONGEST_CARRY * settings.refit_sessions - 1))
    gathering = Gathering(panel, specs, horizons, origins)
    for at, origin in enumerate(origins):
        known = panel.rows(0, origin + 1)
        earlier: EarlierFits | None = None
        if memory:
            earlier = earlier_fits(pl.concat(memory), known.sessions, known.last_session, carried)
        outcomes = session_outcomes(known, horizons=horizons, settings=settings, earlier=earlier, families=specs)
        gathering.add(at, outcomes)
        memory.append(fit_rows(outcomes, specs, known))
        if progress is not None:
            progress(at + 1, len(origins))
    return gathering.done(Scheme.WALK_FORWARD, [0] * len(origins), 1)
