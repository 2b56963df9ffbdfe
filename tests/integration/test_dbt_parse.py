"""The folder of SQL models is a dbt project: the dbt command reads it, and builds the same tables from it.

Needs dbt-core below 1.12 with dbt-duckdb, in an environment of its own; ``DBT_EXECUTABLE`` names its command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_dagster.operations.sql.database import SqlDatabase, export_sources, run
from quant_dagster.operations.sql.project import SQL_FOLDER, SqlProject
from quant_dagster.storage.lake import Lake
from tests.support.replays import finished_replay, open_ledger, replayed_home

__all__ = ["finished_replay", "replayed_home"]


@pytest.fixture(scope="module")
def dbt() -> str:
    executable = os.environ.get("DBT_EXECUTABLE") or shutil.which("dbt")
    if executable is None:
        pytest.skip("the dbt command is not on this machine (set DBT_EXECUTABLE to run this test)")
    return executable


def call(dbt: str, command: str, home: Path, target: Path) -> subprocess.CompletedProcess[str]:
    options = ["--project-dir", str(SQL_FOLDER), "--profiles-dir", str(SQL_FOLDER)]
    done = subprocess.run(
        [dbt, "--warn-error", command, *options, "--target-path", str(target), "--log-path", str(target / "logs")],
        env=os.environ | {"QUANT_HOME": str(home), "DBT_DUCKDB_PATH": str(target / "built.duckdb")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_dbt_reads_the_project_as_we_do(dbt: str, tmp_path: Path) -> None:
    call(dbt, "parse", tmp_path, tmp_path / "target")
    nodes = json.loads((tmp_path / "target" / "manifest.json").read_text())["nodes"].values()
    project = SqlProject.load()
    theirs = {
        node["name"]: {name.rsplit(".", 1)[-1] for name in node["depends_on"]["nodes"]}
        for node in nodes
        if node["resource_type"] == "model"
    }
    ours = {name: {up.rsplit(".", 1)[-1] for up in project.depends_on(name)} for name in project.models}
    assert theirs == ours
    assert sum(node["resource_type"] == "test" for node in nodes) == len(project.tests)


def test_dbt_builds_the_same_marts_and_its_tests_pass(dbt: str, replayed_home: Path, tmp_path: Path) -> None:
    import duckdb

    project, lake, ledger = SqlProject.load(), Lake(replayed_home / "lake"), open_ledger(replayed_home)
    export_sources(project, lake, ledger, replayed_home / "marts" / "sources")
    call(dbt, "build", replayed_home, tmp_path)
    written = {result.name: result.path for result in run(project, lake, ledger, tmp_path / "ours") if result.path}
    assert len(written) == 8
    with duckdb.connect(str(tmp_path / "built.duckdb"), read_only=True) as theirs:
        theirs.execute("SET TimeZone = 'UTC'")
        for name, path in written.items():
            built = pl.DataFrame(pl.from_arrow(theirs.sql(f'SELECT * FROM "{name}"').to_arrow_table()))
            # dbt's joins see the rows in another order, and sums of doubles depend on it.
            assert_frame_equal(built, pl.read_parquet(path), rel_tol=1e-9, abs_tol=1e-12)


def test_exported_sources_are_the_rows_the_models_read(replayed_home: Path, tmp_path: Path) -> None:
    project, lake, ledger = SqlProject.load(), Lake(replayed_home / "lake"), open_ledger(replayed_home)
    paths = {path.name: path for path in export_sources(project, lake, ledger, tmp_path)}
    assert set(paths) == {f"{source}.parquet" for source in project.sources}
    assert pl.read_parquet(paths["ledger.fills.parquet"]).equals(ledger.frame("fills"))
    with SqlDatabase(project, lake, ledger, ["stg_bars"]) as database:
        bars = database.head("stg_bars", 10**9)
    key = ["symbol", "session"]
    assert pl.read_parquet(paths["lake.bars.parquet"]).sort(key).equals(bars.sort(key))
    assert bars.sort(key).equals(lake.read("bars").sort(key))
