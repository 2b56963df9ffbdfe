"""The factor model against statsmodels, its restriction, its identity, and what it must not see."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from quant_dagster.features.compute import compute
from quant_dagster.features.factors import (
    MARKET,
    cross_sectional_regression,
    factor_exposures,
    fit_factor_model,
    portfolio_attribution,
)
from quant_dagster.market_data.panel import Panel
from tests.support.market_data import shared_data

SECTORS = ("Energy", "Financials", "Health")


def real_panel() -> Panel:
    bars = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    chosen = bars["symbol"].unique().sort()[::5]
    bars = bars.filter(pl.col("symbol").is_in(chosen.implode()) & (pl.col("session") >= pl.date(2022, 9, 1)))
    return Panel.from_bars(bars.with_columns(pl.col("symbol").cast(pl.String)))


def sectors_of(panel: Panel) -> dict[str, str]:
    return {symbol: SECTORS[i % 3] for i, symbol in enumerate(panel.symbols)}


def test_factor_returns_are_statsmodels_weighted_least_squares_with_one_sector_left_out() -> None:
    import statsmodels.api as sm

    panel = real_panel()
    features = compute(panel)
    model = fit_factor_model(features, panel.close, sectors_of(panel))
    t = len(panel.sessions) - 1
    before = model.exposures[t - 1]
    earned = panel.close[t] / panel.close[t - 1] - 1.0
    weights = 1.0 / features["residual_volatility_60"][t - 1] ** 2
    usable = np.isfinite(before).all(axis=1) & np.isfinite(earned) & np.isfinite(weights)
    sectors = [i for i, name in enumerate(model.factors) if name.startswith("sector:")]
    kept = [i for i in range(len(model.factors)) if i != sectors[0]]
    fit = sm.WLS(earned[usable], before[usable][:, kept], weights=weights[usable]).fit()
    np.testing.assert_allclose(before[usable] @ model.returns[t], fit.fittedvalues, atol=1e-12)
    assert model.explained[t] == pytest.approx(fit.rsquared, abs=1e-10)
    styles = [i for i, name in enumerate(model.factors) if name not in (MARKET,) and i not in sectors]
    np.testing.assert_allclose(model.returns[t, styles], [fit.params[kept.index(i)] for i in styles], atol=1e-12)
    np.testing.assert_allclose(model.errors[t, styles], [fit.bse[kept.index(i)] for i in styles], rtol=1e-8)


def test_sector_returns_sum_to_zero_by_weight_so_that_the_market_factor_is_the_market() -> None:
    panel = real_panel()
    model = fit_factor_model(compute(panel), panel.close, sectors_of(panel))
    generator = np.random.default_rng(0)
    exposures = model.exposures[-1][np.isfinite(model.exposures[-1]).all(axis=1)]
    weights = generator.uniform(0.5, 2.0, len(exposures))
    earned = generator.standard_normal(len(exposures))
    returns, _, _ = cross_sectional_regression(exposures, earned, weights, model.factors)
    sectors = [i for i, name in enumerate(model.factors) if name.startswith("sector:")]
    assert weights @ exposures[:, sectors] @ returns[sectors] == pytest.approx(0.0, abs=1e-12)
    plain, _, _ = cross_sectional_regression(exposures[:, :4], earned, weights, model.factors[:4])
    assert plain[0] == pytest.approx(np.average(earned, weights=weights), abs=1e-12)  # market and sectors alone


def test_factors_and_the_specific_rest_add_up_to_the_portfolio_s_return() -> None:
    panel = real_panel()
    model = fit_factor_model(compute(panel), panel.close, sectors_of(panel))
    weights = np.random.default_rng(1).standard_normal(len(panel.symbols)) / len(panel.symbols)
    earned = panel.close[-1] / panel.close[-2] - 1.0
    parts, specific = portfolio_attribution(weights, model.exposures[-2], model.returns[-1], earned)
    assert parts.sum() + specific == pytest.approx(weights @ np.nan_to_num(earned), abs=1e-15)
    known = np.isfinite(model.specific[-1])
    unexplained = weights[known] @ model.specific[-1, known]
    absent = ~np.isfinite(model.exposures[-2]).all(axis=1)
    if not absent.any() and known.all():
        assert specific == pytest.approx(unexplained, abs=1e-12)


def test_tomorrow_changes_nothing_of_today() -> None:
    panel = real_panel()
    whole = fit_factor_model(compute(panel), panel.close, sectors_of(panel))
    cut = panel.rows(0, len(panel.sessions) - 30)
    early = fit_factor_model(compute(cut), cut.close, sectors_of(panel))
    n = len(cut.sessions)
    assert np.array_equal(early.exposures, whole.exposures[:n], equal_nan=True)
    assert np.array_equal(early.returns, whole.returns[:n], equal_nan=True)


def test_styles_are_standardised_and_one_that_nobody_has_is_left_out() -> None:
    panel = real_panel()
    exposures, factors = factor_exposures(compute(panel), sectors_of(panel))
    last = exposures[-1][np.isfinite(exposures[-1]).all(axis=1)]
    styles = [i for i, name in enumerate(factors) if name != MARKET and not name.startswith("sector:")]
    assert "size" in factors
    np.testing.assert_allclose(last[:, styles].mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(last[:, styles].std(axis=0), 1.0, atol=0.05)
    none = np.full_like(panel.volume, np.nan)
    closes_only = Panel(panel.sessions, panel.symbols, panel.open, panel.high, panel.low, panel.close, none)
    assert "size" not in factor_exposures(compute(closes_only), sectors_of(panel))[1]


def test_the_model_s_covariance_is_symmetric_positive_and_near_the_sample_s() -> None:
    panel = real_panel()
    model = fit_factor_model(compute(panel), panel.close, sectors_of(panel))
    covariance = model.covariance()
    known = np.isfinite(covariance).all(axis=1) & np.isfinite(covariance).all(axis=0)
    covariance = covariance[np.ix_(known, known)] if known.any() else covariance
    assert np.array_equal(covariance, covariance.T) or np.allclose(covariance, covariance.T, atol=1e-14)
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    returns = np.diff(np.log(panel.close[-120:, known]), axis=0)
    sample = np.nanvar(returns, axis=0) * 252
    ratio = np.diag(covariance) / sample
    assert 0.6 < np.median(ratio) < 1.6
