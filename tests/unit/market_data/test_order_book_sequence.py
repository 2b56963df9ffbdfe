"""Following a stream of changes: whatever happens to the stream, the book is right or it is not there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import DataUnavailableError, MalformedDataError
from quant_dagster.market_data.order_book.changes import BookChange
from quant_dagster.market_data.order_book.sync import Outcome, SyncedBook, SyncState
from quant_dagster.market_data.vendors.protocol import BookSnapshot

AT = datetime(2024, 8, 8, tzinfo=UTC)
Sides = tuple[dict[float, float], dict[float, float]]


@dataclass(frozen=True)
class Venue:
    """A venue's book after each of its updates, kept in plain dictionaries, and the changes it sent."""

    states: dict[int, Sides]
    changes: list[BookChange]

    def snapshot(self, sequence: int) -> BookSnapshot:
        # As the venue answers: numbered by its last update at or before that number.
        bids, asks = self.states[max(known for known in self.states if known <= sequence)]
        return BookSnapshot("venue", "X", AT, sequence, tuple(sorted(bids.items(), reverse=True)),
                            tuple(sorted(asks.items())))  # fmt: skip


steps = st.lists(
    st.tuples(
        st.integers(95, 105),
        st.lists(st.tuples(st.booleans(), st.integers(1, 8), st.integers(0, 3)), max_size=6),
    ),
    min_size=4,
    max_size=40,
)


@st.composite
def venues(draw: st.DrawFn, futures: bool) -> Venue:
    """Random updates to a book that is never crossed, cut into changes at random places.

    Numbers are shared with other symbols on the futures venue, so they have holes there.
    """
    bids, asks = {90.0: 1.0}, {110.0: 1.0}
    apart = draw(st.integers(1, 5)) if futures else 1
    states: dict[int, Sides] = {100: (dict(bids), dict(asks))}
    updates: list[tuple[int, dict[float, float], dict[float, float]]] = []
    for position, (mid, levels) in enumerate(draw(steps), start=1):
        changed: tuple[dict[float, float], dict[float, float]] = ({}, {})
        changed[0].update({price: 0.0 for price in bids if price >= mid})
        changed[1].update({price: 0.0 for price in asks if price <= mid})
        for is_bid, offset, size in levels:
            changed[0 if is_bid else 1][float(mid - offset if is_bid else mid + offset)] = float(size)
        for book, side in zip((bids, asks), changed, strict=True):
            for price, size in side.items():
                if size:
                    book[price] = size
                else:
                    book.pop(price, None)
        number = 100 + position * apart
        states[number] = (dict(bids), dict(asks))
        updates.append((number, *changed))
    cuts = draw(st.lists(st.booleans(), min_size=len(updates), max_size=len(updates)))
    changes: list[BookChange] = []
    held: list[tuple[int, dict[float, float], dict[float, float]]] = []
    previous = 100
    for update, cut in zip(updates, cuts, strict=True):
        held.append(update)
        if cut or update is updates[-1]:
            both: Sides = ({}, {})
            for _, bid_side, ask_side in held:
                both[0].update(bid_side)
                both[1].update(ask_side)
            first, last = (held[0][0] if futures else previous + 1), held[-1][0]
            changes.append(
                BookChange(
                    first, last, previous if futures else None, AT, tuple(both[0].items()), tuple(both[1].items())
                )
            )
            previous, held = last, []
    return Venue(states, changes)


any_venue = st.booleans().flatmap(lambda futures: venues(futures=futures))


def assert_right(book: SyncedBook, venue: Venue) -> None:
    """In sync and equal to the venue's own book, or not there."""
    if book.state is not SyncState.IN_SYNC:
        with pytest.raises(DataUnavailableError, match="take a new snapshot"):
            _ = book.book
        return
    assert book.last_update is not None
    assert book.book.levels() == venue.states[max(n for n in venue.states if n <= book.last_update)]
    assert not book.book.crossed
    bids, asks = book.book.levels()
    assert book.book.best_bid == ((max(bids), bids[max(bids)]) if bids else None)
    assert book.book.best_ask == ((min(asks), asks[min(asks)]) if asks else None)


def started(venue: Venue, asked: list[str] | None = None) -> SyncedBook:
    book = SyncedBook("venue", "X", None if asked is None else asked.append)
    assert book.apply_snapshot(venue.snapshot(100)) is SyncState.IN_SYNC
    return book


@given(any_venue)
def test_changes_in_sequence_give_the_venues_book_however_they_are_cut(venue: Venue) -> None:
    book = started(venue)
    for change in venue.changes:
        assert book.apply(change) is Outcome.APPLIED
        assert_right(book, venue)
    assert book.book.levels() == venue.states[max(venue.states)]


@given(any_venue, st.data())
def test_dropped_repeated_and_reordered_changes_are_detected_or_harmless(venue: Venue, data: st.DataObject) -> None:
    positions = st.integers(0, len(venue.changes) - 1)
    disturbed = [venue.changes[n] for n in data.draw(st.lists(positions, max_size=60))]
    asked: list[str] = []
    book = started(venue, asked)
    for change in disturbed:
        book.apply(change)
        assert_right(book, venue)
    assert len(asked) == book.gaps == (book.state is SyncState.OUT_OF_SYNC)


@given(any_venue, st.data())
def test_a_dropped_change_is_always_noticed_at_the_next_one(venue: Venue, data: st.DataObject) -> None:
    if len(venue.changes) < 2:
        return
    lost = data.draw(st.integers(0, len(venue.changes) - 2))
    book = started(venue)
    for change in venue.changes[:lost]:
        book.apply(change)
    assert book.apply(venue.changes[lost + 1]) is Outcome.GAP
    assert book.state is SyncState.OUT_OF_SYNC


