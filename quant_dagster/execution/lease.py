"""The broker lease: one executor at a time talks to the broker; a dead one's lease runs out."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

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


def renew_lease(ledger: Ledger, broker: str, holder: str, seconds: float) -> None:
    """Hold the lease for ``seconds`` from now on.

    Raises
    ------
    OrderError
        It ran out and is another's now: nothing may be sent any more.
    """
    with ledger.write() as connection:
        now = ledger.now()
        mine = (leases.c.name == broker) & (leases.c.holder == holder)
        until = now + timedelta(seconds=seconds)
        if not connection.execute(leases.update().where(mine).values(expires_at=until)).rowcount:
            raise OrderError(f"broker '{broker}' is no longer held by {holder}: another executor has taken it over")


def require_lease(connection: Connection, broker: str, holder: str | None, now: datetime) -> None:
    """Raise `OrderError` unless ``holder`` has the broker; asked in the transaction that sends an order.

    A process that was stopped for long must not send what another one has taken over.
    """
    held = connection.execute(select(leases).where(leases.c.name == broker)).first()
    if held is None or held.holder != holder or held.expires_at <= now:
        by = "nobody" if held is None else f"{held.holder} until {held.expires_at}"
        raise OrderError(f"broker '{broker}' is held by {by}, not by {holder}: nothing was sent")


def lease_holder(connection: Connection, broker: str, now: datetime) -> str | None:
    """Who holds the broker; None when nobody does, or nobody who lives."""
    held = connection.execute(select(leases).where(leases.c.name == broker)).first()
    if held is None or held.expires_at <= now or _is_dead(held.holder):
        return None
    return str(held.holder)


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
