"""Compiled kernels: a folder for exactly these sources, and numba really uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quant_dagster import compiled
from quant_dagster.compiled import cache_directory, kernel_sources_hash
from tests.support.replays import PROJECT

PACKAGE = PROJECT / "quant_dagster"
FOLDERS = ("features", "forecasting", "strategies", "risk")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        shutil.copytree(PACKAGE / folder, tmp_path / "package" / folder)
    return tmp_path / "package"


def test_the_hash_is_of_contents_not_of_the_place(sources: Path) -> None:
    assert kernel_sources_hash(sources) == kernel_sources_hash() == kernel_sources_hash(PACKAGE)


def test_a_change_in_any_source_that_holds_kernels_changes_the_folder(sources: Path) -> None:
    seen = {kernel_sources_hash(sources)}
    files = sorted(sources.rglob("*.py"))
    assert len(files) > 20
    for number, file in enumerate(files, start=1):
        file.write_text(file.read_text() + "\n# one byte more\n")
        seen.add(kernel_sources_hash(sources))
        assert len(seen) == number + 1, f"a change of {file.name} went unnoticed"


def test_a_new_a_moved_and_a_removed_source_change_the_folder(sources: Path) -> None:
    seen = [kernel_sources_hash(sources)]
    (sources / "risk" / "new.py").write_text("")
    seen.append(kernel_sources_hash(sources))
    (sources / "risk" / "new.py").rename(sources / "risk" / "newer.py")
    seen.append(kernel_sources_hash(sources))
    (sources / "risk" / "newer.py").unlink()
    assert len(set(seen)) == 3
    assert kernel_sources_hash(sources) == seen[0]


def test_every_module_with_kernels_is_in_a_folder_that_is_hashed() -> None:
    using = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py")
             if "from quant_dagster.compiled import" in file.read_text(encoding="utf-8")}  # fmt: skip
    assert using <= set(compiled._KERNEL_FOLDERS)


def test_the_folder_lies_under_the_home(quant_home: Path) -> None:
    assert cache_directory() == quant_home.resolve() / "kernels" / kernel_sources_hash()


def test_numba_writes_there_and_reads_it_again(tmp_path: Path) -> None:
    """Two processes: the first compiles into the folder, the second compiles nothing."""
    program = (
        "import numpy as np; from quant_dagster.features.rolling import rolling_mean as kernel;"
        "x = np.arange(60.0).reshape(2, 30); mean = np.empty_like(x); kernel(x, 5, mean);"
        "assert mean[0, 29] == x[0, 25:].mean();"
        "print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))"
    )
    variables = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    variables |= {"QUANT_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", program], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=180,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run() == "0 1"
    compiled_files = list((tmp_path / "kernels" / kernel_sources_hash()).rglob("*.nbc"))
    assert compiled_files
    assert run() == "1 0"
