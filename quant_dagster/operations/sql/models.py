"""What a SQL model and a source are, once their file was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SqlSource:
    """A table of the lake or the ledger that models may read, by ``source('lake', 'bars')``."""

    group: str
    table: str
    description: str

    @property
    def name(self) -> str:
        """``lake.bars``: its name in messages and lineage, and in the SQL that runs."""
        return f"{self.group}.{self.table}"


@dataclass(frozen=True)
class SqlModel:
    """One ``.sql`` file.

    Attributes
    ----------
    layer
        Folder under ``models``: staging, intermediate or marts.
    sql
        The query as DuckDB runs it; it has the lines of the file.
    refs, sources
        Models and sources it reads, in the order of their names.
    columns
        Descriptions from ``schema.yml``, by column.
    """

    name: str
    layer: str
    path: str
    sql: str
    materialized: str
    refs: tuple[str, ...]
    sources: tuple[str, ...]
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_written(self) -> bool:
        """Whether it becomes a Parquet file: tables among the marts do, other tables live in memory."""
        return self.layer == "marts" and self.materialized == "table"
