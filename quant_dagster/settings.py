"""One typed settings tree, read from ``config/*.yaml``, the file ``$QUANT_CONFIG`` names, and the environment.

Later sources win; an environment variable is ``QUANT_`` + the key's path joined by ``__``
(``QUANT_RISK__MAX_GROSS_LEVERAGE=1.2``). Unknown keys are errors: a misspelt limit must never be a missing limit.
``python -m quant_dagster.settings`` prints the tree with every key's description and default.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from quant_dagster.errors import ConfigurationError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
CONFIG_FOLDER = PROJECT_ROOT / "config"
_ENV_PREFIX = "QUANT_"
# Read by other parts of the system, not keys of the tree.
_ENV_RESERVED = frozenset({"QUANT_HOME", "QUANT_CONFIG", "QUANT_TEST_DATA", "QUANT_OPERATOR_PASSPHRASE"})


SignalSource = Literal["trend", "mean_reversion", "pairs", "learned", "composite"]


def _all_sources_on() -> dict[SignalSource, bool]:
    return {"trend": True, "mean_reversion": True, "pairs": True, "learned": True, "composite": True}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class FilesVendorSettings(_Section):
    path: Path | None = Field(None, description="One Parquet/CSV file or a folder of them, for the vendor 'files'.")
    columns: dict[str, str] = Field(
        default_factory=lambda: {
            "symbol": "symbol",
            "session": "date",
            "open": "open",
            "high": "high",
            "low": "low",
            "close": "close",
            "volume": "volume",
        },
        description="The desk's column names and the file's names for them. Drop a field to leave it null; "
        "drop 'symbol' to take the symbol from the file's name; add 'known_at' for point-in-time files.",
    )
    adjusted: Literal["raw", "split", "total_return"] | None = Field(
        None, description="What its prices are adjusted for, where you know it: corporate actions are inferred from it."
    )


class SectorFileSettings(_Section):
    path: Path | None = Field(None, description="CSV of symbols and sectors, for universes that do not list them.")
    symbol_column: str = Field("Symbol", description="Its column of symbols.")
    sector_column: str = Field("GICS Sector", description="Its column of sectors.")


class LiveVendorSettings(_Section):
    """A vendor on the network. Limits are the vendor's documented ones for a free account."""

    api_key: SecretStr | None = Field(None, description="Key or token, where the vendor wants one.")
    base_url: str | None = Field(None, description="Address, where it is not the vendor's public one.")
    timeout_seconds: float = Field(20.0, gt=0, description="Longest wait for an answer.")
    requests_per_minute: int | None = Field(None, ge=1, description="Request budget a minute; empty: no limit.")
    requests_per_day: int | None = Field(None, ge=1, description="Request budget a day (UTC); empty: no limit.")
    concurrency: int = Field(2, ge=1, description="Requests under way at once in a process (bulkhead).")


class YfinanceSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(100, ge=1, description="Request budget a minute; empty: no limit.")


class AlphaVantageSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(5, ge=1, description="Request budget a minute; empty: no limit.")
    requests_per_day: int | None = Field(25, ge=1, description="Request budget a day (UTC); empty: no limit.")
    concurrency: int = Field(1, ge=1, description="Requests under way at once in a process (bulkhead).")


class FinnhubSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(60, ge=1, description="Request budget a minute; empty: no limit.")


class BinanceSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(600, ge=1, description="Request budget a minute; empty: no limit.")


class KrakenSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(60, ge=1, description="Request budget a minute; empty: no limit.")


class CoinbaseSettings(LiveVendorSettings):
    requests_per_minute: int | None = Field(300, ge=1, description="Request budget a minute; empty: no limit.")


class LiveVendorsSettings(_Section):
    yfinance: YfinanceSettings = Field(default_factory=YfinanceSettings, description="Yahoo Finance.")
    alpha_vantage: AlphaVantageSettings = Field(default_factory=AlphaVantageSettings, description="Alpha Vantage.")
    finnhub: FinnhubSettings = Field(default_factory=FinnhubSettings, description="Finnhub.")
    binance: BinanceSettings = Field(default_factory=BinanceSettings, description="Binance, by ccxt.")
    kraken: KrakenSettings = Field(default_factory=KrakenSettings, description="Kraken, by ccxt.")
    coinbase: CoinbaseSettings = Field(default_factory=CoinbaseSettings, description="Coinbase, by ccxt.")


class FailoverSettings(_Section):
    minimum_health: float = Field(0.5, ge=0, le=1, description="Health score below which a vendor is left.")
    observations: int = Field(20, ge=3, description="Newest requests the health score is taken from.")
    slow_seconds: float = Field(5.0, gt=0, description="Median latency at which the latency part of health is 0.5.")
    quiet_minutes: float = Field(60.0, ge=0, description="How long the better vendor must be well before going back.")
    overlap_sessions: int = Field(
        10, ge=1, le=60, description="Earlier sessions a standing-in vendor is asked for as well, to compare levels."
    )
    sessions: int = Field(5, ge=1, le=60, description="Newest sessions the failover sensor looks after.")


