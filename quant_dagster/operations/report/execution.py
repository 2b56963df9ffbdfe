"""What the report says of execution: the shortfall and its parts, against which benchmarks, and the worst orders.

Belongs here: the section's reading, tables and text. Does not: what was paid on each fill (``trades``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from quant_dagster.cycle.execution_quality import cost_model_of, quality_rows
from quant_dagster.execution.quality.best_execution import By, summary, worst
from quant_dagster.execution.quality.impact_model import ImpactModel
from quant_dagster.execution.quality.shortfall import PARTS
from quant_dagster.operations.report.content import Period, Row
from quant_dagster.operations.report.tables import Column, Table, number

if TYPE_CHECKING:
    from quant_dagster.settings import ExecutionSettings
    from quant_dagster.storage.ledger import Ledger

_GROUPS = {
    By.ALGORITHM: "By algorithm", By.VENUE: "By venue", By.SIDE: "By side", By.HOUR: "By hour", By.SYMBOL: "By symbol",
}  # fmt: skip
_WORST = 20


@dataclass(frozen=True)
class ExecutionRecords:
    """Measured orders of the period, and the cost model as it is at its end."""

    rows: list[Row]
    model: ImpactModel


def read_execution(ledger: Ledger, period: Period, costs: ExecutionSettings) -> ExecutionRecords:
    """What the ledger knows of execution in the period and before."""
    with ledger.read() as connection:
        rows = quality_rows(connection, since=period.first, until=period.last)
        model = cost_model_of(connection, costs, until=period.last)
    return ExecutionRecords(rows, model)


def execution_tables(records: ExecutionRecords) -> dict[str, Table]:
    """The section's tables by name; none where nothing was measured."""
    if not records.rows:
        return {}
    tables = {f"execution_by_{by.value}": _group_table(records.rows, by) for by in _GROUPS}
    tables["execution_orders"] = _order_table(records.rows)
    tables["execution_worst"] = _worst_table(records.rows)
    return {name: table for name, table in tables.items() if table.rows}


def execution_section(records: ExecutionRecords) -> str:
    """The section as HTML: its tables are filled in by the page's script."""
    if not records.rows:
        content = "<p class=\"none\">No order was measured in this period. Run 'quant costs measure'.</p>"
        return f'<section id="execution">\n  <h2>Execution</h2>\n  {content}\n</section>'
    tables = execution_tables(records)
    parts = [_told(records), _model_told(records.model)]
    lines = ["  <h2>Execution</h2>", *(f'  <p class="small">{escape(text)}</p>' for text in parts)]
    titles = {f"execution_by_{by.value}": title for by, title in _GROUPS.items()}
    titles |= {"execution_worst": "The orders that cost most", "execution_orders": "Each order"}
    for name, title in titles.items():
        if name in tables:
            lines += [f"  <h3>{escape(title)}</h3>", f'  <div data-table="{name}"></div>']
    return "\n".join(['<section id="execution">', *lines, "</section>"])


# -- tables -----------------------------------------------------------------------------------------------------------


def _group_table(rows: Sequence[Row], by: By) -> Table:
    found = [
        [
            row["group"], row["orders"], row["fills"], number(row["value"]), number(row["filled"]),
            number(row["cost_bps"]), number(row["arrival_bps"]), _reach(row, "arrival"), number(row["vwap_bps"]),
            _reach(row, "vwap"), number(row["close_bps"]), _reach(row, "close"), number(row["improved"]),
            number(row["partly_filled"]), number(row["unfilled"]),
        ]
        for row in summary(rows, by).iter_rows(named=True)
    ]  # fmt: skip
    columns = (
        Column(by.value, "symbol" if by is By.SYMBOL else "code"),
        Column("orders", "count"),
        Column("fills", "count"),
        Column("value", "money", "traded"),
        Column("filled", "percent", "of the value wanted"),
        Column("shortfall", "bps", "all costs against the decision, weighted by value; positive is a cost"),
        Column("vs arrival", "bps", "mean of the orders"),
        Column("95 %", "text", "confidence interval of that mean; absent with one order"),
        Column("vs VWAP", "bps", "of the market while the order was worked"),
        Column("95 %"),
        Column("vs close", "bps"),
        Column("95 %"),
        Column("improved", "percent", "of filled orders: better than the far side of the market at arrival"),
        Column("in part", "percent", "orders filled in part"),
        Column("not", "percent", "orders not filled"),
    )
    return Table(columns, found)


