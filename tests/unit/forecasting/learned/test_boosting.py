"""Trees that know nothing say nothing, and those that know something say how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.learned.boosting import Trained, predict, train, training_rows
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.market_data.panel import Panel
from tests.support.market_data import shared_data
from tests.unit.forecasting.learned.market import SMALL
from tests.unit.forecasting.real_returns import panel_of, stock_panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return stock_panel(sessions=420).last(training_rows(SMALL))


@pytest.fixture(scope="module")
def trained(panel: Panel) -> Trained:
    return train(panel, SMALL, workers=2)


def following_panel() -> Panel:
    """Real returns in which every stock also continues a part of its own last five sessions."""
    returns = np.diff(np.log(stock_panel(sessions=421).close), axis=0)
    relative = returns - returns.mean(axis=1, keepdims=True)
    made = np.zeros_like(relative)
    for t in range(len(made)):
        made[t] = relative[t] + 0.15 * made[max(0, t - 5) : t].sum(axis=0)
    return panel_of(50.0 * np.exp(np.cumsum(made, axis=0)))


def test_the_same_bits_for_any_number_of_workers(panel: Panel, trained: Trained) -> None:
    again = train(panel, SMALL, workers=1)
    assert replace(again, trees=trained.trees) == trained
    for one, other in zip(predict(trained, panel, "XNYS"), predict(again, panel, "XNYS"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_twenty_stocks_give_is_reported_as_it_is(trained: Trained) -> None:
    assert -0.3 < trained.information_coefficient < 0.3
    assert trained.slope >= 0.0
    assert trained.slope <= max(trained.raw_slope, 0.0)
    assert 0.7 < trained.residual_scale < 2.0, "a standard deviation of about the volatility"
    assert len(trained.folds) == 2
    by_fold = pl.DataFrame(trained.importance, orient="row").rows_by_key("column_0")
    assert set(by_fold) == {0, 1, -1}
    kept = [row[0] for row in by_fold[-1] if row[3]]
    assert kept == list(trained.trees.features)
    assert len(kept) <= SMALL.learned.features


def test_returns_that_continue_are_learned_and_calibrated() -> None:
    found = train(following_panel(), SMALL, workers=2)
    assert found.information_coefficient > 0.15
    assert found.ic_t > 3.0
    assert 0.0 < found.slope < found.raw_slope


def test_predictions_that_are_no_better_than_chance_move_no_forecast() -> None:
    """Real returns in orders of chance: nothing before a session says anything of what follows."""
    returns = np.diff(np.log(stock_panel(sessions=421).close), axis=0)
    dealt = [np.random.default_rng(seed).permutation(returns, axis=0) for seed in range(4)]
    found = [train(panel_of(50.0 * np.exp(np.cumsum(one, axis=0))), SMALL, workers=2) for one in dealt]
    assert max(abs(one.ic_t) for one in found) < 3.0
    assert sum(one.slope == 0.0 for one in found) >= 2
    for one in found:
        kept = max(0.0, 1.0 - 1.0 / one.ic_t**2) if one.ic_t > 0.0 else 0.0
        assert one.slope == pytest.approx(max(one.raw_slope, 0.0) * kept)


def test_predictions_are_relative_to_the_other_symbols(panel: Panel, trained: Trained) -> None:
    signal, volatility = predict(trained, panel, "XNYS")
    assert signal.shape == volatility.shape == (20,)
    assert signal.std() > 0.0
    assert signal.mean() == pytest.approx(0.0, abs=1e-12)
    assert np.all((volatility > 0.001) & (volatility < 0.2))


def test_too_little_history_is_refused() -> None:
    with pytest.raises(ForecastError, match="too few"):
        train(stock_panel(sessions=40), SMALL)


@pytest.mark.slow
def test_four_hundred_stocks_over_three_years_in_any_light() -> None:
    bars = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    whole = Panel.from_bars(bars.with_columns(pl.col("session").cast(pl.Date)))
    settings = ForecastParameters()
    found = train(whole.last(training_rows(settings)), settings, workers=2)
    assert abs(found.information_coefficient) < 0.1, "more than this, out of sample, would be a leak"
    assert 0.8 < found.residual_scale < 1.6
    assert found.sessions * len(whole.symbols) <= 75_000
    assert any("(" in name for name in found.trees.features), "generated features compete with the given ones"