class IntradayFileSettings(_Section):
    """Files of minute bars, quotes or trades."""

    path: Path = Field(..., description="One Parquet/CSV file or a folder of them.")
    kind: Literal["bars", "quotes", "trades"] = Field("bars", description="What the rows are.")
    time_zone: str = Field("UTC", description="Zone of times that do not say theirs.")
    bar_time: Literal["start", "end"] = Field("start", description="What a bar's time names.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="The desk's names and the file's, if they differ."
    )
    vendor: str = Field("files", description="Name under which the rows are stored.")
    seconds: int = Field(60, ge=1, description="Length of a bar.")
    extended_hours: bool = Field(False, description="Keep rows outside the exchange's regular hours.")


class MembershipFileSettings(_Section):
    path: Path | None = Field(None, description="CSV of who was in the universe when; empty: always everybody.")
    symbol_column: str = Field("ticker", description="Its column of symbols.")
    start_column: str = Field("start_date", description="Its column of first days, YYYY-MM-DD.")
    end_column: str = Field("end_date", description="Its column of the day a symbol left; empty: still in.")


class MarketDataSettings(_Section):
    vendors: list[str] = Field(
        default_factory=list,
        description="Vendors in priority order; empty takes 'priority', then the universe's own list. Known: embedded, "
        "embedded_bokeh, embedded_arch, files, the names of 'sources', yfinance, alpha_vantage, finnhub, binance, "
        "kraken, coinbase.",
    )
    priority: dict[str, list[str]] = Field(
        default_factory=dict, description="Vendors in priority order per asset class (equity, crypto)."
    )
    compare_vendors: bool = Field(
        False, description="Ask every live vendor for every session, so that they can be reconciled (more requests)."
    )
    files: FilesVendorSettings = Field(default_factory=FilesVendorSettings, description="Where vendor 'files' reads.")
    sources: dict[str, FilesVendorSettings] = Field(
        default_factory=dict, description="Further file vendors by name, each with its own path and columns."
    )
    live: LiveVendorsSettings = Field(default_factory=LiveVendorsSettings, description="Vendors on the network.")
    failover: FailoverSettings = Field(default_factory=FailoverSettings, description="Changing vendors.")
    sectors: SectorFileSettings = Field(
        default_factory=SectorFileSettings,
        description="Sectors by symbol. Symbols of unknown sector count as one sector against risk.max_sector_weight.",
    )
    membership: MembershipFileSettings = Field(
        default_factory=MembershipFileSettings, description="Members of the universe by date: only those are traded."
    )
    instruments: Path | None = Field(
        None, description="CSV of instruments by date (tick, lot, multiplier, ...), beside what the universe says."
    )
    intraday: list[IntradayFileSettings] = Field(
        default_factory=list, description="Files of minute bars, quotes or trades, loaded by session."
    )
    most_missing_minutes: float = Field(
        0.05, ge=0, le=1, description="Share of a session's minutes that may be missing before the check warns."
    )
    history_start: date = Field(date(1990, 1, 1), description="First session a backfill asks vendors for.")


class ResilienceSettings(_Section):
    attempts: int = Field(4, ge=1, description="Tries of one request before it counts as failed.")
    first_wait_seconds: float = Field(0.5, ge=0, description="Wait before the second try; doubles, with jitter.")
    longest_wait_seconds: float = Field(
        30.0, ge=0, description="Longest wait between tries; a vendor that asks for more is given up on for now."
    )
    failures_to_open: int = Field(5, ge=1, description="Failed requests in a row that open the circuit breaker.")
    open_seconds: float = Field(60.0, gt=0, description="How long it stays open before one probe is let through.")
    successes_to_close: int = Field(2, ge=1, description="Successful probes in a row that close it again.")
    bulkhead_wait_seconds: float = Field(60.0, ge=0, description="Longest wait for a free place in the bulkhead.")


class QualitySettings(_Section):
    minimum_score: float = Field(0.6, ge=0, le=1, description="Below this score a symbol is REJECTed: data_quality.")


class LanguageModelSettings(_Section):
    base_url: str = Field("http://127.0.0.1:11434", description="Address of the server.")
    api: Literal["ollama", "openai"] = Field("ollama", description="Which interface it speaks.")
    model: str = Field("llama3.1:8b", description="Model it is asked for.")
    api_key: SecretStr | None = Field(None, description="Key, where the server wants one.")
    timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for one answer.")
    batch: int = Field(10, ge=1, le=100, description="Symbols in one request.")
    concurrency: int = Field(2, ge=1, description="Requests under way at once.")
    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is the likeliest answer.")


class ValidationSettings(_Section):
    sessions: int = Field(250, ge=20, description="Origins of the walk-forward validation.")
    blocks: int = Field(5, ge=2, description="Blocks of the blocked cross-validation.")
    embargo: int = Field(5, ge=0, description="Sessions left out on both sides of a test block, beyond the horizon.")
    significance: float = Field(0.05, gt=0, lt=1, description="Level of the tests and of the model confidence set.")
    shrinkage: float = Field(0.5, ge=0, le=1, description="How far weights are drawn from skill towards equality.")
    cost_bps: float = Field(2.0, ge=0, description="Cost of trading one unit of position, in the trading scores.")


