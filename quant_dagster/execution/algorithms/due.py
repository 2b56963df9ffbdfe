"""What is due of a parent order now: one entry for all algorithms.

Nothing here remembers anything. A slice that is due has the same number however often it is asked for, and its order
the same id, until that order is among the children; so a crash between asking and recording repeats nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import (
    Algorithm,
    ParentEvent,
    ParentEventKind,
    ParentOrder,
    ParentState,
    child_order_id,
)
from quant_dagster.execution.algorithms.progress import MarketView, Progress, Slice
from quant_dagster.execution.algorithms.schedules import least_shares, schedule, whole_lots
from quant_dagster.storage.types import plain

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
"""How long to wait after slices that ended without any fill: the first time, and at most. It doubles each time."""


def due(parent: ParentOrder, progress: Progress, now: datetime, market: MarketView) -> Slice | None:
    """The slice to make now; None: nothing is due.

    Never more than the parent's quantity less what is filled and what may still fill. Nothing is due of an order that
    is not working (paused, cancelled), before its start, and from its end on.

    TWAP, VWAP, Almgren-Chriss: one slice for each entry of the schedule, of what the schedule has reached by now less
    what is filled or open. So what earlier slices did not get, or a pause or an outage missed, is in the next one.
    The last entry takes whatever is left: its slice waits until no other is open (`superseded` says which to cancel),
    and what that one does not get is sliced again until the end.

    POV: ``participation`` of the market's volume since the start less what is filled or open, never above it, once
    that is worth ``least_slice_value`` or is all that is left. Nothing while the volume is unknown. What the market's
    volume did not reach by the end stays undone.

    Iceberg: ``display`` of the parent (at least ``least_slice_value``, at least a lot) whenever no slice is open.

    POV, iceberg and the last entry of a schedule wait after slices that ended without any fill, longer each time, so
    that a broker that refuses is not asked without end.

    Parameters
    ----------
    parent
        The order as the ledger has it.
    progress
        Its slices, all of them.
    now
        The market's time, UTC.
    market
        The session's hours; for POV the volume since ``starts_at``, too.

    Raises
    ------
    OrderError
        The parameters cannot be read, or there is no optimal trajectory.
    """
    if parent.state is not ParentState.WORKING or parent.starts_at is None or parent.ends_at is None:
        return None
    if not parent.starts_at <= now < parent.ends_at or parent.quantity <= progress.claimed:
        return None
    if parent.algorithm.is_scheduled:
        return _scheduled(parent, progress, now, market)
    if _must_wait(progress, now):
        return None
    parameters = Parameters.of(parent.algorithm, parent.parameters)
    price = market.last_price or parent.arrival_price or parent.decision_price
    least = least_shares(parameters.least_slice_value, price, parameters.lot)
    if parent.algorithm is Algorithm.POV:
        quantity = _participating(parent, progress, parameters, market.volume, least)
    else:
        quantity = _showing(parent, progress, parameters, least)
    return Slice(progress.last_number + 1, now, quantity) if quantity > 0 else None


def superseded(parent: ParentOrder, progress: Progress, now: datetime, market: MarketView) -> tuple[int, ...]:
    """Numbers of the open slices to cancel: a later one is due by the schedule, or the order is over.

    Cancelling them is the caller's; until it has happened their shares count as theirs. A paused order's slices stay
    as they are, and POV's and iceberg's until the end.
    """
    open_ones = tuple(child.number for child in progress.children if child.is_open)
    if parent.starts_at is None or parent.ends_at is None or not open_ones:
        return ()
    if now >= parent.ends_at or parent.state is ParentState.CANCELLED:
        return open_ones
    if parent.state is not ParentState.WORKING or not parent.algorithm.is_scheduled:
        return ()
    reached = [one.number for one in schedule(parent, market.opens_at, market.closes_at) if one.at <= now]
    return tuple(number for number in open_ones if number < reached[-1]) if reached else ()


def finished(parent: ParentOrder, progress: Progress, now: datetime) -> ParentEvent | None:
    """The event that ends a parent order: filled whole, or its time is over and nothing is open; None: not yet."""
    if parent.state not in (ParentState.WORKING, ParentState.PAUSED) or parent.ends_at is None:
        return None
    payload = {"filled": plain(progress.filled), "quantity": plain(parent.quantity)}
    if progress.filled >= parent.quantity:
        return ParentEvent(parent.parent_id, ParentEventKind.COMPLETED, payload)
    if now >= parent.ends_at and not progress.has_open:
        return ParentEvent(parent.parent_id, ParentEventKind.ENDED, payload)
    return None


def started(parent: ParentOrder, market: MarketView, now: datetime) -> ParentEvent | None:
    """The event that starts an approved order: from the open, or now, for its ``minutes`` or until the close.

    None: the session is over, or not open yet, or the order is not waiting.
    """
    if parent.state is not ParentState.APPROVED or not market.opens_at <= now < market.closes_at:
        return None
    minutes = Parameters.of(parent.algorithm, parent.parameters).minutes
    payload = {
        "starts_at": now.isoformat(),
        "ends_at": min(now + timedelta(minutes=minutes), market.closes_at).isoformat(),
        "arrival_price": None if market.last_price is None else plain(market.last_price),
    }
    return ParentEvent(parent.parent_id, ParentEventKind.STARTED, payload)


def sliced(parent: ParentOrder, progress: Progress, one: Slice) -> ParentEvent:
    """The event to record, in one transaction with the slice's order, before that order is sent."""
    payload = {
        "number": one.number,
        "client_order_id": child_order_id(parent, one.number),
        "quantity": plain(one.quantity),
        "claimed": plain(progress.claimed),
    }
    return ParentEvent(parent.parent_id, ParentEventKind.SLICED, payload)


def _scheduled(parent: ParentOrder, progress: Progress, now: datetime, market: MarketView) -> Slice | None:
    slices = schedule(parent, market.opens_at, market.closes_at)
    reached = [one for one in slices if one.at <= now]
    if not reached:
        return None
    newest = reached[-1]
    number, at = newest.number, newest.at
    if newest is slices[-1]:
        if progress.has_open or (number <= progress.last_number and _must_wait(progress, now)):
            return None
        if number <= progress.last_number:
            number, at = progress.last_number + 1, now
    elif number <= progress.last_number:
        return None
    quantity = sum((one.quantity for one in reached), Decimal(0)) - progress.claimed
    return Slice(number, at, quantity) if quantity > 0 else None


def _participating(
    parent: ParentOrder, progress: Progress, parameters: Parameters, volume: Decimal | None, least: Decimal
) -> Decimal:
    if volume is None or parameters.participation is None:
        return Decimal(0)
    share = parameters.participation * volume
    target = parent.quantity if share >= parent.quantity else whole_lots(share, parameters.lot)
    wanted = target - progress.claimed
    # The last piece may be of any size.
    return wanted if wanted >= min(least, parent.quantity - progress.claimed) else Decimal(0)


def _showing(parent: ParentOrder, progress: Progress, parameters: Parameters, least: Decimal) -> Decimal:
    if progress.has_open or parameters.display is None:
        return Decimal(0)
    shown = max(whole_lots(parameters.display * parent.quantity, parameters.lot), least)
    return min(shown, parent.quantity - progress.claimed)


def _must_wait(progress: Progress, now: datetime) -> bool:
    times = progress.fruitless
    if times == 0:
        return False
    wait: timedelta = min(FIRST_WAIT * (1 << min(times - 1, 16)), LONGEST_WAIT)
    return now < progress.children[-1].created_at + wait
