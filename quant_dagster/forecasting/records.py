"""The one schema every forecast is given in: a record for one, a table for many.

A forecast is of the log return over the next ``horizon`` sessions together, from the close of ``session``. Quantiles
come from the model's own predictive distribution, named under ``"distribution"`` in ``parameters``: ``normal`` for
most, ``mixture of normals`` for the regime models, ``student t`` for EGARCH. Every model has a row for every symbol:
its own numbers, those of a simpler one that stood in, or none and the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise
from statistics import NormalDist

import polars as pl

from quant_dagster.errors import ForecastError

LEVELS = (0.05, 0.25, 0.50, 0.75, 0.95)
QUANTILES = ("q05", "q25", "q50", "q75", "q95")
FORECAST_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "model": pl.String(),
        "horizon": pl.Int32(),
        "status": pl.String(),
        "answered_by": pl.String(),
        "fitted_on": pl.Date(),
        "mean": pl.Float64(),
        "std": pl.Float64(),
        "q05": pl.Float64(),
        "q25": pl.Float64(),
        "q50": pl.Float64(),
        "q75": pl.Float64(),
        "q95": pl.Float64(),
        "diagnostics": pl.String(),
        "data_version": pl.Int64(),
        "fallback": pl.String(),
        "parameters": pl.String(),
    }
)
_NORMAL = tuple(NormalDist().inv_cdf(level) for level in LEVELS)


class ForecastModel(StrEnum):
    """Whose forecast a row holds. A model that could not answer keeps its row: ``answered_by`` says who stood in."""

    AR = "ar"
    SARIMAX = "sarimax"
    SSA = "ssa"
    MSSA = "mssa"
    ORNSTEIN_UHLENBECK = "ornstein_uhlenbeck"
    ENSEMBLE = "ensemble"
    WAVELET = "wavelet"
    FOURIER = "fourier"
    BOOSTING = "boosting"
    LANGUAGE_MODEL = "language_model"
    GARCH = "garch11"
    GJR = "gjr"
    EGARCH = "egarch_t"
    DCC = "dcc"
    HMM = "hmm"
    COMBINED = "combined"
    HISTORICAL_MEAN = "historical_mean"
    RANDOM_WALK = "random_walk"
    EWMA = "ewma"
    SAMPLE_VARIANCE = "sample_variance"
    SINGLE_REGIME = "single_regime"


class Status(StrEnum):
    """How a row's numbers came about."""

    FITTED = "fitted"
    """Estimated on data up to this session."""
    CARRIED = "carried"
    """Estimated in an earlier session (``fitted_on``), brought up to this one without a new fit."""
    FALLBACK = "fallback"
    """The model could not answer; a simpler one did, and ``fallback`` says why."""
    REFUSED = "refused"
    """Nothing could answer: the numbers are absent, and ``fallback`` says why."""


@dataclass(frozen=True)
class Forecast:
    """One model's forecast of one symbol over one horizon, or why there is none.

    Attributes
    ----------
    answered_by
        Who gave the numbers: ``model``, or the simpler one that stood in; None where nobody could.
    fitted_on
        Session whose data the parameters were estimated on; None where nothing was.
    mean, std
        Of the log return over the next ``horizon`` sessions; None where nobody could answer.
    quantiles
        At ``LEVELS``: 5, 25, 50, 75 and 95 %; empty where nobody could answer.
    parameters, diagnostics
        What was estimated, and how well it fits; kept as JSON.
    data_version
        Version of the lake table the prices were read from.
    fallback
        None, or the models that should have answered and why they did not.
    """

    session: date
    symbol: str
    model: ForecastModel
    horizon: int
    status: Status
    answered_by: ForecastModel | None
    fitted_on: date | None
    mean: float | None
    std: float | None
    quantiles: tuple[float, ...]
    parameters: Mapping[str, object]
    diagnostics: Mapping[str, object]
    data_version: int
    fallback: str | None = None

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ForecastError(f"{self._name()}: the horizon must be 1 or more")
        if self.mean is None or self.std is None:
            if self.status is not Status.REFUSED or self.fallback is None or self.quantiles:
                raise ForecastError(f"{self._name()}: without numbers it must be refused, and say why")
            return
        if len(self.quantiles) != len(LEVELS):
            raise ForecastError(f"{self._name()}: there must be {len(LEVELS)} quantiles")
        if not all(map(math.isfinite, (self.mean, self.std, *self.quantiles))) or self.std <= 0:
            raise ForecastError(f"{self._name()}: mean {self.mean}, std {self.std}: must be finite, the std above 0")
        if any(a > b for a, b in pairwise(self.quantiles)):
            raise ForecastError(f"{self._name()}: quantiles {self.quantiles} must not decrease")

    def _name(self) -> str:
        return f"forecast of {self.symbol} by {self.model} over {self.horizon} sessions from {self.session}"


def normal_quantiles(mean: float, std: float) -> tuple[float, ...]:
    """Quantiles of a normal distribution at ``LEVELS``."""
    return tuple(mean + std * z for z in _NORMAL)


def forecast_table(forecasts: Sequence[Forecast]) -> pl.DataFrame:
    """Forecasts as a table of ``FORECAST_SCHEMA``, in the order given."""
    columns: dict[str, list[object]] = {
        "session": [f.session for f in forecasts],
        "symbol": [f.symbol for f in forecasts],
        "model": [f.model.value for f in forecasts],
        "horizon": [f.horizon for f in forecasts],
        "status": [f.status.value for f in forecasts],
        "answered_by": [f.answered_by.value if f.answered_by is not None else None for f in forecasts],
        "fitted_on": [f.fitted_on for f in forecasts],
        "mean": [f.mean for f in forecasts],
        "std": [f.std for f in forecasts],
        **{name: [f.quantiles[i] if f.quantiles else None for f in forecasts] for i, name in enumerate(QUANTILES)},
        "diagnostics": _as_json(f.diagnostics for f in forecasts),
        "data_version": [f.data_version for f in forecasts],
        "fallback": [f.fallback for f in forecasts],
        "parameters": _as_json(f.parameters for f in forecasts),
    }
    return pl.DataFrame(columns, schema=FORECAST_SCHEMA)


def _as_json(values: Iterable[Mapping[str, object]]) -> list[object]:
    """JSON texts, keys sorted; one mapping shared by several forecasts is written out once. NaN becomes null."""
    texts: dict[int, str] = {}
    kept = []  # keeps the mappings alive, so that an id names one of them only
    result: list[object] = []
    for value in values:
        if id(value) not in texts:
            kept.append(value)
            texts[id(value)] = json.dumps(_finite(value), sort_keys=True, allow_nan=False)
        result.append(texts[id(value)])
    return result


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
