"""The ledger: transactions over SQLite (WAL) or PostgreSQL, and its schema's revisions.

Writers are serialised: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an advisory lock held to the end of the
transaction. A reader never waits for a writer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from quant_dagster.errors import LedgerError
from quant_dagster.storage.ledger_tables import metadata

if TYPE_CHECKING:
    import polars as pl

_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITER_LOCK = 0x71756E74  # "qunt": any number no other program on the server uses

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Ledger:
    """Connections to one ledger.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:///path`` or ``postgresql+psycopg2://…``.
    clock
        Source of wall-clock times; tests pass their own.
    """

    def __init__(self, url: str, clock: Clock = utc_now) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError:
            raise LedgerError(
                "storage.ledger_url is not a SQLAlchemy URL: write postgresql+psycopg2://user:password@host/database"
            ) from None
        self.now = clock
        self._thread = threading.local()
        if self.url.get_backend_name() == "postgresql" and self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg2")
        if self.url.get_backend_name() not in ("sqlite", "postgresql"):
            address = self.url.render_as_string()
            raise LedgerError(f"ledger URL '{address}': only sqlite and postgresql are supported (storage.ledger_url)")

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @cached_property
    def engine(self) -> Engine:
        """The connection pool; made at first use."""
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent view."""
        with _translated("reading", self), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction, alone among writers; everything in it happens or nothing does."""
        with self._write() as connection:
            yield connection

    @contextmanager
    def _write(self, *, schema_change: bool = False) -> Iterator[Connection]:
        if getattr(self._thread, "writing", False):
            # A second writer would wait for the first one, which waits for it.
            raise LedgerError("a write transaction was begun inside another: this is a mistake in the program")
        options = {"ledger_write": True, "ledger_schema_change": schema_change}
        self._thread.writing = True
        try:
            with self._transaction(options) as connection:
                yield connection
        finally:
            self._thread.writing = False

    @contextmanager
    def _transaction(self, options: dict[str, bool]) -> Iterator[Connection]:
        with (
            _translated("writing", self),
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield connection

    def close(self) -> None:
        """Return every connection."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    def frame(self, table: str) -> pl.DataFrame:
        """A whole table as a polars frame; exact decimals become float64, JSON stays text."""
        return self.frames([table])[table]

    def frames(self, tables: Iterable[str]) -> dict[str, pl.DataFrame]:
        """Whole tables, all as they were at one moment."""
        import polars as pl

        result = {}
        with self.read() as connection:
            for table in tables:
                definition = metadata.tables.get(table)
                if definition is None:
                    known = ", ".join(sorted(metadata.tables))
                    raise LedgerError(f"the ledger has no table '{table}'; it has: {known}")
                rows = connection.execute(select(definition).order_by(*definition.primary_key.columns)).all()
                names = [column.name for column in definition.columns]
                columns = {name: [_plain(row[i]) for row in rows] for i, name in enumerate(names)}
                result[table] = pl.DataFrame(columns, schema={name: _polars_type(definition, name) for name in names})
        return result

    # -- schema -----------------------------------------------------------------------------------------------------

    def upgrade(self) -> str:
        """Bring the schema to the newest revision; returns it. Safe to run at any time, from several processes."""
        from alembic import command

        with self.write() as connection:
            if _revision(connection) == self.head_revision():
                return self.head_revision()
        with self._write(schema_change=True) as connection:
            config = self._alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if self.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
                raise LedgerError(f"upgrading the ledger would leave rows that refer to nothing: {broken[:5]}")
        self.close()  # its connections were opened for the schema's change
        return self.head_revision()

    def head_revision(self) -> str:
        """The revision this code works with."""
        # A migration's file begins with its revision: Alembic need not be loaded, and every module with it, to look.
        return max(file.name[:4] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))

    def current_revision(self) -> str | None:
        """The revision the database is at; None for an empty one."""
        with self.read() as connection:
            return _revision(connection)

    def differences(self) -> list[str]:
        """How the database's schema differs from the one this code defines; empty when it does not."""
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        with self.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": False})
            return [str(difference) for difference in compare_metadata(context, metadata)]

    def require_current(self) -> None:
        """Refuse to work on a ledger that this code does not understand."""
        revision, head = self.current_revision(), self.head_revision()
        if revision is None:
            raise LedgerError(
                f"nothing has been traded here yet: ledger {self.url.render_as_string()} is empty; 'quant replay "
                "--sessions 20' trades packaged data, 'quant cycle' a session; for the tables alone run 'quant ledger "
                "upgrade'"
            )
        if revision != head:
            raise LedgerError(
                f"ledger {self.url.render_as_string()} is at revision {revision}, this program needs {head}: "
                "run 'quant ledger upgrade'"
            )

    def _alembic_config(self) -> Any:
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its primary key exists; says whether it was inserted."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        statement: Any = pg_insert(table).values(row).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        statement = sqlite_insert(table).values(row).on_conflict_do_nothing()
    return bool(connection.execute(statement).rowcount)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    cursor = connection.cursor()
    for pragma in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("ledger_schema_change", False):
        # SQLite changes a column by making the table anew, which the rows that refer to it would forbid.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    writing = options.get("ledger_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _translated(doing: str, ledger: Ledger) -> Iterator[None]:
    """Everything the database can refuse, connecting included, as one line that names the ledger."""
    try:
        yield
    except IntegrityError as error:
        raise LedgerError(f"{doing} ledger: a row contradicts one that is there: {error.orig}") from error
    except SQLAlchemyError as error:
        address = ledger.url.render_as_string()
        if "no such table" in str(error):
            raise LedgerError(f"{doing} ledger {address}: it has no tables yet; run 'quant ledger upgrade'") from error
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise LedgerError(f"{doing} ledger {address}: {' '.join(str(reason).split())}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (dict, list)):
        from quant_dagster.storage.types import canonical_json

        return canonical_json(value)
    return value


def _polars_type(table: Table, column: str) -> Any:
    import polars as pl

    kinds = {
        "Scaled": pl.Float64,
        "Float": pl.Float64,
        "Integer": pl.Int64,
        "Date": pl.Date,
        "UtcDateTime": pl.Datetime("us", "UTC"),
    }
    return kinds.get(type(table.c[column].type).__name__, pl.String)
