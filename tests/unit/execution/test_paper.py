"""The paper broker fills only against real bars of later sessions, and survives being asked twice."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import ReportedStatus, SessionBar
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.costs import commission, fill_price
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.settings import ExecutionSettings

COSTS = ExecutionSettings()
MONDAY, TUESDAY, WEDNESDAY = date(2013, 2, 25), date(2013, 2, 26), date(2013, 2, 27)


def real_bar(session: date, symbol: str = "IBM") -> SessionBar:
    """A packaged bar of IBM."""
    from quant_dagster.market_data.vendors.embedded import EmbeddedVendor

    rows = EmbeddedVendor("embedded_bokeh").daily_bars([symbol], session, session).rows
    row = rows.filter(pl.col("session") == session).row(0, named=True)
    return SessionBar(symbol, session, row["open"], row["high"], row["low"], row["close"], row["volume"],
                      "embedded_bokeh", str(row.get("row_hash", "")), 0)  # fmt: skip


def order(
    quantity: int = 100, side: Side = Side.BUY, session: date = MONDAY, number: int = 1, tif: str = "day"
) -> Order:
    return Order(f"o{number}", "d", "s", session, "IBM", side, Decimal(quantity), "market", tif, Decimal(200),
                 datetime(2013, 2, 25, tzinfo=UTC), OrderStatus.SUBMITTING)  # fmt: skip


@pytest.fixture
def broker(tmp_path: Path) -> PaperBroker:
    return PaperBroker(tmp_path / "paper.db", COSTS, volume_required=True)


def test_an_order_never_meets_the_bar_it_was_decided_on(broker: PaperBroker) -> None:
    broker.submit(order())
    broker.trade_session(MONDAY, {"IBM": real_bar(MONDAY)})
    assert broker.executions(["o1"]) == []
    assert broker.find("o1").status is ReportedStatus.WORKING


def test_a_market_order_fills_at_the_next_open_and_a_little_worse(broker: PaperBroker) -> None:
    broker.submit(order())
    bar = real_bar(TUESDAY)
    broker.trade_session(TUESDAY, {"IBM": bar})
    (fill,) = broker.executions(["o1"])
    assert fill.session == TUESDAY
    assert fill.reference_price == Decimal(repr(bar.open))
    assert bar.low <= float(fill.price) <= bar.high
    assert float(fill.price) > bar.open
    assert fill.provenance["bar"]["vendor"] == "embedded_bokeh"
    assert broker.find("o1").status is ReportedStatus.FILLED


def test_data_with_closes_only_fills_at_the_close_and_says_what_was_not_evaluated(tmp_path: Path) -> None:
    bar = replace(real_bar(TUESDAY), open=None, high=None, low=None, volume=None)
    lenient = PaperBroker(tmp_path / "a.db", COSTS, volume_required=False)
    lenient.submit(order())
    lenient.trade_session(TUESDAY, {"IBM": bar})
    (fill,) = lenient.executions(["o1"])
    assert fill.provenance["priced_at"] == "close"
    assert fill.provenance["participation"] == "not_evaluated"
    assert float(fill.reference_price) == bar.close
    strict = PaperBroker(tmp_path / "b.db", COSTS, volume_required=True)
    strict.submit(order())
    strict.trade_session(TUESDAY, {"IBM": bar})
    assert strict.executions(["o1"]) == []
    assert strict.find("o1").reason == "day_order_expired:volume_unknown"


def test_a_large_order_fills_in_part_and_the_rest_expires(broker: PaperBroker) -> None:
    bar = real_bar(TUESDAY)
    cap = int(bar.volume * COSTS.participation_cap)
    broker.submit(order(cap + 500))
    broker.trade_session(TUESDAY, {"IBM": bar})
    assert [fill.quantity for fill in broker.executions(["o1"])] == [cap]
    report = broker.find("o1")
    assert (report.status, report.filled_quantity) == (ReportedStatus.EXPIRED, cap)
    assert report.reason == "day_order_expired:participation_cap"


def test_an_order_good_till_cancelled_goes_on_the_next_day(broker: PaperBroker) -> None:
    first, second = real_bar(TUESDAY), real_bar(WEDNESDAY)
    cap = int(first.volume * COSTS.participation_cap)
    broker.submit(order(cap + 500, tif="gtc"))
    broker.trade_session(TUESDAY, {"IBM": first})
    broker.trade_session(WEDNESDAY, {"IBM": second})
    assert [int(fill.quantity) for fill in broker.executions(["o1"])] == [cap, 500]


def test_a_session_without_a_bar_fills_nothing(broker: PaperBroker) -> None:
    broker.submit(order())
    broker.trade_session(TUESDAY, {})
    assert broker.executions(["o1"]) == []
    assert broker.find("o1").reason == "day_order_expired:no_bar"


def test_repeating_anything_changes_nothing(broker: PaperBroker) -> None:
    bars = {"IBM": real_bar(TUESDAY)}
    for _ in range(3):
        broker.submit(order())
        broker.trade_session(TUESDAY, bars)
    again = PaperBroker(broker.path, COSTS, volume_required=True)
    again.trade_session(TUESDAY, bars)
    assert len(again.executions(["o1"])) == 1


def test_an_order_for_part_of_a_share_is_rejected(broker: PaperBroker) -> None:
    report = broker.submit(replace(order(), quantity=Decimal("0.5")))
    assert report.status is ReportedStatus.REJECTED
    assert broker.find("o1") is None


def test_it_has_never_heard_of_an_order_it_was_not_sent(broker: PaperBroker) -> None:
    assert broker.find("nobody") is None


@given(st.sampled_from(list(Side)), st.floats(0.01, 5000), st.floats(0, 1), st.floats(0, 0.2))
def test_a_fill_is_never_better_than_the_bar_and_never_outside_it(side, reference, participation, width) -> None:
    low, high = reference * (1 - width), reference * (1 + width)
    price = float(fill_price(side, reference, participation, COSTS, low=low, high=high))
    tick = 1e-4
    assert low - tick <= price <= high + tick
    assert (price - reference) * side.sign >= -1e-12 or price == pytest.approx(tick)


def test_commission_has_a_minimum_and_a_cap() -> None:
    assert commission(Decimal(1000), Decimal(50), COSTS) == 5
    assert commission(Decimal(10), Decimal(50), COSTS) == 1
    assert commission(Decimal(10), Decimal(5), COSTS) == Decimal("0.5")


def closing(number: int = 2, side: Side = Side.SELL, quantity: int = 100, stop: str | None = None) -> Order:
    """An order that may only reduce, decided on Tuesday."""
    return replace(
        order(quantity, side, TUESDAY, number, "day" if stop is None else "gtc"), reduce_only=1,
        stop_price=None if stop is None else Decimal(stop),
    )  # fmt: skip


def hold(broker: PaperBroker, quantity: int = 100, side: Side = Side.BUY) -> None:
    """A position opened at Tuesday's open."""
    broker.submit(order(quantity, side))
    broker.trade_session(TUESDAY, {"IBM": real_bar(TUESDAY)})


