"""``quant ledger``: the schema."""

from __future__ import annotations

import typer

from quant_dagster.cli.options import Json, open_context

app = typer.Typer(help="The ledger's schema.")


@app.command()
def upgrade(json: Json = False) -> None:
    """Bring the ledger to the revision this program needs."""
    from quant_dagster.cli.output import print_facts

    ledger = open_context().ledger
    facts = {"ledger": ledger.url.render_as_string(), "revision": ledger.upgrade()}
    print_facts(facts, title="Ledger upgraded", as_json=json)


@app.command()
def check(json: Json = False) -> None:
    """Is the ledger at the right revision, with the schema the program defines? Exit code 1 when not."""
    from quant_dagster.cli.output import print_facts

    ledger = open_context().ledger
    revision, head = ledger.current_revision(), ledger.head_revision()
    differences = ledger.differences() if revision else []
    facts = {
        "ledger": ledger.url.render_as_string(),
        "revision": revision,
        "needed": head,
        "differences": differences,
        "ok": revision == head and not differences,
    }
    print_facts(facts, title="Ledger", as_json=json)
    if not facts["ok"]:
        raise typer.Exit(1)
