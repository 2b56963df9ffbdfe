"""Almgren-Chriss: the paper's example, its closed forms, the optimum found by search, and the limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.almgren_chriss import Impact, trajectory, urgency

SHARES, SESSIONS, TRADES = 1_000_000.0, 5.0, 5
# Section 3.4 of the paper: a stock at 50, a spread of 1/8, 5 million shares a day, 30 % annual volatility.
PAPER = Impact(volatility=0.95, half_spread=1 / 16, temporary=2.5e-6, permanent=2.5e-7)

# The paper's example as DROP computes it (lakshmidrip.github.io/DROP, run of org.drip.coverage.execution.AlmgrenChriss,
# "short end"): lambda in 1e-9, mean in millions, variance in 1e12, penalty in millions, half-life in days.
DROP = [
    (1, 0.6625, 1.0812, 0.6636, 51.30),
    (2, 0.6625, 1.0794, 0.6647, 36.27),
    (3, 0.6625, 1.0776, 0.6657, 29.62),
    (4, 0.6625, 1.0758, 0.6668, 25.65),
    (5, 0.6625, 1.0740, 0.6679, 22.94),
    (6, 0.6625, 1.0722, 0.6690, 20.94),
    (7, 0.6625, 1.0704, 0.6700, 19.39),
    (8, 0.6626, 1.0687, 0.6711, 18.14),
    (9, 0.6626, 1.0669, 0.6722, 17.10),
]


def expected(held: Sequence[float], sessions: float, impact: Impact) -> tuple[float, float]:
    """Mean and variance of any trajectory's shortfall against the price at its start: equations 4, 5 and 8."""
    interval = sessions / (len(held) - 1)
    net = impact.temporary - impact.permanent * interval / 2
    trades = [before - after for before, after in pairwise(held)]
    cost = (
        0.5 * impact.permanent * held[0] ** 2
        + impact.half_spread * math.fsum(abs(trade) for trade in trades)
        + net / interval * math.fsum(trade**2 for trade in trades)
    )
    return cost, impact.volatility**2 * interval * math.fsum(one**2 for one in held[1:])


@pytest.mark.parametrize(("aversion", "mean", "variance", "penalty", "half_life"), DROP)
def test_the_papers_example_has_the_costs_that_drop_publishes(aversion, mean, variance, penalty, half_life) -> None:
    held = trajectory(SHARES, SESSIONS, TRADES, PAPER, aversion * 1e-9)
    cost, risk = expected(held, SESSIONS, PAPER)
    assert cost / 1e6 == pytest.approx(mean, abs=5.1e-5)
    assert risk / 1e12 == pytest.approx(variance, abs=5.1e-5)
    assert (cost + aversion * 1e-9 * risk) / 1e6 == pytest.approx(penalty, abs=5.1e-5)
    assert 1 / urgency(1.0, PAPER, aversion * 1e-9) == pytest.approx(half_life, abs=5.1e-3)


def test_the_rule_of_thumb_gives_the_papers_coefficients() -> None:
    found = Impact.estimated(price=50, volatility=0.3 / math.sqrt(250), half_spread=1 / 16, daily_volume=5e6)
    assert (found.half_spread, found.temporary, found.permanent) == pytest.approx((1 / 16, 2.5e-6, 2.5e-7))
    assert found.volatility == pytest.approx(0.95, abs=2e-3)


def test_at_a_lambda_of_a_millionth_the_half_life_is_the_papers_1_6_days() -> None:
    # Typed from the paper (kappa = 0.61 a day); cosh is its own equation, solved another way here.
    kappa = urgency(1.0, PAPER, 1e-6)
    assert round(kappa, 2) == 0.61 and round(1 / kappa, 1) == 1.6
    squared = 1e-6 * 0.95**2 / (2.5e-6 - 2.5e-7 / 2)
    assert kappa == pytest.approx(math.acosh(1 + squared / 2), rel=1e-12)


