"""What a lake table is made of, and the columns many of them share."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

TIMESTAMP = pl.Datetime("us", "UTC")
PARTITION = "month"


@dataclass(frozen=True)
class Column:
    """One column of a lake table."""

    name: str
    dtype: pl.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class LakeTable:
    """The shape of a lake table.

    Attributes
    ----------
    key
        Columns that name a row; a merge updates the row with the same key.
    partitioned
        Whether files are laid out by the month of ``session`` (column ``month``, kept out of what is read).
    keeps_superseded
        Whether a row that is replaced goes to the table's ``<name>_superseded``, so that what was known on any date
        can be told for ever. Such a table has ``known_at``.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitioned: bool = True
    keeps_superseded: bool = False

    @property
    def schema(self) -> pl.Schema:
        """Column names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def order(self) -> tuple[str, ...]:
        """Columns by which rows are sorted in files and in answers: session first, then the rest of the key."""
        first = ("session",) if "session" in self.key else ()
        return (*first, *(name for name in self.key if name != "session"))

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that are never null."""
        return tuple(column.name for column in self.columns if not column.nullable)

    def empty(self) -> pl.DataFrame:
        """A frame of this table without rows."""
        return pl.DataFrame(schema=self.schema)


def text(name: str, description: str, nullable: bool = False) -> Column:
    """A column of text."""
    return Column(name, pl.String(), description, nullable)


def number(name: str, description: str, nullable: bool = False) -> Column:
    """A column of floating-point numbers."""
    return Column(name, pl.Float64(), description, nullable)


def prices(source: str) -> tuple[Column, ...]:
    """Open, high, low, close and volume; ``source`` says in whose units."""
    return (
        number("open", f"first trade of the session, {source}; null where the vendor has closes only", nullable=True),
        number("high", f"highest trade, {source}; null where the vendor has closes only", nullable=True),
        number("low", f"lowest trade, {source}; null where the vendor has closes only", nullable=True),
        number("close", f"last trade of the session, {source}"),
        number("volume", "shares traded; null where the vendor does not say", nullable=True),
    )


SESSION = Column("session", pl.Date(), "exchange session the row belongs to")
SYMBOL = text("symbol", "ticker")
VENDOR = text("vendor", "who said so")
KNOWN_AT = Column("known_at", TIMESTAMP, "when the value could first be known, UTC")
ROW_HASH = text("row_hash", "first 16 hex digits of the SHA-256 of the vendor's row")
HORIZON = Column("horizon", pl.Int32(), "sessions ahead")
MODEL = text("model", "the model")
