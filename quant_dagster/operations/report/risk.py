"""What the report says of risk: how much could be lost, whether that was foreseen, and what was done about it.

Belongs here: the section's reading, tables and figures. Does not: each verdict of the gate (``trades``).
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from quant_dagster.operations.report.content import Period, Row
from quant_dagster.operations.report.figures import (
    Series,
    empty_figure,
    exceedance_figure,
    line_figure,
    named_bars_figure,
)
from quant_dagster.operations.report.headline import amount
from quant_dagster.operations.report.tables import Column, Table, bps, number
from quant_dagster.risk import actions
from quant_dagster.risk.actions import RiskAction
from quant_dagster.risk.gate import Outcome
from quant_dagster.risk.reasons import words
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import lockouts

if TYPE_CHECKING:
    import polars as pl

_STYLES = ("accent", "second", "third", "fall", "buy", "reject", "sell", "hold")
_MOST_BARS = 12


@dataclass(frozen=True)
class RiskRecords:
    """What lake and ledger know of risk up to the period's end; ``measured`` is the session of ``contributions``."""

    measures: pl.DataFrame
    contributions: pl.DataFrame
    stress: pl.DataFrame
    backtests: pl.DataFrame
    lockouts: list[Row]
    actions: list[RiskAction]

    @property
    def measured(self) -> date | None:
        """Newest session whose holdings were measured."""
        newest = self.contributions["session"].max()
        return newest if isinstance(newest, date) else None

    @property
    def backtested(self) -> date | None:
        """Newest session of the newest backtest."""
        newest = self.backtests["session"].max()
        return newest if isinstance(newest, date) else None


def read_risk(ledger: Ledger, lake: Lake, period: Period) -> RiskRecords:
    """Measures of the period; of contributions, stress and backtests the newest; the period's lockouts, all actions.

    An action is not of a session: those that were asked for in a replay carry the time of the replay.
    """
    import polars as pl

    newest = pl.col("session") == pl.col("session").max()
    first, last = period.first, period.last
    with ledger.read() as connection:
        imposed = select(lockouts).where(lockouts.c.trading_day.between(first, last))
        rows = [dict(row) for row in connection.execute(imposed.order_by(lockouts.c.starts_at)).mappings()]
        asked = actions.every(connection)
    return RiskRecords(
        measures=lake.read("risk_measures", start=first, end=last),
        contributions=lake.read("risk_contributions", start=first, end=last).filter(newest),
        stress=lake.read("stress_results", start=first, end=last).filter(newest),
        backtests=lake.read("var_backtests", end=last).filter(newest),
        lockouts=rows,
        actions=asked,
    )


def risk_tables(period: Period, records: RiskRecords) -> dict[str, Table]:
    """The section's tables by name; those without a row are left out."""
    tables = {
        "measures": _measure_table(records),
        "stress": _stress_table(records),
        "backtests": _backtest_table(records),
        "refusals": _refusal_table(period),
        "lockouts": _lockout_table(records),
        "actions": _action_table(records),
        "control": _control_table(period),
    }
    return {name: table for name, table in tables.items() if table.rows}


def risk_figures(records: RiskRecords) -> dict[str, str]:
    """VaR, ES, contributions, stress results and the VaR backtests, as SVG."""
    return {
        "value_at_risk": _measure_figure(records, "value_at_risk", "Value at risk over equity"),
        "expected_shortfall": _measure_figure(records, "expected_shortfall", "Expected shortfall over equity"),
        "contributions": _contribution_figure(records),
        "stress": _stress_figure(records),
        "backtests": _backtest_figures(records),
    }


# -- tables -----------------------------------------------------------------------------------------------------------


def _measure_table(records: RiskRecords) -> Table:
    import polars as pl

    newest = records.measures.filter(pl.col("session") == pl.col("session").max())
    rows = [
        [
            row["method"], number(row["confidence"]), row["horizon"], number(row["value_at_risk"]),
            number(row["expected_shortfall"]), _over(row["value_at_risk"], row["equity"]),
            _over(row["expected_shortfall"], row["equity"]), _over(row["volatility"], row["equity"]), row["symbols"],
            row["not_measured"],
        ]
        for row in newest.sort("horizon", "confidence", "method").iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column("method", "code"),
        Column("confidence", "percent"),
        Column("horizon", "count", "sessions ahead"),
        Column("VaR", "money", "loss that is not passed with the confidence"),
        Column("ES", "money", "mean loss beyond it"),
        Column("VaR / equity", "percent"),
        Column("ES / equity", "percent"),
        Column("volatility / equity", "percent", "standard deviation of profit and loss"),
        Column("symbols", "count", "measured"),
        Column("not measured", "count", "too short a history"),
    )
    return Table(columns, rows, filters=(1, 2))


