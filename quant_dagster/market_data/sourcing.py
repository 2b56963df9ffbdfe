"""Which vendors are asked for what: the first in order for everything, the next for what is missing still.

A vendor that fails is not the end of a session: whatever it did not give is asked of the next one, together with a few
earlier sessions, so that the level between the two is known (see ``vendor_choice``). What nobody has stays missing.
Remote vendors are asked symbol by symbol through their guard (`resilience`), several at once; answers land first and
are stored in one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from quant_dagster.errors import BudgetExhaustedError, CircuitOpenError, DataUnavailableError, VendorError
from quant_dagster.market_data import progress as loading
from quant_dagster.market_data.calendars import FIRST_DAY, ExchangeCalendar
from quant_dagster.market_data.ingest import Contract, IngestReport, Progress, ingest, store_answer
from quant_dagster.market_data.landing import Landing, Request
from quant_dagster.market_data.progress import LoadState
from quant_dagster.market_data.vendors.protocol import Vendor, VendorAnswer
from quant_dagster.resilience.guard import ServiceGuard
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger

_SAID = 3  # answers that an error repeats
PATIENCE_SECONDS = 90.0
"""Longest wait for a request budget's next window: that of a minute is waited for, that of a day is not."""
BATCH = 100
"""Symbols of a remote vendor that are stored in one commit."""


