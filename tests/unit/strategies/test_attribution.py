"""Profit and loss by alpha: the shares add up to what the account earned."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.strategies.attribution import Decided, Standing, attribute, shares

DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]


def decided(day: int, alpha: str | None, target: int, symbol: str = "A") -> Decided:
    return Decided(DAYS[day], symbol, alpha, Decimal(target))


def standing(day: int, quantity: int, earned: str, symbol: str = "A") -> Standing:
    return Standing(DAYS[day], symbol, Decimal(quantity), Decimal(earned))


def by_alpha(*found: object) -> dict[str, Decimal]:
    return {one.alpha: one.pnl for one in attribute(*found)}


def test_what_a_position_earns_belongs_to_the_alpha_that_wanted_it_before() -> None:
    decisions = [decided(0, "trend", 10), decided(2, "mean_reversion", 5)]
    standings = [standing(1, 10, "-1"), standing(2, 10, "4"), standing(3, 5, "6.5")]
    assert by_alpha(decisions, standings) == {"trend": Decimal(4), "mean_reversion": Decimal("2.5")}


def test_the_exit_is_on_the_account_of_the_entry() -> None:
    decisions = [decided(0, "trend", 10), decided(1, "pairs", 0), decided(2, None, 0)]
    standings = [standing(1, 10, "5"), standing(2, 0, "3"), standing(3, 0, "3")]
    (only,) = attribute(decisions, standings)
    assert (only.alpha, only.pnl, only.position_sessions, only.symbols) == ("trend", Decimal(3), 1, 1)


def test_what_nobody_wanted_is_unattributed_and_a_decision_does_not_reach_back() -> None:
    found = by_alpha([decided(1, "trend", 10)], [standing(0, 4, "2"), standing(1, 4, "3"), standing(2, 10, "9")])
    assert found == {"unattributed": Decimal(3), "trend": Decimal(6)}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["trend", "pairs", None]), st.integers(-3, 3),
                       st.sampled_from("AB")), max_size=10),
    st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3), st.integers(-100, 100), st.sampled_from("AB")),
             max_size=12, unique_by=lambda row: (row[0], row[3])),
)  # fmt: skip
def test_the_shares_add_up_to_the_account(decisions: list, standings: list) -> None:
    stood = [standing(day, quantity, str(earned), symbol) for day, quantity, earned, symbol in standings]
    found = attribute([decided(*row) for row in decisions], stood)
    newest = {one.symbol: one.earned for one in sorted(stood, key=lambda one: one.session)}
    assert sum(one.pnl for one in found) == sum(newest.values())
    assert sum(abs(share) for share in shares(found).values()) <= 1 + 1e-12
