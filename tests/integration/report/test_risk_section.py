"""The report's section of risk: what could be lost, and what was done about it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from sqlalchemy import select, update

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.risk_report import risk_report
from quant_dagster.cycle.stress_report import stress_report
from quant_dagster.cycle.var_backtest import var_backtest
from quant_dagster.operations.report.content import read_period
from quant_dagster.operations.report.risk import read_risk, risk_figures
from quant_dagster.risk import actions
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import risk_events
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.decisions import REASONS
from tests.integration.report.pages import THREE, Page, Write


class TestRisk:
    """The section of what could be lost and what was done about it."""

    def test_without_records_every_part_says_so(self, lake: Lake, write: Write) -> None:
        for name in ("risk_measures", "risk_contributions", "stress_results", "var_backtests"):
            lake.replace(name, TABLES[name].empty(), THREE)
        page = write()
        for sentence in (
            "No risk was measured in this period", "No stress results in this period",
            "Value at risk was not backtested up to 2022-12-28", "Nothing was locked in this period",
            "No automatic action was ever asked for", "The control mode was never changed: NORMAL",
        ):  # fmt: skip
            assert sentence in page.text

    def test_what_was_measured_stressed_and_foreseen(self, lake: Lake, write: Write) -> None:
        context = TradingContext()
        measured = {day: risk_report(context, day).measures for day in THREE[1:]}
        stressed = stress_report(context, THREE[-1])
        tested = var_backtest(context, THREE[-1], start=date(2022, 11, 1))
        page = write()
        assert {"measures", "stress", "backtests"} <= {attrs.get("data-table") for _, attrs in page.found}
        newest = measured[THREE[-1]]
        shown = {(row["method"], row["confidence"], row["horizon"]): row for row in page.table("measures")}
        assert len(shown) == newest.height > 6
        for row in newest.to_dicts():
            cells = shown[row["method"], row["confidence"], row["horizon"]]
            assert cells["VaR"] == pytest.approx(row["value_at_risk"], abs=1e-6)
            assert cells["ES / equity"] == pytest.approx(row["expected_shortfall"] / row["equity"], abs=1e-6)
        profits = {row["scenario"]: row["profit"] for row in page.table("stress")}
        assert profits == {row["scenario"]: None if row["profit"] is None else round(row["profit"], 6)
                           for row in stressed.results.to_dicts()}  # fmt: skip
        exceedances = {(row["method"], row["confidence"]): row["exceedances"] for row in page.table("backtests")}
        assert exceedances == {(row["method"], row["confidence"]): row["exceedances"] for row in tested.to_dicts()}
        figures = risk_figures(read_risk(context.ledger, lake, read_period(context.ledger, None)))
        labels = [attrs["aria-label"] for tag, attrs in page.found if tag == "svg"]
        assert any(re.fullmatch(r"Value at risk over equity, 99 %, .* to 2022-12-28", label or "") for label in labels)
        assert "Profit and loss under stress" in labels
        drawn, dots = Page(figures["backtests"]), 0
        for confidence in (0.95, 0.99):
            judged = tested.filter(pl.col("confidence") == confidence)
            best = judged.sort("conditional_coverage_p", "method", descending=[True, False], nulls_last=True)
            assert f"equal_weight, {best['method'][0]}, {confidence * 100:.0f} %" in drawn.text
            dots += best["exceedances"][0]
        assert sum(tag == "circle" for tag, _ in drawn.found) == dots > 0

    def test_contributions_are_the_means_of_the_methods_and_add_up(self, lake: Lake, write: Write) -> None:
        context = TradingContext()
        parts = risk_report(context, THREE[-1]).contributions.filter(
            (pl.col("horizon") == 1) & (pl.col("confidence") == 0.99)
        )
        figures = risk_figures(read_risk(context.ledger, lake, read_period(context.ledger, None)))
        texts = Page(figures["contributions"]).texts
        largest = parts.group_by("symbol").agg(pl.col("component_es").mean()).sort("component_es", descending=True)
        name, value = largest.row(0)
        assert f"{value:,.0f}" in texts and name in texts

    def test_what_was_refused_locked_asked_for_and_set(self, ledger: Ledger, write: Write) -> None:
        moment = datetime(2022, 12, 28, 20, 59, 59, tzinfo=UTC)
        with ledger.write() as connection:
            event = connection.execute(select(risk_events).order_by(risk_events.c.session)).mappings().first()
            assert event is not None
            connection.execute(
                update(risk_events)
                .where(risk_events.c.event_id == event["event_id"])
                .values(outcome="rejected", approved_quantity=0, reasons=["cvar_breach", "daily_realised_loss"])
            )
            lockouts.add(
                connection, rule="daily_realised_loss", kind="lockout", symbol=None, trigger="t", reason="lost 500.00",
                trading_day=THREE[-1], starts_at=moment, expires_at=moment + timedelta(hours=2), actor="rule",
                now=moment,
            )  # fmt: skip
            held = {"KO": actions.Held(Decimal(10), Decimal(50))}
            actions.request(
                connection, actions.ActionKind.HALVE, held, trigger="x", actor="ada", reason="too much", at=moment
            )
            escalate(connection, ControlMode.PAUSE, actor="panic:errors", reason="21 requests failed", at=moment)
        page = write()
        refusals = {row["code"]: row for row in page.table("refusals")}
        assert refusals["cvar_breach"]["refused"] == 1
        assert refusals["cvar_breach"]["what it means"] == REASONS["cvar_breach"]
        assert refusals["daily_realised_loss"]["what it means"] == "account rule: Daily realised loss"
        (locked,) = page.table("lockouts")
        assert (locked["rule"], locked["of"], locked["from"], locked["until"], locked["released"]) == (
            "daily_realised_loss", "the whole account", "2022-12-28 20:59", "2022-12-28 22:59", None)  # fmt: skip
        (action,) = page.table("actions")
        assert (action["action"], action["of"], action["by"], action["state"], action["targets"]) == (
            "halve", "everything held", "ada", "working", 1)  # fmt: skip
        (change,) = page.table("control")
        assert (change["from"], change["to"], change["by"], change["how"]) == (
            "NORMAL", "PAUSE", "panic:errors", "automatic")  # fmt: skip
        assert "Control mode PAUSE" in page.text
