"""Every live vendor, whatever it is asked for, gives every failure its own name, and none of them "there is none"."""

from __future__ import annotations

import logging
import math
import socket
import traceback
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from quant_dagster.errors import (
    DataUnavailableError,
    MalformedAnswerError,
    QuantError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
    UnreachableError,
    VendorError,
)
from tests.support.vendor_servers import KEY
from tests.support.vendor_servers.worlds import CRYPTO, EQUITY, LIVE, World, server_of, world_of

ALWAYS = math.inf
OPERATIONS = [
    *((name, operation) for name in EQUITY for operation in ("daily_bars", "minute_bars", "corporate_actions")),
    *((name, operation) for name in CRYPTO for operation in ("daily_bars", "minute_bars", "trades", "order_book")),
]
FAULTS: dict[str, type[QuantError]] = {
    "429": RateLimitedError,
    "429_date": RateLimitedError,
    "429_bare": RateLimitedError,
    "500": UnreachableError,
    "503": UnreachableError,
    "503_retry_after": RateLimitedError,
    "cut": UnreachableError,
    "short": UnreachableError,
    "truncated": MalformedAnswerError,
    "empty": MalformedAnswerError,
    "empty_object": MalformedAnswerError,
    "html": MalformedAnswerError,
    "unauthorised": UnauthorisedError,
}
# Alpha Vantage answers HTTP 200 and Kraken an error list: neither says how long to wait.
SILENT = ("alpha_vantage", "kraken")


def raised(world: World, operation: str, fault: str) -> QuantError:
    world.server.fault(fault, ALWAYS)
    with pytest.raises(QuantError) as caught:
        world.operation(operation)()
    world.server.clear()
    return caught.value


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_each_failure_has_its_own_type_and_names_the_vendor(
    worlds: dict[str, World], name: str, operation: str, fault: str
) -> None:
    error = raised(worlds[name], operation, fault)
    assert type(error) is FAULTS[fault], error
    assert f"vendor '{name}'" in str(error)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_vendor_that_never_answers_is_unreachable_after_the_timeout(name: str, operation: str) -> None:
    with server_of(name) as server:
        server.fault("hang", ALWAYS)
        world = world_of(name, server, timeout_seconds=0.2)
        with pytest.raises(UnreachableError):
            world.operation(operation)()


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_refused_connection_is_unreachable(name: str, operation: str) -> None:
    with server_of(name) as server:
        world = world_of(name, server)
        server.close()
        with pytest.raises(UnreachableError):
            world.operation(operation)()


@pytest.mark.parametrize("name", LIVE)
def test_the_wait_a_vendor_asks_for_is_handed_on(worlds: dict[str, World], name: str) -> None:
    said: dict[str, float | None] = {"429": 7.0, "429_date": 30.0, "429_bare": 45.0 if name == "finnhub" else None}
    if name in SILENT:
        said = dict.fromkeys(said)
    for fault, seconds in {**said, "503_retry_after": 7.0}.items():
        error = raised(worlds[name], "daily_bars", fault)
        assert isinstance(error, RateLimitedError)
        assert error.retry_after == seconds, fault


@pytest.mark.parametrize("fault", ["429", "500", "cut", "truncated"])
@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_vendor_does_not_try_again_by_itself(worlds: dict[str, World], name: str, operation: str, fault: str) -> None:
    raised(worlds[name], operation, fault)
    server = worlds[name].server
    asked = [request for request in server.requests if any(place in request.path for place in server.data_paths)]
    assert len(asked) == 1


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_after_a_failure_the_same_vendor_object_works_again(
    worlds: dict[str, World], name: str, operation: str
) -> None:
    for fault in ("429", "500", "cut", "truncated", "empty"):
        raised(worlds[name], operation, fault)
        assert worlds[name].operation(operation)() is not None


@pytest.mark.parametrize("fault", ["partial", "text_price"])
@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_fields_missing_or_no_numbers_make_an_answer_malformed(
    worlds: dict[str, World], name: str, operation: str, fault: str
) -> None:
    if fault == "text_price" and operation == "corporate_actions" and name != "yfinance":
        pytest.skip("its lists of events hold no price")
    assert type(raised(worlds[name], operation, fault)) is MalformedAnswerError


@pytest.mark.parametrize("name", [name for name in LIVE if name != "alpha_vantage"])
def test_documented_no_data_is_no_vendor_failure(worlds: dict[str, World], name: str) -> None:
    error = raised(worlds[name], "daily_bars", "no_data")
    assert isinstance(error, DataUnavailableError)
    assert not isinstance(error, UnknownSymbolError)


@pytest.mark.parametrize("name", [name for name in LIVE if name != "finnhub"])
def test_documented_unknown_symbol_is_said_as_such(worlds: dict[str, World], name: str) -> None:
    assert type(raised(worlds[name], "daily_bars", "unknown_symbol")) is UnknownSymbolError


