"""A difference between the ledger and the broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any


class BreakKind(StrEnum):
    """What does not agree."""

    ORDER = "order"
    FILL = "fill"
    POSITION = "position"
    CASH = "cash"
    COMMISSION = "commission"


class BreakState(StrEnum):
    """How far a break has come."""

    OPEN = "open"
    AGREED = "agreed"
    """It was gone when the two were compared again."""
    BALANCED = "balanced"
    """A person entered what was missing."""
    ACCEPTED = "accepted"
    """A person knows why, and that it stays."""


NOTHING = "-"
"""Said of a side that has no such thing."""


@dataclass(frozen=True)
class Break:
    """One thing that does not agree.

    Attributes
    ----------
    reference
        Order or execution id, symbol, or currency: with ``kind``, what the same break is known by in every run.
    ours, theirs
        What each side says, in words short enough to be read side by side.
    terms
        What an entry that balances it needs to know; kept in the audit log.
    """

    kind: BreakKind
    reference: str
    symbol: str | None
    ours: str
    theirs: str
    detail: str
    terms: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.kind.value, self.reference

    @property
    def locks(self) -> bool:
        """Must its instrument not be traded? What was paid for a trade does not change what is held."""
        return self.symbol is not None and self.kind is not BreakKind.COMMISSION

    @property
    def pauses(self) -> bool:
        """Must nothing be traded? Money that nobody can explain belongs to no instrument."""
        return self.kind is BreakKind.CASH


def gap(ours: str, theirs: str) -> Decimal | tuple[str, str]:
    """What is between two sides: a number where both say one, so that it is the same when both have moved on."""
    try:
        return Decimal(theirs) - Decimal(ours)
    except InvalidOperation:
        return ours, theirs
