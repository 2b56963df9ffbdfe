"""Settings of sourcing: which vendors in which order, what describes the universe, intraday files."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from quant_dagster.settings.section import Section
from quant_dagster.settings.vendors import FilesVendorSettings, LiveVendorsSettings


class SectorFileSettings(Section):
    path: Path | None = Field(None, description="CSV of symbols and sectors, for universes that do not list them.")
    symbol_column: str = Field("Symbol", description="Its column of symbols.")
    sector_column: str = Field("GICS Sector", description="Its column of sectors.")


class FailoverSettings(Section):
    minimum_health: float = Field(0.5, ge=0, le=1, description="Health score below which a vendor is left.")
    observations: int = Field(20, ge=3, description="Newest requests the health score is taken from.")
    slow_seconds: float = Field(5.0, gt=0, description="Median latency at which the latency part of health is 0.5.")
    quiet_minutes: float = Field(60.0, ge=0, description="How long the better vendor must be well before going back.")
    overlap_sessions: int = Field(
        10, ge=1, le=60, description="Earlier sessions a standing-in vendor is asked for as well, to compare levels."
    )
    sessions: int = Field(5, ge=1, le=60, description="Newest sessions the failover sensor looks after.")


class IntradayFileSettings(Section):
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


class MembershipFileSettings(Section):
    path: Path | None = Field(None, description="CSV of who was in the universe when; empty: always everybody.")
    symbol_column: str = Field("ticker", description="Its column of symbols.")
    start_column: str = Field("start_date", description="Its column of first days, YYYY-MM-DD.")
    end_column: str = Field("end_date", description="Its column of the day a symbol left; empty: still in.")


class MarketDataSettings(Section):
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
