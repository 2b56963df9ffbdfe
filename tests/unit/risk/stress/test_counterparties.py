"""What is held where."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.counterparties import CounterpartyExposure, counterparty_exposures


def test_positions_and_cash_are_summed_by_holder_largest_first() -> None:
    found = counterparty_exposures(
        np.array([600.0, -200.0, 300.0]), ["ib", "ib", "alpaca"], {"bank": 50.0, "ib": -100.0}, 1000.0, 0.8
    )
    assert found == [
        CounterpartyExposure("ib", 800.0, 400.0, -100.0, 300.0, 0.8, breached=False),
        CounterpartyExposure("alpaca", 300.0, 300.0, 0.0, 300.0, 0.3, breached=False),
        CounterpartyExposure("bank", 0.0, 0.0, 50.0, 50.0, 0.0, breached=False),
    ]


def test_one_dollar_over_the_limit_is_a_breach() -> None:
    (found,) = counterparty_exposures(np.array([801.0]), ["ib"], {}, 1000.0, 0.8)
    assert found.breached and found.share == 0.801


def test_a_counterparty_that_is_owed_money_owes_none() -> None:
    (found,) = counterparty_exposures(np.array([100.0]), ["ib"], {"ib": -150.0}, 1000.0, 1.0)
    assert found.claim == 0.0


@pytest.mark.parametrize(("value", "cash", "equity"), [(np.nan, 0, 1), (1, np.inf, 1), (1, 0, 0.0), (1, 0, np.nan)])
def test_an_account_that_is_not_valued_is_refused(value: float, cash: float, equity: float) -> None:
    with pytest.raises(RiskError, match=r"^counterparty exposure: equity is"):
        counterparty_exposures(np.array([value]), ["ib"], {"ib": cash}, equity, 1.0)


def test_every_position_has_a_holder() -> None:
    with pytest.raises(ValueError, match="zip"):
        counterparty_exposures(np.array([1.0, 2.0]), ["ib"], {}, 1000.0, 1.0)
