"""The offline store: one Parquet file per view and month, in which knowledge is only ever added.

A row is what was known about one symbol's session from ``created_timestamp`` on. Writing what is already known
changes nothing, not a byte. A restated value is a further row with a later ``created_timestamp``; the earlier row
stays, so a question about the past is answered with what was known then.

A file from before a feature existed is brought up to the present schema with nulls, and records which columns those
are: there a null means that nobody had computed it, not that there was nothing, and a value may be filled in later
without contradicting what was known. Times are ``timestamp[us, UTC]``, which is
what Feast reads; values are float64, exactly as computed; absent is null.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from filelock import FileLock

from quant_dagster.errors import StorageError
from quant_dagster.features.calendar import session_closes
from quant_dagster.features.definitions import View, features_of

EVENT = "event_timestamp"
CREATED = "created_timestamp"
_KEY = ["symbol", EVENT]
_TIME = pl.Datetime("us", "UTC")
Change = tuple[pl.DataFrame, Path, frozenset[str]]
"""A file's new content, and which of its columns are younger than its rows."""
_UNCOMPUTED = "quant_dagster.uncomputed"
"""Key of the file metadata that lists the columns younger than the file."""
_SCHEMA_FILE = "0000-00.parquet"
"""A file without rows, so that a store nothing was written to answers with absent values and not with an error."""


class OfflineFiles:
    """The offline files of every view below one folder.

    Parameters
    ----------
    root
        The features folder, usually ``QUANT_HOME/features``.
    exchange
        Calendar that says when a session closed.
    """

    def __init__(self, root: Path, exchange: str = "XNYS") -> None:
        self.root = Path(root)
        self.exchange = exchange

    def folder(self, view: View) -> Path:
        """Where a view's files lie."""
        return self.root / "offline" / view.value

    def prepare(self) -> None:
        """Create the folders, and bring files of an older list of features up to the present one (null for new)."""
        with self._locked():
            for view in View:
                folder = self.folder(view)
                folder.mkdir(parents=True, exist_ok=True)
                schema = _schema(view)
                if not (folder / _SCHEMA_FILE).exists():
                    _replace(pl.DataFrame(schema=schema), folder / _SCHEMA_FILE)
                for file in sorted(folder.glob("*.parquet")):
                    if pl.read_parquet_schema(file) != schema:
                        _replace(_conformed(pl.read_parquet(file), schema), file, _uncomputed(file, schema))

    def write(self, frame: pl.DataFrame, known_at: datetime | None = None) -> int:
        """Add what is new in ``frame``; return the number of rows added, over all views.

        Parameters
        ----------
        frame
            Columns symbol, session and any views' features (all of a view's or none), one row a symbol and session.
        known_at
            When these values could first be known. None: the frame has a column ``known_at``.

        Raises
        ------
        StorageError
            The frame contradicts what is recorded as known at that time, or lacks columns.
        """
        rows = self._timed(frame, known_at)
        with self._locked(), ThreadPoolExecutor(os.cpu_count()) as pool:
            # nothing is written unless all of it can be
            checked = list(pool.map(lambda part: _with_news(*part), self._months(rows)))
            list(pool.map(lambda change: _replace(*change), [change for _, change in checked if change is not None]))
        return sum(count for count, _ in checked)

    def _months(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Path, View]]:
        """The rows by view and month, with the file each part belongs in."""
        months = rows.partition_by("_month", as_dict=True, include_key=False)
        for view in View:
            schema = _schema(view)
            missing = [name for name in schema if name not in rows.columns]
            if len(missing) == len(features_of(view)):
                continue
            if missing:
                raise StorageError(f"cannot write {view}: the frame lacks {missing}; compute all of the view")
            self.folder(view).mkdir(parents=True, exist_ok=True)
            for (month,), part in months.items():
                yield part.select(list(schema)).cast(schema).sort(*_KEY), self.folder(view) / f"{month}.parquet", view

    def known(self, view: View, start: datetime, end: datetime, at: datetime | None = None) -> pl.DataFrame:
        """A view's rows with ``start <= event_timestamp <= end``, each as last known at a time (default: now)."""
        first, last = start.strftime("%Y-%m"), end.strftime("%Y-%m")
        # an exchange ahead of UTC can close on the last UTC day of the month before: read one file more
        files = [
            file
            for file in sorted(self.folder(view).glob("*.parquet"))
            if file.name != _SCHEMA_FILE and _month_before(first) <= file.stem <= _month_after(last)
        ]
        if not files:
            return pl.DataFrame(schema=_schema(view))
        rows = pl.concat([pl.read_parquet(file) for file in files]).filter(pl.col(EVENT).is_between(start, end))
        if at is not None:
            rows = rows.filter(pl.col(CREATED) <= at)
        return rows.sort(*_KEY, CREATED).unique(_KEY, keep="last", maintain_order=True)

    def _timed(self, frame: pl.DataFrame, known_at: datetime | None) -> pl.DataFrame:
        """The frame with month, event and created timestamps in place of session and known_at."""
        if known_at is None and "known_at" not in frame.columns:
            raise StorageError("cannot write features: pass known_at, or give the frame a column known_at")
        if known_at is not None and known_at.tzinfo is None:
            raise StorageError(f"cannot write features: known_at {known_at} has no time zone; pass UTC")
        sessions = frame["session"].unique().sort()
        days = sessions.to_numpy().astype("datetime64[D]")
        closes = pl.Series(session_closes(days, self.exchange)).dt.replace_time_zone("UTC")
        timed = frame.join(pl.DataFrame({"session": sessions, EVENT: closes}), on="session", maintain_order="left")
        created = pl.lit(known_at).cast(_TIME) if known_at is not None else pl.col("known_at").cast(_TIME)
        timed = timed.with_columns(created.alias(CREATED), pl.col("session").dt.strftime("%Y-%m").alias("_month"))
        early = timed.filter(pl.col(CREATED) < pl.col(EVENT))
        if len(early):
            row = early.row(0, named=True)
            raise StorageError(
                f"cannot write features: {row['symbol']} of {row['session']} is said to be known at {row[CREATED]}, "
                f"before that session's close at {row[EVENT]}"
            )
        return timed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time over all processes; a file is read and replaced under the lock."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / "offline.lock", timeout=120):
            yield


