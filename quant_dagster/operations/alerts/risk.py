"""What people should hear of risk: changes of the control mode, kills, lockouts, actions, panic, orders refused.

Each alert has a key of its own, so that it is told once however often it is looked for.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from quant_dagster.cycle.panic_watch import AUDITED
from quant_dagster.operations.alerts.notifications import Alert, Severity, untold
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionState, RiskAction
from quant_dagster.risk.control import ControlChange, ControlMode, history
from quant_dagster.risk.gate import Outcome
from quant_dagster.risk.reasons import words
from quant_dagster.storage.ledger_tables import audit_log, lockouts, risk_events

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

NEWEST = 50
"""Newest rows of each kind that are looked at."""
ORDINARY = frozenset(
    {
        "participation", "symbol_limit", "sector_limit", "gross_limit", "net_limit", "concentration_limit",
        "counterparty_limit", "liquidity_limit", "turnover_limit", "buying_power", "no_short", "reduce_only",
        "below_lot_size", "control_pause", "control_reduce", "control_emergency",
    }
)  # fmt: skip
"""Codes of refusals nobody need hear of: a limit that did its work, or a control mode that was told of already."""

_SEVERITY = {
    ControlMode.NORMAL.name: Severity.INFO,
    ControlMode.PAUSE.name: Severity.WARNING,
    ControlMode.REDUCE.name: Severity.ERROR,
    ControlMode.EMERGENCY.name: Severity.CRITICAL,
}


def risk_alerts(context: TradingContext) -> list[Alert]:
    """Everything of the newest events that was not told yet, the oldest of each kind first."""
    with context.ledger.read() as connection:
        alerts = [control_alert(change) for change in reversed(history(connection, NEWEST))]
        alerts += _kills(connection)
        alerts += _panics(connection)
        alerts += _lockouts(connection)
        for action in actions.every(connection)[-NEWEST:]:
            alerts += action_alerts(action)
        alerts += _refusals(connection)
        return untold(connection, alerts)


def control_alert(change: ControlChange) -> Alert:
    """The control mode changed, by a rule of the desk or by a person."""
    who = "automatically" if change.automatic else "by a person"
    return Alert(
        key=f"control:{change.sequence}",
        severity=_SEVERITY.get(change.mode, Severity.CRITICAL),
        title=f"control mode {change.mode} (was {change.previous or 'unknown'}), set {who}: {change.actor}",
        details=(change.reason, f"at {change.at:%Y-%m-%d %H:%M:%S %Z}", "'quant control show' says what may be traded"),
    )


def action_alerts(action: RiskAction) -> list[Alert]:
    """An automatic action was asked for; it could not be carried out."""
    about = action.symbol or f"{len(action.quantities) or len(action.stops)} positions"
    asked = Alert(
        key=f"risk_action:{action.action_id}",
        severity=Severity.WARNING,
        title=f"risk action {action.kind} of {about} asked for by {action.actor}",
        details=(action.reason, "'quant risk actions' says how far it has come"),
    )
    if action.state is not ActionState.ESCALATED:
        return [asked]
    failed = Alert(
        key=f"risk_action:{action.action_id}:escalated",
        severity=Severity.CRITICAL,
        title=f"risk action {action.kind} of {about} could not be carried out in {len(action.tried)} sessions",
        details=(
            action.reason,
            "The control mode went to EMERGENCY. Close the position at the broker, or find out why",
        ),
    )
    return [asked, failed]


def _kills(connection: Connection) -> list[Alert]:
    return [
        Alert(
            key=f"kill:{sequence}",
            severity=Severity.CRITICAL,
            title=f"trading was killed by {actor}",
            details=(payload["reason"], f"kill file: {payload['file']}", "'quant kill-switch status' says what holds"),
        )
        for sequence, actor, payload in _audited(connection, "kill")
    ]


def _panics(connection: Connection) -> list[Alert]:
    """Once a day and condition: while it goes on there is newer evidence at every look."""
    alerts: dict[tuple[str, str], Alert] = {}
    for sequence, _actor, payload in _audited(connection, AUDITED):
        day = payload["day"]
        alerts.setdefault(
            (payload["name"], day),
            Alert(
                key=f"panic:{payload['name']}:{day}",
                severity=_SEVERITY[payload["mode"]],
                title=f"panic condition {payload['name']} ({day})",
                details=(payload["reason"], f"audit row {sequence}; it asks for the control mode {payload['mode']}"),
            ),
        )
    return list(alerts.values())


def _lockouts(connection: Connection) -> list[Alert]:
    # Without its times: a lockout whose times cannot be read locks the account, and has to be told of all the same.
    columns = (lockouts.c.lockout_id, lockouts.c.rule, lockouts.c.kind, lockouts.c.symbol, lockouts.c.reason)
    rows = connection.execute(select(*columns).order_by(lockouts.c.recorded_at.desc()).limit(NEWEST)).all()
    return [
        Alert(
            key=f"lockout:{row.lockout_id}",
            severity=Severity.WARNING if row.symbol or row.kind == "cooldown" else Severity.ERROR,
            title=f"{row.kind} of {row.symbol or 'the whole account'} by {row.rule}",
            details=(row.reason, "'quant risk lockouts' says until when, 'quant risk release' ends it"),
        )
        for row in reversed(rows)
    ]


def _refusals(connection: Connection) -> list[Alert]:
    """One digest of the newest decided session, if the gate refused orders for reasons that are out of the ordinary."""
    session = connection.execute(select(func.max(risk_events.c.session))).scalar()
    rows = connection.execute(
        select(risk_events.c.symbol, risk_events.c.reasons)
        .where(risk_events.c.session == session, risk_events.c.outcome == Outcome.REJECTED.value)
        .order_by(risk_events.c.symbol)
    ).all()
    codes = Counter(code for row in rows for code in row.reasons)
    unusual = {code: count for code, count in sorted(codes.items()) if code not in ORDINARY}
    if not unusual:
        return []
    named = ", ".join(sorted({row.symbol for row in rows if set(row.reasons) & set(unusual)}))
    return [
        Alert(
            key=f"rejected_orders:{session}:{','.join(unusual)}"[:160],
            severity=Severity.WARNING,
            title=f"the risk gate refused {len(rows)} orders of {session}",
            details=(*(f"{code} ({count}): {words(code)}" for code, count in unusual.items()), named),
        )
    ]


def _audited(connection: Connection, action: str) -> list[tuple[int, str, dict[str, str]]]:
    """The newest audit rows of an action, oldest first; of times that cannot be read nothing is read."""
    columns = (audit_log.c.sequence, audit_log.c.actor, audit_log.c.payload)
    query = select(*columns).where(audit_log.c.action == action).order_by(audit_log.c.sequence.desc()).limit(NEWEST)
    return [(row.sequence, row.actor, json.loads(row.payload)) for row in reversed(connection.execute(query).all())]
