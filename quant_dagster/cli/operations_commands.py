"""Commands that keep the desk running: metrics, warm."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from quant_dagster.cli.options import Json, Symbols, UniverseOption, open_context
from quant_dagster.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command()(metrics)
    app.command()(warm)


def metrics(
    port: Annotated[int | None, typer.Option("--serve", metavar="PORT", help="Serve them on 127.0.0.1:PORT.")] = None,
    universe: UniverseOption = None,
) -> None:
    """Metrics in Prometheus' format: quality scores, missing days, rows, breakers, vendors' health."""
    from quant_dagster.cli.output import errors
    from quant_dagster.operations.metrics import exposition, serve

    context = open_context(universe=universe)
    if port is None:
        sys.stdout.write(exposition(context))
        return
    import time

    try:
        server = serve(context, port)
    except OSError as error:
        raise ConfigurationError(f"--serve {port}: 127.0.0.1:{port} cannot be listened on: {error.strerror}") from None
    errors.print(f"http://127.0.0.1:{port}/metrics (Ctrl-C stops)")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        server.shutdown()


def warm(universe: UniverseOption = None, symbols: Symbols = None, json: Json = False) -> None:
    """Prepare what the first cycle would wait for: compile kernels, read the panel, load instruments, open Feast."""
    from quant_dagster.cli.output import print_rows, progress_bar
    from quant_dagster.cycle.warming import warm as prepare

    with progress_bar(quiet=json) as progress:
        context = open_context(symbols, progress, universe=universe)
        done = prepare(context)
    rows = [{"part": part, "seconds": seconds, "what": what} for part, seconds, what in done]
    print_rows(rows, ["part", "seconds", "what"], title="Warmed", as_json=json)