@pytest.mark.parametrize("name", CRYPTO)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_list_of_markets_fails_like_anything_else(name: str, fault: str) -> None:
    endpoint = {"binance": "exchangeInfo", "kraken": "AssetPairs", "coinbase": "/products"}[name]
    with server_of(name) as server:
        server.fault(fault, ALWAYS, endpoint)
        with pytest.raises(FAULTS[fault]):
            world_of(name, server).operation("daily_bars")()


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_list_of_symbols_fails_like_anything_else(worlds: dict[str, World], name: str, fault: str) -> None:
    worlds[name].server.fault(fault, ALWAYS)
    with pytest.raises(FAULTS[fault]):
        worlds[name].vendor.symbols()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("429", RateLimitedError),
        ("500", UnreachableError),
        ("empty", MalformedAnswerError),
        ("html", MalformedAnswerError),
    ],
)
def test_yahoos_refusal_of_a_crumb_is_a_failure_and_leaves_no_crumb_behind(
    fault: str, expected: type[QuantError]
) -> None:
    with server_of("yfinance") as server:
        world = world_of("yfinance", server)
        server.fault(fault, endpoint="/getcrumb")
        with pytest.raises(expected):
            world.operation("corporate_actions")()
        assert world.operation("corporate_actions")().rows.height == 2


def test_yahoo_asks_once_for_a_cookie_and_a_crumb() -> None:
    with server_of("yfinance") as server:
        world = world_of("yfinance", server)
        for _ in range(3):
            world.operation("daily_bars")()
        assert [request.path for request in server.requests] == ["/", "/v1/test/getcrumb"] + [
            "/v8/finance/chart/AAPL"
        ] * 3


def test_a_stale_crumb_of_yahoo_is_renewed() -> None:
    with server_of("yfinance") as server:
        world = world_of("yfinance", server)
        server.fault("unauthorised", times=1)
        assert world.operation("daily_bars")().rows.height > 0


@pytest.mark.parametrize("name", EQUITY)
@pytest.mark.parametrize("fault", [*FAULTS, "partial"])
def test_no_failure_is_read_as_no_splits(worlds: dict[str, World], name: str, fault: str) -> None:
    world = worlds[name]
    assert world.operation("corporate_actions")().rows.height == 2
    # Finnhub is asked for splits and for dividends: both must be heard.
    for endpoint in ("/stock/split", "/stock/dividend") if name == "finnhub" else (None,):
        world.server.fault(fault, ALWAYS, endpoint)
        with pytest.raises(VendorError):
            world.operation("corporate_actions")()
        world.server.clear()


def test_alpha_vantages_refusal_of_the_second_list_is_not_read_as_no_dividends(worlds: dict[str, World]) -> None:
    world = worlds["alpha_vantage"]
    world.server.fault("429", ALWAYS, after=1)
    with pytest.raises(RateLimitedError):
        world.operation("corporate_actions")()
    assert [request.params["function"] for request in world.server.requests] == ["SPLITS", "DIVIDENDS"]


@pytest.mark.parametrize("name", LIVE)
def test_no_key_in_an_error_its_traceback_or_a_log(
    worlds: dict[str, World], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for fault in [*FAULTS, "partial", "unknown_symbol"]:
        told.append("".join(traceback.format_exception(raised(worlds[name], "daily_bars", fault))))
    worlds[name].operation("daily_bars")()
    assert len(told) >= len(FAULTS)
    everything = "\n".join([*told, *(record.getMessage() for record in caplog.records)])
    for spelling in (KEY, quote(KEY, safe=""), quote_plus(KEY)):
        assert spelling not in everything


@pytest.mark.parametrize("name", LIVE)
def test_every_request_goes_to_the_given_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import curl_cffi.requests

    asked: list[str] = []
    curl_request, connect = curl_cffi.requests.Session.request, socket.socket.connect

    def recording_request(session: Any, method: str, url: str, **options: Any) -> Any:
        asked.append(url)
        return curl_request(session, method, url, **options)

    def recording_connect(sock: socket.socket, address: Any) -> Any:
        asked.append(f"http://{address[0]}:{address[1]}")
        return connect(sock, address)

    monkeypatch.setattr(curl_cffi.requests.Session, "request", recording_request)
    monkeypatch.setattr(socket.socket, "connect", recording_connect)
    with server_of(name) as server:
        world = world_of(name, server)
        server.fault("unauthorised", ALWAYS)
        with pytest.raises(UnauthorisedError):
            world.operation("daily_bars")()
        server.clear()
        world.operation("daily_bars")()
        world.operation("minute_bars")()
        assert asked
        assert all(url.startswith(server.base_url) for url in asked), asked
        assert len(server.requests) >= 3


def test_yfinance_keeps_its_process_wide_state_and_writes_no_cookie_file() -> None:
    from yfinance import cache, data

    before = dict(data.SingletonMeta._instances)
    with server_of("yfinance") as server:
        world_of("yfinance", server).operation("daily_bars")()
    assert before == data.SingletonMeta._instances
    assert cache._CookieDBManager._db is None
    assert cache._TzDBManager._db is None
