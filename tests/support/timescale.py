"""A real PostgreSQL server with TimescaleDB loaded, where the machine has one; tests skip, saying so, where not.

``TIMESCALE_PG_BIN`` names the folder of ``postgres`` and ``initdb`` of a server that TimescaleDB was installed into;
default: the machine's own PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import _unprivileged, _wait_until_ready, binaries


def timescale_binaries() -> Path:
    """Folder of the binaries of a server that has TimescaleDB; skips the test where there is none."""
    folder = Path(os.environ["TIMESCALE_PG_BIN"]) if "TIMESCALE_PG_BIN" in os.environ else binaries()
    config = folder / "pg_config"
    if config.exists():
        shared = subprocess.run([str(config), "--sharedir"], check=True, capture_output=True, text=True).stdout.strip()
        if (Path(shared) / "extension" / "timescaledb.control").exists():
            return folder
    pytest.skip("no PostgreSQL with TimescaleDB on this machine (set TIMESCALE_PG_BIN to the folder of its binaries)")


@contextmanager
def timescale_server() -> Iterator[str]:
    """Run a server with TimescaleDB loaded; yields a SQLAlchemy URL of its maintenance database."""
    programs = timescale_binaries()
    folder = Path(tempfile.mkdtemp(prefix="qts"))
    identity = _unprivileged()
    options: dict[str, object] = {}
    if identity is not None:
        os.chown(folder, *identity)
        options = {"user": identity[0], "group": identity[1], "extra_groups": []}
    environment, data = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}, folder / "data"
    subprocess.run(
        [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, env=environment, cwd=folder, **options,
    )  # fmt: skip
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off",
         "-c", "shared_preload_libraries=timescaledb", "-c", "timescaledb.telemetry_level=off",
         # Policies would run by the wall clock on data years older: tests run them by hand.
         "-c", "timescaledb.max_background_workers=0"],
        stdout=log, stderr=log, env=environment, cwd=folder, **options,
    )  # fmt: skip
    try:
        _wait_until_ready(folder, server)
        yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
