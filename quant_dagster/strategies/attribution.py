"""How much of the account's profit or loss each alpha's positions earned, to the last cent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

ZERO = Decimal(0)
UNATTRIBUTED = "unattributed"


@dataclass(frozen=True)
class Decided:
    """What a decision said about a symbol: who spoke, and what is to be held."""

    session: date
    symbol: str
    alpha: str | None
    target_quantity: Decimal


@dataclass(frozen=True)
class Standing:
    """A symbol at a session's close: quantity, and everything it has earned so far less commission."""

    session: date
    symbol: str
    quantity: Decimal
    earned: Decimal


@dataclass(frozen=True)
class Contribution:
    """One alpha over a range of sessions: profit or loss, sessions times symbols it held, symbols."""

    alpha: str
    pnl: Decimal
    position_sessions: int
    symbols: int


def attribute(decisions: Iterable[Decided], standings: Iterable[Standing]) -> list[Contribution]:
    """Each alpha's share of the profit and loss between the snapshots, the largest first; the shares add up to it.

    What a symbol earns from one snapshot to the next belongs to the alpha of the newest decision before that session
    which wanted a position. It stays the owner while the position is closed: an exit costs whom the entry served. A
    position nobody asked for, such as one from before the first decision, is ``unattributed``.
    """
    wanted: dict[str, list[Decided]] = {}
    for decision in sorted(decisions, key=lambda one: (one.symbol, one.session)):
        if decision.alpha is not None and decision.target_quantity:
            wanted.setdefault(decision.symbol, []).append(decision)
    pnl: dict[str, Decimal] = {}
    held: dict[str, int] = {}
    symbols: dict[str, set[str]] = {}
    before: dict[str, Standing] = {}
    for now in sorted(standings, key=lambda one: (one.symbol, one.session)):
        earlier = before.get(now.symbol)
        change = now.earned - (earlier.earned if earlier else ZERO)
        before[now.symbol] = now
        if not change and not now.quantity:
            continue
        owner = _owner(wanted.get(now.symbol, []), now.session)
        pnl[owner] = pnl.get(owner, ZERO) + change
        held[owner] = held.get(owner, 0) + bool(now.quantity)
        symbols.setdefault(owner, set()).add(now.symbol)
    contributions = [Contribution(alpha, pnl[alpha], held[alpha], len(symbols[alpha])) for alpha in pnl]
    return sorted(contributions, key=lambda one: (-one.pnl, one.alpha))


def shares(contributions: Iterable[Contribution]) -> Mapping[str, float]:
    """Each alpha's part of the sum of absolute contributions, signed; 0 for all where nothing was earned or lost."""
    listed = list(contributions)
    total = sum((abs(one.pnl) for one in listed), ZERO)
    return {one.alpha: float(one.pnl / total) if total else 0.0 for one in listed}


def _owner(wanted: list[Decided], session: date) -> str:
    owners = [decision.alpha for decision in wanted if decision.session < session]
    return owners[-1] or UNATTRIBUTED if owners else UNATTRIBUTED
