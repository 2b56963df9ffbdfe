"""The thirteen rules, one scenario per rule and consequence: what happens, and what the rule says to it."""

from __future__ import annotations

import pytest

from quant_dagster.risk.account_rules.rules import RULES, enabled
from quant_dagster.settings import AccountRulesSettings
from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.account_rules.scenarios import SCENARIOS, Scenario, feed, rules, said


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.rule}: {scenario.name}")
def test_what_a_rule_says(scenario: Scenario, desk: Ledger) -> None:
    account = rules(**{scenario.rule: scenario.settings})
    for step in scenario.steps:
        expected = list(step[1:])
        assert [said(breach) for breach in feed(desk, account, step[0])] == expected, step[0].key


def test_every_rule_has_a_scenario_and_a_section_of_its_name() -> None:
    assert {scenario.rule for scenario in SCENARIOS} == set(RULES)
    assert set(RULES) == set(AccountRulesSettings.model_fields) - {"reset_time", "reset_time_zone"}
    assert len(RULES) == 13


def test_a_rule_that_is_not_enabled_says_nothing(desk: Ledger) -> None:
    assert enabled(AccountRulesSettings()) == ()
    account = rules()
    assert [feed(desk, account, step[0]) for step in SCENARIOS[0].steps] == [[]] * len(SCENARIOS[0].steps)
