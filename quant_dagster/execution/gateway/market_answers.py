"""Answers about instruments and prices: which contract is meant, quotes, history."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.gateway import messages
from quant_dagster.execution.gateway.records import Instrument
from quant_dagster.execution.gateway.requests import AskedContract
from quant_dagster.execution.gateway.wire import Field, Fields, new_york
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.execution.gateway.server import TwsServer
    from quant_dagster.execution.gateway.session import Session

UNKNOWN = "No security definition has been found for the request"

_NEW_YORK = ZoneInfo("America/New_York")
_LIVE = 1
_BID, _ASK, _LAST = 1, 2, 4
_NO_DATA = Decimal(-1)


def resolve(server: TwsServer, asked: AskedContract) -> Instrument | None:
    """The instrument a client means, by id or by description; None: there is none."""
    instruments = server.venue.instruments
    if asked.con_id:
        return next((one for one in instruments.values() if one.con_id == asked.con_id), None)
    found = instruments.get(asked.symbol)
    if found is None or asked.security_type != "STK" or asked.currency not in ("", found.currency):
        return None
    return found


def instant(text: str) -> datetime:
    """The time of a filter: ``YYYYMMDD-HH:MM:SS`` is UTC; with a space New York, unless a zone follows."""
    match = re.fullmatch(r"(\d{8})([- ])\s*(\d\d:\d\d:\d\d)(?: (\S+))?", text.strip())
    if match is None:
        raise MalformedDataError(f"time '{text}' of an executions filter is not YYYYMMDD-HH:MM:SS")
    zone = ZoneInfo(match[4]) if match[4] else (UTC if match[2] == "-" else _NEW_YORK)
    return datetime.strptime(match[1] + match[3], "%Y%m%d%H:%M:%S").replace(tzinfo=zone).astimezone(UTC)


def quote(server: TwsServer, session: Session, fields: Fields) -> None:
    request, snapshot = fields.integer(2), fields.flag(17)
    found = resolve(server, AskedContract.parse(fields[3:15]))
    if found is None:
        session.send(messages.error(request, 200, UNKNOWN))
        return
    session.send(messages.market_data_type(request, _LIVE))
    send_quote(server, session, request, found.symbol)
    if snapshot:
        session.send(messages.tick_snapshot_end(request))
    else:
        session.subscriptions.quotes[request] = found.symbol


def send_quote(server: TwsServer, session: Session, request: int, symbol: str) -> None:
    """Bid, ask and last where they are not what was sent before; -1 is the protocol's word for none."""
    quote = server.market.quote(symbol)
    if session.subscriptions.told.get(request) == quote:
        return
    session.subscriptions.told[request] = quote
    for tick_type, price in ((_BID, quote.bid), (_ASK, quote.ask), (_LAST, quote.last)):
        session.send(messages.tick_price(request, tick_type, _NO_DATA if price is None else price, 100 if price else 0))


def cancel_quote(server: TwsServer, session: Session, fields: Fields) -> None:
    session.subscriptions.quotes.pop(fields.integer(2), None)
    session.subscriptions.told.pop(fields.integer(2), None)


def history(server: TwsServer, session: Session, fields: Fields) -> None:
    request = fields.integer(1)
    asked = AskedContract.parse(fields[2:14])
    end_text, size, duration = fields[15], fields[16], fields[17]
    as_epoch = fields[20] == "2"
    found = resolve(server, asked)
    if found is None:
        session.send(messages.error(request, 200, UNKNOWN))
        return
    if size not in ("1 min", "1 day"):
        text = f"Historical data bar size setting is invalid. Legal ones are: 1 min, 1 day (asked for: {size})"
        session.send(messages.error(request, 321, f"Error validating request.-'bX' : cause - {text}"))
        return
    end = min(instant(end_text), server.now()) if end_text else server.now()
    daily = size == "1 day"
    start, sessions = _duration_start(end, duration)
    bars = [bar for bar in server.market.history(found.symbol, daily=daily, until=end) if bar[0] >= start]
    if sessions is not None:
        days = sorted({bar[0].astimezone(_NEW_YORK).date() for bar in bars})[-sessions:]
        bars = [bar for bar in bars if days and bar[0].astimezone(_NEW_YORK).date() >= days[0]]
    if not bars:
        text = f"Historical Market Data Service error message:HMDS query returned no data: {found.symbol}@SMART Trades"
        session.send(messages.error(request, 162, text))
        return
    rows: list[tuple[Field, ...]] = []
    for at, opened, high, low, close, volume in bars:
        average = money((high + low + close) / 3)
        moment = at.astimezone(_NEW_YORK).strftime("%Y%m%d") if daily else new_york(at)
        if not daily and as_epoch:
            moment = str(int(at.timestamp()))
        rows.append((moment, opened, high, low, close, volume, average, -1))
    session.send(messages.historical_data(request, new_york(start), new_york(end), rows))


def _duration_start(end: datetime, duration: str) -> tuple[datetime, int | None]:
    """Where a duration such as "5 D" begins; days are sessions, so the bound is loose and their number is given."""
    count, _, unit = duration.partition(" ")
    if not count.isdigit() or unit not in ("S", "D", "W", "M", "Y"):
        raise MalformedDataError(f"duration '{duration}' is not a number and S, D, W, M or Y")
    number = int(count)
    if unit == "D":
        return end - timedelta(days=2 * number + 10), number
    days = {"W": 7, "M": 31, "Y": 366}.get(unit)
    return (end - timedelta(days=days * number) if days else end - timedelta(seconds=number)), None
