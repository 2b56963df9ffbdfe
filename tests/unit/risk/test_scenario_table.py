"""Every check of the gate, every account rule, every mode, kill and panic has a scenario that ends with its code."""

from __future__ import annotations

from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate.checks import CODES
from tests.unit.risk.scenario_table import scenario_table


def test_every_code_has_its_scenario() -> None:
    rows = scenario_table()
    seen = {code for _, _, _, codes in rows for code in codes.split(", ")}
    gate = set(CODES) - {"control_mode", "locked_out"} | {"below_lot_size", "position_scaled"}
    modes = {f"control_{mode.name.lower()}" for mode in ControlMode if mode is not ControlMode.NORMAL}
    kills = {"kill_file", "kill_heartbeat"}
    panics = {"panic_slippage", "panic_stale_quotes", "panic_spread", "panic_errors"}
    missing = (gate | modes | kills | panics | set(RULES)) - seen
    assert missing == set()
    assert all(part and given and decision for part, given, decision, _ in rows)
