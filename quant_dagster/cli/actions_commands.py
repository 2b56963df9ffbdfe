"""``quant actions``: splits, dividends and spin-offs, and price series adjusted for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.options import (
    AsKnownOn,
    EndOption,
    Json,
    StartOption,
    Symbols,
    UniverseOption,
    open_context,
    parse_day,
    parse_symbols,
)

if TYPE_CHECKING:
    from quant_dagster.market_data.corporate_actions.levels import PriceLevel

app = typer.Typer(help="Splits, dividends and spin-offs: reported, inferred, confirmed, applied.")

Levels = Annotated[
    list[str] | None,
    typer.Option("--level", metavar="VENDOR=LEVEL", help="What a vendor's prices are adjusted for: raw, split or "
                 "total_return; may be repeated."),
]  # fmt: skip
_COLUMNS = ["session", "symbol", "kind", "ratio", "amount", "vendor", "origin", "confirmed_by"]


@app.command(name="list")
def list_actions(
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    as_known_on: AsKnownOn = None,
    json: Json = False,
) -> None:
    """Stored actions, one row per source."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.market_data.corporate_actions.actions import actions_known

    found = actions_known(
        open_context().lake,
        parse_symbols(symbols),
        start=parse_day(start, "--start"),
        end=parse_day(end, "--end"),
        known_on=parse_day(as_known_on, "--as-known-on"),
    )
    print_rows(found.to_dicts(), [*_COLUMNS, "known_at"], title="Corporate actions", as_json=json)


@app.command()
def load(
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    universe: UniverseOption = None,
    json: Json = False,
) -> None:
    """Ask every vendor that reports actions, and store what it answers; failures are listed, never taken for none."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.market_data.corporate_actions.actions import load_reported
    from quant_dagster.quality import contracts

    context = open_context(symbols, universe=universe)
    reports = load_reported(
        context.lake,
        context.vendors,
        context.symbols,
        parse_day(start, "--start") or context.settings.market_data.history_start,
        parse_day(end, "--end") or context.calendar.latest_completed(context.now()),
        guards=context.guards,
        now=context.now(),
        contract=contracts.validate,
    )
    rows = [
        {
            "vendor": one.vendor,
            "answered": len(one.answered),
            "none": len(one.none),
            "rows": one.rows,
            "inserted": one.inserted,
            "changed": one.changed,
            "withdrawn": one.withdrawn.height,
            "doubted": one.doubted.height,
            "failures": dict(one.failures),
        }
        for one in reports
    ]
    columns = ["vendor", "answered", "none", "rows", "inserted", "changed", "withdrawn", "doubted", "failures"]
    print_rows(rows, columns, title="Reported actions", as_json=json)
    if any(one.failures for one in reports):
        raise typer.Exit(1)


@app.command()
def infer(
    symbols: Symbols = None,
    start: StartOption = None,
    end: EndOption = None,
    level: Levels = None,
    universe: UniverseOption = None,
    json: Json = False,
) -> None:
    """Infer actions from the prices in the lake, store them, and note who confirms whom."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.market_data.corporate_actions.inference import infer as infer_actions
    from quant_dagster.market_data.corporate_actions.refresh import confirmation_report
    from quant_dagster.quality import contracts

    context = open_context(universe=universe)
    found = infer_actions(
        context.lake,
        _levels(context, level),
        parse_symbols(symbols),
        parse_day(start, "--start"),
        parse_day(end, "--end"),
        calendar=context.calendar,
        now=context.now(),
        contract=contracts.validate,
    )
    confirmation_report(context.lake, context.calendar, parse_symbols(symbols), record=True)
    facts: dict[str, Any] = {
        "looked_at": list(found.sources),
        "found": dict(found.rows["kind"].value_counts(sort=True).iter_rows()),
        "inserted": found.inserted,
        "changed": found.changed,
        "unchanged": found.unchanged,
        "unexplained": found.unexplained.height,
    }
    print_facts(facts, title="Actions inferred", as_json=json)


