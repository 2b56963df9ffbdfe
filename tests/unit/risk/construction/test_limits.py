"""What weights must obey, and why none can."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction.limits import breaches, largest_gross, least_turnover, why_infeasible
from tests.unit.risk.construction.portfolios import limits

NAMES = ("A", "B", "C")
FLAT = np.zeros(3)
SECTORS = {"sectors": ("tech", "tech", "oil"), "sector_caps": {"tech": 0.5, "gas": 0.1}}
BASE = {"caps": np.array([0.4, 0.4, 0.4]), "gross": 0.9, "turnover": 1.0, **SECTORS}


def found(weights, current=FLAT, **changes) -> list[str]:
    return breaches(np.array(weights), np.asarray(current), limits(3, **BASE | changes), NAMES)


def test_weights_at_every_limit_obey() -> None:
    assert found([0.4, 0.1, 0.4]) == []
    assert found([0.4, 0.1, 0.4], turnover=0.9) == []
    assert found([0.4 + 9e-7, 0.1, 0.3]) == []
    assert found([0.2, -5e-7, 0.2]) == []


@pytest.mark.parametrize(
    ("weights", "changes", "said"),
    [
        ([0.401, 0.0, 0.0], {}, "A has 40.1000%, its cap is 40.0000%"),
        ([0.0, 0.0, -0.41], {"long_only": False}, "C has -41.0000%, its cap is 40.0000%"),
        ([0.3, -0.21, 0.0], {"long_only": False}, "sector tech has 51.0000%, its cap is 50.0000%"),
        ([0.25, 0.25, -0.4], {"long_only": False, "gross": 0.89}, "gross exposure is 90.0000%, its limit 89.0000%"),
        ([0.1, 0.1, 0.1], {"turnover": 0.29}, "turnover is 30.0000%, its limit 29.0000%"),
        ([0.1, -0.1, 0.1], {}, "B is short, and only long positions are allowed"),
    ],
)
def test_each_limit_that_is_broken_is_named(weights, changes, said) -> None:
    assert found(weights, **changes) == [said]


def test_turnover_is_measured_from_what_is_held() -> None:
    assert found([0.1, 0.1, 0.1], current=[0.2, 0.0, 0.1], turnover=0.2) == []
    assert found([0.1, 0.1, 0.1], current=[0.2, 0.0, 0.1], turnover=0.19) == [
        "turnover is 20.0000%, its limit 19.0000%"
    ]


def test_a_thousandth_of_a_percent_is_a_breach() -> None:
    assert len(found([0.40001, 0.1, 0.4], gross=0.9, turnover=0.9)) == 4


def test_sectors_without_members_bind_nothing() -> None:
    assert limits(3, **BASE).groups() == {"tech": ([0, 1], 0.5)}


def test_caps_sectors_and_gross_bound_what_weights_can_sum_to() -> None:
    assert largest_gross(limits(3, **BASE)) == pytest.approx(0.9)
    assert largest_gross(limits(3, **BASE | {"gross": 0.8})) == 0.8
    assert largest_gross(limits(3, **BASE | {"sector_caps": {"tech": 2.0}, "gross": 2.0})) == pytest.approx(1.2)
    assert largest_gross(limits(3, **BASE | {"gross": 2.0, "sector_caps": {"tech": 0.5, "oil": 0.1}})) == pytest.approx(
        0.6
    )


def test_the_least_turnover_is_what_brings_the_positions_under_the_limits() -> None:
    held = np.array([0.5, 0.2, 0.0])
    # A to its cap (0.1), the sector to 0.5 (0.1 more), and C up to the budget (0.4).
    assert least_turnover(held, limits(3, **BASE | {"budget": 0.9})) == pytest.approx(0.6, abs=1e-6)
    assert least_turnover(held, limits(3, **BASE | {"budget": None})) == pytest.approx(0.2, abs=1e-6)
    assert least_turnover(np.array([-0.2, 0.1, 0.1]), limits(3, **BASE | {"budget": None})) == pytest.approx(
        0.2, abs=1e-6
    )
    both_ways = limits(3, **BASE | {"budget": None, "long_only": False})
    assert least_turnover(np.array([-0.2, 0.1, 0.1]), both_ways) == pytest.approx(0.0, abs=1e-6)
    assert least_turnover(
        np.array([0.3, 0.2, 0.4]), limits(3, **BASE | {"budget": None, "gross": 0.7})
    ) == pytest.approx(0.2, abs=1e-6)


def test_limits_that_contradict_each_other_have_no_turnover() -> None:
    with pytest.raises(
        RiskError, match=r"^portfolio limits: no weights obey them, whatever the turnover \(infeasible\)"
    ):
        least_turnover(FLAT, limits(3, **BASE | {"budget": -0.1}))


def test_the_reason_is_the_caps_or_the_turnover_or_there_is_none() -> None:
    assert why_infeasible(FLAT, limits(3, **BASE | {"budget": 0.9})) is None
    assert why_infeasible(FLAT, limits(3, **BASE | {"budget": None, "turnover": 0.0})) is None
    assert why_infeasible(FLAT, limits(3, **BASE | {"budget": 0.91})) == (
        "caps and gross limit let the weights sum to 90.0000% at most, the budget is 91.0000%"
    )
    short = limits(3, **BASE | {"budget": -0.91, "long_only": False})
    assert "the budget is -91.0000%" in str(why_infeasible(FLAT, short))
    assert why_infeasible(FLAT, limits(3, **BASE | {"budget": 0.9, "turnover": 0.89})) == (
        "to obey the other limits takes a turnover of 90.0000%, and 89.0000% is allowed"
    )
    assert why_infeasible(FLAT, limits(3, **BASE | {"budget": 0.9, "turnover": 0.9})) is None


@pytest.mark.parametrize(
    "changes",
    [{"caps": np.array([0.1, np.nan, 0.1])}, {"caps": np.array([0.1, -0.1, 0.1])}, {"gross": np.nan}, {"gross": -1.0},
     {"turnover": np.nan}, {"sector_caps": {"tech": np.nan}}, {"sectors": ("tech",)}],
)  # fmt: skip
def test_an_unknown_limit_is_not_no_limit(changes) -> None:
    with pytest.raises(
        RiskError, match=r"^portfolio limits: every symbol needs a cap and a sector, and no limit may be"
    ):
        limits(3, **BASE | changes)
    assert limits(3, **BASE | {"turnover": 0.0, "gross": 0.0}).gross == 0.0
