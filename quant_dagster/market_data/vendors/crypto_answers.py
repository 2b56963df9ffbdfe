"""What is asked of a crypto venue, and the forms its rows take: bars, trades and books, read strictly.

Which request goes to which venue is in ``crypto_venues``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from quant_dagster.errors import DataUnavailableError, MalformedAnswerError
from quant_dagster.market_data.vendors.answers import field, instants, numbers
from quant_dagster.market_data.vendors.protocol import PRICE_FIELDS
from quant_dagster.storage.tables import TIMESTAMP

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BAR_COLUMNS = {"bar_start": TIMESTAMP, **dict.fromkeys(PRICE_FIELDS, pl.Float64())}
TRADE_COLUMNS = {
    "trade_id": pl.Int64(),
    "traded_at": TIMESTAMP,
    "price": pl.Float64(),
    "size": pl.Float64(),
    "side": pl.String(),
}

Levels = tuple[tuple[float, float], ...]
"""Price and size, best first."""


def epoch_ms(moment: datetime) -> int:
    """Whole milliseconds from 1970 to a moment, exactly; a part of one does not count."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Inquiry:
    """What is asked of a venue: a market, a half-open time range in ms since 1970, and the way to ask."""

    vendor: str
    symbol: str
    market_id: str
    start_ms: int
    end_ms: int
    ask: Callable[[str, dict[str, Any]], Any]

    def not_served(self, detail: str) -> DataUnavailableError:
        """The venue does not serve the whole range."""
        start, end = (datetime.fromtimestamp(ms / 1000, UTC).date() for ms in (self.start_ms, self.end_ms - 1))
        return DataUnavailableError(self.symbol, self.vendor, start, end, detail)


def listed(inquiry: Inquiry, where: str, found: Any) -> list[Any]:
    """An answer that is documented to be a list."""
    if not isinstance(found, list):
        raise MalformedAnswerError(inquiry.vendor, f"{where}: no list: {str(found)[:80]}")
    return found


def rows_of(inquiry: Inquiry, where: str, found: Any, width: int) -> list[list[Any]]:
    """A list of lists of at least ``width`` fields."""
    rows = listed(inquiry, where, found)
    if short := next((row for row in rows if not isinstance(row, list) or len(row) < width), None):
        raise MalformedAnswerError(inquiry.vendor, f"{where}: a row of fewer than {width} fields: {str(short)[:80]}")
    return rows


def bars_of(inquiry: Inquiry, rows: list[list[Any]], unit_us: int, order: str) -> pl.DataFrame:
    """Rows of a time and five numbers, whose order is given by the fields' initials."""
    times = instants(inquiry.vendor, "bar time", [row[0] for row in rows], unit_us)
    found = {"bar_start": times}
    for name in PRICE_FIELDS:
        position = order.index(name[0]) + 1
        found[name] = numbers(inquiry.vendor, f"bar {name}", [row[position] for row in rows])
    return pl.DataFrame(found)


def trades_of(
    inquiry: Inquiry,
    *,
    ids: list[Any],
    times: list[Any],
    unit_us: int,
    prices: list[Any],
    sizes: list[Any],
    sides: list[str],
) -> pl.DataFrame:
    """Trades in the order they were made: no id twice, no time before the one before it."""
    read_ids = numbers(inquiry.vendor, "trade id", ids).cast(pl.Int64)
    read_times = (numbers(inquiry.vendor, "trade time", times) * unit_us).round().cast(pl.Int64)
    if read_ids.n_unique() != len(read_ids) or not read_times.is_sorted():
        raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: trades are not in order")
    return pl.DataFrame(
        {
            "trade_id": read_ids,
            "traded_at": read_times.cast(TIMESTAMP),
            "price": numbers(inquiry.vendor, "trade price", prices),
            "size": numbers(inquiry.vendor, "trade size", sizes),
            "side": pl.Series(sides, dtype=pl.String),
        }
    )


def sides_of(inquiry: Inquiry, answer: Any) -> tuple[Levels, Levels]:
    """Bids and asks, best first, sizes above zero, not crossed."""
    read: dict[str, Levels] = {}
    for name in ("bids", "asks"):
        rows = rows_of(inquiry, name, field(inquiry.vendor, "book", answer, name, list), 2)
        prices, sizes = (numbers(inquiry.vendor, name, [row[part] for row in rows]) for part in (0, 1))
        steps = prices.diff().drop_nulls() * (-1 if name == "bids" else 1)
        if not bool((steps > 0).all()) or not bool((sizes > 0).all()) or not bool((prices > 0).all()):
            raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: {name} are not levels of a book, best first")
        read[name] = tuple(zip(prices.to_list(), sizes.to_list(), strict=True))
    if read["bids"] and read["asks"] and read["bids"][0][0] >= read["asks"][0][0]:
        raise MalformedAnswerError(inquiry.vendor, f"{inquiry.symbol}: the book is crossed")
    return read["bids"], read["asks"]
