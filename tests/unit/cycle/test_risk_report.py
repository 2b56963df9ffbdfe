"""Risk and stress of real positions over real prices: the stored numbers against the measures called by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.held_portfolio import held_portfolio
from quant_dagster.cycle.risk_report import measured, risk_report, worst_shortfall
from quant_dagster.cycle.stress_report import market_index, stress_report, stressed, with_loss, worst_loss
from quant_dagster.cycle.var_backtest import (
    account_returns,
    backtest_all,
    equal_weight_returns,
    failing,
    holds,
    var_backtest,
)
from quant_dagster.errors import DataUnavailableError, RiskError
from quant_dagster.market_data.panel import Panel
from quant_dagster.quality import contracts
from quant_dagster.risk.measures.backtests import backtest, judge
from quant_dagster.risk.measures.correlations import shrunk_correlation
from quant_dagster.risk.measures.heat import heat
from quant_dagster.risk.measures.measure import Method, measure
from quant_dagster.risk.stress.betas import market_betas
from quant_dagster.risk.stress.episodes import EPISODES, replay_episode
from quant_dagster.risk.stress.liquidity import liquidation_var
from quant_dagster.risk.stress.margin import regulation_t
from quant_dagster.risk.stress.monte_carlo import (
    fit_t_copula,
    principal_factors,
    simulate_copula,
    simulate_factors,
    simulated_risk,
)
from quant_dagster.risk.stress.shocks import apply_shock
from quant_dagster.settings import RiskSettings, load_settings
from quant_dagster.storage.ledger_tables import account_snapshots
from quant_dagster.storage.tables import TABLES
from tests.unit.accounting.test_books import unchecked
from tests.unit.forecasting.real_returns import stock_panel

SYMBOLS = ("AAPL", "JPM", "XOM", "PG")
POSITIONS = {"AAPL": 100, "JPM": 300, "XOM": -200}
LAST = date(2020, 6, 30)
WINDOW = 250
NOW = datetime(2020, 7, 1, tzinfo=UTC)


def prices(sessions: int = 620) -> Panel:
    """Real closes of four stocks up to `LAST`."""
    whole = stock_panel()
    return whole.columns([whole.symbols.index(symbol) for symbol in SYMBOLS]).last(sessions)


def bars(panel: Panel, volumes: dict[str, float] | None = None) -> pl.DataFrame:
    """The closes that are there, as rows of ``bars``."""
    table, count = TABLES["bars"], len(panel.sessions)
    values = {
        "symbol": np.repeat(panel.symbols, count),
        "session": np.tile(panel.sessions, len(panel.symbols)),
        "close": panel.close.T.ravel(),
        "volume": np.repeat([(volumes or {}).get(symbol, np.nan) for symbol in panel.symbols], count),
        "vendor": ["packaged"] * (count * len(panel.symbols)),
        "known_at": [NOW] * (count * len(panel.symbols)),
    }
    frame = pl.DataFrame({name: pl.Series(name, value) for name, value in values.items()}, nan_to_null=True)
    frame = frame.filter(pl.col("close").is_finite()).with_columns(
        pl.lit(None).cast(dtype).alias(name) for name, dtype in table.schema.items() if name not in values
    )
    return frame.select(list(table.schema)).cast(table.schema).with_columns(pl.col("volume").fill_nan(None))


def desk(
    panel: Panel | None = None,
    positions: dict[str, int] = POSITIONS,
    volumes: dict[str, float] | None = None,
    **risk: object,
) -> TradingContext:
    """A desk with a real history that bought at its last close, in an account of 100,000."""
    measures = {"window": WINDOW, "paths": 2000} | dict(risk.pop("measures", {}))  # type: ignore[call-overload]
    settings = load_settings(
        {"portfolio": {"initial_cash": 100_000.0}, "risk": {"measures": measures} | risk, "forecasting": {"workers": 1}}
    )
    context = TradingContext(settings, symbols=SYMBOLS, clock=lambda: NOW)
    panel = panel or prices()
    context.lake.merge("bars", bars(panel, volumes))
    context.open_books(panel.last_session)
    newest = {symbol: panel.close[-1, j] for j, symbol in enumerate(panel.symbols)}
    for symbol, quantity in positions.items():
        trade(context, symbol, quantity, newest[symbol], panel.last_session)
    return context


def trade(context: TradingContext, symbol: str, quantity: int, price: float, session: date) -> None:
    side = Side.BUY if quantity > 0 else Side.SELL
    amount = Decimal(str(round(price, 4)))
    with unchecked(context.ledger) as connection:
        number = f"{symbol}:{session}"
        fill = Fill(
            execution_id=number, client_order_id=number, session=session, symbol=symbol, side=side,
            quantity=Decimal(abs(quantity)), price=amount, commission=Decimal(0), decision_price=amount,
            reference_price=amount, provenance={},
        )  # fmt: skip
        books.book(connection, fill, at=NOW)


def without(panel: Panel, rows: slice, symbols: tuple[str, ...] = SYMBOLS[:3]) -> Panel:
    """The panel where ``symbols`` have no closes in ``rows``."""
    close = panel.close.copy()
    close[rows, [panel.symbols.index(symbol) for symbol in symbols]] = np.nan
    return replace(panel, close=np.asfortranarray(close))


def without_newest(panel: Panel, symbol: str, known: int) -> Panel:
    """The panel where ``symbol`` has closes in the newest ``known`` sessions only."""
    return without(panel, slice(0, len(panel.sessions) - known), (symbol,))


def by_hand(panel: Panel, positions: dict[str, int] = POSITIONS) -> tuple[np.ndarray, np.ndarray]:
    """Returns of the window, and values rounded as the books keep prices."""
    closes = panel.close[-(WINDOW + 1) :]
    values = np.array([positions.get(s, 0) * panel.close[-1, j] for j, s in enumerate(panel.symbols)])
    return closes[1:] / closes[:-1] - 1.0, values


def column(frame: pl.DataFrame, name: str, *, method: Method, confidence: float = 0.95) -> Iterable[float]:
    return frame.filter((pl.col("method") == method) & (pl.col("confidence") == confidence))[name].to_list()


class TestRiskReport:
    """VaR and ES, their parts, and everything beside them."""

    def test_the_rows_are_the_measures_of_what_is_held(self) -> None:
        context = desk()
        report = risk_report(context, LAST)
        returns, values = by_hand(prices())
        expected = measure(returns, values, SYMBOLS, [0.95, 0.99], 1, context.settings.risk.measures)
        stored = context.lake.read("risk_measures")
        assert stored.height == 2 * len(Method)
        for one in expected:
            row = stored.filter((pl.col("method") == one.method) & (pl.col("confidence") == one.confidence))
            found = row.select("value_at_risk", "expected_shortfall", "volatility").row(0)
            assert found == pytest.approx((one.var, one.es, one.volatility), rel=1e-6)
            assert json.loads(row["diagnostics"][0])["observations"] == WINDOW
        first = stored.row(0, named=True)
        assert (first["session"], first["horizon"], first["symbols"], first["not_measured"]) == (LAST, 1, 3, 0)
        assert first["equity"] == pytest.approx(100_000.0, abs=1.0)
        assert first["gross"] == pytest.approx(float(np.abs(values).sum()))
        assert report.statement == "3 of 3 positions measured over 250 sessions"
        assert report.measures.sort("method", "confidence").equals(stored.sort("method", "confidence"))

    def test_the_parts_add_up_to_the_whole(self) -> None:
        report = measured(desk(), LAST)
        key = ["method", "confidence", "horizon"]
        sums = report.contributions.group_by(key).agg(pl.col("component_var", "component_es", "value").sum())
        both = report.measures.join(sums, on=key)
        assert both.height == 2 * len(Method)
        assert both["component_var"].to_list() == pytest.approx(both["value_at_risk"].to_list())
        assert both["component_es"].to_list() == pytest.approx(both["expected_shortfall"].to_list())
        account = report.portfolio.account
        assert both["value"].to_list() == pytest.approx([float(account.net_exposure)] * both.height)
        hedge = report.contributions.filter(pl.col("symbol") == "XOM")
        assert (hedge["value"] < 0.0).all()
        whole = column(report.measures, "expected_shortfall", method=Method.FILTERED_HISTORICAL)
        assert [sum(report.sectors.values())] == pytest.approx(whole)
        assert list(report.sectors) == ["Financials", "Information Technology", "Energy"]

    def test_the_gates_confidence_and_one_session_are_always_among_what_is_measured(self) -> None:
        report = measured(desk(cvar_confidence=0.975, measures={"horizon": 5, "confidences": [0.99]}), LAST)
        asked = report.measures.select("confidence", "horizon").unique().sort("horizon", "confidence").rows()
        assert asked == [(0.975, 1), (0.99, 1), (0.975, 5), (0.99, 5)]

    def test_an_empty_portfolio_has_no_rows_and_says_so(self) -> None:
        context = desk(positions={})
        report = risk_report(context, LAST)
        assert report.statement == "nothing is held at the close of 2020-06-30: there is no risk to measure"
        assert report.problems == ()
        assert report.measures.is_empty() and report.contributions.is_empty() and report.positions.is_empty()
        assert report.measures.schema == TABLES["risk_measures"].schema
        assert (report.heat, report.factors, report.liquidity, report.liquidation_var) == (None, None, None, None)
        assert report.margin is not None and (report.margin.equity, report.margin.initial) == (100_000.0, 0.0)
        (broker,) = report.counterparties
        assert (broker.counterparty, broker.gross, broker.claim) == ("paper", 0.0, 100_000.0)
        assert context.lake.read("risk_measures").is_empty()

    def test_measuring_again_changes_nothing_and_what_was_sold_leaves(self) -> None:
        context = desk()
        risk_report(context, LAST)
        versions = [context.lake.version(name) for name in ("risk_measures", "risk_contributions")]
        risk_report(context, LAST)
        assert [context.lake.version(name) for name in ("risk_measures", "risk_contributions")] == versions
        assert set(context.lake.read("risk_contributions")["symbol"]) == {"AAPL", "JPM", "XOM"}
        with context.ledger.write() as connection:  # a late correction: it was flat at that close
            held = books.holding_of(connection, "XOM")
        trade(context, "XOM", -int(held.quantity), 44.0, date(2020, 6, 29))
        risk_report(context, LAST)
        assert set(context.lake.read("risk_contributions")["symbol"]) == {"AAPL", "JPM"}

    def test_trades_after_the_close_do_not_count(self) -> None:
        panel = prices()
        context = desk(panel.rows(0, len(panel.sessions) - 1))
        before = date(2020, 6, 29)
        context.lake.merge("bars", bars(panel))
        trade(context, "PG", 500, 118.0, LAST)
        assert held_portfolio(context, before, 300).held == ("AAPL", "JPM", "XOM")
        assert set(held_portfolio(context, LAST, 300).held) == {"AAPL", "JPM", "XOM", "PG"}
        early, closes = measured(context, before), panel.rows(0, len(panel.sessions) - 1)
        assert early.portfolio.panel.last_session == before
        assert early.positions["price"].to_list() == pytest.approx(closes.close[-1, :3].tolist())

    def test_a_young_symbol_is_left_out_and_named(self) -> None:
        panel = without_newest(prices(), "XOM", known=125)  # 124 returns of 250
        report = measured(desk(panel), LAST)
        assert report.not_measured == ("XOM",)
        assert report.statement == "2 of 3 positions measured over 250 sessions; too short a history: XOM"
        assert report.measures["not_measured"].unique().to_list() == [1]
        assert report.measures["symbols"].unique().to_list() == [2]
        returns, values = by_hand(panel, {"AAPL": 100, "JPM": 300})
        assert report.measures["gross"][0] == pytest.approx(float(values.sum()))
        known = returns[:, :2]
        expected = heat(shrunk_correlation(known, SYMBOLS[:2]), values[:2], float(report.portfolio.account.equity))
        assert report.heat is not None
        assert vars(report.heat) == pytest.approx(vars(expected))
        assert report.positions["symbol"].to_list() == ["AAPL", "JPM", "XOM"]

    def test_half_of_the_sessions_are_enough(self) -> None:
        report = measured(desk(without_newest(prices(), "XOM", known=126)), LAST)
        assert report.not_measured == ()
        assert json.loads(report.measures["diagnostics"][0])["coverage"] == {"XOM": 0.5}

    def test_what_cannot_be_measured_is_unknown_and_the_rest_is_still_told(self) -> None:
        context = desk(prices(60))
        report = risk_report(context, LAST)
        assert report.statement == "the risk of 3 positions at the close of 2020-06-30 is unknown"
        assert report.problems[0] == "risk measures: 59 sessions of returns, 100 are needed; load more history"
        assert context.lake.read("risk_measures").is_empty()
        assert report.heat is None
        assert report.sectors == {}
        assert report.margin is not None
        assert report.counterparties[0].gross == pytest.approx(float(report.portfolio.account.gross_exposure))
        assert report.positions["value"].to_list() == pytest.approx(by_hand(prices(60))[1][:3].tolist())

    def test_a_session_without_bars_is_refused(self) -> None:
        panel = prices()
        context = desk(panel.rows(0, len(panel.sessions) - 1))
        with pytest.raises(DataUnavailableError, match="the newest bars are of 2020-06-29"):
            measured(context, LAST)

    def test_volumes_say_how_long_the_book_takes_to_sell(self) -> None:
        context = desk(volumes={"AAPL": 1000.0, "JPM": 1000.0}, max_participation=0.05)
        report = measured(context, LAST)
        recent = prices().close[-20:]
        assert report.positions["average_traded"].to_list()[:2] == pytest.approx((1000 * recent[:, :2]).mean(axis=0))
        pace = 0.05 * (1000 * recent[:, :2]).mean(axis=0)
        sessions = report.positions["sessions_to_sell"].to_list()
        assert sessions[:2] == pytest.approx((by_hand(prices())[1][:2] / pace).tolist())
        assert sessions[2] is None
        assert report.positions["average_traded"][2] is None
        assert report.liquidity is not None and report.liquidity.longest == float("inf")
        returns, values = by_hand(prices())
        covariance = shrunk_correlation(returns[:, :3], SYMBOLS[:3]).covariance
        traded = np.append((1000 * recent[:, :2]).mean(axis=0), np.nan)
        expected = liquidation_var(values[:3], traded, 0.05, covariance, 0.95)
        assert report.liquidation_var == pytest.approx(expected, rel=1e-6)

    def test_without_any_volume_liquidity_is_unknown(self) -> None:
        report = measured(desk(), LAST)
        assert (report.liquidity, report.liquidation_var) == (None, None)
        assert "liquidity: no position has a volume; how long the book takes to sell is unknown" in report.problems
        assert report.positions["sessions_to_sell"].to_list() == [None] * 3

    def test_margin_and_counterparty_are_those_of_the_account(self) -> None:
        context = desk(max_counterparty_exposure=0.5)
        report = measured(context, LAST)
        quantities = np.array([100.0, 300.0, -200.0])
        closes, cash = np.round(prices().close[-1, :3], 4), float(report.portfolio.account.cash)
        expected = regulation_t(quantities, closes, cash, context.settings.risk, 0.0)
        assert report.margin is not None
        assert vars(report.margin) == pytest.approx(vars(expected), rel=1e-5)
        (broker,) = report.counterparties
        assert (broker.counterparty, broker.cash) == ("paper", cash)
        assert broker.gross == pytest.approx(report.measures["gross"][0])
        assert broker.breached == (broker.share > 0.5)

    def test_the_largest_shortfall_is_held_against_the_gates_limit(self) -> None:
        report, risk = measured(desk(), LAST), RiskSettings(cvar_limit=0.01)
        worst = worst_shortfall(report.measures, risk)
        assert worst is not None
        rows = report.measures.filter(pl.col("confidence") == 0.95)
        assert worst["expected_shortfall"] == rows["expected_shortfall"].max()
        assert worst["limit"] == 0.01 * worst["equity"]
        assert worst_shortfall(report.measures.head(0), risk) is None
        assert worst_shortfall(report.measures, RiskSettings(cvar_confidence=0.9)) is None
        later = report.measures.with_columns(pl.lit(5, pl.Int32()).alias("horizon"))
        assert worst_shortfall(later, risk) is None


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


class TestBacktest:
    """VaR forecast session by session over real history."""

    def test_the_rows_are_the_backtests_of_equal_weights(self) -> None:
        start = date(2020, 1, 2)
        context, panel = desk(positions={}, measures={"backtest_start": start}), prices()
        rows = var_backtest(context, LAST)
        settings = context.settings.risk.measures
        at = int(np.searchsorted(panel.sessions, np.datetime64(start)))
        closes = panel.close[at - WINDOW - 1 :]
        returns = (closes[1:] / closes[:-1] - 1.0).mean(axis=1)
        assert rows.height == 2 * len(Method)
        assert (rows["portfolio"] == "equal_weight").all()
        for method in (Method.HISTORICAL, Method.FILTERED_HISTORICAL, Method.CONDITIONAL_EXTREME_VALUE):
            for result in backtest(returns, method, WINDOW, settings.confidences, settings.tail_share, 1):
                verdict = judge(result, settings)
                wanted = (pl.col("method") == method) & (pl.col("confidence") == result.confidence)
                (row,) = rows.filter(wanted).iter_rows(named=True)
                assert (row["session"], row["first"]) == (LAST, start)
                assert (row["sessions"], row["exceedances"]) == (verdict.sessions, verdict.exceedances)
                assert row["expected"] == pytest.approx(verdict.expected)
                found = (row["kupiec_p"], row["independence_p"], row["conditional_coverage_p"], row["shortfall_p"])
                tests = (verdict.coverage, verdict.independence, verdict.conditional_coverage)
                assert found == pytest.approx((*(one.p_value for one in tests), verdict.shortfall_p_value), rel=1e-6)
                assert (row["zone"], row["mean_var"]) == (verdict.zone, pytest.approx(verdict.mean_var))
                path = json.loads(row["path"])
                assert path["sessions"][0] == "2020-01-02" and path["sessions"][-1] == "2020-06-30"
                assert path["returns"] == pytest.approx(returns[WINDOW:].tolist())
                assert path["value_at_risk"] == pytest.approx(result.var.tolist())
                assert path["expected_shortfall"] == pytest.approx(result.es.tolist())
        assert context.lake.read("var_backtests").height == rows.height

    def test_a_start_before_the_history_becomes_the_first_session_with_a_window(self) -> None:
        context = desk(positions={})
        rows = var_backtest(context, LAST, start=date(2010, 1, 4))
        assert rows["first"].unique().to_list() == [prices().sessions[1 + WINDOW].astype(object)]
        assert rows["sessions"].max() == 619 - WINDOW

    def test_a_beginning_with_few_symbols_is_left_out(self) -> None:
        panel = prices()
        close = without(panel, slice(0, 100)).close
        days, returns = equal_weight_returns(desk(without(panel, slice(0, 100)), {}), LAST, date(2010, 1, 4), WINDOW)
        assert days[0] == panel.sessions[101]
        assert returns[0] == pytest.approx(float((close[101] / close[100] - 1.0).mean()))

    def test_a_hole_is_refused(self) -> None:
        with pytest.raises(RiskError, match="less than 50%"):
            equal_weight_returns(desk(without(prices(), slice(300, 302)), {}), LAST, date(2010, 1, 4), WINDOW)

    def test_too_short_a_history_is_refused(self) -> None:
        with pytest.raises(RiskError, match=r"99 sessions leave none after a window of 250; load more"):
            var_backtest(desk(prices(100), {}), LAST)

    def test_a_single_session_is_refused(self) -> None:
        with pytest.raises(RiskError, match=r"no session up to 2020-06-30 has returns of 50% of 4 symbols"):
            equal_weight_returns(desk(prices(1), {}), LAST, LAST, WINDOW)

    def test_the_account_is_backtested_once_it_is_old_enough(self) -> None:
        context = desk(positions={}, measures={"window": 120, "confidences": [0.95]})
        equity = 1e5 * prices().close[-371:, 0] / prices().close[-371, 0]
        days = prices().sessions[-371:].astype(object).tolist()
        nothing = dict.fromkeys(
            ("cash", "market_value", "gross_exposure", "net_exposure", "realised_pnl", "unrealised_pnl", "commission"),
            Decimal(0),
        )
        rows = [
            nothing | {"session": day, "equity": Decimal(str(round(one, 6))), "peak_equity": Decimal(1)}
            for day, one in zip(days, equity.tolist(), strict=True)
        ]
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.insert(), rows[1:])
        assert set(backtest_all(context, LAST)["portfolio"]) == {"equal_weight"}
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.insert(), rows[:1])
        found_days, returns = account_returns(context, LAST)
        assert found_days[0] == np.datetime64(days[1])
        assert returns == pytest.approx(equity[1:] / equity[:-1] - 1.0, abs=1e-9)
        assert len(account_returns(context, days[10])[1]) == 10
        both = backtest_all(context, LAST)
        assert both["portfolio"].unique(maintain_order=True).to_list() == ["equal_weight", "account"]
        assert both.filter(pl.col("portfolio") == "account")["sessions"].max() == 250
        with context.ledger.write() as connection:
            connection.execute(account_snapshots.update().where(account_snapshots.c.session == LAST).values(equity=0))
        with pytest.raises(RiskError, match="was not always above zero"):
            account_returns(context, LAST)

    def test_it_holds_where_a_method_that_follows_volatility_passes_everywhere(self) -> None:
        def rows(*found: tuple[str, float, float]) -> pl.DataFrame:
            frame = pl.DataFrame(found, schema=["method", "confidence", "conditional_coverage_p"], orient="row")
            return frame.with_columns(pl.lit("equal_weight").alias("portfolio"))

        both = rows(("filtered_historical", 0.95, 0.01), ("conditional_extreme_value", 0.99, 0.5))
        assert holds(both, 0.01)
        assert failing(both, 0.01).is_empty()
        one = rows(("filtered_historical", 0.95, 0.5), ("filtered_historical", 0.99, 0.0099))
        assert not holds(one, 0.01)
        assert failing(one, 0.01)["confidence"].to_list() == [0.99]
        assert not holds(rows(("historical", 0.95, 0.9)), 0.01)
        assert not holds(both.head(0), 0.01)


class TestContracts:
    """What may not be stored."""

    def test_the_contract_knows_every_method(self) -> None:
        assert set(contracts.RISK_METHODS) == {str(method) for method in Method}

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("method", "guess", "known code"),
            ("confidence", 0.5, "above 0.5, below 1"),
            ("confidence", 1.0, "above 0.5, below 1"),
            ("horizon", 0, "from 1"),
            ("volatility", -0.1, "not negative"),
            ("gross", 0.0, "above 0"),
            ("symbols", 0, "from 1"),
            ("not_measured", -1, "not negative"),
            ("diagnostics", "[]", "JSON object"),
            ("expected_shortfall", 0.0, "shortfall is not below value at risk"),
        ],
    )
    def test_a_measure_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "method": "historical", "confidence": 0.99, "horizon": 1, "value_at_risk": 2.0,
            "expected_shortfall": 3.0, "volatility": 1.0, "equity": 9.0, "gross": 9.0, "symbols": 1, "not_measured": 0,
            "diagnostics": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["risk_measures"].schema)
        assert contracts.check("risk_measures", rows).passed
        assert broken("risk_measures", rows, column, value) == check

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("kind", "dream", "known code"),
            ("scenario", "", "not empty"),
            ("symbols", -1, "not negative"),
            ("symbols", 0, "without a symbol there is no result"),
            ("not_evaluated", -1, "not negative"),
            ("detail", "", "JSON object"),
            ("worst", 1.0, "the worst is not better than the end"),
            ("expected_shortfall", 1.0, "shortfall is not below value at risk"),
        ],
    )
    def test_a_stress_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "kind": "shock", "scenario": "x", "profit": -1.0, "worst": -1.0, "value_at_risk": 2.0,
            "expected_shortfall": 3.0, "equity": 1.0, "symbols": 1, "not_evaluated": 0, "detail": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["stress_results"].schema)
        assert contracts.check("stress_results", rows).passed
        assert check in broken("stress_results", rows, column, value)

    @pytest.mark.parametrize(
        ("column", "value", "check"),
        [
            ("portfolio", "mine", "known code"),
            ("sessions", 1, "from 2"),
            ("missing", -1, "not negative"),
            ("exceedances", -1, "not negative"),
            ("exceedances", 11, "exceedances are sessions"),
            ("kupiec_p", 1.1, "between 0 and 1"),
            ("zone", "blue", "known code"),
            ("path", "", "JSON object"),
            ("first", LAST, "begins before it ends"),
        ],
    )
    def test_a_backtest_that_cannot_be_is_refused(self, column: str, value: object, check: str) -> None:
        row = {
            "session": LAST, "portfolio": "account", "method": "historical", "confidence": 0.99,
            "first": date(2020, 6, 1), "sessions": 10, "missing": 0, "exceedances": 1, "expected": 0.1, "zone": "green",
            "path": "{}",
        }  # fmt: skip
        rows = pl.DataFrame([row], schema=TABLES["var_backtests"].schema)
        assert contracts.check("var_backtests", rows).passed
        assert check in broken("var_backtests", rows, column, value)

    def test_a_part_of_nothing_is_refused(self) -> None:
        rows = measured(desk(), LAST).contributions.head(1)
        assert contracts.check("risk_contributions", rows).passed
        assert broken("risk_contributions", rows, "value", 0.0) == "not 0"
        assert broken("risk_contributions", rows, "symbol", "") == "not empty"


def broken(table: str, rows: pl.DataFrame, column: str, value: object) -> str:
    """The checks that fail when a column has another value."""
    changed = rows.with_columns(pl.lit(value).cast(rows.schema[column]).alias(column))
    return ", ".join(failure.check for failure in contracts.check(table, changed).failures)
