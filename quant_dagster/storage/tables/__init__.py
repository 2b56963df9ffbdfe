"""The lake's tables: columns, types, keys and partitioning, in one place.

Every writer, contract and test takes a table's shape from here. Absent values are null, never filled.
"""

from quant_dagster.storage.tables.catalogue import SUPERSEDED, TABLES, lake_table
from quant_dagster.storage.tables.shape import PARTITION, TIMESTAMP, Column, LakeTable

__all__ = ["PARTITION", "SUPERSEDED", "TABLES", "TIMESTAMP", "Column", "LakeTable", "lake_table"]
