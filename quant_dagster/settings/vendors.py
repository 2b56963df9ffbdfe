"""Settings of those who sell or give market data: files and services on the network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from quant_dagster.settings.section import Section


class FilesVendorSettings(Section):
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


class LiveVendorSettings(Section):
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


class LiveVendorsSettings(Section):
    yfinance: YfinanceSettings = Field(default_factory=YfinanceSettings, description="Yahoo Finance.")
    alpha_vantage: AlphaVantageSettings = Field(default_factory=AlphaVantageSettings, description="Alpha Vantage.")
    finnhub: FinnhubSettings = Field(default_factory=FinnhubSettings, description="Finnhub.")
    binance: BinanceSettings = Field(default_factory=BinanceSettings, description="Binance, by ccxt.")
    kraken: KrakenSettings = Field(default_factory=KrakenSettings, description="Kraken, by ccxt.")
    coinbase: CoinbaseSettings = Field(default_factory=CoinbaseSettings, description="Coinbase, by ccxt.")