def _schema(view: View) -> pl.Schema:
    features = {feature.name: pl.Float64() for feature in features_of(view)}
    return pl.Schema({"symbol": pl.String(), EVENT: _TIME, CREATED: _TIME, **features})


def _conformed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    absent = [pl.lit(None).cast(kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(absent).select(list(schema)).cast(schema)


def _with_news(rows: pl.DataFrame, file: Path, view: View) -> tuple[int, Change | None]:
    """How many rows say something new, and the file's content with them (None: as it is)."""
    duplicates = rows.filter(rows.select(_KEY).is_duplicated())
    if len(duplicates):
        found = duplicates.row(0)[:2]
        raise StorageError(f"cannot write {view}: two rows for {found}; give one row a symbol and session")
    if not file.exists():
        return len(rows), (rows, file, frozenset())
    schema = _schema(view)
    stored, young = _conformed(pl.read_parquet(file), schema), _uncomputed(file, schema)
    if stored.drop(CREATED).equals(rows.drop(CREATED)) and (stored[CREATED] <= rows[CREATED]).all():
        return 0, None
    names = [feature.name for feature in features_of(view)]
    before = rows.select(*_KEY, pl.col(CREATED).alias("_at")).join(stored, on=_KEY)
    before = before.filter(pl.col(CREATED) <= pl.col("_at")).sort(*_KEY, CREATED).unique(_KEY, keep="last")
    later = stored.group_by(_KEY).agg(pl.col(CREATED).max().alias("_last"))
    compared = rows.join(before.drop("_at"), on=_KEY, how="left", suffix="_stored").join(later, on=_KEY, how="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in names)
    known = pl.col(f"{CREATED}_stored").is_not_null()
    news = compared.filter(~(known & same))
    filling = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(f"{name}_stored"))
        | (pl.col(f"{name}_stored").is_null() if name in young else pl.lit(False))
        for name in names
    )
    fills = news.filter(known & filling & (pl.col(CREATED) == pl.col(f"{CREATED}_stored")))
    news = news.join(fills, on=_KEY, how="anti")
    contradiction = news.filter(known & (pl.col(CREATED) <= pl.col("_last")))
    if len(contradiction):
        row = contradiction.row(0, named=True)
        changed = [name for name in names if row[name] != row[f"{name}_stored"]]
        raise StorageError(
            f"cannot write {view}: {row['symbol']} at {row[EVENT]} would change what was already recorded by "
            f"{row['_last']} ({', '.join(changed[:3])}); what was known cannot be rewritten: pass a later known_at"
        )
    if news.is_empty() and fills.is_empty():
        return 0, None
    kept = stored.join(fills, on=[*_KEY, CREATED], how="anti") if len(fills) else stored
    added = [part.select(stored.columns) for part in (fills, news)]
    return len(news) + len(fills), (pl.concat([kept, *added]).sort(*_KEY, CREATED), file, young)


def _uncomputed(file: Path, schema: pl.Schema) -> frozenset[str]:
    """The columns of the schema that came after the file's rows: recorded in it, or not in it yet."""
    recorded = pl.read_parquet_metadata(file).get(_UNCOMPUTED, "").split()
    return frozenset(recorded) | (frozenset(schema) - frozenset(pl.read_parquet_schema(file)))


def _replace(frame: pl.DataFrame, file: Path, uncomputed: frozenset[str] = frozenset()) -> None:
    """Write beside the file, then put it in place in one step: a reader sees the old file or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    metadata = {_UNCOMPUTED: " ".join(sorted(uncomputed))} if uncomputed and len(frame) else None
    frame.write_parquet(temporary, compression="zstd", compression_level=1, metadata=metadata)
    with open(temporary, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, file)


def _month_before(month: str) -> str:
    return str(np.datetime64(month, "M") - 1)


def _month_after(month: str) -> str:
    return str(np.datetime64(month, "M") + 1)
