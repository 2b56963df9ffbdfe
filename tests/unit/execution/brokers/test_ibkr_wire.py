"""Reading the broker's messages. The examples have the field order of the protocol at server version 176."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.brokers.ibkr import wire


def execution(time: str = "20230103 10:00:00 US/Eastern", *, quantity: str = "40", side: str = "BOT") -> list[str]:
    return [
        "11", "-1", "42", "265598", "AAPL", "STK", "", "0", "", "", "ISLAND", "USD", "AAPL", "NMS",
        "0000e0d5.6576fd38.01.01", time, "DU1", "ISLAND", side, quantity, "169.10", "1200000001", "1", "0", "40",
        "169.10", "q1", "", "", "", "2",
    ]  # fmt: skip


def test_an_execution_is_read_exactly_and_in_utc() -> None:
    read = wire.read_execution(execution())
    assert (read.key, read.correction) == ("0000e0d5.6576fd38.01", 0)
    assert (read.price, str(read.price)) == (Decimal("169.10"), "169.10")
    assert read.quantity == 40 and read.side is Side.BUY and read.reference == "q1"
    assert read.executed_at == datetime(2023, 1, 3, 15, tzinfo=UTC)  # New York is five hours behind in winter
    assert (read.perm_id, read.order_number, read.client_id, read.last_liquidity) == (1200000001, 42, 1, "2")


def test_an_execution_of_server_version_178_has_a_field_more() -> None:
    assert wire.read_execution([*execution(), "0"]) == wire.read_execution(execution())


def test_an_execution_whose_time_zone_nobody_knows_is_kept_without_its_time() -> None:
    read = wire.read_execution(execution("20230103 10:00:00 Middle/Earth"))
    assert read.executed_at is None
    assert read.quantity == 40


@pytest.mark.parametrize("text", ["20230103 10:00:00", "20230103", "", "yesterday", "20230103 25:00:00 US/Eastern"])
def test_an_instant_is_never_guessed(text: str) -> None:
    assert wire.read_time(text) is None


def test_times_are_read_in_every_form_that_names_an_instant() -> None:
    expected = datetime(2023, 7, 3, 14, 30, tzinfo=UTC)
    assert wire.read_time("20230703 10:30:00 US/Eastern") == expected
    assert wire.read_time("20230703  16:30:00 Europe/Amsterdam") == expected
    assert wire.read_time("20230703-14:30:00") == expected


@pytest.mark.parametrize(
    "fields", [execution(quantity="many"), execution(side="?"), execution()[:20], execution(quantity="NaN")]
)
def test_what_is_no_execution_is_refused_with_what_came(fields: list[str]) -> None:
    with pytest.raises(MalformedDataError, match="11"):
        wire.read_execution(fields)


@pytest.mark.parametrize(
    ("execution_id", "expected"),
    [
        ("0000e0d5.6576fd38.01.01", ("0000e0d5.6576fd38.01", 0)),
        ("0000e0d5.6576fd38.01.02", ("0000e0d5.6576fd38.01", 1)),
        ("0000e0d5.6576fd38.01.11", ("0000e0d5.6576fd38.01", 10)),
        ("unusual", ("unusual", 0)),
    ],
)
def test_the_last_segment_of_an_execution_id_is_the_number_of_its_correction(
    execution_id: str, expected: tuple[str, int]
) -> None:
    assert wire.split_execution_id(execution_id) == expected


def test_an_execution_of_an_order_by_hand_has_no_order_number() -> None:
    fields = execution()
    fields[2] = str(2**31 - 1)
    assert wire.read_execution(fields).order_number == 0


def test_a_commission_that_is_not_made_out_yet_is_none() -> None:
    assert wire.read_commission(["59", "1", "e", "1.7976931348623157E308", "USD", "", "", ""]).commission is None
    assert wire.read_commission(["59", "1", "e", "", "USD", "", "", ""]).commission is None
    assert wire.read_commission(["59", "1", "e", "1.05", "USD", "", "", ""]).commission == Decimal("1.05")


def test_an_order_status_is_read() -> None:
    fields = ["3", "42", "Submitted", "40", "60", "169.1", "1200000001", "0", "169.1", "1", "", "0"]
    read = wire.read_status(fields)
    assert (read.order_number, read.status, read.filled, read.remaining) == (42, "Submitted", 40, 60)
    with pytest.raises(MalformedDataError, match="order status"):
        wire.read_status(fields[:5])


@pytest.mark.parametrize("unset", [None, "", 1.7976931348623157e308, float("inf"), float("nan")])
def test_an_amount_that_was_not_set_is_none(unset: object) -> None:
    assert wire.decimal_of(unset) is None


@pytest.mark.parametrize(("value", "read"), [(169.1, "169.1"), (100.0, "100"), (1e6, "1000000"), (-0.005, "-0.005")])
def test_an_amount_is_the_decimal_that_was_written(value: float, read: str) -> None:
    assert str(wire.decimal_of(value)) == read
