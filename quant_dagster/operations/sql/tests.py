"""Tests of SQL models: the four generic ones of ``schema.yml`` and the queries under ``tests``.

A test is a query for rows that should not exist; it passes when there are none. ``database`` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quant_dagster.operations.sql.models import SqlModel
from quant_dagster.operations.sql.templates import Rendered, SqlModelError, closest


class Severity(StrEnum):
    """How bad it is when a test fails."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class SqlTest:
    """A query for rows that should not exist, attached to a model; ``refs`` are the models it reads."""

    name: str
    model: str
    kind: str
    sql: str
    refs: tuple[str, ...]
    severity: Severity
    description: str
    path: str


def singular_test(
    models: Mapping[str, SqlModel], name: str, rendered: Rendered, described: Mapping[str, Any]
) -> SqlTest:
    """A test that is a file. It is attached to the model furthest down the graph of those it reads."""
    path = rendered.path
    if not rendered.refs:
        raise SqlModelError(f"{path}: test '{name}' reads no model: use ref()")
    order = list(models)
    settings = dict(described.get("config") or {}) | rendered.config
    return SqlTest(
        name=name,
        model=max(rendered.refs, key=order.index),
        kind="singular",
        sql=rendered.sql.strip(),
        refs=tuple(sorted(rendered.refs)),
        severity=_severity(settings, path, name),
        description=described.get("description", ""),
        path=path,
    )


def generic_tests(
    models: Mapping[str, SqlModel], model: str, described: Mapping[str, Any], path: str
) -> Iterator[SqlTest]:
    """The tests that ``schema.yml`` declares for a model and for its columns."""
    for entry in described.get("data_tests") or []:
        yield _generic(models, model, None, entry, path)
    for column in described.get("columns") or []:
        for entry in column.get("data_tests") or []:
            yield _generic(models, model, column["name"], entry, path)


def _generic(models: Mapping[str, SqlModel], model: str, column: str | None, entry: Any, path: str) -> SqlTest:
    kind, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    arguments = dict(options.get("arguments") or {})
    expression = column if column is not None else arguments.pop("column_name", None)
    label = f"{path}: test '{kind}' of model '{model}'"
    if kind not in _GENERIC:
        raise SqlModelError(f"{label} is not known{closest(kind, _GENERIC)}")
    if expression is None:
        raise SqlModelError(f"{label} is of no column: put it under a column, or give it arguments: column_name")
    name = options.get("name") or f"{kind}_{model}_{expression}"
    if not name.replace("_", "").isalnum():
        raise SqlModelError(f"{label}: '{name}' cannot be its name; give it a 'name:' of letters, digits and _")
    sql, description, refs = _GENERIC[kind](models, label, model, expression, arguments)
    if arguments:
        raise SqlModelError(f"{label} has no argument '{next(iter(arguments))}'")
    severity = _severity(options.get("config") or {}, path, name)
    return SqlTest(name, model, kind, sql, tuple(sorted({model, *refs})), severity, description, path)


_Models = Mapping[str, SqlModel]
_Generic = tuple[str, str, tuple[str, ...]]


def _not_null(_models: _Models, _label: str, model: str, column: str, _arguments: dict[str, Any]) -> _Generic:
    return f'SELECT * FROM "{model}" WHERE {column} IS NULL', f"{column} is never null.", ()


def _unique(_models: _Models, _label: str, model: str, column: str, _arguments: dict[str, Any]) -> _Generic:
    sql = (
        f'SELECT {column} AS value, count(*) AS occurrences FROM "{model}" '
        f"WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*) > 1"
    )
    return sql, f"{column} occurs once.", ()


def _accepted_values(_models: _Models, label: str, model: str, column: str, arguments: dict[str, Any]) -> _Generic:
    values = arguments.pop("values", None)
    if not isinstance(values, list) or not values:
        raise SqlModelError(f"{label} needs arguments: values, a list")
    quote = arguments.pop("quote", True)
    allowed = ", ".join("'" + str(value).replace("'", "''") + "'" if quote else str(value).lower() for value in values)
    sql = (
        f'SELECT {column} AS value, count(*) AS occurrences FROM "{model}" '
        f"WHERE {column} NOT IN ({allowed}) GROUP BY {column}"
    )
    return sql, f"{column} is one of: {', '.join(map(str, values))}.", ()


def _relationships(models: _Models, label: str, model: str, column: str, arguments: dict[str, Any]) -> _Generic:
    target, field = str(arguments.pop("to", "")), arguments.pop("field", None)
    parent = target.removeprefix("ref('").removesuffix("')")
    if target != f"ref('{parent}')" or not field:
        raise SqlModelError(f"{label} needs arguments: to, a ref('model'), and field")
    if parent not in models:
        raise SqlModelError(f"{label}: ref('{parent}') names no model{closest(parent, models)}")
    sql = (
        f'SELECT child.{column} AS value, count(*) AS occurrences FROM "{model}" AS child '
        f'LEFT JOIN "{parent}" AS parent ON child.{column} = parent.{field} '
        f"WHERE child.{column} IS NOT NULL AND parent.{field} IS NULL GROUP BY child.{column}"
    )
    return sql, f"Every {column} is a {field} of {parent}.", (parent,)


_GENERIC = {
    "not_null": _not_null,
    "unique": _unique,
    "accepted_values": _accepted_values,
    "relationships": _relationships,
}


def _severity(settings: Mapping[str, Any], path: str, name: str) -> Severity:
    value = str(settings.get("severity", Severity.ERROR)).lower()
    if value not in tuple(Severity):
        raise SqlModelError(f"{path}: test '{name}' has severity '{value}'; allowed: {', '.join(Severity)}")
    return Severity(value)
