"""Performance figures: published numbers, a reference library, and what too few sessions may not say."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quant_dagster.accounting.books import ZERO, Fill, Side, replay
from quant_dagster.accounting.events import Split
from quant_dagster.accounting.performance import (
    annualised_return,
    closed_trades,
    hit_rate,
    max_drawdown,
    performance,
    profit_factor,
    session_returns,
    sharpe_ratio,
    sharpe_standard_error,
    turnover,
)
from quant_dagster.errors import BooksError

START = date(2023, 1, 2)


def days(count: int) -> list[date]:
    return [START + timedelta(days=i) for i in range(count)]


@pytest.fixture(scope="module")
def index() -> pd.Series:
    """Closes of the S&P 500, 1999 to 2018."""
    from arch.data import sp500

    return sp500.load()["Adj Close"]


def fill(number: int, side: Side, quantity: int, price: str, commission: str = "0", symbol: str = "AAPL") -> Fill:
    return Fill(
        execution_id=f"e{number}",
        client_order_id="o1",
        session=START + timedelta(days=number),
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        commission=Decimal(commission),
        decision_price=Decimal(price),
        reference_price=Decimal(price),
        provenance={},
    )


class TestDrawdown:
    def test_the_financial_crisis(self, index: pd.Series) -> None:
        """S&P Dow Jones Indices: 1565.15 on 2007-10-09 to 676.53 on 2009-03-09, -56.8 %, made good on 2013-03-28."""
        fall = max_drawdown([stamp.date() for stamp in index.index], index.to_numpy())
        assert fall is not None
        assert (fall.peak, fall.trough, fall.recovered) == (date(2007, 10, 9), date(2009, 3, 9), date(2013, 3, 28))
        assert fall.depth == pytest.approx(0.5678, abs=5e-5)
        assert fall.money == pytest.approx(1565.15 - 676.53, abs=0.02)

    def test_agrees_with_skfolio(self, index: pd.Series) -> None:
        from skfolio.measures import get_drawdowns

        values = index.to_numpy()[-700:]
        fall = max_drawdown(days(700), values)
        returns = session_returns(values)
        assert fall is not None and returns is not None
        assert fall.depth == pytest.approx(-float(get_drawdowns(returns, compounded=True).min()), rel=1e-9)

    def test_equity_that_never_falls_has_none(self) -> None:
        assert max_drawdown(days(3), [1.0, 1.0, 2.0]) is None

    def test_the_peak_is_the_last_session_at_it_and_a_fall_that_lasts_has_not_recovered(self) -> None:
        fall = max_drawdown(days(5), [100.0, 110.0, 110.0, 99.0, 109.0])
        assert fall is not None
        assert (fall.peak, fall.trough, fall.recovered) == (days(5)[2], days(5)[3], None)
        assert fall.depth == pytest.approx(0.1)

    def test_of_equal_falls_the_earliest(self) -> None:
        fall = max_drawdown(days(5), [100.0, 90.0, 100.0, 90.0, 100.0])
        assert fall is not None and (fall.trough, fall.recovered) == (days(5)[1], days(5)[2])

    def test_an_account_that_was_never_positive_has_none(self) -> None:
        assert max_drawdown(days(2), [0.0, -5.0]) is None

    @given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=40))
    def test_is_the_worst_of_all_pairs(self, values: list[float]) -> None:
        worst = max(1 - later / earlier for i, earlier in enumerate(values) for later in values[i:])
        fall = max_drawdown(days(len(values)), values)
        assert (fall.depth if fall else 0.0) == pytest.approx(worst, abs=1e-12)


class TestSharpe:
    @pytest.mark.parametrize(
        ("ratio", "observations", "error"),
        [(0.50, 12, 0.306), (0.50, 60, 0.137), (1.00, 24, 0.250), (1.50, 36, 0.243), (3.00, 12, 0.677)],
    )
    def test_standard_error_of_lo_2002_table_1(self, ratio: float, observations: int, error: float) -> None:
        assert sharpe_standard_error(ratio, observations, periods=1) == pytest.approx(error, abs=5e-4)

    def test_standard_error_is_how_much_the_ratio_really_varies(self) -> None:
        """Twenty thousand accounts of 250 sessions drawn from one normal distribution."""
        generator = np.random.default_rng(20020701)
        returns = generator.normal(0.001, 0.01, size=(20_000, 250))
        ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1) * math.sqrt(252)
        truth = 0.1 * math.sqrt(252)
        assert float(ratios.std()) == pytest.approx(sharpe_standard_error(truth, 250), rel=0.02)

    def test_agrees_with_skfolio(self, index: pd.Series) -> None:
        from skfolio.measures import mean, standard_deviation

        returns = session_returns(index.to_numpy())
        assert returns is not None
        reference = float(mean(returns)) / float(standard_deviation(returns, biased=False)) * math.sqrt(252)
        assert sharpe_ratio(returns) == pytest.approx(reference, rel=1e-9)

    @pytest.mark.parametrize("returns", [[], [0.01], [0.01] * 30, [0.1 + 0.2, 0.3, 0.3]])
    def test_returns_that_do_not_vary_have_none(self, returns: list[float]) -> None:
        assert sharpe_ratio(returns) is None


class TestPerformance:
    def test_a_year_of_the_index(self, index: pd.Series) -> None:
        """S&P Dow Jones Indices: the S&P 500 closed 2016 at 2238.83 and 2017 at 2673.61, a price return of 19.42 %."""
        year = index.loc["2016-12-30":"2017-12-29"]
        found = performance([stamp.date() for stamp in year.index], year.to_numpy())
        assert found.cumulative_return == pytest.approx(0.1942, abs=5e-5)
        assert found.profit == pytest.approx(2673.61 - 2238.83, abs=0.02)
        assert found.returns == 251 and found.annualised_return is None
        assert "251 returns are less than a year" in found.notes[0]
        assert found.sharpe is not None and found.sharpe > 2 and len(found.notes) == 1

    def test_a_year_and_a_session_is_annualised(self, index: pd.Series) -> None:
        values = index.to_numpy()[:505]
        found = performance(days(505), values)
        assert found.cumulative_return is not None
        assert found.annualised_return == pytest.approx((values[-1] / values[0]) ** 0.5 - 1)

    def test_twenty_sessions_cannot_tell_a_ratio_from_zero_and_say_so(self, index: pd.Series) -> None:
        found = performance(days(20), index.to_numpy()[:20])
        assert found.sharpe is not None and found.sharpe_error is not None and found.sharpe_error > 3
        assert "cannot be told from zero: 19 returns" in found.notes[-1]

    def test_few_sessions_have_a_return_but_no_volatility(self) -> None:
        found = performance(days(3), [100.0, 101.0, 99.0])
        assert found.cumulative_return == pytest.approx(-0.01)
        assert (found.annualised_volatility, found.sharpe, found.sharpe_error) == (None, None, None)
        assert found.session_hit_rate == 0.5
        assert (found.best_return, found.worst_return) == (pytest.approx(0.01), pytest.approx(99 / 101 - 1))
        assert any("too few for a volatility" in note for note in found.notes)

    def test_one_session_says_nothing(self) -> None:
        found = performance(days(1), [100.0])
        assert (found.returns, found.profit, found.first, found.last) == (0, 0.0, START, START)
        assert found.cumulative_return is None and found.session_hit_rate is None and found.best_return is None

    def test_an_account_that_was_wiped_out_has_no_returns_after(self) -> None:
        found = performance(days(4), [100.0, -5.0, -5.0, 10.0])
        assert found.cumulative_return == pytest.approx(-0.9)
        assert (found.best_return, found.sharpe, found.session_hit_rate) == (None, None, None)
        assert found.notes == ("equity was not above zero throughout: returns are undefined",)

    def test_flat_equity_has_volatility_zero_and_no_ratio(self) -> None:
        found = performance(days(30), [100.0] * 30)
        assert (found.annualised_volatility, found.sharpe, found.sharpe_error) == (0.0, None, None)

    @pytest.mark.parametrize(
        ("sessions", "equity", "message"),
        [
            ([], [], "one equity value per session"),
            (days(2), [1.0], "one equity value per session"),
            (days(2), [1.0, float("nan")], "equity of 2023-01-03 is not a number"),
            (days(2)[::-1], [1.0, 2.0], "ascending order"),
            ([START, START], [1.0, 2.0], "ascending order"),
        ],
    )
    def test_a_series_that_is_none_is_refused(self, sessions: list[date], equity: list[float], message: str) -> None:
        with pytest.raises(BooksError, match=message):
            performance(sessions, equity)

    def test_a_total_loss_stays_one(self) -> None:
        assert annualised_return(-1.0, 300) == -1.0
        assert annualised_return(-1.5, 300) == -1.0


class TestTrades:
    def test_profit_and_commission_of_a_round_trip(self) -> None:
        """100 at 10 and 100 at 20 cost 15 each; 50 sold at 18 earn 150 and bear a quarter of what was paid to open."""
        history = [
            fill(1, Side.BUY, 100, "10", "2"),
            fill(2, Side.BUY, 100, "20", "2"),
            fill(3, Side.SELL, 50, "18", "3"),
        ]
        (trade,) = closed_trades(history)
        assert (trade.session, trade.symbol, trade.quantity) == (history[2].session, "AAPL", 50)
        assert (trade.profit, trade.commission, trade.net) == (150, 4, 146)

    def test_a_sale_through_zero_shares_its_commission_by_quantity(self) -> None:
        history = [
            fill(1, Side.BUY, 10, "100", "1"),
            fill(2, Side.SELL, 40, "110", "4"),
            fill(3, Side.BUY, 30, "105", "2"),
        ]
        first, second = closed_trades(history)
        assert (first.quantity, first.profit, first.commission) == (10, 100, 2)
        assert (second.quantity, second.profit, second.commission) == (30, 150, 5)

    def test_what_is_sold_after_a_split_bears_the_commission_of_the_shares_it_was(self) -> None:
        """100 bought at 10 become 200 at 5; half of them sold at 6 bear half of what was paid to open."""
        history = [fill(1, Side.BUY, 100, "10", "2"), fill(3, Side.SELL, 100, "6", "3")]
        (trade,) = closed_trades(history, [Split("AAPL", START + timedelta(days=2), "s", 2, 1, None)])
        assert (trade.quantity, trade.profit, trade.commission) == (100, 100, 4)

    def test_a_fill_that_was_taken_back_closed_nothing(self) -> None:
        taken_back = replace(fill(2, Side.SELL, 100, "15"), quantity=ZERO, correction=1)
        history = [fill(1, Side.BUY, 100, "10", "2"), taken_back, fill(3, Side.SELL, 100, "12", "3")]
        (trade,) = closed_trades(history)
        assert (trade.session, trade.profit, trade.commission) == (history[2].session, 200, 5)

    def test_symbols_are_apart(self) -> None:
        assert closed_trades([fill(1, Side.BUY, 1, "5"), fill(2, Side.SELL, 1, "9", symbol="MSFT")]) == []

    @given(
        st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(1, 50), st.integers(1, 200)), max_size=30),
        st.integers(0, 5),
    )
    def test_profits_add_up_to_the_books(self, orders: list[tuple[Side, int, int]], paid: int) -> None:
        history = [fill(i, side, count, str(price), str(paid)) for i, (side, count, price) in enumerate(orders)]
        flat = replay("AAPL", history)
        if flat.quantity:
            side = Side.SELL if flat.quantity > 0 else Side.BUY
            history.append(replace(fill(99, side, int(abs(flat.quantity)), "100", str(paid))))
        trades, holding = closed_trades(history), replay("AAPL", history)
        assert sum((trade.profit for trade in trades), ZERO) == holding.realised_pnl
        assert float(sum((trade.commission for trade in trades), ZERO)) == pytest.approx(float(holding.commission))


class TestRatios:
    def test_profit_factor_is_gains_over_losses(self) -> None:
        assert profit_factor([30.0, -10.0, 0.0, -5.0]) == 2.0

    @pytest.mark.parametrize("results", [[], [1.0, 2.0], [0.0]])
    def test_without_losses_it_has_no_value(self, results: list[float]) -> None:
        assert profit_factor(results) is None

    def test_hit_rate_counts_only_what_is_above_zero(self) -> None:
        assert hit_rate([1.0, 0.0, -1.0, 2.0]) == 0.5
        assert hit_rate(np.array([])) is None

    def test_turnover_is_over_mean_equity(self) -> None:
        equity: NDArray[np.float64] = np.array([90.0, 110.0])
        assert turnover(50.0, equity) == 0.5
        assert turnover(50.0, []) is None
        assert turnover(50.0, [-1.0]) is None

    def test_returns_need_a_positive_base(self) -> None:
        assert session_returns([100.0, 110.0, 99.0]) == pytest.approx([0.1, -0.1])
        assert session_returns([100.0, 0.0, 99.0]) is None
