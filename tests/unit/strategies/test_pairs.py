"""Pairs over real prices: formed on the past, closed when they break, and the same whenever they are computed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import polars as pl
import pytest

from quant_dagster.market_data.panel import Panel
from quant_dagster.settings import PairsSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.pairs import Pair, PairState, find_pairs, mean_has_moved, pairs_at, stepped
from tests.unit.forecasting.real_returns import stock_panel

LOOSE = PairsSettings(formation_sessions=250, significance=0.10, longest_half_life=60.0, reform_sessions=20)
FORMED = Pair("A", "B", date(2020, 1, 2), 1.0, 0.0, 0.001, 30.0, 10.0, 0.05, 0.0, PairState.FLAT, "formed")
NOTHING = TABLES["pairs"].empty()


def history(panel: Panel, sessions: int, settings: PairsSettings) -> list[pl.DataFrame]:
    """Rows of the newest sessions, each from those before it."""
    rows, earlier = [], NOTHING
    for stop in range(len(panel.sessions) - sessions + 1, len(panel.sessions) + 1):
        earlier = pairs_at(panel.rows(0, stop), earlier, settings)
        rows.append(earlier)
    return rows


@cache
def year() -> list[pl.DataFrame]:
    return history(stock_panel(), 120, LOOSE)


def test_real_pairs_are_found_and_go_through_their_states() -> None:
    rows = pl.concat(year())
    assert rows.schema == TABLES["pairs"].schema
    assert rows["session"].n_unique() == 120
    assert {"flat", "long", "short"} <= set(rows["state"])
    assert (rows["engle_granger_p"] < LOOSE.significance).all() and (rows["hedge_ratio"] > 0).all()
    assert rows.group_by("session", "first", "second").len()["len"].max() == 1


def test_a_pair_is_held_only_after_its_entry_and_until_its_exit_or_break() -> None:
    """Followed row by row, from the z alone."""
    checked = 0
    for before, after in zip(year()[:-1], year()[1:], strict=True):
        joined = after.join(before, on=["first", "second", "formed_on"], suffix="_before")
        for row in joined.iter_rows(named=True):
            was, now, z = row["state_before"], row["state"], row["z"]
            if was == "broken":
                assert now == "broken"
            elif now == "long":
                assert z <= -LOOSE.entry_z if was == "flat" else was == "long" and z < -LOOSE.exit_z
            elif now == "short":
                assert z >= LOOSE.entry_z if was == "flat" else was == "short" and z > LOOSE.exit_z
            checked += now in ("long", "short")
    assert checked > 20


def test_pairs_at_a_session_know_nothing_of_later_ones() -> None:
    """Later prices are turned upside down; nothing before them moves."""
    panel = stock_panel()
    cut = len(panel.sessions) - 60
    wild = panel.close.copy(order="F")
    wild[cut:] = wild[cut:][::-1] * 3.0
    other = replace(panel, close=wild)
    for one, two in zip(history(panel, 120, LOOSE)[:60], history(other, 120, LOOSE)[:60], strict=True):
        assert one.equals(two)


def test_sessions_the_desk_slept_through_are_gone_through_one_by_one() -> None:
    daily = year()
    jumped = pairs_at(stock_panel(), daily[-8], LOOSE)
    assert jumped.equals(daily[-1])


def test_the_same_session_again_gives_the_same_rows() -> None:
    assert pairs_at(stock_panel(), year()[-2], LOOSE).equals(year()[-1])


def test_a_pair_beyond_the_stop_breaks_and_is_not_entered_again() -> None:
    settings = PairsSettings()
    path = [0.1, -2.5, -3.0, -4.2, -2.5, 0.0, 2.5, -2.2]
    pair, states = FORMED, []
    for z in path:
        pair = stepped(pair, z, settings)
        states.append(pair.state.value)
    assert states == ["flat", "long", "long", "broken", "broken", "broken", "broken", "broken"]
    assert "stop_z" in stepped(replace(FORMED, state=PairState.SHORT), 4.0, settings).detail


def test_a_pair_is_left_at_its_mean_or_when_it_jumped_past_it() -> None:
    settings = PairsSettings()
    short = replace(FORMED, state=PairState.SHORT)
    assert stepped(short, 0.51, settings).state is PairState.SHORT
    assert stepped(short, 0.5, settings).state is PairState.FLAT
    assert stepped(short, -1.0, settings).state is PairState.FLAT
    assert stepped(short, float("nan"), settings).state is PairState.SHORT


def test_a_broken_pair_of_real_prices_stays_out_until_pairs_are_formed_anew() -> None:
    """One leg of an open pair loses half its price for good."""
    panel = stock_panel()
    rows = year()
    at, row = next(
        (k, row) for k in range(60, 80) for row in rows[k].filter(pl.col("state") == "long").iter_rows(named=True)
    )
    session = len(panel.sessions) - 120 + k_next(at)
    closes = panel.close.copy(order="F")
    closes[session:, panel.symbols.index(row["first"])] *= 0.5
    hurt, earlier = replace(panel, close=closes), rows[at]
    formed = row["formed_on"]
    seen = []
    for stop in range(session + 1, session + 16):
        earlier = pairs_at(hurt.rows(0, stop), earlier, LOOSE)
        mine = earlier.filter((pl.col("first") == row["first"]) & (pl.col("second") == row["second"]))
        if mine.is_empty() or mine["formed_on"][0] != formed:
            break
        seen.append(mine["state"][0])
    assert seen and set(seen) == {"broken"}


def k_next(at: int) -> int:
    return at + 1


def test_a_pair_whose_spread_keeps_its_mean_is_seldom_broken_and_one_that_moves_is() -> None:
    """1,000 autoregressions of a year each, watched daily: false alarms stay below the level, real ones are found."""
    random = np.random.default_rng(9)
    persistence = 0.5 ** (1 / 10.0)
    innovations = random.normal(size=(1000, 250)) * np.sqrt(1 - persistence**2)
    spread = np.zeros((1000, 250))
    for t in range(1, 250):
        spread[:, t] = persistence * spread[:, t - 1] + innovations[:, t]
    alarms = [mean_has_moved(path, 10.0, 1.0, 500, 0.05) for path in spread]
    assert np.mean(alarms) <= 0.05
    found = [mean_has_moved(path + np.linspace(0, 8, 250), 10.0, 1.0, 500, 0.05) for path in spread[:200]]
    assert np.mean(found) > 0.9


def test_the_mean_once_moved_stays_moved() -> None:
    spread = np.concatenate([np.zeros(5), np.full(200, 3.0), np.zeros(50)])
    first = next(k for k in range(2, 255) if mean_has_moved(spread[:k], 2.0, 1.0, 100, 0.01))
    assert all(mean_has_moved(spread[:k], 2.0, 1.0, 100, 0.01) for k in range(first, 255))


def test_without_enough_history_there_is_no_pair() -> None:
    assert find_pairs(stock_panel().last(200), LOOSE) == []
    assert pairs_at(stock_panel().last(200), NOTHING, LOOSE).is_empty()


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_pairs_than_asked_for_the_strongest_first(most: int) -> None:
    every = find_pairs(stock_panel(), LOOSE)
    few = find_pairs(stock_panel(), LOOSE.model_copy(update={"most_pairs": most}))
    assert few == every[:most]
    assert [pair.engle_granger_p for pair in every] == sorted(pair.engle_granger_p for pair in every)