@app.command()
def series(
    symbol: Annotated[str, typer.Argument(help="A symbol of the lake.")],
    mode: Annotated[str, typer.Option("--mode", help="raw, split or total_return.")] = "raw",
    vendor: Annotated[str | None, typer.Option("--vendor", help="Whose prices; default: the first with any.")] = None,
    start: StartOption = None,
    end: EndOption = None,
    as_known_on: AsKnownOn = None,
    level: Levels = None,
    universe: UniverseOption = None,
    json: Json = False,
) -> None:  # fmt: skip
    """A symbol's prices as traded, adjusted for splits, or with dividends reinvested."""
    from quant_dagster.cli.output import print_json, print_rows
    from quant_dagster.market_data.corporate_actions.levels import PriceLevel
    from quant_dagster.market_data.corporate_actions.refresh import series as price_series

    context = open_context(universe=universe)
    wanted = _level("--mode", mode)
    names = [one.name for one in context.vendors]
    name, at = _price_vendor(context, symbol.upper(), _levels(context, level), vendor)
    found = price_series(
        context.lake,
        [symbol.upper()],
        wanted,
        name,
        at,
        names,
        start=parse_day(start, "--start"),
        end=parse_day(end, "--end"),
        known_on=parse_day(as_known_on, "--as-known-on"),
    )
    applied = found.treatments.filter(found.treatments["kind"] == "split") if wanted == PriceLevel.SPLIT else (
        found.treatments if wanted == PriceLevel.TOTAL_RETURN else found.treatments.clear()
    )  # fmt: skip
    if json:
        print_json(
            {
                "symbol": symbol.upper(),
                "mode": wanted.name.lower(),
                "vendor": name,
                "level": at.name.lower(),
                "bars": found.bars.drop("symbol").to_dicts(),
                "actions": applied.drop("symbol").to_dicts(),
            }
        )
        return
    columns = ["session", "open", "high", "low", "close", "volume", "factor"]
    print_rows(found.bars.to_dicts(), columns, title=f"{symbol.upper()}, {mode} ({name})", as_json=False)
    shown = ["session", "kind", "ratio", "amount", "close_before", "event_factor", "treatment"]
    print_rows(applied.to_dicts(), shown, title="Actions", as_json=False)


@app.command()
def confirm(
    symbols: Symbols = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only these: confirmed, unconfirmed or contradicted.")
    ] = None,
    json: Json = False,
) -> None:
    """Every stored action with who confirms and who contradicts it."""
    import polars as pl

    from quant_dagster.cli.output import print_rows
    from quant_dagster.market_data.corporate_actions.refresh import confirmation_report

    context = open_context()
    report = confirmation_report(context.lake, context.calendar, parse_symbols(symbols))
    if status is not None:
        report = report.filter(pl.col("status") == status)
    print_rows(report.to_dicts(), report.columns, title="Confirmation", as_json=json)


def _level(option: str, text: str) -> PriceLevel:
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.market_data.corporate_actions.levels import PriceLevel

    try:
        return PriceLevel[text.upper()]
    except KeyError:
        raise ConfigurationError(f"{option} '{text}' is no level; one of raw, split, total_return") from None


def _levels(context: Any, stated: list[str] | None) -> dict[str, PriceLevel]:
    from quant_dagster.market_data.corporate_actions.levels import levels_of

    parts = [text.partition("=") for text in stated or []]
    return levels_of(context.vendors, {name: _level(f"--level {name}=", text) for name, _, text in parts})


def _price_vendor(
    context: Any, symbol: str, levels: dict[str, PriceLevel], vendor: str | None
) -> tuple[str, PriceLevel]:
    from quant_dagster.errors import ConfigurationError, DataUnavailableError
    from quant_dagster.market_data.corporate_actions.levels import PriceLevel

    if vendor is not None:
        if vendor not in levels:
            raise ConfigurationError(
                f"what vendor '{vendor}' has adjusted its prices for is not known: say it with --level {vendor}=raw"
            )
        return vendor, levels[vendor]
    stored = context.lake.read("raw_prices", columns=["vendor"], symbols=[symbol], ordered=False)["vendor"].unique()
    for name, level in levels.items():
        if level < PriceLevel.TOTAL_RETURN and name in stored:
            return name, level
    raise DataUnavailableError(
        symbol, "lake table raw_prices", None, None, "no raw or split-adjusted prices; name a vendor and its --level"
    )
