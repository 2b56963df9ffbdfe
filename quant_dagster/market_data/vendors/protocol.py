"""What every vendor offers, live or from files: daily prices, and where it can, minutes, trades, books and actions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import polars as pl

from quant_dagster.storage.tables import TIMESTAMP

PRICE_FIELDS = ("open", "high", "low", "close", "volume")

ROW_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        **{field: pl.Float64() for field in PRICE_FIELDS},
        "known_at": TIMESTAMP,
        "source": pl.String(),
        "row": pl.Int64(),
    }
)
"""Rows as a vendor hands them over. ``known_at`` is null where the vendor does not say; ``source`` and ``row`` say
where in its data the row stood."""

REJECT_SCHEMA = pl.Schema(
    {
        "source": pl.String(),
        "row": pl.Int64(),
        "symbol": pl.String(),
        "session": pl.Date(),
        "reason": pl.String(),
        "detail": pl.String(),
    }
)
"""Rows that could not be read, with a code and what was found."""


@dataclass(frozen=True)
class Capabilities:
    """What a vendor can be asked for.

    Attributes
    ----------
    adjusted
        What its prices are adjusted for, in words.
    remote
        Whether asking it goes over the network: such a vendor is asked through a `resilience.ServiceGuard`, symbol by
        symbol, and its errors are the family of `errors.VendorError`.
    offers
        What beside daily bars it can be asked for: ``minute_bars``, ``trades``, ``order_book``,
        ``corporate_actions``.
    """

    adjusted: str
    remote: bool = False
    offers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VendorAnswer:
    """What a vendor answered: rows (``ROW_SCHEMA``), unreadable ones (``REJECT_SCHEMA``), symbols without any."""

    vendor: str
    source: str
    rows: pl.DataFrame
    rejected: pl.DataFrame
    missing_symbols: tuple[str, ...]


class Vendor(Protocol):
    """A source of daily prices."""

    @property
    def name(self) -> str:
        """Name under which its rows are stored."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can be asked for."""

    def symbols(self) -> list[str]:
        """Every symbol it offers, sorted."""

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        """Rows of ``symbols`` from ``start`` to ``end``, both included.

        Raises
        ------
        DataUnavailableError
            It said that it has nothing for any of them in that range (`UnknownSymbolError`: that it does not know
            the symbol).
        MalformedDataError
            Its answer cannot be read at all.
        VendorError
            A remote vendor refused (`RateLimitedError`, `UnauthorisedError`), did not answer (`UnreachableError`) or
            answered what is not its format (`MalformedAnswerError`).
        """


MINUTE_SCHEMA = pl.Schema(
    {"symbol": pl.String(), "bar_start": TIMESTAMP, **{field: pl.Float64() for field in PRICE_FIELDS}}
)
"""Bars shorter than a session: ``bar_start`` is their first instant, UTC. A minute without a trade has no row."""

TRADE_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "trade_id": pl.String(),
        "traded_at": TIMESTAMP,
        "price": pl.Float64(),
        "size": pl.Float64(),
        "side": pl.String(),
    }
)
"""Single trades; ``side`` is the side that took (``buy``, ``sell``), null where the venue does not say."""

ACTION_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "kind": pl.String(),
        "ratio": pl.Float64(),
        "amount": pl.Float64(),
    }
)
"""Corporate actions by ex-date: ``kind`` is split (``ratio``: new shares per old), dividend or spin_off (``amount``
per share)."""


@dataclass(frozen=True)
class RowsAnswer:
    """Rows of minute bars, trades or corporate actions of one symbol, in the schema of what was asked.

    Empty rows mean that the vendor said, in its documented way, that there are none. An answer from which that cannot
    be told (an empty body, a missing field, a refusal) is an error, never an empty frame.
    """

    vendor: str
    source: str
    rows: pl.DataFrame


@dataclass(frozen=True)
class BookSnapshot:
    """An order book at one moment: levels of (price, size), best first.

    ``sequence`` is the venue's number of the last change that is in it, where it has one.
    """

    vendor: str
    symbol: str
    taken_at: datetime
    sequence: int | None
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class IntradayVendor(Protocol):
    """A vendor that offers what happens within a session. Raises what `Vendor.daily_bars` raises."""

    @property
    def name(self) -> str:
        """Name under which its rows are stored."""

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """1-minute bars (``MINUTE_SCHEMA``) that start at or after ``start`` and before ``end`` (aware), complete."""

    def trades(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        """Trades (``TRADE_SCHEMA``) from ``start`` to before ``end`` (aware), complete."""

    def order_book(self, symbol: str, depth: int) -> BookSnapshot:
        """The book now, at least ``depth`` levels a side where there are as many."""


class ActionsVendor(Protocol):
    """A vendor that reports corporate actions. Raises what `Vendor.daily_bars` raises."""

    @property
    def name(self) -> str:
        """Name under which its rows are stored."""

    def corporate_actions(self, symbol: str, start: date, end: date) -> RowsAnswer:
        """Actions (``ACTION_SCHEMA``) with ex-dates from ``start`` to ``end``, both included."""


def row_hashes(rows: pl.DataFrame) -> pl.Series:
    """First 16 hex digits of the SHA-256 of symbol, session and the five fields of each row."""
    text = rows.select(
        pl.concat_str(
            [pl.col(name).cast(pl.String).fill_null("") for name in ("symbol", "session", *PRICE_FIELDS)], separator="|"
        ).alias("text")
    )["text"]
    return pl.Series("row_hash", [hashlib.sha256(line.encode()).hexdigest()[:16] for line in text], dtype=pl.String)


def missing_from(symbols: Sequence[str], *frames: pl.DataFrame) -> tuple[str, ...]:
    """Of ``symbols``, those that none of the frames has a row for."""
    found: set[str] = set()
    for frame in frames:
        found.update(frame["symbol"].drop_nulls().unique().to_list())
    return tuple(symbol for symbol in symbols if symbol not in found)
