"""What alphas are given and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.storage.tables import TABLES

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ModelView:
    """What one model itself said of every symbol; where another stood in for it, nothing.

    Attributes
    ----------
    mean, std
        Of the log return over ``horizon`` sessions, shape (m,); NaN where it did not answer.
    parameters, diagnostics
        One mapping per symbol, empty where it did not answer.
    """

    horizon: int
    mean: FloatArray
    std: FloatArray
    parameters: tuple[Mapping[str, Any], ...]
    diagnostics: tuple[Mapping[str, Any], ...]

    def parameter(self, name: str) -> FloatArray:
        """A number of every symbol's parameters; NaN where there is none."""
        return _numbers(self.parameters, name)

    def diagnostic(self, name: str) -> FloatArray:
        """A number of every symbol's diagnostics; NaN where there is none."""
        return _numbers(self.diagnostics, name)


@dataclass(frozen=True)
class MarketState:
    """What alphas may look at, for one session.

    Attributes
    ----------
    symbols
        m names.
    features
        Name to array of shape (m,); NaN is absent.
    mean, volatility
        Combined forecast of the log return of one session: mean and standard deviation, shape (m,).
    high_volatility
        Filtered probability of the most volatile regime, shape (m,).
    models
        Single models' own forecasts by name; a model that nobody asked is not in it.
    pairs
        The session's rows of lake table ``pairs``.
    allocation
        Factor on a source's priority, from its measured performance; a source that is not in it has 1.
    """

    symbols: tuple[str, ...]
    features: Mapping[str, FloatArray]
    mean: FloatArray
    volatility: FloatArray
    high_volatility: FloatArray
    models: Mapping[str, ModelView] = field(default_factory=dict)
    pairs: pl.DataFrame = field(default_factory=TABLES["pairs"].empty)
    allocation: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AlphaView:
    """One alpha's view on every symbol; arrays of shape (m,), strength, confidence and risk between 0 and 1."""

    alpha: str
    direction: NDArray[np.int8]
    strength: FloatArray
    confidence: FloatArray
    risk: FloatArray
    reasons: tuple[str, ...]


def _numbers(values: tuple[Mapping[str, Any], ...], name: str) -> FloatArray:
    found = (value.get(name) for value in values)
    numeric = (float(v) if isinstance(v, int | float) and not isinstance(v, bool) else np.nan for v in found)
    return np.fromiter(numeric, np.float64, len(values))
