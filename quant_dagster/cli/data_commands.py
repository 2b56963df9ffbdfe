"""``quant data``: bars, refused rows, scores, breaks, restatements, anomalies, quarantine, instruments, members."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quant_dagster.cli.options import (
    AsKnownOn,
    EndOption,
    Json,
    Limit,
    StartOption,
    Symbols,
    open_context,
    open_existing,
    parse_day,
    parse_symbols,
)

app = typer.Typer(
    help="The market data: bars, quality, vendors against each other, refused rows, restatements, quarantine."
)
SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="A symbol.")]


@app.command()
def bars(
    symbol: SymbolArgument,
    start: StartOption = None,
    end: EndOption = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """A symbol's bars, newest last; with --as-known-on as they were known then, restatements undone."""
    columns = ["session", "open", "high", "low", "close", "volume", "vendor", "level_factor", "vendor_change",
               "known_at"]  # fmt: skip
    _show_symbol("bars", columns, "Bars", symbol, start, end, as_known_on, limit, json)


@app.command()
def raw(
    symbol: SymbolArgument,
    start: StartOption = None,
    end: EndOption = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """What every vendor sent for a symbol."""
    columns = ["session", "vendor", "open", "high", "low", "close", "volume", "known_at", "row_hash"]
    _show_symbol("raw_prices", columns, "Raw prices", symbol, start, end, as_known_on, limit, json)


@app.command()
def rejected(
    symbols: Symbols = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only rows refused for this reason.")] = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Rows that were refused when they were loaded: which of what file, why, and what was found."""
    import polars as pl

    from quant_dagster.cli.output import print_rows

    where = pl.lit(True) if reason is None else pl.col("reason") == reason
    if (names := parse_symbols(symbols)) is not None:
        where &= pl.col("symbol").is_in(names)
    rows = open_context().lake.read("rejected_rows", where=where, ordered=False)
    newest = rows.sort("known_at", "vendor", "source", "row").tail(limit)
    columns = ["vendor", "source", "row", "symbol", "session", "reason", "detail"]
    print_rows(newest.to_dicts(), columns, title="Rejected rows", as_json=json)


@app.command()
def quality(
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    below: Annotated[float, typer.Option("--below", help="Only scores below this.")] = 1.0,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Bars that are not beyond doubt, with what was found."""
    import polars as pl

    columns = ["session", "symbol", "score", "issues", "not_evaluated"]
    where = pl.col("score") < below
    _show("quality", columns, "Quality", parse_symbols(symbols), start, end, as_known_on, limit, json, where)


@app.command()
def breaks(
    symbols: Symbols = None,
    break_class: Annotated[str | None, typer.Option("--class", help="bad_print, adjustment, missing, stale, …")] = None,
    start: StartOption = None,
    end: EndOption = None,
    examples: Annotated[int | None, typer.Option("--examples", min=1, help="That many of each class.")] = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Where vendors contradict each other: counts per class, and the breaks."""
    import polars as pl

    from quant_dagster.cli.output import print_rows

    lake = open_context().lake
    frame = lake.read(
        "reconciliation",
        symbols=parse_symbols(symbols),
        start=parse_day(start, "--start"),
        end=parse_day(end, "--end"),
        known_on=parse_day(as_known_on, "--as-known-on"),
    )
    if break_class is not None:
        frame = frame.filter(pl.col("break_class") == break_class)
    counts = frame.group_by("vendor", "other", "break_class", "wrong").agg(
        pl.len().alias("breaks"), pl.col("symbol").n_unique().alias("symbols")
    )
    if not json:
        ordered = counts.sort("vendor", "other", "break_class", "breaks", descending=[False, False, False, True])
        print_rows(ordered.to_dicts(), ordered.columns, title="Breaks between vendors", as_json=False)
    if examples is not None:
        # Spread over symbols and time rather than the first few: a person is to judge the class by them.
        order = pl.struct("symbol", "session").hash(seed=7)
        frame = frame.sort(order).group_by("break_class", maintain_order=True).head(examples).sort("break_class")
    else:
        frame = frame.tail(limit)
    columns = ["break_class", "symbol", "session", "wrong", "field", "value", "other_value", "detail"]
    print_rows(frame.to_dicts(), columns, title="Examples" if examples else "Newest breaks", as_json=json)


@app.command()
def restatements(
    symbols: Symbols = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="YYYY-MM-DD", help="Restated from that day on.")
    ] = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """What vendors have changed after the fact: what it was, what it became, when. Counts first."""
    import polars as pl

    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.restatement import restatements as found_in

    frame = found_in(open_context().lake, parse_symbols(symbols), parse_day(since, "--since"))
    counts = frame.group_by("vendor", "kind", pl.col("restated_at").dt.date().alias("restated_on")).agg(
        pl.len().alias("rows"), pl.col("symbol").n_unique().alias("symbols"),
        pl.col("session").min().alias("first"), pl.col("session").max().alias("last"),
        (pl.col("ratio") - 1).abs().max().alias("largest_change"),
    )  # fmt: skip
    if not json:
        counts = counts.sort("restated_on", "vendor", "kind", descending=[True, False, False])
        print_rows(counts.to_dicts(), counts.columns, title="Restatements", as_json=False)
    columns = ["vendor", "symbol", "session", "kind", "close", "new_close", "ratio", "known_at", "restated_at"]
    print_rows(frame.head(limit).to_dicts(), columns, title="Newest restatements", as_json=json)


@app.command()
def anomalies(
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    as_known_on: AsKnownOn = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """Bars and features that are unusual for their symbol or their market: findings to look at, not verdicts."""
    columns = ["session", "symbol", "detector", "subject", "value", "usual", "severity", "detail"]
    _show("anomalies", columns, "Anomalies", parse_symbols(symbols), start, end, as_known_on, limit, json)


@app.command()
def progress(
    vendor: Annotated[str | None, typer.Option("--vendor", help="Only this vendor.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="landed, stored, no_data or failed.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows shown.")] = 600,
    json: Json = False,
) -> None:
    """How far loading has come: per vendor and symbol the sessions stored, and what the vendor said where it failed."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.market_data.progress import LoadState, read

    if state is not None and state not in list(LoadState):
        raise ConfigurationError(f"--state '{state}' is unknown; choose from {', '.join(LoadState)}")
    with open_existing().ledger.read() as connection:
        rows = [asdict(one) for one in read(connection, vendor) if state is None or one.state == state]
    columns = ["vendor", "symbol", "state", "first", "last", "sessions", "detail"]
    print_rows(rows[:limit], columns, title="Progress of loading", as_json=json)


@app.command()
def members(
    on: Annotated[str | None, typer.Option("--on", metavar="YYYY-MM-DD", help="Day; default: today.")] = None,
    json: Json = False,
) -> None:
    """Who belongs to the universe on a day, and how many of them have prices."""
    from quant_dagster.cli.output import print_facts

    context = open_context()
    day = parse_day(on, "--on") or context.now().date()
    found = context.survivorship(day, day)
    symbols = sorted(context.membership.members(day)) if context.membership else sorted(context.symbols)
    facts: dict[str, Any] = {
        "universe": context.universe.name,
        "day": day,
        "members": len(symbols),
        "point_in_time": context.membership is not None,
        "with_prices": found.covered,
        "survivors_only": found.survivors_only,
        "reason": found.reason,
        "missing": list(found.missing),
        "symbols": symbols,
    }
    print_facts(facts, title="Members", as_json=json)


@app.command()
def instruments(
    symbols: Symbols = None,
    refresh: Annotated[
        str | None, typer.Option("--refresh", metavar="VENDOR", help="First ask a crypto venue for its markets.")
    ] = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """The instrument master: tick, lot, multiplier, currency and hours by date."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.instruments import refresh_from_venue

    context = open_context()
    if refresh is not None:
        refresh_from_venue(context, refresh)
    master = context.instruments
    wanted = parse_symbols(symbols) or list(master.symbols)
    rows = [asdict(terms) for symbol in wanted for terms in master.history(symbol)]
    columns = ["symbol", "valid_from", "valid_to", "tick_size", "lot_size", "multiplier", "currency", "exchange",
               "source"]  # fmt: skip
    print_rows(rows[:limit] if not json else rows, columns, title="Instruments", as_json=json)


@app.command()
def quarantine(
    release: Annotated[
        str | None, typer.Option("--release", metavar="SYMBOL", help="Let a symbol trade again.")
    ] = None,
    place: Annotated[
        str | None, typer.Option("--place", metavar="SYMBOL", help="Put a symbol under quarantine.")
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Who decides it.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
    json: Json = False,
) -> None:
    """Symbols whose data must not be traded on. Releasing one takes a person and a reason; both are audited."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.market_data import quarantine as rules

    context = open_existing()
    if release is not None or place is not None:
        if not actor or not reason:
            raise ConfigurationError("--release and --place need --actor and --reason")
        now = context.now()
        with context.ledger.write() as connection:
            if release is not None:
                rules.release(connection, release.upper(), now.date(), actor=actor, reason=reason, at=now)
            if place is not None:
                rules.place(connection, place.upper(), now.date(), reason, actor=actor, at=now)
    with context.ledger.read() as connection:
        rows = rules.listed(connection)
    columns = ["symbol", "since", "reason", "actor", "released_on", "released_by"]
    print_rows(rows, columns, title="Quarantine", as_json=json)


def _show_symbol(table: str, columns: list[str], title: str, symbol: str, *options: Any) -> None:
    """A symbol's rows; where the lake has none at all, how to load them is said on standard error."""
    from quant_dagster.cli.output import errors

    symbol = symbol.upper()
    found = _show(table, columns, f"{title} of {symbol}", [symbol], *options)
    if not found and open_context().lake.read(table, columns=["session"], symbols=[symbol]).is_empty():
        hint = f"no {title.lower()} of {symbol} in the lake: 'quant backfill' loads what the universe names"
        errors.print(hint, style="yellow", markup=False, soft_wrap=True)


def _show(
    table: str,
    columns: list[str],
    title: str,
    symbols: list[str] | None,
    start: str | None,
    end: str | None,
    as_known_on: str | None,
    limit: int,
    as_json: bool,
    where: Any = None,
) -> int:
    """Show the newest rows; how many there are in all."""
    from quant_dagster.cli.output import print_rows

    known_on = parse_day(as_known_on, "--as-known-on")
    frame = open_context().lake.read(
        table,
        symbols=symbols,
        start=parse_day(start, "--start"),
        end=parse_day(end, "--end"),
        where=where,
        known_on=known_on,
    )
    title = title if known_on is None else f"{title} as known on {known_on}"
    print_rows(frame.tail(limit).to_dicts(), columns, title=title, as_json=as_json)
    height: int = frame.height
    return height
