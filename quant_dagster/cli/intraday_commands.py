"""``quant intraday``: minutes, quotes and trades loaded, resampled and searched for gaps; order books rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.options import (
    AsKnownOn,
    EndOption,
    Json,
    Limit,
    SessionOption,
    StartOption,
    UniverseOption,
    open_context,
    parse_day,
)
from quant_dagster.errors import ConfigurationError, DataUnavailableError

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.market_data.calendars import ExchangeCalendar
    from quant_dagster.storage.lake import Lake

app = typer.Typer(help="Within the session: minutes, quotes, trades, order books.")

_KINDS = ("bars", "quotes", "trades")
_Exchange = Annotated[
    str | None,
    typer.Option("--exchange", help="Calendar of the sessions (XNYS, 24/7 for crypto); default: the desk's."),
]
_OfVendor = Annotated[str | None, typer.Option("--vendor", help="Only rows of this vendor.")]
_OfSymbols = Annotated[str | None, typer.Option("--symbols", metavar="A,B", help="Only these symbols.")]


@app.command()
def load(
    path: Annotated[Path, typer.Option("--path", help="A Parquet or CSV file, or a folder of them.")],
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of times without zone: America/New_York, UTC.")],
    kind: Annotated[str, typer.Option("--kind", help="bars, quotes or trades.")] = "bars",
    bar_time: Annotated[str, typer.Option("--bar-time", help="What a bar's time names: start or end.")] = "start",
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="What the file calls a field (time=bar_end); repeat it."),
    ] = None,
    vendor: Annotated[str, typer.Option("--vendor", help="Name the rows are stored under.")] = "files",
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="Length of a bar.")] = 60,
    extended_hours: Annotated[
        bool, typer.Option("--extended-hours", help="Keep what lies outside regular hours.")
    ] = False,
    symbols: _OfSymbols = None,
    exchange: _Exchange = None,
    json: Json = False,
) -> None:
    """Load intraday data from files into the lake; refused rows are kept apart with the reason."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.market_data.intraday.load import load_files
    from quant_dagster.market_data.intraday.options import BarTime, IntradayFile, IntradayKind
    from quant_dagster.quality.contracts import validate

    source = IntradayFile(
        path=path,
        kind=IntradayKind(_one_of(kind, _KINDS, "--kind")),
        time_zone=time_zone,
        bar_time=BarTime(_one_of(bar_time, ("start", "end"), "--bar-time")),
        columns=_columns(column or []),
        vendor=vendor,
        seconds=seconds,
        extended_hours=extended_hours,
    )
    context = open_context()
    report = load_files(
        context.lake,
        source,
        calendar=_calendar(context, exchange),
        now=context.now(),
        contract=validate,
        symbols=_symbols(symbols),
    )
    print_facts(asdict(report), title="Intraday data loaded", as_json=json)


