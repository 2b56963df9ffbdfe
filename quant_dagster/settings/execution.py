"""Settings of brokers, the way to them, algorithms and reconciliation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from quant_dagster.settings.section import Section


class ConnectionSettings(Section):
    heartbeat_seconds: float = Field(30.0, gt=0, description="Seconds between signs of life asked of the broker.")
    answer_seconds: float = Field(10.0, gt=0, description="Longest wait for one; after it the link counts as dead.")
    connect_seconds: float = Field(15.0, gt=0, description="Longest wait for the broker to accept a connection.")
    backoff_first_seconds: float = Field(1.0, gt=0, description="Wait before the first try to connect again; doubles.")
    backoff_longest_seconds: float = Field(60.0, gt=0, description="Longest wait between tries.")
    backoff_jitter: float = Field(0.1, ge=0, lt=1, description="Share of a wait that is left to chance.")
    tcp_no_delay: bool = Field(True, description="Send every message at once (TCP_NODELAY).")
    cpu_affinity: tuple[int, ...] = Field((), description="Cores the trading process keeps to; empty: all.")


class IbkrSettings(Section):
    host: str = Field("127.0.0.1", description="Address of TWS or IB Gateway.")
    port: int = Field(4002, ge=1, le=65535, description="Its port: 7496/7497 TWS live/paper, 4001/4002 Gateway.")
    client_id: int = Field(1, ge=0, description="API client id; one program per id.")
    account: str = Field("", description="Account to trade; empty: the only one of the login.")
    messages_per_second: int = Field(30, ge=1, le=50, description="Messages sent in any second; the broker allows 50.")
    read_only: bool = Field(False, description="Refuse to send orders, whatever the gateway allows.")


class BinanceSpotSettings(Section):
    base_url: str = Field("https://api.binance.com", description="Address of the REST interface.")
    api_key: SecretStr | None = Field(None, description="API key with the right to trade.")
    api_secret: SecretStr | None = Field(None, description="Its secret.")
    quote_currency: str = Field("USDT", description="Currency that symbols without one are quoted in.")
    receive_window_ms: int = Field(5000, ge=1, le=60000, description="Age at which the venue refuses a request.")


class AlgorithmSettings(Section):
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


class ReconciliationSettings(Section):
    cash_tolerance: float = Field(0.01, ge=0, description="Difference of cash that is no break, account currency.")
    every_minutes: float = Field(15.0, gt=0, description="Minutes between reconciliations of the trading daemon.")


class ExecutionSettings(Section):
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
