"""What a comparison with the naive forecast comes to."""

from __future__ import annotations

from enum import StrEnum

from quant_dagster.forecasting.validation.comparison import TestResult

LEAST_ORIGINS = 20
"""Origins with an outcome, and answers of the model's own among them, below which nothing is judged."""


class Verdict(StrEnum):
    """How a model did against the naive forecast of its target."""

    WINNER = "winner"
    """Better, and significantly so."""
    NO_BETTER = "no_better"
    """Better, but no more than chance allows."""
    LOSER = "loser"
    """Worse or equal."""
    NAIVE = "naive"
    """The naive forecast itself."""
    NOT_JUDGED = "not_judged"
    """Too few outcomes of its own."""


def verdict(loss: float, naive_loss: float, test: TestResult, significance: float) -> Verdict:
    """The verdict on a model with enough outcomes, ``test`` being its Diebold-Mariano test."""
    if not loss < naive_loss or test.p_value is None:
        return Verdict.LOSER
    return Verdict.WINNER if test.p_value < significance else Verdict.NO_BETTER
