"""Blocked cross-validation: the whole history in blocks that share nothing, each with a fit, an embargo and a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.carried import EarlierFits, earlier_fits
from quant_dagster.forecasting.families.registry import FamilySpec, chosen
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.runner import session_outcomes
from quant_dagster.forecasting.validation.evaluation import Evaluation, Gathering, Progress, Scheme, fit_rows
from quant_dagster.market_data.panel import Panel


@dataclass(frozen=True)
class Block:
    """Rows of a panel: history from ``start``, slow fits at ``fitted``, forecasts from ``tests``, end before ``stop``.

    The last outcome of a test ends ``embargo`` sessions before ``stop``, the first one starts ``embargo`` and a
    horizon after ``fitted``.
    """

    start: int
    fitted: int
    tests: range
    stop: int


def blocks_of(
    sessions: int, blocks: int, *, longest: int, embargo: int, first_fit: int, origins: int
) -> tuple[Block, ...]:
    """Cut ``sessions`` rows into equal blocks; tests are spread so that there are about ``origins`` in all.

    Half a block is history for the first fit, at least ``first_fit`` returns.

    Raises
    ------
    ForecastError
        A block is too short for a fit, two embargoes and an outcome.
    """
    edges = [sessions * k // blocks for k in range(blocks + 1)]
    cut = []
    for start, stop in pairwise(edges):
        fitted = start + max(first_fit, (stop - start) // 2)
        tests = range(fitted + embargo + longest, stop - embargo - longest)
        if len(tests) == 0:
            needed = first_fit + 2 * (embargo + longest) + 1
            raise ForecastError(
                f"blocked validation: {sessions} sessions in {blocks} blocks are {stop - start} a block, at least "
                f"{needed} are needed; set forecasting.validation.blocks lower or load more history"
            )
        cut.append(Block(start, fitted, tests, stop))
    step = max(1, -(-sum(len(block.tests) for block in cut) // origins))
    return tuple(replace(block, tests=block.tests[::step]) for block in cut)


def blocked(
    panel: Panel,
    *,
    horizons: tuple[int, ...],
    sessions: int,
    blocks: int,
    embargo: int,
    settings: ForecastParameters,
    families: Sequence[FamilySpec] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Forecast about ``sessions`` origins spread over the whole history (Bergmeir & Benitez 2012).

    A block is forecast from its own rows alone, by the desk's function: no return is in two blocks. Slow models keep
    the fit made before the embargo throughout the test, so that no outcome they were fitted to, nor one within the
    embargo of it, is tested. Quick models are estimated at each origin on the block up to it, as the desk does.

    Raises
    ------
    ForecastError
        See :func:`blocks_of`.
    """
    specs = chosen(settings) if families is None else tuple(families)
    cut = blocks_of(
        len(panel.sessions), blocks, longest=max(horizons), embargo=embargo, first_fit=settings.min_observations,
        origins=sessions,
    )  # fmt: skip
    origins = [origin for block in cut for origin in block.tests]
    carried = [spec.model.value for spec in specs if spec.carried]
    gathering = Gathering(panel, specs, horizons, origins)
    segments: list[int] = []
    for number, block in enumerate(cut):
        frozen = _frozen(panel.rows(block.start, block.fitted + 1), specs, horizons, settings, carried)
        for origin in block.tests:
            known = panel.rows(block.start, origin + 1)
            outcomes = session_outcomes(known, horizons=horizons, settings=settings, earlier=frozen, families=specs)
            gathering.add(len(segments), outcomes)
            segments.append(number)
            if progress is not None:
                progress(len(segments), len(origins))
    return gathering.done(Scheme.BLOCKED, segments, cut[0].tests.step)


def _frozen(
    panel: Panel,
    specs: Sequence[FamilySpec],
    horizons: tuple[int, ...],
    settings: ForecastParameters,
    carried: Sequence[str],
) -> EarlierFits:
    """The slow models' fits at the panel's end, as new for ever: they never become due."""
    slow = [spec for spec in specs if spec.carried or spec.naive]
    outcomes = session_outcomes(panel, horizons=horizons, settings=settings, earlier=None, families=slow)
    after = panel.sessions[-1:] + 1
    fits = earlier_fits(fit_rows(outcomes, slow, panel), panel.sessions, after[0].astype(object), carried)
    return {
        model: {symbol: replace(fit, age=0) for symbol, fit in of_model.items()} for model, of_model in fits.items()
    }
