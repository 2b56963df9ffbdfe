"""Expected shortfall against skfolio's, and the largest order under a limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_dagster.risk.expected_shortfall import expected_shortfall, largest_passing

PNL = arrays(np.float64, 120, elements=st.floats(-1e4, 1e4, allow_nan=False))


@given(PNL, st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_agrees_with_skfolio(pnl: np.ndarray, confidence: float) -> None:
    from skfolio.measures import cvar

    assert expected_shortfall(pnl, confidence) == pytest.approx(float(cvar(pnl, beta=confidence)), abs=1e-6)


def test_is_the_mean_of_the_worst_losses() -> None:
    pnl = np.arange(-100.0, 0.0)
    assert expected_shortfall(pnl, 0.95) == pytest.approx(98.0)  # mean of 100, 99, 98, 97, 96


@given(PNL, PNL, st.integers(1, 500), st.floats(0, 1e5))
def test_the_largest_passing_size_passes_and_the_next_does_not(held, unit, units, limit) -> None:
    passing, value = largest_passing(held, unit, units, limit, 0.95)
    before = expected_shortfall(held, 0.95)
    assert 0 <= passing <= units
    assert value == pytest.approx(expected_shortfall(held + passing * unit, 0.95))
    if passing:
        assert value <= max(limit, before) + 1e-9
    if 0 < passing < units or (passing == 0 and before <= limit):
        more = expected_shortfall(held + (passing + 1) * unit, 0.95)
        assert passing == units or more > max(limit, before) - 1e-9


def test_a_portfolio_over_its_limit_takes_only_what_lowers_the_risk() -> None:
    rng = np.random.default_rng(7)
    shock = rng.normal(size=250)
    assert largest_passing(1000 * shock, -shock, 100, 10.0, 0.95)[0] == 100
    assert largest_passing(1000 * shock, shock, 100, 10.0, 0.95)[0] == 0


def test_no_scenario_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        expected_shortfall(np.array([]), 0.95)
