"""Settings of models: which are asked, how they are fitted, judged and watched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from quant_dagster.settings.section import Section


class LanguageModelSettings(Section):
    base_url: str = Field("http://127.0.0.1:11434", description="Address of the server.")
    api: Literal["ollama", "openai"] = Field("ollama", description="Which interface it speaks.")
    model: str = Field("llama3.1:8b", description="Model it is asked for.")
    api_key: SecretStr | None = Field(None, description="Key, where the server wants one.")
    timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for one answer.")
    batch: int = Field(10, ge=1, le=100, description="Symbols in one request.")
    concurrency: int = Field(2, ge=1, description="Requests under way at once.")
    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is the likeliest answer.")


class ValidationSettings(Section):
    sessions: int = Field(250, ge=20, description="Origins of the walk-forward validation.")
    blocks: int = Field(5, ge=2, description="Blocks of the blocked cross-validation.")
    embargo: int = Field(5, ge=0, description="Sessions left out on both sides of a test block, beyond the horizon.")
    significance: float = Field(0.05, gt=0, lt=1, description="Level of the tests and of the model confidence set.")
    shrinkage: float = Field(0.5, ge=0, le=1, description="How far weights are drawn from skill towards equality.")
    cost_bps: float = Field(2.0, ge=0, description="Cost of trading one unit of position, in the trading scores.")


class DriftSettings(Section):
    sessions: int = Field(60, ge=20, description="Newest sessions compared with the reference.")
    reference_sessions: int = Field(250, ge=60, description="Sessions before them that are the reference.")
    threshold: float = Field(0.01, gt=0, lt=1, description="p-value below which a model counts as drifted.")


class LearnedSettings(Section):
    horizon: int = Field(5, ge=1, le=63, description="Sessions ahead that the learned model predicts.")
    history_sessions: int = Field(750, ge=250, description="Newest sessions it is trained on.")
    retrain_sessions: int = Field(20, ge=1, description="Sessions between trainings.")
    folds: int = Field(5, ge=2, description="Purged walk-forward folds that judge it and select features.")
    features: int = Field(25, ge=5, description="Features it keeps after selection inside the folds.")


class ForecastingSettings(Section):
    window: int = Field(1000, ge=100, description="Sessions of history a model is fitted on.")
    minimum_observations: int = Field(250, ge=30, description="Fewer returns than this and a simpler model is used.")
    horizons: list[int] = Field(default_factory=lambda: [1, 5], description="Sessions ahead that are forecast.")
    families: list[str] | None = Field(
        None, description="Models that are asked, by name; empty: all but the language model. Naive ones always are."
    )
    prior_mean: str = Field("ar", description="Whose mean the desk uses while no validation has judged the models.")
    prior_variance: str = Field("garch11", description="Whose variance the desk uses while nothing was judged.")
    refit_sessions: int = Field(5, ge=1, description="Sessions between fits of a slow model; it is carried between.")
    time_out_seconds: float = Field(120.0, gt=0, description="Longest a model family may take; then it falls back.")
    backend: Literal["local", "dask"] = Field("local", description="Where models are fitted.")
    dask_address: str | None = Field(None, description="Scheduler of the Dask cluster, e.g. tcp://host:8786.")
    garch_starts: int = Field(2, ge=1, le=4, description="Starting points of each GARCH likelihood search.")
    hmm_states: int = Field(3, ge=2, le=3, description="Most volatility regimes; the number is chosen by BIC.")
    sarimax_max_order: int = Field(2, ge=0, le=3, description="Largest p and q of the orders compared by BIC.")
    sarimax_seasonal_period: int = Field(0, ge=0, le=21, description="Period of a seasonal AR and MA term; 0: none.")
    sarimax_calendar: bool = Field(False, description="Turn of the month and holidays as regressors.")
    ssa_window: int = Field(60, ge=10, description="Length of the lagged vectors of singular spectrum analysis.")
    ssa_components: int = Field(6, ge=1, description="Leading components that are kept.")
    ssa_device: Literal["cpu", "cuda"] = Field("cpu", description="Where it is decomposed; cuda needs torch.")
    ensemble_window: int = Field(500, ge=100, description="Newest sessions the ensemble's members are fitted on.")
    workers: int | None = Field(None, description="Threads/processes used to fit; empty uses every core.")
    language_model: LanguageModelSettings = Field(
        default_factory=LanguageModelSettings, description="A local language model; off unless named in 'families'."
    )
    learned: LearnedSettings = Field(default_factory=LearnedSettings, description="Gradient boosting on the features.")
    validation: ValidationSettings = Field(
        default_factory=ValidationSettings, description="How models are judged out of sample."
    )
    drift: DriftSettings = Field(default_factory=DriftSettings, description="When a model counts as drifted.")
