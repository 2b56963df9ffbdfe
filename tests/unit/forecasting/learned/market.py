"""Small data sets from real closes, shared by the tests of the learned model."""

from __future__ import annotations

from functools import cache

from quant_dagster.forecasting.learned.dataset import Dataset, build_dataset
from quant_dagster.forecasting.parameters import ForecastParameters, LearnedParameters
from tests.unit.forecasting.real_returns import stock_panel

SMALL = ForecastParameters(
    window=420,
    min_observations=250,
    learned=LearnedParameters(horizon=5, history_sessions=300, retrain_sessions=10, folds=2, features=8),
    workers=2,
)


@cache
def stock_data() -> Dataset:
    """Twenty stocks, 300 sessions to train on."""
    return build_dataset(stock_panel(sessions=420), "XNYS", horizon=5, history=300)
