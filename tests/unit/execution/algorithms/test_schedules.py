"""Schedules: whole lots, the exact quantity, the right instants, small slices put together."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.almgren_chriss import trajectory
from quant_dagster.execution.algorithms.parents import Algorithm
from quant_dagster.execution.algorithms.schedules import allotted, least_shares, schedule, whole_lots
from quant_dagster.execution.algorithms.volume_curve import CurveSource, VolumeCurve
from tests.unit.execution.algorithms.parents_at_work import CLOSE, COSTS, OPEN, minutes, working

SCHEDULED = [algorithm for algorithm in Algorithm if algorithm.is_scheduled]


def test_twap_trades_the_same_in_every_part() -> None:
    found = schedule(working(Algorithm.TWAP, 1300, slices=13), OPEN, CLOSE)
    assert [one.quantity for one in found] == [100] * 13
    assert [one.at for one in found] == [minutes(30 * n) for n in range(13)]
    assert [one.number for one in found] == list(range(1, 14))


def test_twap_spreads_what_does_not_divide_over_the_interval() -> None:
    found = schedule(working(Algorithm.TWAP, 10, slices=4), OPEN, CLOSE)
    assert [one.quantity for one in found] == [3, 2, 3, 2]


def test_vwap_follows_its_curve_also_over_a_part_of_the_session() -> None:
    curve = VolumeCurve((0.4, 0.1, 0.2, 0.3), CurveSource.SYMBOL, 20)
    whole = schedule(working(Algorithm.VWAP, 1000, slices=4, curve=curve), OPEN, CLOSE)
    assert [one.quantity for one in whole] == [400, 100, 200, 300]
    later = working(Algorithm.VWAP, 600, slices=3, curve=curve, interval=(97.5, 390))
    assert [one.quantity for one in schedule(later, OPEN, CLOSE)] == [100, 200, 300]
    # Within a bin volume is even: half of the second bin and half of the third.
    across = working(Algorithm.VWAP, 300, slices=2, curve=curve, interval=(146.25, 243.75))
    assert [one.quantity for one in schedule(across, OPEN, CLOSE)] == [100, 200]


def test_almgren_chriss_follows_its_trajectory_over_the_sessions_share_of_the_day() -> None:
    parent = working(Algorithm.ALMGREN_CHRISS, 100_000, slices=13, risk_aversion=1e-5, interval=(0, 195))
    held = trajectory(100_000.0, 0.5, 13, COSTS, 1e-5)
    found = [float(one.quantity) for one in schedule(parent, OPEN, CLOSE)]
    assert found == pytest.approx([before - after for before, after in pairwise(held)], abs=1)
    assert found[0] > 1.5 * found[-1]


def test_almgren_chriss_without_aversion_is_twap() -> None:
    optimal = schedule(working(Algorithm.ALMGREN_CHRISS, 997, slices=13, risk_aversion=0), OPEN, CLOSE)
    assert optimal == schedule(working(Algorithm.TWAP, 997, slices=13), OPEN, CLOSE)


def test_slices_of_too_little_value_are_put_together() -> None:
    parent = working(Algorithm.TWAP, 130, slices=13, least_slice_value=2500, price=100)
    found = schedule(parent, OPEN, CLOSE)
    # 10 shares are 1,000: three of them make a slice, and the odd one at the end joins the last.
    assert [one.quantity for one in found] == [30, 30, 30, 40]
    assert [one.at for one in found] == [minutes(30 * n) for n in (0, 3, 6, 9)]


def test_a_slice_that_is_worth_just_enough_stands_alone() -> None:
    found = schedule(working(Algorithm.TWAP, 130, slices=13, least_slice_value=1000, price=100), OPEN, CLOSE)
    assert [one.quantity for one in found] == [10] * 13


def test_an_order_of_little_value_is_one_slice_at_once() -> None:
    (only,) = schedule(working(Algorithm.TWAP, 7, slices=13, least_slice_value=1000), OPEN, CLOSE)
    assert (only.at, only.quantity) == (OPEN, 7)


def test_parts_without_volume_have_no_slice() -> None:
    curve = VolumeCurve((0.5, 0.0, 0.5), CurveSource.SYMBOL, 3)
    found = schedule(working(Algorithm.VWAP, 100, slices=3, curve=curve), OPEN, CLOSE)
    assert [(one.number, one.at, one.quantity) for one in found] == [(1, minutes(0), 50), (2, minutes(260), 50)]


def test_vwap_in_hours_that_never_traded_is_even() -> None:
    curve = VolumeCurve((0.5, 0.0, 0.5), CurveSource.SYMBOL, 3)
    found = schedule(working(Algorithm.VWAP, 100, slices=2, curve=curve, interval=(140, 250)), OPEN, CLOSE)
    assert [one.quantity for one in found] == [50, 50]


@given(
    algorithm=st.sampled_from(SCHEDULED),
    lots=st.integers(1, 100_000), odd=st.sampled_from(["0", "0.3"]), lot=st.sampled_from(["1", "100", "0.001"]),
    slices=st.integers(1, 40), least=st.sampled_from([0, 500, 20_000]), aversion=st.sampled_from([0, 1e-6, 1e-3]),
    weights=st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any),
)  # fmt: skip
def test_any_schedule_is_the_whole_quantity_in_whole_lots(
    algorithm, lots, odd, lot, slices, least, aversion, weights
) -> None:
    size = Decimal(lot)
    quantity = size * lots + size * Decimal(odd)
    curve = VolumeCurve(tuple(weight / sum(weights) for weight in weights), CurveSource.SYMBOL, 5)
    parent = working(
        algorithm, quantity, lot=lot, slices=slices, curve=curve, least_slice_value=least, risk_aversion=aversion
    )
    found = schedule(parent, OPEN, CLOSE)
    assert sum(one.quantity for one in found) == quantity
    assert all(one.quantity > 0 for one in found)
    assert all(one.quantity % size == 0 for one in found[:-1])
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert all(before.at < after.at for before, after in pairwise(found)) and len(found) <= slices
    assert all(OPEN <= one.at < CLOSE for one in found)
    if len(found) > 1:
        assert all(one.quantity * parent.decision_price >= least for one in found)
    assert schedule(parent, OPEN, CLOSE) == found


@given(
    lots=st.integers(1, 10**9),
    weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda found: sum(found) > 1e-3),
)
def test_allotted_parts_stay_within_half_a_lot_of_the_exact_running_total(lots: int, weights: list[float]) -> None:
    parts = allotted(Decimal(lots), weights, Decimal(1))
    assert sum(parts) == lots and min(parts) >= 0
    done, total = Decimal(0), Decimal(0)
    whole = sum(Decimal(weight) for weight in weights)
    for part, weight in zip(parts, weights, strict=True):
        done += part
        total += Decimal(weight)
        assert abs(done - lots * total / whole) <= Decimal("0.5") + Decimal(lots) * Decimal("1e-14")


def test_weights_that_say_nothing_are_refused() -> None:
    with pytest.raises(OrderError, match="cannot be divided"):
        allotted(Decimal(5), [0.0, 0.0], Decimal(1))


def test_least_shares_are_whole_lots_worth_at_least_the_value() -> None:
    assert least_shares(Decimal(1000), Decimal(30), Decimal(1)) == 34
    assert least_shares(Decimal(1000), Decimal(30), Decimal(100)) == 100
    assert least_shares(Decimal(0), Decimal(30), Decimal(1)) == 1
    assert whole_lots(Decimal("0.0059"), Decimal("0.002")) == Decimal("0.004")


def test_only_a_started_order_with_a_schedule_has_one() -> None:
    waiting = replace(working(Algorithm.TWAP), starts_at=None)
    for parent in (waiting, working(Algorithm.POV)):
        with pytest.raises(OrderError, match="has no schedule"):
            schedule(parent, OPEN, CLOSE)
