"""``quant market-store``: the lake's tables on PostgreSQL, for SQL users and dashboards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.options import Json, open_context

if TYPE_CHECKING:
    from quant_dagster.storage.market_store import MarketStore

app = typer.Typer(help="The lake's tables on PostgreSQL, kept up to date from the lake.")

Tables = Annotated[
    list[str] | None, typer.Option("--table", metavar="TABLE", help="Only this table; may be repeated. Default: all.")
]


@app.command()
def upgrade(json: Json = False) -> None:
    """Create what the market store lacks: schema, tables, columns. Safe to run at any time."""
    from quant_dagster.cli.output import print_facts

    with _opened() as (_context, store):
        made_of = store.upgrade()
        print_facts({"address": store.database.address, "made_of": made_of}, title="Market store", as_json=json)


@app.command()
def sync(
    table: Tables = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare everything with the lake, not only what changed.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring the market store to the lake's newest versions; only rows that changed are sent."""
    from quant_dagster.cli.output import print_rows, progress_bar

    with _opened() as (context, store), progress_bar(quiet=json) as progress:
        store.upgrade()
        done = store.sync(context.lake, table or None, progress, full=full)
    rows = [asdict(one) for one in done if one.how != "absent" or table]
    columns = ["table", "how", "since", "version", "rows_written", "rows_deleted", "buckets"]
    print_rows(rows, columns, title="Market store synced", as_json=json)


@app.command()
def status(json: Json = False) -> None:
    """What the market store holds of every table, and how many lake versions it is behind."""
    from quant_dagster.cli.output import print_rows

    with _opened() as (context, store):
        rows = [asdict(one) for one in store.status(context.lake)]
    columns = ["table", "rows", "parts", "megabytes", "lake_version", "versions_behind", "synced_at", "kept_from"]
    print_rows(rows, columns, title="Market store", as_json=json)


@app.command()
def verify(table: Tables = None, json: Json = False) -> None:
    """Compare the market store with the lake versions it says it holds; exit code 1 where they differ."""
    from quant_dagster.cli.output import print_rows

    with _opened() as (context, store):
        found = store.differences(context.lake, table or None)
    columns = ["table", "month", "lake_rows", "store_rows", "missing", "extra", "changed"]
    print_rows([asdict(one) for one in found], columns, title="Months that differ from the lake", as_json=json)
    if found:
        raise typer.Exit(1)


@app.command()
def retain(
    months: Annotated[
        int | None,
        typer.Option("--months", min=1, help="Months kept. Default: setting storage.market_retention_months."),
    ] = None,
    table: Tables = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be dropped.")] = False,
    json: Json = False,
) -> None:
    """Drop whole months of intraday tables (or of --table) that are older than --months. The lake keeps them."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.storage.market_store.schema import INTRADAY_TABLES

    with _opened() as (context, store):
        kept = months if months is not None else context.settings.storage.market_retention_months
        if kept is None:
            raise ConfigurationError(
                "how many months to keep is not set: give --months or storage.market_retention_months"
            )
        dropped = store.retain(kept, tuple(table) if table else INTRADAY_TABLES, context.now(), dry_run=dry_run)
    title = "Would be dropped" if dry_run else "Dropped"
    print_rows([{"dropped": name} for name in dropped], ["dropped"], title=title, as_json=json)


@contextmanager
def _opened() -> Iterator[tuple[Any, MarketStore]]:
    from quant_dagster.errors import ConfigurationError
    from quant_dagster.storage.market_store import MarketStore

    context = open_context()
    url = context.settings.storage.market_url
    if url is None:
        raise ConfigurationError(
            "there is no market store: set storage.market_url (QUANT_STORAGE__MARKET_URL) to "
            "postgresql+psycopg2://user:password@host/database"
        )
    store = MarketStore(url, clock=context.now)
    try:
        yield context, store
    finally:
        store.close()
