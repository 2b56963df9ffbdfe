"""``quant risk``, stepping in: lockouts, automatic actions, and watching without Dagster.

Looking at risk is in ``risk_commands``; who may trade at all (``control``, ``kill``) is in ``control_commands``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.control_commands import Actor, Reason
from quant_dagster.cli.options import Json, Limit, open_context, open_existing
from quant_dagster.errors import ConfigurationError, QuantError, RiskError

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.cycle.risk_actions import Acted
    from quant_dagster.risk.actions import ActionKind, RiskAction

OfSymbol = Annotated[str | None, typer.Argument(metavar="[SYMBOL]", help="Only this one; default: everything.")]
WATCHER = "risk_watch"
"""Name of the heartbeat of ``quant risk watch``."""
MANUAL = "manual_lockout"
"""Rule of a lockout that a person imposed."""


def register(app: typer.Typer) -> None:
    """Add the commands to ``quant risk``."""
    for command in (lockouts, lock, release, actions, act, close, halve, tighten_stops, watch):
        app.command()(command)


# -- lockouts ---------------------------------------------------------------------------------------------------------


def lockouts(
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False, json: Json = False
) -> None:
    """What may not be opened, why and until when."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_rows
    from quant_dagster.cycle.limit_use import as_of
    from quant_dagster.errors import DataUnavailableError
    from quant_dagster.risk.account_rules.lockouts import active

    context = open_existing()
    try:
        at = as_of(context)
    except DataUnavailableError:  # a desk that has decided nothing yet may be locked
        at = context.ledger.now()
    with context.ledger.read() as connection:
        rows = [asdict(one) for one in active(connection, at)]
    if every:
        known = {row["lockout_id"] for row in rows}
        past = context.ledger.frame("lockouts").sort("starts_at", "lockout_id").to_dicts()
        rows += [row for row in past if row["lockout_id"] not in known]
    columns = ["lockout_id", "rule", "kind", "symbol", "expires_at", "reason"]
    columns += ["released_at", "released_by"] if every else []
    print_rows(rows, columns, title=f"Lockouts as of {at:%Y-%m-%d %H:%M:%S} UTC", as_json=json)


def lock(
    actor: Actor,
    reason: Reason,
    symbol: OfSymbol = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="UTC, such as 2024-05-01T20:00; default: released.")
    ] = None,
    json: Json = False,
) -> None:
    """Lock a symbol, or the whole account: nothing is opened, closing stays allowed. Needs no passphrase."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk.account_rules import lockouts as locked
    from quant_dagster.risk.account_rules.trading_day import TradingDays

    context = open_context()
    context.ledger.upgrade()
    end = _parse_time(until)
    name = None if symbol is None else _known_symbol(context, symbol)
    settings = context.settings.risk.account_rules
    with context.ledger.write() as connection:
        now = context.ledger.now()
        if end is not None and end <= now:
            raise ConfigurationError(f"--until {end.isoformat()} is over already; give a later time, or none")
        trigger = f"{actor}:{now.isoformat()}"
        locked.add(
            connection, rule=MANUAL, kind="lockout", symbol=name, trigger=trigger, reason=reason,
            trading_day=TradingDays(settings.reset_time, settings.reset_time_zone).day_of(now), starts_at=now,
            expires_at=end, actor=actor, now=now,
        )  # fmt: skip
    identifier = locked.lockout_id(MANUAL, name, trigger)
    facts = {"lockout_id": identifier, "locked": name or "the whole account", "until": end}
    print_facts(facts, title="Locked", as_json=json)


def release(
    lockout: Annotated[str, typer.Argument(metavar="ID", help="Id of a lockout, or its beginning.")],
    actor: Actor,
    reason: Reason,
    json: Json = False,
) -> None:
    """End a lockout. An operator's passphrase is asked for, as by 'quant control set'."""
    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.risk import operators
    from quant_dagster.risk.account_rules import lockouts as locked

    context = open_existing()
    identifier = _lockout(context, lockout)
    operators.authenticate(context.ledger, actor, ask_passphrase(f"Passphrase of {actor}"))
    with context.ledger.write() as connection:
        done = locked.release(connection, identifier, person=actor, reason=reason, at=context.ledger.now())
    print_facts({"lockout_id": identifier, "released": done}, title="Released", as_json=json)


