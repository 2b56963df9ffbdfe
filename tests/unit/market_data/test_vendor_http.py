"""What a status, a header and a body mean, the same for every vendor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import (
    MalformedAnswerError,
    RateLimitedError,
    UnauthorisedError,
    UnreachableError,
    VendorError,
)
from quant_dagster.market_data.vendors.http import excerpt, parse_json, refusal, retry_after

NOW = datetime(2024, 3, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {}, RateLimitedError),
        (418, {"Retry-After": "120"}, RateLimitedError),
        (503, {"Retry-After": "1"}, RateLimitedError),
        (503, {}, UnreachableError),
        (500, {"Retry-After": "1"}, UnreachableError),
        (504, {}, UnreachableError),
        (530, {}, UnreachableError),
        (401, {}, UnauthorisedError),
        (403, {}, UnauthorisedError),
        (451, {}, UnauthorisedError),
    ],
)
def test_a_status_is_refused_by_what_it_means(
    status: int, headers: dict[str, str], expected: type[VendorError]
) -> None:
    assert type(refusal("v", "/x", status, headers, "", NOW)) is expected


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 422])
def test_other_statuses_are_left_to_the_vendors_own_reading(status: int) -> None:
    assert refusal("v", "/x", status, {}, "body", NOW) is None


@given(seconds=st.integers(0, 10**6))
def test_retry_after_reads_seconds_and_dates_alike(seconds: int) -> None:
    moment = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after({"retry-after": str(seconds)}, NOW) == seconds
    assert retry_after({"RETRY-AFTER": moment}, NOW) == seconds
    assert retry_after({"X-Ratelimit-Reset": str(int(NOW.timestamp()) + seconds)}, NOW) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1.5", "99 bottles"])
def test_a_wait_that_cannot_be_read_is_no_wait_rather_than_a_guess(text: str) -> None:
    assert retry_after({"Retry-After": text}, NOW) is None


def test_a_date_that_has_passed_means_no_wait_at_all() -> None:
    assert retry_after({"Retry-After": "Sun, 10 Mar 2024 11:00:00 GMT"}, NOW) == 0.0
    assert retry_after({"X-Ratelimit-Reset": "1"}, NOW) == 0.0


@pytest.mark.parametrize("text", ["", "  \n", '{"a": 1', "<html>", '{"a": 1}]'])
def test_a_body_that_is_not_whole_json_is_malformed(text: str) -> None:
    with pytest.raises(MalformedAnswerError, match="vendor 'v': /x"):
        parse_json("v", "/x", text)


@given(
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=6, max_size=20).filter(str.strip),
    before=st.sampled_from(["", "apikey=", "key: "]),
)
def test_a_secret_is_struck_out_of_whatever_is_quoted(key: str, before: str) -> None:
    from urllib.parse import quote, quote_plus

    for spelling in (key, quote(key, safe=""), quote_plus(key)):
        assert excerpt(f"{before}{spelling}.", (key,)) == f"{before}***."


def test_an_excerpt_is_short_and_on_one_line() -> None:
    said = excerpt("a\n b\t" + "c" * 500)
    assert said.startswith("a b ccc")
    assert len(said) < 170
    assert "\n" not in said