@pytest.mark.parametrize("aversion", [1e-8, 1e-7, 1e-6, 1e-5])
def test_costs_are_those_of_equation_20(aversion: float) -> None:
    """The paper's closed forms of mean and variance of the optimal strategy, which sum nothing."""
    sessions, trades = 5.0, 20
    tau, kappa = sessions / trades, urgency(sessions / trades, PAPER, aversion)
    net = PAPER.temporary - PAPER.permanent * tau / 2
    cost = (
        PAPER.permanent * SHARES**2 / 2 + PAPER.half_spread * SHARES
        + net * SHARES**2 * math.tanh(kappa * tau / 2)
        * (tau * math.sinh(2 * kappa * sessions) + 2 * sessions * math.sinh(kappa * tau))
        / (2 * tau**2 * math.sinh(kappa * sessions) ** 2)
    )  # fmt: skip
    variance = (
        PAPER.volatility**2 * SHARES**2 / 2
        * (tau * math.sinh(kappa * sessions) * math.cosh(kappa * (sessions - tau)) - sessions * math.sinh(kappa * tau))
        / (math.sinh(kappa * sessions) ** 2 * math.sinh(kappa * tau))
    )  # fmt: skip
    found = expected(trajectory(SHARES, sessions, trades, PAPER, aversion), sessions, PAPER)
    assert found == pytest.approx((cost, variance), rel=1e-10)


@pytest.mark.parametrize("aversion", [1e-7, 1e-6, 2e-6, 1e-5])
def test_no_other_trajectory_is_better(aversion: float) -> None:
    """A numerical minimiser that knows nothing of the closed form arrives at it."""

    def utility(inner: np.ndarray) -> float:
        cost, variance = expected([SHARES, *(inner * SHARES), 0.0], SESSIONS, PAPER)
        return (cost + aversion * variance) / 1e6

    held = trajectory(SHARES, SESSIONS, 10, PAPER, aversion)
    best = optimize.minimize(utility, np.linspace(1, 0, 11)[1:-1], method="BFGS", options={"gtol": 1e-9})
    assert np.array(held[1:-1]) / SHARES == pytest.approx(best.x, abs=2e-5)
    assert utility(np.array(held[1:-1]) / SHARES) <= best.fun + 1e-12


def test_without_aversion_to_risk_every_trade_is_the_same() -> None:
    held = trajectory(SHARES, SESSIONS, TRADES, PAPER, 0.0)
    assert held == pytest.approx([1e6, 8e5, 6e5, 4e5, 2e5, 0])
    nearly = trajectory(SHARES, SESSIONS, TRADES, PAPER, 1e-13)
    assert nearly == pytest.approx(held, rel=1e-6)


def test_with_boundless_aversion_everything_is_traded_at_once() -> None:
    held = trajectory(SHARES, SESSIONS, 500, PAPER, 1e9)
    assert held[0] == SHARES and held[1] < 1 and held[-1] == 0


def test_more_aversion_costs_more_and_risks_less() -> None:
    ways = [trajectory(SHARES, SESSIONS, TRADES, PAPER, one) for one in (0, 1e-7, 5e-7, 1e-6, 5e-6, 1e-5)]
    for (cost, variance), (more_cost, less_variance) in pairwise(expected(one, SESSIONS, PAPER) for one in ways):
        assert more_cost > cost and less_variance < variance


@given(
    aversion=st.floats(0, 1e-2), sessions=st.floats(0.01, 20), trades=st.integers(1, 100),
    shares=st.floats(1, 1e9),
)  # fmt: skip
def test_a_trajectory_falls_from_all_to_nothing(aversion, sessions, trades, shares) -> None:
    held = trajectory(shares, sessions, trades, Impact(0.95, 1 / 16, 2.5e-6, 1e-9), aversion)
    assert held[0] == pytest.approx(shares) and held[-1] == 0
    steps = [before - after for before, after in pairwise(held)]
    assert min(steps) >= -1e-9 * shares
    # Never faster than at the start: risk is highest while most is held.
    assert all(later <= sooner + 1e-9 * shares for sooner, later in pairwise(steps))


def test_a_permanent_impact_that_outweighs_the_temporary_one_is_refused() -> None:
    with pytest.raises(OrderError, match="more slices"):
        trajectory(SHARES, 5.0, 1, Impact(0.95, 0.06, 1e-6, 1e-6), 1e-6)


@pytest.mark.parametrize("broken", [{"temporary": 0.0}, {"volatility": math.nan}, {"permanent": -1.0}])
def test_an_impossible_cost_of_trading_is_refused(broken: dict[str, float]) -> None:
    with pytest.raises(OrderError, match="cost of trading"):
        Impact(**({"volatility": 1.0, "half_spread": 0.1, "temporary": 1e-6, "permanent": 0.0} | broken))


@pytest.mark.parametrize(("spread", "volume"), [(0.0, 1e6), (0.01, 0.0), (0.01, math.nan)])
def test_no_cost_is_guessed_from_an_unknown_market(spread: float, volume: float) -> None:
    with pytest.raises(OrderError, match="above zero"):
        Impact.estimated(price=50, volatility=0.02, half_spread=spread, daily_volume=volume)
