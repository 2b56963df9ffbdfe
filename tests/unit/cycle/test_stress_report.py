"""Stress of real positions over real prices: the stored numbers against the scenarios called by hand."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from quant_dagster.cycle.stress_report import market_index, stress_report, stressed, with_loss, worst_loss
from quant_dagster.risk.measures.correlations import shrunk_correlation
from quant_dagster.risk.stress.betas import market_betas
from quant_dagster.risk.stress.episodes import EPISODES, replay_episode
from quant_dagster.risk.stress.monte_carlo import (
    fit_t_copula,
    principal_factors,
    simulate_copula,
    simulate_factors,
    simulated_risk,
)
from quant_dagster.risk.stress.shocks import apply_shock
from tests.unit.cycle.measured_desk import (
    LAST,
    POSITIONS,
    SYMBOLS,
    WINDOW,
    by_hand,
    desk,
    prices,
    without_newest,
)


class TestStressReport:
    """Episodes, shocks and simulations of what is held."""

    def test_episodes_are_replayed_where_there_is_history_of_them(self) -> None:
        context, panel = desk(), prices()
        report = stress_report(context, LAST)
        stored = context.lake.read("stress_results")
        episodes = stored.filter(pl.col("kind") == "episode")
        assert set(episodes["scenario"]) == {"volmageddon", "q4_2018", "covid"}
        assert report.not_covered == (
            "dot_com_bust", "september_11", "lehman", "flash_crash", "us_downgrade", "china_2015", "bear_2022",
        )  # fmt: skip
        values, market = by_hand(panel)[1], market_index(panel.close)
        for episode in EPISODES:
            if episode.name in report.not_covered:
                continue
            expected = replay_episode(episode, panel.close, panel.sessions, panel.symbols, values, market)
            row = episodes.filter(pl.col("scenario") == episode.name).row(0, named=True)
            assert (row["profit"], row["worst"]) == pytest.approx((expected.total, expected.worst_total), rel=1e-5)
            assert (row["symbols"], row["not_evaluated"], row["value_at_risk"]) == (3, 0, None)
            detail = json.loads(row["detail"])
            assert detail["treatments"] == dict.fromkeys(POSITIONS, "own")
            assert sum(detail["profit"].values()) == pytest.approx(row["profit"])
            assert detail["worst_on"] == str(expected.worst_total_session)
        assert report.statement.startswith("3 positions in 9 scenarios; no history of: dot_com_bust, ")

    def test_every_shock_of_the_settings_moves_every_price(self) -> None:
        shocks = {"crash": {"market": -0.2, "volatility": 2.0, "correlation": 0.8}, "oil": {"symbols": {"XOM": -0.5}}}
        context, panel = desk(stress={"shocks": shocks}), prices()
        rows = stressed(context, LAST).results.filter(pl.col("scenario").is_in(list(shocks)))
        returns, values = by_hand(panel)
        market = market_index(panel.close)[-(WINDOW + 1) :]
        betas = market_betas(panel.close[-(WINDOW + 1) :, :3], market)
        correlations = shrunk_correlation(returns[:, :3], SYMBOLS[:3])
        assert rows["scenario"].to_list() == ["crash", "oil"]
        for row in rows.iter_rows(named=True):
            shock = context.settings.risk.stress.shocks[row["scenario"]]
            expected = apply_shock("x", shock, SYMBOLS[:3], values[:3], betas, context.sectors, correlations, 0.99)
            assert row["profit"] == row["worst"] == pytest.approx(expected.total, rel=1e-5)
            assert row["value_at_risk"] == pytest.approx(expected.stressed_var, rel=1e-5)
            assert row["expected_shortfall"] == pytest.approx(expected.stressed_es, rel=1e-5)
            assert json.loads(row["detail"])["value_at_risk_before"] == pytest.approx(expected.var, rel=1e-5)
        assert rows["profit"][1] == pytest.approx(-0.5 * values[2], rel=1e-5)

    def test_both_simulations_are_those_of_the_seed(self) -> None:
        context = desk()
        report = stressed(context, LAST)
        returns, values = by_hand(prices())
        held, measures = returns[:, :3], context.settings.risk.measures
        copula = fit_t_copula(held, measures.degrees_of_freedom)
        expected = {
            "t_copula": simulated_risk(simulate_copula(copula, held, 2000, measures.seed), values[:3], 0.99),
            # four symbols are too few for the desk's factor model
            "factor_model": simulated_risk(
                simulate_factors(*principal_factors(held, 5), 2000, measures.seed), values[:3], 0.99
            ),
        }
        rows = report.results.filter(pl.col("kind") == "simulation")
        assert rows["scenario"].to_list() == ["factor_model", "t_copula"]
        for row in rows.iter_rows(named=True):
            one, detail = expected[row["scenario"]], json.loads(row["detail"])
            assert (row["value_at_risk"], row["expected_shortfall"]) == pytest.approx((one.var, one.es), rel=1e-5)
            assert (row["profit"], row["worst"], row["symbols"]) == (None, None, 3)
            assert detail["expected_shortfall_error"] == pytest.approx(one.es_error, rel=1e-4)
            assert (detail["paths"], detail["seed"]) == (2000, measures.seed)
        factors = json.loads(rows["detail"][0])
        assert (factors["model"], factors["unknown_to_the_factor_model"]) == ("principal_components", list(POSITIONS))
        assert json.loads(rows["detail"][1])["degrees_of_freedom"] == copula.degrees_of_freedom

    def test_what_a_scenario_cannot_value_is_counted_and_said(self) -> None:
        context = desk(prices(60))
        report = stress_report(context, LAST)
        assert report.not_covered == tuple(one.name for one in EPISODES)
        assert report.results.height == 6
        assert (report.results["symbols"] == 0).all() and (report.results["not_evaluated"] == 3).all()
        assert report.results["profit"].null_count() == 6
        assert {json.loads(detail)["problem"] for detail in report.results["detail"]} == {
            "risk measures: 59 sessions of returns, 100 are needed; load more history"
        }
        assert worst_loss(report.results) is None

    def test_a_young_symbol_moves_with_its_beta_in_an_episode_and_is_not_in_the_simulations(self) -> None:
        report = stressed(desk(without_newest(prices(), "XOM", known=125)), LAST)
        (covid,) = report.results.filter(pl.col("scenario") == "covid").iter_rows(named=True)
        assert json.loads(covid["detail"])["treatments"]["XOM"] == "own"
        (winter,) = report.results.filter(pl.col("scenario") == "q4_2018").iter_rows(named=True)
        assert json.loads(winter["detail"])["treatments"] == {"AAPL": "own", "JPM": "own", "XOM": "proxy"}
        (copula,) = report.results.filter(pl.col("scenario") == "t_copula").iter_rows(named=True)
        assert (copula["symbols"], copula["not_evaluated"]) == (2, 1)

    def test_an_empty_portfolio_has_nothing_to_stress(self) -> None:
        context = desk(positions={})
        report = stress_report(context, LAST)
        assert report.results.is_empty()
        assert report.statement == "nothing is held at the close of 2020-06-30: there is nothing to stress"
        assert context.lake.read("stress_results").is_empty()

    def test_stressing_again_changes_nothing(self) -> None:
        context = desk()
        first = stress_report(context, LAST)
        version = context.lake.version("stress_results")
        assert stress_report(context, LAST).results.equals(first.results)
        assert context.lake.version("stress_results") == version

    def test_the_worst_is_the_largest_of_path_end_and_shortfall(self) -> None:
        rows = pl.DataFrame(
            {
                "scenario": ["path", "end", "simulated", "unknown"],
                "worst": [-30.0, 5.0, None, None],
                "profit": [-10.0, -20.0, None, None],
                "expected_shortfall": [None, 10.0, 25.0, None],
            }
        )
        assert with_loss(rows)["loss"].to_list() == [30.0, 20.0, 25.0, None]
        worst = worst_loss(rows)
        assert worst is not None and (worst["scenario"], worst["loss"]) == ("path", 30.0)
        assert worst_loss(rows.tail(1)) is None

    def test_the_market_is_the_mean_of_those_that_trade(self) -> None:
        nan = float("nan")
        closes = np.array([[100.0, nan], [110.0, 50.0], [99.0, 55.0], [nan, nan]])
        assert market_index(closes) == pytest.approx([1.0, 1.1, 1.1, 1.1])
