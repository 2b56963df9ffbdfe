"""``quant ledger`` (schema) and ``quant control`` (control mode)."""

from __future__ import annotations

from typing import Annotated

import typer

from quant_dagster.cli.options import Json, open_context
from quant_dagster.errors import ConfigurationError

ledger_app = typer.Typer(help="The ledger's schema.")
control_app = typer.Typer(help="The control mode: NORMAL, PAUSE, REDUCE, EMERGENCY.")


@ledger_app.command()
def upgrade(json: Json = False) -> None:
    """Bring the ledger to the revision this program needs."""
    from quant_dagster.cli.output import print_facts

    ledger = open_context().ledger
    facts = {"ledger": ledger.url.render_as_string(), "revision": ledger.upgrade()}
    print_facts(facts, title="Ledger upgraded", as_json=json)


@ledger_app.command()
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


@control_app.command()
def show(json: Json = False) -> None:
    """The mode in force, who set it and why."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.control import read_mode

    context = open_context()
    context.ledger.require_current()
    state = read_mode(context.ledger)
    facts = {"mode": state.mode.name, "actor": state.actor, "reason": state.reason, "since": state.since}
    print_facts(facts, title="Control mode", as_json=json)


@control_app.command(name="set")
def set_(
    mode: Annotated[str, typer.Argument(help="NORMAL, PAUSE, REDUCE or EMERGENCY.")],
    actor: Annotated[str, typer.Option("--actor", help="Your name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    json: Json = False,
) -> None:
    """Set the mode."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.control import ControlMode, set_mode

    if mode.upper() not in ControlMode.__members__:
        raise ConfigurationError(f"control mode '{mode}' is unknown; choose from {', '.join(ControlMode.__members__)}")
    context = open_context()
    context.ledger.upgrade()
    state = set_mode(context.ledger, ControlMode[mode.upper()], person=actor, reason=reason)
    facts = {"mode": state.mode.name, "actor": state.actor, "reason": state.reason, "since": state.since}
    print_facts(facts, title="Control mode", as_json=json)
