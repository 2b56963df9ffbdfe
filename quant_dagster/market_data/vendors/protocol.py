"""What every vendor of daily prices offers, live or from files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
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
    fields
        Of open, high, low, close and volume, those it has; the others are null in its rows.
    intervals
        Bar lengths, ``1d`` for a session.
    adjusted
        What its prices are adjusted for, in words.
    live
        Whether it learns of new sessions.
    """

    fields: frozenset[str]
    intervals: frozenset[str]
    adjusted: str
    live: bool


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
            It has nothing for any of them in that range.
        MalformedDataError
            Its answer cannot be read at all.
        """


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
