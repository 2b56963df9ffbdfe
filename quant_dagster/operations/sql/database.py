"""Runs the SQL models in process, on DuckDB in memory, over the lake and the ledger.

Lake tables are read from their Parquet files at their newest version, ledger tables are copied into memory. DuckDB is
not given pyarrow data sets: a query that stops early (a LIMIT) leaves their scan running, and the process then hangs
or is killed when it ends (duckdb 2.0, pyarrow 26).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_dagster.operations.sql.models import SqlModel
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.operations.sql.templates import SqlModelError
from quant_dagster.operations.sql.tests import Severity, SqlTest
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.tables import lake_table

if TYPE_CHECKING:
    import duckdb

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # A sum of doubles depends on the order of its terms: one thread makes the same rows give the same bytes.
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
SAMPLE_ROWS = 5
_GLOB = re.compile(r"[*?\[\]{}]")
_LINE = re.compile(r"\n\nLINE (\d+): (.*)\n")


@dataclass(frozen=True)
class ModelResult:
    """A model that was built: its rows, its columns with DuckDB's types, and its Parquet file if it is a mart."""

    name: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    seconds: float
    path: Path | None


@dataclass(frozen=True)
class SqlTestResult:
    """What a test found. ``sample`` has the first failing rows."""

    name: str
    model: str
    passed: bool
    failing_rows: int
    sample: pl.DataFrame
    severity: Severity


def run(
    project: SqlProject, lake: Lake, ledger: Ledger, out: Path, select: Iterable[str] | None = None
) -> list[ModelResult]:
    """Build models in dependency order; each mart that is a table becomes ``out/<model>.parquet``, replaced atomically.

    Parameters
    ----------
    select
        Models to build, by name; what they read is built in memory only. Default: all.

    Raises
    ------
    SqlModelError
        Naming the model, its file and line, and what DuckDB said. Files written before stay.
    """
    chosen = list(project.models) if select is None else [project.model(name).name for name in select]
    with SqlDatabase(project, lake, ledger, chosen) as database:
        return [database.result(name, out) for name in project.models if name in chosen]


def run_tests(
    project: SqlProject, lake: Lake, ledger: Ledger, select: Iterable[str] | None = None
) -> list[SqlTestResult]:
    """Run the tests of the selected models (default: all) on what lake and ledger hold now; nothing is written."""
    chosen = list(project.models) if select is None else [project.model(name).name for name in select]
    tests = [test for test in project.tests if test.model in chosen]
    read = {name for test in tests for name in test.refs}
    with SqlDatabase(project, lake, ledger, read) as database:
        return [run_test(database, test) for test in tests]


def run_test(database: SqlDatabase, test: SqlTest) -> SqlTestResult:
    """Run one test; the models it reads are built first.

    Raises
    ------
    SqlModelError
        The test's own SQL cannot be run.
    """
    for name in database.project.upstream(test.refs):
        database.build(name)
    # One pass finds the first failing rows and counts them all.
    sql = f"SELECT *, count(*) OVER () AS _failing FROM (\n{test.sql}\n) LIMIT {SAMPLE_ROWS}"
    sample = database.query(sql, test.path, f"test '{test.name}'")
    failing = int(sample["_failing"][0]) if sample.height else 0
    return SqlTestResult(test.name, test.model, failing == 0, failing, sample.drop("_failing"), test.severity)


def export_sources(project: SqlProject, lake: Lake, ledger: Ledger, folder: Path) -> list[Path]:
    """Write every source as ``folder/<group>.<table>.parquet``: what the dbt command reads them from."""
    folder.mkdir(parents=True, exist_ok=True)
    with SqlDatabase(project, lake, ledger, project.models) as database:
        written = []
        for source in project.sources.values():
            path = folder / f"{source.name}.parquet"
            database.write(f'"{source.group}"."{source.table}"', path, f"source {source.name}")
            written.append(path)
        return written


