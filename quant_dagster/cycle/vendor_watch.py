"""Watching the vendors: leave one that fails, go back to a better one that is well, say which sessions need care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.errors import DataUnavailableError, VendorError
from quant_dagster.market_data import failover
from quant_dagster.market_data.failover import AUTOMATIC, GUARD_PREFIX, Switch, VendorState
from quant_dagster.observability.logs import get_logger
from quant_dagster.resilience.breaker_state import breaker_states
from quant_dagster.resilience.health import health

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

log = get_logger("quant_dagster.vendors")
_QUALITY_SESSIONS = 20
_PROBE_SESSIONS = 5


@dataclass(frozen=True)
class Watch:
    """What a look at the vendors found.

    Attributes
    ----------
    states
        Every vendor, in priority order.
    active
        The vendor in force after the look.
    switch
        The change made now, if any.
    incomplete
        Newest sessions in which a symbol that should be traded has no bar.
    """

    states: tuple[VendorState, ...]
    active: str
    switch: Switch | None
    incomplete: tuple[date, ...]


def watch_vendors(context: TradingContext, *, probe: bool = True, actor: str = AUTOMATIC) -> Watch:
    """Judge the vendors and change the active one where that is called for.

    Parameters
    ----------
    probe
        Send the better ones than the active, and the others if it is not well, a small request where their breaker
        lets it through: nothing else would tell how they are.
    """
    context.ledger.upgrade()
    names, asset_class = [vendor.name for vendor in context.vendors], context.universe.asset_class
    settings = context.settings.market_data.failover
    with context.ledger.read() as connection:
        active = failover.active_vendor(connection, asset_class, names) or names[0]
        newest = failover.latest_switch(connection, asset_class)
    by_hand = newest is not None and newest.vendor == active and newest.actor != AUTOMATIC
    if probe:
        for name in names[: names.index(active)]:
            _probe(context, name)
    states = vendor_states(context)
    if probe and not next(state.well for state in states if state.name == active):
        for name in names[names.index(active) + 1 :]:
            _probe(context, name)
        states = vendor_states(context)
    now = context.now()
    incomplete = incomplete_sessions(context)
    choice = failover.choose_vendor(active, states, settings, now, by_hand=by_hand)
    switch = None
    if choice is not None:
        vendor, reason = choice
        with context.ledger.write() as connection:
            current = failover.active_vendor(connection, asset_class, names)
            if current == active:  # nobody else was faster
                switch = failover.record_switch(
                    connection, asset_class, vendor, active, actor=actor, reason=reason, sessions=incomplete, at=now
                )
                active = vendor
    return Watch(tuple(states), active, switch, tuple(incomplete))


def incomplete_sessions(context: TradingContext) -> list[date]:
    """Of the newest sessions, those in which a symbol that should be traded has no bar; oldest first."""
    last = context.calendar.latest_completed(context.now())
    count = context.settings.market_data.failover.sessions
    sessions = _last_sessions(context, last, count)
    bars = context.lake.read("bars", columns=["symbol", "session"], start=sessions[0], end=last, ordered=False)
    there = {day: set(group["symbol"]) for (day,), group in bars.group_by("session")}
    return [day for day in sessions if set(context.symbols_on(day)) - there.get(day, set())]


def vendor_states(context: TradingContext) -> list[VendorState]:
    """Every vendor of the universe, judged, in priority order."""
    names = [vendor.name for vendor in context.vendors]
    remote = [vendor.name for vendor in context.vendors if vendor.capabilities.remote]
    guarded = [GUARD_PREFIX + name for name in remote]
    settings = context.settings.market_data.failover
    healths = health(context.ledger, guarded, settings, _quality(context, remote))
    breakers = {state.name: state for state in breaker_states(context.ledger)}
    with context.ledger.read() as connection:
        since = failover.answering_since(connection, guarded)
    return failover.vendor_states(names, healths, breakers, settings, since, context.now())


def _quality(context: TradingContext, names: Sequence[str]) -> dict[str, float]:
    """Mean quality score of each vendor's bars over the newest sessions, by its guard's name."""
    last = context.calendar.latest_completed(context.now())
    start = _last_sessions(context, last, _QUALITY_SESSIONS)[0]
    key = ["symbol", "session"]
    bars = context.lake.read("bars", columns=[*key, "vendor"], start=start, end=last, ordered=False)
    scores = context.lake.read("quality", columns=[*key, "score"], start=start, end=last, ordered=False)
    means = bars.join(scores, on=key).group_by("vendor").agg(pl.col("score").mean())
    return {GUARD_PREFIX + vendor: score for vendor, score in means.iter_rows() if vendor in names}


def _probe(context: TradingContext, name: str) -> None:
    """One small request; how it went is in the vendor's observations and its breaker."""
    vendor = next(vendor for vendor in context.vendors if vendor.name == name)
    if not vendor.capabilities.remote:
        return
    last = context.calendar.latest_completed(context.now())
    first = _last_sessions(context, last, _PROBE_SESSIONS)[0]
    symbol = context.symbols[0]
    try:
        context.guards[name].call("probe", lambda: vendor.daily_bars([symbol], first, last))
    except (VendorError, DataUnavailableError) as error:
        log.info("probe failed", vendor=name, error=str(error))


def _last_sessions(context: TradingContext, last: date, count: int) -> list[date]:
    return context.calendar.session_dates(last - timedelta(days=2 * count + 14), last)[-count:]
