"""Which vendor serves an asset class: the best well one, and back to the better one after a quiet period.

Every change is a row of ledger table ``vendor_switches`` with its reason; the newest one of an asset class is in force.
Nothing is switched for want of evidence: a vendor that was never asked counts as well, one whose breaker cannot be
read counts as failing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, func, select

from quant_dagster.observability import audit
from quant_dagster.resilience.breaker_state import BreakerState, BreakerStatus
from quant_dagster.resilience.health import Health
from quant_dagster.resilience.outcomes import ANSWERED_WITHOUT_DATA, Outcome
from quant_dagster.settings import FailoverSettings
from quant_dagster.storage.ledger_tables import service_observations, vendor_switches

GUARD_PREFIX = "vendor:"
AUTOMATIC = "failover"
"""Actor of the changes that no person made."""
ANSWERED = (Outcome.OK.value, *(outcome.value for outcome in ANSWERED_WITHOUT_DATA))
FEWEST_OBSERVATIONS = 3


@dataclass(frozen=True)
class Switch:
    """One change of vendor, as recorded."""

    sequence: int
    asset_class: str
    vendor: str
    previous: str | None
    actor: str
    reason: str
    sessions: tuple[date, ...]
    recorded_at: datetime


@dataclass(frozen=True)
class VendorState:
    """What is known of a vendor.

    Attributes
    ----------
    well, why
        Whether it can be relied on, and what speaks against it.
    well_since
        When it first answered after its last failure; None: it has not, or nothing is known of it.
    """

    name: str
    well: bool
    why: str
    health: Health | None
    breaker: BreakerState | None
    well_since: datetime | None = None


def order(connection: Connection, asset_class: str, vendors: Sequence[str]) -> list[str]:
    """The vendors in the order in which they are asked now: the active one first, those left behind it last."""
    active = active_vendor(connection, asset_class, vendors)
    if active is None:
        return list(vendors)
    position = list(vendors).index(active)
    return [*vendors[position:], *vendors[:position]]


def active_vendor(connection: Connection, asset_class: str, vendors: Sequence[str]) -> str | None:
    """The vendor the newest switch names, if it is still among ``vendors``; else the first of them."""
    newest = latest_switch(connection, asset_class)
    if newest is not None and newest.vendor in vendors:
        return newest.vendor
    return vendors[0] if vendors else None


def latest_switch(connection: Connection, asset_class: str) -> Switch | None:
    """The newest switch of an asset class."""
    found = switches(connection, asset_class, limit=1)
    return found[0] if found else None


def switches(connection: Connection, asset_class: str | None = None, limit: int = 50) -> list[Switch]:
    """Switches, newest first."""
    query = select(vendor_switches).order_by(vendor_switches.c.sequence.desc()).limit(limit)
    if asset_class is not None:
        query = query.where(vendor_switches.c.asset_class == asset_class)
    return [
        Switch(
            row.sequence, row.asset_class, row.vendor, row.previous, row.actor, row.reason,
            tuple(date.fromisoformat(day) for day in row.sessions), row.recorded_at,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def vendor_states(
    vendors: Sequence[str],
    health: Mapping[str, Health],
    breakers: Mapping[str, BreakerState],
    settings: FailoverSettings,
    since: Mapping[str, datetime],
    now: datetime,
) -> list[VendorState]:
    """Judge each vendor by its breaker and its health score; the mappings are by the guards' names.

    ``since`` is when each first answered after its last failure (`answering_since`).
    """
    states = []
    for vendor in vendors:
        name = GUARD_PREFIX + vendor
        one, breaker = health.get(name), breakers.get(name)
        why = ""
        if breaker is not None and breaker.status is not BreakerStatus.CLOSED:
            why = f"its circuit breaker {breaker.explanation()}"
        elif one is not None and _unhealthy(one, settings) and not _recovered(one, since.get(name), settings, now):
            why = f"its health score is {one.score:.2f}, below {settings.minimum_health:g}: {one.detail}"
        states.append(VendorState(vendor, not why, why, one, breaker, since.get(name)))
    return states


def _unhealthy(one: Health, settings: FailoverSettings) -> bool:
    return one.observations >= FEWEST_OBSERVATIONS and one.score < settings.minimum_health


def _recovered(one: Health, since: datetime | None, settings: FailoverSettings, now: datetime) -> bool:
    """Its score is low for old failures alone: it has answered, and fast enough, for the quiet period."""
    if since is None or one.error_rate >= 1.0 or now - since < timedelta(minutes=settings.quiet_minutes):
        return False
    return one.score / (1.0 - one.error_rate) >= settings.minimum_health


def answering_since(connection: Connection, names: Sequence[str]) -> dict[str, datetime]:
    """When each guarded service first brought data after its last failure, of the observations that are kept."""
    table, found = service_observations, {}
    for name in names:
        mine = table.c.name == name
        failed = select(func.max(table.c.sequence)).where(mine, table.c.outcome.not_in([*ANSWERED]))
        last_failure = connection.execute(failed).scalar() or 0
        well = select(func.min(table.c.recorded_at)).where(
            mine, table.c.outcome == Outcome.OK.value, table.c.sequence > last_failure
        )
        first = connection.execute(well).scalar()
        if first is not None:
            found[name] = first
    return found


def choose_vendor(
    active: str, states: Sequence[VendorState], settings: FailoverSettings, now: datetime, *, by_hand: bool = False
) -> tuple[str, str] | None:
    """The vendor to change to and why; None to stay.

    Parameters
    ----------
    states
        In priority order.
    by_hand
        A person put the active vendor in force: it is left when it fails, but not for a better one.
    """
    by_name = {state.name: state for state in states}
    position = [state.name for state in states].index(active)
    for better in [] if by_hand else states[:position]:
        if better.well and _quiet(better, settings, now):
            return better.name, f"{better.name} has been well for {settings.quiet_minutes:g} minutes"
    if by_name[active].well:
        return None
    for other in [*states[position + 1 :], *states[:position]]:
        if other.well and (other in states[position + 1 :] or _quiet(other, settings, now)):
            return other.name, by_name[active].why
    # Nobody is well: one that answers at least is better than one that is not even asked.
    if _is_open(by_name[active]):
        answering = [state for state in states if state.well_since is not None and not _is_open(state)]
        if answering:
            best = max(answering, key=lambda state: state.health.score if state.health else 1.0)
            return best.name, f"{by_name[active].why}; no vendor is well, but {best.name} answers"
    return None


def _is_open(state: VendorState) -> bool:
    return state.breaker is not None and state.breaker.status is not BreakerStatus.CLOSED


def record_switch(
    connection: Connection,
    asset_class: str,
    vendor: str,
    previous: str | None,
    *,
    actor: str,
    reason: str,
    sessions: Sequence[date],
    at: datetime,
) -> Switch:
    """Write a switch and its audit row; repeating the one in force changes nothing."""
    newest = latest_switch(connection, asset_class)
    if newest is not None and newest.vendor == vendor:
        return newest
    sequence = (connection.execute(select(func.max(vendor_switches.c.sequence))).scalar() or 0) + 1
    days = [day.isoformat() for day in sessions]
    connection.execute(
        vendor_switches.insert().values(
            sequence=sequence, asset_class=asset_class, vendor=vendor, previous=previous, actor=actor, reason=reason,
            sessions=days, recorded_at=at,
        )
    )  # fmt: skip
    payload = {"asset_class": asset_class, "vendor": vendor, "previous": previous, "reason": reason, "sessions": days}
    audit.append(connection, f"vendor_switch:{sequence}", "vendor_switch", actor=actor, at=at, payload=payload)
    return Switch(sequence, asset_class, vendor, previous, actor, reason, tuple(sessions), at)


def _quiet(state: VendorState, settings: FailoverSettings, now: datetime) -> bool:
    """It has answered without a failure for the quiet period."""
    return state.well_since is not None and now - state.well_since >= timedelta(minutes=settings.quiet_minutes)
