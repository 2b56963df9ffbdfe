"""Fixtures every test may use. Nothing a test writes lands outside its temporary folder."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numba
import pytest
from hypothesis import HealthCheck, settings

from quant_dagster.compiled import kernel_sources_hash
from quant_dagster.storage.ledger import Ledger
from tests.support.ledgers import postgresql_ledger, sqlite_ledger
from tests.support.postgres import create_database, drop_database, postgres_server
from tests.support.replays import command, finished_replay, replayed_home

__all__ = ["command", "finished_replay", "replayed_home"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# Compiled kernels of these very sources are shared by all tests; everything else a test writes is its own.
_KERNELS = Path(tempfile.gettempdir()) / f"quant_dagster_test_kernels_{kernel_sources_hash()}"
os.environ.setdefault("NUMBA_CACHE_DIR", str(_KERNELS))
numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]

_databases = itertools.count()


@pytest.fixture(autouse=True)
def quant_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty QUANT_HOME, and no settings from the developer's environment."""
    for name in list(os.environ):
        if name.startswith("QUANT_") and name != "QUANT_TEST_DATA":
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("QUANT_HOME", str(home))
    return home


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """A clock that starts on 2023-01-03 and moves a second a look."""
    ticks = itertools.count()
    return lambda: datetime(2023, 1, 3, tzinfo=UTC) + timedelta(seconds=next(ticks))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL server."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """An empty database."""
    return create_database(postgres, f"test_{os.getpid()}_{next(_databases)}")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], datetime]) -> Iterator[Ledger]:
    """An upgraded ledger: every test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        ledger = sqlite_ledger(tmp_path / "ledger.db", clock)
    else:
        server = request.getfixturevalue("postgres")
        name = f"ledger_{os.getpid()}_{next(_databases)}"
        ledger = postgresql_ledger(server, name, clock)
    yield ledger
    ledger.close()
    if request.param == "postgresql":
        drop_database(server, name)  # a thousand of them would fill a small disk
