"""Pairs, alphas' records and attribution through a real lake and ledger."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from quant_dagster.accounting.snapshots import Mark, record_snapshot
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.pairs import earlier_pairs, follow_pairs
from quant_dagster.cycle.signal_selection import attribution, measure_alphas
from quant_dagster.market_data.panel import Panel
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_snapshots, decisions
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import ALPHAS
from tests.unit.execution.test_paper import MONDAY, TUESDAY, WEDNESDAY
from tests.unit.forecasting.real_returns import stock_panel

LOOSE = {"signals": {"pairs": {"formation_sessions": 250, "significance": 0.10, "longest_half_life": 60.0},
                     "decay_sessions": 20}}  # fmt: skip


@cache
def panel() -> Panel:
    return stock_panel().last(320)


def desk() -> TradingContext:
    context = TradingContext(load_settings(LOOSE))
    context.ledger.upgrade()
    return context


def day(at: int) -> date:
    return panel().sessions[at].astype("datetime64[D]").astype(object)


def test_pairs_are_carried_from_the_rows_of_the_session_before() -> None:
    context = desk()
    made = [follow_pairs(context, panel().rows(0, stop)) for stop in range(296, 321)]
    assert all(rows.height for rows in made)
    stored = context.lake.read("pairs")
    assert stored.equals(pl.concat(made))
    formed = stored.group_by("session").agg(pl.col("formed_on").max())["formed_on"].n_unique()
    assert formed == 2, "found on the first of 25 sessions, and formed anew after 20"
    assert earlier_pairs(context, panel()).equals(made[-2])


def test_following_the_same_session_again_changes_nothing() -> None:
    context = desk()
    for stop in (318, 319, 320):
        follow_pairs(context, panel().rows(0, stop))
    version, rows = context.lake.version("pairs"), context.lake.read("pairs")
    assert follow_pairs(context, panel()).equals(rows.filter(pl.col("session") == day(-1)))
    assert context.lake.version("pairs") == version


def test_an_earlier_session_made_again_does_not_see_the_later_rows() -> None:
    context = desk()
    once = [follow_pairs(context, panel().rows(0, stop)) for stop in (318, 319, 320)]
    assert follow_pairs(context, panel().rows(0, 319)).equals(once[1])


def test_a_market_without_pairs_is_an_empty_answer() -> None:
    context = desk()
    assert follow_pairs(context, panel().rows(0, 200)).is_empty()
    assert follow_pairs(context, panel().rows(0, 201)).is_empty()


def test_alphas_are_measured_on_stored_signals_with_known_outcomes() -> None:
    """A source that is long of what then rose, stored for 40 sessions."""
    context, whole = desk(), panel()
    logs, m = np.log(whole.close), len(whole.symbols)
    frames = []
    for t in range(280, 320):
        ahead = logs[min(t + 5, 319)] - logs[t]
        row = {"session": [day(t)] * m, "symbol": list(whole.symbols), "alpha": ["trend"] * m,
               "direction": np.sign(ahead).astype(np.int8), "strength": np.clip(np.abs(ahead) * 10, 0, 1),
               "confidence": np.full(m, 0.5), "risk": np.full(m, 0.5), "priority": np.full(m, 0.5),
               "enabled": [True] * m, "reasons": ["trend_long"] * m}  # fmt: skip
        frames.append(pl.DataFrame(row, schema=TABLES["signals"].schema))
    context.lake.merge("signals", pl.concat(frames))
    rows = measure_alphas(context, whole)
    assert rows.equals(context.lake.read("alpha_performance"))
    assert sorted(rows["alpha"].unique()) == sorted(ALPHAS)
    trend = rows.filter((pl.col("alpha") == "trend") & (pl.col("horizon") == 5)).row(0, named=True)
    assert (trend["state"], trend["allocation"], trend["hit_rate"]) == ("sound", 1.0, 1.0)
    assert trend["signals"] <= 20 * m and trend["information_coefficient"] > 0.9
    earlier = measure_alphas(context, whole.rows(0, 310))
    same = desk_with(frames[:29])
    assert earlier.equals(measure_alphas(same, whole.rows(0, 310))), "signals of later sessions are not looked at"
    version = context.lake.version("alpha_performance")
    measure_alphas(context, whole)
    assert context.lake.version("alpha_performance") == version


def desk_with(frames: list[pl.DataFrame]) -> TradingContext:
    context = TradingContext(load_settings(LOOSE | {"home": str(load_settings().home / "other")}))
    context.lake.merge("signals", pl.concat(frames))
    return context


def test_what_the_account_earned_is_attributed_to_the_last_cent(ledger: Ledger, tmp_path: Path) -> None:
    """IBM is bought for the trend on Monday, filled on Tuesday, marked on Tuesday and Wednesday."""
    from tests.unit.cycle.approval_desk import Desk

    own = Desk(ledger, tmp_path)
    own.hold(100)
    with ledger.write() as connection:
        connection.execute(decisions.update().values(alpha="trend"))
        for session, price in ((MONDAY, "197"), (TUESDAY, "199"), (WEDNESDAY, "202.5")):
            record_snapshot(connection, {"IBM": Mark(Decimal(price), session)}, session, at=ledger.now())
        last = connection.execute(
            select(account_snapshots.c.equity).order_by(account_snapshots.c.session.desc())
        ).scalars().first()  # fmt: skip
    context = desk()
    context.ledger = ledger
    (only,) = attribution(context)
    assert (only.alpha, only.symbols, only.position_sessions) == ("trend", 1, 2)
    assert only.pnl == last - 1_000_000
    (tuesday,) = attribution(context, end=TUESDAY)
    (wednesday,) = attribution(context, start=WEDNESDAY)
    assert tuesday.pnl + wednesday.pnl == only.pnl
    assert wednesday.pnl == Decimal("350")


@pytest.mark.parametrize("model", ["boosting", "ornstein_uhlenbeck"])
def test_a_forecast_that_another_model_answered_is_nobodys_view(model: str) -> None:
    from quant_dagster.cycle.inputs import model_view

    rows = pl.DataFrame(
        {"symbol": ["A", "B", "C", "A", "B"], "model": [model] * 5,
         "answered_by": [model, "random_walk", None, model, model],
         "horizon": [5, 5, 5, 1, 1], "mean": [0.01, 0.02, None, 0.002, 0.004], "std": [0.1, 0.1, None, 0.05, 0.05],
         "parameters": ['{"half_life": 7.5, "note": "x", "bad": true}', "{}", "{}", "{}", "{}"],
         "diagnostics": ['{"z": null, "information_coefficient": 0.02}', "{}", "{}", "{}", "{}"]}
    )  # fmt: skip
    view = model_view(rows, model, ("A", "B", "C", "D"))
    assert view is not None and view.horizon == 5
    assert view.mean.tolist()[0] == 0.01 and np.isnan(view.mean[1:]).all()
    assert view.parameter("half_life")[0] == 7.5
    assert all(np.isnan(view.parameter(name)[0]) for name in ("note", "bad", "absent"))
    assert np.isnan(view.diagnostic("z")).all() and view.diagnostic("information_coefficient")[0] == 0.02
    assert model_view(rows.filter(pl.col("answered_by") != model), model, ("A",)) is None
    assert model_view(rows, "garch11", ("A",)) is None