@app.command()
def fetch(
    symbols: Annotated[str, typer.Argument(metavar="A,B", help="Symbols to ask for.")],
    vendor: Annotated[str, typer.Option("--vendor", help="A live vendor of the universe.")],
    start: Annotated[str, typer.Option("--start", metavar="YYYY-MM-DD", help="First session.")],
    end: EndOption = None,
    kind: Annotated[str, typer.Option("--kind", help="bars or trades.")] = "bars",
    universe: UniverseOption = None,
    extended_hours: Annotated[
        bool, typer.Option("--extended-hours", help="Keep what lies outside regular hours.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask a live vendor for minutes or trades, through its breaker and its request budget."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.market_data.intraday.load import load_vendor
    from quant_dagster.market_data.intraday.options import IntradayKind
    from quant_dagster.quality.contracts import validate

    context = open_context(universe=universe)
    source, guard = _live(context, vendor, "trades" if kind == "trades" else "minute_bars")
    first = parse_day(start, "--start")
    last = parse_day(end, "--end") or first
    if first is None or last is None:
        raise ConfigurationError("--start names the first session")
    report = load_vendor(
        context.lake,
        source,
        IntradayKind(_one_of(kind, ("bars", "trades"), "--kind")),
        _symbols(symbols) or [],
        context.calendar.open_time(first),
        min(context.calendar.close_time(last), context.now()),
        calendar=context.calendar,
        now=context.now(),
        contract=validate,
        guard=guard,
        extended_hours=extended_hours,
    )
    print_facts(asdict(report), title=f"Intraday data of {vendor} loaded", as_json=json)


@app.command()
def snapshot(
    symbol: Annotated[str, typer.Argument(help="A symbol of the venue.")],
    vendor: Annotated[str, typer.Option("--vendor", help="A venue of the universe.")],
    depth: Annotated[int, typer.Option("--depth", min=1, help="Levels a side.")] = 10,
    universe: UniverseOption = None,
    json: Json = False,
) -> None:
    """A venue's order book now: levels, spread, microprice."""
    from itertools import zip_longest

    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.market_data.order_book.sync import SyncedBook

    context = open_context(universe=universe)
    source, guard = _live(context, vendor, "order_book")
    taken = guard.call("order_book", lambda: source.order_book(symbol, depth))
    synced = SyncedBook(vendor, symbol)
    synced.apply_snapshot(taken)
    top = synced.book.top
    if top is None:
        raise DataUnavailableError(symbol, vendor, None, None, "one side of its book is empty")
    levels = [
        {"bid_size": bid[1], "bid": bid[0], "ask": ask[0], "ask_size": ask[1]}
        for bid, ask in zip_longest(taken.bids[:depth], taken.asks[:depth], fillvalue=(None, None))
    ]
    facts = {"vendor": vendor, "symbol": symbol, "taken_at": taken.taken_at, "sequence": taken.sequence,
             "mid": top.mid, "spread": top.spread, "microprice": top.microprice}  # fmt: skip
    if json:
        print_json(facts | {"levels": levels})
        return
    title = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    print_rows(levels, ["bid_size", "bid", "ask", "ask_size"], title=title, as_json=False)


def _live(context: Any, name: str, operation: str) -> tuple[Any, Any]:
    """A live vendor of the universe that offers an operation, and its guard."""
    vendor = next((vendor for vendor in context.vendors if vendor.name == name), None)
    if vendor is None or not vendor.capabilities.remote or operation not in vendor.capabilities.offers:
        able = [one.name for one in context.vendors if operation in one.capabilities.offers]
        raise ConfigurationError(
            f"vendor '{name}' of universe '{context.universe.name}' does not offer {operation}; "
            f"these do: {', '.join(able) or 'none; name another --universe'}"
        )
    return vendor, context.guards[name]


@app.command()
def resample(
    symbol: Annotated[str, typer.Argument(help="A symbol of the table.")],
    minutes: Annotated[int | None, typer.Option("--minutes", min=1, help="Length; default: the session.")] = None,
    session: SessionOption = None,
    quotes: Annotated[bool, typer.Option("--quotes", help="Of quotes instead of trades.")] = False,
    vendor: _OfVendor = None,
    as_known_on: AsKnownOn = None,
    exchange: _Exchange = None,
    limit: Limit = 80,
    json: Json = False,
) -> None:
    """Longer bars, aligned to the session's open, with how many minutes each should hold and does."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.market_data.intraday.resample import resample_bars, resample_quotes

    context = open_context()
    day = parse_day(session, "--session")
    table = "intraday_quotes" if quotes else "intraday_bars"
    rows = _read(context.lake, table, [symbol], (day, day), vendor, as_known_on)
    calendar = _calendar(context, exchange)
    made = (resample_quotes if quotes else resample_bars)(rows, minutes, calendar)
    shown = made if json else _for_people(made.tail(limit), calendar)
    length = "session" if minutes is None else f"{minutes} minutes"
    title = f"{symbol} by {length}, {', '.join(made['vendor'].unique().sort())}, times of {calendar.time_zone}"
    print_rows(shown.to_dicts(), shown.columns, title=title, as_json=json)


@app.command()
def gaps(
    symbols: _OfSymbols = None,
    start: StartOption = None,
    end: EndOption = None,
    quotes: Annotated[bool, typer.Option("--quotes", help="Of quotes instead of trades.")] = False,
    vendor: _OfVendor = None,
    as_known_on: AsKnownOn = None,
    exchange: _Exchange = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Missing minutes per symbol and session, and the longest runs of them."""
    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.market_data.intraday.missing import gap_runs, missing_minutes

    context = open_context()
    span = parse_day(start, "--start"), parse_day(end, "--end")
    table = "intraday_quotes" if quotes else "intraday_bars"
    rows = _read(context.lake, table, _symbols(symbols), span, vendor, as_known_on)
    calendar = _calendar(context, exchange)
    expected = (span[0], span[1]) if span[0] and span[1] else None
    sessions = missing_minutes(rows, calendar, expected)
    runs = gap_runs(rows, calendar, expected).sort("minutes", "gap_start", descending=[True, False])
    if json:
        print_json({"sessions": sessions.to_dicts(), "gaps": runs.to_dicts()})
        return
    worst = sessions.sort("minutes_missing", "symbol", "session", descending=[True, False, False]).head(limit)
    print_rows(worst.to_dicts(), worst.columns, title="Missing minutes, most first", as_json=False)
    print_rows(runs.head(limit).to_dicts(), runs.columns, title="Longest gaps (UTC)", as_json=False)


@app.command()
def book(
    file: Annotated[Path, typer.Argument(help="A recorded Binance stream (plain or gzip).")],
    tick_size: Annotated[float | None, typer.Option("--tick-size", help="Step of prices; default: found.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Rebuild an order book from a recording, and hold it against the venue's own best quotes."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.market_data.order_book.rebuild import rebuild_file
    from quant_dagster.market_data.order_book.sync import SyncState

    done = rebuild_file(file, tick_size)
    facts: dict[str, Any] = {
        "recording": file.name,
        "messages": done.messages,
        "changes": done.changes,
        "started_from": "snapshot" if done.from_snapshot else "changes alone",
        "applied": done.applied,
        "waited_for_a_snapshot": done.kept,
        "old": done.old,
        "gaps": done.gaps,
        "gap_reasons": list(done.gap_reasons),
        "crossed": done.crossed,
        "tick_size": done.tick_size,
        "top_certain": int(done.top["certain"].sum()),
        "state": str(done.book.state),
        "agreement": {**asdict(done.agreement), "share": done.agreement.share if done.agreement.compared else None},
    }
    if json:
        print_json({**facts, "disagreements": done.disagreements.to_dicts()})
        return
    agreement = facts.pop("agreement")
    print_facts(facts, title="Order book rebuilt", as_json=False)
    print_facts(agreement, title="Against the venue's best quotes", as_json=False)
    shown = done.disagreements.head(limit)
    columns = ["update_id", "bid", "bid_size", "ask", "ask_size", "certain",
               "quoted_bid", "quoted_bid_size", "quoted_ask", "quoted_ask_size"]  # fmt: skip
    print_rows(shown.to_dicts(), columns, title="Disagreements", as_json=False)
    if done.book.state is SyncState.IN_SYNC:
        bids, asks = done.book.book.depth(5)
        levels = [
            {"bid_size": bid[1], "bid": bid[0], "ask": ask[0], "ask_size": ask[1]}
            for bid, ask in zip(bids, asks, strict=False)
        ]
        print_rows(levels, ["bid_size", "bid", "ask", "ask_size"], title="Book at the end", as_json=False)


def _read(
    lake: Lake,
    table: str,
    symbols: list[str] | None,
    span: tuple[Any, Any],
    vendor: str | None,
    as_known_on: str | None,
) -> pl.DataFrame:
    import polars as pl

    where = None if vendor is None else pl.col("vendor") == vendor
    known_on = parse_day(as_known_on, "--as-known-on")
    rows = lake.read(table, symbols=symbols, start=span[0], end=span[1], where=where, known_on=known_on)
    if rows.is_empty():
        asked = ", ".join(symbols or ["any symbol"])
        raise DataUnavailableError(
            asked, vendor or f"lake table {table}", *span, "'quant intraday load' brings data in"
        )
    return rows


def _for_people(rows: pl.DataFrame, calendar: ExchangeCalendar) -> pl.DataFrame:
    """Rows narrow enough for a table: local times, and nothing the title says."""
    import polars as pl

    local = {name: pl.col(name).dt.convert_time_zone(calendar.time_zone) for name in ("bar_start", "bar_end")}
    named = rows.with_columns(
        bar_start=local["bar_start"].dt.strftime("%Y-%m-%d %H:%M"), bar_end=local["bar_end"].dt.strftime("%H:%M")
    ).rename({"minutes_expected": "expected", "minutes_present": "present"})
    extremes = [f"{side}_{field}" for side in ("bid", "ask") for field in ("open", "high", "low")]
    several = () if rows["vendor"].n_unique() > 1 else ("vendor",)
    return named.drop("symbol", "session", "seconds", *several, *(name for name in extremes if name in rows.columns))


def _calendar(context: Any, exchange: str | None) -> ExchangeCalendar:
    from quant_dagster.market_data.calendars import exchange_calendar

    return exchange_calendar(exchange) if exchange else context.calendar


def _one_of(text: str, allowed: tuple[str, ...], option: str) -> str:
    if text not in allowed:
        raise ConfigurationError(f"{option} '{text}': use one of {', '.join(allowed)}")
    return text


def _columns(pairs: list[str]) -> dict[str, str]:
    """Fields that go by another name in the file; the others keep the desk's, where the file has them."""
    given = {}
    for pair in pairs:
        name, separator, column = pair.partition("=")
        if not separator or not name or not column:
            raise ConfigurationError(f"--column '{pair}' is not NAME=COLUMN; write it as time=bar_end")
        given[name] = column
    return given


def _symbols(text: str | None) -> list[str] | None:
    # Not upper-cased: venues have symbols of their own spelling.
    return None if text is None else [symbol.strip() for symbol in text.split(",") if symbol.strip()]
