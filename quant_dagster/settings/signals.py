"""Settings of signal sources and their router."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quant_dagster.settings.section import Section

SignalSource = Literal["trend", "mean_reversion", "pairs", "learned", "composite"]


def _all_sources_on() -> dict[SignalSource, bool]:
    return {"trend": True, "mean_reversion": True, "pairs": True, "learned": True, "composite": True}


class PairsSettings(Section):
    formation_sessions: int = Field(500, ge=120, description="Sessions a pair's cointegration is tested on.")
    significance: float = Field(0.01, gt=0, lt=1, description="Level of the Engle-Granger and Johansen tests.")
    longest_half_life: float = Field(30.0, gt=0, description="Slowest reversion of a spread, in sessions.")
    entry_z: float = Field(2.0, gt=0, description="Distance of the spread at which a pair is entered.")
    exit_z: float = Field(0.5, ge=0, description="Distance at which it is left.")
    stop_z: float = Field(4.0, gt=0, description="Distance at which it counts as broken.")
    most_pairs: int = Field(50, ge=1, description="Pairs that are followed, the strongest first.")
    reform_sessions: int = Field(20, ge=1, description="Sessions between searches for pairs.")


class SignalSettings(Section):
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
