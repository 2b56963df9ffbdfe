"""What a family is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.history import ReturnHistory
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import ForecastModel
from quant_dagster.market_data.panel import Panel

SMALLEST_VARIANCE_SHARE = 1e-6  # of the sample variance; a forecast below it is of a price that stopped moving
NOT_ASKED = "not asked"
VANISHED = "the variance has vanished: the price has stopped moving"


@dataclass(frozen=True)
class Answer:
    """One family's forecast of one symbol over all horizons; ``quantiles`` None means normal.

    Attributes
    ----------
    mean, std
        Shape (horizons,): of the log return over each horizon.
    parameters, diagnostics
        Plain JSON values. What a later session needs to carry the model forward is in ``parameters``.
    fitted_on
        Session whose data the parameters were estimated on; None: this one.
    """

    mean: FloatArray
    std: FloatArray
    parameters: Mapping[str, object]
    diagnostics: Mapping[str, object]
    quantiles: FloatArray | None = None
    fitted_on: date | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a family has no answer for a symbol, with ``evidence`` (plain JSON values) that is kept with the row."""

    reason: str
    evidence: Mapping[str, object]


@dataclass(frozen=True)
class Outcome:
    """What came of asking one model for one symbol: an answer, by whom, and why not by the model itself."""

    model: ForecastModel
    answered_by: ForecastModel | None
    answer: Answer | None
    reason: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class EarlierFit:
    """A fit of an earlier session: what ``Answer.parameters`` held then, and how many sessions ago it was estimated."""

    fitted_on: date
    age: int
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class Request:
    """What a family is asked: ``tried`` marks the symbols that want an answer from it.

    Attributes
    ----------
    panel
        Prices up to the session, for families that look across symbols or at levels; the same columns as ``history``.
    earlier
        Column to the newest earlier fit of this family. A family that is slow to fit estimates anew the columns in
        ``refit`` and carries the others forward with their earlier parameters.
    refit
        Columns whose fit is due, bool of shape (m,). Families that are quick ignore it.
    """

    history: ReturnHistory
    horizons: tuple[int, ...]
    settings: ForecastParameters
    workers: int
    tried: NDArray[np.bool_]
    panel: Panel
    progress: Callable[[int, int], None] | None = None
    earlier: Mapping[int, EarlierFit] = field(default_factory=dict)
    refit: NDArray[np.bool_] | None = None

    @property
    def steps(self) -> int:
        """The longest horizon."""
        return max(self.horizons)

    @property
    def at(self) -> NDArray[np.int64]:
        """Where each horizon is in an array over steps."""
        return np.array(self.horizons, np.int64) - 1

    @property
    def session(self) -> date:
        """The session forecast from."""
        return self.panel.last_session


Reply = Answer | Refusal | str
"""What a family says of one symbol; a plain text is the reason why there is no answer."""
Family = Callable[[Request], Sequence[Reply]]
"""One answer, or the reason why there is none, per column; of columns not in ``tried`` the entry is not read."""
