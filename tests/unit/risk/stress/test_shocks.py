"""Hypothetical moves of all prices."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.correlations import Correlations
from quant_dagster.risk.stress.shocks import apply_shock, nearest_correlation, stressed_covariance
from quant_dagster.settings import ShockSettings, StressSettings

SYMBOLS = ("A", "B", "C", "D")
VALUES = np.array([1000.0, -500.0, 200.0, 0.0])
BETAS = np.array([1.5, 0.5, np.nan, np.nan])
SECTORS = {"A": "tech", "B": "tech", "C": "energy"}
STD = np.array([0.02, 0.01, 0.03, 0.01])
MATRIX = np.array([[1, 0.5, 0.2, 0], [0.5, 1, 0.1, 0], [0.2, 0.1, 1, 0], [0, 0, 0, 1.0]])
Z_99 = 2.3263478740408408
ES_99 = 2.6652142203457994


def shocked(values=VALUES, correlations=None, **shock):
    correlations = correlations or Correlations(STD, MATRIX, 0.0)
    return apply_shock("test", ShockSettings(**shock), SYMBOLS, values, BETAS, SECTORS, correlations, 0.99)


def test_each_symbol_moves_by_its_beta_and_an_unknown_beta_is_the_markets() -> None:
    result = shocked(market=-0.10)
    np.testing.assert_allclose(result.pnl, [-150.0, 25.0, -20.0, 0.0])
    assert result.total == pytest.approx(-145.0)
    assert result.assumed_betas == ("C", "D")
    assert (result.name, result.symbols) == ("test", SYMBOLS)


def test_a_sector_moves_further_and_a_symbol_by_its_own_entry_in_place_of_all_else() -> None:
    result = shocked(market=-0.10, sectors={"tech": -0.20, "energy": 0.05}, symbols={"B": 0.40, "C": 0.0})
    np.testing.assert_allclose(result.pnl, [-350.0, -200.0, 0.0, 0.0])
    assert result.assumed_betas == ("D",)


def test_without_a_move_of_the_market_no_beta_is_assumed() -> None:
    result = shocked(sectors={"tech": -0.1})
    np.testing.assert_allclose(result.pnl, [-100.0, 50.0, 0.0, 0.0])
    assert result.assumed_betas == ()


def test_no_price_falls_below_nothing() -> None:
    np.testing.assert_allclose(shocked(market=-0.8).pnl, [-1000.0, 200.0, -160.0, 0.0])
    np.testing.assert_allclose(shocked(market=0.8).pnl, [1200.0, -200.0, 160.0, 0.0])


def test_var_is_normal_before_and_under_the_shock() -> None:
    risks = VALUES * STD
    now = (risks @ MATRIX @ risks) ** 0.5
    result = shocked(volatility=2.0)
    assert result.var == pytest.approx(Z_99 * now) and result.es == pytest.approx(ES_99 * now)
    assert result.stressed_var == pytest.approx(2 * Z_99 * now) and result.stressed_es == pytest.approx(2 * ES_99 * now)


def test_at_correlation_one_volatilities_add_up_and_at_nought_their_squares() -> None:
    longs = np.abs(VALUES)
    assert shocked(longs, correlation=1.0).stressed_var == pytest.approx(Z_99 * (longs @ STD))
    assert shocked(correlation=0.0).stressed_var == pytest.approx(Z_99 * np.sqrt(np.sum((VALUES * STD) ** 2)))
    assert shocked(longs).stressed_var == shocked(longs).var


def test_a_perfect_hedge_at_correlation_one_has_no_var() -> None:
    hedge = np.array([100.0, -200.0, 0.0, 0.0])
    result = shocked(hedge, correlation=1.0)
    assert result.stressed_var == pytest.approx(0.0, abs=1e-6) and result.stressed_es == pytest.approx(0.0, abs=1e-6)
    assert result.var > 0.0


def test_rounding_below_nought_is_no_risk() -> None:
    tiny = Correlations(np.ones(2), np.array([[1.0, 1.0 + 1e-9], [1.0 + 1e-9, 1.0]]), 0.0)
    result = apply_shock("t", ShockSettings(), ("A", "B"), np.array([1.0, -1.0]), BETAS[:2], {}, tiny, 0.99)
    assert result.var == 0.0


def test_correlations_that_contradict_each_other_are_made_whole() -> None:
    broken = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    repaired = nearest_correlation(broken)
    # Two positive eigenvalues of 1.9 remain: every row is brought back to length 1.
    np.testing.assert_allclose(repaired, [[1.0, 0.5, -0.5], [0.5, 1.0, 0.5], [-0.5, 0.5, 1.0]], atol=1e-12)
    assert (np.diag(repaired) == 1.0).all()
    covariance = stressed_covariance(Correlations(np.array([1.0, 2.0, 3.0]), broken, 0.0), ShockSettings(volatility=2))
    np.testing.assert_allclose(covariance, 4.0 * np.outer([1, 2, 3], [1, 2, 3]) * repaired)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert nearest_correlation(MATRIX) is MATRIX


def test_a_singular_correlation_is_one_already() -> None:
    identity = np.zeros((2, 2))
    assert nearest_correlation(identity) is identity


def test_the_usual_shocks_can_all_be_applied() -> None:
    losses = {
        name: apply_shock(name, shock, SYMBOLS, VALUES, BETAS, SECTORS, Correlations(STD, MATRIX, 0.0), 0.99).total
        for name, shock in StressSettings().shocks.items()
    }
    assert losses["market_down_20"] == pytest.approx(2 * losses["market_down_10"]) == pytest.approx(-290.0)
    assert losses["volatility_doubles"] == losses["correlations_to_one"] == 0.0


def test_a_position_without_a_value_is_refused() -> None:
    with pytest.raises(RiskError, match=r"^shock test: a position's value is not a finite number"):
        shocked(np.array([1.0, np.nan, 0.0, 0.0]))
