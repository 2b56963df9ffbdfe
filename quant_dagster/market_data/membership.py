"""Who belonged to a universe when: point-in-time membership from a file of start and end dates.

A list of today's members is a list of survivors; trading history on it is trading with hindsight. With membership a
session knows only its own members, the delisted ones among them, and says how many of those the data does not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from quant_dagster.errors import ConfigurationError, MalformedDataError

_SETTING = "market_data.membership"


@dataclass(frozen=True)
class Survivorship:
    """Whether prices cover the members of the days they are used for.

    Attributes
    ----------
    survivors_only
        True where members are missing from the data, or nobody can say who they were.
    members, covered
        Symbols that were members on any of the days, and those of them with prices.
    missing
        Members without prices.
    """

    survivors_only: bool
    members: int
    covered: int
    missing: tuple[str, ...]
    reason: str


class Membership:
    """Spans of membership.

    Parameters
    ----------
    spans
        Columns symbol, start (first day in), end (first day out; null: still in). A symbol may have several spans.
    source
        Where they come from, for messages.
    """

    def __init__(self, spans: pl.DataFrame, source: str) -> None:
        self.source = source
        self.spans = spans.select("symbol", "start", "end").sort("symbol", "start")
        following = pl.col("start").shift(-1).over("symbol")
        wrong = self.spans.filter((pl.col("end") < pl.col("start")) | (pl.col("end").fill_null(date.max) > following))
        if wrong.height:
            symbol, start, end = wrong.row(0)
            raise MalformedDataError(
                f"{source}: {wrong.height} spans end before they start or overlap the next one, e.g. {symbol} "
                f"{start} to {end}"
            )

    @classmethod
    def read(cls, path: Path, symbol_column: str, start_column: str, end_column: str) -> Membership:
        """Spans of a CSV file; a row that is not a span stops everything: half a membership is a wrong one."""
        place = Path(path).expanduser()
        try:
            table = pl.read_csv(place, infer_schema=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ConfigurationError(f"{_SETTING}.path '{place}' cannot be read: {error}") from error
        if missing := [name for name in (symbol_column, start_column, end_column) if name not in table.columns]:
            raise ConfigurationError(
                f"{place} has no column {', '.join(missing)}; it has: {', '.join(table.columns)}. Set "
                f"{_SETTING}.symbol_column, start_column and end_column"
            )
        text = table.select(
            pl.col(symbol_column).str.strip_chars().alias("symbol"),
            pl.col(start_column).str.strip_chars().alias("start"),
            pl.col(end_column).str.strip_chars().replace("", None).alias("end"),
        )
        spans = text.with_columns(pl.col("start", "end").str.to_date("%Y-%m-%d", strict=False))
        unread = (
            spans["start"].is_null() | spans["symbol"].is_null() | (spans["end"].is_null() & text["end"].is_not_null())
        )
        if unread.any():
            number = int(unread.arg_true()[0])
            raise MalformedDataError(f"{place} row {number + 2}: {text.row(number)} is not symbol, start and end date")
        return cls(spans, str(place))

    def members(self, day: date) -> frozenset[str]:
        """Who was in on ``day``."""
        inside = (pl.col("start") <= day) & (pl.col("end").is_null() | (pl.col("end") > day))
        return frozenset(self.spans.filter(inside)["symbol"].to_list())

    def ever(self, start: date, end: date) -> frozenset[str]:
        """Who was in on any day from ``start`` to ``end``, both included."""
        inside = (pl.col("start") <= end) & (pl.col("end").is_null() | (pl.col("end") > start))
        return frozenset(self.spans.filter(inside)["symbol"].to_list())

    def survivorship(self, with_prices: Iterable[str], start: date, end: date) -> Survivorship:
        """How much of the membership from ``start`` to ``end`` the data covers."""
        members = self.ever(start, end)
        missing = tuple(sorted(members - set(with_prices)))
        reason = (
            f"{len(missing)} of {len(members)} members from {start} to {end} have no prices" if missing
            else f"every member from {start} to {end} has prices"
        )  # fmt: skip
        return Survivorship(bool(missing), len(members), len(members) - len(missing), missing, reason)