class DriftSettings(_Section):
    sessions: int = Field(60, ge=20, description="Newest sessions compared with the reference.")
    reference_sessions: int = Field(250, ge=60, description="Sessions before them that are the reference.")
    threshold: float = Field(0.01, gt=0, lt=1, description="p-value below which a model counts as drifted.")


class LearnedSettings(_Section):
    horizon: int = Field(5, ge=1, le=63, description="Sessions ahead that the learned model predicts.")
    history_sessions: int = Field(750, ge=250, description="Newest sessions it is trained on.")
    retrain_sessions: int = Field(20, ge=1, description="Sessions between trainings.")
    folds: int = Field(5, ge=2, description="Purged walk-forward folds that judge it and select features.")
    features: int = Field(25, ge=5, description="Features it keeps after selection inside the folds.")


class ForecastingSettings(_Section):
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


class PairsSettings(_Section):
    formation_sessions: int = Field(500, ge=120, description="Sessions a pair's cointegration is tested on.")
    significance: float = Field(0.01, gt=0, lt=1, description="Level of the Engle-Granger and Johansen tests.")
    longest_half_life: float = Field(30.0, gt=0, description="Slowest reversion of a spread, in sessions.")
    entry_z: float = Field(2.0, gt=0, description="Distance of the spread at which a pair is entered.")
    exit_z: float = Field(0.5, ge=0, description="Distance at which it is left.")
    stop_z: float = Field(4.0, gt=0, description="Distance at which it counts as broken.")
    most_pairs: int = Field(50, ge=1, description="Pairs that are followed, the strongest first.")
    reform_sessions: int = Field(20, ge=1, description="Sessions between searches for pairs.")


class SignalSettings(_Section):
    flags: dict[SignalSource, bool] = Field(
        default_factory=_all_sources_on,
        description="Feature flag per signal source; re-read from the files at every routing, without a restart.",
    )
    confidence_weight: float = Field(0.6, ge=0, le=1, description="Weight of confidence in a signal's priority.")
    risk_weight: float = Field(0.4, ge=0, le=1, description="Weight of (1 - risk) in a signal's priority.")
    entry_threshold: float = Field(0.10, ge=0, le=1, description="Strength below which a signal is no position.")
    reversion_entry_z: float = Field(1.5, gt=0, description="Distance from the mean, in the deviations of an "
                                     "Ornstein-Uhlenbeck process at rest, that starts reversion.")  # fmt: skip
    longest_half_life: float = Field(30.0, gt=0, description="Slowest mean reversion that is traded, in sessions.")
    regime_tilt: float = Field(
        0.5, ge=0, le=1, description="How far the regime moves allocation between trend and reversion; 0: not at all."
    )
    conflict_margin: float = Field(
        0.05, ge=0, le=1, description="Opposite signals closer than this in priority cancel: no position."
    )
    decay_sessions: int = Field(60, ge=20, description="Sessions over which a source's information is monitored.")
    opportunity_cost: bool = Field(
        True, description="Refuse a trade that does not beat its alternatives after costs (OPPORTUNITY_COST_FAIL)."
    )
    cash_rate: float = Field(0.0, ge=0, description="Annual return of cash: the least alternative of a trade.")
    pairs: PairsSettings = Field(default_factory=PairsSettings, description="Cointegrated pairs.")


class PortfolioSettings(_Section):
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


class RiskMeasureSettings(_Section):
    window: int = Field(500, ge=100, description="Newest sessions the risk measures look at.")
    confidences: list[float] = Field(default_factory=lambda: [0.95, 0.99], description="Confidences of VaR and ES.")
    horizon: int = Field(1, ge=1, le=20, description="Sessions ahead that VaR and ES speak of.")
    tail_share: float = Field(
        0.10, gt=0, lt=0.5, description="Share of losses beyond the threshold of the extreme-value method."
    )
    correlation: Literal["shrinkage", "dcc"] = Field(
        "shrinkage", description="Correlations: Ledoit-Wolf shrinkage, or dynamic conditional (slower)."
    )
    paths: int = Field(10_000, ge=1_000, description="Paths of the Monte Carlo simulation.")
    degrees_of_freedom: float = Field(4.0, gt=2, description="Of the t copula where they cannot be estimated.")
    seed: int = Field(20161109, description="Seed of the Monte Carlo simulation.")
    backtest_start: date = Field(date(2016, 1, 4), description="First session of the VaR backtest.")
    backtest_level: float = Field(0.01, gt=0, lt=1, description="p-value below which a method's check warns.")


class ShockSettings(_Section):
    """A hypothetical move of all prices at once: returns, e.g. -0.10. The most specific one applies."""

    market: float = Field(0.0, gt=-1, description="Move of the market; each symbol moves by its beta times this.")
    sectors: dict[str, float] = Field(default_factory=dict, description="Further move by sector.")
    symbols: dict[str, float] = Field(default_factory=dict, description="Move by symbol, in place of all else.")
    volatility: float = Field(1.0, gt=0, description="Factor on every volatility, for VaR under the shock.")
    correlation: float | None = Field(None, ge=0, le=1, description="Correlation all pairs go to; empty: unchanged.")


