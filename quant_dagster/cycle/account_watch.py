"""What happened to the account, told to the account rules session by session; what they ask for becomes actions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill
from quant_dagster.accounting.snapshots import Mark
from quant_dagster.cycle.gatekeeping import closing_instant
from quant_dagster.errors import DataUnavailableError
from quant_dagster.execution import order_log
from quant_dagster.risk import actions
from quant_dagster.risk.account_rules.breaches import Breach
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import (
    AccountEvent,
    Event,
    FillEvent,
    PositionEvent,
    QuoteEvent,
    StopEvent,
    TickEvent,
)
from quant_dagster.risk.account_rules.rules import enabled
from quant_dagster.storage.ledger_tables import account_events as told_events
from quant_dagster.storage.ledger_tables import account_snapshots, fills

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def watch_account(
    connection: Connection, context: TradingContext, session: date, marks: Mapping[str, Mark]
) -> list[Breach]:
    """Tell the rules of a session, write the lockouts they impose and the actions they ask for; returns what bit.

    Telling it again changes nothing. Call it in a write transaction, after the session's fills were booked and with the
    ledger opened (`TradingContext.open_ledger`).
    """
    risk = context.settings.risk
    if not enabled(risk.account_rules):
        return []
    now = context.ledger.now()
    breaches = AccountRules(risk).handle(connection, account_events(connection, context, session, marks), now)
    held = held_positions(connection, context, session, {name: mark.price for name, mark in marks.items()})
    for breach in breaches:
        for wanted in breach.requests:
            actions.request(
                connection,
                actions.ActionKind(wanted.kind.value),
                held,
                trigger=breach.action_id(wanted),
                actor=f"rule:{breach.rule}",
                reason=breach.reason,
                at=now,
                symbol=wanted.symbol,
                quantity=wanted.quantity,
                price=wanted.price,
            )
    return breaches


def newest_valued(context: TradingContext) -> date:
    """The newest session the account was valued at.

    Raises
    ------
    DataUnavailableError
        None was.
    """
    with context.ledger.read() as connection:
        newest: date | None = connection.execute(select(func.max(account_snapshots.c.session))).scalar()
    if newest is None:
        raise DataUnavailableError(
            "the account", "the ledger", None, None, "no session was decided yet; run 'quant cycle' or 'quant replay'"
        )
    return newest


def held_positions(
    connection: Connection, context: TradingContext, session: date, prices: Mapping[str, Decimal]
) -> dict[str, actions.Held]:
    """Everything held that has a price, with the grid its orders lie on."""
    held = {}
    for symbol, holding in books.balances(connection).holdings.items():
        if not holding.quantity or symbol not in prices:
            continue
        terms = context.instruments.find(symbol, session)
        lot, tick = (terms.lot_size, terms.tick_size) if terms is not None else (Decimal(1), Decimal("0.01"))
        held[symbol] = actions.Held(holding.quantity, prices[symbol], lot, tick)
    return held


def account_events(
    connection: Connection, context: TradingContext, session: date, marks: Mapping[str, Mark]
) -> list[Event]:
    """A session as the rules see it: its fills, then positions, stops and closes at its last second."""
    closing = closing_instant(context.calendar, session)
    events: list[Event] = _fills(connection, context, session)
    stops = {order.symbol: order for order in order_log.with_status(connection, order_log.OPEN) if order.stop_price}
    for symbol, holding in books.balances(connection, until=session).holdings.items():
        if not holding.quantity or symbol not in marks:
            continue
        quantity, price, name = holding.quantity, marks[symbol].price, f"{symbol}:{session}"
        stop = stops.get(symbol)
        working = f"{stop.client_order_id}:{stop.remaining}" if stop else "none"
        events += [
            PositionEvent(
                f"position:{name}:{quantity}:{price}", closing, symbol, quantity, holding.average_cost, price
            ),
            StopEvent(
                f"stop:{name}:{working}",
                closing,
                symbol,
                stop.stop_price if stop else None,
                stop.remaining if stop else None,
            ),
            QuoteEvent(f"quote:{name}:{price}", closing, symbol, price),
        ]
    broker = context.settings.execution.broker
    said = AccountEvent(f"account:{session}", closing, can_trade=True, detail=f"the broker '{broker}' answers")
    return [*events, said, TickEvent(f"tick:{session}", closing)]


def _fills(connection: Connection, context: TradingContext, session: date) -> list[Event]:
    """Executions since the last session that was told of, with what each did to its position."""
    told = connection.execute(
        select(func.max(told_events.c.happened_at)).where(
            told_events.c.kind == "tick", told_events.c.happened_at < context.calendar.open_time(session)
        )
    ).scalar()
    first = context.calendar.next_session(told.date()) if told is not None else session
    new = fills.c.session.between(first, session)
    events: list[Event] = []
    for symbol in sorted(set(connection.execute(select(fills.c.symbol).where(new)).scalars())):
        holding = books.Holding(symbol)
        for fill in books.fills_of(connection, symbol):
            after = books.after_fill(holding, fill)
            if first <= fill.session <= session:
                earned = after.realised_pnl - holding.realised_pnl - (after.commission - holding.commission)
                events.append(
                    FillEvent(
                        f"fill:{fill.execution_id}:{fill.correction}",
                        filled_at(context, fill),
                        symbol,
                        fill.client_order_id,
                        fill.side,
                        fill.quantity,
                        fill.price,
                        earned,
                        after.quantity,
                        after.average_cost,
                    )
                )
            holding = after
    return events


def filled_at(context: TradingContext, fill: Fill | Row[Any]) -> datetime:
    """When a simulated fill happened: at its session's open, or, at the close or a stop, by its last second."""
    if fill.provenance.get("priced_at") == "open":
        return context.calendar.open_time(fill.session)
    return closing_instant(context.calendar, fill.session)
