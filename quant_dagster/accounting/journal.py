"""Entering fills: each once, in memory as far as it can be, and in few statements into the ledger.

One fill or thousands take the same way; what is entered, audit rows included, does not depend on how many at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.accounting import fills as trades
from quant_dagster.accounting.events import events_of
from quant_dagster.accounting.fills import CHUNK, COMMISSION_CURRENCY, ZERO, Fill, Place, fills_of, rounded, row_of
from quant_dagster.accounting.holdings import Holding, after_fill, replay
from quant_dagster.accounting.postings import Account, Line, Standing, difference, rows_of, standings
from quant_dagster.errors import BooksError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import fills, postings


class Booked(IntEnum):
    """What entering a fill came to; `NOTHING` is false."""

    NOTHING = 0
    NEW = 1
    CORRECTED = 2
    COMMISSION = 3


class Journal:
    """Fills on their way into the books, inside one write transaction.

    Nothing is in the ledger before `flush`; what was read before stays true because writers are serialised.

    Parameters
    ----------
    chain
        Where audit rows go, in order with those of others; default: a buffer of its own, written by `flush`.
    """

    def __init__(self, connection: Connection, at: datetime, chain: audit.Buffer | None = None) -> None:
        self.connection = connection
        self.at = at
        self.chain = chain if chain is not None else audit.Buffer(connection)
        self._known: dict[str, Fill | None] = {}
        self._standings: dict[str, Standing] = {}
        self._newest: dict[str, Place | None] = {}
        self._since: dict[str, date] = {}
        """How far back each symbol's newest fill was looked for."""
        self._sequence: int | None = None
        self._fills: list[dict[str, Any]] = []
        self._postings: list[dict[str, Any]] = []

    def expect(self, coming: Sequence[Fill]) -> None:
        """Read at once what entering these will need."""
        ids = [fill.execution_id for fill in coming if fill.execution_id not in self._known]
        self._known |= dict.fromkeys(ids) | trades.booked(self.connection, ids)
        symbols = sorted({fill.symbol for fill in coming} - self._standings.keys())
        self._standings |= {symbol: Standing(Holding(symbol)) for symbol in symbols}
        self._standings |= standings(self.connection, symbols)
        if symbols:
            since = min(fill.session for fill in coming if fill.symbol in symbols)
            self._newest |= _newest_places(self.connection, symbols, since)
            self._since |= dict.fromkeys(symbols, since)

    def book(self, fill: Fill) -> Booked:
        """Enter one fill; says what changed.

        Raises
        ------
        BooksError
            It contradicts one already booked, or the books would not balance.
        """
        taken_back = fill.quantity == 0 and fill.correction > 0
        if (fill.quantity <= 0 and not taken_back) or fill.price <= 0:
            raise BooksError(f"fill {fill.execution_id} of {fill.symbol}: quantity and price must be positive: {fill}")
        fill = rounded(fill)
        ready = fill.execution_id in self._known and fill.symbol in self._standings
        if not ready or fill.session < self._since[fill.symbol]:
            self._forget(fill.symbol)
            self.expect([fill])
        known = self._known[fill.execution_id]
        if known is not None and fill.correction <= known.correction:
            if fill.correction < known.correction:
                return Booked.NOTHING
            return self._repeated(known, fill)
        before = self._standings[fill.symbol]
        if known is None:
            self._enter(fill, before)
            return Booked.NEW
        if known.symbol != fill.symbol:
            raise BooksError(f"fill {fill.execution_id} of {known.symbol} cannot be corrected to one of {fill.symbol}")
        self.flush()
        row = row_of(fill) | {"recorded_at": self.at}
        self.connection.execute(fills.update().where(fills.c.execution_id == fill.execution_id).values(**row))
        self._forget(fill.symbol)
        self._post(fill, before.holding, self._recomputed(fill.symbol))
        self.flush()
        self._forget(fill.symbol)
        return Booked.CORRECTED

    def flush(self) -> None:
        """Write what waits."""
        if self._fills:
            self.connection.execute(fills.insert(), self._fills)
        if self._postings:
            self.connection.execute(postings.insert(), self._postings)
        self._fills, self._postings = [], []
        self.chain.flush()

    def _enter(self, fill: Fill, before: Standing) -> None:
        sequence = self._next_sequence()
        self._fills.append(row_of(fill) | {"sequence": sequence, "recorded_at": self.at})
        self._known[fill.execution_id] = fill
        place, newest = fill.place(sequence), self._newest.get(fill.symbol)
        in_time = newest is None or place > newest
        undisturbed = before.last_event is None or before.last_event < fill.session
        if in_time and undisturbed:
            after = after_fill(before.holding, fill)
            self._newest[fill.symbol] = place
        else:
            # Something that happened later is in the books already: they are made anew in the order of time.
            self.connection.execute(fills.insert(), self._fills)
            self._fills = []
            after = self._recomputed(fill.symbol)
        self._standings[fill.symbol] = replace(before, holding=after)
        self._post(fill, before.holding, after)

    def _post(self, fill: Fill, before: Holding, after: Holding) -> None:
        transaction_id = f"fill:{fill.execution_id}:{fill.correction}"
        self._postings += rows_of(
            transaction_id,
            difference(before, after),
            session=fill.session,
            at=self.at,
            execution_id=fill.execution_id,
        )
        self._audit(transaction_id, "fill", fill)

    def _repeated(self, known: Fill, said: Fill) -> Booked:
        """The same execution again: nothing, or the commission that was not known before."""
        if not _same_execution(known, said):
            raise BooksError(f"fill {said.execution_id} was reported twice with different contents; trading stops")
        if said.commission in (ZERO, known.commission):
            return Booked.NOTHING
        if known.commission:
            raise BooksError(
                f"fill {said.execution_id} was booked with commission {known.commission} and is now reported with "
                f"{said.commission}; trading stops"
            )
        self.flush()
        provenance = dict(known.provenance)
        provenance.pop(COMMISSION_CURRENCY, None)
        if said.commission_currency != known.currency:
            provenance[COMMISSION_CURRENCY] = said.commission_currency
        told = replace(known, commission=said.commission, provenance=provenance)
        paid_in = told.commission_currency
        transaction_id = f"fill:{said.execution_id}:{said.correction}{audit.COMMISSION}"
        lines = [
            Line(Account.COMMISSION, said.commission, said.symbol, ZERO, paid_in),
            Line(Account.CASH, -said.commission, None, ZERO, paid_in),
        ]
        self._postings += rows_of(
            transaction_id, lines, session=said.session, at=self.at, execution_id=said.execution_id
        )
        values = {"commission": told.commission, "provenance": provenance}
        self.connection.execute(fills.update().where(fills.c.execution_id == said.execution_id).values(**values))
        self._audit(transaction_id, "commission", told)
        self.flush()
        self._forget(said.symbol)
        return Booked.COMMISSION

    def _audit(self, key: str, action: str, fill: Fill) -> None:
        payload = audit.fill_payload(row_of(fill))
        self.chain.append(key, action, actor="broker", at=self.at, session=fill.session, payload=payload)

    def _recomputed(self, symbol: str) -> Holding:
        return replay(symbol, fills_of(self.connection, symbol), events_of(self.connection, [symbol]).get(symbol, ()))

    def _next_sequence(self) -> int:
        if self._sequence is None:
            last = select(func.coalesce(func.max(fills.c.sequence), 0))
            self._sequence = self.connection.execute(last).scalar_one()
        self._sequence += 1
        return self._sequence

    def _forget(self, symbol: str) -> None:
        """Read a symbol anew when it is needed; whatever of it waits is written first."""
        self.flush()
        self._standings.pop(symbol, None)
        self._newest.pop(symbol, None)
        self._known = {key: one for key, one in self._known.items() if one is None or one.symbol != symbol}


def _same_execution(one: Fill, other: Fill) -> bool:
    """Do two reports speak of the same trade? How it was reported may differ, and when its commission was known."""
    said = ("client_order_id", "symbol", "side", "quantity", "price", "currency")
    return all(getattr(one, name) == getattr(other, name) for name in said)


def _newest_places(connection: Connection, symbols: Sequence[str], since: date) -> dict[str, Place | None]:
    """Where the newest fill of each symbol stands, if it is of ``since`` or later; None: of no session that matters."""
    found: dict[str, Place | None] = dict.fromkeys(symbols)
    for first in range(0, len(symbols), CHUNK):
        query = select(fills).where(fills.c.session >= since, fills.c.symbol.in_(symbols[first : first + CHUNK]))
        for row in connection.execute(query).mappings():
            place, newest = trades.fill_of(row).place(row["sequence"]), found[row["symbol"]]
            found[row["symbol"]] = place if newest is None else max(place, newest)
    return found
