"""Risk of real positions over real prices: the stored numbers against the measures called by hand."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_dagster.accounting import books
from quant_dagster.cycle.held_portfolio import held_portfolio
from quant_dagster.cycle.risk_report import measured, risk_report, worst_shortfall
from quant_dagster.errors import DataUnavailableError
from quant_dagster.risk.measures.correlations import shrunk_correlation
from quant_dagster.risk.measures.heat import heat
from quant_dagster.risk.measures.measure import Method, measure
from quant_dagster.risk.stress.liquidity import liquidation_var
from quant_dagster.risk.stress.margin import regulation_t
from quant_dagster.settings import RiskSettings
from quant_dagster.storage.tables import TABLES
from tests.unit.cycle.measured_desk import (
    LAST,
    SYMBOLS,
    WINDOW,
    bars,
    by_hand,
    column,
    desk,
    prices,
    trade,
    without_newest,
)


class TestRiskReport:
    """VaR and ES, their parts, and everything beside them."""

    def test_the_rows_are_the_measures_of_what_is_held(self) -> None:
        context = desk()
        report = risk_report(context, LAST)
        returns, values = by_hand(prices())
        expected = measure(returns, values, SYMBOLS, [0.95, 0.99], 1, context.settings.risk.measures)
        stored = context.lake.read("risk_measures")
        assert stored.height == 2 * len(Method)
        for one in expected:
            row = stored.filter((pl.col("method") == one.method) & (pl.col("confidence") == one.confidence))
            found = row.select("value_at_risk", "expected_shortfall", "volatility").row(0)
            assert found == pytest.approx((one.var, one.es, one.volatility), rel=1e-6)
            assert json.loads(row["diagnostics"][0])["observations"] == WINDOW
        first = stored.row(0, named=True)
        assert (first["session"], first["horizon"], first["symbols"], first["not_measured"]) == (LAST, 1, 3, 0)
        assert first["equity"] == pytest.approx(100_000.0, abs=1.0)
        assert first["gross"] == pytest.approx(float(np.abs(values).sum()))
        assert report.statement == "3 of 3 positions measured over 250 sessions"
        assert report.measures.sort("method", "confidence").equals(stored.sort("method", "confidence"))

    def test_the_parts_add_up_to_the_whole(self) -> None:
        report = measured(desk(), LAST)
        key = ["method", "confidence", "horizon"]
        sums = report.contributions.group_by(key).agg(pl.col("component_var", "component_es", "value").sum())
        both = report.measures.join(sums, on=key)
        assert both.height == 2 * len(Method)
        assert both["component_var"].to_list() == pytest.approx(both["value_at_risk"].to_list())
        assert both["component_es"].to_list() == pytest.approx(both["expected_shortfall"].to_list())
        account = report.portfolio.account
        assert both["value"].to_list() == pytest.approx([float(account.net_exposure)] * both.height)
        hedge = report.contributions.filter(pl.col("symbol") == "XOM")
        assert (hedge["value"] < 0.0).all()
        whole = column(report.measures, "expected_shortfall", method=Method.FILTERED_HISTORICAL)
        assert [sum(report.sectors.values())] == pytest.approx(whole)
        assert list(report.sectors) == ["Financials", "Information Technology", "Energy"]

    def test_the_gates_confidence_and_one_session_are_always_among_what_is_measured(self) -> None:
        report = measured(desk(cvar_confidence=0.975, measures={"horizon": 5, "confidences": [0.99]}), LAST)
        asked = report.measures.select("confidence", "horizon").unique().sort("horizon", "confidence").rows()
        assert asked == [(0.975, 1), (0.99, 1), (0.975, 5), (0.99, 5)]

    def test_an_empty_portfolio_has_no_rows_and_says_so(self) -> None:
        context = desk(positions={})
        report = risk_report(context, LAST)
        assert report.statement == "nothing is held at the close of 2020-06-30: there is no risk to measure"
        assert report.problems == ()
        assert report.measures.is_empty() and report.contributions.is_empty() and report.positions.is_empty()
        assert report.measures.schema == TABLES["risk_measures"].schema
        assert (report.heat, report.factors, report.liquidity, report.liquidation_var) == (None, None, None, None)
        assert report.margin is not None and (report.margin.equity, report.margin.initial) == (100_000.0, 0.0)
        (broker,) = report.counterparties
        assert (broker.counterparty, broker.gross, broker.claim) == ("paper", 0.0, 100_000.0)
        assert context.lake.read("risk_measures").is_empty()

    def test_measuring_again_changes_nothing_and_what_was_sold_leaves(self) -> None:
        context = desk()
        risk_report(context, LAST)
        versions = [context.lake.version(name) for name in ("risk_measures", "risk_contributions")]
        risk_report(context, LAST)
        assert [context.lake.version(name) for name in ("risk_measures", "risk_contributions")] == versions
        assert set(context.lake.read("risk_contributions")["symbol"]) == {"AAPL", "JPM", "XOM"}
        with context.ledger.write() as connection:  # a late correction: it was flat at that close
            held = books.holding_of(connection, "XOM")
        trade(context, "XOM", -int(held.quantity), 44.0, date(2020, 6, 29))
        risk_report(context, LAST)
        assert set(context.lake.read("risk_contributions")["symbol"]) == {"AAPL", "JPM"}

    def test_trades_after_the_close_do_not_count(self) -> None:
        panel = prices()
        context = desk(panel.rows(0, len(panel.sessions) - 1))
        before = date(2020, 6, 29)
        context.lake.merge("bars", bars(panel))
        trade(context, "PG", 500, 118.0, LAST)
        assert held_portfolio(context, before, 300).held == ("AAPL", "JPM", "XOM")
        assert set(held_portfolio(context, LAST, 300).held) == {"AAPL", "JPM", "XOM", "PG"}
        early, closes = measured(context, before), panel.rows(0, len(panel.sessions) - 1)
        assert early.portfolio.panel.last_session == before
        assert early.positions["price"].to_list() == pytest.approx(closes.close[-1, :3].tolist())

    def test_a_young_symbol_is_left_out_and_named(self) -> None:
        panel = without_newest(prices(), "XOM", known=125)  # 124 returns of 250
        report = measured(desk(panel), LAST)
        assert report.not_measured == ("XOM",)
        assert report.statement == "2 of 3 positions measured over 250 sessions; too short a history: XOM"
        assert report.measures["not_measured"].unique().to_list() == [1]
        assert report.measures["symbols"].unique().to_list() == [2]
        returns, values = by_hand(panel, {"AAPL": 100, "JPM": 300})
        assert report.measures["gross"][0] == pytest.approx(float(values.sum()))
        known = returns[:, :2]
        expected = heat(shrunk_correlation(known, SYMBOLS[:2]), values[:2], float(report.portfolio.account.equity))
        assert report.heat is not None
        assert vars(report.heat) == pytest.approx(vars(expected))
        assert report.positions["symbol"].to_list() == ["AAPL", "JPM", "XOM"]

    def test_half_of_the_sessions_are_enough(self) -> None:
        report = measured(desk(without_newest(prices(), "XOM", known=126)), LAST)
        assert report.not_measured == ()
        assert json.loads(report.measures["diagnostics"][0])["coverage"] == {"XOM": 0.5}

    def test_what_cannot_be_measured_is_unknown_and_the_rest_is_still_told(self) -> None:
        context = desk(prices(60))
        report = risk_report(context, LAST)
        assert report.statement == "the risk of 3 positions at the close of 2020-06-30 is unknown"
        assert report.problems[0] == "risk measures: 59 sessions of returns, 100 are needed; load more history"
        assert context.lake.read("risk_measures").is_empty()
        assert report.heat is None
        assert report.sectors == {}
        assert report.margin is not None
        assert report.counterparties[0].gross == pytest.approx(float(report.portfolio.account.gross_exposure))
        assert report.positions["value"].to_list() == pytest.approx(by_hand(prices(60))[1][:3].tolist())

    def test_a_session_without_bars_is_refused(self) -> None:
        panel = prices()
        context = desk(panel.rows(0, len(panel.sessions) - 1))
        with pytest.raises(DataUnavailableError, match="the newest bars are of 2020-06-29"):
            measured(context, LAST)

    def test_volumes_say_how_long_the_book_takes_to_sell(self) -> None:
        context = desk(volumes={"AAPL": 1000.0, "JPM": 1000.0}, max_participation=0.05)
        report = measured(context, LAST)
        recent = prices().close[-20:]
        assert report.positions["average_traded"].to_list()[:2] == pytest.approx((1000 * recent[:, :2]).mean(axis=0))
        pace = 0.05 * (1000 * recent[:, :2]).mean(axis=0)
        sessions = report.positions["sessions_to_sell"].to_list()
        assert sessions[:2] == pytest.approx((by_hand(prices())[1][:2] / pace).tolist())
        assert sessions[2] is None
        assert report.positions["average_traded"][2] is None
        assert report.liquidity is not None and report.liquidity.longest == float("inf")
        returns, values = by_hand(prices())
        covariance = shrunk_correlation(returns[:, :3], SYMBOLS[:3]).covariance
        traded = np.append((1000 * recent[:, :2]).mean(axis=0), np.nan)
        expected = liquidation_var(values[:3], traded, 0.05, covariance, 0.95)
        assert report.liquidation_var == pytest.approx(expected, rel=1e-6)

    def test_without_any_volume_liquidity_is_unknown(self) -> None:
        report = measured(desk(), LAST)
        assert (report.liquidity, report.liquidation_var) == (None, None)
        assert "liquidity: no position has a volume; how long the book takes to sell is unknown" in report.problems
        assert report.positions["sessions_to_sell"].to_list() == [None] * 3

    def test_margin_and_counterparty_are_those_of_the_account(self) -> None:
        context = desk(max_counterparty_exposure=0.5)
        report = measured(context, LAST)
        quantities = np.array([100.0, 300.0, -200.0])
        closes, cash = np.round(prices().close[-1, :3], 4), float(report.portfolio.account.cash)
        expected = regulation_t(quantities, closes, cash, context.settings.risk, 0.0)
        assert report.margin is not None
        assert vars(report.margin) == pytest.approx(vars(expected), rel=1e-5)
        (broker,) = report.counterparties
        assert (broker.counterparty, broker.cash) == ("paper", cash)
        assert broker.gross == pytest.approx(report.measures["gross"][0])
        assert broker.breached == (broker.share > 0.5)

    def test_the_largest_shortfall_is_held_against_the_gates_limit(self) -> None:
        report, risk = measured(desk(), LAST), RiskSettings(cvar_limit=0.01)
        worst = worst_shortfall(report.measures, risk)
        assert worst is not None
        rows = report.measures.filter(pl.col("confidence") == 0.95)
        assert worst["expected_shortfall"] == rows["expected_shortfall"].max()
        assert worst["limit"] == 0.01 * worst["equity"]
        assert worst_shortfall(report.measures.head(0), risk) is None
        assert worst_shortfall(report.measures, RiskSettings(cvar_confidence=0.9)) is None
        later = report.measures.with_columns(pl.lit(5, pl.Int32()).alias("horizon"))
        assert worst_shortfall(later, risk) is None
