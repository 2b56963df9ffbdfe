"""A recorded stream replayed into a book, and the book held against the venue's own best quotes.

The venue sends a best quote whenever the best price or size changes, numbered like the changes. After the change that
ends at update ``u`` the book must therefore show exactly what the newest quote numbered at or below ``u`` says, price
and size: that is compared for every change. A quote that another one replaces before the next change ends cannot be
seen in a book that moves change by change; such quotes are counted, and not compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quant_dagster.errors import DataUnavailableError
from quant_dagster.market_data.order_book.binance import VENDOR, Received, read_recording
from quant_dagster.market_data.order_book.changes import BestQuote, BookChange
from quant_dagster.market_data.order_book.sync import Outcome, SyncedBook, SyncState
from quant_dagster.market_data.vendors.protocol import BookSnapshot

TOP_SCHEMA = pl.Schema(
    {
        "received_at": pl.Datetime("ns", "UTC"),
        "event_at": pl.Datetime("us", "UTC"),
        "update_id": pl.Int64(),
        "bid": pl.Float64(),
        "bid_size": pl.Float64(),
        "ask": pl.Float64(),
        "ask_size": pl.Float64(),
        "certain": pl.Boolean(),
    }
)
"""Best bid and ask after every change. ``certain``: nothing better can be hidden (see `known_range`)."""

_QUOTE_SCHEMA = pl.Schema(
    {"quote_id": pl.Int64(), **{f"quoted_{n}": pl.Float64() for n in ("bid", "bid_size", "ask", "ask_size")}}
)


@dataclass(frozen=True)
class Agreement:
    """How the rebuilt top of the book and the venue's best quotes compare.

    Attributes
    ----------
    compared, equal
        Changes after which there is a quote to compare with, and those where bid, ask and both sizes equal it.
    same_id, same_id_equal
        Of these, where the quote has the very number the change ends at.
    certain, certain_equal
        Of these, where nothing better could be hidden in the book.
    price_differs, size_only
        What differs in the others.
    quotes
        Best quotes in the recording.
    quotes_compared
        Those that were held against the book.
    superseded
        Those that another quote replaced before the change they belong to ended.
    outside
        Those before the first change in the book or after the last one.
    """

    compared: int
    equal: int
    same_id: int
    same_id_equal: int
    certain: int
    certain_equal: int
    price_differs: int
    size_only: int
    quotes: int
    quotes_compared: int
    superseded: int
    outside: int

    @property
    def share(self) -> float:
        """Share of the compared changes that agree; NaN without any."""
        return self.equal / self.compared if self.compared else math.nan


@dataclass(frozen=True)
class Rebuilt:
    """A replayed recording.

    Attributes
    ----------
    top
        ``TOP_SCHEMA``, a row for every change after which both sides had a price.
    disagreements
        The rows of ``top`` that differ from the venue's quote, with that quote.
    messages, changes
        Changes, quotes and snapshots read, and changes among them.
    applied, old, kept
        What was done with the changes; ``kept`` are those that waited for a snapshot.
    gaps
        How often the book was lost, with what was missing in ``gap_reasons``.
    crossed
        Rows of ``top`` where the bid is not below the ask.
    from_snapshot
        Whether a snapshot was there; without one the book was made of changes alone.
    tick_size
        Step of prices used, in the venue's units.
    book
        The book at the end.
    """

    top: pl.DataFrame
    disagreements: pl.DataFrame
    agreement: Agreement
    messages: int
    changes: int
    applied: int
    old: int
    kept: int
    gaps: int
    gap_reasons: tuple[str, ...]
    crossed: int
    from_snapshot: bool
    tick_size: float
    book: SyncedBook


def rebuild_file(path: Path | str, tick_size: float | None = None) -> Rebuilt:
    """Replay a recorded Binance stream: see `rebuild`."""
    return rebuild(read_recording(path), Path(path).name, tick_size)


def rebuild(messages: Iterable[Received], source: str = "recording", tick_size: float | None = None) -> Rebuilt:
    """Replay messages in the order of their arrival.

    Without any snapshot among them the book starts from the first change, and starts again after a gap; ``certain``
    then tells from when on its top can be trusted.

    Parameters
    ----------
    tick_size
        Smallest step of a price; default: the largest step that all prices of the recording are multiples of.

    Raises
    ------
    DataUnavailableError
        There is no change among the messages.
    """
    received = list(messages)
    changes = [one.message for one in received if isinstance(one.message, BookChange)]
    if not changes:
        raise DataUnavailableError(
            source, VENDOR, None, None, "it holds no depth changes: record a '<symbol>@depth' stream"
        )
    with_snapshot = any(isinstance(one.message, BookSnapshot) for one in received)
    step = tick_size if tick_size is not None else common_step(changes)
    reasons: list[str] = []
    book = SyncedBook(VENDOR, source, reasons.append, step)
    rows: list[tuple[object, ...]] = []
    quotes: list[tuple[object, ...]] = []
    counts = dict.fromkeys(Outcome, 0)

    def note(at: int, change: BookChange) -> None:
        top, known = book.book.top, book.known_range
        if top is not None and known is not None:
            rows.append(
                (at, change.at, change.last, top.bid, top.bid_size, top.ask, top.ask_size, known.top_is_certain)
            )

    for one in received:
        message = one.message
        if isinstance(message, BestQuote):
            quotes.append((message.update_id, message.bid, message.bid_size, message.ask, message.ask_size))
        elif isinstance(message, BookSnapshot):
            book.apply_snapshot(message)
        else:
            if book.state is not SyncState.IN_SYNC and not with_snapshot:
                book.begin_without_snapshot(message)
                outcome = Outcome.APPLIED
            else:
                outcome = book.apply(message)
            counts[outcome] += 1
            if outcome is Outcome.APPLIED:
                note(one.nanoseconds, message)
    top = pl.DataFrame(rows, schema=TOP_SCHEMA, orient="row")
    quoted = pl.DataFrame(quotes, schema=_QUOTE_SCHEMA, orient="row")
    agreement, disagreements = compare(top, quoted)
    return Rebuilt(
        top=top,
        disagreements=disagreements,
        agreement=agreement,
        messages=len(received),
        changes=len(changes),
        applied=counts[Outcome.APPLIED],
        old=counts[Outcome.OLD],
        kept=counts[Outcome.KEPT],
        gaps=book.gaps,
        gap_reasons=tuple(reasons),
        crossed=top.filter(pl.col("bid") >= pl.col("ask")).height,
        from_snapshot=with_snapshot,
        tick_size=step,
        book=book,
    )


def compare(top: pl.DataFrame, quotes: pl.DataFrame) -> tuple[Agreement, pl.DataFrame]:
    """Hold every row of ``top`` against the newest quote numbered at or below it; see `Agreement`."""
    quotes = quotes.sort("quote_id").unique("quote_id", keep="last", maintain_order=True)
    if top.is_empty() or quotes.is_empty():
        none = Agreement(0, 0, 0, 0, 0, 0, 0, 0, quotes.height, 0, 0, quotes.height)
        return none, top.clear()
    joined = (
        top.sort("update_id")
        .join_asof(quotes, left_on="update_id", right_on="quote_id", strategy="backward", coalesce=False)
        .filter(pl.col("quote_id").is_not_null())
    )
    prices = (pl.col("bid") == pl.col("quoted_bid")) & (pl.col("ask") == pl.col("quoted_ask"))
    sizes = (pl.col("bid_size") == pl.col("quoted_bid_size")) & (pl.col("ask_size") == pl.col("quoted_ask_size"))
    judged = joined.with_columns(
        same_price=prices, equal=prices & sizes, same_id=pl.col("quote_id") == pl.col("update_id")
    )
    differing = judged.filter(~pl.col("equal"))
    inside = quotes.filter(pl.col("quote_id").is_between(int(judged["quote_id"].min()), int(top["update_id"].max())))  # type: ignore[arg-type]
    compared_ids = judged["quote_id"].n_unique()
    agreement = Agreement(
        compared=judged.height,
        equal=int(judged["equal"].sum()),
        same_id=int(judged["same_id"].sum()),
        same_id_equal=judged.filter(pl.col("same_id") & pl.col("equal")).height,
        certain=int(judged["certain"].sum()),
        certain_equal=judged.filter(pl.col("certain") & pl.col("equal")).height,
        price_differs=differing.filter(~pl.col("same_price")).height,
        size_only=differing.filter(pl.col("same_price")).height,
        quotes=quotes.height,
        quotes_compared=compared_ids,
        superseded=inside.height - compared_ids,
        outside=quotes.height - inside.height,
    )
    return agreement, differing.drop("same_price", "equal", "same_id")


def common_step(changes: Sequence[BookChange]) -> float:
    """The largest step that all prices of the changes are multiples of, read to eight decimals (Binance's most)."""
    scale = 10**8
    prices = {price for change in changes for side in (change.bids, change.asks) for price, _ in side}
    step = math.gcd(*(round(price * scale) for price in prices))
    return step / scale
