"""Where answers of remote vendors land before they are stored: what was paid for with a request is not asked twice.

One file per vendor, symbol and range, written whole or not at all. A load that was killed finds here what it had
received, asks only for the rest, and stores everything in one commit. What is stored is removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import quote

import polars as pl

from quant_dagster.market_data.vendors.protocol import REJECT_SCHEMA, ROW_SCHEMA, VendorAnswer


@dataclass(frozen=True)
class Request:
    """Daily bars of one symbol, both ends included."""

    symbol: str
    start: date
    end: date


class Landing:
    """Answers that were received and not yet stored.

    Parameters
    ----------
    folder
        Usually ``QUANT_HOME/landing``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, request: Request, answer: VendorAnswer) -> None:
        """Keep an answer; it is there for every process from here on."""
        path = self._path(answer.vendor, request)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(answer.rejected.select(pl.col(n).cast(t) for n, t in REJECT_SCHEMA.items()), _rejected(path))
        _write(answer.rows.select(pl.col(n).cast(t) for n, t in ROW_SCHEMA.items()), path)

    def has(self, vendor: str, request: Request) -> bool:
        """Whether the answer to this very request is here."""
        return self._path(vendor, request).is_file()

    def take(self, vendor: str, requests: Sequence[Request]) -> VendorAnswer:
        """Everything that is here of the requests, as one answer; symbols without rows are named missing."""
        paths = [path for path in (self._path(vendor, request) for request in requests) if path.is_file()]
        rows = pl.concat([pl.DataFrame(schema=ROW_SCHEMA), *(pl.read_parquet(path) for path in paths)])
        rejected = pl.concat(
            [pl.DataFrame(schema=REJECT_SCHEMA), *(pl.read_parquet(_rejected(path)) for path in paths)]
        )
        found = set(rows["symbol"].to_list())
        missing = tuple(request.symbol for request in requests if request.symbol not in found)
        return VendorAnswer(vendor, f"{len(paths)} answers of {vendor}", rows, rejected, missing)

    def clear(self, vendor: str, requests: Sequence[Request]) -> None:
        """Forget answers that were stored."""
        for request in requests:
            path = self._path(vendor, request)
            path.unlink(missing_ok=True)
            _rejected(path).unlink(missing_ok=True)

    def _path(self, vendor: str, request: Request) -> Path:
        name = f"{quote(request.symbol, safe='')}_{request.start}_{request.end}.parquet"
        return self.folder / quote(vendor, safe="") / name


def _rejected(path: Path) -> Path:
    return path.with_suffix(".rejected.parquet")


def _write(frame: pl.DataFrame, path: Path) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        frame.write_parquet(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
