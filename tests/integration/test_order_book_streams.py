"""Two recorded streams of Binance rebuilt, and held against the venue's own best quotes in them."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest

from quant_dagster.market_data.order_book.binance import Received, read_recording
from quant_dagster.market_data.order_book.changes import BookChange
from quant_dagster.market_data.order_book.rebuild import Rebuilt, rebuild
from quant_dagster.market_data.order_book.sync import SyncedBook, SyncState
from quant_dagster.market_data.vendors.protocol import BookSnapshot
from tests.support.market_data import shared_data

FUTURES, SPOT = "lob_binance_usdm_btcusdt_20240808.gz", "lob_binance_spot_btcusdt_20240809.gz"


@cache
def messages(name: str) -> tuple[Received, ...]:
    return tuple(read_recording(shared_data(name)))


@cache
def rebuilt(name: str) -> Rebuilt:
    return rebuild(messages(name), name)


def test_futures_book_from_snapshot_equals_every_quote_of_the_venue() -> None:
    done = rebuilt(FUTURES)
    assert done.from_snapshot
    assert (done.gaps, done.crossed) == (0, 0)
    assert done.kept == 6  # changes that came while the snapshot was asked for
    found = done.agreement
    assert found.compared == done.applied == done.changes - done.kept == 6545
    assert found.equal == found.certain == 6545  # price and size of both sides
    assert found.same_id == found.same_id_equal == 629
    assert found.quotes_compared > 5_000


def test_spot_book_from_changes_alone_equals_every_quote_where_its_top_is_certain() -> None:
    done = rebuilt(SPOT)
    assert not done.from_snapshot
    assert (done.gaps, done.crossed) == (0, 0)
    found = done.agreement
    assert found.compared == 3043
    assert found.certain == found.certain_equal == 3036
    assert found.same_id == found.same_id_equal == 507
    # Certain without the venue's quotes: from the first change on.
    assert bool(done.top["certain"][0])


def test_the_spot_book_differs_only_where_a_level_older_than_the_recording_was_hidden() -> None:
    done = rebuilt(SPOT)
    differing = done.disagreements
    assert differing.height == done.agreement.price_differs == 2
    assert not differing["certain"].any()
    # In both the venue has a better bid, at a price no change of the recording had spoken of.
    assert (differing["quoted_bid"] > differing["bid"]).all()
    assert (differing["quoted_ask"] == differing["ask"]).all()
    for update, hidden in differing.select("update_id", "quoted_bid").iter_rows():
        before = [one.message for one in messages(SPOT) if isinstance(one.message, BookChange)]
        spoken_of = {price for change in before if change.last <= update for price, _ in change.bids}
        assert hidden not in spoken_of


@pytest.mark.parametrize("name", [FUTURES, SPOT])
def test_a_change_missing_in_the_recording_is_found_and_no_book_is_shown_after_it(name: str) -> None:
    changes = [position for position, one in enumerate(messages(name)) if isinstance(one.message, BookChange)]
    lost = changes[len(changes) // 2]
    done = rebuild([one for position, one in enumerate(messages(name)) if position != lost], name)
    assert done.gaps == 1
    assert "are missing" in done.gap_reasons[0]
    missing = messages(name)[lost].message
    assert isinstance(missing, BookChange)
    before, after = (
        done.top.filter(pl.col("update_id") < missing.first),
        done.top.filter(pl.col("update_id") > missing.last),
    )
    assert before.equals(rebuilt(name).top.filter(pl.col("update_id") < missing.first))
    if done.from_snapshot:
        assert after.is_empty()
        assert done.book.state is SyncState.OUT_OF_SYNC
    else:  # starts again from changes, and what it then is certain of is right
        certain = after.filter("certain")
        assert certain.height > 100
        whole = rebuilt(name).top.filter("certain")
        prices = ["update_id", "bid", "bid_size", "ask", "ask_size"]
        assert (
            certain.join(whole, on="update_id", how="semi")
            .select(prices)
            .equals(whole.join(certain, on="update_id", how="semi").select(prices))
        )


def test_a_snapshot_after_a_gap_brings_back_the_very_book() -> None:
    changes = [one.message for one in messages(FUTURES) if isinstance(one.message, BookChange)]
    snapshot = next(one.message for one in messages(FUTURES) if isinstance(one.message, BookSnapshot))
    whole, broken = SyncedBook("binance", "BTCUSDT"), SyncedBook("binance", "BTCUSDT")
    for book in (whole, broken):
        book.apply_snapshot(snapshot)
    taken: BookSnapshot | None = None
    for position, change in enumerate(changes):
        whole.apply(change)
        if position == 3000 and whole.last_update is not None:
            bids, asks = whole.book.levels()
            at = (tuple(bids.items()), tuple(asks.items()))
            taken = BookSnapshot("binance", "BTCUSDT", change.at, whole.last_update, *at)
        if position != 2990:
            broken.apply(change)
        if position == 3010 and taken is not None:  # ten changes later than it was taken
            assert broken.state is SyncState.OUT_OF_SYNC
            assert broken.apply_snapshot(taken) is SyncState.IN_SYNC
    assert broken.gaps == 1
    assert broken.book.levels() == whole.book.levels()
    assert broken.book.depth(20) == whole.book.depth(20)
