"""Validation over a real lake of real prices: what is stored, what the desk then counts its models for."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import events
from quant_dagster.cycle.modelling import forecast_parameters, stored_weights
from quant_dagster.cycle.validation import validate
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES
from tests.unit.forecasting.real_returns import stock_panel

SYMBOLS = ("AAPL", "JPM", "XOM")
SESSIONS = 30
LAST = date(2020, 6, 30)


def desk(sessions: int = 340) -> TradingContext:
    """A desk whose lake holds real closes of three symbols, and which asks two models."""
    whole = stock_panel()
    panel = whole.columns([whole.symbols.index(symbol) for symbol in SYMBOLS]).last(sessions)
    table = TABLES["bars"]
    days = np.tile(panel.sessions, len(SYMBOLS))
    known = datetime(2020, 7, 1, tzinfo=UTC)
    values = {
        "symbol": np.repeat(SYMBOLS, sessions), "session": days, "close": panel.close.T.ravel(),
        "vendor": ["packaged"] * len(days), "known_at": [known] * len(days),
    }  # fmt: skip
    bars = pl.DataFrame({name: pl.Series(name, value) for name, value in values.items()}).with_columns(
        pl.lit(None).cast(dtype).alias(name) for name, dtype in table.schema.items() if name not in values
    )
    forecasting = {"families": ["ar", "garch11"], "window": 300, "workers": 1, "validation": {"blocks": 2}}
    context = TradingContext(load_settings({"forecasting": forecasting}), symbols=SYMBOLS)
    context.lake.merge("bars", bars.select(list(table.schema)).cast(table.schema))
    return context


def test_scores_and_losses_are_stored_and_decide_what_the_models_count_for() -> None:
    context = desk()
    told: list[tuple[str, int, int]] = []
    context.progress = lambda what, done, total: told.append((what, done, total))
    done = validate(context, sessions=SESSIONS)
    assert done.session == LAST
    assert told == [("validating, walk forward", at, SESSIONS) for at in range(1, SESSIONS + 1)]

    stored = context.lake.read("validation_scores")
    assert stored.height == done.scores.height == 7 * 2
    assert stored.schema == TABLES["validation_scores"].schema
    assert set(stored["model"]) == {
        "historical_mean", "random_walk", "ewma", "sample_variance", "single_regime", "ar", "garch11",
    }  # fmt: skip
    one = stored.filter((pl.col("model") == "garch11") & (pl.col("horizon") == 5)).row(0, named=True)
    assert (one["origins"], one["forecasts"], one["target"], one["naive"]) == (26, 78, "variance", "ewma")
    assert one["data_version"] == context.lake.version("bars")
    losses = context.lake.read("validation_losses")
    assert losses.height == 7 * (30 + 26)
    mean = losses.filter((pl.col("model") == "garch11") & (pl.col("horizon") == 5))["qlike"].mean()
    assert mean == pytest.approx(one["loss"], rel=1e-12)

    weights = stored_weights(context, LAST, forecast_parameters(context))
    assert weights.source == f"validation of {LAST}"
    expected = stored.filter((pl.col("target") == "variance") & (pl.col("horizon") == 1) & (pl.col("weight") > 0))
    assert weights.variances[1] == dict(zip(expected["model"], expected["weight"], strict=True))
    assert sum(weights.means[5].values()) == pytest.approx(1.0)


def test_repeating_a_validation_changes_nothing_and_writes_no_second_event() -> None:
    context = desk()
    first = validate(context, sessions=SESSIONS)
    version = context.lake.version("validation_scores"), context.lake.version("validation_losses")
    again = validate(context, sessions=SESSIONS)
    assert again.scores.equals(first.scores)
    assert (first.events, again.events) == (4, 0)
    assert (context.lake.version("validation_scores"), context.lake.version("validation_losses")) == version
    found = events(context, ["validated"], LAST, LAST)
    assert {event["model"] for event in found} == {"ar", "garch11", "random_walk", "sample_variance"}
    verdict = first.scores.filter((pl.col("model") == "ar") & (pl.col("horizon") == 1))["verdict"][0]
    of_ar = next(event for event in found if event["model"] == "ar")
    assert of_ar["detail"].startswith(f"walk forward: {verdict.replace('_', ' ')} over 1, ")
    assert of_ar["payload"]["verdicts"]["1"] == verdict


def test_judging_one_model_leaves_the_others_and_weighs_all_together() -> None:
    context = desk()
    whole = validate(context, sessions=SESSIONS)
    some = validate(context, models=["ar"], sessions=SESSIONS)
    assert "garch11" not in set(some.scores["model"])
    together = ["deflated_sharpe", "in_confidence_set"]  # told among the models that are judged at one time
    one, other = context.lake.read("validation_scores").drop(together), whole.scores.drop(together)
    assert one.sort("model", "horizon").equals(other.sort("model", "horizon"))
    few = validate(context, models=["ar"], sessions=20)
    assert few.scores["origins"].max() == 20
    stored = context.lake.read("validation_scores")
    assert stored.filter(pl.col("model") == "garch11")["origins"].max() == SESSIONS
    sums = stored.filter(pl.col("weight").is_not_null()).group_by("target", "horizon").agg(pl.col("weight").sum())
    assert sums["weight"].to_list() == pytest.approx([1.0] * sums.height)


def test_nothing_after_the_end_is_looked_at() -> None:
    context = desk()
    end = date(2020, 6, 15)
    done = validate(context, sessions=20, end=end)
    assert done.session == end
    assert done.losses["origin"].max() == date(2020, 6, 12)
    assert context.lake.read("validation_scores")["session"].unique().to_list() == [end]


def test_the_blocked_scheme_is_stored_beside_the_walk_and_has_no_losses_by_origin() -> None:
    context = desk(sessions=620)
    done = validate(context, models=["ar"], sessions=20, schemes=("walk_forward", "blocked"))
    assert set(done.scores["scheme"]) == {"walk_forward", "blocked"}
    assert set(context.lake.read("validation_losses")["origin"]) == set(done.losses["origin"])
    assert done.losses.height == 6 * (20 + 16)
    weights = stored_weights(context, LAST, forecast_parameters(context))
    walked = done.scores.filter((pl.col("scheme") == "walk_forward") & (pl.col("target") == "mean"))
    assert weights.means[1].get("ar", 0.0) == walked.filter(model="ar", horizon=1)["weight"][0]


def test_names_that_are_not_known_are_refused_naming_those_there_are() -> None:
    context = desk()
    with pytest.raises(ConfigurationError, match="no model 'arr'; there are: ar, "):
        validate(context, models=["arr"], sessions=20)
    with pytest.raises(ConfigurationError, match="no scheme 'walk'; there are: walk_forward, blocked"):
        validate(context, sessions=20, schemes=("walk",))


def test_without_bars_there_is_nothing_to_judge() -> None:
    context = TradingContext(load_settings(), symbols=None)
    with pytest.raises(DataUnavailableError, match="build bars first"):
        validate(context, symbols=["AAPL"], sessions=20)
