"""Frames and fields."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.gateway.wire import Fields, Frames, frame, message, plain

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(st.lists(st.lists(TEXT, min_size=1, max_size=8), min_size=1, max_size=6), st.integers(1, 17))
def test_what_is_framed_is_read_back_however_it_is_cut(messages: list[list[str]], size: int) -> None:
    stream = b"API\0" + frame(b"v157..176") + b"".join(message(*fields) for fields in messages)
    frames = Frames()
    read = [fields for at in range(0, len(stream), size) for fields in frames.feed(stream[at : at + size])]
    assert read == [["v157..176"], *messages]


def test_a_client_of_another_protocol_is_refused() -> None:
    with pytest.raises(MalformedDataError, match="GET"):
        list(Frames().feed(b"GET / HTTP/1.1\r\n"))


def test_a_frame_of_absurd_length_is_refused() -> None:
    with pytest.raises(MalformedDataError, match="frame"):
        list(Frames().feed(b"API\0" + b"\xff\xff\xff\xff"))


@given(st.decimals(min_value="-1e9", max_value="1e9", places=6))
def test_a_number_keeps_its_value_on_the_wire(value: Decimal) -> None:
    text = plain(value)
    assert "E" not in text
    assert Fields([text]).decimal(0) == value


@pytest.mark.parametrize("text", ["", "1.7976931348623157E308", "1.7976931348623157e+308"])
def test_an_unset_number_is_none(text: str) -> None:
    assert Fields([text]).decimal(0) is None


def test_a_field_that_is_missing_or_no_number_is_named() -> None:
    fields = Fields(["3", "x"])
    for wrong, named in ((lambda: fields[5], "5"), (lambda: fields.integer(1), "x"), (lambda: fields.decimal(1), "x"),
                         (lambda: fields[1:9], "9")):  # fmt: skip
        with pytest.raises(MalformedDataError, match=named):
            wrong()


def test_what_is_not_there_is_an_empty_field_and_a_truth_value_a_digit() -> None:
    assert message(None, True, False, Decimal("1.50")) == frame(b"\x001\x000\x001.5\x00")
