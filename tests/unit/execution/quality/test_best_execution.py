"""Best execution added up: means with their intervals, shares, the worst orders."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.execution.quality.best_execution import By, group_of, mean_interval, summaries, summary, worst


def row(name: str = "o", **changes: Any) -> dict[str, Any]:
    """100 bought at 10.02 that arrived at 10.01, decided at 10.00; VWAP 10.00, close 10.05."""
    evidence = {"fills": 1, "broker": "ibkr", "venue": "ISLAND", "hour": 10, "priced_at": []}
    evidence |= changes.pop("evidence", {})
    usual = {
        "order_id": name, "session": date(2013, 10, 8), "symbol": "IBM", "side": "buy", "algorithm": "whole",
        "ordered": Decimal(100), "filled": Decimal(100), "decision_price": Decimal(10),
        "arrival_price": Decimal("10.01"), "average_price": Decimal("10.02"), "interval_vwap": Decimal(10),
        "close_price": Decimal("10.05"), "delay_bps": 10.0, "spread_bps": 5.0, "impact_bps": 5.0, "fees_bps": 1.0,
        "opportunity_bps": 0.0, "total_bps": 21.0, "vwap_slippage_bps": 20.0, "participation": 0.01,
        "estimated_bps": 8.0, "evidence": evidence,
    }  # fmt: skip
    return usual | changes


UNFILLED = {
    "filled": Decimal(0), "average_price": None, "impact_bps": 0.0, "total_bps": 50.0, "estimated_bps": None,
    "evidence": {"fills": 0},
}  # fmt: skip


def test_one_order_says_what_it_says() -> None:
    (one,) = summary([row()]).to_dicts()
    assert (one["group"], one["orders"], one["fills"], one["value"], one["filled"]) == ("all", 1, 1, 1002.0, 1.0)
    assert one["arrival_bps"] == pytest.approx(0.01 / 10.01 * 1e4)
    assert one["vwap_bps"] == pytest.approx(20.0)
    assert one["close_bps"] == pytest.approx(-0.03 / 10.05 * 1e4)
    assert one["arrival_low"] is one["arrival_high"] is None, "one order has no interval"
    assert one["estimate_error_bps"] == pytest.approx(5 + 5 + 1 - 8)
    assert (one["improved"], one["partly_filled"], one["unfilled"], one["unmeasured"]) == (0, 0, 0, 0)


def test_the_interval_is_students() -> None:
    """Against scipy's t distribution, and the textbook's t(0.975, 4) = 2.776."""
    from scipy.stats import t

    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    mean, low, high = mean_interval(values)
    deviation = (sum((value - 4) ** 2 for value in values) / 4) ** 0.5
    known = t.interval(0.95, 4, loc=4.0, scale=deviation / 5**0.5)
    assert mean == 4.0
    assert (low, high) == pytest.approx(known)
    assert high is not None and high - 4.0 == pytest.approx(2.776 * deviation / 5**0.5, rel=1e-3)
    assert mean_interval([]) == (None, None, None)


def test_large_orders_weigh_more_in_the_shortfall() -> None:
    large = row("large", ordered=Decimal(300), filled=Decimal(300), total_bps=1.0)
    (one,) = summary([row(), large]).to_dicts()
    assert one["cost_bps"] == pytest.approx((21.0 * 1 + 1.0 * 3) / 4)


def test_shares_of_what_was_improved_filled_in_part_and_not_at_all() -> None:
    rows = [row("a"), row("b", impact_bps=-1.0), row("c", filled=Decimal(40)), row("d", **UNFILLED)]
    (one,) = summary(rows).to_dicts()
    assert one["improved"] == pytest.approx(1 / 3)
    assert (one["partly_filled"], one["unfilled"]) == (0.25, 0.25)
    assert one["filled"] == pytest.approx(240 / 400)
    assert one["arrival_n"] == 3


def test_what_is_unknown_is_counted_and_left_out() -> None:
    rows = [row("a"), row("b", total_bps=None, arrival_price=None, impact_bps=None)]
    (one,) = summary(rows).to_dicts()
    assert (one["cost_bps"], one["unmeasured"], one["arrival_n"]) == (21.0, 1, 1)
    (none,) = summary([row(**UNFILLED | {"total_bps": None})]).to_dicts()
    assert none["cost_bps"] is none["arrival_bps"] is none["improved"] is None


def test_orders_are_put_together_by_everything_one_asks_for() -> None:
    rows = [
        row("a"),
        row("b", symbol="AIG", side="sell", evidence={"venue": None, "broker": None, "hour": 15}),
        row("c", algorithm="twap", evidence={"hour": None, "priced_at": ["close"]}),
    ]
    assert [group_of(rows[1], by) for by in By] == ["AIG", "whole", "unknown", "unknown", "sell", "15:00"]
    assert group_of(rows[2], By.HOUR) == "close"
    found = summaries(rows)
    assert set(found) == {"all", *By}
    assert found["symbol"]["group"].to_list() == ["AIG", "IBM"]
    assert all(frame["orders"].sum() == 3 for frame in found.values())
    assert summary([]).is_empty()


def test_a_partly_filled_order_is_held_against_its_estimate_by_what_was_filled() -> None:
    half = row(filled=Decimal(50), spread_bps=2.5, impact_bps=2.5, fees_bps=0.5)
    (one,) = summary([half]).to_dicts()
    assert one["estimate_error_bps"] == pytest.approx(3.0)


@given(st.lists(st.one_of(st.none(), st.floats(-500, 500)), max_size=12))
def test_the_worst_come_first_and_the_unmeasured_not_at_all(costs: list[float | None]) -> None:
    rows = [row(f"o{number:02d}", total_bps=cost) for number, cost in enumerate(costs)]
    found = [one["total_bps"] for one in worst(rows, 5)]
    known = sorted((cost for cost in costs if cost is not None), reverse=True)
    assert found == known[:5]
