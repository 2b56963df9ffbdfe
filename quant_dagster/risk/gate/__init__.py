"""The pre-trade gate: every order, whoever made it, comes out of `Gate.check` approved, scaled or rejected.

Here: the verdict and what it is made from (``decision``, ``portfolio``), which checks there are (``checks``), what
counts against the limits (``exposure``, its sums in ``commitment``), the compiled arithmetic of one order (``kernel``,
its CVaR in ``tail``), and the gate itself (``gate``, imported where it is opened because it brings the compiler).

Not here: whether trading is allowed at all (``risk.permission``), the account's own rules (``risk.account_rules``),
making orders of verdicts (``execution.order_log``).
"""

from quant_dagster.risk.gate.decision import (
    Check,
    MarketFacts,
    OrderIntent,
    Origin,
    Outcome,
    RiskDecision,
    Verdict,
)
from quant_dagster.risk.gate.portfolio import PortfolioView, WorkingOrder

__all__ = [
    "Check",
    "MarketFacts",
    "OrderIntent",
    "Origin",
    "Outcome",
    "PortfolioView",
    "RiskDecision",
    "Verdict",
    "WorkingOrder",
]
