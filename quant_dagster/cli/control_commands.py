"""``quant control``, ``kill``, ``operators`` and ``kill-switch``: who may trade what, and how to stop it."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from quant_dagster.cli.options import Json, Limit
from quant_dagster.errors import ControlError, LedgerError, StorageError

if TYPE_CHECKING:
    from quant_dagster.settings import Settings
    from quant_dagster.storage.ledger import Ledger

PASSPHRASE = "QUANT_OPERATOR_PASSPHRASE"

control_app = typer.Typer(help="The control mode: NORMAL, PAUSE, REDUCE, EMERGENCY.")
operators_app = typer.Typer(help="Persons who may loosen the control mode.")
kill_switch_app = typer.Typer(help="The kill switch: its file, heartbeats and hardware.")

Actor = Annotated[str, typer.Option("--actor", help="Your name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    app.command()(kill)
    app.add_typer(control_app, name="control")
    app.add_typer(operators_app, name="operators")
    app.add_typer(kill_switch_app, name="kill-switch")


def kill(actor: Actor = "unnamed", reason: Reason = "no reason given", json: Json = False) -> None:
    """Stop trading now: the kill file, and the control mode of risk.kill_switch.mode. Needs no passphrase."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.kill_switch.software import kill_file
    from quant_dagster.risk.permission import kill as engage

    settings, ledger = _open()
    try:
        engage(ledger, settings, settings.home, actor=actor, reason=reason, automatic=False)
    except StorageError as error:
        try:  # the ledger may be new, or an older version's; the file, which stops the desk, did not wait for this
            ledger.upgrade()
        except LedgerError:
            raise error from None
        engage(ledger, settings, settings.home, actor=actor, reason=reason, automatic=False)
    file = str(kill_file(settings.risk.kill_switch, settings.home))
    facts = {"killed": True, "file": file}
    if not json:
        facts["mode"] = settings.risk.kill_switch.mode
        facts["to start again"] = "remove the file; then an operator: 'quant control set NORMAL' (docs/control.md)"
    print_facts(facts, title="Killed", as_json=json)


@control_app.command()
def show(json: Json = False) -> None:
    """The mode in force, who set it and why, and what may be traded now."""
    from quant_dagster.cli.control_api import control_facts
    from quant_dagster.cli.output import print_facts

    settings, ledger = _open()
    ledger.require_current()
    print_facts(control_facts(ledger, settings), title="Control mode", as_json=json)


@control_app.command(name="set")
def set_(
    mode: Annotated[str, typer.Argument(help="NORMAL, PAUSE, REDUCE or EMERGENCY.")],
    actor: Actor,
    reason: Reason,
    json: Json = False,
) -> None:
    """Set the mode: stricter by anybody, looser by an operator, whose passphrase is asked for.

    Where nobody can be asked it is read from QUANT_OPERATOR_PASSPHRASE, or from standard input.
    """
    from quant_dagster.cli.control_api import control_facts, parse_mode
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.control import needs_operator, set_mode
    from quant_dagster.risk.operators import registered

    wanted = parse_mode(mode)
    settings, ledger = _open()
    ledger.upgrade()
    passphrase = None
    if needs_operator(ledger, wanted):
        with ledger.read() as connection:
            if not any(one.revoked_at is None for one in registered(connection)):
                raise ControlError(
                    f"only an operator may loosen the mode to {wanted.name}, and there is none yet: "
                    "'quant operators add NAME' registers the first"
                )
        passphrase = ask_passphrase(f"Passphrase of {actor}")
    set_mode(ledger, wanted, person=actor, reason=reason, passphrase=passphrase, settings=settings)
    print_facts(control_facts(ledger, settings), title="Control mode", as_json=json)


