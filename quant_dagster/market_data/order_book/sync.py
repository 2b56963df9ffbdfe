"""A book that is only there while it is right: snapshot, changes in sequence, and a new snapshot after every gap.

The rules are Binance's ("How to manage a local order book correctly", spot and USDⓈ-M futures):

- changes are kept from the start, because a snapshot taken later still needs those that came while it was asked for;
- changes that end at or before the snapshot are dropped, and the first one that is not must reach back to it;
- from then on a change begins where the one before it ended. Anything else is a gap: the book is dropped at once and
  a snapshot asked for.

The venue's documents want the first futures change to *contain* the snapshot's number (``U <= lastUpdateId <= u``).
Numbers are shared by all symbols there, so a snapshot may also lie between two changes of a symbol (``pu <=
lastUpdateId < U``); nothing is missing then either, and such a change is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

from quant_dagster.errors import DataUnavailableError, MalformedDataError
from quant_dagster.market_data.order_book.book import OrderBook
from quant_dagster.market_data.order_book.changes import BookChange
from quant_dagster.market_data.order_book.known_range import KnownRange
from quant_dagster.market_data.vendors.protocol import BookSnapshot

ResyncRequest = Callable[[str], None]
"""Called with why a new snapshot is needed. It must not wait for the answer: changes go on meanwhile."""

_LONGEST_QUEUE = 20_000


class SyncState(StrEnum):
    """Whether there is a book."""

    WAITING = "waiting"
    """No snapshot yet; changes are kept."""

    IN_SYNC = "in_sync"
    OUT_OF_SYNC = "out_of_sync"
    """Something was missed; there is no book until a new snapshot."""


class Outcome(StrEnum):
    """What was done with a change."""

    APPLIED = "applied"
    KEPT = "kept"
    """There is no book: kept for the next snapshot."""

    OLD = "old"
    """The book is past it already."""

    GAP = "gap"
    """Changes before it are missing, or it left the book impossible: the book was dropped."""


class SyncedBook:
    """An order book that follows a stream of changes.

    Parameters
    ----------
    vendor, symbol
        For messages.
    request_snapshot
        Called once for each loss of the book; hand its answer to `apply_snapshot`.
    tick_size
        Smallest step of a price. With it, `known_range` says for which prices the book is complete.

    Attributes
    ----------
    state
        Whether there is a book.
    last_update
        The venue's number of the last change in the book; None without one.
    gaps
        How often the book was lost.
    """

    def __init__(
        self,
        vendor: str,
        symbol: str,
        request_snapshot: ResyncRequest | None = None,
        tick_size: float | None = None,
    ) -> None:
        self.vendor, self.symbol = vendor, symbol
        self.state = SyncState.WAITING
        self.last_update: int | None = None
        self.gaps = 0
        self.why_lost = "no snapshot was taken yet"
        self._request = request_snapshot
        self._tick_size = tick_size
        self._book = OrderBook()
        self._range: KnownRange | None = None
        self._follows_snapshot = False
        self._kept: deque[BookChange] = deque(maxlen=_LONGEST_QUEUE)

    @property
    def book(self) -> OrderBook:
        """The book as of `last_update`; a DataUnavailableError while there is none. Never an outdated one."""
        if self.state is not SyncState.IN_SYNC:
            raise DataUnavailableError(
                f"the order book of {self.symbol}", self.vendor, None, None, f"{self.why_lost}; take a new snapshot"
            )
        return self._book

    @property
    def known_range(self) -> KnownRange | None:
        """For which prices the book is complete; None without a tick size."""
        return self._range

    def apply_snapshot(self, snapshot: BookSnapshot) -> SyncState:
        """Start (again) from a snapshot and the changes kept since. One older than the book there is changes nothing.

        Returns
        -------
        SyncState
            ``OUT_OF_SYNC`` where the snapshot is older than the oldest change kept: another one was asked for.

        Raises
        ------
        MalformedDataError
            It has no sequence number (nobody can tell which changes are in it), impossible levels, or is crossed.
        """
        if snapshot.sequence is None:
            raise MalformedDataError(
                f"snapshot of {self.symbol} by '{self.vendor}' has no sequence number: changes cannot be joined to it"
            )
        if self.last_update is not None and snapshot.sequence < self.last_update:
            return self.state
        book = OrderBook(snapshot.bids, snapshot.asks)
        if book.crossed:
            raise MalformedDataError(f"snapshot of {self.symbol} by '{self.vendor}' is crossed: {book.top}")
        self._begin(book, snapshot.sequence, KnownRange.of_snapshot(snapshot.bids, snapshot.asks, self._tick_size))
        kept = list(self._kept)
        self._kept.clear()
        for change in kept:
            self.apply(change)  # after a gap in here the rest is kept again
        return self.state

    def begin_without_snapshot(self, change: BookChange) -> None:
        """Start from changes alone: right about every price it has seen, silent about the others.

        What that is worth at the top of the book is told by `known_range`.
        """
        self._begin(OrderBook(), change.first - 1, KnownRange.of_nothing(self._tick_size))
        self._follows_snapshot = False
        self._take(change)

    def apply(self, change: BookChange) -> Outcome:
        """Bring the book forward by one change, if it is the next one.

        Raises
        ------
        MalformedDataError
            The change holds an impossible level. The book was dropped.
        """
        if self.state is not SyncState.IN_SYNC:
            self._kept.append(change)
            return Outcome.KEPT
        assert self.last_update is not None
        # A change that ends at a futures snapshot is in it already, and harmless: sizes are absolute.
        if change.last <= self.last_update:
            return Outcome.OLD
        if not self._is_next(change, self.last_update):
            reaches_to = change.first if change.previous is None else change.previous
            self._lose(f"changes between {self.last_update} and {reaches_to} are missing", change)
            return Outcome.GAP
        return self._take(change)

    def _is_next(self, change: BookChange, last: int) -> bool:
        if change.previous is None:
            # One that begins earlier brings the book to its own end all the same: sizes are absolute.
            return change.first <= last + 1
        if self._follows_snapshot:
            return change.previous == last
        return change.previous <= last

    def _take(self, change: BookChange) -> Outcome:
        try:
            self._book.change(change.bids, change.asks)
        except MalformedDataError as error:
            self._lose(str(error), None)
            raise
        if self._book.crossed:
            self._lose(f"the book is crossed after change {change.last}: {self._book.top}", None)
            return Outcome.GAP
        self.last_update = change.last
        self._follows_snapshot = True
        if self._range is not None:
            self._range.saw(change.bids, change.asks, self._book.best_bid, self._book.best_ask)
        return Outcome.APPLIED

    def _begin(self, book: OrderBook, sequence: int, known: KnownRange | None) -> None:
        self._book, self._range, self.last_update = book, known, sequence
        self._follows_snapshot = False
        self.state = SyncState.IN_SYNC

    def _lose(self, why: str, change: BookChange | None) -> None:
        self.state, self.last_update, self.why_lost = SyncState.OUT_OF_SYNC, None, why
        self._book, self._range = OrderBook(), None
        self.gaps += 1
        if change is not None:
            self._kept.append(change)
        if self._request is not None:
            self._request(why)
