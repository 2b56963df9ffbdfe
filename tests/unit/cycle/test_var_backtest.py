"""Backtests of value at risk over real prices: the stored rows against the backtests called by hand."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from quant_dagster.cycle.var_backtest import (
    account_returns,
    backtest_all,
    equal_weight_returns,
    failing,
    holds,
    var_backtest,
)
from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.backtests import backtest, judge
from quant_dagster.risk.measures.measure import Method
from quant_dagster.storage.ledger_tables import account_snapshots
from tests.unit.cycle.measured_desk import (
    LAST,
    WINDOW,
    desk,
    prices,
    without,
)


class TestBacktest:
    """VaR forecast session by session over real history."""

    def test_the_rows_are_the_backtests_of_equal_weights(self) -> None:
        start = date(2020, 1, 2)
        context, panel = desk(positions={}, measures={"backtest_start": start}), prices()
        rows = var_backtest(context, LAST)
        settings = context.settings.risk.measures
        at = int(np.searchsorted(panel.sessions, np.datetime64(start)))
        closes = panel.close[at - WINDOW - 1 :]
        returns = (closes[1:] / closes[:-1] - 1.0).mean(axis=1)
        assert rows.height == 2 * len(Method)
        assert (rows["portfolio"] == "equal_weight").all()
        for method in (Method.HISTORICAL, Method.FILTERED_HISTORICAL, Method.CONDITIONAL_EXTREME_VALUE):
            for result in backtest(returns, method, WINDOW, settings.confidences, settings.tail_share, 1):
                verdict = judge(result, settings)
                wanted = (pl.col("method") == method) & (pl.col("confidence") == result.confidence)
                (row,) = rows.filter(wanted).iter_rows(named=True)
                assert (row["session"], row["first"]) == (LAST, start)
                assert (row["sessions"], row["exceedances"]) == (verdict.sessions, verdict.exceedances)
                assert row["expected"] == pytest.approx(verdict.expected)
                found = (row["kupiec_p"], row["independence_p"], row["conditional_coverage_p"], row["shortfall_p"])
                tests = (verdict.coverage, verdict.independence, verdict.conditional_coverage)
                assert found == pytest.approx((*(one.p_value for one in tests), verdict.shortfall_p_value), rel=1e-6)
                assert (row["zone"], row["mean_var"]) == (verdict.zone, pytest.approx(verdict.mean_var))
                path = json.loads(row["path"])
                assert path["sessions"][0] == "2020-01-02" and path["sessions"][-1] == "2020-06-30"
                assert path["returns"] == pytest.approx(returns[WINDOW:].tolist())
                assert path["value_at_risk"] == pytest.approx(result.var.tolist())
                assert path["expected_shortfall"] == pytest.approx(result.es.tolist())
        assert context.lake.read("var_backtests").height == rows.height

    def test_a_start_before_the_history_becomes_the_first_session_with_a_window(self) -> None:
        context = desk(positions={})
        rows = var_backtest(context, LAST, start=date(2010, 1, 4))
        assert rows["first"].unique().to_list() == [prices().sessions[1 + WINDOW].astype(object)]
        assert rows["sessions"].max() == 619 - WINDOW

    def test_a_beginning_with_few_symbols_is_left_out(self) -> None:
        panel = prices()
        close = without(panel, slice(0, 100)).close
        days, returns = equal_weight_returns(desk(without(panel, slice(0, 100)), {}), LAST, date(2010, 1, 4), WINDOW)
        assert days[0] == panel.sessions[101]
        assert returns[0] == pytest.approx(float((close[101] / close[100] - 1.0).mean()))

    def test_a_hole_is_refused(self) -> None:
        with pytest.raises(RiskError, match="less than 50%"):
            equal_weight_returns(desk(without(prices(), slice(300, 302)), {}), LAST, date(2010, 1, 4), WINDOW)

    def test_too_short_a_history_is_refused(self) -> None:
        with pytest.raises(RiskError, match=r"99 sessions leave none after a window of 250; load more"):
            var_backtest(desk(prices(100), {}), LAST)

    def test_a_single_session_is_refused(self) -> None:
        with pytest.raises(RiskError, match=r"no session up to 2020-06-30 has returns of 50% of 4 symbols"):
            equal_weight_returns(desk(prices(1), {}), LAST, LAST, WINDOW)

    def test_the_account_is_backtested_once_it_is_old_enough(self) -> None:
        context = desk(positions={}, measures={"window": 120, "confidences": [0.95]})
        equity = 1e5 * prices().close[-371:, 0] / prices().close[-371, 0]
        days = prices().sessions[-371:].astype(object).tolist()
        nothing = dict.fromkeys(
            ("cash", "market_value", "gross_exposure", "net_exposure", "realised_pnl", "unrealised_pnl", "commission"),
            Decimal(0),
        )
        rows = [
            nothing | {"session": day, "equity": Decimal(str(round(one, 6))), "peak_equity": Decimal(1)}
            for day, one in zip(days, equity.tolist(), strict=True)
        ]
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.insert(), rows[1:])
        assert set(backtest_all(context, LAST)["portfolio"]) == {"equal_weight"}
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.insert(), rows[:1])
        found_days, returns = account_returns(context, LAST)
        assert found_days[0] == np.datetime64(days[1])
        assert returns == pytest.approx(equity[1:] / equity[:-1] - 1.0, abs=1e-9)
        assert len(account_returns(context, days[10])[1]) == 10
        both = backtest_all(context, LAST)
        assert both["portfolio"].unique(maintain_order=True).to_list() == ["equal_weight", "account"]
        assert both.filter(pl.col("portfolio") == "account")["sessions"].max() == 250
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.update().where(account_snapshots.c.session == LAST).values(equity=0))
        with pytest.raises(RiskError, match="was not always above zero"):
            account_returns(context, LAST)

    def test_it_holds_where_a_method_that_follows_volatility_passes_everywhere(self) -> None:
        def rows(*found: tuple[str, float, float]) -> pl.DataFrame:
            frame = pl.DataFrame(found, schema=["method", "confidence", "conditional_coverage_p"], orient="row")
            return frame.with_columns(pl.lit("equal_weight").alias("portfolio"))

        both = rows(("filtered_historical", 0.95, 0.01), ("conditional_extreme_value", 0.99, 0.5))
        assert holds(both, 0.01)
        assert failing(both, 0.01).is_empty()
        one = rows(("filtered_historical", 0.95, 0.5), ("filtered_historical", 0.99, 0.0099))
        assert not holds(one, 0.01)
        assert failing(one, 0.01)["confidence"].to_list() == [0.99]
        assert not holds(rows(("historical", 0.95, 0.9)), 0.01)
        assert not holds(both.head(0), 0.01)
