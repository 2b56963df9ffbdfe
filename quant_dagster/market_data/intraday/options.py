"""What has to be said of intraday data before it can be read: kind, columns, time zone, which end a bar is named by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.vendors.protocol import PRICE_FIELDS

QUOTE_FIELDS = tuple(f"{side}_{name}" for side in ("bid", "ask") for name in ("open", "high", "low", "close", "size"))
_LONGEST_BAR = 86_400


class IntradayKind(StrEnum):
    """What the rows are."""

    BARS = "bars"
    QUOTES = "quotes"
    TRADES = "trades"

    @property
    def table(self) -> str:
        """The lake table they are stored in."""
        return {"bars": "intraday_bars", "quotes": "intraday_quotes", "trades": "trades"}[self.value]

    @property
    def time_column(self) -> str:
        """The lake's column that says when."""
        return "traded_at" if self is IntradayKind.TRADES else "bar_start"

    @property
    def numbers(self) -> tuple[str, ...]:
        """The lake's columns that hold numbers."""
        return {"bars": PRICE_FIELDS, "quotes": QUOTE_FIELDS, "trades": ("price", "size")}[self.value]

    @property
    def key(self) -> tuple[str, ...]:
        """What names a row of one vendor."""
        if self is IntradayKind.TRADES:
            return ("symbol", "session", "trade_id")
        return ("symbol", "session", "bar_start", "seconds")


class BarTime(StrEnum):
    """Which instant of a bar its time names."""

    START = "start"
    END = "end"


@dataclass(frozen=True)
class IntradayFile:
    """A file, or a folder of files, of intraday data.

    Attributes
    ----------
    path
        Parquet or CSV (plain or gzip), or a folder of them.
    kind
        What the rows are.
    time_zone
        Of times without zone: ``America/New_York``, ``UTC``. It is never guessed.
    bar_time
        Whether a bar's time names its first instant or its end. Without meaning for trades.
    columns
        Fields that the file calls otherwise: the desk's name and the file's. Fields are ``symbol``, ``time``, and
        those of the kind (bars: open, high, low, close, volume; quotes: bid_open ... ask_size; trades: price, size,
        trade_id, side). A field that is neither named nor in the file is null; without ``symbol`` it is the file's
        name.
    vendor
        Name under which the rows are stored.
    seconds
        Length of a bar.
    extended_hours
        Keep bars and trades outside regular hours, under the session of their day. Else they are refused.
    """

    path: Path
    kind: IntradayKind
    time_zone: str
    bar_time: BarTime = BarTime.START
    columns: Mapping[str, str] = field(default_factory=dict)
    vendor: str = "files"
    seconds: int = 60
    extended_hours: bool = False

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigurationError(
                f"time zone '{self.time_zone}' of {self.path}: unknown; name one like America/New_York or UTC"
            ) from error
        if not 1 <= self.seconds <= _LONGEST_BAR:
            raise ConfigurationError(f"bars of {self.path}: {self.seconds} seconds is no length of an intraday bar")
        known = {"symbol", "time", *self.kind.numbers, *(("trade_id", "side") if self.kind.name == "TRADES" else ())}
        if unknown := sorted(set(self.columns) - known):
            raise ConfigurationError(
                f"columns of {self.path}: unknown fields {unknown}; {self.kind} have {', '.join(sorted(known))}"
            )
