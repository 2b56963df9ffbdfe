"""What people hear of risk: each change of mode, kill, lockout, action and panic once, ordinary refusals not at all."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import update

from quant_dagster.cycle.context import TradingContext
from quant_dagster.observability import audit
from quant_dagster.operations.alerts.notifications import Alert, Notifier, Severity
from quant_dagster.operations.alerts.risk import ORDINARY, risk_alerts
from quant_dagster.risk import actions
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.risk.actions import ActionKind, ActionState, Held
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.gate.checks import CODES
from quant_dagster.risk.gate.gate import LIMITS
from quant_dagster.risk.permission import kill
from quant_dagster.risk.reasons import words
from quant_dagster.settings import RiskSettings
from quant_dagster.storage.ledger_tables import lockouts as lockout_rows
from quant_dagster.storage.ledger_tables import risk_events
from quant_dagster.strategies.decisions import REASONS
from tests.support.replays import PROJECT

NOON = datetime(2023, 1, 3, 12, tzinfo=UTC)
DAY = date(2023, 1, 3)


@pytest.fixture
def context() -> TradingContext:
    made = TradingContext(clock=lambda: NOON)
    made.ledger.upgrade()
    return made


def verdict(context: TradingContext, symbol: str, outcome: str, reasons: list[str], day: date = DAY) -> None:
    row = {
        "event_id": f"risk:{symbol}:{day}", "cycle_id": None, "origin": "strategy", "session": day, "symbol": symbol,
        "outcome": outcome, "requested_quantity": 10, "approved_quantity": 0, "reasons": reasons, "checks": [],
        "recorded_at": NOON,
    }  # fmt: skip
    with context.ledger.write() as connection:
        connection.execute(risk_events.insert().values(**row))


def heard(context: TradingContext) -> list[tuple[str, Severity]]:
    return [(alert.title, alert.severity) for alert in risk_alerts(context)]


def test_a_quiet_desk_is_not_worth_a_word(context: TradingContext) -> None:
    assert risk_alerts(context) == []


@pytest.mark.parametrize(
    ("mode", "severity"),
    [("PAUSE", Severity.WARNING), ("REDUCE", Severity.ERROR), ("EMERGENCY", Severity.CRITICAL)],
)
def test_every_change_of_mode_is_told_with_who_and_why(context: TradingContext, mode: str, severity: Severity) -> None:
    with context.ledger.write() as connection:
        escalate(connection, ControlMode[mode], actor="panic:errors", reason="21 requests failed", at=NOON)
    (alert,) = risk_alerts(context)
    assert (alert.key, alert.severity) == ("control:1", severity)
    assert alert.title == f"control mode {mode} (was NORMAL), set automatically: panic:errors"
    assert alert.details[:2] == ("21 requests failed", "at 2023-01-03 12:00:00 UTC")


def test_a_person_is_told_apart_from_a_rule(context: TradingContext) -> None:
    with context.ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="ada", reason="odd fills", at=NOON, automatic=False)
    assert heard(context) == [("control mode PAUSE (was NORMAL), set by a person: ada", Severity.WARNING)]


def test_a_kill_is_told_beside_the_mode_it_led_to(context: TradingContext, quant_home: Path) -> None:
    quant_home.mkdir(exist_ok=True)
    kill(context.ledger, context.settings, context.home, actor="ada", reason="smoke", automatic=False)
    assert heard(context) == [
        ("control mode EMERGENCY (was NORMAL), set by a person: ada", Severity.CRITICAL),
        ("trading was killed by ada", Severity.CRITICAL),
    ]
    assert risk_alerts(context)[1].details[:2] == ("smoke", f"kill file: {quant_home / 'KILL'}")


def lock(context: TradingContext, symbol: str | None, kind: str, minutes: int) -> None:
    with context.ledger.write() as connection:
        lockouts.add(
            connection, rule="trade_frequency", kind=kind, symbol=symbol, trigger=f"{symbol}{kind}", reason="31 trades",
            trading_day=DAY, starts_at=NOON, expires_at=NOON + timedelta(minutes=15), actor="rule:trade_frequency",
            now=NOON + timedelta(minutes=minutes),
        )  # fmt: skip


def test_lockouts_matter_by_what_they_lock(context: TradingContext) -> None:
    lock(context, None, "lockout", 0)
    lock(context, "KO", "lockout", 1)
    lock(context, None, "cooldown", 2)
    assert heard(context) == [
        ("lockout of the whole account by trade_frequency", Severity.ERROR),
        ("lockout of KO by trade_frequency", Severity.WARNING),
        ("cooldown of the whole account by trade_frequency", Severity.WARNING),
    ]
    assert {alert.details[0] for alert in risk_alerts(context)} == {"31 trades"}


def test_a_lockout_whose_times_cannot_be_read_is_told_all_the_same(context: TradingContext) -> None:
    lock(context, "KO", "lockout", 0)
    with context.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lockouts SET expires_at = 'never'")
    assert heard(context) == [("lockout of KO by trade_frequency", Severity.WARNING)]


def ask(context: TradingContext, kind: ActionKind, trigger: str, symbol: str | None = None) -> None:
    held = {name: Held(Decimal(100), Decimal(50)) for name in ("KO", "XOM")}
    with context.ledger.write() as connection:
        actions.request(
            connection, kind, held, trigger=trigger, actor="ada", reason="too much", at=NOON, symbol=symbol,
            distance=Decimal("0.02"),
        )  # fmt: skip


def test_an_action_is_told_when_it_is_asked_for_and_when_it_failed(context: TradingContext) -> None:
    ask(context, ActionKind.CLOSE_ALL, "a")
    assert heard(context) == [("risk action close_all of 2 positions asked for by ada", Severity.WARNING)]
    with context.ledger.write() as connection:
        (action,) = actions.working(connection)
        for day in (3, 4, 5):
            actions.attempted(connection, action, date(2023, 1, day))
        (action,) = actions.working(connection)
        actions.conclude(connection, action, ActionState.ESCALATED, reason="no volume", at=NOON)
    assert heard(context)[1] == (
        "risk action close_all of 2 positions could not be carried out in 3 sessions", Severity.CRITICAL
    )  # fmt: skip


def test_an_action_on_one_symbol_and_one_on_stops_say_what_they_are_about(context: TradingContext) -> None:
    ask(context, ActionKind.CLOSE_SYMBOL, "a", "KO")
    ask(context, ActionKind.TIGHTEN_STOPS, "b")
    assert {title for title, _ in heard(context)} == {
        "risk action close_symbol of KO asked for by ada", "risk action tighten_stops of 2 positions asked for by ada"
    }  # fmt: skip


def test_a_panic_condition_that_goes_on_is_told_once_a_day(context: TradingContext) -> None:
    for day, evidence in (("2023-01-03", "a"), ("2023-01-03", "b"), ("2023-01-04", "c")):
        payload = {"name": "errors", "day": day, "mode": "PAUSE", "reason": f"failed {evidence}"}
        with context.ledger.write() as connection:
            audit.append(
                connection, f"panic:errors:{evidence}", "panic", actor="panic:errors", at=NOON, payload=payload
            )
    first, second = risk_alerts(context)
    assert (first.key, second.key) == ("panic:errors:2023-01-03", "panic:errors:2023-01-04")
    assert (first.severity, first.details[0]) == (Severity.WARNING, "failed a")


def test_ordinary_refusals_are_nobodys_business(context: TradingContext) -> None:
    verdict(context, "KO", "rejected", sorted(ORDINARY))
    verdict(context, "XOM", "scaled", ["position_scaled", "cvar_breach"])
    assert risk_alerts(context) == []


def test_unusual_refusals_are_one_digest_of_the_newest_session(context: TradingContext) -> None:
    verdict(context, "PG", "rejected", ["stale_data"], date(2022, 12, 30))
    verdict(context, "KO", "rejected", ["cvar_breach", "symbol_limit"])
    verdict(context, "XOM", "rejected", ["cvar_breach"])
    verdict(context, "JNJ", "rejected", ["buying_power"])
    (alert,) = risk_alerts(context)
    assert alert.title == "the risk gate refused 3 orders of 2023-01-03"
    assert alert.details == (f"cvar_breach (2): {REASONS['cvar_breach']}", "KO, XOM")


def test_what_was_told_is_not_told_again_and_what_came_since_is(context: TradingContext) -> None:
    ask(context, ActionKind.CLOSE_ALL, "a")
    notifier = Notifier(context.settings.notifications, context.ledger)
    for alert in risk_alerts(context):
        notifier.send(alert)
    assert risk_alerts(context) == []
    ask(context, ActionKind.HALVE, "b")
    assert [alert.title for alert in risk_alerts(context)] == ["risk action halve of 2 positions asked for by ada"]


def test_keys_fit_the_ledger_and_name_one_event(context: TradingContext) -> None:
    verdict(context, "KO", "rejected", [code for code in CODES if code not in ORDINARY])
    ask(context, ActionKind.CLOSE_ALL, "a")
    found: list[Alert] = risk_alerts(context)
    assert len({alert.key for alert in found}) == len(found) == 2
    assert all(len(alert.key) <= 160 for alert in found)


def test_every_code_has_words() -> None:
    codes = [*(code for code in CODES if code != "control_mode"), "control_pause", "below_lot_size"]
    assert all(words(code) == REASONS[code] for code in codes)
    assert all(words(name) == f"account rule: {rule.title}" for name, rule in RULES.items())
    assert set(REASONS) >= ORDINARY


def test_a_change_of_a_lockout_row_is_no_new_lockout(context: TradingContext) -> None:
    lock(context, "KO", "lockout", 0)
    notifier = Notifier(context.settings.notifications, context.ledger)
    for alert in risk_alerts(context):
        notifier.send(alert)
    with context.ledger.write() as connection:
        connection.execute(update(lockout_rows).values(released_at=NOON, released_by="ada"))
    assert risk_alerts(context) == []


def test_the_documentation_has_every_check_in_its_order_and_every_setting() -> None:
    text = (PROJECT / "docs" / "risk.md").read_text(encoding="utf-8")
    lines = [line for line in text.split("## The gate")[1].split("\n## ")[0].splitlines() if line.startswith("| `")]
    rows = {
        cells[0].strip("`"): cells
        for line in lines
        if (cells := [cell.strip() for cell in line.strip("| ").split("|")])
    }
    assert tuple(rows) == CODES
    assert set(CODES) - {"control_mode"} <= set(REASONS)
    assert all(len(cells) == 4 and all(cells) for cells in rows.values())
    named = {name for cells in rows.values() for name in re.findall(r"`([a-z_]+)`", cells[2])}
    named -= {"portfolio"}
    assert named <= set(RiskSettings.model_fields), named - set(RiskSettings.model_fields)
    assert {"control_pause", "control_reduce", "control_emergency"} <= set(
        re.findall(r"`([a-z_]+)`", rows["control_mode"][3])
    )
    assert set(LIMITS) - {"cvar_confidence", "cvar_scenarios", "max_drawdown"} <= named
    assert {"position_scaled", "below_lot_size"} <= set(REASONS)
    for name in re.findall(r"\]\((\w+\.md)\)", text):
        assert (PROJECT / "docs" / name).is_file(), name
