"""Settings of the thirteen rules of an account."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quant_dagster.settings.section import Section


class AccountRuleSettings(Section):
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


class AccountRulesSettings(Section):
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
