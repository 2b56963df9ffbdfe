"""What lets plain ``feast`` commands find QUANT_HOME, and what keeps old values from replacing new ones.

``feature_store.yaml`` cannot give a default for an environment variable, and Feast resolves a relative registry path
against the folder a command happens to be run in. Two documented extension points solve both:

* an online store, named in the yaml by its class, whose SQLite file lies under QUANT_HOME;
* a SQLAlchemy dialect, ``sqlite+quant_home``, whose database names are relative to QUANT_HOME. Feast imports the
  online store while it reads the yaml, which registers the dialect before the registry is opened.

Feast writes online values last-come, last-kept. A trigger in the database itself refuses a row that is older than
the one it would replace, whoever writes it: this project, ``feast materialize`` or a push server.

This module imports Feast (seconds): nothing else in the project imports it except inside a function.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from sqlalchemy import URL
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

_PROJECT = Path(__file__).resolve().parents[2]
_STARTED_IN = Path.cwd()
"""``feast apply`` changes the folder on its way; a relative QUANT_HOME counts from where the command was given."""


def quant_home() -> Path:
    """QUANT_HOME, else ``.quant`` in the project's folder (installed without it: in the current folder)."""
    configured = os.environ.get("QUANT_HOME", "").strip()
    if configured:
        return (_STARTED_IN / Path(configured).expanduser()).resolve()
    return (_PROJECT if (_PROJECT / "feature_repo").is_dir() else _STARTED_IN) / ".quant"


class QuantHomeDialect(SQLiteDialect_pysqlite):
    """SQLite whose relative database names are relative to QUANT_HOME, folders made as needed."""

    driver = "quant_home"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        """Resolve the file, then connect as SQLite does. Writers wait for one another instead of failing."""
        database = quant_home() / (url.database or "")
        database.parent.mkdir(parents=True, exist_ok=True)
        arguments, options = super().create_connect_args(url.set(database=str(database)))
        return arguments, {"timeout": 30.0, **options}


dialects.register("sqlite.quant_home", __name__, "QuantHomeDialect")


class QuantHomeOnlineStoreConfig(SqliteOnlineStoreConfig):
    """``path`` is relative to QUANT_HOME."""

    type: Literal["quant_dagster.features.feast_home.QuantHomeOnlineStore"] = (
        "quant_dagster.features.feast_home.QuantHomeOnlineStore"  # type: ignore[assignment]
    )


class QuantHomeOnlineStore(SqliteOnlineStore):
    """Feast's SQLite online store under QUANT_HOME, where a value is never replaced by an older one."""

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        path = quant_home() / config.online_store.path
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        opened = self._conn is not None
        connection: sqlite3.Connection = super()._get_conn(config)
        if not opened:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA busy_timeout = 30000")
        return connection

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """What Feast's own answers, of the features asked for only; a symbol's time is that of its oldest value.

        Feast's own reads every feature of the view and turns the text of every row's time into a ``datetime``.
        """
        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, entity_key_serialization_version=version) for key in entity_keys]
        names = requested_features or [field.name for field in table.features]
        name_of_table = online_table(config.project, table.name)
        cursor = self._get_conn(config).execute(
            # as an expression: a column declared as timestamp is parsed row by row
            f'SELECT entity_key, feature_name, value, event_ts + 0 FROM "{name_of_table}" '
            f"WHERE entity_key IN ({_marks(keys)}) AND feature_name IN ({_marks(names)})",
            [*keys, *names],
        )
        found: dict[bytes, dict[str, Value]] = {}
        times: dict[bytes, int] = {}
        parse = Value.FromString
        for key, name, value, event in cursor:
            values = found.get(key)
            if values is None:
                found[key] = values = {}
                times[key] = event
            elif event < times[key]:
                times[key] = event
            values[name] = parse(value)
        moments = {stored: _moment(stored) for stored in set(times.values())}
        return [(moments[times[key]], found[key]) if key in found else (None, None) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create the tables as Feast does, each with its trigger."""
        super().update(config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial)
        connection = self._get_conn(config)
        for view in tables_to_keep:
            connection.execute(sqlite_guard(online_table(config.project, view.name)))
        connection.commit()


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _moment(stored: int) -> datetime:
    """A stored time: Feast writes the wall clock of UTC as if it were local time, and reads it back the same way."""
    return datetime.fromtimestamp(stored).replace(tzinfo=UTC)  # noqa: DTZ006


def online_table(project: str, view: str) -> str:
    """Name of the table in which Feast keeps a view's online values."""
    return f"{project}_{view}"


def sqlite_guard(table: str) -> str:
    """Statement for a trigger that drops an update by an older event, or by an older version of the same event."""
    return (
        f'CREATE TRIGGER IF NOT EXISTS "{table}_newest" BEFORE UPDATE ON "{table}" '
        "WHEN NEW.event_ts < OLD.event_ts OR (NEW.event_ts = OLD.event_ts AND NEW.created_ts < OLD.created_ts) "
        "BEGIN SELECT RAISE(IGNORE); END"
    )


def postgres_guard(table: str) -> tuple[str, ...]:
    """The statements that do in PostgreSQL what ``sqlite_guard`` does in SQLite; may be run again."""
    return (
        "CREATE OR REPLACE FUNCTION quant_keep_newest() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$",
        f'CREATE OR REPLACE TRIGGER "{table}_newest" BEFORE UPDATE ON "{table}" FOR EACH ROW '
        "WHEN (NEW.event_ts < OLD.event_ts OR (NEW.event_ts = OLD.event_ts AND NEW.created_ts < OLD.created_ts)) "
        "EXECUTE FUNCTION quant_keep_newest()",
    )