def _order_table(rows: Sequence[Row]) -> Table:
    ordered = sorted(rows, key=lambda row: (-row["session"].toordinal(), row["symbol"], row["order_id"]))
    found = [
        [
            row["session"].isoformat(), row["symbol"], row["side"].upper(), row["algorithm"], number(row["ordered"]),
            number(row["filled"]), number(row["decision_price"]), number(row["arrival_price"]),
            number(row["average_price"]), number(row["interval_vwap"]), number(row["close_price"]),
            *(number(row[f"{part}_bps"]) for part in PARTS), number(row["total_bps"]), number(row["estimated_bps"]),
            number(row["vwap_slippage_bps"]), number(row["participation"]),
        ]
        for row in ordered
    ]  # fmt: skip
    details = tuple({"unknown": _unknown(row)} for row in ordered)
    return Table(_ORDER_COLUMNS, found, filters=(0, 1, 2, 3), details=details, search=True)


_ORDER_COLUMNS = (
    Column("session", "code"),
    Column("symbol", "symbol"),
    Column("side", "pill"),
    Column("algorithm", "code"),
    Column("ordered", "quantity"),
    Column("filled", "quantity"),
    Column("decision", "price"),
    Column("arrival", "price"),
    Column("average", "price"),
    Column("VWAP", "price", "of the market while the order was worked"),
    Column("close", "price"),
    Column("delay", "bps", "decision to arrival"),
    Column("spread", "bps", "half the spread at arrival"),
    Column("impact", "bps", "arrival to average price beyond the half spread"),
    Column("fees", "bps"),
    Column("opportunity", "bps", "of what was not filled, at the close"),
    Column("total", "bps"),
    Column("expected", "bps", "what the model said before, without delay and opportunity"),
    Column("vs VWAP", "bps"),
    Column("part.", "percent", "share of the market's volume"),
)


def _worst_table(rows: Sequence[Row]) -> Table:
    found = []
    for row in worst(rows, _WORST):
        evidence = row["evidence"]
        bar = (evidence.get("bars") or [evidence.get("close_bar") or {}])[0]
        largest = max((part for part in PARTS if row[f"{part}_bps"] is not None),
                      key=lambda part, one=row: one[f"{part}_bps"], default=None)  # type: ignore[misc]  # fmt: skip
        found.append(
            [
                row["session"].isoformat(), row["symbol"], row["side"].upper(), row["algorithm"],
                number(row["total_bps"]), largest, evidence.get("status"), evidence.get("venue"),
                evidence.get("arrival_from"), evidence.get("spread_from"), bar.get("vendor"), bar.get("row_hash"),
                row["order_id"],
            ]
        )  # fmt: skip
    columns = (
        Column("session", "code"),
        Column("symbol", "symbol"),
        Column("side", "pill"),
        Column("algorithm", "code"),
        Column("total", "bps"),
        Column("mostly", "text", "the largest part of it"),
        Column("status", "pill"),
        Column("venue"),
        Column("arrival from", "code"),
        Column("spread from", "code"),
        Column("vendor"),
        Column("bar", "code", "hash of the vendor's row"),
        Column("order", "code"),
    )
    return Table(columns, found)


# -- words ------------------------------------------------------------------------------------------------------------


def _told(records: ExecutionRecords) -> str:
    unmeasured = sum(row["total_bps"] is None for row in records.rows)
    text = (
        f"Implementation shortfall (Perold 1988) of {len(records.rows)} orders, a slice within its algorithm's order; "
        "positive is a cost, basis points of the decision's value. Delay, spread, impact, fees and opportunity add up "
        "to the total."
    )
    return f"{text} Of {unmeasured} the total is not known." if unmeasured else text


def _model_told(model: ImpactModel) -> str:
    if model.impact is None:
        return (
            "Cost model: nothing was learned yet, because no order has a price, a volume and a volatility. Estimates "
            "are those of the settings."
        )
    errors = ["" if error is None else f" ± {error:.2g}" for error in (model.spread_error, model.impact_error)]
    fitted = "" if model.r_squared is None else f", R² {model.r_squared:.2f}"
    return (
        f"Cost model: {model.spread:.3g}{errors[0]} half spreads, and {model.impact:.3g}{errors[1]} times the daily "
        f"volatility times the root of the order's share of the daily volume; learned from {model.orders} orders"
        f"{fitted}, {model.prior_weight:.0%} of it is still the settings'."
    )


def _reach(row: dict[str, Any], name: str) -> str | None:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low is None else f"{low:.1f} to {high:.1f}".replace("-", "−")


def _unknown(row: Row) -> str | None:
    """What could not be measured, and why."""
    said = row["evidence"].get("unknown", {})
    return ", ".join(f"{name}: {reason}" for name, reason in sorted(said.items())) or None
