"""Entry of the ``quant`` command: the command tree, and errors turned into a sentence and an exit code."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module

import typer
from typer.models import CommandInfo, TyperInfo

from quant_dagster import __version__
from quant_dagster.errors import (
    BooksError,
    BrokerError,
    ConfigurationError,
    ControlError,
    DataUnavailableError,
    LedgerError,
    MalformedDataError,
    OrderError,
    QuantError,
    RiskError,
    VendorError,
)

_EXIT_CODES: tuple[tuple[type[QuantError], int], ...] = (
    (ConfigurationError, 2),
    (DataUnavailableError, 3),
    (MalformedDataError, 3),
    (VendorError, 3),
    (RiskError, 4),
    (OrderError, 4),
    (BrokerError, 6),
    (ControlError, 4),
    (LedgerError, 5),
    (BooksError, 5),
)

_TREE: dict[str, dict[str, str]] = {
    "Trade": {"replay": "trading", "cycle": "trading", "trade": "trade", "order": "order"},
    "Look": {
        "status": "inspect", "decisions": "inspect", "orders": "inspect", "fills": "inspect", "positions": "inspect",
        "pnl": "inspect", "lineage": "inspect", "report": "trading", "marts": "trading",
    },
    "Market data": {
        "backfill": "trading", "data": "data", "vendors": "vendor", "actions": "actions", "intraday": "intraday",
        "lake": "lake", "market-store": "market_store",
    },
    "Features, forecasts, signals": {
        "models": "model", "validate": "model", "features": "feature", "signals": "signal",
    },
    "Risk and control": {
        "kill": "control", "risk": "risk", "control": "control", "kill-switch": "control", "operators": "control",
    },
    "Broker": {"broker": "broker", "costs": "cost", "gateway": "gateway"},
    "Keep it running": {"metrics": "operations", "warm": "operations", "verify": "verify", "ledger": "ledger"},
}  # fmt: skip
"""The headings of the help, the commands under each, and the module ``<name>_commands`` that has them."""


def _version(show: bool) -> None:
    if show:
        typer.echo(f"quant_dagster {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Global options."""


@cache
def build(command: str | None = None) -> typer.Typer:
    """The command tree, or of it only the module that has one command: the others need not be loaded to run it."""
    app = typer.Typer(
        name="quant",
        help="A systematic trading desk: data, features, forecasts, signals, risk-approved orders, fills and books.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    wanted = {module: name for names in _TREE.values() for name, module in names.items() if command in (None, name)}
    for module, name in wanted.items():
        commands = import_module(f"quant_dagster.cli.{module}_commands")
        if hasattr(commands, "app"):
            app.add_typer(commands.app, name=name)
        else:
            commands.register(app)
    _arrange(app)
    return app


def _arrange(app: typer.Typer) -> None:
    """Put every command under its heading, in the order of the tree."""
    panels = list(_TREE)
    place = {name: (panel, number) for panel, names in _TREE.items() for number, name in enumerate(names)}

    def of(entry: CommandInfo | TyperInfo) -> tuple[str, int]:
        return place[entry.name or (entry.callback.__name__ if entry.callback else "")]

    def order(entry: CommandInfo | TyperInfo) -> tuple[int, int]:
        panel, number = of(entry)
        return panels.index(panel), number

    entries: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for entry in entries:
        entry.rich_help_panel = of(entry)[0]
    app.registered_commands.sort(key=order)
    app.registered_groups.sort(key=order)


def _asked_for(arguments: Sequence[str]) -> str | None:
    """The command that is named first; None where there is none of that name, so that the help knows all."""
    first = next(iter(arguments), None)
    return first if any(first in names for names in _TREE.values()) else None


def main() -> None:
    """Run the command line."""
    # Loading makes a million objects and hardly any garbage.
    gc.set_threshold(50_000, 20, 20)
    try:
        build(_asked_for(sys.argv[1:]))()
    except QuantError as error:
        sys.stderr.write(f"quant: {error}\n")
        sys.exit(next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.stderr.write("quant: interrupted; running the same command again goes on where it stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
