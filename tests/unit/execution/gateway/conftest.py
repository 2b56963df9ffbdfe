"""The gateway, and the unmodified ib_insync connected to it in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import InsyncClient, tws_gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tws_gateway() as started:
        yield started


@pytest.fixture
def client(gateway: Gateway) -> Iterator[InsyncClient]:
    with InsyncClient() as connected:
        connected.connect(gateway)
        yield connected
