"""``quant gateway``: a gateway of Interactive Brokers on this machine, for whoever has no account."""

from __future__ import annotations

import ipaddress
import signal
import sys
import threading
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from quant_dagster.cli.options import SessionOption, open_context, parse_day
from quant_dagster.errors import ConfigurationError, DataUnavailableError

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.execution.gateway.bar_market import BarMarket
    from quant_dagster.execution.gateway.bars import SymbolBars
    from quant_dagster.execution.gateway.gateway import Gateway

app = typer.Typer(help="A gateway of Interactive Brokers on this machine, which trades against real bars.")

_ZONE = ZoneInfo("America/New_York")
_HISTORY = {"intraday_bars": timedelta(days=14), "bars": timedelta(days=400)}


@app.callback()
def _group() -> None:
    """Keeps ``simulate`` a command of its own."""


@app.command()
def simulate(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 4002,
    bars: Annotated[
        Path | None, typer.Option("--bars", help="Parquet file of 1-minute bars; default: the lake.")
    ] = None,
    vendor: Annotated[
        str | None,
        typer.Option(
            "--vendor", help="Daily bars of this vendor instead, kept out of the lake: the desk must not know them yet."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="What the file calls a field (bar_end=time); repeat it."),
    ] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of the file's times without zone.")] = _ZONE.key,
    session: SessionOption = None,
    start: Annotated[
        str, typer.Option("--start", metavar="HH:MM", help="Market time to begin at, New York.")
    ] = "09:25",
    speed: Annotated[float, typer.Option("--speed", help="Market seconds in a second.")] = 60.0,
    cash: Annotated[str, typer.Option("--cash", help="Cash of the account, USD.")] = "1000000",
    account: Annotated[str, typer.Option("--account", help="Number of the account.")] = "DU0000000",
    participation: Annotated[float, typer.Option("--participation", help="Share of a bar's volume for orders.")] = 0.1,
    spread_bps: Annotated[float, typer.Option("--spread-bps", min=0, help="Spread market orders pay half of.")] = 2.0,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse orders, as a read-only API does.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Print a line for every order, trade and connection.")] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen for other machines too: anybody there can trade.")
    ] = False,
) -> None:
    """Serve the TWS protocol on a port until interrupted; orders fill against a session's real bars."""
    from quant_dagster.execution.gateway.gateway import Gateway
    from quant_dagster.execution.gateway.market import RunningClock

    _check_host(host, allow_remote)
    if not 0 < participation <= 1:
        raise ConfigurationError(f"--participation {participation} is not above 0 and at most 1")
    day = parse_day(session, "--session")
    if bars is not None and vendor is not None:
        raise ConfigurationError("--bars and --vendor both say what is traded: name one")
    if bars is not None:
        found = _from_file(bars, _columns(column or []), time_zone, day)
    elif vendor is not None:
        found = _from_vendor(vendor, day)
    else:
        found = _from_lake(day)
    market = _market(found, Decimal(str(participation)), Decimal(str(spread_bps)))
    if not market.instruments:
        raise DataUnavailableError(
            "every symbol", "the simulated gateway", market.session, market.session,
            "its bars have no open, high, low and volume (closes alone are no market): give a file of minutes with "
            "--bars, a vendor that has them with --vendor, or load some with 'quant intraday load'",
        )  # fmt: skip
    begin = datetime.combine(market.session, _clock_time(start), _ZONE)
    gateway = Gateway(
        market,
        clock=RunningClock(begin, speed),
        host=host,
        port=port,
        account=account,
        cash=_amount(cash),
        log=_print_line if log else None,
    )
    # Asked for before the port is open: whoever sees it open may interrupt at once.
    over = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: over.set())
    gateway.start()
    try:
        if read_only:
            gateway.read_only(True)
        typer.echo(
            f"gateway of {account} on {gateway.host}:{gateway.port}: {len(market.instruments)} symbols of "
            f"{found.source}, session {market.session}, market time {begin:%H:%M} New York at {speed:g}x; trade with "
            f"QUANT_EXECUTION__BROKER=ibkr QUANT_EXECUTION__IBKR__PORT={gateway.port} QUANT_EXECUTION__CLOCK=broker"
        )
        sys.stdout.flush()
        while not over.wait(1.0):
            pass
    finally:
        _summary(gateway)
        gateway.stop()


def _summary(gateway: Gateway) -> None:
    orders, trades = gateway.orders(), gateway.standing_executions()
    held = ", ".join(f"{one.quantity.normalize():f} {one.symbol}" for one in gateway.positions()) or "nothing"
    typer.echo(
        f"gateway closed at market time {gateway.clock.now().astimezone(_ZONE):%H:%M}: {len(orders)} orders, "
        f"{len(trades)} trades, commissions {gateway.commissions():.2f}, cash {gateway.cash():.2f}, holds {held}"
    )


@dataclass(frozen=True)
class _Found:
    """Bars of a session and of some before it, and where they come from."""

    bars: dict[str, SymbolBars]
    session: date
    source: str


