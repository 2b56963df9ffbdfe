"""Which columns a model's columns are made of, read from the SQL by sqlglot. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quant_dagster.operations.sql.models import SqlModel
from quant_dagster.operations.sql.templates import SqlModelError, closest

ColumnLineage = dict[str, list[tuple[str, str]]]
"""Column to the (model or source, column) pairs it is made of; sources are named ``lake.bars``."""

_DIALECT = "duckdb"
_MAIN = "main"
"""DuckDB's default schema: where models are."""


def column_lineage(model: SqlModel, columns: Mapping[str, tuple[str, ...]]) -> ColumnLineage:
    """For each output column of a model, the upstream columns whose values enter it, one model up.

    A column that only filters or joins rows does not enter a value and is not listed (those of a window's PARTITION BY
    and ORDER BY do and are); a constant or a ``count(*)`` is made of nothing.

    Parameters
    ----------
    columns
        Column names of the model and of all it reads: `output_columns`.
    """
    from sqlglot import exp
    from sqlglot.lineage import lineage

    nodes: dict[str, Any] = lineage(None, _parsed(model), _schema(model, columns), dialect=_DIALECT, db=_MAIN)
    result: ColumnLineage = {}
    for column in columns[model.name]:
        leaves = {
            (_table_name(node.expression), exp.to_column(node.name, dialect=_DIALECT).name)
            for node in nodes[column].walk()
            if isinstance(node.expression, exp.Table)
        }
        result[column] = sorted(leaf for leaf in leaves if leaf[1] != "*")
    return result


def output_columns(models: Mapping[str, SqlModel], sources: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Column names of every source and every model; models are in dependency order.

    Raises
    ------
    SqlModelError
        A model is not valid SQL, or names a column that what it reads does not have.
    """
    columns = {source: source_columns(source) for source in sources}
    for name, model in models.items():
        columns[name] = _columns_of(model, columns)
    return columns


def source_columns(source: str) -> tuple[str, ...]:
    """Column names of a table of the lake or the ledger, by its name in the project (``lake.bars``)."""
    from quant_dagster.storage.ledger_tables import metadata
    from quant_dagster.storage.tables import TABLES

    group, _, table = source.partition(".")
    if group == "lake" and table in TABLES:
        return tuple(TABLES[table].schema.names())
    if group == "ledger" and table in metadata.tables:
        return tuple(column.name for column in metadata.tables[table].columns)
    known = [f"lake.{name}" for name in TABLES] + [f"ledger.{name}" for name in metadata.tables]
    raise SqlModelError(f"sources.yml declares {source}, which neither lake nor ledger has{closest(source, known)}")


def _columns_of(model: SqlModel, columns: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    from sqlglot.errors import OptimizeError, SqlglotError
    from sqlglot.optimizer.qualify import qualify

    try:
        qualified: Any = qualify(_parsed(model), dialect=_DIALECT, schema=_schema(model, columns), db=_MAIN)
    except (OptimizeError, SqlglotError) as error:
        raise SqlModelError(f"{model.path}: model '{model.name}': {error}") from None
    return tuple(str(select.alias_or_name) for select in qualified.selects)


def _parsed(model: SqlModel) -> Any:
    import sqlglot
    from sqlglot.errors import ParseError

    try:
        return sqlglot.parse_one(model.sql, dialect=_DIALECT)
    except ParseError as error:
        first = error.errors[0]
        raise SqlModelError(
            f"{model.path}:{first['line']}: model '{model.name}': {first['description']} at '{first['highlight']}'"
        ) from None


def _schema(model: SqlModel, columns: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The schema sqlglot wants: database to table to column. Types are unknown, names are enough."""
    schema: dict[str, Any] = {}
    for name in (*model.refs, *model.sources):
        group, _, table = name.rpartition(".")
        schema.setdefault(group or _MAIN, {})[table] = dict.fromkeys(columns[name], "unknown")
    return schema


def _table_name(table: Any) -> str:
    return str(table.name) if table.db == _MAIN else f"{table.db}.{table.name}"