@control_app.command()
def history(limit: Limit = 20, json: Json = False) -> None:
    """The newest changes of mode, newest first."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.risk.control import history as changes

    _, ledger = _open()
    ledger.require_current()
    with ledger.read() as connection:
        rows = [asdict(change) for change in changes(connection, limit)]
    columns = ["at", "previous", "mode", "actor", "automatic", "reason"]
    print_rows(rows, columns, title="Control mode", as_json=json)


@control_app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 6567,
) -> None:
    """Serve GET /control, POST /kill and POST /control until interrupted (Ctrl-C)."""
    import uvicorn

    from quant_dagster.cli.control_api import control_api
    from quant_dagster.cli.output import console

    settings, ledger = _open()
    ledger.upgrade()
    console.print(f"Control on http://{host}:{port}, until interrupted. Whoever can reach it can stop trading:")
    body = '\'{"actor": "you", "reason": "why"}\''
    command = f"  curl -s http://{host}:{port}/kill -H 'content-type: application/json' -d {body}"
    console.print(command, markup=False, soft_wrap=True)
    uvicorn.run(control_api(ledger, settings), host=host, port=port, log_level="warning")


@operators_app.command()
def add(
    name: Annotated[str, typer.Argument(help="The new operator's name.")],
    by: Annotated[str | None, typer.Option("--by", help="An operator who vouches; not for the first one.")] = None,
) -> None:
    """Let a person loosen the control mode. Their passphrase is asked for, and that of the one who vouches."""
    from quant_dagster.risk import operators

    _, ledger = _open()
    ledger.upgrade()
    vouching = ask_passphrase(f"Passphrase of {by}") if by is not None else None
    new = ask_passphrase(f"New passphrase of {name}", new=True, from_environment=by is None)
    operators.add(ledger, name, new, by=by, by_passphrase=vouching)
    typer.echo(f"{name} is an operator.")


@operators_app.command(name="list")
def list_(json: Json = False) -> None:
    """Who is and was an operator."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.risk.operators import registered

    _, ledger = _open()
    ledger.require_current()
    with ledger.read() as connection:
        rows = [asdict(operator) for operator in registered(connection)]
    print_rows(rows, ["name", "added_by", "added_at", "revoked_at"], title="Operators", as_json=json)


@operators_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Who is no operator any more.")],
    by: Annotated[str, typer.Option("--by", help="The operator who says so.")],
) -> None:
    """Take the right away again. The last operator cannot go."""
    from quant_dagster.risk import operators

    _, ledger = _open()
    ledger.upgrade()
    operators.revoke(ledger, name, by=by, passphrase=ask_passphrase(f"Passphrase of {by}"))
    typer.echo(f"{name} is no operator any more.")


@kill_switch_app.command()
def run() -> None:
    """Watch the button and the tamper line on this machine's GPIO pins until interrupted."""
    from quant_dagster.risk.kill_switch.hardware import HardwareSwitch
    from quant_dagster.risk.kill_switch.hardware import run as watch

    settings, ledger = _open()
    switch = HardwareSwitch(settings.risk.kill_switch)
    ledger.upgrade()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))  # as Ctrl-C: the lamp goes off
    watch(switch, ledger, settings, settings.home)


@kill_switch_app.command()
def status(json: Json = False) -> None:
    """Which kill conditions hold; exit code 1 when any does."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.kill_switch.conditions import kill_conditions
    from quant_dagster.risk.kill_switch.heartbeat import required
    from quant_dagster.risk.kill_switch.software import kill_file

    settings, ledger = _open()
    ledger.require_current()
    with ledger.read() as connection:
        holding = kill_conditions(connection, settings.risk, settings.home, ledger.now())
    switch = settings.risk.kill_switch
    facts = {
        "killed": bool(holding),
        "conditions": [condition.reason for condition in holding],
        "file": str(kill_file(switch, settings.home)),
        "heartbeats": dict(required(switch)),
        "mode_of_a_kill": switch.mode,
    }
    print_facts(facts, title="Kill switch", as_json=json)
    if holding:
        raise typer.Exit(1)


def _open() -> tuple[Settings, Ledger]:
    """Settings and ledger, and nothing that a stop could fail on."""
    from quant_dagster.settings import load_settings
    from quant_dagster.storage.ledger import Ledger

    settings = load_settings()
    return settings, Ledger(settings.ledger_url)


def ask_passphrase(prompt: str, *, new: bool = False, from_environment: bool = True) -> str:
    """A passphrase from the environment, a person at a terminal, or a line of standard input. Never an option."""
    if from_environment and PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE]
    if sys.stdin.isatty():
        typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True)
        return typed
    given = sys.stdin.readline().rstrip("\n")
    if not given:
        raise ControlError(f"{prompt}: nobody is there to ask; set {PASSPHRASE} or write it to standard input")
    return given
