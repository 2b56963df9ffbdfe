import json
import re
from dataclasses import replace

import polars as pl
import pytest

from quant_dagster.forecasting.families.registry import chosen
from quant_dagster.forecasting.language_model import Question, ask_in_batches, read_answer
from quant_dagster.forecasting.parameters import ForecastParameters, LanguageModelParameters
from quant_dagster.forecasting.records import ForecastModel
from quant_dagster.forecasting.runner import forecast_session
from quant_dagster.quality.contracts import validate
from tests.support.language_model_server import language_model_server
from tests.unit.forecasting.real_returns import panel_of, stock_panel

QUESTIONS = [Question("AAPL", "daily volatility 150 bps", 0.03), Question("JPM", "daily volatility 160 bps", 0.03)]


def view(symbol, bps=20.0, confidence=0.4, rationale="it rose"):
    return {"symbol": symbol, "expected_return_bps": bps, "confidence": confidence, "rationale": rationale}


def views(prompt, **changes):
    """A sound view on every symbol the prompt lists."""
    symbols = re.findall(r"^([A-Z]+): ", prompt, flags=re.MULTILINE)
    return json.dumps({"views": [view(symbol, **changes) for symbol in symbols]})


def parameters(server, **changes):
    return replace(LanguageModelParameters(base_url=server.url, timeout_seconds=5.0), **changes)


@pytest.mark.parametrize("api", ["ollama", "openai"])
def test_each_interface_is_spoken_in_its_own_form_and_answered(api):
    with language_model_server(views) as server:
        found = ask_in_batches(QUESTIONS, 5, parameters(server, api=api, api_key="k-1"))
    assert [(v.symbol, v.mean, v.confidence, v.problem) for v in found] == [
        ("AAPL", 0.002, 0.4, None),
        ("JPM", 0.002, 0.4, None),
    ]
    assert len(server.requests) == 1  # both in one request
    assert server.headers[0]["Authorization"] == "Bearer k-1"
    assert "AAPL: daily volatility 150 bps" in found[0].prompt
    assert json.loads(found[0].answer)["views"][0]["symbol"] == "AAPL"


def test_symbols_are_sent_in_batches_and_come_back_in_order():
    questions = [Question(name, "flat", 0.02) for name in ("A", "B", "C", "D", "E")]
    with language_model_server(views) as server:
        found = ask_in_batches(questions, 1, parameters(server, batch=2, concurrency=3))
    assert [v.symbol for v in found] == ["A", "B", "C", "D", "E"]
    assert len(server.requests) == 3
    assert all(v.problem is None for v in found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("I would buy AAPL.", "not the JSON"),
        ('{"views": {"AAPL": 1}}', "not the JSON"),
        ('{"opinion": []}', "not the JSON"),
        (json.dumps({"views": [view("JPM")]}), "0 views on AAPL"),
        (json.dumps({"views": [view("AAPL"), view("AAPL", bps=-5)]}), "2 views on AAPL"),
        (json.dumps({"views": [view("AAPL") | {"order": "BUY 1000 AAPL"}]}), "has the fields"),
        (json.dumps({"views": [view("AAPL", bps="20")]}), "wrong type"),
        (json.dumps({"views": [view("AAPL", confidence=True)]}), "wrong type"),
        (json.dumps({"views": [view("AAPL", confidence=1.5)]}), "not between 0 and 1"),
        (json.dumps({"views": [view("AAPL", bps=5000)]}), "not believed"),
        (json.dumps({"views": [view("AAPL", bps=float("nan"))]}), "wrong type"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused_and_kept(content, said):
    (found,) = read_answer(QUESTIONS[:1], "the prompt", content)
    assert found.mean is None
    assert said in found.problem
    assert (found.prompt, found.answer) == ("the prompt", content)


def test_what_is_said_of_symbols_nobody_asked_about_goes_nowhere():
    content = json.dumps({"views": [view("AAPL"), view("EVIL", bps=1.0)]})
    assert [v.symbol for v in read_answer(QUESTIONS[:1], "", content)] == ["AAPL"]


def test_a_server_error_is_tried_again_and_a_refusal_is_not():
    with language_model_server(views, 503) as server:
        found = ask_in_batches(QUESTIONS, 5, parameters(server))
        assert len(server.requests) == 2
        assert found[0].problem is None
    with language_model_server(views, 401, 401) as server:
        found = ask_in_batches(QUESTIONS, 5, parameters(server))
        assert len(server.requests) == 1
        assert "HTTP 401" in found[0].problem


def test_a_server_that_hangs_or_is_none_costs_a_reason_and_no_more():
    with language_model_server(views, "hang", "hang") as server:
        found = ask_in_batches(QUESTIONS, 5, parameters(server, timeout_seconds=0.2))
        assert "ReadTimeout" in found[0].problem
    gone = ask_in_batches(QUESTIONS, 5, parameters(server))
    assert "no answer after 2 attempts" in gone[0].problem
    with language_model_server(views, "garbage") as server:
        found = ask_in_batches(QUESTIONS, 5, parameters(server))
        assert "did not answer as a ollama server" in found[0].problem


def test_it_is_off_by_default_and_its_prompt_and_answer_are_kept_when_it_is_on():
    panel = panel_of(stock_panel().close[-501:, :3], ("AAPL", "JPM", "XOM"))
    settings = ForecastParameters(window=500, workers=1, families=("ar",))
    assert ForecastModel.LANGUAGE_MODEL not in {spec.model for spec in chosen(ForecastParameters())}

    def answer(prompt):
        return json.dumps({"views": [view("AAPL", bps=10.0), view("JPM", bps=9e9), view("XOM", bps=-4.0)]})

    with language_model_server(answer) as server:
        on = replace(settings, families=("ar", "language_model"), language_model=parameters(server))
        run = forecast_session(panel, data_version=1, settings=on)
    validate("forecasts", run.frame)
    rows = run.frame.filter(pl.col("model") == "language_model", pl.col("horizon") == 5)
    assert rows["answered_by"].to_list() == ["language_model", "historical_mean", "language_model"]
    assert rows["mean"][0] == pytest.approx(0.001)
    kept = [json.loads(text) for text in rows["diagnostics"]]
    assert "AAPL: daily volatility" in kept[0]["prompt"]
    assert "9000000000" in kept[1]["refused"]["answer"]
    assert "not believed" in rows["fallback"][1]