class SqlDatabase:
    """A DuckDB in memory that holds the sources of some models and, once built, the models. Use it in a ``with``.

    Parameters
    ----------
    select
        Models that will be built or tested; sources of others are not loaded.
    """

    def __init__(self, project: SqlProject, lake: Lake, ledger: Ledger, select: Iterable[str]) -> None:
        self.project = project
        self._lake = lake
        self._ledger = ledger
        self._needed = {source for name in project.upstream(select) for source in project.models[name].sources}
        self._built: set[str] = set()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> SqlDatabase:
        import duckdb

        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        try:
            self._load_sources()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    @property
    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise SqlModelError("a SqlDatabase is open inside its 'with' block only")
        return self._connection

    def build(self, name: str) -> None:
        """Create a model, and before it what it reads; one that is there stays."""
        for upstream in self.project.upstream([name]):
            if upstream not in self._built:
                model = self.project.models[upstream]
                kind = "VIEW" if model.materialized == "view" else "TABLE"
                self._run(f'CREATE {kind} "{upstream}" AS {model.sql}', model.path, f"model '{upstream}'", model)
                self._built.add(upstream)

    def result(self, name: str, out: Path) -> ModelResult:
        """Build a model, count its rows and write it under ``out`` if it is a mart."""
        started = time.perf_counter()
        model = self.project.model(name)
        self.build(name)
        what = f"model '{name}'"
        rows = self.query(f'SELECT count(*) FROM "{name}"', model.path, what).item()
        described = self.query(f'SELECT column_name, column_type FROM (DESCRIBE "{name}")', model.path, what)
        path = None
        if model.is_written:
            path = out / f"{name}.parquet"
            self.write(f'"{name}"', path, what)
        columns = tuple((str(column), str(kind)) for column, kind in described.iter_rows())
        return ModelResult(name, int(rows), columns, time.perf_counter() - started, path)

    def head(self, name: str, rows: int) -> pl.DataFrame:
        """The first rows of a model."""
        self.build(name)
        model = self.project.model(name)
        return self.query(f'SELECT * FROM "{name}" LIMIT {int(rows)}', model.path, f"model '{name}'")

    def query(self, sql: str, path: str, what: str) -> pl.DataFrame:
        """Rows of a query. ``path`` and ``what`` say in an error whose it was."""
        import duckdb

        try:
            table: Any = self._open.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise SqlModelError(f"{path}: {what} failed: {error}") from error
        return pl.DataFrame(pl.from_arrow(table))

    def write(self, relation: str, path: Path, what: str) -> None:
        """Write a relation as Parquet, replacing the file at once when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            target = str(temporary).replace("'", "''")
            self._run(f"COPY (SELECT * FROM {relation}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)", "", what)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _run(self, sql: str, path: str, what: str, model: SqlModel | None = None) -> None:
        import duckdb

        try:
            self._open.execute(sql)
        except duckdb.Error as error:
            line = _line_of(str(error), model.sql) if model else ""
            where = f"{path}{line}: " if path else ""
            raise SqlModelError(f"{where}{what} failed: {error}") from error

    # -- sources ----------------------------------------------------------------------------------------------------

    def _load_sources(self) -> None:
        self._open.execute("SET TimeZone = 'UTC'; CREATE SCHEMA lake; CREATE SCHEMA ledger")
        groups = {name: name.partition(".")[2] for name in sorted(self._needed)}
        ledger_tables = [table for name, table in groups.items() if name.startswith("ledger.")]
        for table, frame in self._ledger.frames(ledger_tables).items():
            self._copy(f"ledger.{table}", frame)
        for name, table in groups.items():
            if not name.startswith("ledger."):
                self._load_lake_table(table)

    def _load_lake_table(self, table: str) -> None:
        files = self._lake.files(table)
        if not files or "://" in self._lake.root or any(_GLOB.search(file) for file in files):
            self._copy(f"lake.{table}", self._lake.read(table))
            return
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        scan = f"read_parquet([{listed}], union_by_name = true)"
        stored = {row[0] for row in self._open.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
        columns = lake_table(table).schema.names()
        selected = ", ".join(f'"{name}"' if name in stored else f'NULL AS "{name}"' for name in columns)
        self._open.execute(f'CREATE VIEW "lake"."{table}" AS SELECT {selected} FROM {scan}')

    def _copy(self, name: str, frame: pl.DataFrame) -> None:
        group, _, table = name.partition(".")
        self._open.register("_incoming", frame.to_arrow())
        self._open.execute(f'CREATE TABLE "{group}"."{table}" AS SELECT * FROM _incoming')
        self._open.unregister("_incoming")


def _line_of(message: str, sql: str) -> str:
    """The line DuckDB complains of, where it is a line of this model and not of a view below it."""
    found = _LINE.search(message)
    if found is None:
        return ""
    number, excerpt = int(found[1]), found[2].strip().strip(".")
    lines = sql.splitlines()
    if number == 1:
        excerpt = excerpt.rpartition(" AS ")[2]
    return f":{number}" if number <= len(lines) and excerpt.strip() in lines[number - 1] else ""
