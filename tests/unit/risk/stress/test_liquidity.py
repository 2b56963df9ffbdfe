"""How long positions take to sell."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.liquidity import HORIZONS, LONGEST, liquidation_var, liquidity

Z_95 = 1.6448536269514722


def test_a_position_takes_its_value_over_what_can_be_sold_a_session() -> None:
    result = liquidity(np.array([1000.0, -500.0, 0.0]), np.array([2000.0, 10_000.0, np.nan]), 0.05)
    np.testing.assert_array_equal(result.sessions, [10.0, 1.0, 0.0])
    assert result.longest == 10.0
    assert result.sellable == {1: 600 / 1500, 5: 1000 / 1500, 20: 1.0}
    assert result.unsold == 0.0


def test_a_position_of_cents_takes_its_time_too() -> None:
    assert liquidity(np.array([0.5]), np.array([1.0]), 0.1).sessions[0] == 5.0


@pytest.mark.parametrize("volume", [0.0, np.nan])
def test_a_position_nobody_trades_is_never_sold(volume: float) -> None:
    result = liquidity(np.array([100.0, 300.0]), np.array([volume, 10_000.0]), 0.1)
    assert result.sessions[0] == np.inf and result.longest == np.inf
    assert result.sellable == {1: 0.75, 5: 0.75, 20: 0.75}
    assert result.unsold == pytest.approx(0.25)


def test_what_is_left_after_250_sessions_is_unsold() -> None:
    assert liquidity(np.array([500.0]), np.array([10.0]), 0.1).unsold == pytest.approx(0.5)
    assert (HORIZONS, LONGEST) == ((1, 5, 20), 250)


@pytest.mark.parametrize("count", [1, 2, 5, 20, 250])
def test_one_position_in_equal_parts_has_the_root_of_the_sum_of_squares(count: int) -> None:
    """Jorion (2007), section 13.3: sqrt((n + 1)(2 n + 1) / (6 n)) times the VaR of a session."""
    variance = np.array([[0.02**2]])
    var = liquidation_var(np.array([-1000.0 * count]), np.array([20_000.0]), 0.05, variance, 0.95)
    plain = Z_95 * 1000.0 * count * 0.02
    assert var == pytest.approx(plain * np.sqrt((count + 1) * (2 * count + 1) / (6 * count)))


def test_a_position_nobody_trades_is_held_for_250_sessions() -> None:
    var = liquidation_var(np.array([1000.0]), np.array([0.0]), 0.05, np.array([[0.01**2]]), 0.95)
    assert var == pytest.approx(Z_95 * 10.0 * np.sqrt(250.0))


def test_a_hedge_that_is_sold_first_no_longer_hedges() -> None:
    covariance = 0.02**2 * np.ones((2, 2))
    values, volumes = np.array([1000.0, -1000.0]), np.array([10_000.0, 20_000.0])
    assert liquidation_var(values, np.array([1e9, 1e9]), 0.05, covariance, 0.95) == pytest.approx(0.0)
    # The short side is flat after one session; the long one is held in two, half of it in the second.
    assert liquidation_var(values, volumes, 0.05, covariance, 0.95) == pytest.approx(Z_95 * 500.0 * 0.02)


@pytest.mark.parametrize("values", [[0.0], [np.nan], [np.inf]])
def test_positions_without_a_value_are_refused(values: list[float]) -> None:
    with pytest.raises(RiskError, match=r"^liquidity: positions need finite values, and one that is not 0"):
        liquidity(np.array(values), np.array([1.0]), 0.05)


@pytest.mark.parametrize("participation", [0.0, -0.1, np.nan])
def test_without_participation_nothing_can_be_sold(participation: float) -> None:
    with pytest.raises(RiskError, match=r"^liquidity: participation .* must be above 0; correct"):
        liquidation_var(np.array([1.0]), np.array([1.0]), participation, np.eye(1), 0.95)
