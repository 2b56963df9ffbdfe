"""Which positions are measured, and how the histories of young symbols are completed."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.holdings import holdings, overlapping_sums
from tests.unit.forecasting.real_returns import stock_returns

NAMES = ("A", "B", "C", "D")


def real(sessions: int, symbols: int = 4) -> np.ndarray:
    return np.array(stock_returns()[-sessions:, :symbols])


def test_only_what_is_held_is_measured_in_the_order_given() -> None:
    returns = real(150)
    found = holdings(returns, np.array([0.0, -5.0, 0.0, 7.0]), NAMES)
    assert found.symbols == ("B", "D")
    assert found.values.tolist() == [-5.0, 7.0]
    np.testing.assert_array_equal(found.returns, returns[:, [1, 3]])
    np.testing.assert_allclose(found.pnl, -5.0 * returns[:, 1] + 7.0 * returns[:, 3], rtol=1e-12)
    assert found.coverage == {}


def test_a_missing_return_is_beta_times_the_market_plus_the_symbols_own_residuals_in_turn() -> None:
    returns = real(150)
    missing = np.zeros(150, bool)
    missing[:40] = missing[90] = True
    returns[missing, 1] = np.nan
    before = returns.copy()
    found = holdings(returns, np.ones(4), NAMES)
    market = returns[:, [0, 2, 3]].mean(axis=1)
    known = ~missing
    beta = np.cov(market[known], returns[known, 1], bias=True)[0, 1] / market[known].var()
    residuals = returns[known, 1] - beta * market[known]
    completed = found.returns[:, 1]
    np.testing.assert_array_equal(completed[known], returns[known, 1])
    np.testing.assert_allclose(completed[:40], beta * market[:40] + residuals[:40], rtol=1e-9)
    assert completed[90] == pytest.approx(beta * market[90] + residuals[90], rel=1e-9)
    assert found.coverage == {"B": 109 / 150}
    np.testing.assert_array_equal(found.returns[:, [0, 2, 3]], returns[:, [0, 2, 3]])
    np.testing.assert_array_equal(returns, before)  # the caller's array is not written to


def test_the_residuals_begin_again_when_they_are_used_up() -> None:
    returns = real(150)
    returns[75:, 2] = np.nan
    found = holdings(returns, np.ones(4), NAMES)
    market = returns[:, [0, 1, 3]].mean(axis=1)
    slope = np.polyfit(market[:75], returns[:75, 2], 1)[0]
    residuals = returns[:75, 2] - slope * market[:75]
    np.testing.assert_allclose(found.returns[75:, 2], slope * market[75:] + residuals, atol=1e-12)


def test_the_market_is_of_symbols_that_are_not_held_too() -> None:
    returns = real(150)
    returns[0, 0] = np.nan
    alone = holdings(returns, np.array([1.0, 0.0, 0.0, 0.0]), NAMES)
    together = holdings(returns, np.ones(4), NAMES)
    assert alone.returns[0, 0] == together.returns[0, 0]


def test_half_of_the_sessions_is_enough_and_one_less_is_not() -> None:
    returns = real(150)
    returns[:75, 3] = np.nan
    assert holdings(returns, np.ones(4), NAMES).coverage == {"D": 0.5}
    returns[75, 3] = np.nan
    with pytest.raises(RiskError) as refused:
        holdings(returns, np.ones(4), NAMES)
    assert str(refused.value) == (
        "risk measures of 1 symbols (D): returns in fewer than 50% of 150 sessions; load more history or a shorter "
        "window"
    )
    assert holdings(returns, np.array([1.0, 1.0, 1.0, 0.0]), NAMES).symbols == ("A", "B", "C")


def test_a_hundred_sessions_are_enough_and_ninety_nine_are_not() -> None:
    assert len(holdings(real(100), np.ones(4), NAMES).returns) == 100
    with pytest.raises(RiskError) as refused:
        holdings(real(99), np.ones(4), NAMES)
    assert str(refused.value) == "risk measures: 99 sessions of returns, 100 are needed; load more history"


def test_nothing_held_is_refused() -> None:
    with pytest.raises(RiskError) as refused:
        holdings(real(150), np.zeros(4), NAMES)
    assert str(refused.value) == "risk measures: nothing is held; there is no risk to measure"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_position_without_a_value_is_refused_by_name(value: float) -> None:
    with pytest.raises(RiskError) as refused:
        holdings(real(150), np.array([1.0, value, 0.0, value]), NAMES)
    assert str(refused.value) == (
        "risk measures of 2 symbols (B, D): their value is not a finite number; mark the positions first"
    )


def test_an_infinite_return_is_refused_where_it_is_held() -> None:
    returns = real(150)
    returns[3, 1] = np.inf
    with pytest.raises(RiskError) as refused:
        holdings(returns, np.ones(4), NAMES)
    assert str(refused.value) == "risk measures of 1 symbols (B): a return is infinite; correct the prices"
    assert holdings(returns, np.array([1.0, 0.0, 1.0, 1.0]), NAMES).symbols == ("A", "C", "D")
    returns[0, 0] = np.nan  # and the infinite one has no part in the market
    assert np.isfinite(holdings(returns, np.array([1.0, 0.0, 1.0, 1.0]), NAMES).returns).all()


@pytest.mark.parametrize(("values", "names"), [(3, 4), (4, 3), (5, 4)])
def test_arrays_that_do_not_belong_together_are_refused(values: int, names: int) -> None:
    with pytest.raises(RiskError) as refused:
        holdings(real(150), np.ones(values), NAMES[:names])
    assert str(refused.value) == (
        f"risk measures: returns of 4 symbols, {values} values and {names} names do not belong together; "
        "pass one column, one value and one name per symbol"
    )


def test_no_history_is_completed_from_nothing() -> None:
    returns = real(150)
    returns[[0, 1, 2, 3], [0, 1, 2, 3]] = np.nan
    message = (
        "risk measures: B misses sessions, and no symbol that moves misses none, so there is nothing to complete "
        "its history from; load more symbols or correct the prices"
    )
    with pytest.raises(RiskError) as refused:
        holdings(returns, np.array([0.0, 1.0, 1.0, 0.0]), NAMES)
    assert str(refused.value) == message
    returns[:, 0] = 0.001  # complete, but it tells nothing
    with pytest.raises(RiskError) as refused:
        holdings(returns, np.array([0.0, 1.0, 1.0, 0.0]), NAMES)
    assert str(refused.value) == message


def test_more_than_ten_names_are_counted_and_not_all_listed() -> None:
    names = [f"S{j:02d}" for j in range(12)]
    with pytest.raises(RiskError, match=r"of 12 symbols \(S00, S01, .*, S09\): their") as refused:
        holdings(real(150, 12), np.full(12, np.nan), names)
    assert "S10" not in str(refused.value)


def test_overlapping_sums_are_of_sessions_that_follow_each_other() -> None:
    values = np.arange(10.0).reshape(5, 2)
    assert overlapping_sums(values, 3).tolist() == [[6.0, 9.0], [12.0, 15.0], [18.0, 21.0]]
    np.testing.assert_array_equal(overlapping_sums(values, 1), values)
