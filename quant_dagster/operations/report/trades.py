"""The report's tables of what was decided, what the risk gate said of it, and what it cost to trade.

Belongs here: rows per decision, order and fill. Does not: profit, data quality and cycles (``tables``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any

from quant_dagster.operations.report.content import NO_COST, FillCost, Period, Row
from quant_dagster.operations.report.tables import Column, Table, bps, number
from quant_dagster.risk.gate import Outcome, Verdict
from quant_dagster.strategies.decisions import REASONS

if TYPE_CHECKING:
    import polars as pl


_CHECKED = {"control_normal": "anything, while the control mode is not NORMAL"}
_COST_COLUMNS = (
    Column("delay bps", "bps", "reference against decision price; positive is a cost"),
    Column("execution bps", "bps", "fill against reference price; positive is a cost"),
    Column("commission bps", "bps"),
    Column("total bps", "bps"),
)


def decision_table(period: Period, forecasts: pl.DataFrame) -> Table:
    """Every decision, newest session first, with sizes, forecasts and signals to unfold."""
    by_name = _combined_forecasts(forecasts)
    verdicts = {(row["cycle_id"], row["symbol"]): row for row in period.risk_events}
    rows, details = [], []
    for row in sorted(period.decisions, key=lambda row: (-row["session"].toordinal(), row["symbol"])):
        size = row["details"].get("size", {})
        rows.append(
            [
                row["session"].isoformat(),
                row["symbol"],
                row["action"],
                number(row["current_quantity"]),
                number(row["target_quantity"]),
                number(row["target_quantity"] - row["current_quantity"]),
                number(row["decision_price"]),
                number(size.get("weight")),
                row["alpha"],
                number(row["confidence"]),
                number(row["risk"]),
                bps(row["expected_return"]),
                number(row["expected_volatility"]),
                number(row["quality_score"]),
                row["reasons"],
            ]
        )
        verdict = verdicts.get((row["cycle_id"], row["symbol"]))
        details.append(
            {
                "size": {name: number(value) if name != "bound_by" else value for name, value in size.items()},
                "signals": [
                    [
                        alpha,
                        signal["direction"],
                        *(number(signal[name]) for name in ("strength", "confidence", "risk", "priority")),
                        "on" if signal["enabled"] else "off",
                        signal["reason"],
                    ]
                    for alpha, signal in sorted(row["details"].get("signals", {}).items())
                ],
                "forecasts": by_name.get((row["session"], row["symbol"]), []),
                "fallback": row["details"].get("forecast_fallback"),
                "issues": row["details"].get("quality_issues") or None,
                "not_evaluated": row["details"].get("not_evaluated") or None,
                "gate": _gate_line(verdict),
            }
        )
    columns = (
        Column("session", "code"),
        Column("symbol", "symbol"),
        Column("action", "pill"),
        Column("held", "quantity", "shares at the decision"),
        Column("target", "quantity", "shares wanted; of a rejected order, what it wanted"),
        Column("change", "quantity"),
        Column("price", "price", "close the decision was made on"),
        Column("weight", "percent", "size wanted, as a fraction of equity"),
        Column("alpha"),
        Column("confidence", "number"),
        Column("risk", "number"),
        Column("E[r] bps", "bps", "combined forecast of the log return of one session"),
        Column("daily vol", "percent", "forecast volatility of one session"),
        Column("quality", "number", "quality score of the symbol's data"),
        Column("why", "reasons"),
    )
    return Table(columns, rows, filters=(0, 2, 1, 8), details=tuple(details), search=True)


def fill_table(period: Period) -> Table:
    """Every fill against the price it was decided on, newest first."""
    rows = []
    for row, cost in sorted(
        zip(period.fills, period.costs, strict=True),
        key=lambda pair: (-pair[0]["session"].toordinal(), pair[0]["symbol"], pair[0]["sequence"]),
    ):
        origin = row["provenance"]
        participation = origin.get("participation")
        bar = origin.get("bar", {})
        rows.append(
            [
                row["session"].isoformat(),
                period.decided[row["client_order_id"]].isoformat(),
                row["symbol"],
                row["side"].upper(),
                number(row["quantity"]),
                number(row["decision_price"]),
                number(row["reference_price"]),
                number(row["price"]),
                *_cost_cells(cost),
                number(cost.total),
                origin.get("priced_at"),
                number(participation) if isinstance(participation, float) else None,
                bar.get("vendor"),
                bar.get("row_hash"),
            ]
        )
    columns = (
        Column("session", "code", "session of the fill"),
        Column("decided", "code", "session of the decision"),
        Column("symbol", "symbol"),
        Column("side", "pill"),
        Column("quantity", "quantity"),
        Column("decision", "price", "close decided on"),
        Column("reference", "price", "the bar's price before slippage"),
        Column("fill", "price"),
        *_COST_COLUMNS,
        Column("cost", "signed_cost", "delay + execution + commission, account currency; positive is a cost"),
        Column("priced at"),
        Column("part.", "percent", "share of the bar's volume; absent where the volume is unknown"),
        Column("vendor"),
        Column("bar", "code", "hash of the vendor's row it was filled against"),
    )
    return Table(columns, rows, filters=(0, 2, 3), search=True)


def cost_table(period: Period) -> Table:
    """Costs added up, weighted by value: by side and in all."""
    groups: dict[str, list[FillCost]] = {"buy": [], "sell": []}
    for row, cost in zip(period.fills, period.costs, strict=True):
        groups[row["side"]].append(cost)
    rows = []
    for name, costs in (*groups.items(), ("all", period.costs)):
        total = sum(costs, NO_COST)
        rows.append(
            [
                name.upper(),
                len(costs),
                number(total.notional),
                *_cost_cells(total),
                *(number(part) for part in (total.delay, total.execution, total.commission, total.total)),
            ]
        )
    columns = (
        Column("side", "pill"),
        Column("fills", "count"),
        Column("value", "money", "at decision prices"),
        *_COST_COLUMNS,
        Column("delay", "signed_cost"),
        Column("execution", "signed_cost"),
        Column("commission", "signed_cost"),
        Column("total", "signed_cost"),
    )
    return Table(columns, rows)


def verdict_table(period: Period) -> Table:
    """Every order the risk gate saw: what it asked for, what it got, and which checks bound."""
    rank = {Outcome.REJECTED.value: 0, Outcome.SCALED.value: 1}
    rows = []
    ordered = sorted(
        period.risk_events, key=lambda r: (rank.get(r["outcome"], 2), -r["session"].toordinal(), r["symbol"])
    )
    for row in ordered:
        checks = row["checks"]
        tightest = max((c for c in checks if _used(c) is not None), key=lambda c: _used(c) or 0.0, default=None)
        rows.append(
            [
                row["session"].isoformat(),
                row["symbol"],
                row["outcome"],
                number(row["requested_quantity"]),
                number(row["approved_quantity"]),
                [c["code"] for c in checks if c["verdict"] in (Verdict.SCALED, Verdict.FAILED)],
                ", ".join(c["code"] for c in checks if c["verdict"] == Verdict.NOT_EVALUATED) or None,
                tightest["code"] if tightest else None,
                number(_used(tightest)) if tightest else None,
            ]
        )
    columns = (
        Column("session", "code"),
        Column("symbol", "symbol"),
        Column("outcome", "pill"),
        Column("requested", "quantity"),
        Column("approved", "quantity"),
        Column("bound by", "reasons", "checks that made the order smaller or refused it"),
        Column("not evaluated"),
        Column("nearest limit", "text", "the check that used most of its limit"),
        Column("used", "percent", "share of that limit"),
    )
    return Table(columns, rows, filters=(2, 0, 1), search=True)


def check_table(period: Period) -> Table:
    """What each of the gate's checks said, and how near its limit it came."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    nearest: dict[str, Row] = {}
    for row in period.risk_events:
        for check in row["checks"]:
            code = check["code"]
            said[code][check["verdict"]] += 1
            best = nearest.get(code)
            if best is None or (_used(check) or -1.0) > (_used(best) or -1.0):
                nearest[code] = check
    rows = [
        [
            code,
            _CHECKED.get(code) or REASONS.get(code, code.replace("_", " ")),
            *(count[verdict.value] for verdict in Verdict),
            number(_used(nearest[code])),
        ]
        for code, count in said.items()
    ]
    columns = (
        Column("check", "code"),
        Column("what it holds back"),
        *(Column(verdict.value.replace("_", " "), "count") for verdict in Verdict),
        Column("most used", "percent", "the most any order used of its limit"),
    )
    return Table(columns, rows)