@given(any_venue, st.data())
def test_a_snapshot_after_a_gap_brings_the_book_back_to_the_venues(venue: Venue, data: st.DataObject) -> None:
    count = len(venue.changes)
    if count < 2:
        return
    lost = data.draw(st.integers(0, count - 2))
    arrives = data.draw(st.integers(lost + 1, count - 1))
    asked: list[str] = []
    book = started(venue, asked)
    for change in venue.changes[: arrives + 1]:
        if change is not venue.changes[lost]:
            book.apply(change)
    assert asked and book.state is SyncState.OUT_OF_SYNC
    # Taken at any time since the gap was noticed, between the changes or inside one: it may be old, or brand new.
    sequence = data.draw(st.integers(venue.changes[lost].last, venue.changes[arrives].last))
    assert book.apply_snapshot(venue.snapshot(sequence)) is SyncState.IN_SYNC
    for change in venue.changes[arrives + 1 :]:
        assert book.apply(change) in (Outcome.APPLIED, Outcome.OLD)
    assert book.book.levels() == venue.states[max(venue.states)]


@given(any_venue, st.data())
def test_changes_that_came_before_the_snapshot_are_replayed_onto_it(venue: Venue, data: st.DataObject) -> None:
    book = SyncedBook("venue", "X")
    for change in venue.changes:
        assert book.apply(change) is Outcome.KEPT
    sequence = data.draw(st.sampled_from(sorted(venue.states)))
    assert book.apply_snapshot(venue.snapshot(sequence)) is SyncState.IN_SYNC
    assert book.book.levels() == venue.states[max(venue.states)]


def change(first: int, last: int, previous: int | None = None, **sides: tuple[tuple[float, float], ...]) -> BookChange:
    return BookChange(first, last, previous, AT, sides.get("bids", ()), sides.get("asks", ()))


def snapshot(sequence: int | None) -> BookSnapshot:
    return BookSnapshot("venue", "X", AT, sequence, ((99.0, 1.0),), ((101.0, 2.0),))


def test_a_snapshot_older_than_the_oldest_change_kept_is_refused_and_another_one_asked_for() -> None:
    asked: list[str] = []
    book = SyncedBook("venue", "X", asked.append)
    book.apply(change(50, 60))
    assert book.apply_snapshot(snapshot(40)) is SyncState.OUT_OF_SYNC
    assert asked == ["changes between 40 and 50 are missing"]
    assert book.apply_snapshot(snapshot(49)) is SyncState.IN_SYNC
    assert book.last_update == 60


def test_a_snapshot_between_two_futures_changes_is_taken_though_neither_contains_it() -> None:
    book = SyncedBook("venue", "X")
    book.apply(change(10, 20, 5, bids=((99.0, 7.0),)))
    book.apply(change(30, 40, 20, bids=((98.0, 3.0),)))
    assert book.apply_snapshot(snapshot(25)) is SyncState.IN_SYNC
    assert book.book.levels()[0] == {99.0: 1.0, 98.0: 3.0}


def test_futures_numbers_that_are_not_joined_are_a_gap_though_they_overlap() -> None:
    book = SyncedBook("venue", "X")
    book.apply_snapshot(snapshot(10))
    assert book.apply(change(8, 20, 7)) is Outcome.APPLIED
    assert book.apply(change(15, 30, 14)) is Outcome.GAP


@pytest.mark.parametrize("previous", [None, 10])
def test_a_change_that_comes_twice_is_old_and_costs_no_snapshot(previous: int | None) -> None:
    asked: list[str] = []
    book = SyncedBook("venue", "X", asked.append)
    book.apply_snapshot(snapshot(10))
    once = change(11, 20, previous, bids=((98.0, 5.0),))
    assert [book.apply(once), book.apply(once)] == [Outcome.APPLIED, Outcome.OLD]
    assert not asked


def test_a_late_snapshot_does_not_set_a_good_book_back() -> None:
    book = SyncedBook("venue", "X")
    book.apply_snapshot(snapshot(10))
    book.apply(change(11, 20, bids=((99.5, 4.0),)))
    book.apply_snapshot(snapshot(15))
    assert book.last_update == 20
    assert book.book.best_bid == (99.5, 4.0)


def test_a_change_that_crosses_the_book_loses_it() -> None:
    asked: list[str] = []
    book = SyncedBook("venue", "X", asked.append)
    book.apply_snapshot(snapshot(10))
    assert book.apply(change(11, 12, bids=((101.0, 1.0),))) is Outcome.GAP
    assert "crossed" in asked[0]
    with pytest.raises(DataUnavailableError, match="crossed"):
        _ = book.book


@pytest.mark.parametrize("level", [(99.0, -1.0), (99.0, float("nan")), (0.0, 1.0), (-5.0, 1.0)])
def test_an_impossible_level_loses_the_book_and_says_so(level: tuple[float, float]) -> None:
    book = SyncedBook("venue", "X")
    book.apply_snapshot(snapshot(10))
    with pytest.raises(MalformedDataError, match="ask for a new snapshot"):
        book.apply(change(11, 12, bids=((98.0, 1.0), level)))
    assert book.state is SyncState.OUT_OF_SYNC


def test_a_snapshot_without_a_number_or_crossed_is_refused() -> None:
    book = SyncedBook("venue", "X")
    with pytest.raises(MalformedDataError, match="no sequence number"):
        book.apply_snapshot(snapshot(None))
    with pytest.raises(MalformedDataError, match="crossed"):
        book.apply_snapshot(BookSnapshot("venue", "X", AT, 1, ((101.0, 1.0),), ((101.0, 1.0),)))
    assert book.state is SyncState.WAITING