@dataclass
class Sourced:
    """What was asked and answered.

    Attributes
    ----------
    reports
        What was stored, per vendor (and batch).
    failures
        Per vendor: what it said of the symbols it failed on. Nothing is known about those from it.
    refusals
        Per vendor: what it said of symbols it has nothing for.
    """

    reports: list[IngestReport] = field(default_factory=list)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Rows that are new or restated."""
        return sum(report.inserted + report.updated for report in self.reports)

    @property
    def restated(self) -> int:
        """Rows that a vendor has changed since they were stored."""
        return sum(report.restated for report in self.reports)


@dataclass(frozen=True)
class Sourcing:
    """Everything loading works with.

    Attributes
    ----------
    vendors
        In the order in which they are asked.
    guards
        By name, of the remote ones.
    compare
        Ask every remote vendor for everything, so that they can be reconciled.
    overlap
        Sessions before a gap that the vendor filling it is asked for as well.
    workers
        Requests under way at once, per remote vendor.
    refresh
        Ask remote vendors for the whole range again, to see what they have restated.
    """

    lake: Lake
    ledger: Ledger
    landing: Landing
    vendors: Sequence[Vendor]
    guards: Mapping[str, ServiceGuard]
    calendar: ExchangeCalendar
    contract: Contract
    progress: Progress
    compare: bool = False
    overlap: int = 10
    refresh: bool = False
    workers: Mapping[str, int] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep

    def load(self, symbols: Sequence[str], start: date, end: date, now: datetime) -> Sourced:
        """Rows of ``symbols`` from ``start`` to ``end`` into ``raw_prices``.

        Raises
        ------
        DataUnavailableError
            No vendor had anything; the message holds what each one said.
        """
        result = Sourced()
        for number, vendor in enumerate(self.vendors):
            if not vendor.capabilities.remote:
                self._load_local(result, vendor, symbols, start, end, now)
                continue
            last = min(end, self.calendar.latest_completed(now))
            requests = self._requests(vendor.name, symbols, start, last, everything=number == 0 or self.compare)
            if requests:
                self._load_remote(result, vendor, requests, now)
        if not result.reports and not self._stored(symbols, start, end):
            said = [detail for answers in (result.failures, result.refusals) for one in answers.values()
                    for detail in dict.fromkeys(one.values())]  # fmt: skip
            names = ", ".join([*symbols[:5], *(["…"] if len(symbols) > 5 else [])])
            vendors = ", ".join(vendor.name for vendor in self.vendors)
            raise DataUnavailableError(names, vendors, start, end, _in_short(said))
        return result

    def _load_local(
        self, result: Sourced, vendor: Vendor, symbols: Sequence[str], start: date, end: date, now: datetime
    ) -> None:
        try:
            report = ingest(
                self.lake, vendor, symbols, start, end,
                calendar=self.calendar, now=now, contract=self.contract, progress=self.progress,
            )  # fmt: skip
        except DataUnavailableError as error:
            result.refusals[vendor.name] = dict.fromkeys(symbols, str(error))
            return
        result.reports.append(report)
        if report.inserted or not self._progress_known(vendor.name, symbols):
            self._record_stored(vendor.name, symbols, start, min(end, self.calendar.latest_completed(now)), now)

    # -- remote vendors -----------------------------------------------------------------------------------------------

    def _requests(
        self, vendor: str, symbols: Sequence[str], start: date, end: date, *, everything: bool
    ) -> list[Request]:
        sessions = self.calendar.session_dates(start, end)
        if not sessions:
            return []
        with self.ledger.read() as connection:
            known = {one.symbol: one for one in loading.read(connection, vendor)}
        gaps = self._gaps(symbols, sessions)
        requests = []
        for symbol in symbols:
            before = known.get(symbol)
            if everything:
                first = sessions[0]
                if before is not None and before.sessions and before.first <= first and not self.refresh:
                    gap = gaps.get(symbol)
                    if before.last >= sessions[-1] and gap is None:
                        continue
                    first = max(first, self._earlier(min(before.last, gap[0] if gap else before.last)))
                # A few sessions again: a recent restatement shows in them, and the level to the other vendors.
                requests.append(Request(symbol, min(first, self._earlier(sessions[-1])), sessions[-1]))
            elif symbol in gaps:
                gap_start, gap_end = gaps[symbol]
                requests.append(Request(symbol, self._earlier(gap_start), gap_end))
        return requests

    def _earlier(self, session: date) -> date:
        """``overlap`` sessions before, or the first there is."""
        start = max(FIRST_DAY, session - timedelta(days=2 * self.overlap + 14))
        return self.calendar.session_dates(start, session)[-self.overlap - 1 :][0]

    def _gaps(self, symbols: Sequence[str], sessions: Sequence[date]) -> dict[str, tuple[date, date]]:
        """First and last session that no vendor has a row of, per symbol: from its first row on, or of everything."""
        rows = self.lake.read(
            "raw_prices", columns=["symbol", "session"], symbols=symbols, start=sessions[0], end=sessions[-1],
            where=pl.col("vendor").is_in([vendor.name for vendor in self.vendors]), ordered=False,
        ).unique()  # fmt: skip
        first = rows.group_by("symbol").agg(pl.col("session").min().alias("first"))
        expected = pl.DataFrame({"symbol": list(symbols)}, schema={"symbol": pl.String}).join(
            pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date}), how="cross"
        )
        missing = (
            expected.join(first, on="symbol", how="left")
            .filter(
                (pl.col("session") >= pl.col("first")) | pl.col("first").is_null() | (len(sessions) <= self.overlap)
            )
            .join(rows, on=["symbol", "session"], how="anti")
        )
        spans = missing.group_by("symbol").agg(pl.col("session").min().alias("a"), pl.col("session").max().alias("b"))
        return {symbol: (a, b) for symbol, a, b in spans.iter_rows()}

    def _load_remote(self, result: Sourced, vendor: Vendor, requests: Sequence[Request], now: datetime) -> None:
        name = vendor.name
        done = 0
        for position in range(0, len(requests), BATCH):
            batch = requests[position : position + BATCH]
            stop = self._ask(result, vendor, batch, now, done, len(requests))
            done += len(batch)
            self._store(result, name, batch, now)
            if stop is not None:
                left = requests[position + BATCH :]
                result.failures.setdefault(name, {}).update({request.symbol: str(stop) for request in left})
                break
        self.progress(f"asking {name}", len(requests), len(requests))

    def _ask(
        self, result: Sourced, vendor: Vendor, batch: Sequence[Request], now: datetime, done: int, total: int
    ) -> VendorError | None:
        """Ask for a batch; answers land. Returns why nothing more should be asked of this vendor, if so."""
        name, guard = vendor.name, self.guards[vendor.name]
        failures = result.failures.setdefault(name, {})
        refusals = result.refusals.setdefault(name, {})
        stopped: list[VendorError] = []

        def ask(request: Request) -> loading.Progress | None:
            if self.landing.has(name, request):
                return None
            if stopped:
                failures[request.symbol] = str(stopped[0])
                return None
            facts = (name, request.symbol, request.start, request.end, 0)
            try:
                answer = self._patiently(
                    lambda: guard.call(
                        "daily_bars", lambda: vendor.daily_bars([request.symbol], request.start, request.end)
                    )
                )
            except DataUnavailableError as error:
                refusals[request.symbol] = str(error)
                return loading.Progress(*facts, LoadState.NO_DATA, str(error))
            except VendorError as error:
                failures[request.symbol] = str(error)
                if isinstance(error, CircuitOpenError | BudgetExhaustedError):
                    stopped.append(error)
                return loading.Progress(*facts, LoadState.FAILED, str(error))
            self.landing.put(request, answer)
            return loading.Progress(*facts[:4], answer.rows.height, LoadState.LANDED)

        with ThreadPoolExecutor(max_workers=self.workers.get(name, 1)) as pool:
            for number, one in enumerate(pool.map(ask, batch)):
                self.progress(f"asking {name}", done + number, total)
                if one is not None:
                    with self.ledger.write() as connection:
                        loading.record(connection, [one], now)
        return stopped[0] if stopped else None

    def _patiently(self, call: Callable[[], VendorAnswer]) -> VendorAnswer:
        """Wait for the next window when a short one's request budget is used up; a day's budget is not waited for."""
        while True:
            try:
                return call()
            except BudgetExhaustedError as error:
                if error.retry_after > PATIENCE_SECONDS:
                    raise
                self.sleep(error.retry_after)

    def _store(self, result: Sourced, name: str, batch: Sequence[Request], now: datetime) -> None:
        landed = [request for request in batch if self.landing.has(name, request)]
        if not landed:
            return
        start, end = min(request.start for request in landed), max(request.end for request in landed)
        answer = self.landing.take(name, landed)
        report = store_answer(self.lake, answer, start, end, calendar=self.calendar, now=now, contract=self.contract)
        result.reports.append(report)
        self._record_stored(name, [request.symbol for request in landed], start, end, now)
        self.landing.clear(name, landed)

    # -- progress -----------------------------------------------------------------------------------------------------

    def _progress_known(self, vendor: str, symbols: Sequence[str]) -> bool:
        with self.ledger.read() as connection:
            return {one.symbol for one in loading.read(connection, vendor)}.issuperset(symbols)

    def _record_stored(self, vendor: str, symbols: Sequence[str], start: date, end: date, now: datetime) -> None:
        rows = self.lake.read(
            "raw_prices", columns=["symbol", "session"], symbols=symbols,
            where=pl.col("vendor") == vendor, ordered=False,
        )  # fmt: skip
        spans = rows.group_by("symbol").agg(pl.col("session").max().alias("last"), pl.len().alias("count"))
        found = {symbol: (last, count) for symbol, last, count in spans.iter_rows()}
        stored = [
            loading.Progress(vendor, symbol, start, found[symbol][0], found[symbol][1], LoadState.STORED)
            if symbol in found
            else loading.Progress(vendor, symbol, start, end, 0, LoadState.NO_DATA, "no row in that range")
            for symbol in symbols
        ]
        with self.ledger.write() as connection:
            loading.record(connection, stored, now)

    def _stored(self, symbols: Sequence[str], start: date, end: date) -> bool:
        return not self.lake.read(
            "raw_prices", columns=["session"], symbols=symbols, start=start, end=end, ordered=False
        ).is_empty()


def _in_short(said: Sequence[str]) -> str:
    """The first of the vendors' answers, and how many there are."""
    more = f"; and {len(said) - _SAID} more: 'quant data progress' has each symbol's" if len(said) > _SAID else ""
    return ("; ".join(said[:_SAID]) or "nothing was asked for") + more
