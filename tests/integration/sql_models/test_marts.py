"""The marts of a real replay: their numbers against the ledger and the lake, and their files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_dagster.operations.sql.database import run, run_tests
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.operations.sql.templates import SqlModelError
from quant_dagster.settings import load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from tests.integration.sql_models.marts import MARTS, changed, mart
from tests.support.replays import open_ledger


class TestNumbers:
    """Each mart against the same thing worked out another way from the ledger and the lake."""

    def test_profit_is_the_change_of_equity_and_the_deposit_is_none(self, built: Path, finished_replay: Path) -> None:
        pnl = mart(built, "daily_pnl")
        accounts = open_ledger(finished_replay).frame("account_snapshots").sort("session")
        equity = accounts["equity"].to_numpy()
        capital = load_settings().portfolio.initial_cash
        assert pnl["session"].to_list() == accounts["session"].to_list()
        np.testing.assert_allclose(pnl["daily_pnl"], np.diff(equity, prepend=capital), atol=1e-6)
        np.testing.assert_allclose(pnl["daily_return"], np.diff(equity, prepend=capital) / [capital, *equity[:-1]])
        np.testing.assert_allclose(pnl["drawdown"], 1 - equity / np.maximum.accumulate([capital, *equity])[1:])
        assert pnl["total_pnl"][-1] == pytest.approx(equity[-1] - capital)

    def test_turnover_and_commission_are_the_fills(self, built: Path, finished_replay: Path) -> None:
        traded = (
            open_ledger(finished_replay).frame("fills").group_by("session")
            .agg((pl.col("quantity") * pl.col("price")).sum().alias("notional"), pl.col("commission").sum())
        )  # fmt: skip
        pnl = mart(built, "daily_pnl").join(traded, on="session", how="left").fill_null(0.0)
        assert traded.height > 0
        np.testing.assert_allclose(pnl["traded_notional"], pnl["notional"])
        np.testing.assert_allclose(pnl["daily_commission"], pnl["commission"])
        first = pnl.filter(pl.col("fills") > 0).row(0, named=True)
        assert first["turnover"] == pytest.approx(first["notional"] / load_settings().portfolio.initial_cash, rel=1e-3)

    def test_blotter_has_each_fill_with_its_decision_and_its_vendor_row(
        self, built: Path, finished_replay: Path
    ) -> None:
        blotter = mart(built, "trade_blotter")
        ledger, lake = open_ledger(finished_replay), Lake(finished_replay / "lake")
        assert blotter["execution_id"].to_list() == ledger.frame("fills").sort("sequence")["execution_id"].to_list()
        decided = blotter.join(ledger.frame("decisions"), on="decision_id", suffix="_of_decision")
        assert decided.height == blotter.height > 0
        assert (decided["symbol"] == decided["symbol_of_decision"]).all()
        assert (decided["decision_session"] == decided["session_of_decision"]).all()
        assert (decided["decision_session"] < decided["session"]).all()
        raw = lake.read("raw_prices")
        found = blotter.join(
            raw, left_on=["bar_vendor", "symbol", "bar_session", "bar_row_hash"],
            right_on=["vendor", "symbol", "session", "row_hash"],
        )  # fmt: skip
        assert found.height == blotter.height
        np.testing.assert_array_equal(found["reference_price"], found["close"])  # closes only: filled on the close

    def test_slippage_is_what_the_paper_broker_charges(self, built: Path) -> None:
        blotter = mart(built, "trade_blotter")
        configured = load_settings().execution.slippage_bps  # closes only: no impact; a tick is a cent
        rounding = 1e4 * 0.01 / blotter["reference_price"].to_numpy()
        excess = blotter["slippage_vs_reference_bps"].to_numpy() - configured
        assert (excess >= -1e-9).all() and (excess <= rounding).all()
        assert blotter["participation"].null_count() == blotter.height
        np.testing.assert_allclose(blotter["delay_usd"] + blotter["execution_usd"], blotter["slippage_usd"], atol=1e-6)
        buys = blotter.filter(pl.col("side") == "buy")
        paid = (buys["price"] / buys["decision_price"] - 1) * 1e4
        np.testing.assert_allclose(buys["slippage_vs_decision_bps"], paid, atol=1e-9)

    def test_information_coefficient_is_spearman_s(self, built: Path, finished_replay: Path) -> None:
        from scipy.stats import spearmanr

        outcomes = _signal_outcomes(Lake(finished_replay / "lake"))
        quality = mart(built, "signal_quality")
        assert quality.height == outcomes.select("session", "alpha").n_unique() >= 4
        for row in quality.iter_rows(named=True):
            of = outcomes.filter((pl.col("session") == row["session"]) & (pl.col("alpha") == row["alpha"]))
            signed = of["direction"] * of["strength"]
            if signed.n_unique() == 1:  # a source that says nothing has no correlation
                assert row["information_coefficient"] is None or np.isnan(row["information_coefficient"])
            else:
                expected = spearmanr(signed, of["forward_return"]).statistic
                assert row["information_coefficient"] == pytest.approx(expected, abs=1e-12)
            spoken = of.filter(pl.col("direction") != 0)
            directed = spoken["direction"] * spoken["forward_return"]
            assert (row["symbols"], row["longs"] + row["shorts"]) == (of.height, spoken.height)
            if spoken.is_empty():
                assert row["hit_rate"] is None and row["mean_directed_return"] is None
                continue
            assert row["hit_rate"] == pytest.approx((directed > 0).mean())
            assert row["mean_directed_return"] == pytest.approx(directed.mean())

    def test_newest_session_s_signals_are_not_judged_yet(self, built: Path, finished_replay: Path) -> None:
        newest = Lake(finished_replay / "lake").read("signals")["session"].max()
        judged = mart(built, "signal_quality")["session"]
        assert newest not in judged and judged.len() > 0

    def test_alpha_hit_rate_weighs_every_signal_alike(self, built: Path, finished_replay: Path) -> None:
        outcomes = _signal_outcomes(Lake(finished_replay / "lake")).filter(pl.col("direction") != 0)
        for row in mart(built, "alpha_performance").iter_rows(named=True):
            directed = outcomes.filter(pl.col("alpha") == row["alpha"]).select(
                pl.col("direction") * pl.col("forward_return")
            )["direction"]
            assert row["signals"] == directed.len()
            assert row["hit_rate"] == pytest.approx((directed > 0).mean())
            assert row["mean_directed_return"] == pytest.approx(directed.mean())

    def test_forecast_errors_over_their_horizon(self, built: Path, finished_replay: Path) -> None:
        lake = Lake(finished_replay / "lake")
        closes = lake.read("bars").sort("session")
        sessions = closes["session"].unique().sort().to_list()
        price = {(row["symbol"], row["session"]): row["close"] for row in closes.iter_rows(named=True)}
        errors: dict[tuple[str, int], list[float]] = {}
        for row in lake.read("forecasts").iter_rows(named=True):
            later = sessions.index(row["session"]) + row["horizon"]
            if later < len(sessions):
                realised = np.log(price[row["symbol"], sessions[later]] / price[row["symbol"], row["session"]])
                errors.setdefault((row["model"], row["horizon"]), []).append(realised - row["mean"])
        quality = mart(built, "forecast_quality")
        assert {(row["model"], row["horizon"]) for row in quality.iter_rows(named=True)} == set(errors)
        for row in quality.iter_rows(named=True):
            expected = np.array(errors[row["model"], row["horizon"]])
            assert row["forecasts"] == len(expected)
            assert row["root_mean_square_error"] == pytest.approx(np.sqrt((expected**2).mean()))
            assert row["mean_error"] == pytest.approx(expected.mean())

    def test_quality_summary_is_the_quality_table(self, built: Path, finished_replay: Path) -> None:
        stored = Lake(finished_replay / "lake").read("quality").sort("session", "symbol")
        summary = mart(built, "data_quality_summary")
        assert summary["score"].to_list() == stored["score"].to_list()
        minimum = load_settings().quality.minimum_score
        share = stored.group_by("session").agg((pl.col("score") < minimum).mean().alias("share"))
        joined = summary.join(share, on="session")
        np.testing.assert_allclose(joined["session_rejected_share"], joined["share"])
        closes_only = summary.filter(pl.col("not_evaluated") == "ohlc,volume,confirmation,second_vendor")
        assert closes_only.height > 0 and (closes_only["not_evaluated_count"] == 4).all()

    def test_one_decision_row_per_cycle(self, built: Path, finished_replay: Path) -> None:
        decisions = open_ledger(finished_replay).frame("decisions")
        for row in mart(built, "daily_decisions").iter_rows(named=True):
            of = decisions.filter(pl.col("cycle_id") == row["cycle_id"])["action"]
            counted = [row["buys"], row["sells"], row["holds"], row["rejects"]]
            assert counted == [int((of == action).sum()) for action in ("BUY", "SELL", "HOLD", "REJECT")]
            assert row["decisions"] == of.len() == sum(counted)


def _signal_outcomes(lake: Lake) -> pl.DataFrame:
    """Signals with the return to the next session, by polars; every bar of the replay is trusted."""
    closes = lake.read("bars", columns=["symbol", "session", "close"]).sort("symbol", "session")
    assert (lake.read("quality", start=lake.read("signals")["session"].min())["score"] >= 0.6).all()
    forward = closes.with_columns(
        (pl.col("close").shift(-1).over("symbol") / pl.col("close") - 1).alias("forward_return")
    )
    return lake.read("signals").join(forward, on=["symbol", "session"]).drop_nulls("forward_return")


class TestFiles:
    def test_marts_are_written_and_nothing_else(self, built: Path) -> None:
        assert sorted(path.name for path in built.iterdir()) == [f"{name}.parquet" for name in MARTS]

    def test_columns_are_those_the_lineage_knows(
        self, project: SqlProject, replayed_home: Path, tmp_path: Path
    ) -> None:
        results = run(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), tmp_path)
        assert [result.name for result in results] == list(project.models)
        for result in results:
            assert tuple(name for name, _ in result.columns) == project.output_columns[result.name]
            # HUGEINT would become a double in Parquet.
            assert {kind for _, kind in result.columns} <= {
                "BIGINT", "INTEGER", "TINYINT", "DOUBLE", "VARCHAR", "DATE", "BOOLEAN", "TIMESTAMP WITH TIME ZONE"
            }  # fmt: skip

    def test_same_ledger_and_lake_give_the_same_bytes(
        self, project: SqlProject, built: Path, replayed_home: Path, tmp_path: Path
    ) -> None:
        run(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), tmp_path)
        for name in MARTS:
            assert (tmp_path / f"{name}.parquet").read_bytes() == (built / f"{name}.parquet").read_bytes(), name

    def test_only_what_is_selected_is_reported_and_written(
        self, project: SqlProject, replayed_home: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        results = run(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), out, ["daily_pnl"])
        assert [result.name for result in results] == ["daily_pnl"]
        assert [path.name for path in out.iterdir()] == ["daily_pnl.parquet"]
        assert results[0].path == out / "daily_pnl.parquet"

    def test_home_whose_path_looks_like_a_pattern(
        self, project: SqlProject, built: Path, replayed_home: Path, tmp_path: Path
    ) -> None:
        odd = tmp_path / "it's[a-z]*"
        shutil.copytree(replayed_home / "lake", odd / "lake")
        run(project, Lake(odd / "lake"), open_ledger(replayed_home), odd / "marts", ["data_quality_summary"])
        written = pl.read_parquet((odd / "marts" / "data_quality_summary.parquet").read_bytes())
        assert written.equals(mart(built, "data_quality_summary"))

    def test_model_that_fails_leaves_the_last_file(self, built: Path, replayed_home: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        shutil.copytree(built, out)
        old, new = "fills.participation,", "cast(fills.symbol as integer) as participation,"
        project = changed(tmp_path / "dbt_like_sql", "models/marts/trade_blotter.sql", old, new)
        with pytest.raises(SqlModelError, match=r"dbt_like_sql/models/marts/trade_blotter\.sql.*model 'trade_blotter'"):
            run(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), out, ["trade_blotter"])
        assert sorted(path.name for path in out.iterdir()) == [f"{name}.parquet" for name in MARTS]
        assert mart(out, "trade_blotter").equals(mart(built, "trade_blotter"))

    def test_error_names_the_line(self, replayed_home: Path, tmp_path: Path) -> None:
        file, old = "models/marts/daily_positions.sql", "profits.market_value / accounts.equity"
        project = changed(tmp_path / "dbt_like_sql", file, old, "no_such_function(accounts.equity)")
        line = (tmp_path / "dbt_like_sql" / file).read_text().split("no_such_function")[0].count("\n") + 1
        with pytest.raises(SqlModelError, match=rf"^dbt_like_sql/{file}:{line}: model 'daily_positions' failed: "):
            run(project, Lake(replayed_home / "lake"), open_ledger(replayed_home), tmp_path, ["daily_positions"])

    def test_process_that_looked_at_a_few_rows_of_the_lake_ends(self, replayed_home: Path) -> None:
        program = (
            "import sys; from quant_dagster.operations.sql.database import SqlDatabase\n"
            "from quant_dagster.operations.sql.project import SqlProject\n"
            "from quant_dagster.storage.lake import Lake; from quant_dagster.storage.ledger import Ledger\n"
            "home, project = sys.argv[1], SqlProject.load()\n"
            "lake, ledger = Lake(home + '/lake'), Ledger(f'sqlite:///{home}/ledger.db')\n"
            "with SqlDatabase(project, lake, ledger, ['stg_bars']) as db:\n"
            "    print(db.head('stg_bars', 3).height)\n"
        )
        command = [sys.executable, "-c", program, str(replayed_home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


class TestEmptyDesk:
    def test_every_model_runs_and_every_test_passes(self, project: SqlProject, ledger: Ledger, tmp_path: Path) -> None:
        lake = Lake(tmp_path / "lake")
        results = run(project, lake, ledger, tmp_path / "out")
        assert {result.rows for result in results} == {0}
        for result in results:
            assert tuple(name for name, _ in result.columns) == project.output_columns[result.name]
        assert all(result.passed for result in run_tests(project, lake, ledger))

    def test_empty_marts_have_the_types_of_full_ones(
        self, project: SqlProject, built: Path, ledger: Ledger, tmp_path: Path
    ) -> None:
        run(project, Lake(tmp_path / "lake"), ledger, tmp_path / "out")
        for name in MARTS:
            assert mart(tmp_path / "out", name).schema == mart(built, name).schema, name
