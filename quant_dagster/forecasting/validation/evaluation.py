"""Forecasts made at past origins, as arrays, beside what came true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray
from quant_dagster.forecasting.families.protocol import Answer, Outcome
from quant_dagster.forecasting.families.registry import FamilySpec
from quant_dagster.forecasting.records import QUANTILES, ForecastModel, normal_quantiles
from quant_dagster.forecasting.runner import outcome_table
from quant_dagster.market_data.panel import Panel

Progress = Callable[[int, int], None]
"""Called with the origins done and all of them."""


class Scheme(StrEnum):
    """How origins are chosen and what a model may see at each."""

    WALK_FORWARD = "walk_forward"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Evaluation:
    """Every model's forecasts at every origin. M models, H horizons, T origins, m symbols; NaN is "none".

    Attributes
    ----------
    origins
        ``datetime64[D]``, shape (T,): sessions forecast from, increasing.
    segments
        int64, shape (T,): the block an origin is of; 0 throughout for a walk-forward.
    step
        Sessions between neighbouring origins of a segment.
    mean, std
        Shape (M, H, T, m): of the log return over the horizon, by the model or by what stood in for it.
    quantiles
        Shape (M, H, T, m, 5), at ``records.LEVELS``.
    own
        bool, shape (M, T, m): the model answered itself.
    outcome
        Shape (H, T, m): the log return that came; NaN where a close is absent or still to come.
    next_return
        Shape (T, m): simple return over the next session.
    """

    scheme: Scheme
    models: tuple[FamilySpec, ...]
    horizons: tuple[int, ...]
    symbols: tuple[str, ...]
    origins: NDArray[np.datetime64]
    segments: IntArray
    step: int
    mean: FloatArray
    std: FloatArray
    quantiles: FloatArray
    own: BoolArray
    outcome: FloatArray
    next_return: FloatArray

    def place(self, model: ForecastModel) -> int:
        """Where a model is on the first axis.

        Raises
        ------
        ForecastError
            It was not asked.
        """
        for i, spec in enumerate(self.models):
            if spec.model is model:
                return i
        asked = ", ".join(spec.model.value for spec in self.models)
        raise ForecastError(f"validation: '{model.value}' was not asked; asked were: {asked}")


class Gathering:
    """Fills the arrays of an :class:`Evaluation`, one origin after the other."""

    def __init__(
        self, panel: Panel, specs: Sequence[FamilySpec], horizons: tuple[int, ...], origins: Sequence[int]
    ) -> None:
        self._panel, self._specs, self._horizons, self._origins = panel, tuple(specs), horizons, list(origins)
        shape = (len(specs), len(horizons), len(origins), len(panel.symbols))
        self._mean, self._std = np.full(shape, np.nan), np.full(shape, np.nan)
        self._quantiles = np.full((*shape, len(QUANTILES)), np.nan)
        self._own = np.zeros((shape[0], *shape[2:]), np.bool_)

    def add(self, at: int, outcomes: Mapping[ForecastModel, Sequence[Outcome]]) -> None:
        """Take over what came of asking every model at the origin at place ``at``."""
        absent = np.full(len(self._horizons), np.nan)
        for i, spec in enumerate(self._specs):
            answers = [outcome.answer for outcome in outcomes[spec.model]]
            mean = np.array([absent if one is None else one.mean for one in answers]).T
            std = np.array([absent if one is None else one.std for one in answers]).T
            self._mean[i, :, at], self._std[i, :, at] = mean, std
            self._quantiles[i, :, at] = np.stack([mean + std * z for z in normal_quantiles(0.0, 1.0)], axis=-1)
            for j, answer in enumerate(answers):
                if answer is not None and answer.quantiles is not None:
                    self._quantiles[i, :, at, j] = answer.quantiles
            self._own[i, at] = [outcome.answered_by is spec.model for outcome in outcomes[spec.model]]

    def done(self, scheme: Scheme, segments: Sequence[int], step: int) -> Evaluation:
        """The evaluation, with outcomes from the panel."""
        return Evaluation(
            scheme=scheme,
            models=self._specs,
            horizons=self._horizons,
            symbols=self._panel.symbols,
            origins=self._panel.sessions[self._origins],
            segments=np.array(segments, np.int64),
            step=step,
            mean=self._mean,
            std=self._std,
            quantiles=self._quantiles,
            own=self._own,
            outcome=outcomes(self._panel, self._origins, self._horizons),
            next_return=np.expm1(outcomes(self._panel, self._origins, (1,))[0]),
        )


def fit_rows(
    outcomes: Mapping[ForecastModel, Sequence[Outcome]], specs: Sequence[FamilySpec], panel: Panel
) -> pl.DataFrame:
    """The rows of ``forecasts`` by which the desk carries fits forward: one per carried model and symbol.

    Written out as the desk stores them, so that what is read back has been through the same text.
    """
    carried = [
        [
            replace(one, answer=None if one.answer is None else _first_horizon(one.answer))
            for one in outcomes[spec.model]
        ]
        for spec in specs
        if spec.carried
    ]
    return outcome_table(carried, panel, (1,), 0)


def _first_horizon(answer: Answer) -> Answer:
    quantiles = None if answer.quantiles is None else answer.quantiles[:1]
    return replace(answer, mean=answer.mean[:1], std=answer.std[:1], quantiles=quantiles, diagnostics={})


def outcomes(panel: Panel, origins: Sequence[int], horizons: Sequence[int]) -> FloatArray:
    """Log returns from the close of each origin over each horizon, shape (H, T, m); NaN where a close is missing."""
    logs = np.log(np.where(panel.close > 0.0, panel.close, np.nan))
    start = np.array(origins, np.int64)
    found = np.full((len(horizons), len(start), len(panel.symbols)), np.nan)
    for i, horizon in enumerate(horizons):
        known = start + horizon < len(panel.sessions)
        found[i, known] = logs[start[known] + horizon] - logs[start[known]]
    return found
