"""Crashes that happened, with today's positions in them."""

from __future__ import annotations

from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.betas import market_betas
from quant_dagster.risk.stress.episodes import EPISODES, Episode, Treatment, replay_episode
from tests.unit.forecasting.real_returns import stock_panel

NAN = np.nan
SESSIONS = np.arange("2020-01-01", "2020-01-09", dtype="datetime64[D]")
MARKET = np.array([90.0, 100.0, 95.0, 80.0, 88.0, 90.0, 91.0, 92.0])
EPISODE = Episode("test", "Test", date(2020, 1, 3), date(2020, 1, 6))

# The S&P 500's closes before and at the end of each episode, as the index provider published them.
PUBLISHED = {
    "dot_com_bust": (1520.77, 776.76),
    "september_11": (1092.54, 965.80),
    "lehman": (1251.70, 752.44),
    "flash_crash": (1165.87, 1128.15),
    "us_downgrade": (1345.02, 1119.46),
    "china_2015": (2102.44, 1867.61),
    "volmageddon": (2872.87, 2581.00),
    "q4_2018": (2930.75, 2351.10),
    "covid": (3386.15, 2237.40),
    "bear_2022": (4796.56, 3577.03),
}


@cache
def index() -> tuple[np.ndarray, np.ndarray]:
    from skfolio.datasets import load_sp500_index

    prices = load_sp500_index()
    return prices.index.to_numpy().astype("datetime64[D]"), prices.to_numpy()[:, 0]


def replay(closes, values=(1000.0,), market=MARKET, episode=EPISODE, sessions=SESSIONS):
    closes = np.asarray(closes, dtype=float).T
    names = tuple(f"S{j}" for j in range(closes.shape[1]))
    return replay_episode(episode, closes, sessions, names, np.asarray(values, dtype=float), market)


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: episode.name)
def test_the_index_lives_through_every_episode_as_it_did(episode: Episode) -> None:
    sessions, closes = index()
    before, end = PUBLISHED[episode.name]
    result = replay_episode(episode, closes[:, None], sessions, ("SPX",), np.array([1e6]), closes)
    assert result.total == pytest.approx(1e6 * (end / before - 1.0), abs=300.0)
    assert np.datetime64(episode.first) in sessions and np.datetime64(episode.last) in sessions
    assert result.treatments == (Treatment.OWN,)


def test_the_worst_session_of_the_pandemic_is_the_16th_of_march() -> None:
    sessions, closes = index()
    covid = next(episode for episode in EPISODES if episode.name == "covid")
    result = replay_episode(covid, closes[:, None], sessions, ("SPX",), np.array([1e6]), closes)
    assert result.worst_session == np.datetime64("2020-03-16")
    assert result.worst_day == pytest.approx(1e6 * (2386.13 - 2711.02) / 3386.15, abs=300.0)
    assert result.worst_total == result.total and result.worst_total_session == np.datetime64("2020-03-23")


def test_every_episode_has_a_name_of_its_own_and_they_follow_each_other() -> None:
    assert len({episode.name for episode in EPISODES}) == len(EPISODES) == 10
    assert all(a.first < b.first for a, b in pairwise(EPISODES))
    assert all(episode.first <= episode.last for episode in EPISODES)


