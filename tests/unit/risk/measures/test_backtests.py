"""Backtests: never of the future, and the same numbers as a measure on the day."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.backtest_statistics import (
    Zone,
    conditional_coverage,
    independence,
    kupiec,
    shortfall_p_value,
    shortfall_statistic,
    traffic_light,
)
from quant_dagster.risk.measures.backtests import Backtest, backtest, judge, portfolio_returns
from quant_dagster.risk.measures.measure import Method, measure
from quant_dagster.settings import RiskMeasureSettings
from tests.support.market_data import shared_data
from tests.unit.forecasting.real_returns import index_returns

SETTINGS = RiskMeasureSettings(window=200, paths=1000)
WINDOW = 200


def real(sessions: int = 205) -> np.ndarray:
    return np.array(index_returns("sp500", sessions))


@pytest.mark.parametrize("method", list(Method))
def test_the_forecast_of_a_session_is_the_measure_on_the_evening_before(method: Method) -> None:
    returns = real(203)
    found = backtest(returns, method, WINDOW, [0.99, 0.95], 0.1, 1)
    assert [(result.method, result.confidence, result.window) for result in found] == [
        (method, 0.99, WINDOW),
        (method, 0.95, WINDOW),
    ]
    for result in found:
        np.testing.assert_array_equal(result.returns, returns[WINDOW:])
        assert result.var.shape == result.es.shape == (3,)
    evening = measure(returns[2:202, None], np.ones(1), ("A",), [0.99, 0.95], 1, SETTINGS)
    expected = [measured for measured in evening if measured.method is method]
    for result, measured in zip(found, expected, strict=True):
        assert result.var[2] == pytest.approx(measured.var, rel=1e-6)
        assert result.es[2] == pytest.approx(measured.es, rel=1e-6)


@pytest.mark.parametrize("method", list(Method))
def test_no_forecast_knows_the_session_it_speaks_of_or_a_later_one(method: Method) -> None:
    returns = real(203)
    (before,) = backtest(returns, method, WINDOW, [0.95], 0.1, 1)
    returns[201:] = [-0.5, 0.4]
    (after,) = backtest(returns, method, WINDOW, [0.95], 0.1, 1)
    np.testing.assert_array_equal(after.var[:2], before.var[:2])
    np.testing.assert_array_equal(after.es[:2], before.es[:2])
    assert after.var[2] != before.var[2] or method is Method.HISTORICAL
    assert after.es[2] > before.es[2]


def test_sessions_in_which_garch_cannot_be_fitted_have_no_forecast() -> None:
    returns = np.concatenate([np.full(WINDOW + 1, 0.001), real(16)])
    for method in (Method.FILTERED_HISTORICAL, Method.CONDITIONAL_EXTREME_VALUE):
        (found,) = backtest(returns, method, WINDOW, [0.95], 0.1, 1)
        assert np.isnan(found.var[:2]).all()
        assert np.isnan(found.es[:2]).all()
        known = np.isfinite(found.var)
        assert 0 < known.sum() <= 15
        np.testing.assert_array_equal(np.isnan(found.var), np.isnan(found.es))
        assert not np.isinf(found.es).any()  # some of these tails have no mean: no forecast either
        assert not found.exceeded[~known].any()
        assert judge(found, SETTINGS).missing == (~known).sum()


def test_a_loss_of_just_var_does_not_exceed_it() -> None:
    returns = np.array([-0.02, -0.020000001, 0.03, -0.01])
    result = Backtest(Method.HISTORICAL, 0.95, 100, returns, np.full(4, 0.02), np.full(4, 0.03))
    assert result.exceeded.tolist() == [False, True, False, False]


def test_the_verdict_is_of_the_sessions_with_a_forecast() -> None:
    random = np.random.default_rng(5)
    returns, var = 0.01 * random.standard_t(4, 400), np.full(400, 0.02)
    es = np.linspace(0.02, 0.04, 400)
    var[:30] = es[:30] = np.nan
    result = Backtest(Method.PARAMETRIC, 0.95, 100, returns, var, es)
    verdict = judge(result, SETTINGS)
    exceeded = -returns[30:] > 0.02
    hits = int(exceeded.sum())
    assert (verdict.method, verdict.confidence) == (Method.PARAMETRIC, 0.95)
    assert (verdict.sessions, verdict.missing, verdict.exceedances) == (370, 30, hits)
    assert verdict.expected == pytest.approx(18.5)
    p = 1.0 - 0.95
    assert verdict.coverage == kupiec(370, hits, p)
    assert verdict.independence == independence(exceeded)
    assert verdict.conditional_coverage == conditional_coverage(verdict.coverage, verdict.independence)
    assert verdict.zone == traffic_light(250, int(exceeded[-250:].sum()), p)
    assert verdict.shortfall == shortfall_statistic(returns[30:], exceeded, es[30:], p)
    assert verdict.shortfall_p_value == shortfall_p_value(verdict.shortfall, 370, p, 4.0, 1000, SETTINGS.seed)
    assert verdict.mean_var == pytest.approx(0.02)
    assert verdict.mean_es == pytest.approx(es[30:].mean())


def test_the_zone_is_of_the_newest_year() -> None:
    returns = np.full(300, 0.01)
    returns[:50:2] = -0.03
    result = Backtest(Method.HISTORICAL, 0.99, 100, returns, np.full(300, 0.02), np.full(300, 0.03))
    assert judge(result, SETTINGS).zone is Zone.GREEN
    returns[[50, 60, 70, 80, 299]] = -0.03  # session 50 is the oldest of the newest 250: five are one too many
    assert judge(result, SETTINGS).zone is Zone.YELLOW
    returns[[49, 50]] = -0.03, 0.01
    assert judge(result, SETTINGS).zone is Zone.GREEN
    short = Backtest(Method.HISTORICAL, 0.99, 100, returns[:60], np.full(60, 0.02), np.full(60, 0.03))
    assert judge(short, SETTINGS).zone is Zone.RED


def test_two_forecasts_can_be_judged_and_one_cannot() -> None:
    var = np.array([np.nan, 0.02, 0.02])
    result = Backtest(Method.EXTREME_VALUE, 0.99, 100, np.array([0.0, -0.03, 0.0]), var, var)
    assert judge(result, SETTINGS).sessions == 2
    var = np.array([np.nan, np.nan, 0.02])
    with pytest.raises(RiskError) as refused:
        judge(Backtest(Method.EXTREME_VALUE, 0.99, 100, np.zeros(3), var, var), SETTINGS)
    assert str(refused.value) == ("VaR backtest of extreme_value: 1 forecasts cannot be judged; load more history")


def test_a_window_must_leave_a_session() -> None:
    assert len(backtest(real(201), Method.HISTORICAL, 200, [0.95], 0.1, 1)[0].var) == 1
    with pytest.raises(RiskError) as refused:
        backtest(real(200), Method.HISTORICAL, 200, [0.95], 0.1, 1)
    assert str(refused.value) == "VaR backtest: 200 sessions leave none after a window of 200; load more"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_return_that_is_no_number_is_refused(value: float) -> None:
    returns = real()
    returns[[7, 9]] = value
    with pytest.raises(RiskError) as refused:
        backtest(returns, Method.HISTORICAL, 200, [0.95], 0.1, 1)
    assert str(refused.value) == ("VaR backtest: return number 7 is not a finite number; complete the history first")


def test_symbols_that_exist_stand_for_those_that_do_not_yet() -> None:
    returns = np.array([[0.02, np.nan, -0.01], [0.02, 0.05, -0.01], [np.nan, 0.05, np.inf]])
    weights = np.array([0.4, 0.8, -0.4])
    found = portfolio_returns(returns[:2], weights)
    np.testing.assert_allclose(found, [0.012 * 1.6 / 0.8, 0.008 + 0.04 + 0.004], rtol=1e-12)  # just half is enough
    np.testing.assert_allclose(portfolio_returns(returns, weights)[2], 0.04 * 2.0, rtol=1e-12)
    returns[1, 1] = np.nan
    with pytest.raises(RiskError) as refused:
        portfolio_returns(returns, np.array([0.3, 0.8, -0.4]))
    assert str(refused.value) == (
        "VaR backtest: session number 0 has returns for 0.7 of a gross weight of 1.5, less than 50%; start later or "
        "leave young symbols out"
    )


def test_no_weights_have_no_returns() -> None:
    with pytest.raises(RiskError, match="returns for 0 of a gross weight of 0"):
        portfolio_returns(np.zeros((3, 2)), np.zeros(2))


def test_normal_losses_are_covered_by_the_normal_method() -> None:
    returns = 0.01 * np.random.default_rng(9).normal(size=2700)
    for result in backtest(returns, Method.PARAMETRIC, 200, [0.95, 0.99], 0.1, 1):
        verdict = judge(result, SETTINGS)
        assert verdict.sessions == 2500
        assert verdict.coverage.p_value > 0.05
        assert verdict.independence.p_value > 0.05
        assert verdict.shortfall_p_value > 0.02


@pytest.mark.slow
def test_the_methods_on_498_stocks_over_eight_years() -> None:
    import polars as pl

    bars = pl.read_parquet(shared_data("us_daily_nasdaqcom_2014_2024.parquet"))
    closes = bars.pivot(on="symbol", index="date", values="close").sort("date").drop("date").to_numpy()
    returns = portfolio_returns(closes[1:] / closes[:-1] - 1.0, np.full(closes.shape[1], 1.0 / closes.shape[1]))
    verdicts = {}
    for method in Method:
        for result in backtest(returns, method, 500, [0.95, 0.99], 0.1, 2):
            verdict = judge(result, SETTINGS)
            verdicts[method, result.confidence] = verdict
            assert (verdict.sessions, verdict.missing) == (2017, 0)
            assert np.all(result.es > result.var)
            assert 0.5 < verdict.exceedances / verdict.expected < 3.0
            assert 0.01 < verdict.mean_var < verdict.mean_es < 0.06
    # what is known of these methods: plain history reacts late, so that its exceedances cluster; filtering cures that
    for confidence in (0.95, 0.99):
        assert verdicts[Method.HISTORICAL, confidence].conditional_coverage.p_value < 0.01
        assert verdicts[Method.PARAMETRIC, confidence].conditional_coverage.p_value < 0.01
        assert verdicts[Method.FILTERED_HISTORICAL, confidence].conditional_coverage.p_value > 0.05
        assert verdicts[Method.CONDITIONAL_EXTREME_VALUE, confidence].conditional_coverage.p_value > 0.05
    assert verdicts[Method.PARAMETRIC, 0.99].shortfall < -0.7 < verdicts[Method.FILTERED_HISTORICAL, 0.99].shortfall
