"""Options that several commands share, and the context they open."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from quant_dagster.errors import ConfigurationError

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Symbols = Annotated[str | None, typer.Option("--symbols", metavar="A,B", help="Only these symbols of the universe.")]
SessionOption = Annotated[str | None, typer.Option("--session", metavar="YYYY-MM-DD", help="Exchange session.")]
EndOption = Annotated[str | None, typer.Option("--end", metavar="YYYY-MM-DD", help="Last session.")]
StartOption = Annotated[str | None, typer.Option("--start", metavar="YYYY-MM-DD", help="First session.")]
Vendor = Annotated[str | None, typer.Option("--vendor", help="Ask only this vendor.")]
VendorPath = Annotated[Path | None, typer.Option("--path", help="File or folder of vendor 'files'.")]
UniverseOption = Annotated[str | None, typer.Option("--universe", help="A file of config/universes.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads used to fit models.")]
Mode = Annotated[str | None, typer.Option("--mode", help="Trading mode: paper or live.")]
AsKnownOn = Annotated[
    str | None,
    typer.Option("--as-known-on", metavar="YYYY-MM-DD", help="Answer with what was known at the end of that day."),
]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME=PATH", help="A vendor of files with a name of its own; may be repeated."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Newest rows shown.")]


def parse_day(text: str | None, option: str) -> date | None:
    """A date option."""
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a session has no time zone
    except ValueError:
        raise ConfigurationError(f"{option} '{text}' is not a date; write it as YYYY-MM-DD") from None


def parse_symbols(text: str | None) -> list[str] | None:
    """A comma-separated list of symbols."""
    if text is None:
        return None
    symbols = [symbol.strip().upper() for symbol in text.split(",") if symbol.strip()]
    if not symbols:
        raise ConfigurationError("--symbols names no symbol; write them as AAPL,MSFT")
    return symbols


def overrides(
    *,
    vendor: str | None = None,
    path: Path | None = None,
    universe: str | None = None,
    workers: int | None = None,
    mode: str | None = None,
    sources: list[str] | None = None,
) -> dict[str, Any]:
    """Settings that options override. Vendor 'files' brings a universe of every symbol it offers."""
    result: dict[str, Any] = {}
    if vendor is not None:
        result["market_data"] = {"vendors": [vendor]}
        if vendor == "files" and universe is None:
            universe = "all_files"
    if sources:
        named = dict(_source(text) for text in sources)
        market = result.setdefault("market_data", {})
        market["sources"] = {name: {"path": place} for name, place in named.items()}
        market["vendors"] = list(named) if vendor is None else [vendor]
        universe = universe or "all_files"
    if path is not None:
        result.setdefault("market_data", {})["files"] = {"path": path}
    if universe is not None:
        result["universe"] = universe
    if workers is not None:
        result["forecasting"] = {"workers": workers}
    if mode is not None:
        result["mode"] = mode
    return result


def _source(text: str) -> tuple[str, Path]:
    name, separator, place = text.partition("=")
    if not separator or not name or not place:
        raise ConfigurationError(f"--source '{text}' is not NAME=PATH; write it as yahoo=prices/yahoo.parquet")
    return name, Path(place)


def open_context(symbols: str | None = None, progress: Any = None, **options: Any) -> Any:
    """A `TradingContext` from settings and options, with logging set up."""
    from quant_dagster.cycle.context import TradingContext, no_progress
    from quant_dagster.observability.logs import configure_logging
    from quant_dagster.settings import load_settings

    settings = load_settings(overrides(**options))
    configure_logging(settings.home)
    return TradingContext(settings, symbols=parse_symbols(symbols), progress=progress or no_progress)


def open_existing(symbols: str | None = None, progress: Any = None, **options: Any) -> Any:
    """The same for commands that only look: the ledger is there and current, and none is made."""
    context = open_context(symbols, progress, **options)
    context.ledger.require_current()
    return context
