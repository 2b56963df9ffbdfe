"""Portfolios of real stocks to construct, shared by the tests."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from quant_dagster.risk.construction.limits import Limits
from quant_dagster.risk.construction.optimise import Method
from quant_dagster.risk.construction.portfolio import Portfolio, Views, construct
from tests.unit.forecasting.real_returns import stock_panel

FloatArray = NDArray[np.float64]

SYMBOLS = stock_panel().symbols


@cache
def stock_returns(count: int) -> FloatArray:
    """Simple returns of the first ``count`` stocks over 300 sessions to June 2020."""
    closes = stock_panel().close[-301:, :count]
    return closes[1:] / closes[:-1] - 1.0


def limits(count: int, **changes) -> Limits:
    """Fully invested and long only, with no limit that binds."""
    given = {
        "caps": np.ones(count), "sectors": ("all",) * count, "sector_caps": {}, "gross": 1.0, "budget": 1.0,
        "long_only": True, "turnover": 10.0,
    }  # fmt: skip
    return Limits(**given | changes)


def views(expected, confidence: float = 0.5) -> Views:
    """Expected returns, each with the same confidence; the market is equally weighted."""
    count = len(expected)
    return Views(np.asarray(expected, dtype=float), np.full(count, confidence), np.full(count, 1.0 / count))


def built(method: Method, count: int = 5, **changes) -> Portfolio:
    """A portfolio of the first ``count`` stocks: one dollar a share, 10 million of equity."""
    rules = changes.pop("rules", {})
    given = {
        "returns": stock_returns(count), "symbols": SYMBOLS[:count], "current_weights": np.zeros(count),
        "views": views(stock_returns(count).mean(axis=0)), "limits": limits(count, **rules), "risk_aversion": 3.0,
        "cvar_confidence": 0.95, "prices": np.ones(count), "lots": np.ones(count), "equity": 1e7,
    }  # fmt: skip
    return construct(method, **given | changes)
