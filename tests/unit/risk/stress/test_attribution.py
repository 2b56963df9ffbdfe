"""Risk by sector and factor."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.attribution import by_factor, by_sector

EXPOSURES = np.array([[1.0, 0.5], [1.0, -0.5], [np.nan, np.nan]])
FACTORS = np.array([[0.04, 0.01], [0.01, 0.09]])
SPECIFIC = np.array([0.1, 0.2, np.nan])
VALUES = np.array([300.0, -100.0, 0.0])


def test_sectors_sum_their_positions_largest_first() -> None:
    parts = by_sector(("A", "B", "C", "D"), np.array([1.0, 5.0, 2.0, -4.0]), {"A": "tech", "B": "oil", "C": "tech"})
    assert list(parts.items()) == [("oil", 5.0), ("tech", 3.0), ("unknown", -4.0)]


def test_factor_parts_are_exposure_times_marginal_volatility_and_sum_to_the_volatility() -> None:
    risk = by_factor(VALUES, EXPOSURES, ("market", "value"), FACTORS, SPECIFIC)
    covariance = EXPOSURES[:2] @ FACTORS @ EXPOSURES[:2].T + np.diag(SPECIFIC[:2] ** 2)
    volatility = np.sqrt(VALUES[:2] @ covariance @ VALUES[:2])
    assert risk.volatility == pytest.approx(volatility)
    # b = (200, 200): F b = (10, 20); 30^2 + 20^2 = 1300 of own variance
    assert volatility == pytest.approx(7300**0.5)
    assert risk.factors == pytest.approx({"market": 2000 / volatility, "value": 4000 / volatility})
    assert risk.specific == pytest.approx(1300 / volatility)
    assert sum(risk.factors.values()) + risk.specific == pytest.approx(volatility)


@pytest.mark.parametrize(
    ("exposures", "specific"), [(EXPOSURES, np.array([0.1, np.nan])), (np.full((2, 2), np.nan), SPECIFIC[:2])]
)
def test_a_position_the_model_does_not_know_is_refused(exposures, specific) -> None:
    with pytest.raises(RiskError, match=r"^factor attribution: a position has no exposures"):
        by_factor(VALUES[:2], exposures[:2], ("market", "value"), FACTORS, specific)


def test_no_variance_cannot_be_divided() -> None:
    with pytest.raises(RiskError, match=r"^factor attribution: the portfolio's P&L does not vary"):
        by_factor(np.zeros(2), EXPOSURES[:2], ("market", "value"), FACTORS, SPECIFIC[:2])


def test_parts_and_names_belong_together() -> None:
    with pytest.raises(ValueError, match="zip"):
        by_sector(("A", "B"), np.ones(3), {})
    with pytest.raises(ValueError, match="zip"):
        by_factor(VALUES, EXPOSURES, ("market",), FACTORS, SPECIFIC)
