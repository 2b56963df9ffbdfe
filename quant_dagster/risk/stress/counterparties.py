"""What is held at each broker or venue, against the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CounterpartyExposure:
    """What one counterparty holds for the account, in its currency.

    Attributes
    ----------
    gross
        Positions, long plus short: the amount the order gate limits.
    net
        Positions, long less short.
    claim
        Net positions and cash: what the counterparty owes if it fails with everything; never below 0.
    share
        ``gross`` over equity.
    breached
        ``share`` is above the limit.
    """

    counterparty: str
    gross: float
    net: float
    cash: float
    claim: float
    share: float
    breached: bool


def counterparty_exposures(
    values: FloatArray, holders: Sequence[str], cash: Mapping[str, float], equity: float, limit: float
) -> list[CounterpartyExposure]:
    """Exposure to every counterparty that holds a position or cash, largest first.

    Parameters
    ----------
    values, holders
        Signed market values, shape (m,), and who holds each.
    cash
        By counterparty; negative is borrowed.
    limit
        ``risk.max_counterparty_exposure``.

    Raises
    ------
    RiskError
        Equity is not positive, or an amount is not a finite number.
    """
    amounts = [*values.tolist(), *cash.values()]
    if not equity > 0.0 or not np.isfinite(amounts).all():
        raise RiskError(
            f"counterparty exposure: equity is {equity:,.2f}, and it and all amounts must be known; value the account"
        )
    found = []
    for name in sorted({*holders, *cash}):
        own = np.array([value for value, holder in zip(values, holders, strict=True) if holder == name])
        gross, net, money = float(np.abs(own).sum()), float(own.sum()), cash.get(name, 0.0)
        share = gross / equity
        found.append(CounterpartyExposure(name, gross, net, money, max(0.0, net + money), share, share > limit))
    return sorted(found, key=lambda exposure: -exposure.gross)
