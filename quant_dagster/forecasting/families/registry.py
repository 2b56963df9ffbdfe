"""Every model family of the desk: what it forecasts, who stands in for it, and how it is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.families.protocol import Family
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import ForecastModel

_HERE = "quant_dagster.forecasting.families"


class Target(StrEnum):
    """What a model is asked for in the combined forecast, and by what loss it is judged."""

    MEAN = "mean"
    VARIANCE = "variance"
    REGIME = "regime"


@dataclass(frozen=True)
class FamilySpec:
    """One family.

    Attributes
    ----------
    entry
        Module of ``families`` and function, ``"moments.ewma_family"``; imported when first asked.
    fallbacks
        Naive models that stand in, best first.
    across
        It looks at all symbols together, so that they are never split between processes.
    holds_interpreter
        Its fits run in Python: symbols are spread over processes.
    carried
        It is slow to fit: estimated every ``refit_sessions`` sessions, carried forward between.
    naive
        It is one of the forecasts the others are judged against: moments only, asked of every symbol.
    opt_in
        Asked only where ``ForecastParameters.families`` names it.
    """

    model: ForecastModel
    target: Target
    entry: str
    fallbacks: tuple[ForecastModel, ...] = ()
    across: bool = False
    holds_interpreter: bool = False
    carried: bool = False
    naive: bool = False
    opt_in: bool = False

    @property
    def family(self) -> Family:
        """The function behind ``entry``."""
        module, name = self.entry.split(".")
        family: Family = getattr(import_module(f"{_HERE}.{module}"), name)
        return family


_M = ForecastModel
_MEANS = (_M.HISTORICAL_MEAN,)
_VARIANCES = (_M.EWMA, _M.SAMPLE_VARIANCE)

FAMILIES: tuple[FamilySpec, ...] = (
    FamilySpec(_M.HISTORICAL_MEAN, Target.MEAN, "moments.historical_mean_family", naive=True),
    FamilySpec(_M.RANDOM_WALK, Target.MEAN, "moments.random_walk_family", naive=True),
    FamilySpec(_M.EWMA, Target.VARIANCE, "moments.ewma_family", (_M.SAMPLE_VARIANCE,), naive=True),
    FamilySpec(_M.SAMPLE_VARIANCE, Target.VARIANCE, "moments.sample_variance_family", naive=True),
    FamilySpec(_M.SINGLE_REGIME, Target.REGIME, "moments.single_regime_family", naive=True),
    FamilySpec(_M.AR, Target.MEAN, "autoregressive.ar_family", _MEANS),
    FamilySpec(_M.SARIMAX, Target.MEAN, "seasonal.sarimax_family", _MEANS, carried=True),
    FamilySpec(_M.SSA, Target.MEAN, "spectrum.ssa_family", _MEANS),
    FamilySpec(_M.MSSA, Target.MEAN, "spectrum.mssa_family", _MEANS, across=True),
    FamilySpec(_M.ORNSTEIN_UHLENBECK, Target.MEAN, "reversion.ou_family", _MEANS),
    FamilySpec(_M.WAVELET, Target.MEAN, "filtered.wavelet_family", _MEANS),
    FamilySpec(_M.FOURIER, Target.MEAN, "filtered.fourier_family", _MEANS),
    FamilySpec(_M.ENSEMBLE, Target.MEAN, "ensemble.ensemble_family", _MEANS, carried=True, holds_interpreter=True),
    FamilySpec(_M.BOOSTING, Target.MEAN, "boosting.boosting_family", _MEANS, across=True, carried=True),
    FamilySpec(_M.LANGUAGE_MODEL, Target.MEAN, "language_model.language_model_family", _MEANS, opt_in=True),
    FamilySpec(_M.GARCH, Target.VARIANCE, "conditional_variance.garch_family", _VARIANCES),
    FamilySpec(_M.GJR, Target.VARIANCE, "conditional_variance.gjr_family", _VARIANCES),
    FamilySpec(_M.EGARCH, Target.VARIANCE, "conditional_variance.egarch_family", _VARIANCES, carried=True),
    FamilySpec(_M.DCC, Target.VARIANCE, "conditional_variance.dcc_family", _VARIANCES, across=True),
    FamilySpec(_M.HMM, Target.REGIME, "regime.regime_family", (_M.SINGLE_REGIME,), carried=True),
)
"""In the order in which they are asked and their rows are written."""

NAIVE: Mapping[Target, ForecastModel] = {
    Target.MEAN: _M.HISTORICAL_MEAN,
    Target.VARIANCE: _M.EWMA,
    Target.REGIME: _M.SINGLE_REGIME,
}
"""The forecast a model of each target is judged against, and must beat to be given weight."""
LOSS: Mapping[Target, str] = {Target.MEAN: "squared_error", Target.VARIANCE: "qlike", Target.REGIME: "pinball"}
"""The loss it is judged by, as the tables of scores and losses name it."""


def chosen(settings: ForecastParameters) -> tuple[FamilySpec, ...]:
    """The families to ask: the naive ones, and those ``settings.families`` names (None: all that are not opt-in).

    Raises
    ------
    ConfigurationError
        A name that is no model, naming those there are.
    """
    named = settings.families
    known = {spec.model.value for spec in FAMILIES if not spec.naive}
    if unknown := sorted(set(named or ()) - known):
        raise ConfigurationError(
            f"forecasting.families: no model '{unknown[0]}'; there are: {', '.join(sorted(known))}"
        )
    return tuple(
        spec for spec in FAMILIES if spec.naive or (not spec.opt_in if named is None else spec.model.value in named)
    )
