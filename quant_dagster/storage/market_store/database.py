"""Transactions on the store's PostgreSQL: errors as sentences without passwords, and locks that end with them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from quant_dagster.errors import ConfigurationError, StorageError

_LOCK_CLASS = 0x6D6B7473  # "mkts": any number no other program on the server uses
_OLDEST_SERVER = 140000  # date_bin
_NOT_UPGRADED = ("42P01", "3F000")  # undefined_table, invalid_schema_name


class Database:
    """Connections to the PostgreSQL database of the store.

    Parameters
    ----------
    url
        SQLAlchemy URL, ``postgresql+psycopg2://…``.

    Raises
    ------
    ConfigurationError
        It is no URL, or not one of PostgreSQL by psycopg2.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError:
            raise ConfigurationError(
                "storage.market_url is not a SQLAlchemy URL: write postgresql+psycopg2://user:password@host/database"
            ) from None
        if self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg2")
        if self.url.drivername != "postgresql+psycopg2":
            raise ConfigurationError(
                f"storage.market_url '{self.address}': the market store is PostgreSQL; write postgresql+psycopg2://…"
            )

    @property
    def address(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string()

    @cached_property
    def engine(self) -> Engine:
        """The connection pool; made at first use."""
        engine = create_engine(self.url, pool_pre_ping=True)
        event.listen(engine, "connect", _configure)
        return engine

    @contextmanager
    def begin(self, doing: str, lock: str | None = None) -> Iterator[Connection]:
        """A transaction: everything in it happens or nothing does. ``lock``: alone among those of that name."""
        with self._translated(doing), self.engine.connect() as connection, connection.begin():
            if lock is not None:
                take_lock(connection, lock)
            yield connection

    @contextmanager
    def snapshot(self, doing: str) -> Iterator[Connection]:
        """A read transaction: one consistent view."""
        with self._translated(doing), self.engine.connect() as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextmanager
    def autocommit(self, doing: str) -> Iterator[Connection]:
        """For statements that refuse to run in a transaction."""
        with self._translated(doing), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Return every connection."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        import psycopg2  # type: ignore[import-untyped]

        try:
            yield
        except (SQLAlchemyError, psycopg2.Error) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            if getattr(reason, "pgcode", None) in _NOT_UPGRADED:
                raise StorageError(
                    f"{doing} in market store {self.address}: its tables are missing; run 'quant market-store upgrade' "
                    f"({' '.join(str(reason).split())})"
                ) from error
            raise StorageError(f"{doing} in market store {self.address}: {' '.join(str(reason).split())}") from error


def take_lock(connection: Connection, name: str) -> None:
    """Wait until nobody else holds the lock called ``name``; held to the end of the transaction, or of the process."""
    key = zlib.crc32(name.encode()) - 2**31
    connection.execute(text("SELECT pg_advisory_xact_lock(:kind, :key)"), {"kind": _LOCK_CLASS, "key": key})


def _configure(connection: Any, _record: Any) -> None:
    """Times go in and out as UTC, whatever the server's or the user's defaults are."""
    if connection.server_version < _OLDEST_SERVER:
        raise StorageError(f"the market store needs PostgreSQL 14 or newer; the server is {connection.server_version}")
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'; SET datestyle TO 'ISO'; SET client_encoding TO 'UTF8'")
    connection.commit()
