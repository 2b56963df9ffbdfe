"""What the market did while an order was worked: its price and spread at an instant, VWAP and volume of an interval.

Belongs here: benchmarks from bars and quotes shorter than a session. Does not: reading them from the lake.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from quant_dagster.storage.types import money

MOST_APART = 1.6
"""Prices further apart than by this factor are not in the same units: one is adjusted for a split, the other is not."""


@dataclass(frozen=True)
class Seen:
    """A price of the market: per share, who said so, of the bar that begins at ``at``."""

    price: Decimal
    vendor: str
    at: datetime


@dataclass(frozen=True)
class Interval:
    """The market's volume-weighted average price and its volume from ``start`` to ``end``, over ``bars`` bars."""

    vwap: Decimal | None
    volume: float
    bars: int
    vendor: str
    seconds: int
    start: datetime
    end: datetime


def one_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Of one symbol's bars or quotes of a session, those of one vendor and length: the shortest, then the fullest.

    Mixing vendors would count every share as often as there are vendors.
    """
    if rows.is_empty():
        return rows
    series = rows.group_by("seconds", "vendor").len().sort("seconds", "len", "vendor", descending=[False, True, False])
    seconds, vendor, _ = series.row(0)
    return rows.filter((pl.col("seconds") == seconds) & (pl.col("vendor") == vendor)).sort("bar_start")


def price_at(bars: pl.DataFrame, instant: datetime) -> Seen | None:
    """The market's price at an instant: the open of the bar it is in, else the close of the last one before it.

    Parameters
    ----------
    bars
        Rows of lake table ``intraday_bars`` of one symbol and session (`one_series`).

    Returns
    -------
    Seen or None
        None where there is no bar up to then.
    """
    before = bars.filter(pl.col("bar_start") <= instant)
    if before.is_empty():
        return None
    row = before.row(-1, named=True)
    within = instant < row["bar_start"] + timedelta(seconds=row["seconds"])
    price = row["open"] if within and row["open"] is not None else row["close"]
    return Seen(money(price), row["vendor"], row["bar_start"])


def half_spread_at(quotes: pl.DataFrame, instant: datetime) -> Seen | None:
    """Half of what the best ask was above the best bid when the minute of an instant began, per share.

    Parameters
    ----------
    quotes
        Rows of lake table ``intraday_quotes`` of one symbol and session (`one_series`).

    Returns
    -------
    Seen or None
        None where no bar of quotes holds the instant, a side is missing, or the market is crossed.
    """
    length = pl.duration(seconds=pl.col("seconds"))
    rows = quotes.filter((pl.col("bar_start") <= instant) & (pl.col("bar_start") + length > instant))
    if rows.is_empty():
        return None
    row = rows.row(-1, named=True)
    bid, ask = row["bid_open"], row["ask_open"]
    if bid is None or ask is None or not 0 < bid <= ask:
        return None
    return Seen(money((ask - bid) / 2), row["vendor"], row["bar_start"])


def interval(bars: pl.DataFrame, start: datetime, end: datetime) -> Interval | None:
    """What traded from ``start`` to ``end``, the bars they are in included.

    A bar counts with its volume at the mean of high, low and close (at the close where it has no range); one without
    a volume does not count.

    Parameters
    ----------
    bars
        Rows of lake table ``intraday_bars`` of one symbol and session (`one_series`).

    Returns
    -------
    Interval or None
        None where no bar is in it.
    """
    length = pl.duration(seconds=pl.col("seconds"))
    rows = bars.filter((pl.col("bar_start") <= end) & (pl.col("bar_start") + length > start))
    if rows.is_empty():
        return None
    typical = pl.mean_horizontal(
        pl.coalesce("high", "close"), pl.coalesce("low", "close"), pl.col("close"), ignore_nulls=False
    )
    known = rows.filter(pl.col("volume") > 0)
    volume = float(known["volume"].sum())
    vwap = None
    if volume > 0:
        vwap = money(float(known.select((typical * pl.col("volume")).sum()).item()) / volume)
    first = rows.row(0, named=True)
    return Interval(vwap, volume, rows.height, first["vendor"], first["seconds"], start, end)


def comparable(price: Decimal, other: Decimal) -> bool:
    """Whether two prices of a symbol can be in the same units (`MOST_APART`)."""
    return 1 / MOST_APART < float(price / other) < MOST_APART
