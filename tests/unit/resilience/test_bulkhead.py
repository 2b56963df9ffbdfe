from __future__ import annotations

import threading

import pytest

from quant_dagster.errors import BulkheadFullError
from quant_dagster.resilience.bulkhead import Bulkhead


def test_no_more_requests_than_places_are_under_way_at_once() -> None:
    bulkhead = Bulkhead("three places", 3, 30.0)
    all_in, under_way, most = threading.Barrier(3), 0, 0
    lock = threading.Lock()

    def request() -> None:
        nonlocal under_way, most
        with bulkhead.place():
            with lock:
                under_way += 1
                most = max(most, under_way)
            all_in.wait(30.0)  # passes only in threes: the places are all used
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert (most, under_way) == (3, 0)


def test_a_request_without_a_place_in_time_is_refused() -> None:
    bulkhead = Bulkhead("vendor:full", 1, 0.0)
    with (
        bulkhead.place(),
        pytest.raises(BulkheadFullError, match=r"vendor 'full': not asked: 1 requests"),
        bulkhead.place(),
    ):
        pass
    with bulkhead.place():
        pass


def test_a_place_is_given_back_when_the_request_fails() -> None:
    bulkhead = Bulkhead("fails", 1, 0.0)
    for _ in range(3):
        with pytest.raises(KeyError), bulkhead.place():
            raise KeyError


def test_bulkheads_of_one_service_share_their_places() -> None:
    with (
        Bulkhead("shared", 1, 0.0).place(),
        Bulkhead("another", 1, 0.0).place(),
        pytest.raises(BulkheadFullError),
        Bulkhead("shared", 1, 0.0).place(),
    ):
        pass


def test_a_waiting_request_gets_the_place_that_comes_free() -> None:
    bulkhead = Bulkhead("waits", 1, 30.0)
    holding, got = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        holding.wait(30.0)
        with bulkhead.place():
            got.set()

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    with bulkhead.place():
        holding.set()
        assert not got.wait(0.05)
    thread.join(30.0)
    assert got.is_set()
