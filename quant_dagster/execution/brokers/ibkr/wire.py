"""The broker's messages about orders and executions as frozen values, exact as they came over the wire.

Order status, executions and commissions are read from the raw fields: the libraries turn amounts into floats, drop an
execution whose time zone they do not know, and write statuses of their own over the broker's. The field positions are
those of server versions 157 to 178. Belongs here: reading. Does not: what a message means (``view``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quant_dagster.accounting.books import Side
from quant_dagster.errors import MalformedDataError

_UNSET = Decimal("1e300")
_UNSET_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class ContractFields:
    """What a message says of its contract."""

    con_id: int
    symbol: str
    security_type: str
    currency: str
    local_symbol: str


@dataclass(frozen=True)
class StatusMessage:
    """Message 3: where an order stands."""

    order_number: int
    client_id: int
    perm_id: int
    status: str
    filled: Decimal
    remaining: Decimal
    why_held: str


@dataclass(frozen=True)
class OrderMessage:
    """Messages 5 and 101: an order that works, or (``completed``) one that is over. The latter have no number."""

    order_number: int
    client_id: int
    perm_id: int
    reference: str
    account: str
    contract: ContractFields
    side: Side
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    group: str
    status: str
    completed: bool = False
    filled: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True)
class ExecutionMessage:
    """Message 11: one execution, or a correction of it. ``executed_at`` is None where the time cannot be read."""

    execution_id: str
    order_number: int
    client_id: int
    perm_id: int
    reference: str
    account: str
    contract: ContractFields
    exchange: str
    side: Side
    quantity: Decimal
    price: Decimal
    time: str
    executed_at: datetime | None
    liquidation: str
    cumulative_quantity: str
    average_price: str
    last_liquidity: str

    @property
    def key(self) -> str:
        """The execution without its correction."""
        return split_execution_id(self.execution_id)[0]

    @property
    def correction(self) -> int:
        """The number of the correction, 0 as first reported."""
        return split_execution_id(self.execution_id)[1]


@dataclass(frozen=True)
class CommissionMessage:
    """Message 59: what an execution cost; None where the broker has not made it out yet."""

    execution_id: str
    commission: Decimal | None
    currency: str


@dataclass(frozen=True)
class ErrorMessage:
    """Message 4. ``number`` is the order's or request's, -1 for none."""

    number: int
    code: int
    text: str


def split_execution_id(execution_id: str) -> tuple[str, int]:
    """``0000e0d5.6576fd38.01.02`` is the first correction (1) of execution ``0000e0d5.6576fd38.01``."""
    base, _, last = execution_id.rpartition(".")
    if not base or not last.isdigit():
        return execution_id, 0
    return base, max(int(last) - 1, 0)


def read_status(fields: Sequence[str]) -> StatusMessage:
    """Message 3 from its fields; `MalformedDataError` when it is none."""
    try:
        _, number, status, filled, remaining, _, perm_id, _, _, client_id, why_held, *_ = fields
        return StatusMessage(
            _number(number), _number(client_id), _number(perm_id), status, _decimal(filled), _decimal(remaining),
            why_held,
        )  # fmt: skip
    except (ValueError, InvalidOperation) as error:
        raise MalformedDataError(f"order status of the broker cannot be read: {list(fields)}") from error


def read_execution(fields: Sequence[str]) -> ExecutionMessage:
    """Message 11 from its fields; `MalformedDataError` when an execution cannot be made of it."""
    try:
        (_, _, number, con_id, symbol, security_type, _, _, _, _, _, currency, local_symbol, _, execution_id, time,
         account, exchange, side, quantity, price, perm_id, client_id, liquidation, cumulative, average, reference,
         *rest) = fields  # fmt: skip
        if not execution_id or side not in ("BOT", "SLD"):
            raise ValueError(f"execution id '{execution_id}', side '{side}'")
        return ExecutionMessage(
            execution_id=execution_id,
            order_number=_number(number),
            client_id=_number(client_id),
            perm_id=_number(perm_id),
            reference=reference,
            account=account,
            contract=ContractFields(_number(con_id), symbol, security_type, currency, local_symbol),
            exchange=exchange,
            side=Side.BUY if side == "BOT" else Side.SELL,
            quantity=_decimal(quantity),
            price=_decimal(price),
            time=time,
            executed_at=read_time(time),
            liquidation=liquidation,
            cumulative_quantity=cumulative,
            average_price=average,
            last_liquidity=rest[3] if len(rest) > 3 else "",
        )
    except (ValueError, InvalidOperation) as error:
        raise MalformedDataError(f"execution of the broker cannot be read: {error}: {list(fields)}") from error


def read_commission(fields: Sequence[str]) -> CommissionMessage:
    """Message 59 from its fields; `MalformedDataError` when it is none."""
    try:
        _, _, execution_id, commission, currency, *_ = fields
        amount = _decimal(commission) if commission else None
    except (ValueError, InvalidOperation) as error:
        raise MalformedDataError(f"commission of the broker cannot be read: {list(fields)}") from error
    return CommissionMessage(execution_id, None if amount is None or amount > _UNSET else amount, currency)


def read_error(fields: Sequence[str]) -> ErrorMessage:
    """Message 4 from its fields."""
    try:
        _, _, number, code, text, *_ = fields
        return ErrorMessage(int(number), int(code), text)
    except ValueError as error:
        raise MalformedDataError(f"message of the broker cannot be read: {list(fields)}") from error


def read_time(text: str) -> datetime | None:
    """``20230103 10:00:00 US/Eastern`` in UTC; None without a known time zone: an instant is never guessed."""
    day, _, rest = text.strip().partition(" ")
    clock, _, zone = rest.strip().partition(" ")
    if not zone and "-" in day:  # 20230103-15:00:00 is UTC
        (day, _, clock), zone = day.partition("-"), "UTC"
    try:
        return datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, ZoneInfoNotFoundError):
        return None


def contract_fields(contract: Any) -> ContractFields:
    """What the library's contract says."""
    return ContractFields(
        contract.conId, contract.symbol, contract.secType, contract.currency, contract.localSymbol or ""
    )


def read_order(number: int, contract: Any, order: Any, state: Any, *, completed: bool) -> OrderMessage:
    """Messages 5 and 101 from the library's objects."""
    limit = decimal_of(order.lmtPrice)
    return OrderMessage(
        order_number=number,
        client_id=order.clientId,
        perm_id=order.permId,
        reference=order.orderRef or "",
        account=order.account or "",
        contract=contract_fields(contract),
        side=Side.BUY if order.action == "BUY" else Side.SELL,
        quantity=decimal_of(order.totalQuantity) or Decimal(0),
        order_type=order.orderType,
        limit_price=limit if order.orderType in ("LMT", "STP LMT") else None,
        group=order.ocaGroup or "",
        status=state.status,
        completed=completed,
        filled=decimal_of(order.filledQuantity) if completed else None,
        reason=" ".join(part for part in (state.completedStatus, state.warningText) if part),
    )


def decimal_of(value: Any) -> Decimal | None:
    """A library's float as the decimal it was read from; None where it is unset."""
    if value is None or value == "":
        return None
    found = Decimal(str(value))
    if not found.is_finite() or abs(found) > _UNSET:
        return None
    return found.quantize(Decimal(1)) if found == found.to_integral_value() else found


def _number(text: str) -> int:
    # Executions of orders placed by hand carry an unset order number.
    found = int(text or 0)
    return 0 if found == _UNSET_NUMBER else found


def _decimal(text: str) -> Decimal:
    found = Decimal(text or "0")
    if not found.is_finite():
        raise ValueError(f"'{text}' is no amount")
    return found
