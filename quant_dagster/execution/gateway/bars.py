"""Real bars for the market behind the gateway: from a Parquet file or the lake to steps that orders meet."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from quant_dagster.errors import ConfigurationError, DataUnavailableError

if TYPE_CHECKING:
    import polars as pl

_PRICES = ("open", "high", "low", "close")
_ZONE = ZoneInfo("America/New_York")
_DAILY_STEPS = 3
_MINUTE = timedelta(minutes=1)
_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Bar:
    """A step of a symbol's price from ``start`` to ``end`` (UTC): prices in currency, volume in shares."""

    start: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def path(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """The way a price is taken to have gone: open, the extreme nearer to it, the other extreme, close."""
        if self.open - self.low <= self.high - self.open:
            return self.open, self.low, self.high, self.close
        return self.open, self.high, self.low, self.close


@dataclass(frozen=True)
class SymbolBars:
    """The bars of one symbol, in order of time, with their starts for looking up."""

    bars: tuple[Bar, ...]
    starts: tuple[datetime, ...]

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> SymbolBars:
        ordered = tuple(sorted(bars, key=lambda bar: bar.start))
        return cls(ordered, tuple(bar.start for bar in ordered))

    def at(self, instant: datetime) -> int:
        """Number of the newest bar that began at or before an instant; -1: none did."""
        return bisect_right(self.starts, instant) - 1


def minute_bars(frame: pl.DataFrame, seconds: int = 60) -> dict[str, SymbolBars]:
    """Bars by symbol from columns symbol, bar_start (UTC), open, high, low, close, volume.

    Rows with a price missing are left out: nothing could trade against them.
    """
    import polars as pl

    needed = ("symbol", "bar_start", *_PRICES, "volume")
    _require(frame, needed)
    length = timedelta(seconds=seconds)
    columns = [pl.col("symbol"), pl.col("bar_start"), *(pl.col(name).cast(pl.Float64) for name in (*_PRICES, "volume"))]
    rows = frame.select(columns).drop_nulls([*_PRICES]).sort("symbol", "bar_start").rows()
    found: dict[str, list[Bar]] = {}
    for symbol, start, opened, high, low, close, volume in rows:
        bar = Bar(start, start + length, _money(opened), _money(high), _money(low), _money(close), _shares(volume))
        found.setdefault(symbol, []).append(bar)
    return {symbol: SymbolBars.of(bars) for symbol, bars in found.items()}


def daily_bars(
    frame: pl.DataFrame, opens: Mapping[date, datetime], closes: Mapping[date, datetime]
) -> dict[str, SymbolBars]:
    """Bars by symbol from columns symbol, session, open, high, low, close, volume.

    A day is a path: from the open to the extreme nearer to it, to the other extreme, to the close. Each of the three
    legs takes a third of the session and has a third of the volume; within a leg the price goes one way.

    Parameters
    ----------
    opens, closes
        When each session opens and closes, UTC.
    """
    import polars as pl

    _require(frame, ("symbol", "session", *_PRICES, "volume"))
    columns = [pl.col("symbol"), pl.col("session"), *(pl.col(name).cast(pl.Float64) for name in (*_PRICES, "volume"))]
    found: dict[str, list[Bar]] = {}
    rows = frame.select(columns).drop_nulls([*_PRICES]).sort("symbol", "session").rows()
    for symbol, session, opened, high, low, close, volume in rows:
        start, end = opens[session], closes[session]
        day = Bar(start, end, _money(opened), _money(high), _money(low), _money(close), _shares(volume))
        found.setdefault(symbol, []).extend(_legs(day))
    return {symbol: SymbolBars.of(bars) for symbol, bars in found.items()}


def _legs(day: Bar) -> list[Bar]:
    third = (day.end - day.start) / _DAILY_STEPS
    ends = [day.start + third, day.start + 2 * third, day.end]
    starts = [day.start, *ends[:-1]]
    path = day.path()
    volume = (day.volume / _DAILY_STEPS).to_integral_value()
    return [
        Bar(start, end, first, max(first, last), min(first, last), last, volume)
        for start, end, first, last in zip(starts, ends, path[:-1], path[1:], strict=True)
    ]


def minute_by_minute(bars: Mapping[str, SymbolBars], since: datetime) -> dict[str, SymbolBars]:
    """Longer bars that begin at or after an instant as minutes on a straight way from their open to their close.

    An order meets a bar when it begins and when it ends; one that works for minutes would come and go within a leg of
    a day without ever meeting the market. Legs have no turn within them, so their minutes say nothing new.
    """
    return {
        symbol: SymbolBars.of([part for bar in one.bars for part in ([bar] if bar.start < since else _minutes(bar))])
        for symbol, one in bars.items()
    }


def _minutes(leg: Bar) -> list[Bar]:
    count = max(1, (leg.end - leg.start) // _MINUTE)
    times = [leg.start + number * _MINUTE for number in range(count)] + [leg.end]
    way = [leg.open + (leg.close - leg.open) * number / count for number in range(count)]
    prices = [leg.open, *(min(max(price.quantize(_CENT), leg.low), leg.high) for price in way[1:]), leg.close]
    shares = [(leg.volume * number / count).to_integral_value() for number in range(count + 1)]
    return [
        Bar(start, end, first, max(first, last), min(first, last), last, after - before)
        for (start, end), (first, last), (before, after) in zip(
            pairwise(times), pairwise(prices), pairwise(shares), strict=True
        )
    ]


def read_bars(path: Path, columns: Mapping[str, str], *, time_zone: str, seconds: int = 60) -> pl.DataFrame:
    """A Parquet file as symbol, bar_start (UTC), open, high, low, close, volume.

    Parameters
    ----------
    columns
        What the file calls a field, by the desk's name. Time is ``bar_start`` or ``bar_end``.
    time_zone
        Of times that carry none.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or has not the columns.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(f"{path} cannot be read as Parquet: {error}") from error
    if unknown := [theirs for theirs in columns.values() if theirs not in frame.columns]:
        raise ConfigurationError(
            f"{path.name} has no column {', '.join(unknown)}; it has {', '.join(frame.columns)}: name them with "
            "--column bar_end=COLUMN"
        )
    if twice := [ours for ours, theirs in columns.items() if ours != theirs and ours in frame.columns]:
        raise ConfigurationError(
            f"{path.name} has a column {', '.join(twice)} already: --column may not call another one so"
        )
    frame = frame.rename({theirs: ours for ours, theirs in columns.items() if ours != theirs})
    time = next((name for name in ("bar_start", "bar_end") if name in frame.columns), None)
    if time is None:
        raise ConfigurationError(
            f"{path.name} has no column bar_start or bar_end; it has {', '.join(frame.columns)}: name the time with "
            "--column bar_start=COLUMN (or bar_end=COLUMN)"
        )
    kind = frame.schema[time]
    if not isinstance(kind, pl.Datetime):
        raise ConfigurationError(f"column {time} of {path.name} is {kind}, not a time")
    at = pl.col(time).cast(pl.Datetime("us", kind.time_zone))
    if kind.time_zone is None:
        at = at.dt.replace_time_zone(time_zone)
    at = at.dt.convert_time_zone("UTC")
    if time == "bar_end":
        at = at - timedelta(seconds=seconds)
    frame = frame.with_columns(at.alias("bar_start"))
    _require(frame, ("symbol", "bar_start", *_PRICES, "volume"))
    return frame.select("symbol", "bar_start", *_PRICES, "volume")


def of_session(frame: pl.DataFrame, session: date) -> pl.DataFrame:
    """Rows up to and with a session, which has to be among them (the earlier ones are history).

    Raises
    ------
    DataUnavailableError
        No bar is of that session; names those that are there.
    """
    import polars as pl

    day = pl.col("bar_start").dt.convert_time_zone(str(_ZONE)).dt.date()
    sessions = frame.select(day.unique().sort()).to_series().to_list()
    if session not in sessions:
        known = ", ".join(str(one) for one in sessions[-10:]) or "none"
        raise DataUnavailableError("any symbol", "bars", session, session, f"there are bars of: {known}")
    return frame.filter(day <= session)


def _require(frame: pl.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        raise ConfigurationError(
            f"bars have no column {', '.join(missing)}; they have {', '.join(frame.columns)}: name them with "
            "--column NAME=COLUMN"
        )


def _money(value: float) -> Decimal:
    return Decimal(repr(value))


def _shares(value: float | None) -> Decimal:
    # A bar without volume trades nothing: it is not known what could have been traded.
    return Decimal(0) if value is None else Decimal(int(value))