@pytest.mark.parametrize(("side", "opposite"), [(Side.BUY, Side.SELL), (Side.SELL, Side.BUY)])
@pytest.mark.parametrize(
    ("asked", "filled", "status"), [(60, 60, "filled"), (100, 100, "filled"), (130, 100, "canceled")]
)
def test_what_may_only_reduce_never_goes_through_zero(broker, side, opposite, asked, filled, status) -> None:
    hold(broker, side=side)
    broker.submit(closing(side=opposite, quantity=asked))
    broker.trade_session(WEDNESDAY, {"IBM": real_bar(WEDNESDAY)})
    report = broker.find("o2")
    assert (report.filled_quantity, report.status.value) == (filled, status)


def test_what_may_only_reduce_is_cancelled_where_nothing_is_held_or_it_would_enlarge(broker: PaperBroker) -> None:
    broker.submit(closing())
    broker.trade_session(WEDNESDAY, {"IBM": real_bar(WEDNESDAY)})
    assert (broker.find("o2").status, broker.find("o2").reason) == (ReportedStatus.CANCELED, "reduce_only:no_position")
    hold(broker)
    broker.submit(closing(3, Side.BUY))
    broker.trade_session(WEDNESDAY, {"IBM": real_bar(WEDNESDAY)})
    assert broker.find("o3").status is ReportedStatus.CANCELED


@pytest.mark.parametrize(
    ("side", "stop", "reference"),
    [
        (Side.SELL, "low+0.10", "stop"), (Side.SELL, "low", "stop"), (Side.SELL, "low-0.01", None),
        (Side.SELL, "open", "open"), (Side.SELL, "open+1", "open"),
        (Side.BUY, "high-0.10", "stop"), (Side.BUY, "high", "stop"), (Side.BUY, "high+0.01", None),
        (Side.BUY, "open-1", "open"),
    ],
)  # fmt: skip
def test_a_stop_fills_at_its_price_or_at_the_open_that_jumped_over_it(broker, side, stop, reference) -> None:
    bar = real_bar(WEDNESDAY)
    name, _, offset = stop.replace("-", "+-").partition("+")
    price = Decimal(repr(getattr(bar, name))) + Decimal(offset or 0)
    hold(broker, side=Side.BUY if side is Side.SELL else Side.SELL)
    broker.submit(closing(side=side, stop=str(price)))
    broker.trade_session(WEDNESDAY, {"IBM": bar})
    fills = broker.executions(["o2"])
    if reference is None:
        assert fills == []
        assert (broker.find("o2").status, broker.find("o2").reason) == (ReportedStatus.WORKING, "stop_not_reached")
        return
    (fill,) = fills
    assert fill.provenance["priced_at"] == reference
    assert fill.reference_price == (Decimal(repr(bar.open)) if reference == "open" else price)
    assert bar.low <= float(fill.price) <= bar.high


