"""Walk-forward and blocked evaluation on real prices: the desk's own forecasts, and nothing known too early."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.carried import earlier_fits
from quant_dagster.forecasting.families.protocol import Answer, Reply, Request
from quant_dagster.forecasting.families.registry import FAMILIES, FamilySpec, Target, chosen
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import QUANTILES, ForecastModel
from quant_dagster.forecasting.runner import forecast_session
from quant_dagster.forecasting.validation.blocked import blocked, blocks_of
from quant_dagster.forecasting.validation.evaluation import Evaluation, Scheme, outcomes
from quant_dagster.forecasting.validation.walk_forward import walk_forward
from quant_dagster.market_data.panel import Panel
from tests.unit.forecasting.real_returns import stock_panel

SETTINGS = ForecastParameters(
    window=300, workers=1, families=("ar", "garch11", "hmm"), refit_sessions=3, fewest_refits=1
)
HORIZONS = (1, 5)
SYMBOLS = ("AAPL", "JPM", "XOM")


def panel(sessions: int = 340) -> Panel:
    whole = stock_panel()
    return whole.columns([whole.symbols.index(symbol) for symbol in SYMBOLS]).last(sessions)


@cache
def walked() -> Evaluation:
    return walk_forward(panel(), horizons=HORIZONS, sessions=12, settings=SETTINGS)


def test_an_origins_forecasts_are_those_of_the_daily_cycle_bit_for_bit() -> None:
    """The cycle's own way: every session's rows are stored, the next session reads its earlier fits back from them."""
    whole, found = panel(), walked()
    first = len(whole.sessions) - 1 - 12
    stored: list[pl.DataFrame] = []
    for at in range(12):
        known = whole.rows(0, first + at + 1)
        earlier = earlier_fits(pl.concat(stored), known.sessions, known.last_session, ["hmm"]) if stored else None
        run = forecast_session(known, horizons=HORIZONS, data_version=7, settings=SETTINGS, earlier=earlier)
        stored.append(run.frame)
        assert found.origins[at] == whole.sessions[first + at]
        for i, spec in enumerate(found.models):
            for h, horizon in enumerate(HORIZONS):
                rows = run.frame.filter((pl.col("model") == spec.model.value) & (pl.col("horizon") == horizon))
                assert rows["symbol"].to_list() == list(found.symbols)
                assert np.array_equal(found.mean[i, h, at], rows["mean"].to_numpy())
                assert np.array_equal(found.std[i, h, at], rows["std"].to_numpy())
                assert np.array_equal(found.quantiles[i, h, at], rows.select(QUANTILES).to_numpy())
                assert found.own[i, at].tolist() == (rows["answered_by"] == rows["model"]).to_list()
    carried = pl.concat(stored).filter((pl.col("model") == "hmm") & (pl.col("status") == "carried"))
    assert carried.height > 0


def test_prices_after_an_origin_change_nothing_it_forecast() -> None:
    whole = panel()
    later = whole.close.copy()
    later[-6:] *= np.array([3.0, 0.2, 5.0])
    altered = walk_forward(
        replace(whole, close=np.asfortranarray(later)), horizons=HORIZONS, sessions=12, settings=SETTINGS
    )
    found = walked()
    before = found.origins < whole.sessions[-6]
    assert 0 < before.sum() < 12
    for one, other in ((found.mean, altered.mean), (found.std, altered.std), (found.quantiles, altered.quantiles)):
        assert np.array_equal(one[:, :, before], other[:, :, before])
        assert not np.array_equal(one[:, :, ~before], other[:, :, ~before])


def test_longer_horizons_have_fewer_outcomes_at_the_edge() -> None:
    whole, found = panel(), walked()
    assert found.scheme is Scheme.WALK_FORWARD
    assert np.isfinite(found.outcome[0]).all(axis=-1).tolist() == [True] * 12
    assert np.isfinite(found.outcome[1]).all(axis=-1).tolist() == [True] * 8 + [False] * 4
    assert found.origins[-1] == whole.sessions[-2]
    at = int(np.flatnonzero(whole.sessions == found.origins[0])[0])
    assert np.allclose(found.outcome[1, 0], np.log(whole.close[at + 5] / whole.close[at]), rtol=1e-12)
    assert np.allclose(found.next_return[0], whole.close[at + 1] / whole.close[at] - 1.0, rtol=1e-12)


def test_an_outcome_with_a_missing_close_is_none() -> None:
    whole = panel(60)
    holed = whole.close.copy()
    holed[40, 1] = np.nan
    found = outcomes(replace(whole, close=np.asfortranarray(holed)), [35, 39, 40], (1, 5))
    assert np.isnan(found[:, :, 1]).tolist() == [[False, True, True], [True, False, True]]
    assert np.isfinite(found[:, :, [0, 2]]).all()


def test_a_history_too_short_for_one_origin_is_refused() -> None:
    with pytest.raises(ForecastError, match="too few; 250 of them"):
        walk_forward(panel(240), horizons=HORIZONS, sessions=12, settings=SETTINGS)


@pytest.mark.parametrize(
    ("sessions", "blocks", "embargo", "longest"), [(1200, 3, 5, 5), (2523, 5, 10, 21), (800, 2, 0, 1)]
)
def test_no_outcome_that_was_fitted_overlaps_a_tested_one(
    sessions: int, blocks: int, embargo: int, longest: int
) -> None:
    cut = blocks_of(sessions, blocks, longest=longest, embargo=embargo, first_fit=250, origins=100)
    assert len(cut) == blocks
    fitted: set[int] = set()
    tested: set[int] = set()
    for block in cut:
        own = set(range(block.start + 1, block.fitted + 1))  # rows whose return a fit has seen
        outcomes_of_tests = {row for origin in block.tests for row in range(origin + 1, origin + longest + 1)}
        assert len(own) >= 250
        assert not own & outcomes_of_tests
        assert min(outcomes_of_tests) - max(own) > embargo + longest
        assert block.stop - 1 - max(outcomes_of_tests) >= embargo
        fitted |= own
        tested |= outcomes_of_tests
    assert not fitted & tested
    assert sum(len(block.tests) for block in cut) <= 100 + blocks


def test_blocks_too_short_for_a_fit_are_refused() -> None:
    with pytest.raises(ForecastError, match="240 a block, at least 271 are needed"):
        blocks_of(1200, 5, longest=5, embargo=5, first_fit=250, origins=100)


def spying(seen: list[tuple[np.datetime64, np.datetime64, list[str]]]) -> FamilySpec:
    """A carried model that remembers what it was shown."""

    def family(request: Request) -> list[Reply]:
        symbols = request.panel.symbols
        assert request.refit is not None
        refitted = [symbols[j] for j in np.flatnonzero(request.refit & request.tried)]
        seen.append((request.panel.sessions[0], request.panel.sessions[-1], refitted))
        steps = np.array(request.horizons, np.float64)
        answers: list[Reply] = []
        for j in range(len(symbols)):
            fit = request.earlier.get(j)
            fresh = bool(request.refit[j])
            parameters = {"variance": float(request.history.variance[j])} if fresh or fit is None else fit.parameters
            scale = float(str(parameters["variance"]))
            fitted_on = None if fresh or fit is None else fit.fitted_on
            answers.append(Answer(0.0 * steps, np.sqrt(scale * steps), parameters, {}, fitted_on=fitted_on))
        return answers

    class Spy(FamilySpec):
        @property
        def family(self):  # type: ignore[no-untyped-def]
            return family

    return Spy(ForecastModel.HMM, Target.REGIME, "none.none", (ForecastModel.SINGLE_REGIME,), carried=True)


def test_a_blocks_slow_fits_are_made_before_the_embargo_on_its_own_rows_and_never_again() -> None:
    whole = panel(800)
    seen: list[tuple[np.datetime64, np.datetime64, list[str]]] = []
    naive = tuple(spec for spec in FAMILIES if spec.naive)
    found = blocked(
        whole, horizons=HORIZONS, sessions=20, blocks=2, embargo=5, settings=SETTINGS, families=(*naive, spying(seen))
    )
    cut = blocks_of(800, 2, longest=5, embargo=5, first_fit=250, origins=20)
    fits = [(start, last) for start, last, refitted in seen if refitted]
    assert fits == [(whole.sessions[block.start], whole.sessions[block.fitted]) for block in cut]
    for start, last, _ in seen:  # each request saw its own block only
        own = next(block for block in cut if whole.sessions[block.start] <= last < whole.sessions[block.stop - 1])
        assert start >= whole.sessions[own.start]
    assert found.scheme is Scheme.BLOCKED
    assert found.step == cut[0].tests.step > 1
    assert np.bincount(found.segments).tolist() == [len(block.tests) for block in cut]
    assert found.own[-1].all()
    for number in (0, 1):  # frozen: one variance throughout a block
        spread = found.std[-1, 0][found.segments == number]
        assert np.array_equal(spread, np.broadcast_to(spread[0], spread.shape))


def test_blocked_forecasts_with_the_desks_models_have_outcomes_everywhere() -> None:
    settings = replace(SETTINGS, families=("ar", "hmm"))
    found = blocked(panel(620), horizons=HORIZONS, sessions=8, blocks=2, embargo=5, settings=settings)
    assert [spec.model for spec in found.models] == [spec.model for spec in chosen(settings)]
    assert np.isfinite(found.outcome).all()
    assert np.isfinite(found.mean).all()
