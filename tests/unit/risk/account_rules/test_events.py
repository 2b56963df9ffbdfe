"""Events: what they refuse, and that the ledger gives back what was put in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.account_rules.events import (
    KINDS,
    Event,
    QuoteEvent,
    StopEvent,
    TickEvent,
    from_payload,
    in_order,
    kind_of,
    to_payload,
)
from quant_dagster.storage.types import canonical_json
from tests.unit.risk.account_rules.scenarios import D, at, fill, position, quote, stop, tick, word

ONE_OF_EACH: list[Event] = [
    fill(1.25, "ES", -3, 100.123456, pnl=-0.000001, position=0, entry=0),
    position(0, "ES", -3, 100.1, 99.9),
    quote(0, "ES", 100, bid=99.99),
    word(0, False),
    stop(0, "ES", None),
    tick(0),
]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=kind_of)
def test_an_event_survives_the_ledger(event: Event) -> None:
    import json

    payload = json.loads(canonical_json(to_payload(event)))
    back = from_payload(kind_of(event), payload)
    assert back == event and type(back) is type(event)
    assert back.at.isoformat() == event.at.isoformat()


def test_kinds_are_stored_under_their_names() -> None:
    assert [kind_of(event) for event in ONE_OF_EACH] == ["fill", "position", "quote", "account", "stop", "tick"]
    assert set(KINDS) == {kind_of(event) for event in ONE_OF_EACH}


def test_numbers_are_stored_as_text() -> None:
    payload = to_payload(QuoteEvent("q", at(0), "ES", D("0.1"), ask=D("1E+2")))
    assert payload == {
        "key": "q",
        "at": "2023-03-08T18:00:00Z",
        "symbol": "ES",
        "price": "0.1",
        "bid": None,
        "ask": "1E+2",
    }


@pytest.mark.parametrize("when", [datetime(2023, 3, 8), at(0).astimezone(timezone(timedelta(hours=1)))])
def test_a_time_that_is_not_utc_is_refused(when: datetime) -> None:
    with pytest.raises(RiskError, match=r"account event 't': its time 2023-03-08 .* is not in UTC"):
        TickEvent("t", when)


@pytest.mark.parametrize(("field", "value"), [
    ("price", "NaN"), ("price", "0"), ("price", "-1"), ("bid", "Infinity"), ("ask", "0"), ("bid", "-0.01"),
])  # fmt: skip
def test_a_price_is_positive_and_finite(field: str, value: str) -> None:
    numbers = {"price": D(1), field: Decimal(value)}
    with pytest.raises(RiskError, match=rf"account event 'q': {field} is {value}; it was not recorded"):
        QuoteEvent("q", at(0), "ES", **numbers)


def test_a_stop_has_a_positive_price_and_quantity_or_none() -> None:
    assert StopEvent("s", at(0), "ES", None, None).stop_price is None
    for price, quantity in ((D(0), D(1)), (D(1), D(0))):
        with pytest.raises(RiskError):
            StopEvent("s", at(0), "ES", price, quantity)


def test_positions_and_pnl_may_be_negative_but_not_unknown() -> None:
    assert fill(0, "ES", -1, 5, pnl=-2).position == -1
    for field in ("pnl", "position", "entry"):
        with pytest.raises(RiskError, match="NaN"):
            fill(0, "ES", 1, 5, **{field: "NaN"})
    with pytest.raises(RiskError, match="quantity is 0"):
        fill(0, "ES", 0, 5)


@pytest.mark.parametrize(("quantity", "after", "closes"), [
    (2, 2, False), (-2, -2, False), (2, 5, False), (-2, -5, False),
    (-2, 3, True), (-2, 0, True), (-2, -1, True), (2, -3, True), (2, 0, True), (2, 1, True),
])  # fmt: skip
def test_a_fill_closes_when_the_position_before_it_was_on_the_other_side(
    quantity: int, after: int, closes: bool
) -> None:
    event = fill(0, "ES", quantity, 5, position=after)
    assert event.side is (Side.BUY if quantity > 0 else Side.SELL)
    assert event.closes is closes


def test_order_is_time_then_key() -> None:
    events = [TickEvent("b", at(1)), TickEvent("a", at(1)), TickEvent("c", at(0))]
    assert [event.key for event in sorted(events, key=in_order)] == ["c", "a", "b"]


@pytest.mark.parametrize(("kind", "payload", "message"), [
    ("rumour", {}, "account event of unknown kind 'rumour' in the ledger: no order until it is understood"),
    ("tick", {"key": "t"}, "account event of kind 'tick' in the ledger cannot be read: 1 validation error"),
    ("quote", {"key": "q", "at": "2023-03-08T18:00:00Z", "symbol": "ES", "price": "much"}, "'quote' .* cannot be read"),
    ("tick", None, "cannot be read"),
])  # fmt: skip
def test_what_cannot_be_understood_is_an_error(kind: str, payload: object, message: str) -> None:
    with pytest.raises(RiskError, match=message):
        from_payload(kind, payload)