def test_with_closes_only_a_stop_is_held_against_the_close(tmp_path: Path) -> None:
    broker = PaperBroker(tmp_path / "a.db", COSTS, volume_required=False)
    hold(broker)
    bar = replace(real_bar(WEDNESDAY), open=None, high=None, low=None, volume=None)
    broker.submit(closing(2, quantity=40, stop=str(Decimal(repr(bar.close)) - 1)))
    broker.submit(closing(3, quantity=40, stop=str(Decimal(repr(bar.close)))))
    broker.trade_session(WEDNESDAY, {"IBM": bar})
    assert broker.find("o2").status is ReportedStatus.WORKING
    assert broker.executions(["o3"])[0].provenance["priced_at"] == "close"


def test_an_exit_at_the_open_leaves_nothing_for_the_stop(broker: PaperBroker) -> None:
    hold(broker)
    bar = real_bar(WEDNESDAY)
    broker.submit(closing(1 + 1, stop=str(Decimal(repr(bar.low)) + Decimal("0.01"))))
    broker.submit(order(100, Side.SELL, TUESDAY, 3))
    broker.trade_session(WEDNESDAY, {"IBM": bar})
    assert broker.find("o3").status is ReportedStatus.FILLED
    assert broker.find("o2").status is ReportedStatus.CANCELED
    assert broker.executions(["o2"]) == []


def test_a_cancelled_order_never_fills(broker: PaperBroker) -> None:
    broker.submit(order())
    assert broker.cancel("o1", MONDAY).status is ReportedStatus.CANCELED
    broker.trade_session(TUESDAY, {"IBM": real_bar(TUESDAY)})
    assert broker.executions(["o1"]) == []
    assert broker.cancel("never", MONDAY) is None
    hold(broker := PaperBroker(broker.path.with_name("other.db"), COSTS, volume_required=True))
    assert broker.cancel("o1", TUESDAY).status is ReportedStatus.FILLED


def test_a_book_of_an_earlier_version_knows_its_positions(broker: PaperBroker) -> None:
    hold(broker)
    with sqlite3.connect(broker.path) as book:
        book.execute("DROP TABLE positions")
        book.execute("ALTER TABLE orders DROP COLUMN reduce_only")
        book.execute("ALTER TABLE orders DROP COLUMN stop_price")
        book.execute("ALTER TABLE orders DROP COLUMN limit_price")
    broker.submit(closing(quantity=130))
    broker.trade_session(WEDNESDAY, {"IBM": real_bar(WEDNESDAY)})
    assert broker.find("o2").filled_quantity == 100


def test_a_book_of_a_version_without_splits_and_limits_gets_them_and_keeps_what_it_has(broker: PaperBroker) -> None:
    hold(broker)
    with sqlite3.connect(broker.path) as book:
        book.execute("DROP TABLE splits")
        book.execute("ALTER TABLE orders DROP COLUMN limit_price")
    broker.split("IBM", lambda held: 2 * held, "split:1")
    broker.submit(replace(order(50, Side.SELL, TUESDAY, 2), order_type="limit", limit_price=Decimal(500)))
    assert [one.limit_price for one in broker.open_orders()] == [500]
    assert broker.account().positions == {"IBM": 200}


def test_a_split_changes_what_is_held_once(broker: PaperBroker) -> None:
    broker.split("IBM", lambda held: 2 * held, "before anything was held")
    hold(broker)
    for _ in range(2):
        broker.split("IBM", lambda held: 2 * held, "split:1")
    assert broker.account().positions == {"IBM": 200}


def test_a_file_that_is_no_book_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        PaperBroker(path, COSTS, volume_required=True).submit(order())
    assert path.read_bytes() == b"not a database" * 100


def test_a_session_is_met_once_by_an_order_that_goes_on(broker: PaperBroker) -> None:
    bar = real_bar(TUESDAY)
    cap = int(bar.volume * COSTS.participation_cap)
    broker.submit(order(cap + 500, tif="gtc"))
    for _ in range(3):
        broker.trade_session(TUESDAY, {"IBM": bar})
    assert [fill.quantity for fill in broker.executions(["o1"])] == [cap]
    assert broker.find("o1").status is ReportedStatus.WORKING


@pytest.mark.parametrize(
    ("side", "limit", "reference"),
    [
        (Side.BUY, "open+1", "open"), (Side.BUY, "open", "open"), (Side.BUY, "low", "limit"),
        (Side.BUY, "low-0.01", None),
        (Side.SELL, "open-1", "open"), (Side.SELL, "high", "limit"), (Side.SELL, "high+0.01", None),
    ],
)  # fmt: skip
def test_a_limit_fills_at_the_open_or_at_its_price_and_never_worse(broker, side, limit, reference) -> None:
    bar = real_bar(TUESDAY)
    name, _, offset = limit.replace("-", "+-").partition("+")
    price = Decimal(repr(getattr(bar, name))) + Decimal(offset or 0)
    broker.submit(replace(order(side=side), order_type="limit", limit_price=price))
    broker.trade_session(TUESDAY, {"IBM": bar})
    fills = broker.executions(["o1"])
    if reference is None:
        assert fills == [] and broker.find("o1").reason == "day_order_expired:limit_not_reached"
        return
    (fill,) = fills
    assert fill.reference_price == (Decimal(repr(bar.open)) if reference == "open" else price)
    assert fill.provenance["priced_at"] == reference
    assert side.sign * (fill.price - price) <= 0
