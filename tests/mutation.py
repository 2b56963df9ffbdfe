"""Mutation testing of quant_dagster/risk with mutmut: does a test notice when a line is changed?

    python -m tests.mutation [--part gate] [--sample 150] [--seed 5] [--workers 1]

Needs mutmut (``pip install 'quant-dagster[mutation]'``). Each part is mutated in a copy of its own under a temporary
folder, with the tests of that part and the compiler switched off (``NUMBA_DISABLE_JIT=1``; the decorators that call it
are taken out of the copy, because mutmut passes decorated functions over). ``--sample`` tries that many mutants of
each part, drawn by the seed; 0 tries all, which takes hours. Prints the survivors and what they change.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COPIED = ("quant_dagster", "tests", "config", "assets", "resources", "sensors", "feature_repo", "dbt_like_sql", "docs")
UNIT = "tests/unit/risk"
PARTS = {
    "gate": (["gate/*"], [f"{UNIT}/gate", f"{UNIT}/test_expected_shortfall.py"]),
    "actions": (["actions.py"], [f"{UNIT}/test_actions.py"]),
    "sizing": (["sizing.py", "expected_shortfall.py"],
               [f"{UNIT}/test_sizing.py", f"{UNIT}/test_expected_shortfall.py", f"{UNIT}/gate/test_gate.py"]),
    "control": (["control.py", "operators.py", "permission.py", "kill_switch/*"],
                [f"{UNIT}/test_control.py", f"{UNIT}/test_operators.py", f"{UNIT}/test_permission.py",
                 f"{UNIT}/kill_switch"]),
    "panic": (["panic.py"], [f"{UNIT}/test_panic.py"]),
    "account_rules": (["account_rules/*"], [f"{UNIT}/account_rules"]),
    "measures": (["measures/*"], [f"{UNIT}/measures"]),
    "stress": (["stress/*"], [f"{UNIT}/stress"]),
    "construction": (["construction/*"], [f"{UNIT}/construction"]),
}  # fmt: skip


def prepare(part: str, folder: Path) -> None:
    """A copy of the project in which one part will be mutated."""
    files, tests = PARTS[part]
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(PROJECT / name, folder / name, ignore=ignore)
    for source in (folder / "quant_dagster" / "risk").rglob("*.py"):
        source.write_text(re.sub(r"^@njit\(.*\)\n", "", source.read_text(), flags=re.M))
    only = [f"quant_dagster/risk/{name}" for name in files]
    arguments = ["-p", "no:xdist", "-m", "not soak and not postgres", "-k", "not postgresql"]
    settings = f"""
[tool.mutmut]
source_paths = ["quant_dagster"]
only_mutate = {only}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {arguments}
also_copy = {[name for name in COPIED if name not in ("quant_dagster", "tests")]}
use_git_change_detection = false
track_dependencies = false
"""
    (folder / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text() + settings)


def mutmut(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUANT_")}
    environment |= {"NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def try_part(part: str, sample: int, seed: int, workers: int) -> tuple[int, int]:
    """Mutants killed and tried."""
    with tempfile.TemporaryDirectory(prefix=f"mutation_{part}_") as name:
        folder = Path(name)
        prepare(part, folder)
        # One mutant is run so that mutmut makes all of them and finds out which test calls what.
        begun = mutmut(folder, "run", "--max-children", "1", "nothing_is_called_this*")
        listed = mutmut(folder, "results", "--all", "true")
        mutants = sorted(set(re.findall(r"(quant_dagster\.risk\.\S+__mutmut_\d+)", listed)))
        if not mutants:
            print(begun[-3000:], listed[-500:])
            raise SystemExit(f"{part}: mutmut made no mutants")
        chosen = mutants if not sample else sorted(random.Random(seed).sample(mutants, min(sample, len(mutants))))
        mutmut(folder, "run", "--max-children", str(workers), *chosen)
        results = dict(
            re.findall(r"(quant_dagster\.risk\.\S+__mutmut_\d+): (.+)", mutmut(folder, "results", "--all", "true"))
        )
        tried = {one: results.get(one, "not checked") for one in chosen}
        dead = sum(result in ("killed", "timeout") for result in tried.values())
        kinds = ", ".join(f"{kind} {list(tried.values()).count(kind)}" for kind in sorted(set(tried.values())))
        share = dead / len(tried)
        print(f"{part}: {len(mutants)} mutants, {len(tried)} tried, {dead} killed ({share:.1%}); {kinds}", flush=True)
        for one, result in tried.items():
            if result not in ("killed", "timeout"):
                changed = [
                    line for line in mutmut(folder, "show", one).splitlines() if re.match(r"^[+-](?![+-])", line)
                ]
                print(f"  {one}: {result}\n    " + "\n    ".join(changed), flush=True)
        return dead, len(tried)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=sorted(PARTS), action="append")
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    killed = tried = 0
    for part in chosen.part or PARTS:
        dead, all_of_it = try_part(part, chosen.sample, chosen.seed, chosen.workers)
        killed, tried = killed + dead, tried + all_of_it
    print(f"all: {killed} of {tried} killed ({killed / tried:.1%})")


if __name__ == "__main__":
    main()
