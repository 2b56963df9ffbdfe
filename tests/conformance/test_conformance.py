"""Every broker passes every rule, or says why it does not offer what the rule is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.brokers import HARNESSES, Harness, NotOfferedError, harness_of
from tests.conformance.desk_rules import DESK_RULES
from tests.conformance.rules import BROKER_RULES


@pytest.mark.parametrize("kind", HARNESSES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("rule", [*BROKER_RULES, *DESK_RULES], ids=lambda rule: rule.__name__)
def test_a_broker_keeps_the_rule(rule: Callable[[Harness], None], kind: type[Harness], tmp_path: Path) -> None:
    with harness_of(kind, tmp_path) as harness:
        try:
            rule(harness)
        except NotOfferedError as error:
            pytest.skip(f"not offered: {error}")