def _stress_table(records: RiskRecords) -> Table:
    rows = [
        [
            row["kind"], row["scenario"], number(row["profit"]), _over(row["profit"], row["equity"]),
            number(row["worst"]), number(row["value_at_risk"]), number(row["expected_shortfall"]), row["symbols"],
            row["not_evaluated"],
        ]
        for row in records.stress.sort("kind", "scenario").iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column("kind", "code"),
        Column("scenario", "code"),
        Column("profit", "signed", "at the scenario's end"),
        Column("of equity", "percent"),
        Column("worst", "signed", "lowest on the way"),
        Column("VaR", "money", "99 %, one session, in the scenario"),
        Column("ES", "money", "99 %, one session, in the scenario"),
        Column("symbols", "count", "valued"),
        Column("not evaluated", "count"),
    )
    return Table(columns, rows, filters=(0,))


def _backtest_table(records: RiskRecords) -> Table:
    rows = [
        [
            row["portfolio"], row["method"], number(row["confidence"]), row["first"].isoformat(), row["sessions"],
            row["missing"], row["exceedances"], number(row["expected"]), number(row["kupiec_p"]),
            number(row["independence_p"]), number(row["conditional_coverage_p"]), row["zone"],
            number(row["shortfall_statistic"]), number(row["shortfall_p"]), bps(row["mean_var"]), bps(row["mean_es"]),
        ]
        for row in records.backtests.sort("portfolio", "confidence", "method").iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column("portfolio"),
        Column("method", "code"),
        Column("confidence", "percent"),
        Column("from", "code"),
        Column("sessions", "count"),
        Column("missing", "count", "sessions without a forecast"),
        Column("exceedances", "count", "sessions that lost more than the forecast"),
        Column("expected", "number"),
        Column("Kupiec p", "number", "unconditional coverage: as many as expected?"),
        Column("independence p", "number", "Christoffersen: do they come in a row?"),
        Column("coverage p", "number", "both together"),
        Column("zone", "pill", "Basel traffic light of the newest 250 sessions"),
        Column("Z2", "number", "Acerbi and Szekely; below zero: shortfall is forecast too low"),
        Column("Z2 p", "number"),
        Column("mean VaR", "bps"),
        Column("mean ES", "bps"),
    )
    return Table(columns, rows, filters=(0, 1, 2))


