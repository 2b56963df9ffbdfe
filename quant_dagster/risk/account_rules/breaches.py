"""What a rule says when it bites: the breach, and what is to follow from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from quant_dagster.storage.types import canonical_json


class Until(StrEnum):
    """What ends a lockout."""

    RESET = "reset"
    """The next daily reset."""
    CONDITION = "condition"
    """The condition clears: the same rule releases it."""


@dataclass(frozen=True)
class Lockout:
    """Nothing new is opened: in ``symbol``, or in the whole account if None."""

    symbol: str | None
    until: Until


@dataclass(frozen=True)
class Cooldown:
    """Nothing new is opened in the account before ``until``."""

    until: datetime


class ActionKind(StrEnum):
    """What an account rule may ask for."""

    CLOSE_ALL = "close_all"
    CLOSE_SYMBOL = "close_symbol"
    REDUCE_TO = "reduce_to"
    PLACE_STOP = "place_stop"
    MOVE_STOP = "move_stop"
    CANCEL_ORDERS = "cancel_orders"


@dataclass(frozen=True)
class ActionRequest:
    """What the rule asks for.

    ``symbol`` None is everything. ``quantity`` is the signed position to be left with (``reduce_to``), or the shares a
    stop is to cover; ``price`` is that of the stop, which takes the place of any other of the symbol. ``opened_at`` is
    when the newest position to be closed was opened: who opens one again while the rule still bites is closed again.
    """

    kind: ActionKind
    symbol: str | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    opened_at: datetime | None = None


Consequence = Lockout | Cooldown | ActionRequest


@dataclass(frozen=True)
class Breach:
    """A rule that bites.

    Attributes
    ----------
    rule
        Name of the rule, which is its reason code.
    symbol
        What it is about; None: the account.
    value, limit
        What was measured and what it was held against.
    reason
        One sentence with the numbers.
    began
        When the rule began to bite without a pause. While it bites it is said again at every event, so that a request
        that was lost is made again.
    consequences
        Lockouts and cooldowns (which `AccountRules.handle` has written) and requests (which are the caller's to do).
    """

    rule: str
    symbol: str | None
    value: Decimal | None
    limit: Decimal | None
    reason: str
    began: datetime
    consequences: tuple[Consequence, ...]

    @property
    def requests(self) -> tuple[ActionRequest, ...]:
        """The consequences that somebody has to carry out, in order."""
        return tuple(item for item in self.consequences if isinstance(item, ActionRequest))

    @property
    def trigger(self) -> str:
        """Names the episode: equal for as long as the rule bites without a pause."""
        return f"{self.rule}:{self.symbol or '*'}:{self.began.isoformat()}"

    def action_id(self, request: ActionRequest) -> str:
        """Idempotency key (64 hex digits) of a request: equal for the same request of the same episode.

        A stop is moved whenever a better price is asked for, but placed once, whatever the price does meanwhile.
        """
        price = request.price if request.kind is ActionKind.MOVE_STOP else None
        content = [self.trigger, request.kind, request.symbol, request.quantity, price, request.opened_at]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()
