"""Everything a cycle works with, opened once: settings, lake, ledger, universe, vendors, broker, feature store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant_dagster.accounting import books
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.paper import PaperBroker
from quant_dagster.market_data.calendars import ExchangeCalendar, exchange_calendar
from quant_dagster.market_data.universe import Universe, load_universe
from quant_dagster.market_data.vendors.protocol import Vendor
from quant_dagster.market_data.vendors.registry import build_vendor
from quant_dagster.settings import PROJECT_ROOT, Settings, load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Clock, Ledger, utc_now

if TYPE_CHECKING:
    from quant_dagster.features.store import FeatureStore

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


class TradingContext:
    """The desk's parts, wired by settings. Opening it creates and upgrades the ledger and opens the books.

    Parameters
    ----------
    settings
        Default: `load_settings()`.
    symbols
        Restrict the universe to these.
    clock
        Source of wall-clock times.
    progress
        Told of long work.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        symbols: Sequence[str] | None = None,
        clock: Clock = utc_now,
        progress: Progress = no_progress,
    ) -> None:
        self.settings = settings or load_settings()
        self.home: Path = self.settings.home
        self.now = clock
        self.progress = progress
        self.universe: Universe = load_universe(self.settings.universe)
        self.lake = Lake(self.home / "lake")
        self.ledger = Ledger(self.settings.ledger_url, clock)
        self._symbols = tuple(symbols) if symbols else None

    def open_books(self, session: date) -> None:
        """Upgrade the ledger and deposit the opening cash, once."""
        self.ledger.upgrade()
        with self.ledger.write() as connection:
            amount = Decimal(str(self.settings.portfolio.initial_cash))
            books.deposit(connection, amount, session=session, at=self.ledger.now(), reference="opening")

    @cached_property
    def calendar(self) -> ExchangeCalendar:
        """Sessions of the universe's exchange."""
        return exchange_calendar(self.universe.exchange)

    @cached_property
    def vendors(self) -> tuple[Vendor, ...]:
        """Vendors in priority order: the setting's, else the universe's."""
        names = self.settings.market_data.vendors or self.universe.vendors
        return tuple(build_vendor(name, self._vendor_options(name)) for name in names)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols to trade: the universe's, or those of them that were asked for."""
        offered: list[str] = []
        if self.universe.symbols == "all":
            offered = [symbol for vendor in self.vendors for symbol in vendor.symbols()]
        names = self.universe.symbol_names(offered)
        if not names:
            vendors = ", ".join(vendor.name for vendor in self.vendors)
            raise DataUnavailableError("any symbol", vendors, None, None, "no row of it names a symbol")
        if self._symbols is None:
            return names
        if unknown := [symbol for symbol in self._symbols if symbol not in names]:
            raise ConfigurationError(
                f"universe '{self.universe.name}' has no {', '.join(unknown)}; it has: {', '.join(names[:40])}"
                + (" …" if len(names) > 40 else "")
            )
        return tuple(symbol for symbol in names if symbol in self._symbols)

    @cached_property
    def broker(self) -> PaperBroker:
        """Where orders go."""
        return PaperBroker(
            self.home / "paper_broker.db",
            self.settings.execution,
            volume_required=self.universe.volume_required,
        )

    @cached_property
    def desk(self) -> ExecutionDesk:
        """Orders between the ledger and the broker."""
        return ExecutionDesk(self.ledger, self.broker, lease_seconds=self.settings.execution.lease_seconds)

    @cached_property
    def feature_store(self) -> FeatureStore:
        """Feast over the features folder."""
        from quant_dagster.features.store import FeatureStore

        store = FeatureStore(PROJECT_ROOT / "feature_repo", self.home / "features", exchange=self.universe.exchange)
        store.apply()
        return store

    @cached_property
    def sectors(self) -> Mapping[str, str]:
        """Sector by symbol: the universe's, completed by the file ``market_data.sectors`` names."""
        source = self.settings.market_data.sectors
        known: dict[str, str] = {}
        if source.path is not None:
            known = _read_sectors(source.path, source.symbol_column, source.sector_column)
        if self.universe.symbols != "all":
            known |= {instrument.symbol: instrument.sector for instrument in self.universe.symbols}
        return known

    def _vendor_options(self, name: str) -> dict[str, Any]:
        if name == "files":
            files = self.settings.market_data.files
            return {"path": files.path, "columns": files.columns}
        return {}


def _read_sectors(path: Path, symbol_column: str, sector_column: str) -> dict[str, str]:
    import polars as pl

    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(f"market_data.sectors.path '{path}' cannot be read: {error}") from error
    if missing := [name for name in (symbol_column, sector_column) if name not in frame.columns]:
        raise ConfigurationError(
            f"{path} has no column {', '.join(missing)}; it has: {', '.join(frame.columns)}. "
            "Set market_data.sectors.symbol_column and sector_column"
        )
    rows = frame.select(symbol_column, sector_column).drop_nulls()
    return dict(rows.iter_rows())


@cache
def code_version() -> str:
    """Hash of the domain's sources: what code a cycle was decided by."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
