"""Kupiec, Christoffersen, the traffic light and Z2 against published tables and scipy's likelihoods."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from quant_dagster.risk.measures.backtest_statistics import (
    LikelihoodRatio,
    Zone,
    conditional_coverage,
    independence,
    kupiec,
    shortfall_p_value,
    shortfall_statistic,
    traffic_light,
)


def binomial_ratio(sessions: int, hits: int, probability: float) -> float:
    at_best = stats.binom.logpmf(hits, sessions, hits / sessions)
    return float(2.0 * (at_best - stats.binom.logpmf(hits, sessions, probability)))


@pytest.mark.parametrize("sessions", [250, 1000])
@pytest.mark.parametrize("hits", [0, 1, 7, 100, 250])
def test_kupiecs_ratio_is_of_binomial_likelihoods(sessions: int, hits: int) -> None:
    found = kupiec(sessions, hits, 0.01)
    assert found.statistic == pytest.approx(binomial_ratio(sessions, hits, 0.01), rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 1), rel=1e-9)


@pytest.mark.parametrize("hits", range(1, 40))
def test_as_many_exceedances_as_promised_are_no_evidence(hits: int) -> None:
    found = kupiec(50 * hits, hits, hits / (50 * hits))
    assert found == LikelihoodRatio(0.0, 1.0)
    assert kupiec(1000, 10, 1.0 - 0.99).statistic == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("probability", "sessions", "fewest", "most"),
    [(0.01, 255, 1, 6), (0.01, 510, 2, 10), (0.01, 1000, 5, 16), (0.05, 255, 7, 20), (0.05, 1000, 38, 64)],
)
def test_kupiecs_region_of_exceedances_that_are_not_rejected(
    probability: float, sessions: int, fewest: int, most: int
) -> None:
    """Kupiec (1995), table 3, as in Jorion's "Value at Risk": N < 7, 1 < N < 11, 4 < N < 17, 6 < N < 21, 37 < N < 65.
    Typed from memory; a test above holds the statistic to scipy's. (No exceedance in 255 sessions, a ratio of 5.1, is
    rejected too: too much risk is forecast.)"""
    accepted = [hits for hits in range(200) if kupiec(sessions, hits, probability).p_value > 0.05]
    assert (accepted[0], accepted[-1]) == (fewest, most)


def chain_ratio(exceeded: np.ndarray) -> float:
    """Likelihoods of the next session with and without knowing the one before, session by session."""
    pairs = list(itertools.pairwise(exceeded.tolist()))
    together = np.mean([after for _, after in pairs])
    apart = {state: np.mean([after for before, after in pairs if before == state] or [0.0]) for state in (False, True)}
    return 2.0 * sum(
        math.log(apart[before] if after else 1.0 - apart[before]) - math.log(together if after else 1.0 - together)
        for before, after in pairs
    )


@pytest.mark.parametrize(
    "pattern",
    ["0001000011010000100111", "1100", "0110100", "10101010", "0001111", "00100000000000000001", "1011", "1101"],
)
def test_christoffersens_ratio_is_of_markov_chains(pattern: str) -> None:
    exceeded = np.array([letter == "1" for letter in pattern])
    found = independence(exceeded)
    assert found.statistic == pytest.approx(chain_ratio(exceeded), rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 1), rel=1e-9)


def test_exceedances_that_follow_each_other_are_found_and_spread_ones_are_not() -> None:
    clustered, spread = np.zeros(500, bool), np.zeros(500, bool)
    clustered[100:110] = clustered[300:310] = True
    spread[::25] = True
    assert independence(clustered).p_value < 1e-10
    assert independence(spread).p_value > 0.15


@pytest.mark.parametrize("exceeded", [np.zeros(20, bool), np.ones(20, bool), np.arange(20) == 19, np.arange(20) == 0])
def test_without_pairs_to_tell_apart_there_is_hardly_evidence(exceeded: np.ndarray) -> None:
    found = independence(exceeded)
    assert found.statistic == pytest.approx(0.0, abs=1e-12)
    assert found.p_value == pytest.approx(1.0, abs=1e-5)


def test_conditional_coverage_is_the_sum_with_two_degrees_of_freedom() -> None:
    found = conditional_coverage(LikelihoodRatio(2.5, 0.1), LikelihoodRatio(3.491, 0.06))
    assert found.statistic == 5.991
    assert found.p_value == pytest.approx(stats.chi2.sf(5.991, 2), rel=1e-12)


def test_the_traffic_light_is_the_supervisors() -> None:
    """BCBS (1996), table 2: 250 sessions at 99 %."""
    zones = [traffic_light(250, hits, 0.01) for hits in range(12)]
    assert zones == [Zone.GREEN] * 5 + [Zone.YELLOW] * 5 + [Zone.RED] * 2
    assert [zone.value for zone in Zone] == ["green", "yellow", "red"]


@pytest.mark.parametrize(("sessions", "probability"), [(100, 0.05), (500, 0.01), (250, 0.025)])
def test_the_zones_begin_where_the_binomial_says(sessions: int, probability: float) -> None:
    for hits in range(60):
        so_many = stats.binom.cdf(hits, sessions, probability)
        expected = Zone.RED if so_many >= 0.9999 else Zone.YELLOW if so_many >= 0.95 else Zone.GREEN
        assert traffic_light(sessions, hits, probability) is expected


def test_z2_by_hand() -> None:
    pnl = np.array([0.5, -3.0, -1.0, -6.0, 2.0, -0.5, 1.0, 0.0, 0.1, 0.2])
    exceeded = np.array([False, True, False, True, *[False] * 6])
    es = np.array([9.0, 2.0, 9.0, 4.0, *[9.0] * 6])
    assert shortfall_statistic(pnl, exceeded, es, 0.1) == pytest.approx((-1.5 - 1.5) / 1.0 + 1.0)
    assert shortfall_statistic(pnl, exceeded, es, 0.3) == pytest.approx((-1.5 - 1.5) / 3.0 + 1.0)
    assert shortfall_statistic(pnl, np.zeros(10, bool), es, 0.1) == 1.0


@pytest.mark.parametrize("freedom", [5.0, 10.0, 100.0])
def test_minus_seven_tenths_is_the_five_percent_point_of_z2(freedom: float) -> None:
    """Acerbi and Szekely (2014), table 4: 250 sessions at 97.5 %, -0.7 whatever the tail; -1.8 at 0.01 %."""
    assert shortfall_p_value(-0.70, 250, 0.025, freedom, 20_000, 1) == pytest.approx(0.05, abs=0.012)
    assert shortfall_p_value(-1.80, 250, 0.025, freedom, 20_000, 1) < 0.003
    assert shortfall_p_value(0.0, 250, 0.025, freedom, 20_000, 1) == pytest.approx(0.5, abs=0.05)


def test_the_simulated_z2_is_that_of_whole_simulated_histories() -> None:
    loss = stats.t(4.0, scale=1.0 / stats.t.std(4.0))
    pnl = -loss.rvs(size=(3000, 250), random_state=np.random.default_rng(6))
    var = loss.ppf(0.95)
    es = loss.expect(lambda x: x, lb=var) / 0.05
    whole = [shortfall_statistic(row, -row > var, np.full(250, es), 0.05) for row in pnl]
    for level in (0.02, 0.1, 0.5):
        point = float(np.quantile(whole, level))
        assert shortfall_p_value(point, 250, 0.05, 4.0, 10_000, 2) == pytest.approx(level, abs=0.02)


def test_the_p_value_is_never_nothing_and_follows_its_seed() -> None:
    assert shortfall_p_value(-50.0, 250, 0.025, 4.0, 1000, 1) == 1 / 1001
    assert shortfall_p_value(1.0, 250, 0.025, 4.0, 1000, 1) == 1.0  # 1 is the most there is
    one = shortfall_p_value(-0.2, 250, 0.025, 4.0, 1000, 1)
    assert one == shortfall_p_value(-0.2, 250, 0.025, 4.0, 1000, 1)
    assert one != shortfall_p_value(-0.2, 250, 0.025, 4.0, 1000, 2)


def test_sessions_without_any_exceedance_are_simulated_too() -> None:
    # of 20 sessions at 97.5 %, 60 % of the histories have none: their Z2 is 1
    assert shortfall_p_value(0.999, 20, 0.025, 4.0, 20_000, 3) == pytest.approx(1.0 - 0.975**20, abs=0.012)
