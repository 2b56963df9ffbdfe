"""The lake: Delta tables under one root, written by merging and readable as of any version.

``lake`` is the door; ``changes`` works out what a write really changes, ``conform`` what a table can hold, ``writing``
commits, ``snapshots`` opens and scans, ``delta`` asks an opened snapshot. Shapes of tables are in ``storage.tables``.
"""

from quant_dagster.storage.lake.lake import Lake
from quant_dagster.storage.lake.writing import Commit

__all__ = ["Commit", "Lake"]
