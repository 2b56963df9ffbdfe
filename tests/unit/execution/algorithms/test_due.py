"""What is due when: never more than the parent, the same twice, and what was missed is caught up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.due import due, finished, started, superseded
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentEventKind, ParentState, apply
from quant_dagster.execution.algorithms.progress import ChildProgress, Progress, Slice
from quant_dagster.execution.algorithms.schedules import schedule
from quant_dagster.execution.algorithms.volume_curve import CurveSource, VolumeCurve
from quant_dagster.settings import AlgorithmSettings
from tests.unit.execution.algorithms.parents_at_work import CLOSE, OPEN, Venue, minutes, view, working

SCHEDULED = [algorithm for algorithm in Algorithm if algorithm.is_scheduled]


def twap(quantity: int = 400, slices: int = 4) -> Venue:
    """100 shares every ten minutes."""
    return Venue(working(Algorithm.TWAP, quantity, slices=slices, interval=(0, 10 * slices)))


# -- schedules --------------------------------------------------------------------------------------------------------


def test_each_entry_of_the_schedule_is_sliced_once() -> None:
    venue = twap()
    for minute in range(45):
        one = venue.ask(minutes(minute), view())
        if one is not None:
            venue.fill(one.number)
    assert [(one.number, one.at, one.quantity) for one in venue.slices] == [
        (n + 1, minutes(10 * n), 100) for n in range(4)
    ]


def test_asking_again_before_the_order_is_made_names_the_same_slice() -> None:
    venue = twap()
    first = due(venue.parent, venue.progress, minutes(3), view())
    assert first == due(venue.parent, venue.progress, minutes(9.9), view()) == Slice(1, OPEN, Decimal(100))
    assert venue.ask(minutes(3), view()) == first
    assert due(venue.parent, venue.progress, minutes(9.9), view()) is None


def test_what_a_slice_did_not_get_is_in_the_next_one() -> None:
    venue = twap()
    venue.ask(OPEN, view())
    venue.fill(1, Decimal(30))
    venue.cancel(1)
    assert venue.ask(minutes(5), view()) is None
    assert venue.ask(minutes(10), view()) == Slice(2, minutes(10), Decimal(170))


def test_a_slice_that_is_still_open_counts_as_placed() -> None:
    venue = twap()
    venue.ask(OPEN, view())
    venue.fill(1, Decimal(30))
    one = due(venue.parent, venue.progress, minutes(10), view())
    assert one == Slice(2, minutes(10), Decimal(100))
    assert superseded(venue.parent, venue.progress, minutes(9), view()) == ()
    assert superseded(venue.parent, venue.progress, minutes(10), view()) == (1,)


def test_the_last_slice_waits_for_the_others_and_takes_what_is_left() -> None:
    venue = twap()
    for minute in (0, 10, 20):
        due_now = due(venue.parent, venue.progress, minutes(minute), view())
        assert due_now is not None
        venue.children[due_now.number] = ChildProgress(
            due_now.number, due_now.quantity, Decimal(0), True, minutes(minute)
        )
    assert due(venue.parent, venue.progress, minutes(30), view()) is None
    assert superseded(venue.parent, venue.progress, minutes(30), view()) == (1, 2, 3)
    for number in (1, 2, 3):
        venue.fill(number, Decimal(40))
        venue.cancel(number)
    assert due(venue.parent, venue.progress, minutes(31), view()) == Slice(4, minutes(30), Decimal(280))


def test_what_the_last_slice_did_not_get_is_sliced_again_before_the_end() -> None:
    venue = twap(slices=1, quantity=100)
    venue.ask(OPEN, view())
    venue.fill(1, Decimal(60))
    venue.cancel(1)
    assert venue.ask(minutes(6), view()) == Slice(2, minutes(6), Decimal(40))
    venue.cancel(2)
    # Nothing of it was filled: it waits a little.
    assert venue.ask(minutes(6) + timedelta(seconds=4), view()) is None
    assert venue.ask(minutes(6) + timedelta(seconds=5), view()) is not None


def test_after_an_outage_one_slice_has_all_that_was_missed() -> None:
    venue = twap()
    assert venue.ask(minutes(25), view()) == Slice(3, minutes(20), Decimal(300))


def test_a_pause_stops_slicing_and_resuming_catches_up() -> None:
    venue = twap()
    venue.ask(OPEN, view())
    venue.fill(1)
    venue.pause()
    assert venue.ask(minutes(15), view()) is None
    venue.resume()
    assert venue.ask(minutes(25), view()) == Slice(3, minutes(20), Decimal(200))


def test_nothing_is_due_before_the_schedule_has_anything() -> None:
    curve = VolumeCurve((0.0, 0.5, 0.5), CurveSource.SYMBOL, 3)
    parent = working(Algorithm.VWAP, 100, slices=3, curve=curve)
    assert due(parent, Progress(), minutes(129), view()) is None
    assert due(parent, Progress(), minutes(130), view()) == Slice(1, minutes(130), Decimal(50))


def test_a_pause_within_the_last_slice_loses_nothing() -> None:
    venue = twap()
    venue.ask(minutes(30), view())
    venue.pause()
    venue.cancel(4)
    assert venue.ask(minutes(32), view()) is None
    venue.resume()
    assert venue.ask(minutes(35), view()) == Slice(5, minutes(35), Decimal(400))


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_nothing_is_due_before_the_start_from_the_end_on_or_when_not_working(algorithm: Algorithm) -> None:
    parent = working(algorithm, 1000, interval=(10, 100))
    market = view(volume=10**6)
    assert due(parent, Progress(), minutes(10), market) is not None
    assert due(parent, Progress(), minutes(9.99), market) is None
    assert due(parent, Progress(), minutes(100), market) is None
    for state in ParentState:
        if state is not ParentState.WORKING:
            assert due(replace(parent, state=state), Progress(), minutes(10), market) is None


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_nothing_is_due_of_an_order_that_is_filled_or_filled_over(algorithm: Algorithm) -> None:
    """A late fill of a cancelled slice can make more than was ordered; then nothing more is sliced."""
    parent = working(algorithm, 100, interval=(0, 100))
    late = ChildProgress(1, Decimal(100), Decimal(100), False, OPEN)
    for progress in (Progress((late,)), Progress((late, replace(late, number=2, filled=Decimal(30))))):
        assert due(parent, progress, minutes(99), view(volume=10**9)) is None


# -- POV --------------------------------------------------------------------------------------------------------------


def test_pov_takes_its_share_of_the_volume_in_steps_that_are_worth_it() -> None:
    venue = Venue(working(Algorithm.POV, 1000, participation=0.1, least_slice_value=2000, price=100))
    assert venue.ask(minutes(1), view(volume=199)) is None
    assert venue.ask(minutes(2), view(volume=209)) == Slice(1, minutes(2), Decimal(20))
    assert venue.ask(minutes(3), view(volume=390)) is None
    assert venue.ask(minutes(4), view(volume=1000)) == Slice(2, minutes(4), Decimal(80))
    venue.fill(1)
    venue.cancel(2)
    assert venue.ask(minutes(5), view(volume=1000)) == Slice(3, minutes(5), Decimal(80))


def test_pov_takes_the_last_piece_however_small_once_the_volume_allows_it() -> None:
    venue = Venue(working(Algorithm.POV, 105, participation=0.1, least_slice_value=10_000, price=100, lot=10))
    assert venue.ask(minutes(1), view(volume=1040)) == Slice(1, minutes(1), Decimal(100))
    assert venue.ask(minutes(2), view(volume=1049)) is None
    assert venue.ask(minutes(3), view(volume=1050)) == Slice(2, minutes(3), Decimal(5))


def test_pov_values_a_step_at_the_newest_price() -> None:
    parent = working(Algorithm.POV, 1000, participation=0.1, least_slice_value=2000, price=100)
    assert due(parent, Progress(), minutes(1), view(volume=200, price=50)) is None
    assert due(parent, Progress(), minutes(1), view(volume=400, price=50)) == Slice(1, minutes(1), Decimal(40))


def test_pov_does_nothing_while_the_volume_is_unknown() -> None:
    assert due(working(Algorithm.POV, 1000), Progress(), minutes(60), view()) is None


def test_pov_goes_on_beside_a_slice_that_waits_for_its_fill() -> None:
    venue = Venue(working(Algorithm.POV, 1000, participation=0.1))
    venue.ask(minutes(1), view(volume=200))
    assert venue.ask(minutes(1) + timedelta(seconds=1), view(volume=300)) is not None


def test_a_volume_that_was_corrected_downward_is_no_reason_to_trade() -> None:
    venue = Venue(working(Algorithm.POV, 1000, participation=0.1))
    venue.ask(minutes(1), view(volume=2000))
    venue.fill(1)
    assert venue.ask(minutes(2), view(volume=500)) is None


# -- iceberg ----------------------------------------------------------------------------------------------------------


def test_an_iceberg_shows_its_next_slice_when_the_last_one_is_filled() -> None:
    venue = Venue(working(Algorithm.ICEBERG, 1000, display=0.4, lot=50))
    assert venue.ask(minutes(1), view()) == Slice(1, minutes(1), Decimal(400))
    venue.fill(1, Decimal(399))
    assert venue.ask(minutes(2), view()) is None
    venue.fill(1)
    assert venue.ask(minutes(3), view()) == Slice(2, minutes(3), Decimal(400))
    venue.fill(2)
    assert venue.ask(minutes(4), view()) == Slice(3, minutes(4), Decimal(200))
    venue.fill(3)
    assert venue.ask(minutes(5), view()) is None


def test_an_iceberg_shows_at_least_what_a_slice_must_be_worth() -> None:
    parent = working(Algorithm.ICEBERG, 1000, display=0.01, least_slice_value=5000, price=100)
    assert due(parent, Progress(), OPEN, view()) == Slice(1, OPEN, Decimal(50))


def test_a_venue_that_refuses_is_asked_ever_more_slowly() -> None:
    venue = Venue(working(Algorithm.ICEBERG, 1000))
    asked = []
    for second in range(1800):
        now = OPEN + timedelta(seconds=second)
        if (one := venue.ask(now, view())) is not None:
            asked.append(second)
            venue.cancel(one.number)
    assert asked == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515]


# -- start and end ----------------------------------------------------------------------------------------------------


def test_an_order_starts_in_the_open_market_for_its_minutes_or_until_the_close() -> None:
    parent = replace(
        working(Algorithm.TWAP, minutes=60), state=ParentState.APPROVED, starts_at=None, ends_at=None, events=1
    )
    assert started(parent, view(price=99), minutes(-1)) is None and started(parent, view(), CLOSE) is None
    for begin, end in ((0.0, 60.0), (370.0, 390.0)):
        event = started(parent, view(price=99), minutes(begin))
        assert event is not None
        running = apply(parent, event)
        assert (running.state, running.starts_at, running.ends_at) == (
            ParentState.WORKING, minutes(begin), minutes(end),
        )  # fmt: skip
        assert running.arrival_price == 99
        assert started(running, view(price=99), minutes(begin)) is None


def test_an_order_is_over_when_it_is_filled_or_its_time_is_and_nothing_is_open() -> None:
    venue = twap(slices=1, quantity=100)
    venue.ask(OPEN, view())
    venue.fill(1, Decimal(60))
    assert finished(venue.parent, venue.progress, minutes(9)) is None
    assert finished(venue.parent, venue.progress, minutes(10)) is None  # the slice is open
    assert superseded(venue.parent, venue.progress, minutes(10), view()) == (1,)
    whole, ended = (
        finished(venue.parent, Progress((child,)), minutes(minute))
        for child, minute in (
            (replace(venue.children[1], filled=Decimal(100), is_open=False), 5),
            (replace(venue.children[1], is_open=False), 10),
        )
    )
    assert whole is not None and whole.kind is ParentEventKind.COMPLETED
    assert ended is not None and ended.kind is ParentEventKind.ENDED
    assert ended.payload == {"filled": "60", "quantity": "100"}
    assert finished(replace(venue.parent, state=ParentState.CANCELLED), Progress(), minutes(10)) is None


def test_all_open_slices_of_a_cancelled_order_are_to_be_cancelled() -> None:
    venue = Venue(working(Algorithm.POV, 1000, participation=0.1))
    venue.ask(minutes(1), view(volume=200))
    venue.ask(minutes(2), view(volume=400))
    assert superseded(venue.parent, venue.progress, minutes(3), view()) == ()
    gone = replace(venue.parent, state=ParentState.CANCELLED)
    assert superseded(gone, venue.progress, minutes(3), view()) == (1, 2)


# -- whatever happens -------------------------------------------------------------------------------------------------

HAPPENINGS = ("nothing", "fill", "fill_some", "cancel", "pause", "resume", "crash", "outage")


@given(
    algorithm=st.sampled_from(list(Algorithm)),
    lots=st.integers(1, 500), odd=st.sampled_from([0, 3]), lot=st.sampled_from([1, 10]),
    least=st.sampled_from([0, 3000]), slices=st.integers(1, 8),
    steps=st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 400)), min_size=40, max_size=40),
)  # fmt: skip
def test_whatever_happens_no_more_than_the_parent_is_sliced_and_nothing_twice(
    algorithm, lots, odd, lot, least, slices, steps
) -> None:
    """Forty minutes of anything, then twenty in which the venue fills all it is given."""
    if lot == 1:
        odd = 0
    quantity = Decimal(lots * lot + odd)
    parent = working(
        algorithm, quantity, lot=lot, slices=slices, least_slice_value=least, participation=0.25, display=0.3,
        interval=(0, 60), risk_aversion=1e-6,
    )  # fmt: skip
    venue, volume = Venue(parent), Decimal(0)
    for minute in range(60):
        happening, amount = steps[minute] if minute < 40 else ("fill", 400)
        volume += amount
        now, market = minutes(minute), view(volume=volume)
        if minute >= 40:
            venue.resume()
        elif happening == "outage":
            continue
        elif happening == "pause":
            venue.pause()
        elif happening == "resume":
            venue.resume()
        elif happening == "crash":  # it asked, and died before anything was recorded
            assert due(venue.parent, venue.progress, now, market) == due(venue.parent, venue.progress, now, market)
            continue
        before = venue.progress.claimed
        one = venue.ask(now, market)
        if one is not None:
            before = venue.progress.claimed - one.quantity
            assert venue.parent.state is ParentState.WORKING
            assert one.quantity % lot == 0 or before + one.quantity == quantity
            if algorithm is Algorithm.POV:
                assert venue.progress.claimed <= Decimal("0.25") * volume
        assert venue.progress.claimed <= quantity
        for number in venue.open_numbers():
            if happening == "fill":
                venue.fill(number)
            elif happening == "fill_some":
                venue.fill(number, Decimal(lot) * (amount % 7))
            elif happening == "cancel":
                venue.cancel(number)
        assert venue.progress.claimed <= quantity
    assert all(sooner.number < later.number for sooner, later in pairwise(venue.slices))
    if algorithm.is_scheduled and schedule(parent, OPEN, CLOSE)[-1].at <= minutes(53):
        assert venue.progress.filled == quantity
        ending = finished(venue.parent, venue.progress, minutes(59))
        assert ending is not None and ending.kind is ParentEventKind.COMPLETED


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_parameters_read_back_are_the_same(algorithm: Algorithm) -> None:
    content = working(algorithm, 100).parameters
    assert Parameters.of(algorithm, content).as_json() == content


@pytest.mark.parametrize(
    ("algorithm", "missing"),
    [
        (Algorithm.TWAP, "lot"),
        (Algorithm.POV, "participation"),
        (Algorithm.ICEBERG, "display"),
        (Algorithm.VWAP, "curve"),
        (Algorithm.ALMGREN_CHRISS, "impact"),
    ],
)
def test_parameters_that_lack_something_slice_nothing(algorithm: Algorithm, missing: str) -> None:
    parent = working(algorithm, 100)
    content = {name: value for name, value in parent.parameters.items() if name != missing}
    with pytest.raises(OrderError, match=missing):
        due(replace(parent, parameters=content), Progress(), OPEN, view(volume=1000))


def test_a_lot_that_is_nothing_and_a_curve_or_cost_that_is_absent_are_refused() -> None:
    settings = AlgorithmSettings()
    with pytest.raises(OrderError, match="must be positive"):
        Parameters.chosen(Algorithm.TWAP, settings, lot=Decimal(0))
    with pytest.raises(OrderError, match="volume curve"):
        Parameters.chosen(Algorithm.VWAP, settings, lot=Decimal(1))
    with pytest.raises(OrderError, match="cost of trading"):
        Parameters.chosen(Algorithm.ALMGREN_CHRISS, settings, lot=Decimal(1))
    broken = working(Algorithm.TWAP).parameters | {"lot": "0"}  # type: ignore[operator]
    with pytest.raises(OrderError, match="not usable"):
        Parameters.of(Algorithm.TWAP, broken)
