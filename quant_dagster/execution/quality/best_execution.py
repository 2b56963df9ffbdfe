"""Evidence of best execution: how orders fared by symbol, algorithm, venue, broker, side and hour, and the worst ones.

Belongs here: adding up rows of ``execution_quality``. Does not: measuring single orders (``measurement``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl

from quant_dagster.accounting.books import Side
from quant_dagster.execution.quality.measurement import slippage_bps

CONFIDENCE = 0.95

Row = Mapping[str, Any]


class By(StrEnum):
    """What orders are put together by."""

    SYMBOL = "symbol"
    ALGORITHM = "algorithm"
    VENUE = "venue"
    BROKER = "broker"
    SIDE = "side"
    HOUR = "hour"
    """Of the exchange's local time when the order came to the market; ``close`` where only that is known."""


BENCHMARKS = ("arrival", "vwap", "close")
_SCHEMA: dict[str, Any] = {
    "group": pl.String(), "orders": pl.Int64(), "fills": pl.Int64(), "value": pl.Float64(), "filled": pl.Float64(),
    "cost_bps": pl.Float64(),
    **{f"{name}{end}": kind for name in BENCHMARKS
       for end, kind in (("_bps", pl.Float64()), ("_low", pl.Float64()), ("_high", pl.Float64()), ("_n", pl.Int64()))},
    "improved": pl.Float64(), "partly_filled": pl.Float64(), "unfilled": pl.Float64(), "unmeasured": pl.Int64(),
    "estimate_error_bps": pl.Float64(),
}  # fmt: skip


def summary(rows: Sequence[Row], by: By | None = None) -> pl.DataFrame:
    """How orders were executed, one row a group; all of them in one (``all``) without ``by``.

    Parameters
    ----------
    rows
        Of ledger table ``execution_quality``.

    Returns
    -------
    polars.DataFrame
        ``group``; ``orders`` and ``fills``; ``value`` traded; ``filled``, the share of the value wanted that was;
        ``cost_bps``, the whole shortfall weighted by value, of the orders of which it is known (of the others there
        are ``unmeasured``); the mean slippage of the average price against arrival, VWAP of the interval and close
        with the ends of its confidence interval (`CONFIDENCE`, Student's t over orders; null below two) and how many
        orders are in it; the shares of the filled orders whose average price was better than the far side of the
        market at arrival (``improved``), and of all orders that were filled in part or not at all; the mean of
        what they cost less what they were expected to, arrival and fees (``estimate_error_bps``).
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups["all" if by is None else group_of(row, by)].append(row)
    return pl.DataFrame([_summed(name, groups[name]) for name in sorted(groups)], schema=_SCHEMA)


def summaries(rows: Sequence[Row]) -> dict[str, pl.DataFrame]:
    """`summary` over all orders (``all``) and by everything there is to put them together by."""
    return {"all": summary(rows), **{by.value: summary(rows, by) for by in By}}


def worst(rows: Sequence[Row], limit: int = 10) -> list[dict[str, Any]]:
    """The orders that cost most for their size, the worst first, with the data they met; unmeasured ones not."""
    known = sorted(
        (row for row in rows if row["total_bps"] is not None), key=lambda r: (-r["total_bps"], r["order_id"])
    )
    return [dict(row) for row in known[:limit]]


def group_of(row: Row, by: By) -> str:
    """The group an order belongs to; ``unknown`` where nothing says."""
    evidence = row["evidence"]
    match by:
        case By.SYMBOL | By.ALGORITHM | By.SIDE:
            return str(row[by.value])
        case By.VENUE | By.BROKER:
            return str(evidence.get(by.value) or "unknown")
        case By.HOUR:
            if evidence.get("hour") is not None:
                return f"{evidence['hour']:02d}:00"
            return ", ".join(evidence.get("priced_at") or ()) or "unknown"


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean of values and the ends of its confidence interval (Student's t); None where there are too few."""
    if not values:
        return None, None, None
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return mean, None, None
    from scipy.special import stdtrit

    deviation = (math.fsum((value - mean) ** 2 for value in values) / (count - 1)) ** 0.5
    reach = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * deviation / count**0.5
    return mean, mean - reach, mean + reach


def slippages(row: Row) -> dict[str, float | None]:
    """Of an order's average price, basis points of each of the `BENCHMARKS`; positive is a cost."""
    average, sign = row["average_price"], Side(row["side"]).sign
    prices = {"arrival": row["arrival_price"], "vwap": row["interval_vwap"], "close": row["close_price"]}
    return {name: None if average is None else slippage_bps(sign, average, price) for name, price in prices.items()}


def _summed(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    filled = [row for row in rows if row["filled"]]
    wanted = sum((_wanted(row) for row in rows), Decimal(0))
    got = sum((row["filled"] * row["decision_price"] for row in rows), Decimal(0))
    costs = [(row["total_bps"], float(_wanted(row))) for row in rows if row["total_bps"] is not None]
    weight = math.fsum(value for _, value in costs)
    against: dict[str, Any] = {}
    measured = [slippages(row) for row in filled]
    for benchmark in BENCHMARKS:
        values = [one[benchmark] for one in measured]
        known = [value for value in values if value is not None]
        mean, low, high = mean_interval(known)
        against |= {f"{benchmark}_bps": mean, f"{benchmark}_low": low, f"{benchmark}_high": high,
                    f"{benchmark}_n": len(known)}  # fmt: skip
    judged = [row["impact_bps"] < 0 for row in filled if row["impact_bps"] is not None]
    errors = [error for row in filled if (error := _estimate_error(row)) is not None]
    return {
        "group": name,
        "orders": len(rows),
        "fills": sum(row["evidence"]["fills"] for row in rows),
        "value": float(sum((row["filled"] * row["average_price"] for row in filled), Decimal(0))),
        "filled": float(got / wanted) if wanted else None,
        "cost_bps": math.fsum(cost * value for cost, value in costs) / weight if weight else None,
        **against,
        "improved": sum(judged) / len(judged) if judged else None,
        "partly_filled": sum(row["filled"] < row["ordered"] for row in filled) / len(rows),
        "unfilled": 1 - len(filled) / len(rows),
        "unmeasured": len(rows) - len(costs),
        "estimate_error_bps": mean_interval(errors)[0],
    }


def _wanted(row: Row) -> Decimal:
    value: Decimal = row["ordered"] * row["decision_price"]
    return value


def _estimate_error(row: Row) -> float | None:
    """What an order cost from its arrival on, fees included, less what it was expected to; of what was filled."""
    parts = [row[name] for name in ("spread_bps", "impact_bps", "fees_bps")]
    if row["estimated_bps"] is None or any(part is None for part in parts):
        return None
    share = float(row["filled"] / row["ordered"])
    return float(math.fsum(parts) / share - row["estimated_bps"])