def _cost_cells(cost: FillCost) -> list[float | None]:
    if not cost.notional:
        return [None] * 4
    return [bps(part / cost.notional) for part in (cost.delay, cost.execution, cost.commission, cost.total)]


def _combined_forecasts(forecasts: pl.DataFrame) -> dict[tuple[date, str], list[list[Any]]]:
    import polars as pl

    found: dict[tuple[date, str], list[list[Any]]] = defaultdict(list)
    rows = forecasts.filter(pl.col("model") == "combined").sort("session", "symbol", "horizon")
    for row in rows.iter_rows(named=True):
        quantiles = [number(row[name]) for name in ("q05", "q25", "q50", "q75", "q95")]
        found[row["session"], row["symbol"]].append(
            [row["horizon"], bps(row["mean"]), number(row["std"]), *quantiles, row["fallback"]]
        )
    return found


def _gate_line(verdict: Row | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "outcome": verdict["outcome"],
        "requested": number(verdict["requested_quantity"]),
        "approved": number(verdict["approved_quantity"]),
        "reasons": verdict["reasons"],
    }


def _used(check: Row) -> float | None:
    """Share of its limit a check's value is; None where either is absent or the limit is zero."""
    value, limit = check["value"], check["limit"]
    return abs(value) / limit if value is not None and limit is not None and limit > 0 else None
