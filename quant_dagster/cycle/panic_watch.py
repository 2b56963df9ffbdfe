"""Panic conditions watched: what the ledger and the lake know of fills, errors and quotes, and what follows from it.

Belongs here: which observations are looked at, and the control mode they lead to. Does not: the conditions themselves
(``risk.panic``) and what is done in a stricter mode (``risk_actions``).

A condition is obeyed once for its newest evidence: the fill, the error or the quote that was seen last. A person who
loosens the mode afterwards has seen that evidence; only a newer one stops the desk again.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import Connection, select

from quant_dagster.accounting.books import Side
from quant_dagster.cycle.account_watch import filled_at
from quant_dagster.observability import audit
from quant_dagster.resilience.outcomes import ANSWERED_WITHOUT_DATA, Outcome, service_label
from quant_dagster.risk.control import escalate
from quant_dagster.risk.panic import USUAL_WINDOWS, Panic, PanicCondition
from quant_dagster.storage.ledger_tables import fills, service_observations

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

BPS = 10_000
AUDITED = "panic"
"""Action of the audit rows."""
_RECENT = timedelta(days=10)
"""A desk without bars of the last days is not live: nothing is stale there."""

Sighting = tuple[PanicCondition, str]
"""A condition, and the newest evidence for it."""


def watch_panic(context: TradingContext) -> list[PanicCondition]:
    """The panic conditions that hold now; the control mode goes where they want it, with a row in the audit log.

    Watching again changes nothing until there is newer evidence.

    Raises
    ------
    RiskError
        The control mode in force is unknown.
    """
    context.ledger.upgrade()
    now = context.ledger.now()
    with context.ledger.read() as connection:
        found = _happened(connection, context, now)
    found += _quoted(context, now)
    if found:
        with context.ledger.write() as connection:
            for condition, evidence in found:
                _obey(connection, condition, evidence, now)
    return [condition for condition, _ in found]


def _obey(connection: Connection, condition: PanicCondition, evidence: str, now: datetime) -> None:
    payload = {
        "name": condition.name,
        "day": now.date(),
        "value": condition.value,
        "limit": condition.limit,
        "mode": condition.mode.name,
        "reason": condition.reason,
        "evidence": evidence,
    }
    key, actor = f"panic:{condition.name}:{evidence}", f"panic:{condition.name}"
    if audit.append(connection, key, AUDITED, actor=actor, at=now, payload=payload):
        escalate(connection, condition.mode, actor=actor, reason=condition.reason, at=now)


# -- fills and errors -------------------------------------------------------------------------------------------------


def _happened(connection: Connection, context: TradingContext, now: datetime) -> list[Sighting]:
    settings = context.settings.risk.panic
    panic = Panic(settings)
    newest = {"slippage": "", "errors": ""}
    since = (now - timedelta(seconds=settings.slippage.window_seconds)).date() - timedelta(days=1)
    for row in connection.execute(select(fills).where(fills.c.session >= since).order_by(fills.c.sequence)):
        signed = Side(row.side).sign * (row.price - row.reference_price)
        panic.fill(filled_at(context, row), row.symbol, float(signed / row.reference_price) * BPS)
        newest["slippage"] = f"{row.execution_id}:{row.correction}"
    window = timedelta(seconds=settings.errors.window_seconds)
    failed = service_observations.c.outcome.not_in([Outcome.OK.value, *sorted(ANSWERED_WITHOUT_DATA)])
    errors = select(service_observations).where(failed, service_observations.c.recorded_at > now - window)
    for row in connection.execute(errors.order_by(service_observations.c.recorded_at)):
        panic.error(row.recorded_at, service_label(row.name))
        newest["errors"] = row.recorded_at.isoformat()
    return [(condition, newest[condition.name]) for condition in panic.conditions(now)]


# -- quotes -----------------------------------------------------------------------------------------------------------


def _quoted(context: TradingContext, now: datetime) -> list[Sighting]:
    """Stale quotes and spreads: of the session under way if it is quoted, else at the close of the newest one.

    Where a session has bars but no quotes, the close is taken for the last quote.
    """
    calendar = context.calendar
    done = calendar.latest_completed(now)
    under_way = calendar.next_session(done)
    settled = timedelta(seconds=context.settings.risk.panic.stale_quotes.window_seconds)
    if calendar.open_time(under_way) + settled <= now:
        quotes = _quotes(context, under_way)
        if quotes.height:
            return _judged(context, quotes, now, _quoted_lately(context, under_way))
    bars = context.lake.read("bars", columns=["session", "symbol", "close"], start=done - _RECENT, end=done)
    bars = bars.drop_nulls("close").filter(pl.col("session") == pl.col("session").max())
    if bars.is_empty():
        return []
    session: date = bars["session"][0]
    close = calendar.close_time(session)
    quotes = _quotes(context, session)
    if quotes.height:
        return _judged(context, quotes, close, _quoted_lately(context, session))
    last = bars.select("symbol", at=pl.lit(close), bid="close", ask="close")
    return _judged(context, last, close, set(context.symbols_on(session)))


def _judged(context: TradingContext, quotes: pl.DataFrame, at: datetime, watched: set[str]) -> list[Sighting]:
    settings = context.settings.risk.panic
    panic = Panic(settings)
    panic.watched(watched)
    reach = max(settings.stale_quotes.window_seconds, (1 + USUAL_WINDOWS) * settings.spread.window_seconds)
    counting = quotes.filter((pl.col("at") > at - timedelta(seconds=reach)) & (pl.col("at") <= at))
    for symbol, moment, bid, ask in counting.sort("at", "symbol").iter_rows():
        panic.quote(moment, symbol, bid, ask)
    newest: datetime = quotes["at"].max()  # type: ignore[assignment]
    return [(condition, min(newest, at).isoformat()) for condition in panic.conditions(at)]


def _quotes(context: TradingContext, session: date) -> pl.DataFrame:
    """Best bid and ask at the end of each short bar of a session: symbol, at, bid, ask."""
    columns = ["symbol", "bar_start", "seconds", "bid_close", "ask_close"]
    rows = context.lake.read(
        "intraday_quotes", columns=columns, symbols=context.symbols, start=session, end=session, ordered=False
    ).drop_nulls(["bid_close", "ask_close"])
    end = pl.col("bar_start") + pl.duration(seconds=pl.col("seconds"))
    return rows.select("symbol", at=end, bid="bid_close", ask="ask_close")


def _quoted_lately(context: TradingContext, session: date) -> set[str]:
    """Symbols that were quoted in the session or the one before it: those whose silence means something."""
    before = context.calendar.previous_session(session)
    rows = context.lake.read(
        "intraday_quotes", columns=["symbol"], symbols=context.symbols_on(session), start=before, end=session,
        ordered=False,
    )  # fmt: skip
    return set(rows["symbol"].to_list())
