"""The settings tree and its small sections: resilience, quality, portfolio, storage, notifications, orchestration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from quant_dagster.settings.execution import ExecutionSettings
from quant_dagster.settings.forecasting import ForecastingSettings
from quant_dagster.settings.market_data import MarketDataSettings
from quant_dagster.settings.risk import RiskSettings
from quant_dagster.settings.section import Section
from quant_dagster.settings.signals import SignalSettings

ENV_PREFIX = "QUANT_"


class ResilienceSettings(Section):
    attempts: int = Field(4, ge=1, description="Tries of one request before it counts as failed.")
    first_wait_seconds: float = Field(0.5, ge=0, description="Wait before the second try; doubles, with jitter.")
    longest_wait_seconds: float = Field(
        30.0, ge=0, description="Longest wait between tries; a vendor that asks for more is given up on for now."
    )
    failures_to_open: int = Field(5, ge=1, description="Failed requests in a row that open the circuit breaker.")
    open_seconds: float = Field(60.0, gt=0, description="How long it stays open before one probe is let through.")
    successes_to_close: int = Field(2, ge=1, description="Successful probes in a row that close it again.")
    bulkhead_wait_seconds: float = Field(60.0, ge=0, description="Longest wait for a free place in the bulkhead.")


class QualitySettings(Section):
    minimum_score: float = Field(0.6, ge=0, le=1, description="Below this score a symbol is REJECTed: data_quality.")


class PortfolioSettings(Section):
    initial_cash: float = Field(1_000_000.0, gt=0, description="Cash the paper account opens with, in its currency.")
    currency: str = Field("USD", min_length=3, max_length=3, description="Currency of the account.")
    allow_short: bool = Field(False, description="May a target position be negative?")
    borrow_rate: float = Field(
        0.0,
        ge=0,
        description="A year's fee on the value of shorts that the paper account is charged; a broker's are its.",
    )
    rebalance_buffer: float = Field(
        0.20, ge=0, le=1, description="No order while the position is within this fraction of its target."
    )
    construction: Literal["signals", "mean_variance", "black_litterman", "risk_parity", "cvar"] = Field(
        "signals", description="How target weights come about: each signal for itself, or by an optimiser over them."
    )
    construction_window: int = Field(500, ge=60, description="Sessions of returns the optimiser looks at.")
    risk_aversion: float = Field(3.0, gt=0, description="Of mean-variance and Black-Litterman.")
    max_construction_turnover: float = Field(
        0.50, gt=0, description="Sum of changes of weights an optimised portfolio may take at once."
    )


class StorageSettings(Section):
    ledger_url: str | None = Field(
        None,
        description="SQLAlchemy URL of the ledger; empty is SQLite under QUANT_HOME. PostgreSQL: postgresql+psycopg2://…",
    )
    market_url: str | None = Field(
        None,
        description="SQLAlchemy URL of a PostgreSQL market store kept up to date from the lake; empty: there is none.",
    )
    market_retention_months: int | None = Field(
        None, ge=1, description="Months of intraday rows kept in the PostgreSQL market store; empty: all."
    )
    retention_hours: int = Field(24 * 365, ge=0, description="Age at which vacuum may delete unreferenced lake files.")


class NotificationSettings(Section):
    slack_token: SecretStr | None = Field(None, description="Slack bot token; empty logs alerts instead of sending.")
    slack_channel: str = Field("#trading", description="Channel that hears of failed checks and runs.")
    slack_base_url: str = Field("https://slack.com/api/", description="Slack Web API address.")
    dashboard_url: str = Field("http://127.0.0.1:3000", description="Dagster address that alerts link to.")


class OrchestrationSettings(Section):
    first_session: date = Field(
        date(2022, 1, 3), description="First daily partition in Dagster; earlier history is loaded unpartitioned."
    )
    minutes_after_close: int = Field(
        90, ge=0, le=400, description="When the daily cycle starts, counted from the regular 16:00 New York close."
    )


class Settings(BaseSettings):
    """The settings tree. Build it with `load_settings`, which turns every problem into a `ConfigurationError`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__", validate_default=True
    )

    home: Path = Field(Path(".quant"), description="Folder of everything the program writes; set by QUANT_HOME.")
    strategy: str = Field("us_equity_daily", min_length=1, description="Name of the strategy in ids and reports.")
    mode: Literal["paper", "live"] = Field(
        "paper", description="paper: no real money; an account that is not a paper account is then refused."
    )
    universe: str = Field("us20", description="Name of a file in config/universes.")
    market_data: MarketDataSettings = Field(default_factory=MarketDataSettings, description="Vendors and history.")
    resilience: ResilienceSettings = Field(
        default_factory=ResilienceSettings, description="Retries, circuit breakers and bulkheads of live services."
    )
    quality: QualitySettings = Field(default_factory=QualitySettings, description="When data is good enough to trade.")
    forecasting: ForecastingSettings = Field(default_factory=ForecastingSettings, description="Models.")
    signals: SignalSettings = Field(default_factory=SignalSettings, description="Alphas and their router.")
    portfolio: PortfolioSettings = Field(default_factory=PortfolioSettings, description="The account.")
    risk: RiskSettings = Field(default_factory=RiskSettings, description="Limits and sizing.")
    execution: ExecutionSettings = Field(default_factory=ExecutionSettings, description="Broker and its costs.")
    storage: StorageSettings = Field(default_factory=StorageSettings, description="Ledger and lake.")
    notifications: NotificationSettings = Field(default_factory=NotificationSettings, description="Slack.")
    orchestration: OrchestrationSettings = Field(default_factory=OrchestrationSettings, description="Dagster.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only explicit values (merged YAML, command options) and the environment; the environment wins over YAML."""
        return (env_settings, init_settings)

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.storage.ledger_url or f"sqlite:///{self.home / 'ledger.db'}"

    _flag_overrides: dict[str, bool] = PrivateAttr(default_factory=dict)

    @property
    def flag_overrides(self) -> Mapping[str, bool]:
        """Signal flags that were given as options: they stay whatever the files say later."""
        return self._flag_overrides

    def decision_hash(self) -> str:
        """Hash of every setting that can change a decision; recorded with each cycle."""
        content = self.model_dump(
            mode="json", exclude={"home", "notifications", "storage", "orchestration", "resilience"}
        )
        for name in ("workers", "backend", "dask_address", "time_out_seconds"):
            content["forecasting"].pop(name)
        content["market_data"].pop("live")
        for name in ("connection", "ibkr", "binance_spot", "reconciliation"):
            content["execution"].pop(name)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
