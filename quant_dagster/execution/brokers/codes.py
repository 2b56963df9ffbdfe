"""What a broker's message code can mean for us; each broker has its own table of codes (``codes`` in its folder)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What to do about a message."""

    RETRY = "retry"
    """The broker could not do it now: the same may be asked again later."""
    REJECT = "reject"
    """What was asked is refused as it is. A new order that the broker does not list afterwards is rejected."""
    IGNORE = "ignore"
    """Information, or a warning about an order that works on."""
    RECONCILE = "reconcile"
    """What it means for the order is not known from the code: ask for open orders, completed orders, executions."""
    HALT = "halt"
    """Nothing more can be traded until a person has changed something."""


@dataclass(frozen=True)
class Code:
    """A message code: ``told`` says whether a person should hear of it even when nothing is done about it."""

    number: int
    answer: Answer
    meaning: str
    told: bool = True
