"""What the layout promises: one way to a broker, one way to an order, and a command that starts fast."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_dagster.execution import order_log
from quant_dagster.risk.gate import RiskDecision
from tests.support.replays import PROJECT, environment

SOURCES = [PROJECT / name for name in ("quant_dagster", "assets", "resources", "sensors")]
HEAVY = {"pandas", "pandera", "great_expectations", "feast", "statsmodels", "sktime", "scipy", "arch", "skfolio",
         "hmmlearn", "exchange_calendars", "numba", "matplotlib", "plotly", "dagster", "sklearn", "duckdb"}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in SOURCES:
        for file in sorted(folder.rglob("*.py")):
            yield file.relative_to(PROJECT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.Module, method: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and node.func.attr == method]  # fmt: skip


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def receiver(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return ast.unparse(call.func.value)


def test_only_the_execution_desk_submits_to_a_broker() -> None:
    found = {(name, receiver(call)) for name, tree in modules() for call in calls(tree, "submit")}
    # A cycle asks the desk, and the desk asks the broker; nobody else submits anything.
    to_a_broker = {(name, target) for name, target in found if target.endswith("broker")}
    assert to_a_broker == {("quant_dagster/execution/desk.py", "self.broker")}
    others = {target.rpartition(".")[2] for _, target in found - to_a_broker}
    assert others <= {"desk", "cycle", "pool", "executor"}, found


def test_only_the_context_knows_the_paper_broker() -> None:
    knowing = {name for name, tree in modules() if any(i.endswith(".PaperBroker") for i in imported(tree))}
    assert knowing == {"quant_dagster/cycle/context.py"}
    assert "quant_dagster.execution.brokers.paper" not in {i for _, tree in modules() for i in imported(tree)}


def test_orders_are_inserted_in_one_place_which_takes_a_risk_decision() -> None:
    inserting = set()
    for name, tree in modules():
        if "migrations" in name:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            text = ast.unparse(node)
            raw_sql = "insert into orders" in text.lower() and name != "quant_dagster/execution/brokers/paper.py"
            if (
                text.startswith(("orders.insert(", "insert(orders"))
                or "insert_new(connection, orders," in text
                or raw_sql
            ):
                inserting.add(name)
    assert inserting == {"quant_dagster/execution/order_log.py"}
    tree = dict(modules())["quant_dagster/execution/order_log.py"]
    creating = [f.name for f in tree.body if isinstance(f, ast.FunctionDef) and "insert_new(" in ast.unparse(f)]
    assert creating == ["_insert"]
    calling = [f.name for f in tree.body if isinstance(f, ast.FunctionDef) and "return _insert(" in ast.unparse(f)]
    assert calling == ["create", "adopt"]
    adopting = {name for name, tree in modules() for _ in calls(tree, "adopt")}
    assert adopting == {"quant_dagster/execution/adoption.py"}, "only what the broker has and the ledger lost"
    parameters = inspect.signature(order_log.create, eval_str=True).parameters
    assert parameters["decision"].annotation is RiskDecision


def test_only_the_gate_makes_risk_decisions() -> None:
    made = {name for name, tree in modules() for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("RiskDecision")}  # fmt: skip
    assert made == {"quant_dagster/risk/gate/gate.py"}


def test_the_gate_is_opened_in_one_place_and_its_verdicts_become_orders_in_three() -> None:
    """The session's decisions, a person's word, automatic actions and slices: all ask the same gatekeeper."""
    opened: dict[str, set[str]] = {"Gate": set(), "Gatekeeper": set(), "order_log.create": set()}
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in opened:
                opened[ast.unparse(node.func)].add(name.removeprefix("quant_dagster/"))
    assert opened["Gate"] == {"cycle/gatekeeping.py"}
    asking = {"cycle/approval.py", "cycle/risk_actions.py", "cycle/slicing.py", "cycle/order_entry.py"}
    assert opened["Gatekeeper"] == asking
    assert opened["order_log.create"] == {"cycle/ordering.py", "cycle/risk_actions.py", "cycle/slicing.py"}


def test_only_the_execution_desk_cancels_at_a_broker() -> None:
    cancelling = {
        name for name, tree in modules() for call in calls(tree, "cancel") if receiver(call).endswith("broker")
    }
    assert cancelling == {"quant_dagster/execution/desk.py"}


def test_the_desk_looks_for_the_verdict_before_it_sends() -> None:
    tree = dict(modules())["quant_dagster/execution/desk.py"]
    (sending,) = [
        f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and "self.broker.submit(" in ast.unparse(f)
    ]
    body = ast.unparse(sending)
    assert body.index("self._may_send(") < body.index("self.broker.submit(")
    (looking,) = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == "_may_send"]
    assert "verdicts.require(" in ast.unparse(looking)


def test_only_one_module_imports_numba() -> None:
    knowing = {name for name, tree in modules() if any(i.split(".")[0] == "numba" for i in imported(tree))}
    assert knowing == {"quant_dagster/compiled.py"}


@pytest.mark.parametrize("build", ["main.build()", "main.build(); from quant_dagster.cycle import context, history"])
def test_the_command_starts_without_heavy_libraries(build: str, tmp_path: Path) -> None:
    program = f"import json, sys; from quant_dagster.cli import main; {build}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "quant_dagster" in loaded
    assert loaded & HEAVY == set()
