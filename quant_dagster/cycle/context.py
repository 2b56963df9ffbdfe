"""Everything a cycle works with, opened once: settings, lake, ledger, universe, vendors, broker, feature store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quant_dagster.accounting import books
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import Broker, RemoteBroker
from quant_dagster.market_data import failover, instruments
from quant_dagster.market_data.calendars import ExchangeCalendar, exchange_calendar
from quant_dagster.market_data.failover import GUARD_PREFIX
from quant_dagster.market_data.instruments import InstrumentMaster
from quant_dagster.market_data.intraday.options import BarTime, IntradayFile, IntradayKind
from quant_dagster.market_data.landing import Landing
from quant_dagster.market_data.membership import Membership, Survivorship
from quant_dagster.market_data.universe import Universe, load_universe
from quant_dagster.market_data.vendors.protocol import Vendor
from quant_dagster.market_data.vendors.registry import build_vendor
from quant_dagster.risk.permission import read_permission
from quant_dagster.settings import PROJECT_ROOT, LiveVendorsSettings, Settings, load_settings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Clock, Ledger, utc_now

if TYPE_CHECKING:
    # Imported where they are made: who only looks at the ledger needs none of them.
    from quant_dagster.cycle.feature_memory import FeatureMemory
    from quant_dagster.cycle.market_watch import MarketWatch
    from quant_dagster.execution.desk import ExecutionDesk
    from quant_dagster.features.store import FeatureStore
    from quant_dagster.market_data.sourcing import Sourcing
    from quant_dagster.resilience.guard import ServiceGuard

_ADJUSTED = {
    None: "as the files are", "raw": "nothing", "split": "splits", "total_return": "splits and dividends",
}  # fmt: skip
NETWORK = "network"
"""The breaker that a person opens to stop every request to every vendor: each vendor's breaker depends on it."""

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
        universe = load_universe(self.settings.universe)
        market = self.settings.market_data
        names = market.vendors or market.priority.get(universe.asset_class) or universe.vendors
        self.universe: Universe = universe.model_copy(update={"vendors": tuple(names)})
        self.lake = Lake(self.home / "lake")
        self.ledger = Ledger(self.settings.ledger_url, clock)
        self._symbols = tuple(symbols) if symbols else None

    def open_ledger(self) -> None:
        """Upgrade the ledger and bring the instrument master up to date: both write, so before any transaction."""
        self.ledger.upgrade()
        _ = self.instruments

    def open_books(self, session: date) -> None:
        """Upgrade the ledger and deposit the opening cash, once; of a remote broker's account it is the broker's."""
        self.ledger.upgrade()
        if self.broker.capabilities.remote:
            return
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
        return tuple(self._vendor(name) for name in self.universe.vendors)

    @cached_property
    def guards(self) -> Mapping[str, ServiceGuard]:
        """What stands between the desk and each remote vendor, by the vendor's name."""
        from quant_dagster.resilience.guard import ServiceGuard

        self.ledger.upgrade()
        live = self.settings.market_data.live
        return {
            vendor.name: ServiceGuard(
                self.ledger,
                GUARD_PREFIX + vendor.name,
                self.settings.resilience,
                getattr(live, vendor.name),
                depends_on=(NETWORK,),
            )
            for vendor in self.vendors
            if vendor.capabilities.remote
        }

    @property
    def sourcing(self) -> Sourcing:
        """Loading prices from the vendors, in the order in which they are asked at present."""
        from quant_dagster.market_data.sourcing import Sourcing
        from quant_dagster.quality import contracts

        remote = [vendor.name for vendor in self.vendors if vendor.capabilities.remote]
        order = [vendor.name for vendor in self.vendors]
        if remote:
            self.ledger.upgrade()
            with self.ledger.read() as connection:
                order = failover.order(connection, self.universe.asset_class, order)
        by_name = {vendor.name: vendor for vendor in self.vendors}
        market = self.settings.market_data
        return Sourcing(
            lake=self.lake,
            ledger=self.ledger,
            landing=Landing(self.home / "landing"),
            vendors=[by_name[name] for name in order],
            guards=self.guards if remote else {},
            calendar=self.calendar,
            contract=contracts.validate,
            progress=self.progress,
            compare=market.compare_vendors,
            overlap=market.failover.overlap_sessions,
            workers={name: getattr(market.live, name).concurrency for name in remote},
        )

    @cached_property
    def instruments(self) -> InstrumentMaster:
        """The instrument master, after what the universe and ``market_data.instruments`` say was brought into it."""
        stated = self.settings.market_data.instruments
        dated = instruments.read_csv(stated) if stated is not None else []
        named = {one.symbol for one in dated}
        terms = dated + [
            one for one in instruments.from_universe(self.universe, self.symbols) if one.symbol not in named
        ]
        self.ledger.upgrade()
        with self.ledger.write() as connection:
            instruments.refresh(connection, terms, today=self.now().date(), at=self.now())
            return instruments.load(connection)

    @cached_property
    def membership(self) -> Membership | None:
        """Who belonged to the universe when; None: the universe does not say, everybody always did."""
        source = self.settings.market_data.membership
        if source.path is None:
            return None
        return Membership.read(source.path, source.symbol_column, source.start_column, source.end_column)

    def symbols_on(self, session: date) -> tuple[str, ...]:
        """The symbols that may be traded on ``session``: those of `symbols` that were members."""
        if self.membership is None:
            return self.symbols
        members = self.membership.members(session)
        return tuple(symbol for symbol in self.symbols if symbol in members)

    def survivorship(self, start: date, end: date) -> Survivorship:
        """Whether what is traded from ``start`` to ``end`` was chosen with hindsight."""
        if self.membership is None:
            known = "the universe's list was drawn up with hindsight" if self.universe.survivors_only else ""
            count = len(self.symbols)
            return Survivorship(self.universe.survivors_only, count, count, (), known or "the universe says so")
        priced = self.lake.read("bars", columns=["symbol"], start=start, end=end, ordered=False)["symbol"].unique()
        return self.membership.survivorship(priced.to_list(), start, end)

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
    def broker(self) -> Broker:
        """Where orders go. Nothing is connected yet."""
        execution = self.settings.execution
        match execution.broker:
            case "ibkr":
                from quant_dagster.execution.brokers.ibkr.adapter import IbkrBroker

                return IbkrBroker(
                    execution.ibkr,
                    execution.connection,
                    session_of=self.calendar.session_of,
                    terms=lambda symbol: self.instruments.find(symbol, self.now().date()),
                    highest_order_number=self._highest_order_number,
                    sent_at=self._sent_at,
                )
            case "binance_spot":
                from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker

                return BinanceSpotBroker(
                    execution.binance_spot,
                    execution.connection,
                    session_of=self.calendar.session_of,
                    now=self.now,
                    symbol_of=self._symbol_of,
                    symbols=lambda: self.symbols,
                )
            case "paper":
                from quant_dagster.execution.brokers.paper import PaperBroker

                return PaperBroker(
                    self.home / "paper_broker.db",
                    execution,
                    volume_required=self.universe.volume_required,
                    opening_cash=Decimal(str(self.settings.portfolio.initial_cash)),
                    currency=self.settings.portfolio.currency,
                )

    @cached_property
    def desk(self) -> ExecutionDesk:
        """Orders between the ledger and the broker."""
        from quant_dagster.execution.desk import ExecutionDesk
        from quant_dagster.execution.pricing import MarketPricing, as_approved

        market = MarketPricing(
            self.market_watch().quote,
            self._tick_size,
            offset=self.settings.execution.limit_offset,
            collar=self.settings.risk.price_collar,
            now=self.market_now,
        )
        return ExecutionDesk(
            self.ledger,
            self.broker,
            lease_seconds=self.settings.execution.lease_seconds,
            mode=lambda: read_permission(self.ledger, self.settings, self.home).mode,
            pricing=market if self.broker.capabilities.remote else as_approved,
            orphans=self.settings.execution.orphans,
            currency=self.settings.portfolio.currency,
            patience=self.settings.execution.connection.answer_seconds,
        )

    def market_watch(self) -> MarketWatch:
        """The market as the broker tells of it, from now on."""
        from quant_dagster.cycle.market_watch import MarketWatch

        return MarketWatch(self.broker, self.calendar, session=self.trading_session, now=self.market_now)

    def market_now(self) -> datetime:
        """The time orders are worked by: the clock's, or the broker's where ``execution.clock`` says so."""
        if self.settings.execution.clock == "broker" and isinstance(self.broker, RemoteBroker):
            return self.broker.market_time()
        return self.now()

    def trading_session(self) -> date:
        """The session that trades now, or the next one that will."""
        now = self.market_now()
        completed = self.calendar.latest_completed(now)
        return self.calendar.next_session(completed)

    def _tick_size(self, symbol: str) -> Decimal:
        terms = self.instruments.find(symbol, self.now().date())
        return terms.tick_size if terms is not None else Decimal("0.01")

    def _sent_at(self, client_order_id: str) -> datetime | None:
        """When an order was sent; None when it was not, or nobody knows when."""
        with self.ledger.read() as connection:
            order = order_log.find(connection, client_order_id)
        return None if order is None else order.sent_at

    def _symbol_of(self, client_order_id: str) -> str | None:
        """The symbol of an order; None when the ledger has none of that id."""
        with self.ledger.read() as connection:
            order = order_log.find(connection, client_order_id)
        return None if order is None else order.symbol

    def _highest_order_number(self) -> int:
        """The highest number an order was ever sent under."""
        with self.ledger.read() as connection:
            return order_log.highest_number(connection)

    @cached_property
    def feature_memory(self) -> FeatureMemory:
        """The newest session's features, updated from one session to the next within this process."""
        from quant_dagster.cycle.feature_memory import FeatureMemory

        return FeatureMemory()

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

    def _vendor(self, name: str) -> Vendor:
        market = self.settings.market_data
        if name == "files" or name in market.sources:
            files = market.files if name == "files" else market.sources[name]
            adjusted = _ADJUSTED[files.adjusted]
            options = {"path": files.path, "columns": files.columns, "name": name, "adjusted": adjusted}
            return build_vendor("files", options)
        if name in LiveVendorsSettings.model_fields:
            settings = getattr(market.live, name)
            return build_vendor(name, {"settings": settings, "clock": self.now})
        return build_vendor(name)


def intraday_files(context: TradingContext) -> list[IntradayFile]:
    """The files of minutes, quotes and trades that ``market_data.intraday`` names."""
    return [
        IntradayFile(
            path=one.path,
            kind=IntradayKind(one.kind),
            time_zone=one.time_zone,
            bar_time=BarTime(one.bar_time),
            columns=one.columns,
            vendor=one.vendor,
            seconds=one.seconds,
            extended_hours=one.extended_hours,
        )
        for one in context.settings.market_data.intraday
    ]


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
