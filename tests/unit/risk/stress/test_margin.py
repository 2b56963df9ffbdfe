"""Regulation T, on the examples the regulators use."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.margin import memorandum_after_trades, regulation_t
from quant_dagster.settings import RiskSettings

RISK = RiskSettings()


def margin(positions, cash, memorandum=0.0, risk=RISK):
    quantities, prices = np.array(positions, dtype=float).reshape(-1, 2).T
    return regulation_t(quantities, prices, cash, risk, memorandum)


def test_the_sec_example_of_a_margin_loan() -> None:
    """SEC Office of Investor Education, "Margin: borrowing money to pay for stocks".

    $16,000 of stock, $8,000 of it borrowed, falls to $12,000: equity $4,000 is above 25 % ($3,000), and $800 below a
    firm's own 40 % ($4,800).
    """
    bought = margin([(1000, 16.0)], -8_000.0)
    assert (bought.equity, bought.initial, bought.excess) == (8_000.0, 8_000.0, 0.0)
    assert (bought.call, bought.buying_power) == (0.0, 0.0)
    fallen = margin([(1000, 12.0)], -8_000.0)
    assert (fallen.equity, fallen.maintenance, fallen.call, fallen.to_sell) == (4_000.0, 3_000.0, 0.0, 0.0)
    assert fallen.excess == -2_000.0  # a restricted account
    strict = margin([(1000, 12.0)], -8_000.0, risk=RiskSettings(maintenance_margin_long=0.40))
    assert strict.maintenance == pytest.approx(4_800.0) and strict.call == pytest.approx(800.0)
    assert strict.to_sell == pytest.approx(2_000.0)
    # Selling for 2,000 leaves 10,000 of stock and 4,000 of equity, which is 40 %.
    sold = margin([(1000, 10.0)], -6_000.0, risk=RiskSettings(maintenance_margin_long=0.40))
    assert sold.call == pytest.approx(0.0)


def test_a_short_sale_takes_half_beside_its_proceeds_and_thirty_percent_to_stay() -> None:
    """Regulation T, 12 CFR 220.12(c): 150 % of a short sale, of which the proceeds are 100 %; FINRA 4210(c)(3)."""
    sold = margin([(-100, 100.0)], 15_000.0)
    assert (sold.short, sold.long, sold.cash) == (10_000.0, 0.0, 15_000.0)
    assert (sold.equity, sold.initial, sold.excess) == (5_000.0, 5_000.0, 0.0)
    assert sold.maintenance == 3_000.0
    risen = margin([(-100, 120.0)], 15_000.0)
    assert (risen.equity, risen.maintenance, risen.call) == (3_000.0, 3_600.0, 600.0)


@pytest.mark.parametrize(
    ("price", "each"),
    [(100.0, 30.0), (20.0, 6.0), (10.0, 5.0), (5.0, 5.0), (4.99, 4.99), (3.0, 3.0), (2.0, 2.5), (0.5, 2.5)],
)
def test_cheap_shares_take_more_margin_to_stay_short(price: float, each: float) -> None:
    """FINRA 4210(c)(2) and (3): $5 or 30 %; below $5 $2.50 or 100 %, whichever is greater."""
    assert margin([(-1000, price)], 100_000.0).maintenance == pytest.approx(1000 * each)


def test_a_long_cheap_share_takes_a_quarter() -> None:
    assert margin([(10_000, 2.0)], 0.0).maintenance == 5_000.0


def test_long_and_short_positions_add_up() -> None:
    both = margin([(100, 100.0), (-50, 100.0), (0, 7.0)], 2_000.0)
    assert (both.long, both.short, both.equity) == (10_000.0, 5_000.0, 7_000.0)
    assert (both.initial, both.maintenance) == (7_500.0, 4_000.0)
    assert both.excess == -500.0


def test_an_account_with_positions_needs_two_thousand_dollars() -> None:
    assert margin([(10, 100.0)], 0.0).maintenance == 2_000.0
    assert margin([(10, 100.0)], 0.0).call == 1_000.0
    assert margin([(0, 100.0)], 500.0).maintenance == 0.0


def test_excess_is_kept_in_the_memorandum_account_when_prices_fall() -> None:
    risen = margin([(1000, 20.0)], -8_000.0)
    assert (risen.excess, risen.special_memorandum, risen.buying_power) == (2_000.0, 2_000.0, 4_000.0)
    fallen = margin([(1000, 16.0)], -8_000.0, risen.special_memorandum)
    assert (fallen.excess, fallen.special_memorandum, fallen.buying_power) == (0.0, 2_000.0, 4_000.0)
    assert margin([(1000, 16.0)], -8_000.0, -5.0).special_memorandum == 0.0
    assert margin([(1000, 12.0)], -8_000.0).special_memorandum == 0.0


def test_the_memorandum_account_buys_nothing_that_breaks_maintenance() -> None:
    fallen = margin([(1000, 11.0)], -8_000.0, 2_000.0)
    assert fallen.equity - fallen.maintenance == 250.0
    assert fallen.buying_power == 1_000.0  # 250 over a quarter, not 4,000
    called = margin([(1000, 10.0)], -8_000.0, 2_000.0)
    assert (called.call, called.buying_power) == (500.0, 0.0)


def test_cash_alone_buys_twice_itself() -> None:
    assert margin([], 10_000.0).buying_power == 20_000.0


def test_trades_and_deposits_move_the_memorandum_account() -> None:
    assert memorandum_after_trades(1_000.0, 500.0, 2_000.0, 1_200.0, RISK) == 1_100.0
    assert memorandum_after_trades(1_000.0, 0.0, 2_002.0, 0.0, RISK) == 0.0
    half = RiskSettings(initial_margin=0.25)
    assert memorandum_after_trades(1_000.0, 0.0, 2_000.0, 0.0, half) == 500.0


@pytest.mark.parametrize(
    ("positions", "cash", "memorandum"),
    [([(1, np.nan)], 0.0, 0.0), ([(np.inf, 1)], 0.0, 0.0), ([(1, 0.0)], 0.0, 0.0), ([(-1, -2.0)], 0.0, 0.0),
     ([(1, 1.0)], np.nan, 0.0), ([(1, 1.0)], 0.0, np.nan)],
)  # fmt: skip
def test_what_is_not_known_has_no_margin(positions, cash, memorandum) -> None:
    with pytest.raises(RiskError, match=r"^margin: quantities, prices and cash must be finite and prices above 0"):
        margin(positions, cash, memorandum)
