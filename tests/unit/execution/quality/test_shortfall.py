"""Implementation shortfall: published worked examples, and parts that always sum to the whole."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.execution.quality.shortfall import PARTS, Shortfall, implementation_shortfall


def shortfall(side: Side, ordered: str, fills: list[tuple[str, str]], **prices: str | None) -> Shortfall:
    """Fills are (shares, price)."""
    given_prices: dict[str, Any] = {name: None if text is None else Decimal(text) for name, text in prices.items()}
    return implementation_shortfall(
        side,
        Decimal(ordered),
        sum((Decimal(shares) for shares, _ in fills), Decimal(0)),
        sum((Decimal(shares) * Decimal(price) for shares, price in fills), Decimal(0)),
        **{"half_spread": Decimal(0)} | given_prices,
    )


def test_the_example_of_the_cfa_institute() -> None:
    """CFA Program Curriculum, Level III, "Execution of Portfolio Decisions": Impulse Robotics, in pounds.

    1,000 shares decided at Monday's close of 10.00, nothing filled on Tuesday, which closes at 10.05; on Wednesday 700
    at 10.07 with 14 of commission, closing at 10.08; the rest is cancelled. The text: paper gain 80, real gain -7,
    shortfall 87, which is 0.87 %: fees 0.14, realised 0.14, delay 0.35, missed trade 0.24.
    """
    done = shortfall(
        Side.BUY, "1000", [("700", "10.07")],
        decision_price="10.00", arrival_price="10.05", fees="14", end_price="10.08",
    )  # fmt: skip
    paper = 1000 * (Decimal("10.08") - 10)
    real = 700 * Decimal("10.08") - (700 * Decimal("10.07") + 14)
    assert (paper, real, done.total) == (80, -7, 87)
    assert (done.delay, done.impact, done.fees, done.opportunity) == (35, 14, 14, 24)
    assert [done.bps(name) for name in ("delay", "impact", "fees", "opportunity")] == [35.0, 14.0, 14.0, 24.0]
    assert done.bps("total") == 87.0


def test_the_example_of_the_cfa_institute_by_kissell_and_glantz() -> None:
    """They charge the delay on the whole order and the opportunity from the arrival on: 50 + 14 + 9 + 14 is 87, too."""
    done = shortfall(
        Side.BUY, "1000", [("700", "10.07")],
        decision_price="10.00", arrival_price="10.05", fees="14", end_price="10.08",
    )  # fmt: skip
    delay_of_the_rest = 300 * (Decimal("10.05") - 10)
    assert done.delay is not None and done.opportunity is not None
    assert done.delay + delay_of_the_rest == 1000 * (Decimal("10.05") - 10) == 50
    assert done.opportunity - delay_of_the_rest == 300 * (Decimal("10.08") - Decimal("10.05")) == 9
    assert done.total == 50 + 14 + 9 + 14


def test_an_examination_question_on_a_partly_filled_order() -> None:
    """A published CFA Level III practice question: decided at 40.00, 700 of 1,000 filled at 40.05 a day later, after a
    close of 40.04, cancelled at 40.08, commission 17. Its answer: 0.04 + 0.02 + 0.07 + 0.06 = 0.19 %."""
    done = shortfall(
        Side.BUY, "1000", [("700", "40.05")],
        decision_price="40.00", arrival_price="40.04", fees="17", end_price="40.08",
    )  # fmt: skip
    parts = [done.bps(name) for name in ("fees", "impact", "delay", "opportunity")]
    assert [round(part / 100, 2) for part in parts if part is not None] == [0.04, 0.02, 0.07, 0.06]
    assert parts == [17 / 4, 7 / 4, 7.0, 6.0]
    assert done.bps("total") == 19.0


def test_a_gain_is_a_negative_cost() -> None:
    """A published CFA practice question: 4,000 bought at 16.20 that were decided at 16.24, fee 38.50: -0.19 %."""
    done = shortfall(
        Side.BUY, "4000", [("4000", "16.20")],
        decision_price="16.24", arrival_price="16.24", fees="38.50", end_price="16.28",
    )  # fmt: skip
    assert done.total == 4000 * (Decimal("16.20") - Decimal("16.24")) + Decimal("38.50") == Decimal("-121.50")
    assert done.bps("total") == pytest.approx(-121.5 / 64960 * 1e4)
    assert round((done.bps("total") or 0) / 100, 2) == -0.19


def test_selling_low_costs_as_much_as_buying_high() -> None:
    prices = {"decision_price": "50", "fees": "1", "half_spread": "0.01"}
    bought = shortfall(Side.BUY, "100", [("80", "50.20")], arrival_price="50.10", end_price="50.40", **prices)
    sold = shortfall(Side.SELL, "100", [("80", "49.80")], arrival_price="49.90", end_price="49.60", **prices)
    assert bought == sold
    assert bought.spread == Decimal("0.80") and bought.impact == Decimal("7.20")


def test_without_an_arrival_price_the_total_is_known_and_its_parts_are_not() -> None:
    done = shortfall(
        Side.BUY, "1000", [("700", "10.07")],
        decision_price="10.00", arrival_price=None, half_spread=None, fees="14", end_price="10.08",
    )  # fmt: skip
    assert (done.delay, done.spread, done.impact) == (None, None, None)
    assert (done.opportunity, done.total, done.bps("total")) == (24, 87, 87.0)


def test_what_was_not_filled_costs_nothing_known_without_a_price_at_the_end() -> None:
    prices = {"decision_price": "10", "arrival_price": "10", "fees": "0"}
    missed = shortfall(Side.BUY, "10", [("4", "10")], end_price=None, **prices)
    assert missed.opportunity is missed.total is missed.bps("total") is None
    whole = shortfall(Side.BUY, "10", [("10", "10")], end_price=None, **prices)
    assert whole.opportunity == whole.total == 0


def test_an_order_that_never_traded_costs_its_opportunity_only() -> None:
    done = shortfall(
        Side.SELL, "100", [], decision_price="20", arrival_price=None, half_spread=None, fees="0", end_price="19"
    )
    assert (done.delay, done.spread, done.impact, done.fees) == (0, 0, 0, 0)
    assert done.opportunity == done.total == 100
    assert done.bps("total") == 500.0


def test_an_order_without_value_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        shortfall(Side.BUY, "0", [], decision_price="1", arrival_price="1", fees="0", end_price="1")


PRICE = st.decimals("0.01", "9999", places=4)
SHARES = st.integers(1, 10_000).map(Decimal)


@given(
    side=st.sampled_from(Side), ordered=SHARES, fills=st.lists(st.tuples(SHARES, PRICE), max_size=4),
    decision=PRICE, arrival=PRICE, end=PRICE, half=st.decimals("0", "2", places=4), fees=PRICE,
)  # fmt: skip
def test_parts_sum_to_the_paper_portfolios_gain_less_the_real_ones(
    side: Side, ordered: Decimal, fills: list[tuple[Decimal, Decimal]], decision: Decimal, arrival: Decimal,
    end: Decimal, half: Decimal, fees: Decimal,
) -> None:  # fmt: skip
    """Perold's definition, overfills included, exactly; and the stored basis points add up to the last digit."""
    import math

    filled = sum((shares for shares, _ in fills), Decimal(0))
    done = implementation_shortfall(
        side, ordered, filled, sum((shares * price for shares, price in fills), Decimal(0)),
        decision_price=decision, arrival_price=arrival, half_spread=half, fees=fees, end_price=end,
    )  # fmt: skip
    paper = side.sign * ordered * (end - decision)
    real = side.sign * sum((shares * (end - price) for shares, price in fills), Decimal(0)) - fees
    assert done.total == paper - real
    assert sum(getattr(done, name) for name in PARTS) == done.total
    assert done.bps("total") == math.fsum(done.bps(name) for name in PARTS)
