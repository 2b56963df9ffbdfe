"""The table of the documentation has every rule, setting and consequence that the code has."""

from __future__ import annotations

import re

import pytest

from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.settings import AccountRulesSettings
from tests.support.replays import PROJECT
from tests.unit.risk.account_rules.scenarios import scenario_table

TEXT = (PROJECT / "docs" / "account_rules.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in TEXT.split("## The thirteen")[1].split("##")[0].splitlines()
    if line.startswith("| `") and (cells := [cell.strip() for cell in line.strip("|\n").split("|")])
}
"""By rule: watches, bites when, what happens, how it ends, settings."""

WORDS = {
    "until reset": ("locked out", "daily reset"),
    "until condition": ("locked out", "says yes"),
    "cooldown": ("cooldown", "after"),
    "close_all": ("closed|flat", ""),
    "close_symbol": ("closed|flat", ""),
    "cancel_orders all, close_all": ("cancelled|closed", ""),
    "reduce_to": ("reduce", "limit"),
    "place_stop": ("stop", "stop"),
    "move_stop": ("stop", "stop"),
}


def test_every_rule_is_in_the_table_in_the_order_of_the_code() -> None:
    assert list(ROWS) == list(RULES)
    assert [row[0] for row in ROWS.values()] == [rule.watches for rule in RULES.values()]
    assert all(rule.title for rule in RULES.values())


@pytest.mark.parametrize("rule", RULES)
def test_its_settings_are_named(rule: str) -> None:
    section = AccountRulesSettings.model_fields[rule].annotation
    fields = set(section.model_fields) - {"enabled"}
    assert set(re.findall(r"`(\w+)`", ROWS[rule][4])) == fields


@pytest.mark.parametrize("row", scenario_table(), ids=lambda row: f"{row['rule']}: {row['what']}")
def test_what_happens_in_every_scenario_is_in_the_table(row: dict) -> None:
    happens, ends = ROWS[row["rule"]][2:4]
    for sentence in row["said"]:
        for word, (consequence, end) in WORDS.items():
            if word in sentence:
                assert re.search(consequence, happens), (sentence, happens)
                assert end in ends or row["rule"] == "max_unrealised_profit", (sentence, ends)


@pytest.mark.parametrize(("rule", "sign"), [
    ("max_contracts", ">"), ("max_contracts_per_instrument", ">"), ("trade_frequency", ">"),
    ("daily_realised_loss", "≥"), ("daily_unrealised_loss", "≥"), ("max_unrealised_profit", "≥"),
    ("cooldown_after_loss", "≥"), ("no_stop_loss_grace", "≥"), ("trade_management", "≥"),
    ("daily_realised_profit", "≥"), ("session_block", "≤ time <"),
])  # fmt: skip
def test_the_boundary_is_in_the_table(rule: str, sign: str) -> None:
    assert sign in ROWS[rule][1]
