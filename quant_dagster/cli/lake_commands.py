"""``quant lake``: versions, compaction and vacuum of the market-data tables."""

from __future__ import annotations

from dataclasses import asdict
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
    from quant_dagster.cli.output import print_rows

    rows = [asdict(version) for version in open_context().lake.history(table, limit)]
    print_rows(rows, list(rows[0]) if rows else [], title=f"Versions of {table}", as_json=json)


@app.command()
def changes(
    table: Annotated[str, typer.Argument(help="A table; see 'quant lake tables'.")],
    since: Annotated[int, typer.Option("--since", metavar="VERSION", min=0, help="The version you have seen.")],
    until: Annotated[int | None, typer.Option("--until", metavar="VERSION", help="Default: the newest.")] = None,
    limit: Limit = 40,
    json: Json = False,
) -> None:
    """What changed in a table since a version: rows inserted, updated and deleted, counts first."""
    from quant_dagster.cli.output import print_json, print_rows

    lake = open_context().lake
    found = lake.changes(table, since, until)
    counts = found.group_by("change", "changed_columns").len("rows").sort("change", "changed_columns").to_dicts()
    if json:
        version = until if until is not None else lake.version(table)
        print_json({"table": table, "since": since, "until": version, "counts": counts, "rows": found.to_dicts()})
        return
    title = f"Changes of {table} since version {since}"
    print_rows(counts, ["change", "changed_columns", "rows"], title=title, as_json=False)
    print_rows(found.tail(limit).to_dicts(), found.columns, title="Rows", as_json=False)


@app.command()
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files vacuum would delete.")] = False,
    json: Json = False,
) -> None:
    """Compact small files, and delete files that no version younger than storage.retention_hours needs."""
    from quant_dagster.cli.output import print_rows

    context = open_context()
    rows = [asdict(done) for done in context.lake.maintain(context.settings.storage.retention_hours, dry_run=dry_run)]
    columns = ["table", "files_compacted", "files_deleted", "dry_run"]
    print_rows(rows, columns, title="Lake maintained", as_json=json)
