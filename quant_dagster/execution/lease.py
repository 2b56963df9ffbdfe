"""The broker lease: one executor at a time talks to the broker; a dead one's lease runs out."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select

from quant_dagster.errors import OrderError
from quant_dagster.storage.ledger import Ledger, insert_new
from quant_dagster.storage.ledger_tables import leases


@contextmanager
def broker_lease(ledger: Ledger, broker: str, seconds: float, *, wait: float = 0.0) -> Iterator[str]:
    """Hold the right to talk to ``broker``; yields the holder's name.

    A lease held by a process of this machine that no longer lives is taken over at once; any other when it expires.

    Parameters
    ----------
    seconds
        How long the lease lasts if the holder dies.
    wait
        How long to wait for another holder before giving up.

    Raises
    ------
    OrderError
        Another executor holds it.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    deadline = time.monotonic() + wait
    while (other := _acquire(ledger, broker, holder, seconds)) is not None:
        if time.monotonic() >= deadline:
            raise OrderError(f"broker '{broker}' is held by {other}: one executor at a time; try again when it is done")
        time.sleep(0.05)
    try:
        yield holder
    finally:
        with ledger.write() as connection:
            connection.execute(leases.delete().where(leases.c.name == broker, leases.c.holder == holder))


def _acquire(ledger: Ledger, broker: str, holder: str, seconds: float) -> str | None:
    """Take the lease; returns the other holder when it is taken."""
    with ledger.write() as connection:
        now = ledger.now()
        row = {"name": broker, "holder": holder, "expires_at": now + timedelta(seconds=seconds)}
        if insert_new(connection, leases, row):
            return None
        held = connection.execute(select(leases).where(leases.c.name == broker)).one()
        if held.expires_at > now and not _is_dead(held.holder):
            return str(held.holder)
        connection.execute(leases.update().where(leases.c.name == broker).values(**row))
        return None


def _is_dead(holder: str) -> bool:
    host, process, *_ = holder.split(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
