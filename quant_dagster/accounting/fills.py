"""What a trade is: one execution as the broker reported it, and its row in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.storage.ledger_tables import fills
from quant_dagster.storage.types import money

ZERO = Decimal(0)
CHUNK = 500
"""Values in one ``IN`` list: below what any database refuses."""
COMMISSION_CURRENCY = "commission_currency"
"""Key in a fill's provenance, where its commission is in another currency than its price."""
_UNKNOWN_TIME = datetime.min.replace(tzinfo=UTC)

Place = tuple[date, datetime, str, int]


class Side(StrEnum):
    """Direction of an order or a fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


@dataclass(frozen=True)
class Fill:
    """One execution as the broker reported it.

    ``price`` and the two reference prices are per share, in ``currency`` (None: the account's). ``decision_price`` is
    the close the decision was made on, ``reference_price`` the bar's price before slippage. ``provenance`` says which
    bar it was filled against and how. ``correction`` counts the broker's corrections of it; a corrected ``quantity`` of
    0 takes it back. ``commission`` is 0 until the broker has said it.
    """

    execution_id: str
    client_order_id: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    decision_price: Decimal
    reference_price: Decimal
    provenance: dict[str, Any]
    correction: int = 0
    executed_at: datetime | None = None
    currency: str | None = None

    @property
    def signed_quantity(self) -> Decimal:
        return self.quantity * self.side.sign

    @property
    def commission_currency(self) -> str | None:
        """Of ``commission``; None is the account's."""
        said: str | None = self.provenance.get(COMMISSION_CURRENCY, self.currency)
        return said

    def place(self, sequence: int) -> Place:
        """Where it stands among a symbol's fills: by time, and in the order booked where the venue tells no time.

        By time, so that the books do not depend on the order in which reports arrive.
        """
        if self.executed_at is None:
            return self.session, _UNKNOWN_TIME, "", sequence
        return self.session, self.executed_at, self.execution_id, sequence


def fills_of(connection: Connection, symbol: str | None = None) -> list[Fill]:
    """Booked fills in the order they happened (`Fill.place`)."""
    query = select(fills).order_by(fills.c.sequence)
    if symbol is not None:
        query = query.where(fills.c.symbol == symbol)
    placed = [(fill_of(row), row["sequence"]) for row in connection.execute(query).mappings()]
    return [fill for fill, sequence in sorted(placed, key=lambda one: one[0].place(one[1]))]


def booked(connection: Connection, execution_ids: Sequence[str]) -> dict[str, Fill]:
    """Those of these executions that are in the books, by id."""
    found: dict[str, Fill] = {}
    wanted = list(dict.fromkeys(execution_ids))
    for first in range(0, len(wanted), CHUNK):
        query = select(fills).where(fills.c.execution_id.in_(wanted[first : first + CHUNK]))
        found |= {row["execution_id"]: fill_of(row) for row in connection.execute(query).mappings()}
    return found


def rounded(fill: Fill) -> Fill:
    """With money and time as the ledger keeps them."""
    return replace(
        fill,
        executed_at=None if fill.executed_at is None else fill.executed_at.astimezone(UTC),
        price=money(fill.price),
        commission=money(fill.commission),
        decision_price=money(fill.decision_price),
        reference_price=money(fill.reference_price),
    )


def row_of(fill: Fill) -> dict[str, Any]:
    """The ledger's row of a rounded fill, but for ``sequence`` and ``recorded_at``."""
    return {name: getattr(fill, name) for name in _NAMES} | {"side": fill.side.value}


def fill_of(row: Any) -> Fill:
    """The fill in a row of the ledger."""
    return Fill(**{name: row[name] for name in _NAMES} | {"side": Side(row["side"])})


_NAMES = tuple(Fill.__dataclass_fields__)