def test_the_table_of_episodes_is_the_documented_one() -> None:
    text = (Path(__file__).parents[4] / "docs" / "stress_and_construction.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    documented = [row for row in rows if len(row) == 5]
    assert [row[:4] for row in documented] == [
        [f"`{episode.name}`", episode.title, str(episode.first), str(episode.last)] for episode in EPISODES
    ]
    for (before, end), row in zip(PUBLISHED.values(), documented, strict=True):
        assert row[4] == f"{end / before - 1.0:.1%}".replace("%", " %")


def test_pnl_runs_from_the_close_before_the_first_session_to_the_last_close() -> None:
    result = replay([[5, 10, 9, 6, 7, 8, 20, 20], [1, 4, 4, 4, 5, 5, 9, 9], [1, 1, 1, 1, 1, 1, 1, 1]], [1000, -200, 0])
    assert result.symbols == ("S0", "S1")
    np.testing.assert_allclose(result.pnl, [-200.0, -50.0])
    assert result.total == pytest.approx(-250.0)
    # cumulative: -100, -400, -300 - 50, -200 - 50
    assert result.worst_total == pytest.approx(-400.0) and result.worst_total_session == np.datetime64("2020-01-04")
    assert result.worst_day == pytest.approx(-300.0) and result.worst_session == np.datetime64("2020-01-04")
    assert result.evaluated == 1.0 and result.episode is EPISODE


def test_the_first_session_counts_as_a_session() -> None:
    result = replay([[5, 10, 5, 5, 5, 6, 20, 20]])
    assert result.worst_day == pytest.approx(-500.0) and result.worst_session == np.datetime64("2020-01-03")


def test_a_session_without_a_close_is_the_session_before() -> None:
    result = replay([[5, 10, 9, NAN, 4, 8, 20, 20]])
    assert result.treatments == (Treatment.OWN,)
    assert result.worst_day == pytest.approx(-500.0) and result.worst_session == np.datetime64("2020-01-05")


@pytest.mark.parametrize("missing", [1, 5])
def test_a_symbol_without_closes_at_either_end_is_not_evaluated_when_its_beta_is_unknown(missing: int) -> None:
    young = [5.0, 10, 9, 6, 7, 8, 20, 20]
    young[missing] = NAN
    result = replay([young, [1, 4, 4, 4, 5, 5, 9, 9]], [600, -200])
    assert result.treatments == (Treatment.NOT_EVALUATED, Treatment.OWN)
    assert np.isnan(result.pnl[0]) and result.pnl[1] == pytest.approx(-50.0)
    assert result.total == pytest.approx(-50.0)
    assert result.evaluated == 0.25


def test_a_symbol_that_came_later_moves_with_the_market_by_its_beta() -> None:
    panel = stock_panel()
    market = np.nanmean(panel.close / panel.close[0], axis=1)
    closes = panel.close[:, :2].copy()
    covid = next(episode for episode in EPISODES if episode.name == "covid")
    inside = (panel.sessions >= np.datetime64("2020-02-01")) & (panel.sessions <= np.datetime64("2020-04-01"))
    closes[inside, 0] = NAN
    values = np.array([1000.0, 500.0])
    result = replay_episode(covid, closes, panel.sessions, panel.symbols[:2], values, market)
    start = int(np.flatnonzero(panel.sessions == np.datetime64("2020-02-19"))[0])
    stop = int(np.flatnonzero(panel.sessions == np.datetime64("2020-03-23"))[0])
    beta = market_betas(closes, market)[0]
    assert result.treatments == (Treatment.PROXY, Treatment.OWN)
    assert result.pnl[0] == pytest.approx(1000.0 * beta * (market[stop] / market[start] - 1.0))
    assert result.pnl[1] == pytest.approx(500.0 * (closes[stop, 1] / closes[start, 1] - 1.0))
    assert result.evaluated == 1.0
    # And where the market itself is unknown, there is nothing to move with.
    blind = np.where(inside, NAN, market)
    result = replay_episode(covid, closes, panel.sessions, panel.symbols[:2], values, blind)
    assert result.treatments == (Treatment.NOT_EVALUATED, Treatment.OWN)


def test_a_short_position_gains_no_more_than_its_value_from_a_beta() -> None:
    sessions, index_closes = index()
    rows = slice(int(np.searchsorted(sessions, np.datetime64("2020-02-19"))) - 200, None)
    sessions, market = sessions[rows], index_closes[rows]
    levered = np.cumprod(np.concatenate([[1.0], 1.0 + 3.0 * (market[1:] / market[:-1] - 1.0)]))
    levered[200:] = NAN  # from the close before the episode on
    covid = next(episode for episode in EPISODES if episode.name == "covid")
    result = replay_episode(covid, levered[:, None], sessions, ("BEAR",), np.array([-1000.0]), market)
    assert market_betas(levered[:, None], market)[0] == pytest.approx(3.0)
    assert result.treatments == (Treatment.PROXY,)
    assert result.total == pytest.approx(1000.0)  # three times the market's -33.9 % is more than everything


@pytest.mark.parametrize(
    "episode",
    [
        Episode("earlier", "Before the history", date(2019, 12, 31), date(2020, 1, 2)),
        Episode("starts_with_it", "No close before", date(2020, 1, 1), date(2020, 1, 2)),
        Episode("later", "Ends after the history", date(2020, 1, 8), date(2020, 1, 9)),
    ],
    ids=lambda episode: episode.name,
)
def test_an_episode_the_history_does_not_cover_says_nothing(episode: Episode) -> None:
    result = replay([[5, 10, 9, 6, 7, 8, 20, 20]], episode=episode)
    assert result.treatments == (Treatment.NOT_EVALUATED,)
    assert np.isnan([result.total, result.worst_total, result.worst_day]).all() and np.isnan(result.pnl).all()
    assert np.isnat(result.worst_session) and np.isnat(result.worst_total_session)
    assert result.evaluated == 0.0


def test_an_episode_of_one_session_at_the_very_end_is_covered() -> None:
    episode = Episode("last", "Last session", date(2020, 1, 8), date(2020, 1, 8))
    assert replay([[5, 10, 9, 6, 7, 8, 20, 10]], episode=episode).total == pytest.approx(-500.0)


def test_an_episode_in_a_gap_of_the_history_says_nothing() -> None:
    gap = np.concatenate([SESSIONS[:2], SESSIONS[6:]])
    episode = Episode("gap", "Gap", date(2020, 1, 4), date(2020, 1, 5))
    result = replay([[5, 10, 20, 20]], market=MARKET[:4], episode=episode, sessions=gap)
    assert result.treatments == (Treatment.NOT_EVALUATED,)


@pytest.mark.parametrize("values", [[0.0], [NAN], [np.inf]])
def test_positions_without_a_value_are_refused(values: list[float]) -> None:
    with pytest.raises(RiskError, match=r"^episode test: positions need finite values"):
        replay([[5, 10, 9, 6, 7, 8, 20, 20]], values)


def test_beta_is_covariance_over_variance_of_the_common_sessions() -> None:
    panel = stock_panel()
    closes, market = panel.close[:200, :3].copy(), panel.close[:200, 5].copy()
    closes[:79, 0], closes[:80, 1] = NAN, NAN
    returns, moves = closes[1:] / closes[:-1] - 1.0, market[1:] / market[:-1] - 1.0
    betas = market_betas(closes, market)
    for j, first in ((0, 79), (2, 0)):
        expected = np.cov(returns[first:, j], moves[first:])
        assert betas[j] == pytest.approx(expected[0, 1] / expected[1, 1], rel=1e-12)
    assert len(returns[79:]) == 120 and np.isnan(betas[1])  # 119 sessions are too few
    market[150] = NAN
    assert np.isnan(market_betas(closes, market)[0])
    assert np.isnan(market_betas(closes, np.ones(200))).all()
