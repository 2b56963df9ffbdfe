"""The family answers the same whether its model comes from memory, from a file or from a training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from quant_dagster.forecasting.families import boosting
from quant_dagster.forecasting.families.boosting import boosting_family
from quant_dagster.forecasting.families.protocol import Answer, EarlierFit, Request
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.learned import artifacts
from quant_dagster.forecasting.learned.artifacts import importance_frame
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.storage.tables import TABLES
from tests.unit.forecasting.learned.market import SMALL
from tests.unit.forecasting.real_returns import stock_panel

AT, LATER = 600, 603


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    boosting._recent.clear()
    yield
    boosting._recent.clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def first(folder: Path) -> list[Answer]:
    """Trained at ``AT``; its model is in ``folder``."""
    return answers(request(AT, replace(SMALL, artifacts=folder)))


def request(
    upto: int, settings: ForecastParameters = SMALL, earlier: Answer | None = None, panel: Panel | None = None
) -> Request:
    """Asked at session number ``upto``, with the window the runner gives."""
    whole = panel or stock_panel()
    seen = whole.rows(0, upto).last(settings.window + 1)
    known = {}
    if earlier is not None:
        assert earlier.fitted_on is not None
        age = upto - 1 - int(np.searchsorted(whole.sessions, np.datetime64(earlier.fitted_on)))
        parameters = json.loads(json.dumps(earlier.parameters))
        known = {j: EarlierFit(earlier.fitted_on, age, parameters) for j in range(len(whole.symbols))}
    tried = np.ones(len(whole.symbols), np.bool_)
    history = return_history(seen, settings.window, settings.longest_gap)
    return Request(history, (1, 5), settings, 2, tried, seen, earlier=known)


def answers(asked: Request) -> list[Answer]:
    replies = boosting_family(asked)
    assert all(isinstance(reply, Answer) for reply in replies), replies
    return [reply for reply in replies if isinstance(reply, Answer)]


def assert_same(one: list[Answer], other: list[Answer]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.std, b.std)
        assert (a.parameters, a.diagnostics, a.fitted_on) == (b.parameters, b.diagnostics, b.fitted_on)


def session(number: int) -> date:
    return stock_panel().rows(0, number).last_session


def test_a_model_carried_forward_is_trained_again_to_the_same_bits(folder: Path, first: list[Answer]) -> None:
    assert first[0].fitted_on == session(AT)
    from_file = answers(request(LATER, replace(SMALL, artifacts=folder), first[0]))
    boosting._recent.clear()
    trained_again = answers(request(LATER, SMALL, first[0]))
    assert_same(from_file, trained_again)
    assert trained_again[0].fitted_on == session(AT)
    assert [a.mean[0] for a in trained_again] != [a.mean[0] for a in first] or first[0].diagnostics["slope"] == 0.0
    assert trained_again[0].diagnostics["prediction"] != first[0].diagnostics["prediction"]


def test_the_last_session_of_a_model_still_holds_all_it_was_trained_on(
    folder: Path, first: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "train", lambda *_: pytest.fail("another key, so other bars"))
    end = AT + SMALL.learned.retrain_sessions - 1
    last = answers(request(end, replace(SMALL, artifacts=folder), first[0]))
    assert last[0].parameters == first[0].parameters


def test_a_model_is_trained_anew_when_it_has_reached_its_age(first: list[Answer]) -> None:
    due = AT + SMALL.learned.retrain_sessions
    assert answers(request(due, SMALL, first[0]))[0].fitted_on == session(due)


def test_restated_bars_are_trained_on_anew(first: list[Answer]) -> None:
    panel = stock_panel()
    close = panel.close.copy(order="F")
    close[AT - 50, 3] *= 1.2
    restated = Panel(
        panel.sessions, panel.symbols, **{f: getattr(panel, f) for f in FIELDS if f != "close"}, close=close
    )
    assert answers(request(LATER, SMALL, first[0], restated))[0].fitted_on == session(LATER)


def test_a_file_that_is_not_the_reports_is_not_opened(
    folder: Path, first: list[Answer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import joblib

    cached = replace(SMALL, artifacts=folder)
    key = str(first[0].parameters["artifact"])
    model = folder / "boosting" / f"{key}.joblib"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    opened: list[object] = []
    monkeypatch.setattr(joblib, "load", opened.append)
    assert_same(answers(request(AT, cached)), first)
    assert opened == []
    assert "not the file its report describes" in caplog.text
    monkeypatch.undo()
    assert artifacts.load_model(folder / "boosting", key) is not None, "the file was replaced by the new training"


def test_a_file_is_used_and_not_trained_again(
    folder: Path, first: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "train", lambda *_: pytest.fail("trained again"))
    assert_same(answers(request(AT, replace(SMALL, artifacts=folder))), first)


def test_means_and_deviations_are_those_of_the_horizons(first: list[Answer]) -> None:
    found = first[0]
    assert found.mean[1] == pytest.approx(5.0 * found.mean[0])
    assert found.std[1] == pytest.approx(np.sqrt(5.0) * found.std[0])
    history = request(AT).history
    slope, signal = found.diagnostics["slope"], found.diagnostics["prediction"]
    assert isinstance(slope, float)
    assert isinstance(signal, float)
    assert found.mean[1] == pytest.approx(5.0 * history.mean[0] + slope * signal)


def test_nothing_after_the_session_changes_an_answer(first: list[Answer]) -> None:
    panel = stock_panel()
    close = panel.close.copy(order="F")
    close[AT:] *= 3.0
    later = Panel(panel.sessions, panel.symbols, **{f: getattr(panel, f) for f in FIELDS if f != "close"}, close=close)
    assert_same(answers(request(AT, panel=later)), first)


def test_too_little_history_is_the_reason_for_every_symbol() -> None:
    replies = boosting_family(request(60))
    assert len(replies) == 20
    assert all("too few" in str(reply) for reply in replies)


def test_importance_rows_are_those_of_their_table(folder: Path, first: list[Answer]) -> None:
    found = first[0]
    report = json.loads((folder / "boosting" / f"{found.parameters['artifact']}.json").read_text(encoding="utf-8"))
    frame = importance_frame(report)
    table = TABLES["feature_importance"]
    assert [(c.name, c.dtype) for c in table.columns] == list(frame.schema.items())
    assert frame.select(table.key).is_unique().all()
    assert frame.null_count().sum_horizontal().item() == 0
    assert set(frame["session"]) == {session(AT)}
    final = frame.filter(selected=True, fold=-1).sort("rank")
    assert final["feature"].to_list() == found.parameters["features"]
    assert len(report["sha256"]) == 64
    assert report["metrics"]["information_coefficient"] == found.diagnostics["information_coefficient"]
