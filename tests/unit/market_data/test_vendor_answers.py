"""A vendor's numbers are read exactly or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import ConfigurationError, MalformedAnswerError
from quant_dagster.market_data.vendors.answers import action_rows, columns, day, field, instants, numbers, whole
from quant_dagster.market_data.vendors.registry import KNOWN_VENDORS, LIVE_VENDORS, build_vendor

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(values=st.lists(finite))
def test_numbers_survive_json_and_text_bit_for_bit(values: list[float]) -> None:
    through_json = json.loads(json.dumps(values))
    through_text = [repr(value) for value in values]
    for sent in (through_json, through_text):
        assert numbers("v", "close", sent).to_list() == values


@pytest.mark.parametrize(
    "value", [None, True, "n/a", "", "NaN", "inf", float("nan"), float("inf"), [1.0], {"raw": 1.0}, 10**400]
)
def test_what_is_no_finite_number_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="close"):
        numbers("v", "close", [1.0, value])


@pytest.mark.parametrize("values", [None, {}, "1.0", 1.0])
def test_what_is_no_list_is_malformed(values: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="no list"):
        numbers("v", "close", values)


def test_null_is_read_only_where_the_vendor_documents_it() -> None:
    assert numbers("v", "close", [1.0, None], nullable=True).to_list() == [1.0, None]


@given(value=st.integers(0, 2**80))
def test_whole_numbers_are_exact_beyond_what_a_float_holds(value: int) -> None:
    assert whole("v", "last", value) == value
    assert whole("v", "last", str(value)) == value


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "", "1e9", "-1", "1.0"])
def test_what_is_no_whole_number_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="whole number"):
        whole("v", "last", value)


@pytest.mark.parametrize("times", [[2, 1], [1, 1], [1, 2, 2]])
def test_times_that_do_not_ascend_are_malformed(times: list[int]) -> None:
    with pytest.raises(MalformedAnswerError, match="ascending"):
        instants("v", "t", times)


def test_columns_of_unequal_length_are_malformed() -> None:
    with pytest.raises(MalformedAnswerError, match="unequal length"):
        columns("v", "chart", {"a": pl.Series([1.0]), "b": pl.Series([1.0, 2.0])})


@pytest.mark.parametrize("value", ["2024-02-30", "10/03/2024", None, 20240310, ""])
def test_what_is_no_date_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="no date"):
        day("v", "date", value)


@pytest.mark.parametrize("container", [None, [], {}, {"a": None}, {"a": "text"}, {"a": True}])
def test_a_field_absent_or_of_another_type_is_malformed(container: Any) -> None:
    with pytest.raises(MalformedAnswerError):
        field("v", "answer", container, "a", int)


def test_actions_outside_the_range_are_not_told() -> None:
    found = [(date(2024, 1, 2), "dividend", 0.5), (date(2024, 1, 1), "split", 4.0), (date(2024, 1, 3), "split", 2.0)]
    rows = action_rows("A", date(2024, 1, 1), date(2024, 1, 2), found)
    assert rows.rows() == [
        ("A", date(2024, 1, 1), "split", 4.0, None),
        ("A", date(2024, 1, 2), "dividend", None, 0.5),
    ]


def test_naming_vendors_loads_no_heavy_library() -> None:
    code = (
        "import sys, quant_dagster.market_data.vendors.registry\n"
        "print([m for m in ('ccxt', 'yfinance', 'httpx', 'curl_cffi', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", LIVE_VENDORS)
def test_a_live_vendor_without_its_settings_is_a_configuration_error(name: str) -> None:
    assert name in KNOWN_VENDORS
    with pytest.raises(ConfigurationError, match=f"vendor '{name}' does not take options"):
        build_vendor(name)


def test_a_file_vendor_takes_a_name_of_its_own(tmp_path: Any) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("date,symbol,open,high,low,close,volume\n2024-01-02,A,1,2,1,2,10\n", encoding="utf-8")
    assert build_vendor("files", {"path": path, "name": "bloomberg_dump"}).name == "bloomberg_dump"
