"""One scenario per check, rule and reason code: what goes in, what is decided, which code says why.

    python -m tests.unit.risk.scenario_table

prints it; ``test_scenario_table.py`` holds it to be complete, and the tests of each part hold each row.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.gate import OrderIntent, RiskDecision
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.risk.kill_switch.software import engage, kill_file
from quant_dagster.risk.panic import Panic
from quant_dagster.risk.permission import permission
from quant_dagster.settings import PanicSettings, Settings, load_settings
from quant_dagster.storage.ledger import Ledger
from tests.support.ledgers import sqlite_ledger
from tests.unit.risk.account_rules.scenarios import scenario_table as rule_scenarios
from tests.unit.risk.gate.accounts import gate, intent
from tests.unit.risk.gate.scenarios import REFUSALS, SCENARIOS, with_limits

NOW = datetime(2023, 1, 4, 21, tzinfo=UTC)
Row = tuple[str, str, str, str]
"""Part, input, decision, code."""


def gate_rows() -> list[Row]:
    """1,000 shares at 100 asked of an account of a million."""
    rows = []
    for name, (limits, account, side, _, _) in SCENARIOS.items():
        asked = intent(side=Side(side))
        rows.append(_gate_row(f"{name} {_short(limits)}", asked, gate(with_limits(**limits), **account).check(asked)))
    for options, _ in REFUSALS:
        rows.append(_gate_row(_short(options), intent(), gate(**options).check(intent())))
    for name, asked, account in (
        ("what only reduces", intent(side=Side.SELL, reduce_only=True), {"held": {"A": 300}}),
        ("REDUCE, more than is held", intent(side=Side.SELL), {"held": {"A": 300}, "mode": ControlMode.REDUCE}),
        ("EMERGENCY, all that is held", intent(side=Side.SELL, quantity=300),
         {"held": {"A": 300}, "mode": ControlMode.EMERGENCY}),
        ("a lot of 2,000", intent(), {"market": {"A": _lot(2000)}}),
    ):  # fmt: skip
        rows.append(_gate_row(name, asked, gate(**account).check(asked)))
    return rows


def rule_rows() -> list[Row]:
    """The thirteen account rules."""
    rows = []
    for row in rule_scenarios():
        given = " ".join(f"{key}={value}" for key, value in row["settings"].items() if key != "enabled")
        for sentence in [str(one) for one in row["said"] if one] or ["nothing"]:
            rows.append(("account rule", f"{row['what']} ({given})", sentence, str(row["rule"])))
    return rows


def permission_rows() -> list[Row]:
    """What may be traded at all."""
    rows = []
    for name, happen in PERMISSIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            ledger = sqlite_ledger(Path(folder) / "ledger.db", lambda: NOW)
            chosen = load_settings()
            chosen = chosen.model_copy(update={"home": Path(folder)})
            settings = happen(ledger, chosen) or chosen
            with ledger.read() as connection:
                found = permission(connection, settings, Path(folder), NOW)
            ledger.close()
            rows.append(("control", name, found.mode.name, ", ".join(found.codes) or "-"))
    return rows


def panic_rows() -> list[Row]:
    """The four panic conditions, each just over its limit."""
    rows = []
    for name, feed in PANICS.items():
        panic = Panic(PanicSettings())
        panic.watched(["A", "B", "C"])
        feed(panic)
        for one in panic.conditions(NOW):
            rows.append(("panic", f"{name}: {one.reason}", f"escalate to {one.mode.name}", one.code))
    return rows


def scenario_table() -> list[Row]:
    """All of them."""
    return [*gate_rows(), *rule_rows(), *permission_rows(), *panic_rows()]


# -- parts ------------------------------------------------------------------------------------------------------------


def _set(mode: ControlMode) -> Any:
    def happen(ledger: Ledger, _: Settings) -> None:
        with ledger.write() as connection:
            escalate(connection, mode, actor="ann", reason="drill", at=NOW)

    return happen


def _kill_file(ledger: Ledger, settings: Settings) -> None:
    engage(kill_file(settings.risk.kill_switch, settings.home), actor="ann", reason="drill", at=NOW)


def _silence(ledger: Ledger, settings: Settings) -> Settings:
    with ledger.write() as connection:
        beat(connection, "desk", state="ok", detail="", at=NOW - timedelta(seconds=31))
    switch = settings.risk.kill_switch.model_copy(update={"heartbeats": {"desk": 30.0}})
    return settings.model_copy(update={"risk": settings.risk.model_copy(update={"kill_switch": switch})})


PERMISSIONS: dict[str, Any] = {
    "nothing was ever set": lambda ledger, settings: None,
    "PAUSE": _set(ControlMode.PAUSE),
    "REDUCE": _set(ControlMode.REDUCE),
    "EMERGENCY": _set(ControlMode.EMERGENCY),
    "the kill file is there": _kill_file,
    "a heartbeat 31 s old, 30 allowed": _silence,
}


def _slippage(panic: Panic) -> None:
    for n in range(5):
        panic.fill(NOW - timedelta(seconds=n), "A", 51.0)
    _fresh(panic)


def _stale(panic: Panic) -> None:
    panic.quote(NOW, "A", 99.0, 101.0)


def _spread(panic: Panic) -> None:
    for n in range(300, 3900, 10):
        for symbol in "ABC":
            panic.quote(NOW - timedelta(seconds=n), symbol, 99.99, 100.01)
    for n in range(0, 300, 10):
        for symbol in "ABC":
            panic.quote(NOW - timedelta(seconds=n), symbol, 99.9, 100.1)


def _errors(panic: Panic) -> None:
    for n in range(21):
        panic.error(NOW - timedelta(seconds=n), "broker")
    _fresh(panic)


def _fresh(panic: Panic) -> None:
    for symbol in "ABC":
        panic.quote(NOW, symbol, 99.99, 100.01)


PANICS = {"five dear fills": _slippage, "one quote of three": _stale, "wide quotes": _spread, "errors": _errors}


def _lot(size: int) -> Any:
    from tests.unit.risk.gate.accounts import facts

    return facts(lot_size=size)


def _gate_row(name: str, asked: OrderIntent, decision: RiskDecision) -> Row:
    given = f"{asked.side} {asked.quantity}: {name}"
    return "gate", given, f"{decision.outcome} {decision.approved_quantity}", ", ".join(decision.reasons)


def _short(options: Any) -> str:
    return " ".join(f"{key}={_words(value)}" for key, value in options.items())


def _words(value: Any) -> str:
    if isinstance(value, ControlMode):
        return value.name
    text = "an array without a number" if hasattr(value, "shape") else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def main() -> None:
    rows = scenario_table()
    width = max(min(len(row[1]), 110) for row in rows)
    for part, given, decision, code in rows:
        print(f"{part:<13} {given[:110]:<{width}}  {decision:<40}  {code}")
    print(f"{len(rows)} scenarios")


if __name__ == "__main__":
    main()
