"""What a write to a lake table really changes: compares new rows with stored ones by key.

Pure: reads and writes nothing. The lake decides what to do with the answer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from quant_dagster.storage.tables import TIMESTAMP, LakeTable

_NEW = "__new"
_OLD = "__old"


@dataclass(frozen=True)
class Change:
    """Counts of a write, and the whole new content of the months in which something changes.

    ``replaced`` holds the stored rows that get another value, as they were, with ``superseded_at``: when the new value
    became known. It is empty for tables that do not keep them.
    """

    inserted: int
    updated: int
    unchanged: int
    deleted: int
    months: frozenset[str]
    content: pl.DataFrame
    replaced: pl.DataFrame


def merge_change(table: LakeTable, new: pl.DataFrame, old: pl.DataFrame, ignore: Collection[str] = ()) -> Change:
    """Insert or update by key; ``old`` holds every stored row of the months (or table) that ``new`` touches.

    A stored row keeps its value in columns that ``new`` lacks. Columns in ``ignore`` do not make a row changed.
    """
    complete = _align(table, new, old)
    state = _row_states(table, complete, old, [name for name in new.columns if name not in ignore])
    touched = complete.filter(state != "unchanged")
    months = _months(table, touched)
    kept = old.filter(_in_months(table, months)).join(touched, on=list(table.key), how="anti")
    counts = dict(state.value_counts().iter_rows())
    return Change(
        inserted=counts.get("inserted", 0),
        updated=counts.get("updated", 0),
        unchanged=counts.get("unchanged", 0),
        deleted=0,
        months=months,
        content=pl.concat([kept, touched], how="diagonal"),
        replaced=_replaced(table, complete.filter(state == "updated"), old),
    )


def replace_change(table: LakeTable, new: pl.DataFrame, old: pl.DataFrame, sessions: Collection[date]) -> Change:
    """Make ``new`` everything stored for ``sessions``; ``old`` holds every stored row of their months."""
    complete = _align(table, new, old.clear())
    in_scope = pl.col("session").is_in(sorted(sessions))
    stored = old.filter(in_scope)
    state = _row_states(table, complete, stored, complete.columns)
    gone = stored.join(complete, on=list(table.key), how="anti")
    months = _months(table, complete.filter(state != "unchanged")) | _months(table, gone)
    inside = _in_months(table, months)
    counts = dict(state.value_counts().iter_rows())
    return Change(
        inserted=counts.get("inserted", 0),
        updated=counts.get("updated", 0),
        unchanged=counts.get("unchanged", 0),
        deleted=gone.height,
        months=months,
        content=pl.concat([old.filter(inside & ~in_scope), complete.filter(inside)], how="diagonal"),
        replaced=_replaced(table, complete.filter(state == "updated"), stored),
    )


def remove_change(table: LakeTable, keys: pl.DataFrame, old: pl.DataFrame, at: datetime) -> Change:
    """Take the rows with these keys away; a table that keeps what was replaced keeps them, as superseded ``at``."""
    gone = old.join(keys, on=list(table.key), how="semi")
    months = _months(table, gone)
    replaced = gone.with_columns(pl.lit(at).cast(TIMESTAMP).alias("superseded_at"))
    return Change(
        inserted=0,
        updated=0,
        unchanged=0,
        deleted=gone.height,
        months=months,
        content=old.filter(_in_months(table, months)).join(keys, on=list(table.key), how="anti"),
        replaced=replaced if table.keeps_superseded else old.clear(),
    )


def difference(table: LakeTable, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """What turns ``old`` into ``new``.

    Returns
    -------
    polars.DataFrame
        ``change`` (inserted, updated, deleted), ``changed_columns`` (comma-joined; empty unless updated), then the
        table's columns: the new row, or the one that went. Ordered by session and key.
    """
    key = list(table.key)
    types = {**old.schema, **new.schema}
    old, new = (
        frame.with_columns(pl.lit(None, t).alias(n) for n, t in types.items() if n not in frame.columns).select(
            list(types)
        )
        for frame in (old, new)
    )
    values = [name for name in types if name not in key]
    before = old.select(*key, *(pl.col(name).alias(name + _OLD) for name in values), pl.lit(True).alias(_OLD))
    joined = new.join(before, on=key, how="left", maintain_order="left")
    differs = [pl.when(pl.col(n).ne_missing(pl.col(n + _OLD))).then(pl.lit(n)) for n in values]
    marked = joined.with_columns(
        changed_columns=pl.concat_str(differs, separator=",", ignore_nulls=True).fill_null(""),
        known=pl.col(_OLD).is_not_null(),
    )
    changed = marked.filter(~pl.col("known") | (pl.col("changed_columns") != "")).select(
        pl.when(pl.col("known")).then(pl.lit("updated")).otherwise(pl.lit("inserted")).alias("change"),
        pl.when(pl.col("known")).then("changed_columns").otherwise(pl.lit("")).alias("changed_columns"),
        *types,
    )
    gone = old.join(new, on=key, how="anti")
    deleted = gone.select(pl.lit("deleted").alias("change"), pl.lit("").alias("changed_columns"), *types)
    return pl.concat([changed, deleted]).sort(table.order)


def _replaced(table: LakeTable, updated: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    if not table.keeps_superseded:
        return old.clear()
    newer = updated.select(*table.key, pl.col("known_at").alias("superseded_at"))
    return old.join(newer, on=list(table.key), how="inner")


def _align(table: LakeTable, new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """New rows with every column there is: those they lack come from the stored row, else null."""
    types = {**table.schema, **old.schema}
    lacking = [name for name in types if name not in new.columns]
    if not lacking:
        return new
    from_old = [name for name in lacking if name in old.columns]
    complete = new.join(old.select([*table.key, *from_old]), on=list(table.key), how="left", maintain_order="left")
    nulls = [pl.lit(None, types[name]).alias(name) for name in lacking if name not in from_old]
    return complete.with_columns(nulls)


def _row_states(table: LakeTable, new: pl.DataFrame, old: pl.DataFrame, compared: Collection[str]) -> pl.Series:
    """'inserted', 'updated' or 'unchanged' for each new row, in order."""
    values = [name for name in compared if name not in table.key]
    shared = [name for name in values if name in old.columns]
    stored = old.select(*table.key, *(pl.col(name).alias(f"{name}{_OLD}") for name in shared), pl.lit(True).alias(_OLD))
    joined = new.join(stored, on=list(table.key), how="left", maintain_order="left")
    differs = [pl.col(name).ne_missing(pl.col(f"{name}{_OLD}")) for name in shared]
    differs += [pl.col(name).is_not_null() for name in values if name not in old.columns]
    changed = pl.any_horizontal(differs) if differs else pl.lit(False)
    state = pl.when(pl.col(_OLD).is_null()).then(pl.lit("inserted"))
    return joined.select(state.when(changed).then(pl.lit("updated")).otherwise(pl.lit("unchanged")).alias(_NEW))[_NEW]


def _months(table: LakeTable, rows: pl.DataFrame) -> frozenset[str]:
    if not table.partitioned:
        return frozenset()
    return frozenset(rows["session"].dt.strftime("%Y-%m").unique().to_list())


def _in_months(table: LakeTable, months: Collection[str]) -> pl.Expr:
    if not table.partitioned:
        return pl.lit(True)
    return pl.col("session").dt.strftime("%Y-%m").is_in(sorted(months))
