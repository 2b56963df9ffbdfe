"""One order against its benchmarks: a row of ledger table ``execution_quality``, with the evidence of every number.

Belongs here: which price is the arrival, the interval and the close, and what is unknown and why. Does not: reading the
market (``cycle.execution_quality``), and the arithmetic of costs (``shortfall``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from quant_dagster.accounting.books import ZERO
from quant_dagster.execution.quality.benchmarks import Interval, comparable, half_spread_at, interval, price_at
from quant_dagster.execution.quality.shortfall import BPS, PARTS, Shortfall, implementation_shortfall
from quant_dagster.execution.quality.worked import WorkedOrder
from quant_dagster.storage.types import money

PAPER = "paper"

Row = dict[str, Any]


@dataclass(frozen=True)
class SymbolMarket:
    """What is known of a symbol's market around an order.

    Attributes
    ----------
    first_bar, bar
        Rows of ``bars`` of the first and the last session it was in the market; None: there is none.
    intraday, quotes
        Rows of ``intraday_bars`` and ``intraday_quotes`` of those sessions, one vendor and length each.
    opens_at, closes_at
        Of the first and of the last session, UTC.
    volatility
        Standard deviation of the one-session log return up to the decision; None: too short a history.
    average_volume
        Shares a session up to the decision; None: unknown.
    time_zone
        The exchange's.
    """

    first_bar: Row | None
    bar: Row | None
    intraday: pl.DataFrame
    quotes: pl.DataFrame
    opens_at: datetime
    closes_at: datetime
    volatility: float | None
    average_volume: float | None
    time_zone: str = "UTC"


def measured(order: WorkedOrder, market: SymbolMarket, *, half_spread_bps: float) -> Row:
    """A row of ``execution_quality``.

    What is not known is None, and ``evidence["unknown"]`` says why, by column.

    Parameters
    ----------
    half_spread_bps
        Half the spread where no quotes are stored, basis points of the arrival price.
    """
    evidence: Row = _circumstances(order, market)
    unknown: dict[str, str] = {}
    filled, paid = order.filled, order.paid
    average = money(paid / filled) if filled else None
    arrival = _arrival(order, market, evidence, unknown)
    spread = _half_spread(order, market, arrival, half_spread_bps, evidence)
    close = _close(order, market, evidence, unknown)
    fees = _fees(order, unknown)
    costs = None
    if order.ordered * order.decision_price > 0:
        costs = implementation_shortfall(
            order.side,
            order.ordered,
            filled,
            paid,
            decision_price=order.decision_price,
            arrival_price=arrival,
            half_spread=spread,
            fees=fees,
            end_price=close if order.is_over else None,
        )
    _explain(order, costs, unknown)
    worked = _interval(order, market, average, evidence, unknown)
    vwap = worked.vwap if worked is not None else None
    if average is None:
        unknown["average_price"] = unknown["vwap_slippage_bps"] = "nothing_filled"
    if order.estimated_bps is None:
        unknown["estimated_bps"] = "not_estimated"
    evidence["unknown"] = unknown
    return {
        "order_id": order.order_id,
        "session": order.session,
        "symbol": order.symbol,
        "side": order.side.value,
        "algorithm": order.algorithm,
        "ordered": order.ordered,
        "filled": filled,
        "decision_price": order.decision_price,
        "arrival_price": arrival,
        "average_price": average,
        "interval_vwap": vwap,
        "close_price": close,
        **{f"{name}_bps": None if costs is None else costs.bps(name) for name in (*PARTS, "total")},
        "vwap_slippage_bps": None if average is None else slippage_bps(order.side.sign, average, vwap),
        "participation": _participation(order, market, worked, evidence, unknown),
        "estimated_bps": order.estimated_bps,
        "evidence": evidence,
    }


def slippage_bps(sign: int, price: Decimal, benchmark: Decimal | None) -> float | None:
    """How much worse a price is than a benchmark, basis points of the benchmark; None where there is none."""
    return None if not benchmark else float(sign * (price / benchmark - 1) * BPS)


def _circumstances(order: WorkedOrder, market: SymbolMarket) -> Row:
    """Whatever the order is to be compared by, and which data it met."""
    first = order.fills[0] if order.fills else None
    provenance = first.provenance if first is not None else {}
    at = order.starts_at or (first.executed_at if first is not None else None)
    priced_at = sorted({one.provenance["priced_at"] for one in order.fills if "priced_at" in one.provenance})
    if at is None and priced_at == ["open"]:
        at = market.opens_at
    venues = sorted({str(one.provenance[key]) for one in order.fills for key in _VENUES if key in one.provenance})
    bars = [one.provenance["bar"] for one in order.fills if "bar" in one.provenance]
    return {
        "decided": order.decided,
        "first_session": order.first_session,
        "status": order.status,
        "is_over": order.is_over,
        "order_type": order.order_type,
        "broker": provenance.get("broker") or order.broker,
        "venue": ", ".join(venues) or provenance.get("broker") or order.broker,
        "hour": None if at is None else at.astimezone(ZoneInfo(market.time_zone)).hour,
        "priced_at": priced_at,
        "fills": len(order.fills),
        "executions": [one.execution_id for one in order.fills[:_MOST_NAMED]],
        "bars": bars[:_MOST_NAMED],
        "volatility": market.volatility,
        "average_volume": market.average_volume,
    }


_VENUES = ("exchange", "venue")
_MOST_NAMED = 20


def _arrival(order: WorkedOrder, market: SymbolMarket, evidence: Row, unknown: dict[str, str]) -> Decimal | None:
    """The market's price when the order came to it: as written down, else by a bar, on paper the session's open."""
    if order.arrival_price is not None:
        evidence["arrival_from"] = "order"
        return order.arrival_price
    if order.starts_at is not None:
        seen = price_at(market.intraday, order.starts_at)
        if seen is not None and _same_units(order, seen.price):
            evidence["arrival_from"] = "intraday_bar"
            evidence["arrival_bar"] = {"vendor": seen.vendor, "bar_start": seen.at}
            return seen.price
    if order.broker == PAPER:
        bar, fill = market.first_bar, order.fills[0] if order.fills else None
        if bar is not None and bar["open"] is not None and _same_units(order, money(bar["open"])):
            evidence["arrival_from"] = "session_open"
            evidence["arrival_bar"] = {name: bar[name] for name in ("session", "vendor", "row_hash")}
            return money(bar["open"])
        if fill is not None and fill.provenance.get("priced_at") == "close":
            evidence["arrival_from"] = "session_close"  # a bar without an open: the order was one for the close
            return fill.reference_price
    reason = "not_sent" if order.broker is None else "no_price_when_sent"
    unknown["arrival_price"] = reason
    return None


def _half_spread(
    order: WorkedOrder, market: SymbolMarket, arrival: Decimal | None, setting_bps: float, evidence: Row
) -> Decimal | None:
    """Per share; by quotes where they are stored, else by the setting."""
    if arrival is None:
        return None
    instant = order.starts_at or (market.opens_at if order.broker == PAPER else None)
    seen = half_spread_at(market.quotes, instant) if instant is not None else None
    if seen is not None and seen.price < arrival / 10:
        evidence |= {"spread_from": "quotes", "spread_quote": {"vendor": seen.vendor, "bar_start": seen.at}}
        evidence["half_spread_bps"] = float(seen.price / arrival * BPS)
        return seen.price
    evidence |= {"spread_from": "setting", "half_spread_bps": setting_bps}
    return arrival * Decimal(repr(setting_bps)) / BPS


def _close(order: WorkedOrder, market: SymbolMarket, evidence: Row, unknown: dict[str, str]) -> Decimal | None:
    if market.bar is None or market.bar["close"] is None:
        unknown["close_price"] = f"no_bar_of_{order.session}"
        return None
    close = money(market.bar["close"])
    evidence["close_bar"] = {name: market.bar[name] for name in ("session", "vendor", "row_hash")}
    if not _same_units(order, close):
        unknown["close_price"] = f"close_in_other_units:{close:f}"
        return None
    return close


def _same_units(order: WorkedOrder, price: Decimal) -> bool:
    """Whether nothing like a split lies between the decision and a price."""
    return not order.decision_price or comparable(price, order.decision_price)


def _fees(order: WorkedOrder, unknown: dict[str, str]) -> Decimal | None:
    """Commission, where it is in the currency of the prices."""
    other = sorted({one.commission_currency or "account" for one in order.fills
                    if one.commission and one.commission_currency != one.currency})  # fmt: skip
    if other:
        unknown["fees_bps"] = f"commission_in_{','.join(other)}"
        return None
    return sum((one.commission for one in order.fills), ZERO)


def _explain(order: WorkedOrder, costs: Shortfall | None, unknown: dict[str, str]) -> None:
    """Why a part of the cost is not known."""
    if costs is None:  # taken up from the broker, under a price that nobody decided on
        unknown |= {f"{name}_bps": "no_decision_price" for name in (*PARTS, "total")}
        return
    if costs.opportunity is None:
        unknown["opportunity_bps"] = unknown["close_price"] if order.is_over else "still_working"
    for name in ("delay", "spread", "impact"):
        if getattr(costs, name) is None:
            unknown[f"{name}_bps"] = unknown["arrival_price"]
    if costs.total is None:
        reasons = [unknown[name] for name in ("opportunity_bps", "fees_bps") if name in unknown]
        unknown["total_bps"] = ", ".join(reasons)


def _interval(
    order: WorkedOrder, market: SymbolMarket, average: Decimal | None, evidence: Row, unknown: dict[str, str]
) -> Interval | None:
    """What traded while the order was worked; where its times are not known, from open to close."""
    start, end = order.starts_at, order.ends_at
    executed = [one.executed_at for one in order.fills]
    last = executed[-1] if executed and None not in executed else None
    if last is not None and (end is None or order.filled >= order.ordered):
        end = last
    which = "order"
    if start is None or end is None or end < start:
        start, end, which = market.opens_at, market.closes_at, "session"
    found = interval(market.intraday, start, min(end, market.closes_at))
    reason = None
    if found is None:
        reason = "no_intraday_bars"
    elif found.vwap is None:
        reason = "no_volume"
    elif not (comparable(found.vwap, average) if average else _same_units(order, found.vwap)):
        reason, found = "intraday_bars_in_other_units", None
    if reason is not None:
        unknown["interval_vwap"] = reason
        if average is not None:
            unknown["vwap_slippage_bps"] = reason
    if found is not None:
        evidence["interval"] = {
            "from": which, "start": found.start, "end": found.end, "vendor": found.vendor, "seconds": found.seconds,
            "bars": found.bars, "volume": found.volume,
        }  # fmt: skip
    return found


def _participation(
    order: WorkedOrder, market: SymbolMarket, worked: Interval | None, evidence: Row, unknown: dict[str, str]
) -> float | None:
    """Share of what the market traded while the order was worked, else of the session's volume."""
    if worked is not None and worked.volume > 0:
        evidence["participation_from"] = "intraday_bars"
        return float(order.filled) / worked.volume
    if market.bar is not None and market.bar["volume"] and order.first_session == order.session:
        evidence["participation_from"] = "daily_bar"
        return float(order.filled) / float(market.bar["volume"])
    unknown["participation"] = "no_volume"
    return None