def _usual_shocks() -> dict[str, ShockSettings]:
    return {
        "market_down_10": ShockSettings(market=-0.10),
        "market_down_20": ShockSettings(market=-0.20, volatility=2.0, correlation=0.8),
        "volatility_doubles": ShockSettings(volatility=2.0),
        "correlations_to_one": ShockSettings(correlation=1.0),
    }


class StressSettings(_Section):
    shocks: dict[str, ShockSettings] = Field(default_factory=_usual_shocks, description="Hypothetical shocks by name.")
    largest_loss: float = Field(0.25, gt=0, le=1, description="Loss over equity in any stress before the check warns.")


class AccountRuleSettings(_Section):
    enabled: bool = Field(False, description="Is the rule obeyed?")


class TotalQuantityRuleSettings(AccountRuleSettings):
    limit: float = Field(100_000, gt=0, description="Shares (contracts), long plus short.")
    action: Literal["close", "reduce"] = Field("reduce", description="Close what breaches, or reduce it to the limit.")


class QuantityRuleSettings(TotalQuantityRuleSettings):
    per_symbol: dict[str, float] = Field(default_factory=dict, description="Own limits of symbols.")


class AmountRuleSettings(AccountRuleSettings):
    amount: float = Field(10_000.0, gt=0, description="Account currency.")
    scope: Literal["account", "symbol"] = Field("account", description="Summed over the account, or each symbol alone.")


class FrequencyRuleSettings(AccountRuleSettings):
    per_minute: int = Field(30, ge=1, description="Trades in any 60 seconds.")
    per_hour: int = Field(300, ge=1, description="Trades in any hour.")
    per_day: int = Field(1000, ge=1, description="Trades in a trading day.")
    cooldown_minutes: float = Field(15.0, gt=0, description="How long nothing new is opened after a breach.")


class CooldownRuleSettings(AccountRuleSettings):
    steps: dict[float, float] = Field(
        default_factory=lambda: {1_000.0: 5.0, 5_000.0: 30.0, 10_000.0: 120.0},
        description="Loss of one closing trade in account currency: minutes nothing new is opened.",
    )


class StopGraceRuleSettings(AccountRuleSettings):
    seconds: float = Field(60.0, gt=0, description="How long a position may be without a stop order.")
    action: Literal["close", "place_stop"] = Field("place_stop", description="Close it, or place a stop.")