# -- automatic actions ------------------------------------------------------------------------------------------------


def actions(limit: Limit = 40, json: Json = False) -> None:
    """Automatic actions: what was asked for by whom, what they want, and how far they have come."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.risk.actions import every

    with open_existing().ledger.read() as connection:
        rows = [_told(action) for action in every(connection)[-limit:]]
    columns = ["requested_at", "kind", "symbol", "actor", "state", "wants", "tried", "reason"]
    print_rows(rows, columns, title="Risk actions", as_json=json)


def act(json: Json = False) -> None:
    """Do now what automatic actions want: flatten in an emergency, go on with every action at work."""
    from quant_dagster.cycle.risk_actions import act as carry_on

    _print_acted(carry_on(open_existing()), json)


def close(actor: Actor, reason: Reason, symbol: OfSymbol = None, json: Json = False) -> None:
    """Close a position, or all: orders through the gate that can only close."""
    from quant_dagster.risk.actions import ActionKind

    kind = ActionKind.CLOSE_ALL if symbol is None else ActionKind.CLOSE_SYMBOL
    _request(kind, actor, reason, symbol, json)


def halve(actor: Actor, reason: Reason, symbol: OfSymbol = None, json: Json = False) -> None:
    """Halve a position, or all: orders through the gate that can only close."""
    from quant_dagster.risk.actions import ActionKind

    _request(ActionKind.HALVE, actor, reason, symbol, json)


def tighten_stops(actor: Actor, reason: Reason, symbol: OfSymbol = None, json: Json = False) -> None:
    """Bring stops to risk.actions.tightened_distance of the price; where there is none one is placed."""
    from quant_dagster.risk.actions import ActionKind

    _request(ActionKind.TIGHTEN_STOPS, actor, reason, symbol, json)


def watch(
    every: Annotated[float | None, typer.Option("--every", min=1.0, help="Seconds between looks.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end (the default).")] = False,
    json: Json = False,
) -> None:
    """Obey kill and panic conditions, carry on actions and send alerts, without Dagster.

    With --every it goes on until interrupted, and beats as 'risk_watch': name that in risk.kill_switch.heartbeats and
    the desk stops when nobody watches. A look that fails is said, beats 'failing', and is tried again.
    """
    import time

    from quant_dagster.cli.output import errors

    if once and every is not None:
        raise ConfigurationError("--once and --every exclude each other; leave one of them out")
    context = open_context()
    context.ledger.upgrade()
    if every is None:
        _look(context, json)
        return
    while True:
        try:
            _look(context, json)
            _beat(context, "ok", "watching")
        except QuantError as error:
            errors.print(f"quant: {error}", style="yellow", markup=False)
            _beat(context, "failing", str(error))
        time.sleep(every)


# -- parts ------------------------------------------------------------------------------------------------------------


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--until '{text}' is no time; write it as 2024-05-01T20:00 (UTC)") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _known_symbol(context: TradingContext, text: str) -> str:
    """A symbol of the universe, or one that is held."""
    from quant_dagster.accounting import books

    name = text.upper()
    with context.ledger.read() as connection:
        held = {symbol for symbol, one in books.balances(connection).holdings.items() if one.quantity}
    if name not in held and name not in context.symbols:
        raise ConfigurationError(f"'{text}' is neither held nor in universe '{context.universe.name}'")
    return name


def _lockout(context: TradingContext, beginning: str) -> str:
    """The id that begins so."""
    from sqlalchemy import select

    from quant_dagster.storage.ledger_tables import lockouts as table

    with context.ledger.read() as connection:
        found = [
            name for name in connection.execute(select(table.c.lockout_id)).scalars() if name.startswith(beginning)
        ]
    if beginning and len(found) == 1:
        return str(found[0])
    if beginning and found:
        raise RiskError(f"{len(found)} lockouts begin with '{beginning}'; write more of the id")
    raise RiskError(f"there is no lockout '{beginning}'; 'quant risk lockouts --all' lists them")


def _request(kind: ActionKind, actor: str, reason: str, symbol: str | None, as_json: bool) -> None:
    """Ask for an action on what is held now, and do what can be done of it."""
    from quant_dagster.cycle.account_watch import held_positions, newest_valued
    from quant_dagster.cycle.risk_actions import act as carry_on
    from quant_dagster.cycle.session import SessionCycle
    from quant_dagster.risk import actions as wanted

    if not actor.strip() or not reason.strip():
        raise ConfigurationError("an action needs the name of a person (--actor) and a reason (--reason)")
    context = open_existing()
    session = newest_valued(context)
    cycle = SessionCycle(context, session)
    name = None if symbol is None else symbol.upper()
    context.open_ledger()
    with context.ledger.write() as connection:
        held = held_positions(connection, context, session, cycle.prices(connection))
        if not held or (name is not None and name not in held):
            raise RiskError(f"nothing is held{'' if name is None else f' of {name}'}: there is nothing to {kind}")
        now = context.ledger.now()
        wanted.request(
            connection, kind, held, trigger=f"command:{actor}:{now.isoformat()}"[:160], actor=actor[:64],
            reason=reason, at=now, symbol=name,
            distance=Decimal(str(context.settings.risk.actions.tightened_distance)),
        )  # fmt: skip
    _print_acted(carry_on(context), as_json)


def _print_acted(done: Acted, as_json: bool) -> None:
    from quant_dagster.cli.output import console, print_facts, print_json, print_rows

    facts = {"session": done.session, "mode": done.mode.name, "withdrawn": done.withdrawn, "made": done.made,
             "sent": done.sent, "refused": list(done.refused)}  # fmt: skip
    rows = [_told(action) for action in done.working]
    if as_json:
        print_json(facts | {"working": rows})
        return
    print_facts(facts, title="Risk actions", as_json=False)
    print_rows(rows, ["kind", "symbol", "actor", "wants", "tried", "reason"], title="At work", as_json=False)
    if rows and done.mode.name == "PAUSE":
        console.print("The control mode is PAUSE: nothing is ordered until an operator sets another.")


def _told(action: RiskAction) -> dict[str, Any]:
    wants = {name: str(target) for name, target in action.quantities.items()}
    wants |= {name: f"stop {price}" for name, price in action.stops.items()}
    return {
        "action_id": action.action_id, "requested_at": action.requested_at, "kind": action.kind.value,
        "symbol": action.symbol, "actor": action.actor, "reason": action.reason, "trigger": action.trigger,
        "state": action.state.value, "wants": wants, "tried": [day.isoformat() for day in action.tried],
        "concluded_at": action.concluded_at,
    }  # fmt: skip


def _look(context: TradingContext, as_json: bool) -> None:
    """One look: kill and panic conditions obeyed, actions carried on, alerts sent."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cli.trading_commands import tell
    from quant_dagster.cycle.account_watch import newest_valued
    from quant_dagster.cycle.panic_watch import watch_panic
    from quant_dagster.cycle.risk_actions import act as carry_on
    from quant_dagster.errors import DataUnavailableError
    from quant_dagster.operations.alerts.execution import execution_alerts
    from quant_dagster.operations.alerts.risk import risk_alerts
    from quant_dagster.risk.permission import enforce_kill

    kills = enforce_kill(context.ledger, context.settings, context.home)
    panics = watch_panic(context)
    facts: dict[str, Any] = {
        "at": context.ledger.now(),
        "kill": [kill.reason for kill in kills],
        "panic": [panic.reason for panic in panics],
    }
    try:
        newest_valued(context)
    except DataUnavailableError:
        facts["acted"] = "nothing was ever held"
    else:
        done = carry_on(context)
        facts |= {"mode": done.mode.name, "withdrawn": done.withdrawn, "made": done.made, "sent": done.sent}
        facts |= {"refused": list(done.refused), "working": len(done.working)}
    facts["alerts_sent"] = tell(context, [*risk_alerts(context), *execution_alerts(context)])
    print_facts(facts, title="Risk watch", as_json=as_json)


def _beat(context: TradingContext, state: str, detail: str) -> None:
    from quant_dagster.risk.kill_switch import heartbeat

    with context.ledger.write() as connection:
        heartbeat.beat(connection, WATCHER, state=state, detail=detail, at=context.ledger.now())
