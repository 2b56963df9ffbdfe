"""Fixtures of the integration tests: the live vendors, each beside a server that speaks its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.vendor_servers.worlds import LIVE, World, server_of, world_of


@pytest.fixture(scope="module")
def running_worlds() -> Iterator[dict[str, World]]:
    """Each live vendor beside its server: failures leave no trace in a vendor."""
    with ExitStack() as stack:
        yield {name: world_of(name, stack.enter_context(server_of(name))) for name in LIVE}


@pytest.fixture
def worlds(running_worlds: dict[str, World]) -> dict[str, World]:
    """Each vendor, its server without faults and its log empty."""
    for world in running_worlds.values():
        world.server.clear()
        world.server.requests.clear()
    return running_worlds
