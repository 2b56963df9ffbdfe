"""Column types that read the same from SQLite and PostgreSQL: exact decimals, UTC times, canonical JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator

MONEY_PLACES = 6
QUANTITY_PLACES = 8


def money(value: Decimal | float | int | str) -> Decimal:
    """An amount of the account's currency, exact to a millionth (half-even)."""
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-MONEY_PLACES), rounding=ROUND_HALF_EVEN)


def quantity(value: Decimal | float | int | str) -> Decimal:
    """A number of shares, contracts or coins, exact to 1e-8."""
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-QUANTITY_PLACES), rounding=ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """A decimal as text, in the one form that does not depend on how many zeros it came with."""
    return format(value.normalize(), "f")


class Scaled(TypeDecorator[Decimal]):
    """A decimal stored as an integer of 10^-places: exact arithmetic, and no float rounding on SQLite."""

    impl = BigInteger
    cache_ok = True

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def process_bind_param(self, value: Decimal | float | int | str | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        return int(Decimal(str(value)).scaleb(self.places).to_integral_value(ROUND_HALF_EVEN))

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-self.places)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time; naive values are refused, SQLite's lost time zone is restored."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value} has no time zone; the ledger stores UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal bytes, so they can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


class CanonicalJson(TypeDecorator[Any]):
    """A JSON value stored as canonical text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)
