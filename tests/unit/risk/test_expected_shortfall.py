"""Expected shortfall against skfolio's, and the compiled one against it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.gate.tail import tail_mean

PNL = arrays(np.float64, 120, elements=st.floats(-1e4, 1e4, allow_nan=False))


@given(PNL, st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_agrees_with_skfolio(pnl: np.ndarray, confidence: float) -> None:
    from skfolio.measures import cvar

    assert expected_shortfall(pnl, confidence) == pytest.approx(float(cvar(pnl, beta=confidence)), abs=1e-6)


def test_is_the_mean_of_the_worst_losses() -> None:
    pnl = np.arange(-100.0, 0.0)
    assert expected_shortfall(pnl, 0.95) == pytest.approx(98.0)  # mean of 100, 99, 98, 97, 96


@given(PNL, PNL, st.floats(-50, 50), st.floats(1, 60))
def test_the_compiled_mean_of_the_tail_is_the_same_wherever_it_looks_first(held, unit, value, tail) -> None:
    worst, scratch = np.empty(int(np.ceil(tail - 1e-12))), np.empty(120)
    rows = np.random.default_rng(3).permutation(120)[: len(worst)]
    for _ in range(2):  # the second time the tail is looked at first
        found = tail_mean(held, unit, value, tail, scratch, worst, rows)
        assert found == pytest.approx(expected_shortfall(held + value * unit, 1 - tail / 120), rel=1e-9, abs=1e-6)
        assert len(set(rows)) == len(rows)
        np.testing.assert_array_equal(scratch[rows], worst)
        np.testing.assert_array_equal(np.sort(scratch)[: len(worst)], worst)


def test_a_tail_of_less_than_one_scenario_is_the_worst_one() -> None:
    assert expected_shortfall(np.array([3.0, -7.0, -2.0, 1.0]), 0.95) == 7.0


def test_no_scenario_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        expected_shortfall(np.array([]), 0.95)
