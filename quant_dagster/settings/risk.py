"""Settings of limits, sizing, measures, stress and what stops trading."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from quant_dagster.settings.account_rules import AccountRulesSettings
from quant_dagster.settings.section import Section


class RiskMeasureSettings(Section):
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


class ShockSettings(Section):
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


class StressSettings(Section):
    shocks: dict[str, ShockSettings] = Field(default_factory=_usual_shocks, description="Hypothetical shocks by name.")
    largest_loss: float = Field(0.25, gt=0, le=1, description="Loss over equity in any stress before the check warns.")


class KillSwitchSettings(Section):
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


class PanicConditionSettings(Section):
    enabled: bool = Field(True, description="Is it watched?")
    window_seconds: float = Field(86_400.0, gt=0, description="Sliding window.")
    limit: float = Field(50.0, gt=0, description="Largest value within the window.")
    least: int = Field(5, ge=1, description="Observations in the window before it is judged.")
    mode: Literal["PAUSE", "REDUCE", "EMERGENCY"] = Field("PAUSE", description="Control mode it escalates to.")


class PanicSettings(Section):
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


class RiskActionSettings(Section):
    attempts: int = Field(3, ge=1, description="Tries to bring positions where an action wants them, then escalation.")
    stop_distance: float = Field(0.05, gt=0, lt=1, description="Distance of a protective stop from the price.")
    tightened_distance: float = Field(0.02, gt=0, lt=1, description="Distance that 'tighten stops' brings it to.")


class RiskSettings(Section):
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
