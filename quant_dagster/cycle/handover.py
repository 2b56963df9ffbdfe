"""Who talks to the broker: the trading daemon while it runs, the session's own steps while it does not.

A simulated venue is part of the session's steps. Any other broker is reached over a connection; who holds its lease is
the one who sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.cycle.broker_reconciliation import reconcile_account
from quant_dagster.errors import BrokerError, OrderError
from quant_dagster.execution import connection_log, foreign
from quant_dagster.execution.broker import BrokerAccount, BrokerOrder, RemoteBroker
from quant_dagster.execution.desk import Settlement
from quant_dagster.execution.lease import lease_holder
from quant_dagster.storage.ledger_tables import heartbeats

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

DAEMON = "trading_daemon"
"""The name under which the trading daemon gives signs of life."""
STOPPED = "stopped"


def daemon_runs(connection: Connection, broker: str, silence_seconds: float, now: datetime) -> bool:
    """Does a trading daemon hold the broker and give signs of life?"""
    if lease_holder(connection, broker, now) is None:
        return False
    row = connection.execute(select(heartbeats).where(heartbeats.c.name == DAEMON)).first()
    return row is not None and row.state != STOPPED and (now - row.beat_at).total_seconds() <= silence_seconds


def handed_over(context: TradingContext) -> bool:
    """Is sending and collecting somebody else's at the moment?"""
    execution = context.settings.execution
    if not isinstance(context.broker, RemoteBroker):
        return False
    with context.ledger.read() as connection:
        return daemon_runs(connection, execution.broker, execution.dead_man_seconds, context.ledger.now())


@contextmanager
def connected(context: TradingContext) -> Iterator[None]:
    """A connection of our own for as long as a step takes: what was missed is asked for first.

    Raises
    ------
    BrokerUnavailableError
        No way to the broker: nothing was sent, and nothing is concluded.
    """
    broker = context.broker
    if not isinstance(broker, RemoteBroker):
        yield
        return
    with context.desk.leased(wait=0):
        broker.open()
        try:
            require_right_account(context)
            open_books_at_broker(context)
            context.desk.sync(context.trading_session())
            yield
        finally:
            broker.close()


def open_books_at_broker(context: TradingContext) -> Decimal | None:
    """Deposit what the account holds in cash when its books are opened: once, over an open connection.

    Positions that are there already are not taken over by guess: they show as breaks, for a person to balance.

    Returns
    -------
    Decimal or None
        What was deposited; None when the books were open.
    """
    context.ledger.upgrade()
    with context.ledger.read() as connection:
        if books.balances(connection).capital:
            return None
    cash = context.broker.account().cash.get(context.settings.portfolio.currency, Decimal(0))
    if cash <= 0:
        return None
    session = context.calendar.previous_session(context.trading_session())
    with context.ledger.write() as connection:
        books.deposit(connection, cash, session=session, at=context.ledger.now(), reference="opening")
    return cash


def settle_at_broker(context: TradingContext, session: date) -> Settlement:
    """Book what a remote broker executed up to ``session``; nothing where the daemon does it."""
    if handed_over(context):
        return Settlement()
    with connected(context):
        context.desk.expire_unsent(session)
        done = context.desk.settle(session, {})
        reconcile_account(context, session, "cycle")
        return done


def submit_to_broker(context: TradingContext, session: date) -> Settlement:
    """Send a session's approved orders to a remote broker and wait for its word; nothing where the daemon does it.

    Raises
    ------
    OrderError
        The session is not the newest that is over: its prices are old, and the broker is real.
    """
    if handed_over(context):
        return Settlement()
    broker = context.broker
    with connected(context):
        newest = context.calendar.latest_completed(context.market_now())
        if session != newest:
            raise OrderError(
                f"orders of {session} are not sent to broker '{broker.name}': the newest session is {newest}. "
                "Replays are for the paper broker (execution.broker=paper)"
            )
        context.desk.expire_unsent(session)
        done = context.desk.submit(session)
        if isinstance(broker, RemoteBroker):
            await_answers(context, context.settings.execution.connection.answer_seconds)
        return done


def await_answers(context: TradingContext, seconds: float) -> None:
    """Take in what the broker says until every order sent has been answered, or ``seconds`` have passed."""
    import time

    broker, desk = context.broker, context.desk
    if not isinstance(broker, RemoteBroker):
        return
    deadline = time.monotonic() + seconds
    while desk.unanswered and time.monotonic() < deadline:
        desk.absorb(broker.changes(0.1))


def require_right_account(context: TradingContext) -> None:
    """Refuse an account with real money while ``mode`` is paper.

    Raises
    ------
    BrokerError
        Naming the account and the setting.
    """
    execution = context.settings.execution
    if context.settings.mode != "paper":
        return
    if execution.broker == "binance_spot" and execution.binance_spot.base_url.rstrip("/").endswith("binance.com"):
        raise BrokerError(
            context.broker.name,
            f"{execution.binance_spot.base_url} trades real money and mode is 'paper': nothing is sent. Set mode=live, "
            "or execution.binance_spot.base_url to the venue's test net",
        )
    if execution.broker != "ibkr":
        return
    account = context.broker.account().account
    if not account.startswith("D"):
        raise BrokerError(
            context.broker.name,
            f"account {account} is not a paper account (theirs begin with D) and mode is 'paper': nothing is sent. "
            "Set mode=live to trade it, or execution.ibkr.port to that of the paper login",
        )


def broker_status(context: TradingContext, limit: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Who holds the broker, and the newest changes of its connection."""
    execution = context.settings.execution
    with context.ledger.read() as connection:
        now = context.ledger.now()
        beat = connection.execute(select(heartbeats).where(heartbeats.c.name == DAEMON)).first()
        facts = {
            "broker": execution.broker,
            "held_by": lease_holder(connection, execution.broker, now) or "nobody",
            "daemon": "never started" if beat is None else beat.state,
            "daemon_detail": "" if beat is None else beat.detail,
            "last_sign_of_life": None if beat is None else beat.beat_at,
            "trading_is_the_daemons": daemon_runs(connection, execution.broker, execution.dead_man_seconds, now),
            "unknown_at_broker": len(foreign.unresolved(connection, execution.broker)),
        }
        changes = [asdict(one) for one in connection_log.newest(connection, execution.broker, limit)]
    return facts, changes


def ask_account(context: TradingContext) -> tuple[BrokerAccount, list[BrokerOrder]]:
    """The broker's account and open orders, over a connection of our own.

    Raises
    ------
    OrderError
        The trading daemon holds the connection: its newest reconciliation has the same figures.
    """
    broker = context.broker
    if handed_over(context):
        raise OrderError(
            f"broker '{broker.name}' is held by the trading daemon; 'quant broker breaks' has what it last compared"
        )
    if not isinstance(broker, RemoteBroker):
        return context.broker.account(), context.broker.open_orders()
    with context.desk.leased(wait=0):
        broker.open()
        try:
            return context.broker.account(), context.broker.open_orders()
        finally:
            broker.close()
