"""The marts that were written, and the project of SQL models with something broken on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from quant_dagster.operations.sql.project import SQL_FOLDER, SqlProject

MARTS = ("alpha_performance", "daily_decisions", "daily_pnl", "daily_positions", "data_quality_summary",
         "forecast_quality", "signal_quality", "trade_blotter")  # fmt: skip


def mart(built: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(built / f"{name}.parquet")


def changed(folder: Path, file: str, old: str, new: str) -> SqlProject:
    """The real project with one text replaced."""
    shutil.copytree(SQL_FOLDER, folder, ignore=shutil.ignore_patterns("target", "logs"))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    return SqlProject.load(folder)
