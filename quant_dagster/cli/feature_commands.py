"""``quant features``: features of past sessions into the feature store."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_dagster.cli.options import EndOption, Json, Sources, Symbols, UniverseOption, open_context, parse_day

app = typer.Typer(help="The feature store.")


@app.callback()
def _root() -> None:
    """Keeps ``build`` a command of the group."""


@app.command()
def build(
    start: Annotated[str, typer.Option("--start", metavar="YYYY-MM-DD", help="First session.")],
    end: EndOption = None,
    symbols: Symbols = None,
    universe: UniverseOption = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Compute and store the features of past sessions. What is stored and comes out the same is left alone."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.feature_history import build_features
    from quant_dagster.cycle.session import newest_session
    from quant_dagster.errors import ConfigurationError

    context = open_context(symbols, universe=universe, sources=source)
    first = parse_day(start, "--start")
    if first is None:
        raise ConfigurationError("--start names the first session")
    last = parse_day(end, "--end") or newest_session(context, context.now())
    rows, news = build_features(context, first, last)
    facts = {"first": first, "last": last, "rows": rows, "new_or_changed": news}
    print_facts(facts, title="Features", as_json=json)
