"""Whole lots under the same limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction.limits import breaches
from quant_dagster.risk.construction.lots import whole_lots
from tests.unit.risk.construction.portfolios import limits

NAMES = ("A", "B", "C")
LOTS = np.array([0.01, 0.02, 0.05])


def rounded(ideal, current=(0.0, 0.0, 0.0), **changes) -> list[float]:
    rules = limits(3, **{"budget": None, "long_only": False, "gross": 2.0} | changes)
    return whole_lots(np.array(ideal), np.array(current), LOTS, rules, NAMES).tolist()


def test_lots_are_rounded_towards_nothing() -> None:
    assert rounded([0.199, -0.059, 0.049]) == [19.0, -2.0, 0.0]


def test_a_whole_lot_the_solver_just_missed_is_a_whole_lot() -> None:
    assert rounded([0.19999995, -0.03999995, 0.0]) == [20.0, -2.0, 0.0]
    assert rounded([0.1999998, 0.0, 0.0]) == [19.0, 0.0, 0.0]


def test_a_reduced_position_gets_its_lot_back_where_the_turnover_asks_for_it() -> None:
    # 0.30 to 0.255: 25 lots are a turnover of 0.05, 26 are 0.04.
    assert rounded([0.255, 0.0, 0.0], (0.30, 0.0, 0.0), turnover=0.05) == [25.0, 0.0, 0.0]
    assert rounded([0.255, 0.0, 0.0], (0.30, 0.0, 0.0), turnover=0.045) == [26.0, 0.0, 0.0]
    assert rounded([-0.255, 0.0, 0.0], (-0.30, 0.0, 0.0), turnover=0.045) == [-26.0, 0.0, 0.0]


def test_the_largest_saving_comes_first() -> None:
    # Both sell half a lot too much, 0.005 and 0.025; giving the second back is enough.
    assert rounded([0.255, 0.0, 0.225], (0.30, 0.0, 0.30), turnover=0.125) == [25.0, 0.0, 5.0]


def test_a_large_saving_comes_before_a_large_trade() -> None:
    # A is sold by 0.20 and half a lot of 0.01 too much, C by 0.05 and half a lot of 0.05: C's lot is enough.
    assert rounded([0.105, 0.0, 0.275], (0.30, 0.0, 0.30), turnover=0.225) == [10.0, 0.0, 6.0]


def test_a_sale_that_was_not_rounded_comes_after_one_that_was() -> None:
    # C's five lots are just what was wanted, though its lot would save more.
    assert rounded([0.255, 0.0, 0.25], (0.30, 0.0, 0.30), turnover=0.095) == [26.0, 0.0, 5.0]


def test_a_purchase_that_rounding_made_smaller_comes_after_a_sale_it_made_larger() -> None:
    assert rounded([0.255, 0.11, 0.0], (0.30, 0.0, 0.0), turnover=0.145) == [26.0, 5.0, 0.0]


def test_reduced_positions_come_before_grown_ones() -> None:
    # The purchase of B could save more, but A is what rounding sold.
    assert rounded([0.255, 0.10, 0.0], (0.30, 0.0, 0.0), turnover=0.145) == [26.0, 5.0, 0.0]


def test_a_lot_is_taken_off_a_purchase_where_the_sector_keeps_the_sold_one() -> None:
    held = (0.30, 0.0, 0.0)
    rules = {"turnover": 0.145, "caps": np.array([0.255, 1.0, 1.0])}
    assert rounded([0.255, 0.10, 0.0], held, **rules) == [25.0, 4.0, 0.0]


def test_what_saves_nothing_is_not_done() -> None:
    with pytest.raises(
        RiskError,
        match=r"^portfolio construction is infeasible in whole lots: turnover is 4.0000%, its limit",
    ):
        rounded([0.0, 0.0, 0.0], (0.0, 0.0, 0.04), turnover=0.03, caps=np.array([1.0, 1.0, 0.04]))


def test_an_odd_lot_that_is_held_may_stop_the_portfolio() -> None:
    with pytest.raises(RiskError, match=r"construction is infeasible in whole lots: turnover is 0\.5000%"):
        rounded([0.195, 0.0, 0.0], (0.195, 0.0, 0.0), turnover=0.0)


@settings(max_examples=100)
@given(st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3), st.lists(st.integers(-20, 20), min_size=3, max_size=3))
def test_rounding_from_whole_lots_needs_no_more_turnover_than_the_ideal(ideal, held) -> None:
    weights, current = np.array(ideal), np.array(held) * LOTS
    rules = limits(3, budget=None, long_only=False, gross=3.0, turnover=float(np.abs(weights - current).sum()))
    lots = whole_lots(weights, current, LOTS, rules, NAMES)
    assert (lots == np.round(lots)).all()
    assert breaches(lots * LOTS, current, rules, NAMES) == []
    assert (np.abs(lots * LOTS - weights) < LOTS + 1e-6).all()


@settings(max_examples=100)
@given(st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3), st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3))
def test_rounding_breaks_no_other_limit_the_ideal_obeys(ideal, held) -> None:
    weights, current = np.array(ideal), np.array(held)
    rules = limits(
        3, budget=None, long_only=False, caps=np.abs(weights), gross=float(np.abs(weights).sum()),
        sectors=("x", "x", "y"), sector_caps={"x": float(np.abs(weights[:2]).sum())},
        turnover=float(np.abs(weights - current).sum() + LOTS.sum()),
    )  # fmt: skip
    lots = whole_lots(weights, current, LOTS, rules, NAMES)
    assert (lots == np.round(lots)).all()
    assert breaches(lots * LOTS, current, rules, NAMES) == []
