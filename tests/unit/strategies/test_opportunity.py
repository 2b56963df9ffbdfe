"""A trade must beat cash, what it turns over, and what goes before it where both want the same capital."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.strategies.opportunity import Candidate, compare

ROOM = {"holding_sessions": 5, "cash_rate": 0.0, "gross_room": 1e6, "turnover_room": 1e6}


def one(symbol: str = "A", mean: float = 0.001, cost: float = 0.0006, **changes: object) -> Candidate:
    base = {"symbol": symbol, "priority": 0.5, "capital": 1000.0, "turnover": 1000.0, "expected_return": mean,
            "cost": cost, "kept_return": None}  # fmt: skip
    return Candidate(**{**base, **changes})


@pytest.mark.parametrize(
    ("mean", "cash_rate", "passes"),
    [(0.001, 0.0, True), (0.0001199, 0.0, False), (0.0001201, 0.0, True), (0.0003, 0.04, True), (0.0003, 0.05, False)],
)
def test_a_trade_must_earn_its_costs_and_more_than_cash(mean: float, cash_rate: float, passes: bool) -> None:
    """Five sessions of the mean against a round trip of 6 bp and a fifty-second of a year of cash."""
    found = compare([one(mean=mean)], **{**ROOM, "cash_rate": cash_rate})["A"]
    assert found.passes is passes
    assert found.net_return == pytest.approx(5 * mean - 0.0006)
    assert (found.alternative, found.alternative_return) == ("cash", pytest.approx(cash_rate * 5 / 252))


def test_turning_a_position_over_must_beat_keeping_it() -> None:
    assert compare([one(kept_return=-0.001)], **ROOM)["A"].passes
    found = compare([one(kept_return=0.002)], **ROOM)["A"]
    assert (found.passes, found.alternative) == (False, "keep")


@pytest.mark.parametrize("room", ["gross_room", "turnover_room"])
def test_what_is_left_nothing_must_promise_more_than_what_went_before_it(room: str) -> None:
    ranked = [one("A", 0.002, priority=0.9), one("B", 0.001, priority=0.8), one("C", 0.003, priority=0.7)]
    found = compare(ranked, **{**ROOM, room: 1000.0})
    assert [found[s].passes for s in "ABC"] == [True, False, True]
    assert (found["B"].alternative, found["B"].limited_by) == ("A", room.replace("_room", "_limit"))


def test_where_some_room_is_left_the_gate_scales_and_nobody_is_refused() -> None:
    found = compare([one("A", 0.002, priority=0.9), one("B", priority=0.8)], **{**ROOM, "gross_room": 1001.0})
    assert found["B"].passes and found["B"].limited_by is None


def test_a_refused_trade_takes_no_room() -> None:
    found = compare([one("A", 0.0, priority=0.9), one("B", priority=0.8)], **{**ROOM, "gross_room": 1.0})
    assert (found["A"].passes, found["B"].passes, found["B"].limited_by) == (False, True, None)


@given(
    st.lists(st.tuples(st.floats(-0.01, 0.01), st.floats(0, 1), st.floats(1, 1e5)), max_size=12),
    st.floats(0, 1e5), st.floats(0, 0.1),
)  # fmt: skip
def test_every_candidate_is_compared_once_and_none_passes_below_cash(
    drawn: list[tuple[float, float, float]], room: float, cash_rate: float
) -> None:
    given_ = [one(f"S{k}", mean, priority=rank, capital=size) for k, (mean, rank, size) in enumerate(drawn)]
    found = compare(given_, holding_sessions=5, cash_rate=cash_rate, gross_room=room, turnover_room=1e9)
    assert set(found) == {candidate.symbol for candidate in given_}
    assert (
        compare(reversed(given_), holding_sessions=5, cash_rate=cash_rate, gross_room=room, turnover_room=1e9) == found
    )
    for comparison in found.values():
        assert comparison.passes == (comparison.net_return > comparison.alternative_return)
        assert comparison.alternative_return >= cash_rate * 5 / 252
