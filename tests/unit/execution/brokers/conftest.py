"""The loopback venue of Binance spot, its clock, and a broker connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from tests.support.binance_spot_server import BinanceSpotServer
from tests.unit.execution.brokers.spot_at_work import Clock, broker_of


@pytest.fixture
def venue() -> Iterator[BinanceSpotServer]:
    with BinanceSpotServer() as server:
        yield server


@pytest.fixture
def clock(venue: BinanceSpotServer) -> Clock:
    return Clock(venue)


@pytest.fixture
def broker(venue: BinanceSpotServer, clock: Clock) -> Iterator[BinanceSpotBroker]:
    broker = broker_of(venue, clock)
    yield broker
    broker.close()
