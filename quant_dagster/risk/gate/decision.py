"""What goes into the gate and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from quant_dagster.accounting.books import Side


class Origin(StrEnum):
    """Who made an order."""

    STRATEGY = "strategy"
    ALGORITHM = "algorithm"
    ACTION = "action"
    COMMAND = "command"


class Outcome(StrEnum):
    """The gate's verdict on an order."""

    APPROVED = "approved"
    SCALED = "scaled"
    REJECTED = "rejected"


class Verdict(StrEnum):
    """What one check said."""

    PASSED = "passed"
    SCALED = "scaled"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"
    EXEMPT = "exempt"
    """Over its limit, but the order shrinks the position."""


class Check(NamedTuple):
    """One check: its reason code, what was measured for the whole order, and the limit it was held against."""

    code: str
    verdict: Verdict
    value: float | None
    limit: float | None


@dataclass(frozen=True)
class OrderIntent:
    """What a strategy, an algorithm, an automatic action or a person would like to do.

    ``decision_id`` is None when nobody decided on the symbol. A ``reduce_only`` order may only close what is held;
    with a ``stop_price`` it waits at the venue until the price gets there.
    """

    client_order_id: str
    decision_id: str | None
    strategy: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    decision_price: Decimal
    origin: Origin = Origin.STRATEGY
    reduce_only: bool = False
    stop_price: Decimal | None = None


@dataclass(frozen=True)
class RiskDecision:
    """The gate's immutable answer; the only thing an order can be made from.

    ``reduce_only`` is True when what was approved only closes what is held: the venue must not fill more of it.
    """

    intent: OrderIntent
    outcome: Outcome
    approved_quantity: Decimal
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    reduce_only: bool


@dataclass(frozen=True)
class MarketFacts:
    """What the gate knows of a symbol at the decision: prices in currency, volumes in shares; None is unknown.

    ``instrument_problem`` is why new exposure to the instrument cannot be taken, None if it can. ``counterparty`` is
    the broker or venue where the position is held.
    """

    price: float
    price_session: date
    previous_price: float | None
    average_volume: float | None
    sector: str
    lot_size: int = 1
    tick_size: Decimal = Decimal("0.01")
    instrument_problem: str | None = None
    counterparty: str = "broker"
