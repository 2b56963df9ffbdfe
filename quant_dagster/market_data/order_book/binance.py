"""Binance's book messages, spot and USDⓈ-M futures: live ones from a combined stream, or a recording of them.

Streams read: ``<symbol>@depth...`` (changes), ``<symbol>@bookTicker`` (the venue's own best quotes) and the depth
snapshot of the REST interface. A recording has a message a line, behind the time it was received in nanoseconds:
``1723161255030314667 {"stream": ..., "data": ...}``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from quant_dagster.errors import ConfigurationError, MalformedDataError
from quant_dagster.market_data.order_book.book import Level
from quant_dagster.market_data.order_book.changes import BestQuote, BookChange
from quant_dagster.market_data.vendors.protocol import BookSnapshot

VENDOR = "binance"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 120

Message = BookChange | BestQuote | BookSnapshot


@dataclass(frozen=True, slots=True)
class Received:
    """A message of a recording and when it arrived, in nanoseconds since 1970 (UTC)."""

    nanoseconds: int
    message: Message


def read_recording(path: Path | str) -> Iterator[Received]:
    """Changes, best quotes and snapshots of a recording (plain or gzip), in the order of arrival; others left out.

    Raises
    ------
    ConfigurationError
        There is no such file.
    MalformedDataError
        A line is not a message; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigurationError(f"order book recording {path} does not exist: name a file of recorded messages")
    for number, line in enumerate(_lines(path), start=1):
        try:
            stamp, _, text = line.partition(" ")
            nanoseconds = int(stamp)
            message = parse(text, _EPOCH + timedelta(microseconds=nanoseconds // 1000))
        except (ValueError, OverflowError, MalformedDataError) as error:
            raise MalformedDataError(f"recording {path}, line {number}: {error}") from error
        if message is not None:
            yield Received(nanoseconds, message)


def _lines(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise MalformedDataError(f"recording {path} cannot be read to its end: {error}") from error


def parse(text: str, received_at: datetime) -> Message | None:
    """One message; None for one of another stream (trades).

    Raises
    ------
    MalformedDataError
        It is not what Binance documents: truncated, fields missing, a price that is no number.
    """
    try:
        envelope = json.loads(text)
        if "lastUpdateId" in envelope:
            return _snapshot(envelope, received_at)
        stream, body = envelope["stream"].partition("@")[2], envelope["data"]
        if stream.startswith("depth"):
            return _change(body)
        if stream == "bookTicker":
            return BestQuote(int(body["u"]), float(body["b"]), float(body["B"]), float(body["a"]), float(body["A"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        shown = text.strip()[:_SHOWN]
        raise MalformedDataError(f"not a message of Binance ({type(error).__name__}: {error}): {shown}") from error
    return None


def _change(body: dict[str, Any]) -> BookChange:
    previous = body.get("pu")
    return BookChange(
        first=int(body["U"]),
        last=int(body["u"]),
        previous=None if previous is None else int(previous),
        at=_EPOCH + timedelta(milliseconds=int(body["E"])),
        bids=_levels(body["b"]),
        asks=_levels(body["a"]),
    )


def _snapshot(body: dict[str, Any], received_at: datetime) -> BookSnapshot:
    at = body.get("E")  # futures only; a spot snapshot says no time
    return BookSnapshot(
        vendor=VENDOR,
        symbol="",
        taken_at=received_at if at is None else _EPOCH + timedelta(milliseconds=int(at)),
        sequence=int(body["lastUpdateId"]),
        bids=_levels(body["bids"]),
        asks=_levels(body["asks"]),
    )


def _levels(rows: list[list[str]]) -> tuple[Level, ...]:
    return tuple([(float(price), float(size)) for price, size in rows])
