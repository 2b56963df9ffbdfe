"""What ``feast apply`` finds: the daily equity features over the files below QUANT_HOME, whose folders are created."""

from __future__ import annotations

from equity_features import repository
from feast import Project

from quant_dagster.features.feast_home import quant_home

project = Project(name="quant_dagster", description="A systematic trading desk: daily features of US equities.")
_repository = repository(quant_home() / "features")
symbol = _repository.symbol
(
    returns_features,
    trend_features,
    volatility_features,
    liquidity_features,
    cross_section_features,
    calendar_features,
) = _repository.views
(
    us_equity_daily_v1,
    us_equity_daily_v2,
    trend_v1,
    mean_reversion_v1,
    pairs_v1,
    learned_v1,
    composite_v1,
) = _repository.services
