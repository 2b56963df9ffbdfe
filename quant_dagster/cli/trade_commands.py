"""``quant trade``: the trading daemon."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from quant_dagster.cli.options import Json, Symbols, UniverseOption, open_context


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command()(trade)


def trade(
    symbols: Symbols = None,
    universe: UniverseOption = None,
    until_close: Annotated[
        bool, typer.Option("--until-close", help="Stop when the session is over and nothing works any more.")
    ] = False,
    keep_orders: Annotated[
        bool, typer.Option("--keep-orders", help="Leave orders working at the broker when stopped.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Only look after a daemon that fell silent: cancel its orders, pause.")
    ] = False,
    json: Json = False,
) -> None:
    """Hold the broker's connection and work what was approved: send, slice, cancel in time, book, reconcile.

    Stop it with Ctrl-C or SIGTERM. Killed at any point it loses nothing: the next start asks the broker what happened.
    """
    from dataclasses import asdict

    from quant_dagster.cli.output import console, errors, print_facts
    from quant_dagster.cli.trading_commands import tell
    from quant_dagster.cycle import dead_man
    from quant_dagster.cycle.trading_daemon import TradingDaemon
    from quant_dagster.operations.alerts.execution import execution_alerts
    from quant_dagster.operations.alerts.risk import risk_alerts

    context = open_context(symbols, universe=universe)
    context.open_ledger()
    if watch:
        done = dead_man.watch(context)
        print_facts({"done": done or "nothing: the daemon is well, or was stopped"}, title="Watch", as_json=json)
        return

    def say(line: str) -> None:
        stamp = f"{context.ledger.now():%H:%M:%S}"
        (errors if json else console).print(f"{stamp} {line}", markup=False, highlight=False)

    def look() -> None:
        tell(context, [*risk_alerts(context), *execution_alerts(context)])

    daemon = TradingDaemon(context, say=say, keep_orders=keep_orders, until_close=until_close, each_minute=look)
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")):
        signal.signal(number, lambda *_, name=name: daemon.stop(name))
    report = asdict(daemon.run())
    said = report.pop("said")
    print_facts(report | ({"said": said} if json else {}), title="Traded", as_json=json)