def _from_file(path: Path, columns: dict[str, str], time_zone: str, day: date | None) -> _Found:
    import polars as pl

    from quant_dagster.execution.gateway.bars import minute_bars, of_session, read_bars

    frame = read_bars(path, columns, time_zone=time_zone)
    if frame.is_empty():
        raise DataUnavailableError("any symbol", path.name, day, day, "the file has no rows")
    newest = frame.select(pl.col("bar_start").max()).item()
    chosen = day or newest.astimezone(_ZONE).date()
    return _Found(minute_bars(of_session(frame, chosen)), chosen, path.name)


def _from_vendor(name: str, day: date | None) -> _Found:
    """A vendor's daily bars, asked for now."""
    from quant_dagster.market_data.calendars import FIRST_DAY

    context = open_context()
    vendor = next((one for one in context.vendors if one.name == name), None)
    if vendor is None:
        known = ", ".join(one.name for one in context.vendors)
        raise ConfigurationError(f"--vendor '{name}' is not one that universe '{context.universe.name}' has: {known}")
    first, last = (
        (day - _HISTORY["bars"], day) if day else (FIRST_DAY, context.calendar.latest_completed(context.now()))
    )
    rows = vendor.daily_bars(context.symbols, first, last).rows
    newest: date = rows["session"].max()
    return _Found(_by_the_day(context, rows, day or newest), day or newest, f"{name}'s daily bars")


def _by_the_day(context: TradingContext, rows: pl.DataFrame, session: date) -> dict[str, SymbolBars]:
    """Daily bars; those of the session that is traded as minutes on the way of its day."""
    from quant_dagster.execution.gateway.bars import daily_bars, minute_by_minute

    days = [one for one in rows["session"].unique().to_list() if context.calendar.is_session(one)]
    opens = {one: context.calendar.open_time(one) for one in days}
    closes = {one: context.calendar.close_time(one) for one in days}
    bars = daily_bars(rows.filter(rows["session"].is_in(days)), opens, closes)
    return minute_by_minute(bars, context.calendar.open_time(session))


def _from_lake(day: date | None) -> _Found:
    """The lake's minutes of the session, else its daily bars."""
    from quant_dagster.execution.gateway.bars import minute_bars

    context = open_context()
    newest: dict[str, date] = {}
    for table, back in _HISTORY.items():
        sessions = context.lake.read(table, columns=["session"], ordered=False)["session"]
        if sessions.is_empty():
            continue
        newest[table] = sessions.max()
        chosen = day or newest[table]
        if not (sessions == chosen).any():
            continue
        rows = context.lake.read(table, start=chosen - back, end=chosen)
        if table == "intraday_bars":
            return _Found(minute_bars(_one_vendor(rows, chosen)), chosen, "the lake's minutes")
        return _Found(_by_the_day(context, rows, chosen), chosen, "the lake's daily bars")
    there = ", ".join(f"{table} up to {last}" for table, last in newest.items()) or "nothing"
    raise DataUnavailableError(
        "any symbol", "the lake", day, day, f"it has {there}; name a session it has, or a file with --bars"
    )


def _one_vendor(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    """Minutes of the vendor that has most of them in the session: bars of two vendors would be met twice."""
    import polars as pl

    minutes = rows.filter(pl.col("seconds") == 60)
    of_day = minutes.filter(pl.col("session") == session)
    counted = of_day.group_by("vendor").len().sort(["len", "vendor"], descending=[True, False])
    if counted.is_empty():
        lengths = ", ".join(str(one) for one in rows["seconds"].unique().sort().to_list())
        raise DataUnavailableError(
            "any symbol", "the lake", session, session, f"its bars are of {lengths} s, not of 60"
        )
    return minutes.filter(pl.col("vendor") == counted["vendor"][0])


def _market(found: _Found, participation: Decimal, spread_bps: Decimal) -> BarMarket:
    from quant_dagster.execution.gateway.bar_market import BarMarket
    from quant_dagster.market_data.calendars import exchange_calendar

    calendar = exchange_calendar()
    if not calendar.is_session(found.session):
        raise ConfigurationError(f"{found.session} is no session of the New York exchange; choose one with --session")
    return BarMarket(
        found.bars,
        opens=calendar.open_time(found.session),
        closes=calendar.close_time(found.session),
        participation=participation,
        spread_bps=spread_bps,
    )


def _check_host(host: str, allow_remote: bool) -> None:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not allow_remote:
        raise ConfigurationError(
            f"--host {host} is not this machine alone: whoever reaches it could trade; say --allow-remote if that is "
            "meant"
        )


def _clock_time(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - of the exchange's zone, given beside it
    except ValueError:
        raise ConfigurationError(f"--start '{text}' is not a time; write it as HH:MM") from None


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.replace("_", "").replace(",", ""))
    except InvalidOperation:
        raise ConfigurationError(f"--cash '{text}' is not an amount; write it as 1000000") from None
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"--cash {text}: an account without money cannot trade; name more than 0")
    return amount


def _columns(pairs: list[str]) -> dict[str, str]:
    given = {}
    for pair in pairs:
        name, separator, column = pair.partition("=")
        if not separator or not name or not column:
            raise ConfigurationError(f"--column '{pair}' is not NAME=COLUMN; write it as bar_end=time")
        given[name] = column
    return given


def _print_line(line: str) -> None:
    sys.stdout.write(line.replace("\n", " ") + "\n")
    sys.stdout.flush()
