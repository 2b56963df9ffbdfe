"""Feature flags in a process that keeps running: the settings file is written, the next routing obeys."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.inputs import approval_inputs
from quant_dagster.cycle.session import SessionCycle
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies import flags as flags_module
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.flags import FlagFiles, flag_problem, hot_flags

EVERYTHING = dict.fromkeys(ALPHAS, True)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file $QUANT_CONFIG names, and flags that nothing was read into before."""
    path = tmp_path / "flags.yaml"
    path.write_text("")
    monkeypatch.setenv("QUANT_CONFIG", str(path))
    monkeypatch.setattr(flags_module, "_FILES", FlagFiles())
    return path


def desk() -> SessionCycle:
    """A desk over real prices, with a combined forecast of every symbol from its own mean and deviation."""
    context = TradingContext(load_settings({"market_data": {"history_start": "2020-01-02"}}))
    history.backfill(context, context.settings.market_data.history_start, None)
    newest = context.lake.read("bars", columns=["session"], ordered=False)["session"].max()
    cycle = SessionCycle(context, newest)
    returns = np.diff(np.log(cycle.panel.close[-251:]), axis=0)
    empty = TABLES["forecasts"].empty()
    rows = pl.DataFrame(
        {"session": [newest] * len(cycle.panel.symbols), "symbol": list(cycle.panel.symbols),
         "mean": returns.mean(axis=0) * 5, "std": returns.std(axis=0) * 5**0.5}
    ).with_columns(
        model=pl.lit("combined"), answered_by=pl.lit("combined"), status=pl.lit("fitted"), horizon=pl.lit(5, pl.Int32),
        diagnostics=pl.lit("{}"), parameters=pl.lit("{}"), data_version=pl.lit(0, pl.Int64),
    )  # fmt: skip
    context.lake.merge("forecasts", pl.concat([empty, rows], how="diagonal"))
    return cycle


def enabled(frame: pl.DataFrame) -> dict[str, bool]:
    return dict(frame.select("alpha", "enabled").unique().iter_rows())


def test_the_next_routing_obeys_the_file_and_the_bundle_keeps_its_shape(file: Path) -> None:
    cycle = desk()
    assert enabled(cycle.make_signals()) == EVERYTHING
    stored = approval_inputs(cycle.context, cycle.session, cycle.panel)
    assert any(state.bundle.primary and state.bundle.primary.alpha == "trend" for state in stored.states)

    file.write_text("signals: {flags: {trend: false, composite: false}}\n")
    # Signals that were stored before are not traded on either.
    routed = approval_inputs(cycle.context, cycle.session, cycle.panel)
    for state in routed.states:
        assert [one.alpha for one in state.bundle.signals] == sorted(ALPHAS)
        speaking = {one.alpha for one in (state.bundle.primary, state.bundle.fallback) if one}
        assert not speaking & {"trend", "composite"}
    off = cycle.make_signals()
    assert enabled(off) == EVERYTHING | {"trend": False, "composite": False}
    assert off.select("symbol", "alpha").n_unique() == len(cycle.panel.symbols) * len(ALPHAS)

    file.write_text("signals: {flags: {trend: true}}\n")
    assert enabled(cycle.make_signals()) == EVERYTHING


def test_the_same_session_again_stores_nothing_new(file: Path) -> None:
    cycle = desk()
    cycle.make_signals()
    versions = {name: cycle.context.lake.version(name) for name in ("signals", "pairs", "alpha_performance")}
    again = SessionCycle(cycle.context, cycle.session)
    again.make_signals()
    assert {name: cycle.context.lake.version(name) for name in versions} == versions


@pytest.mark.parametrize(
    "broken", ["signals: {flags: {trnd: false}}\n", "signals: [\n", "signals: {flags: {trend: maybe}}\n", "\xff\xfe"]
)
def test_a_broken_file_keeps_the_last_good_flags_and_says_so(
    file: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings()
    file.write_text("signals: {flags: {pairs: false}}\n")
    good = EVERYTHING | {"pairs": False}
    assert (hot_flags(settings), flag_problem(settings)) == (good, None)
    with caplog.at_level(logging.ERROR):
        file.write_bytes(broken.encode("latin-1"))
        for _ in range(3):
            assert hot_flags(settings) == good
            assert "flags.yaml" in (flag_problem(settings) or "") or "decode" in (flag_problem(settings) or "")
    file.write_text("signals: {flags: {pairs: true}}\n")
    assert (hot_flags(settings), flag_problem(settings)) == (EVERYTHING, None)


def test_a_broken_file_is_logged_once_as_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    class Log:
        def error(self, event: str, **what: object) -> None:
            said.append((event, json.dumps(what, default=str)))

        def warning(self, event: str, **what: object) -> None:
            pass

    monkeypatch.setattr(flags_module, "_log", Log())
    settings = load_settings()
    file.write_text("signals: {flags: {trnd: false}}\n")
    for _ in range(3):
        hot_flags(settings)
    assert [event for event, _ in said] == ["signal_flags_unreadable"]
    assert "trnd" in said[0][1]


def test_a_file_that_was_never_good_leaves_the_flags_the_process_was_started_with(file: Path) -> None:
    file.write_text("signals: {flags: {learned: false}}\n")
    settings = load_settings()
    file.write_text("signals: {flags: 3}\n")
    assert hot_flags(settings) == EVERYTHING | {"learned": False}
    assert flag_problem(settings)


def test_the_files_are_read_only_when_one_has_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, reads = load_settings(), []

    def counted(**options: object) -> object:
        reads.append(1)
        return load_settings(**options)  # type: ignore[arg-type]

    monkeypatch.setattr(flags_module, "load_settings", counted)
    for _ in range(5):
        hot_flags(settings)
    assert len(reads) == 1
    file.write_text("signals: {flags: {pairs: false}}\n")
    assert hot_flags(settings)["pairs"] is False and len(reads) == 2
    monkeypatch.setenv("QUANT_SIGNALS__FLAGS", '{"trend": false}')
    assert hot_flags(settings).get("trend") is False and len(reads) == 3