def _refusal_table(period: Period) -> Table:
    """Why the gate refused orders or made them smaller, the most frequent code first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    symbols: dict[str, set[str]] = defaultdict(set)
    for row in period.risk_events:
        for code in row["reasons"]:
            counts[code][row["outcome"]] += 1
            symbols[code].add(row["symbol"])
    rows: list[list[Any]] = [
        [code, words(code), made[Outcome.REJECTED], made[Outcome.SCALED], len(symbols[code])]
        for code, made in counts.items()
    ]
    rows.sort(key=lambda row: (-row[2] - row[3], row[0]))
    columns = (
        Column("code", "code"), Column("what it means"), Column("refused", "count"), Column("made smaller", "count"),
        Column("symbols", "count"),
    )  # fmt: skip
    return Table(columns, rows)


def _lockout_table(records: RiskRecords) -> Table:
    rows = [
        [
            row["trading_day"].isoformat(), row["rule"], row["kind"], row["symbol"] or "the whole account",
            _minute(row["starts_at"]), _minute(row["expires_at"]), _minute(row["released_at"]), row["released_by"],
            row["reason"],
        ]
        for row in records.lockouts
    ]  # fmt: skip
    columns = (
        Column("trading day", "code"), Column("rule", "code"), Column("kind"), Column("of"),
        Column("from", hint="UTC"), Column("until", hint="UTC; without: until it is released"),
        Column("released", hint="UTC"), Column("by"), Column("why"),
    )  # fmt: skip
    return Table(columns, rows, filters=(1, 3))


def _action_table(records: RiskRecords) -> Table:
    rows = [
        [
            _minute(action.requested_at), action.kind.value, action.symbol or "everything held", action.actor,
            action.state.value, len(action.quantities) + len(action.stops),
            ", ".join(day.isoformat() for day in action.tried) or None, action.reason,
        ]
        for action in records.actions
    ]  # fmt: skip
    columns = (
        Column("asked for", hint="UTC, by the clock"), Column("action", "code"), Column("of"), Column("by"),
        Column("state", "pill"), Column("targets", "count"), Column("sessions ordered in"), Column("why"),
    )  # fmt: skip
    return Table(columns, rows, filters=(1, 4))


def _control_table(period: Period) -> Table:
    rows = [
        [
            row["sequence"], _minute(row["recorded_at"]), row["previous"], row["mode"], row["actor"],
            "automatic" if row["automatic"] else "a person", row["reason"],
        ]
        for row in reversed(period.control_changes)
    ]  # fmt: skip
    columns = (
        Column("change", "count"), Column("at", hint="UTC, by the clock"), Column("from"), Column("to", "pill"),
        Column("by"), Column("how"), Column("why"),
    )  # fmt: skip
    return Table(columns, rows)


# -- figures ----------------------------------------------------------------------------------------------------------


def _measure_figure(records: RiskRecords, column: str, title: str) -> str:
    """One line a method over the measured sessions, one session ahead, at the largest confidence."""
    import polars as pl

    rows = records.measures.filter(pl.col("horizon") == 1)
    if rows.is_empty():
        return empty_figure(title)
    confidence = rows["confidence"].max()
    rows = rows.filter(pl.col("confidence") == confidence).with_columns(share=pl.col(column) / pl.col("equity"))
    wide = rows.pivot("method", index="session", values="share").sort("session")
    names = sorted(name for name in wide.columns if name != "session")
    lines = [
        Series(name, [math.nan if v is None else v for v in wide[name]], _STYLES[i % len(_STYLES)], dashed=i >= 3)
        for i, name in enumerate(names)
    ]
    return line_figure(f"{title}, {_percent(float(confidence))}", wide["session"].to_list(), lines, _percent, zero=True)  # type: ignore[arg-type]


def _contribution_figure(records: RiskRecords) -> str:
    """Each position's share of expected shortfall, the mean of all methods, the largest first."""
    import polars as pl

    title = "Contributions to expected shortfall, mean of the methods"
    rows = records.contributions.filter((pl.col("horizon") == 1) & (pl.col("confidence") == pl.col("confidence").max()))
    parts = rows.group_by("symbol").agg(pl.col("component_es").mean()).sort("component_es", "symbol", descending=True)
    names, values = parts["symbol"].to_list(), parts["component_es"].to_list()
    if len(names) > _MOST_BARS:
        rest = sum(values[_MOST_BARS:])
        names = [*names[:_MOST_BARS], f"{len(names) - _MOST_BARS} others"]
        values = [*values[:_MOST_BARS], rest]
    return named_bars_figure(title, names, values, amount)


def _stress_figure(records: RiskRecords) -> str:
    """Profit or loss of every scenario, the worst first; of a simulation its expected shortfall as a loss."""
    import polars as pl

    loss = pl.coalesce(pl.col("profit"), -pl.col("expected_shortfall"))
    rows = records.stress.with_columns(loss=loss).drop_nulls("loss").sort("loss", "scenario")
    return named_bars_figure("Profit and loss under stress", rows["scenario"].to_list(), rows["loss"].to_list(), amount)


def _backtest_figures(records: RiskRecords) -> str:
    """A figure for each confidence: the method whose exceedances fit best."""
    import polars as pl

    confidences = sorted(set(records.backtests["confidence"].to_list()))
    return "".join(
        _backtest_figure(records.backtests.filter(pl.col("confidence") == confidence)) for confidence in confidences
    )


def _backtest_figure(rows: pl.DataFrame) -> str:
    """Returns, the VaR forecast and its exceedances, of the method with the largest p-value of conditional coverage."""
    best = rows.sort("portfolio", "conditional_coverage_p", "method", descending=[True, True, False], nulls_last=True)
    row = best.row(0, named=True)
    path = json.loads(row["path"])
    forecasts = [math.nan if value is None else -value for value in path["value_at_risk"]]
    title = f"Value at risk against what was lost: {row['portfolio']}, {row['method']}, {_percent(row['confidence'])}"
    return exceedance_figure(title, path["sessions"], path["returns"], forecasts, _percent)


# -- words ------------------------------------------------------------------------------------------------------------


def _over(amount: float | None, equity: float) -> float | None:
    return number(amount / equity) if amount is not None and equity > 0 else None


def _minute(moment: Any) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.3g} %".replace("-", "−")
