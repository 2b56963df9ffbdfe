"""What a session has to go by at its close: the panel up to it, its bars, the marks and the account's value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot, Mark, stored_snapshot, value_account
from quant_dagster.errors import DataUnavailableError, ExchangeClosedError
from quant_dagster.execution.broker import SessionBar
from quant_dagster.execution.costs import PRICE_STEP
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_RECENT_SESSIONS = 250
_NEWEST_SESSIONS = 5
_MOST_MISSING = 5
"""Sessions without a single bar that are borne among the last 250; none among the newest five."""


class SessionData:
    """Bars and marks of one session, read once.

    Parameters
    ----------
    context
        The desk's parts.
    session
        The exchange session; everything used was known at its close.
    """

    def __init__(self, context: TradingContext, session: date) -> None:
        if not context.calendar.is_session(session):
            before = context.calendar.previous_session(session)
            raise ExchangeClosedError(context.universe.exchange, session, before)
        self.context = context
        self.session = session

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """What this session is about: the universe's members on its day, and what is held of those that left."""
        members = self.context.symbols_on(self.session)
        if len(members) == len(self.context.symbols):
            return members
        with self.context.ledger.read() as connection:
            held = {symbol for symbol, one in books.balances(connection).holdings.items() if one.quantity}
        return tuple(symbol for symbol in self.context.symbols if symbol in held or symbol in members)

    @cached_property
    def panel(self) -> Panel:
        """Every bar up to this session.

        Raises
        ------
        DataUnavailableError
            The newest sessions are missing for every symbol: what follows would be computed across a hole.
        """
        panel = load_panel(self.context.lake, self.symbols, self.session)
        self._refuse_holes(panel)
        return panel

    @cached_property
    def bars(self) -> Mapping[str, SessionBar]:
        """This session's bars per symbol."""
        return self.bars_of(self.session)

    def account(self) -> AccountSnapshot:
        """The account at this session's closes: as recorded then, else valued now."""
        with self.context.ledger.read() as connection:
            recorded = stored_snapshot(connection, self.session)
            return recorded or value_account(connection, self.marks(connection), self.session)

    def value(self, connection: Connection) -> AccountSnapshot:
        """The account at this session's closes, on a transaction's connection; nothing is stored."""
        return value_account(connection, self.marks(connection), self.session)

    def prices(self, connection: Connection) -> dict[str, Decimal]:
        """The newest close up to this session of everything held."""
        return {symbol: mark.price for symbol, mark in self.marks(connection).items()}

    def bars_of(self, session: date) -> dict[str, SessionBar]:
        """The bars of a session per symbol."""
        lake = self.context.lake
        version = lake.version("bars") or 0
        rows = lake.read("bars", start=session, end=session)
        return {
            row["symbol"]: SessionBar(
                symbol=row["symbol"],
                session=session,
                open=row["open"],
                high=row["high"],
                low=row["low"],
                close=row["close"],
                volume=row["volume"],
                vendor=row["vendor"],
                row_hash=row["row_hash"],
                lake_version=version,
                tick_size=terms.tick_size if terms is not None else PRICE_STEP,
            )
            for row in rows.iter_rows(named=True)
            for terms in (self.context.instruments.find(row["symbol"], session),)
        }

    def marks(self, connection: Connection) -> dict[str, Mark]:
        """The newest close up to this session of everything held."""
        held = [symbol for symbol, holding in books.balances(connection).holdings.items()]
        marks = {s: Mark(money(bar.close), self.session) for s, bar in self.bars.items() if s in held}
        if missing := [symbol for symbol in held if symbol not in marks]:
            rows = self.context.lake.read(
                "bars", columns=["symbol", "session", "close"], symbols=missing, end=self.session
            ).drop_nulls("close")
            for row in rows.group_by("symbol").tail(1).iter_rows(named=True):
                marks[row["symbol"]] = Mark(money(row["close"]), row["session"])
        return marks

    def _refuse_holes(self, panel: Panel) -> None:
        """A symbol that misses a session is scored for it; sessions that every symbol misses show in no panel."""
        newest = panel.sessions[-_RECENT_SESSIONS:]
        expected = self.context.calendar.sessions(newest[0].astype(object), self.session)[-_RECENT_SESSIONS:]
        missing = np.setdiff1d(expected, newest)
        if len(missing) > _MOST_MISSING or bool(np.isin(missing, expected[-_NEWEST_SESSIONS:]).any()):
            raise DataUnavailableError(
                "every symbol",
                ", ".join(vendor.name for vendor in self.context.vendors),
                missing[0].astype(object),
                missing[-1].astype(object),
                f"{len(missing)} of the last {len(expected)} sessions have no bar at all; run 'quant backfill'",
            )
