"""``quant lake``: versions, compaction and vacuum of the market-data tables."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_dagster.cli.options import Json, Limit, open_context

app = typer.Typer(help="The market-data tables: versions, compaction, vacuum.")


@app.command()
def tables(json: Json = False) -> None:
    """Every table with its version and number of rows."""
    from quant_dagster.cli.output import print_rows

    lake = open_context().lake
    rows = [
        {"table": name, "version": lake.version(name), "rows": lake.dataset(name).count_rows()}
        for name in lake.tables()
    ]
    print_rows(rows, ["table", "version", "rows"], title="Lake", as_json=json)


@app.command()
def history(
    table: Annotated[str, typer.Argument(help="A table; see 'quant lake tables'.")],
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """The versions of a table, newest first."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows

    rows = [asdict(version) for version in open_context().lake.history(table, limit)]
    print_rows(rows, list(rows[0]) if rows else [], title=f"Versions of {table}", as_json=json)


@app.command()
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files vacuum would delete.")] = False,
    json: Json = False,
) -> None:
    """Compact small files, and delete files that no version younger than storage.retention_hours needs."""
    from quant_dagster.cli.output import print_rows

    context = open_context()
    rows = []
    for name in context.lake.tables():
        compacted = 0 if dry_run else context.lake.compact(name)
        deleted = context.lake.vacuum(name, context.settings.storage.retention_hours, dry_run=dry_run)
        rows.append({"table": name, "files_compacted": compacted, "files_deleted": len(deleted), "dry_run": dry_run})
    print_rows(rows, ["table", "files_compacted", "files_deleted", "dry_run"], title="Lake maintained", as_json=json)