class SessionBlockRuleSettings(AccountRuleSettings):
    start: str = Field("09:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Start of trading, exchange time.")
    end: str = Field("16:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="End of trading, exchange time.")
    time_zone: str = Field("America/New_York", description="Zone of start and end.")
    days: list[int] = Field(default_factory=lambda: [0, 1, 2, 3, 4], description="Weekdays, Monday is 0.")
    close_positions: bool = Field(False, description="Close what is held outside these times.")


class SymbolBlockRuleSettings(AccountRuleSettings):
    symbols: list[str] = Field(default_factory=list, description="Symbols (or patterns like X*) never traded.")
    close_positions: bool = Field(True, description="Close what is held of them.")


class TradeManagementRuleSettings(AccountRuleSettings):
    break_even_after: float = Field(0.02, gt=0, description="Gain at which the stop goes to the entry price.")
    trail_after: float = Field(0.04, gt=0, description="Gain from which the stop follows the price.")
    trail_by: float = Field(0.02, gt=0, lt=1, description="Distance of the following stop, as a fraction of price.")


class AccountRulesSettings(_Section):
    """The thirteen rules of an account. Times are those of events, not of the computer."""

    max_contracts: TotalQuantityRuleSettings = Field(
        default_factory=TotalQuantityRuleSettings, description="Total position."
    )
    max_contracts_per_instrument: QuantityRuleSettings = Field(
        default_factory=QuantityRuleSettings, description="Position in one instrument."
    )
    daily_realised_loss: AmountRuleSettings = Field(
        default_factory=AmountRuleSettings, description="Realised loss of the trading day: flat and locked out."
    )
    daily_unrealised_loss: AmountRuleSettings = Field(
        default_factory=AmountRuleSettings, description="Open loss: the position (or all) is closed and locked out."
    )
    max_unrealised_profit: AmountRuleSettings = Field(
        default_factory=AmountRuleSettings, description="Open profit at which it is taken."
    )
    trade_frequency: FrequencyRuleSettings = Field(
        default_factory=FrequencyRuleSettings, description="Trades per minute, hour and day."
    )
    cooldown_after_loss: CooldownRuleSettings = Field(
        default_factory=CooldownRuleSettings, description="A pause after a losing trade."
    )
    no_stop_loss_grace: StopGraceRuleSettings = Field(
        default_factory=StopGraceRuleSettings, description="Positions without a stop order."
    )
    session_block: SessionBlockRuleSettings = Field(
        default_factory=SessionBlockRuleSettings, description="No trading outside these hours."
    )
    auth_loss_guard: AccountRuleSettings = Field(
        default_factory=AccountRuleSettings,
        description="The broker says the account may not trade: flat and locked out until it may.",
    )
    symbol_blocks: SymbolBlockRuleSettings = Field(
        default_factory=SymbolBlockRuleSettings, description="Symbols that are never traded."
    )
    trade_management: TradeManagementRuleSettings = Field(
        default_factory=TradeManagementRuleSettings, description="Stops to break-even, then following the price."
    )
    daily_realised_profit: AmountRuleSettings = Field(
        default_factory=AmountRuleSettings, description="Realised profit of the trading day: flat and locked out."
    )
    reset_time: str = Field("17:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="When a trading day begins.")
    reset_time_zone: str = Field("America/Chicago", description="Zone of reset_time.")


class KillSwitchSettings(_Section):
    file: Path | None = Field(
        None, description="Trading is killed while this file exists; empty: the file KILL in QUANT_HOME."
    )
    mode: Literal["PAUSE", "REDUCE", "EMERGENCY"] = Field("EMERGENCY", description="Control mode a kill escalates to.")
    heartbeats: dict[str, float] = Field(
        default_factory=dict,
        description="Names of processes that must say they live, and seconds of silence that are a kill.",
    )
    hardware: bool = Field(False, description="Is there a hardware switch? Its heartbeat is then required.")
    button_pin: int = Field(17, ge=0, description="GPIO pin of the button (to ground).")
    led_pin: int = Field(27, ge=0, description="GPIO pin of the LED: on while trading is allowed.")
    tamper_pin: int = Field(22, ge=0, description="GPIO pin of the tamper line: open is a kill.")
    debounce_seconds: float = Field(0.05, gt=0, description="Shorter contacts of the button are bounces.")
    stuck_seconds: float = Field(10.0, gt=0, description="A button held longer is stuck: a fault, and a kill.")
    beat_seconds: float = Field(1.0, gt=0, description="Seconds between heartbeats of the hardware switch.")
    silence_seconds: float = Field(10.0, gt=0, description="Silence of the hardware switch that is a kill.")


class PanicConditionSettings(_Section):
    enabled: bool = Field(True, description="Is it watched?")
    window_seconds: float = Field(86_400.0, gt=0, description="Sliding window.")
    limit: float = Field(50.0, gt=0, description="Largest value within the window.")
    least: int = Field(5, ge=1, description="Observations in the window before it is judged.")
    mode: Literal["PAUSE", "REDUCE", "EMERGENCY"] = Field("PAUSE", description="Control mode it escalates to.")


class PanicSettings(_Section):
    slippage: PanicConditionSettings = Field(
        default_factory=lambda: PanicConditionSettings(limit=50.0),
        description="Mean slippage of fills against their reference price, basis points.",
    )
    stale_quotes: PanicConditionSettings = Field(
        default_factory=lambda: PanicConditionSettings(limit=0.5, window_seconds=60.0, least=1),
        description="Share of watched symbols without a quote in the window (daily: without a bar of the session).",
    )
    spread: PanicConditionSettings = Field(
        default_factory=lambda: PanicConditionSettings(limit=5.0, window_seconds=300.0, least=20),
        description="Median relative spread over its usual one.",
    )
    errors: PanicConditionSettings = Field(
        default_factory=lambda: PanicConditionSettings(limit=20.0, window_seconds=60.0, least=1),
        description="Failed requests to brokers and vendors.",
    )


class RiskActionSettings(_Section):
    attempts: int = Field(3, ge=1, description="Tries to bring positions where an action wants them, then escalation.")
    stop_distance: float = Field(0.05, gt=0, lt=1, description="Distance of a protective stop from the price.")
    tightened_distance: float = Field(0.02, gt=0, lt=1, description="Distance that 'tighten stops' brings it to.")


class RiskSettings(_Section):
    kelly_fraction: float = Field(0.25, gt=0, le=1, description="Fraction of the full Kelly position taken.")
    volatility_target: float = Field(0.15, gt=0, description="Annualised volatility a position is sized to.")
    max_position_per_signal: float = Field(
        0.02, gt=0, le=1, description="Cap on one position: this fraction of equity x the signal's confidence."
    )
    max_gross_leverage: float = Field(1.0, gt=0, description="Gross exposure over equity.")
    max_net_leverage: float = Field(1.0, gt=0, description="Absolute net exposure over equity.")
    venue_leverage_limit: float = Field(
        2.0, gt=0, description="What the venue allows; gross may not pass min(3, 0.8 x this)."
    )
    max_symbol_weight: float = Field(0.05, gt=0, le=1, description="Position in one symbol over equity.")
    max_sector_weight: float = Field(0.30, gt=0, le=1, description="Gross exposure to one sector over equity.")
    max_participation: float = Field(0.05, gt=0, le=1, description="Order size over 20-session average volume.")
    price_collar: float = Field(
        0.20, gt=0, le=1, description="Largest move of the decision price from the previous close that is traded on."
    )
    max_orders_per_session: int = Field(1000, ge=1, description="Orders the desk may create for one session.")
    max_turnover_per_session: float = Field(1.0, gt=0, description="Traded notional of one session over equity.")
    max_price_age_sessions: int = Field(0, ge=0, description="Sessions since the last bar before a price is stale.")
    cvar_confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of the CVaR gate.")
    cvar_limit: float = Field(0.02, gt=0, le=1, description="One-session CVaR of the portfolio over equity.")
    cvar_scenarios: int = Field(250, ge=50, description="Historical sessions the CVaR gate looks at.")
    max_drawdown: float = Field(
        0.20, gt=0, le=1, description="Drawdown of equity from its peak that escalates the control mode to REDUCE."
    )
    drawdown_scaling_start: float = Field(
        0.10, ge=0, le=1, description="Drawdown from which allowed gross exposure falls, to nothing at max_drawdown."
    )
    max_concentration: float = Field(
        0.05, gt=0, description="Sum of squared position weights (Herfindahl), weights over equity."
    )
    max_counterparty_exposure: float = Field(
        1.0, gt=0, description="Gross exposure held at one broker or venue over equity."
    )
    max_liquidation_sessions: float = Field(
        5.0, gt=0, description="Sessions to close a position at max_participation of average volume."
    )
    account_type: Literal["cash", "margin"] = Field("cash", description="Cash account, or margin account (Reg T).")
    initial_margin: float = Field(0.50, gt=0, le=1, description="Reg T initial margin of a position.")
    maintenance_margin_long: float = Field(0.25, gt=0, le=1, description="Maintenance margin of a long position.")
    maintenance_margin_short: float = Field(0.30, gt=0, le=1, description="Maintenance margin of a short position.")
    kelly_error_shrinkage: bool = Field(
        True, description="Shrink the Kelly position by the estimation error of the expected return."
    )
    clock_tolerance_seconds: float = Field(
        5.0, ge=0, description="How far the clock may be behind the newest record before no order is made."
    )
    measures: RiskMeasureSettings = Field(default_factory=RiskMeasureSettings, description="VaR, ES and simulation.")
    stress: StressSettings = Field(default_factory=StressSettings, description="Stress scenarios.")
    account_rules: AccountRulesSettings = Field(default_factory=AccountRulesSettings, description="Account rules.")
    kill_switch: KillSwitchSettings = Field(default_factory=KillSwitchSettings, description="Kill switch.")
    panic: PanicSettings = Field(default_factory=PanicSettings, description="Panic conditions.")
    actions: RiskActionSettings = Field(default_factory=RiskActionSettings, description="Automatic actions.")


class ConnectionSettings(_Section):
    heartbeat_seconds: float = Field(30.0, gt=0, description="Seconds between signs of life asked of the broker.")
    answer_seconds: float = Field(10.0, gt=0, description="Longest wait for one; after it the link counts as dead.")
    connect_seconds: float = Field(15.0, gt=0, description="Longest wait for the broker to accept a connection.")
    backoff_first_seconds: float = Field(1.0, gt=0, description="Wait before the first try to connect again; doubles.")
    backoff_longest_seconds: float = Field(60.0, gt=0, description="Longest wait between tries.")
    backoff_jitter: float = Field(0.1, ge=0, lt=1, description="Share of a wait that is left to chance.")
    tcp_no_delay: bool = Field(True, description="Send every message at once (TCP_NODELAY).")
    cpu_affinity: tuple[int, ...] = Field((), description="Cores the trading process keeps to; empty: all.")


class IbkrSettings(_Section):
    host: str = Field("127.0.0.1", description="Address of TWS or IB Gateway.")
    port: int = Field(4002, ge=1, le=65535, description="Its port: 7496/7497 TWS live/paper, 4001/4002 Gateway.")
    client_id: int = Field(1, ge=0, description="API client id; one program per id.")
    account: str = Field("", description="Account to trade; empty: the only one of the login.")
    messages_per_second: int = Field(30, ge=1, le=50, description="Messages sent in any second; the broker allows 50.")
    read_only: bool = Field(False, description="Refuse to send orders, whatever the gateway allows.")


class BinanceSpotSettings(_Section):
    base_url: str = Field("https://api.binance.com", description="Address of the REST interface.")
    api_key: SecretStr | None = Field(None, description="API key with the right to trade.")
    api_secret: SecretStr | None = Field(None, description="Its secret.")
    quote_currency: str = Field("USDT", description="Currency that symbols without one are quoted in.")
    receive_window_ms: int = Field(5000, ge=1, le=60000, description="Age at which the venue refuses a request.")


class AlgorithmSettings(_Section):
    algorithm: Literal["none", "twap", "vwap", "pov", "iceberg", "almgren_chriss"] = Field(
        "none", description="How orders of strategies are worked; none: sent whole."
    )
    minutes: int = Field(390, ge=1, description="Length of the interval an order is worked over, from the open.")
    slices: int = Field(13, ge=1, description="Slices of TWAP, VWAP and Almgren-Chriss in that interval.")
    participation: float = Field(0.05, gt=0, le=1, description="Share of the market's volume POV takes.")
    display: float = Field(0.1, gt=0, le=1, description="Share of an iceberg that shows at a time.")
    risk_aversion: float = Field(1e-6, ge=0, description="Almgren-Chriss lambda, per unit of currency.")
    least_slice_value: float = Field(1000.0, ge=0, description="Slices of less value are put together.")
    curve_sessions: int = Field(20, ge=1, description="Sessions of intraday bars the volume curve is learned from.")


class ReconciliationSettings(_Section):
    cash_tolerance: float = Field(0.01, ge=0, description="Difference of cash that is no break, account currency.")
    every_minutes: float = Field(15.0, gt=0, description="Minutes between reconciliations of the trading daemon.")


class ExecutionSettings(_Section):
    broker: Literal["paper", "ibkr", "binance_spot"] = Field("paper", description="Where orders go.")
    order_type: Literal["auto", "market", "limit"] = Field(
        "auto", description="auto: market on paper (next open, or next close on close-only data), limit elsewhere."
    )
    limit_offset: float = Field(
        0.001, ge=0, lt=1, description="Distance of a limit from the price, on the side that fills: 0.001 is 0.1 %."
    )
    deadline_seconds: float = Field(
        300.0, gt=0, description="How long a sent order may work in an open market before its rest is cancelled."
    )
    dead_man_seconds: float = Field(
        90.0, gt=0, description="Longest silence of the trading daemon before its working orders are cancelled."
    )
    orphans: Literal["quarantine", "adopt", "cancel"] = Field(
        "quarantine",
        description="Orders at the broker under an id of ours that the ledger lacks: kept and locked, taken up, "
        "or cancelled.",
    )
    clock: Literal["system", "broker"] = Field(
        "system", description="Whose time the trading daemon works by; broker: for a simulated gateway."
    )
    connection: ConnectionSettings = Field(default_factory=ConnectionSettings, description="The way to a broker.")
    ibkr: IbkrSettings = Field(default_factory=IbkrSettings, description="Interactive Brokers.")
    binance_spot: BinanceSpotSettings = Field(default_factory=BinanceSpotSettings, description="Binance spot.")
    algorithms: AlgorithmSettings = Field(default_factory=AlgorithmSettings, description="Execution algorithms.")
    reconciliation: ReconciliationSettings = Field(
        default_factory=ReconciliationSettings, description="Books against the broker's."
    )
    time_in_force: Literal["day", "gtc"] = Field("day", description="Unfilled remainders expire at the close (day).")
    slippage_bps: float = Field(2.0, ge=0, description="Half spread and delay paid on every fill, basis points.")
    impact_bps: float = Field(
        10.0, ge=0, description="Square-root impact: this many basis points at 100 % participation of the bar's volume."
    )
    participation_cap: float = Field(0.05, gt=0, le=1, description="Largest share of a bar's volume the broker fills.")
    commission_per_share: float = Field(0.005, ge=0, description="Commission a share, account currency.")
    commission_minimum: float = Field(1.0, ge=0, description="Least commission an execution.")
    commission_maximum: float = Field(0.01, ge=0, description="Most commission, as a fraction of traded value.")
    lease_seconds: float = Field(60.0, gt=0, description="How long one executor holds the broker before it must renew.")

    @property
    def order_type_sent(self) -> str:
        """What ``order_type`` comes to at the broker in use."""
        if self.order_type != "auto":
            return self.order_type
        return "market" if self.broker == "paper" else "limit"


class StorageSettings(_Section):
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


class NotificationSettings(_Section):
    slack_token: SecretStr | None = Field(None, description="Slack bot token; empty logs alerts instead of sending.")
    slack_channel: str = Field("#trading", description="Channel that hears of failed checks and runs.")
    slack_base_url: str = Field("https://slack.com/api/", description="Slack Web API address.")
    dashboard_url: str = Field("http://127.0.0.1:3000", description="Dagster address that alerts link to.")


class OrchestrationSettings(_Section):
    first_session: date = Field(
        date(2022, 1, 3), description="First daily partition in Dagster; earlier history is loaded unpartitioned."
    )
    minutes_after_close: int = Field(
        90, ge=0, le=400, description="When the daily cycle starts, counted from the regular 16:00 New York close."
    )


class Settings(BaseSettings):
    """The settings tree. Build it with `load_settings`, which turns every problem into a `ConfigurationError`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=_ENV_PREFIX, env_nested_delimiter="__", validate_default=True
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


def quant_home() -> Path:
    """Folder of everything the program writes: ``QUANT_HOME``, by default ``.quant`` in the project."""
    return Path(os.environ.get("QUANT_HOME") or PROJECT_ROOT / ".quant").expanduser().resolve()


def load_settings(overrides: dict[str, Any] | None = None, config_folder: Path = CONFIG_FOLDER) -> Settings:
    """Read, merge and check every source.

    Parameters
    ----------
    overrides
        Nested values that win over YAML and the environment (command-line options).
    config_folder
        Where ``default.yaml`` and ``local.yaml`` are.

    Raises
    ------
    ConfigurationError
        Naming the key, the file or variable it came from, and the allowed values.
    """
    files = [config_folder / "default.yaml", config_folder / "local.yaml"]
    if extra := os.environ.get("QUANT_CONFIG"):
        if not Path(extra).is_file():
            raise ConfigurationError(f"QUANT_CONFIG names '{extra}', which is not a file")
        files.append(Path(extra))
    merged: dict[str, Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    for file in files:
        if file.is_file():
            _merge(merged, _read_yaml(file), str(file), origin, ())
    _check_environment()
    for path in _WHOLE:
        if _ENV_PREFIX + "__".join(path).upper() in os.environ:
            _drop(merged, path)
    merged["home"] = quant_home()
    try:
        settings = Settings(**merged)
        if overrides:
            # Options are named last so that they win over the environment as well.
            content = settings.model_dump()
            _merge(content, overrides, "command line", origin, ())
            settings = Settings.model_validate(content) if not _env_keys() else _without_environment(content)
            settings._flag_overrides = dict(overrides.get("signals", {}).get("flags", {}))
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origin)) from None
    if settings.mode == "live" and settings.execution.broker == "paper":
        raise ConfigurationError(
            "mode 'live' is for real money, and execution.broker is 'paper': name the broker, or leave mode at paper"
        )
    return settings


def _without_environment(content: dict[str, Any]) -> Settings:
    saved = {name: os.environ.pop(name) for name in _env_keys()}
    try:
        return Settings(**content)
    finally:
        os.environ.update(saved)


def _env_keys() -> list[str]:
    return [name for name in os.environ if name.startswith(_ENV_PREFIX) and name not in _ENV_RESERVED]


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} must hold 'key: value' pairs, not {type(content).__name__}")
    return content


# Mappings whose keys are data, replaced as a whole instead of merged key by key.
_WHOLE = {("market_data", "files", "columns")}


def _merge(
    base: dict[str, Any], new: dict[str, Any], source: str, origin: dict[tuple[str, ...], str], path: tuple[str, ...]
) -> None:
    for key, value in new.items():
        here = (*path, str(key))
        origin[here] = source
        if isinstance(value, dict) and isinstance(base.get(key), dict) and here not in _WHOLE:
            _merge(base[key], value, source, origin, here)
        else:
            base[key] = value
            if isinstance(value, dict):
                _merge({}, value, source, origin, here)


def _drop(content: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take a key out, so that another source's value stands alone instead of being merged into it."""
    for key in path[:-1]:
        content = content.get(key) or {}
    content.pop(path[-1], None)


def _field_at(path: tuple[str, ...]) -> FieldInfo | None:
    model: type[BaseModel] = Settings
    field: FieldInfo | None = None
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return None
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return field


def _known_keys(path: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


def _check_environment() -> None:
    for name in _env_keys():
        path = tuple(name.removeprefix(_ENV_PREFIX).lower().split("__"))
        parent = _field_at(path[:-1])
        is_entry = parent is not None and get_origin(parent.annotation) is dict
        if _field_at(path) is None and not is_entry:
            known = _known_keys(path[:-1])
            raise ConfigurationError(
                f"environment variable {name}: unknown setting '{'.'.join(path)}'{_closest(path[-1], known)}; "
                f"allowed: {', '.join(known) or 'none here'}"
            )


def _closest(key: str, known: list[str]) -> str:
    match = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean '{match[0]}'?)" if match else ""


def _explain(error: ValidationError, origin: dict[tuple[str, ...], str]) -> str:
    lines = []
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"] if part != "[key]")
        variable = _ENV_PREFIX + "__".join(path).upper()
        source = f"environment variable {variable}" if variable in os.environ else None
        while source is None and path:
            source = origin.get(path)
            if source is None and len(path) == 1:
                source = "the defaults"
            if source is None:
                break
        source = source or origin.get(path[:-1], "the settings")
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = _known_keys(path[:-1])
            lines.append(
                f"{source}: unknown setting '{key}'{_closest(path[-1], known)}; allowed here: {', '.join(known)}"
            )
            continue
        field = _field_at(path) or _field_at(path[:-1])
        allowed = f"; allowed: {_allowed(field)}" if field is not None else ""
        secret = field is not None and SecretStr in (field.annotation, *get_args(field.annotation))
        value = "(a secret)" if secret else repr(problem["input"])
        lines.append(f"{source}: setting '{key}' = {value}: {problem['msg']}{allowed}")
    return "\n".join(lines)


def _allowed(field: FieldInfo) -> str:
    choices = [repr(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    limits = [str(item) for item in field.metadata]
    kind = " | ".join(choices) or str(getattr(field.annotation, "__name__", field.annotation))
    return f"{kind} ({', '.join(limits)})" if limits else kind


def render_defaults() -> str:
    """The whole tree as YAML with each key's description above it: the text of ``config/default.yaml``."""
    lines = [
        "# Every setting with its default. Override in config/local.yaml, in the file $QUANT_CONFIG names, or by an",
        "# environment variable: QUANT_ + the path joined by __ (QUANT_RISK__CVAR_LIMIT=0.03).",
        "# Written by: python -m quant_dagster.settings > config/default.yaml",
    ]
    for name, field in Settings.model_fields.items():
        if name != "home":
            _render(name, field, _default(field), lines, 0)
    return "\n".join(lines) + "\n"


def _render(name: str, field: FieldInfo, value: Any, lines: list[str], depth: int) -> None:
    indent = "  " * depth
    lines.append(f"{indent}# {field.description}")
    if isinstance(value, BaseModel):
        lines.append(f"{indent}{name}:")
        for inner, one in type(value).model_fields.items():
            _render(inner, one, getattr(value, inner), lines, depth + 1)
    else:
        plain = json.loads(json.dumps(value, default=_plain))
        lines.append(f"{indent}{name}: {json.dumps(plain, ensure_ascii=False)}")


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


if __name__ == "__main__":
    print(render_defaults(), end="")
