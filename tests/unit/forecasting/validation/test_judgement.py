"""Scores, trading, verdicts and weights over forecasts of known quality of real returns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mean_pinball_loss

from quant_dagster.cycle.model_watch import scored_frame
from quant_dagster.cycle.validation import trading_figures
from quant_dagster.forecasting.combination import ModelWeights
from quant_dagster.forecasting.families.registry import FAMILIES, FamilySpec
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import LEVELS, QUANTILES, ForecastModel, normal_quantiles
from quant_dagster.forecasting.validation.evaluation import Evaluation, Scheme, outcomes
from quant_dagster.forecasting.validation.judgement import Judgement, Provenance, Rules, judge
from quant_dagster.forecasting.validation.scores import losses_of, scores_of
from quant_dagster.forecasting.validation.trading import positions, traded_returns
from quant_dagster.forecasting.validation.weights import with_weights
from quant_dagster.storage.tables import TABLES
from tests.unit.forecasting.real_returns import stock_panel

SPECS = {spec.model: spec for spec in FAMILIES}
HORIZONS = (1, 5)
ORIGINS = 150
PROVENANCE = Provenance(date(2020, 6, 30), 3, "abc")
Moments = tuple[np.ndarray, np.ndarray]


def evaluation(models: Mapping[ForecastModel, Moments], own: Mapping[ForecastModel, bool] | None = None) -> Evaluation:
    """An evaluation of real outcomes with the given means and standard deviations, each of shape (H, T, m)."""
    panel = stock_panel()
    origins = list(range(len(panel.sessions) - 6 - ORIGINS, len(panel.sessions) - 6))
    specs: tuple[FamilySpec, ...] = tuple(SPECS[model] for model in models)
    mean = np.stack([mean for mean, _ in models.values()])
    std = np.stack([std for _, std in models.values()])
    return Evaluation(
        scheme=Scheme.WALK_FORWARD,
        models=specs,
        horizons=HORIZONS,
        symbols=panel.symbols,
        origins=panel.sessions[origins],
        segments=np.zeros(ORIGINS, np.int64),
        step=1,
        mean=mean,
        std=std,
        quantiles=np.stack([mean + std * z for z in normal_quantiles(0.0, 1.0)], axis=-1),
        own=np.stack([np.full(mean.shape[2:], (own or {}).get(model, True)) for model in models]),
        outcome=outcomes(panel, origins, HORIZONS),
        next_return=np.expm1(outcomes(panel, origins, (1,))[0]),
    )


def truth() -> np.ndarray:
    panel = stock_panel()
    origins = list(range(len(panel.sessions) - 6 - ORIGINS, len(panel.sessions) - 6))
    return outcomes(panel, origins, HORIZONS)


def models() -> dict[ForecastModel, Moments]:
    """Naive ones, a mean and a variance model that know too much, and ones that know less than nothing."""
    real = truth()
    numbers = np.random.default_rng(1)
    wide = np.full_like(real, 0.02) * np.sqrt(HORIZONS)[:, None, None]
    zero = np.zeros_like(real)
    m = ForecastModel
    return {
        m.HISTORICAL_MEAN: (zero + 5e-4, wide),
        m.RANDOM_WALK: (zero, wide),
        m.EWMA: (zero, wide),
        m.SINGLE_REGIME: (zero, wide),
        m.AR: (0.3 * real, wide),
        m.SARIMAX: (0.05 * numbers.standard_normal(real.shape) * np.abs(real), wide),
        m.ENSEMBLE: (-0.3 * real, wide),
        m.GARCH: (zero, 0.5 * np.abs(real) + 0.5 * wide),
        m.GJR: (zero, 0.2 * wide),
        m.HMM: (0.1 * real, wide),
    }


def judged(given: Evaluation, rules: Rules | None = None) -> Judgement:
    return judge(given, trading_figures, PROVENANCE, rules or Rules())


def row(scores: pl.DataFrame, model: ForecastModel, horizon: int = 1) -> dict[str, object]:
    return scores.filter((pl.col("model") == model.value) & (pl.col("horizon") == horizon)).row(0, named=True)


def test_losses_are_those_live_forecasts_are_scored_by() -> None:
    given = evaluation(models())
    frames = []
    for i, spec in enumerate(given.models):
        for h, horizon in enumerate(HORIZONS):
            days = np.repeat(given.origins, len(given.symbols))
            columns = {name: given.quantiles[i, h, :, :, q].ravel() for q, name in enumerate(QUANTILES)}
            rows = {
                "session": days, "model": [spec.model.value] * len(days), "status": ["fitted"] * len(days),
                "horizon": np.full(len(days), horizon, np.int32), "mean": given.mean[i, h].ravel(),
                "std": given.std[i, h].ravel(), "outcome": given.outcome[h].ravel(), **columns,
            }  # fmt: skip
            frames.append(pl.DataFrame(rows).with_columns(pl.col("session").cast(pl.Date)))
    live = scored_frame(pl.concat(frames)).rename({"session": "origin"}).sort("origin", "model", "horizon")
    found = judged(given).losses.sort("origin", "model", "horizon")
    assert found.schema == TABLES["validation_losses"].schema
    assert found.select("origin", "model", "horizon", "forecasts").equals(
        live.select("origin", "model", "horizon", "forecasts")
    )
    for loss in ("squared_error", "qlike", "pinball"):
        assert np.allclose(found[loss].to_numpy(), live[loss].to_numpy(), rtol=1e-12)


def test_pinball_is_scikit_learns() -> None:
    given = evaluation(models())
    found = scores_of(given, losses_of(given), 4, 1)
    expected = np.mean(
        [
            mean_pinball_loss(given.outcome[1].ravel(), given.quantiles[4, 1, :, :, q].ravel(), alpha=level)
            for q, level in enumerate(LEVELS)
        ]
    )
    assert found.pinball == pytest.approx(expected, rel=1e-12)


def test_scores_of_a_model_that_halves_the_truth_are_known() -> None:
    real = truth()
    wide = np.full_like(real, 0.02)
    given = evaluation({ForecastModel.AR: (0.5 * real, wide)})
    found = scores_of(given, losses_of(given), 0, 0)
    assert found.mase == pytest.approx(0.5, rel=1e-12)
    assert found.bias == pytest.approx(0.5 * real[0].mean(), rel=1e-9)
    assert found.rmse == pytest.approx(0.5 * np.sqrt(np.mean(real[0] ** 2)), rel=1e-12)
    assert found.hit_rate == pytest.approx(np.mean(np.sign(real[0]) == np.sign(0.5 * real[0])))
    share = np.mean(np.abs(0.5 * real[0]) <= 0.02 * 1.6448536269514722)
    assert found.coverage_90 == pytest.approx(share)
    assert found.forecasts == real[0].size


def test_a_forecast_without_a_sign_has_no_hit_rate() -> None:
    scores = judged(evaluation(models())).scores
    assert row(scores, ForecastModel.RANDOM_WALK)["hit_rate"] is None
    assert row(scores, ForecastModel.RANDOM_WALK)["sharpe"] is None


def test_better_models_win_and_worse_ones_lose() -> None:
    found = judged(evaluation(models()))
    scores = found.scores
    assert scores.schema == TABLES["validation_scores"].schema
    for horizon in HORIZONS:
        verdicts = {model: row(scores, model, horizon)["verdict"] for model in models()}
        assert verdicts[ForecastModel.HISTORICAL_MEAN] == "naive"
        assert verdicts[ForecastModel.EWMA] == "naive"
        assert verdicts[ForecastModel.SINGLE_REGIME] == "naive"
        assert verdicts[ForecastModel.AR] == "winner"
        assert verdicts[ForecastModel.ENSEMBLE] == "loser"
        assert verdicts[ForecastModel.GARCH] == "winner"
        assert verdicts[ForecastModel.GJR] == "loser"
        assert verdicts[ForecastModel.HMM] == "winner"
        assert row(scores, ForecastModel.AR, horizon)["in_confidence_set"] is True
        assert row(scores, ForecastModel.ENSEMBLE, horizon)["in_confidence_set"] is False
        better = row(scores, ForecastModel.AR, horizon)["diebold_mariano"]
        assert isinstance(better, float)
        assert better < 0.0
    assert row(scores, ForecastModel.AR)["session"] == PROVENANCE.session
    assert row(scores, ForecastModel.AR)["data_version"] == 3


def test_weights_sum_to_one_and_losers_get_nothing() -> None:
    scores = judged(evaluation(models())).scores
    sums = scores.filter(pl.col("target") != "regime").group_by("target", "horizon").agg(pl.col("weight").sum())
    assert sums["weight"].to_list() == pytest.approx([1.0] * 4, abs=1e-12)
    assert scores.filter(pl.col("verdict") == "loser")["weight"].unique().to_list() == [0.0]
    assert scores.filter(pl.col("target") == "regime")["weight"].null_count() == 2 * len(HORIZONS)
    asked = tuple(model.value for model in models() if not SPECS[model].naive)
    weights = ModelWeights.judged(scores, ForecastParameters(families=asked))
    assert weights.means[1]["ar"] == row(scores, ForecastModel.AR)["weight"]
    assert "ensemble" not in weights.means[1]


def weighing(verdicts: Mapping[str, tuple[str, float, float | None]], shrinkage: float, target: str = "mean") -> dict:
    """Weights of one target and horizon from (verdict, loss, p); the naive loss is 1."""
    rows = [
        {"scheme": "walk_forward", "target": target, "horizon": 1, "model": model, "verdict": verdict, "loss": loss,
         "naive_loss": 1.0, "diebold_mariano_p": p, "weight": None}
        for model, (verdict, loss, p) in verdicts.items()
    ]  # fmt: skip
    frame = with_weights(pl.DataFrame(rows, infer_schema_length=None), shrinkage)
    return dict(zip(frame["model"], frame["weight"], strict=True))


def test_shares_are_by_inverse_loss_drawn_towards_equality() -> None:
    given = {"naive": ("naive", 1.0, None), "a": ("winner", 0.5, 0.01), "b": ("winner", 0.8, 0.02)}
    bates_granger = np.array([1 / 0.5, 1 / 0.8]) / (1 / 0.5 + 1 / 0.8)
    assert [weighing(given, 0.0)[m] for m in "ab"] == pytest.approx(bates_granger)
    assert [weighing(given, 1.0)[m] for m in "ab"] == pytest.approx([0.5, 0.5])
    assert [weighing(given, 0.5)[m] for m in "ab"] == pytest.approx(0.5 * bates_granger + 0.25)
    assert weighing(given, 0.5)["naive"] == pytest.approx(0.0, abs=1e-12)
    logs = {"naive": ("naive", 1.0, None), "a": ("winner", -8.5, 0.01), "b": ("winner", -8.4, 0.02)}
    found = weighing(logs, 0.0, "variance")
    assert found["a"] / found["b"] == pytest.approx(np.exp(0.1))


def test_what_is_not_significant_shares_with_the_naive_forecast() -> None:
    found = weighing({"naive": ("naive", 1.0, None), "a": ("winner", 0.9, 0.01), "b": ("no_better", 0.9, 0.3)}, 0.5)
    assert found == pytest.approx({"naive": 0.15, "a": 0.5, "b": 0.35})
    alone = weighing({"naive": ("naive", 1.0, None), "b": ("no_better", 0.9, 0.3), "c": ("loser", 1.2, 0.9)}, 0.5)
    assert alone == pytest.approx({"naive": 0.3, "b": 0.7, "c": 0.0})


def test_with_losers_only_the_naive_forecast_has_all_the_weight() -> None:
    found = weighing({"naive": ("naive", 1.0, None), "a": ("loser", 1.1, 0.01), "b": ("not_judged", 0.5, None)}, 0.5)
    assert found == {"naive": 1.0, "a": 0.0, "b": 0.0}


def test_without_a_judged_naive_forecast_nothing_is_weighed() -> None:
    assert weighing({"naive": ("not_judged", 1.0, None), "a": ("not_judged", 0.9, None)}, 0.5) == {
        "naive": None, "a": None,
    }  # fmt: skip


def test_a_model_that_never_answered_itself_is_not_judged_and_its_stand_ins_are_counted() -> None:
    given = evaluation(models(), own={ForecastModel.AR: False})
    found = row(judged(given).scores, ForecastModel.AR)
    assert found["verdict"] == "not_judged"
    assert found["fallbacks"] == found["forecasts"] == ORIGINS * len(given.symbols)
    assert found["weight"] == 0.0


def test_a_model_that_says_what_the_naive_forecast_says_is_a_loser() -> None:
    given = models()
    found = row(
        judged(evaluation(given | {ForecastModel.AR: given[ForecastModel.HISTORICAL_MEAN]})).scores, ForecastModel.AR
    )
    assert (found["verdict"], found["diebold_mariano"], found["weight"]) == ("loser", None, 0.0)


def test_symbols_without_a_forecast_or_outcome_are_left_out_of_both_sides() -> None:
    given = models()
    mean, std = (array.copy() for array in given[ForecastModel.AR])
    mean[:, :, 3] = np.nan
    std[:, :, 3] = np.nan
    found = row(judged(evaluation(given | {ForecastModel.AR: (mean, std)})).scores, ForecastModel.AR)
    real = np.delete(truth()[0], 3, axis=1)
    assert found["forecasts"] == real.size
    assert found["loss"] == pytest.approx(np.mean((0.7 * real) ** 2), rel=1e-12)
    assert found["naive_loss"] == pytest.approx(np.mean((real - 5e-4) ** 2), rel=1e-12)


def test_a_position_is_the_annualised_ratio_that_is_promised_cut_off_at_one() -> None:
    real = truth()
    given = evaluation({ForecastModel.AR: (np.full_like(real, 2e-4), np.full_like(real, 0.02))})
    assert positions(given)[0, 0, 0, 0] == pytest.approx(np.sqrt(252) * 0.01)
    assert positions(given)[0, 1, 0, 0] == pytest.approx(np.sqrt(252 / 5) * 0.01)
    bold = evaluation({ForecastModel.AR: (np.full_like(real, -1.0), np.full_like(real, 0.02))})
    assert np.unique(positions(bold)) == [-1.0]


def test_traded_returns_are_those_of_a_walk_through_the_sessions_by_hand() -> None:
    given = evaluation({ForecastModel.AR: models()[ForecastModel.SARIMAX]})
    held = positions(given)[0, 0]
    before = np.zeros(held.shape[1])
    by_hand = []
    for t in range(ORIGINS):
        by_hand.append(np.mean(held[t] * given.next_return[t] - 2e-4 * np.abs(held[t] - before)))
        before = held[t]
    assert np.allclose(traded_returns(given, 2.0)[0, 0], by_hand, rtol=1e-10)
    free = traded_returns(given, 0.0)[0, 0]
    assert (free > traded_returns(given, 2.0)[0, 0]).all()


def test_trading_figures_are_those_of_the_accounting_package() -> None:
    returns = truth()[0].mean(axis=1)
    found = trading_figures(returns)
    equity = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    assert found["max_drawdown"] == pytest.approx(np.max(1.0 - equity / np.maximum.accumulate(equity)))
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))
    assert found["profit_factor"] == pytest.approx(returns[returns > 0].sum() / -returns[returns < 0].sum())
    assert found["annual_return"] == pytest.approx(equity[-1] ** (252 / len(returns)) - 1.0)
    assert trading_figures(returns[:100])["annual_return"] is None
    assert trading_figures(np.zeros(0))["sharpe"] is None


def test_a_judgement_is_the_same_every_time() -> None:
    given = evaluation(models())
    one, other = judged(given), judged(given)
    assert one.scores.equals(other.scores)
    assert one.losses.equals(other.losses)
