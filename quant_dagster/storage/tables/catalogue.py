"""Every table of the lake by name, those of replaced rows included."""

from __future__ import annotations

from quant_dagster.errors import StorageError
from quant_dagster.storage.tables.daily import DAILY
from quant_dagster.storage.tables.forecasting import FORECASTING
from quant_dagster.storage.tables.intraday import INTRADAY
from quant_dagster.storage.tables.risk import RISK
from quant_dagster.storage.tables.shape import KNOWN_AT, TIMESTAMP, Column, LakeTable
from quant_dagster.storage.tables.strategies import STRATEGIES

SUPERSEDED = "_superseded"


def _superseded(table: LakeTable) -> LakeTable:
    """Where replaced rows of ``table`` go: one row for each value a key ever had before its present one."""
    columns = tuple(column for column in table.columns if column.name != "known_at")
    return LakeTable(
        name=table.name + SUPERSEDED,
        description=f"Rows of '{table.name}' that were replaced since, under the time each was known. Only added to.",
        columns=(*columns, KNOWN_AT, Column("superseded_at", TIMESTAMP, "when the next value became known, UTC")),
        # Two values of a key may have become known at once (another vendor's row of the same session).
        key=(*table.key, "known_at", *(column.name for column in table.columns if column.name == "row_hash")),
    )


TABLES: dict[str, LakeTable] = {
    table.name: table
    for definition in (*DAILY, *INTRADAY, *FORECASTING, *STRATEGIES, *RISK)
    for table in ((definition, _superseded(definition)) if definition.keeps_superseded else (definition,))
}


def lake_table(name: str) -> LakeTable:
    """The table called ``name``; a StorageError names the tables there are."""
    try:
        return TABLES[name]
    except KeyError:
        raise StorageError(f"the lake has no table '{name}'; tables: {', '.join(sorted(TABLES))}") from None
