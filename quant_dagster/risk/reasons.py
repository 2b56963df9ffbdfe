"""What a reason code means, whoever gave it: the gate, an account rule or the strategy."""

from __future__ import annotations

from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.strategies.decisions import REASONS


def words(code: str) -> str:
    """A reason code in words; one that has none is its own name."""
    return f"account rule: {RULES[code].title}" if code in RULES else REASONS.get(code, code.replace("_", " "))
