"""Two accounts of the same account, compared. Pure: no ledger, no broker, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from quant_dagster.accounting.books import ZERO, Fill
from quant_dagster.execution.broker import BrokerAccount, BrokerOrder, Execution
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.execution.reconciliation.breaks import NOTHING, Break, BreakKind
from quant_dagster.storage.types import money

_LONGEST = 80
_MOST_PAYMENTS = 10
"""Announced payments whose combinations are tried: 2^10 sums."""


@dataclass(frozen=True)
class Ours:
    """What the ledger says.

    Attributes
    ----------
    orders
        Every order that is not final.
    fills
        Every booked fill, by execution id.
    positions, cash
        Signed shares by symbol; cash by currency code.
    unpaid
        Dividends booked on their ex-date that the broker may not have paid yet: (currency, amount).
    """

    orders: Sequence[Order]
    fills: Mapping[str, Fill]
    positions: Mapping[str, Decimal]
    cash: Mapping[str, Decimal]
    unpaid: Sequence[tuple[str, Decimal]] = ()


@dataclass(frozen=True)
class Theirs:
    """What the broker says; ``since`` is the first session of which it tells every execution (None: of all)."""

    orders: Sequence[BrokerOrder]
    executions: Sequence[Execution]
    account: BrokerAccount
    since: date | None = None


@dataclass(frozen=True)
class Comparison:
    """What did not agree, and how many of each kind were compared."""

    breaks: tuple[Break, ...]
    compared: dict[str, int] = field(default_factory=dict)


def compare(ours: Ours, theirs: Theirs, *, cash_tolerance: Decimal = ZERO) -> Comparison:
    """Every difference, in a fixed order.

    Parameters
    ----------
    cash_tolerance
        Difference that is none, in units of each currency.
    """
    latest = _latest(theirs.executions)
    orders = list(_orders(ours, theirs))
    fills = list(_fills(ours, latest, theirs.since, theirs.account.currency))
    symbols = sorted(set(ours.positions) | set(theirs.account.positions))
    positions = list(_positions(ours, theirs, symbols))
    # A broker that names no currency at all has not said what cash there is.
    currencies = sorted(set(ours.cash) | set(theirs.account.cash)) if theirs.account.cash else []
    cash = list(_cash(ours, theirs, currencies, cash_tolerance))
    return Comparison(
        (*orders, *fills, *positions, *cash),
        {
            "orders": len(theirs.orders),
            "fills": len(latest),
            "positions": len(symbols),
            "cash": len(currencies),
            "commissions": sum(one.commission is not None for one in latest.values()),
        },
    )


def _latest(executions: Sequence[Execution]) -> dict[str, Execution]:
    """Each execution as it was last corrected; of two reports of it, the one that says the commission."""
    found: dict[str, Execution] = {}
    for one in executions:
        known = found.get(one.execution_id)
        if known is None or (one.correction, one.commission is not None) >= (
            known.correction,
            known.commission is not None,
        ):
            found[one.execution_id] = one
    return found


def _orders(ours: Ours, theirs: Theirs) -> Iterator[Break]:
    there = {one.client_order_id: one for one in theirs.orders if one.client_order_id}
    here = {order.client_order_id: order for order in ours.orders}
    for order in sorted(ours.orders, key=lambda one: one.client_order_id):
        said = there.get(order.client_order_id)
        if order.status in (OrderStatus.APPROVED, OrderStatus.SUBMITTING) and said is None:
            continue  # not sent, or on its way: the desk finds out
        text = _words(order.side, order.quantity, order.filled_quantity)
        if said is None:
            detail = f"order {order.client_order_id} is {order.status} in the ledger and does not work at the broker"
            yield Break(BreakKind.ORDER, order.client_order_id, order.symbol, text, NOTHING, detail)
            continue
        changing = order.status is OrderStatus.PENDING_REPLACE
        quantity = order.quantity if changing else said.quantity
        same = (order.symbol, order.side, order.quantity, order.filled_quantity) == (
            said.symbol,
            said.side,
            quantity,
            said.filled_quantity,
        )
        if not same:
            detail = f"order {order.client_order_id} is not the same at the broker ({said.symbol})"
            told = _words(said.side, said.quantity, said.filled_quantity)
            yield Break(BreakKind.ORDER, order.client_order_id, order.symbol, text, told, detail)
    for one in sorted(theirs.orders, key=lambda one: (one.client_order_id, one.broker_order_id)):
        if one.client_order_id not in here:
            reference = one.client_order_id or one.broker_order_id
            detail = f"order {one.broker_order_id or reference} works at the broker and is not open in the ledger"
            told = _words(one.side, one.quantity, one.filled_quantity)
            yield Break(BreakKind.ORDER, reference, one.symbol, NOTHING, told, detail)


def _words(side: object, quantity: Decimal, filled: Decimal) -> str:
    return f"{side} {_number(quantity)}, {_number(filled)} filled"


def _fills(ours: Ours, latest: Mapping[str, Execution], since: date | None, base: str) -> Iterator[Break]:
    for execution_id in sorted(ours.fills.keys() | latest.keys()):
        fill, said = ours.fills.get(execution_id), latest.get(execution_id)
        told = since is None or (fill is not None and fill.session >= since)
        if fill is not None and not fill.quantity:
            fill = None  # taken back: there is no such trade
        if said is not None and not said.quantity:
            said = None
        if fill is None and said is None:
            continue
        if said is None:
            if fill is not None and told:
                detail = f"fill {execution_id} of {fill.symbol} is booked and the broker does not tell of it"
                text = _trade(fill.side, fill.quantity, fill.price, fill.currency, base)
                terms = {"take_back": execution_id}
                yield Break(BreakKind.FILL, execution_id, fill.symbol, text, NOTHING, detail, terms)
            continue
        trade = _trade(said.side, said.quantity, said.price, said.currency, base)
        if fill is None:
            detail = f"execution {execution_id} of {said.symbol} in {said.session} is not in the books"
            yield Break(BreakKind.FILL, execution_id, said.symbol, NOTHING, trade, detail, _terms(said))
            continue
        text = _trade(fill.side, fill.quantity, fill.price, fill.currency, base)
        if (fill.symbol, text) != (said.symbol, trade):
            detail = f"fill {execution_id} is of {fill.symbol} in the books and of {said.symbol} at the broker"
            yield Break(BreakKind.FILL, execution_id, fill.symbol, text, trade, detail, _terms(said))
        if said.commission is not None and money(said.commission) != fill.commission:
            detail = f"commission of fill {execution_id} ({fill.symbol})"
            paid = (_number(fill.commission), _number(money(said.commission)))
            currency = said.commission_currency
            said_in: dict[str, Any] = {"currency": currency, "same_currency": currency == fill.currency}
            yield Break(BreakKind.COMMISSION, execution_id, fill.symbol, *paid, detail, said_in)


def _trade(side: object, quantity: Decimal, price: Decimal, currency: str | None, base: str) -> str:
    return f"{side} {_number(quantity)} at {_number(money(price))} {currency or base}"[:_LONGEST]


def _terms(said: Execution) -> dict[str, Any]:
    terms = {name: getattr(said, name) for name in said.__dataclass_fields__}
    return {"execution": terms | {"side": said.side.value}}


def _positions(ours: Ours, theirs: Theirs, symbols: Sequence[str]) -> Iterator[Break]:
    for symbol in symbols:
        held, said = ours.positions.get(symbol, ZERO), theirs.account.positions.get(symbol, ZERO)
        if held != said:
            detail = f"position in {symbol}: {_more(said - held)} at the broker than in the books"
            yield Break(BreakKind.POSITION, symbol, symbol, _number(held), _number(said), detail)


def _cash(ours: Ours, theirs: Theirs, currencies: Sequence[str], tolerance: Decimal) -> Iterator[Break]:
    for code in currencies:
        have, said = ours.cash.get(code, ZERO), theirs.account.cash.get(code, ZERO)
        if abs(said - have) <= tolerance:
            continue
        unpaid = [amount for currency, amount in ours.unpaid if currency == code]
        if _is_sum_of(have - said, unpaid, tolerance):
            continue
        detail = f"cash in {code}: {_more(said - have)} at the broker than in the books"
        if unpaid:
            detail += f"; {_number(sum(unpaid, ZERO))} of dividends booked lately do not explain it"
        yield Break(BreakKind.CASH, code, None, _number(have), _number(said), detail)


def _more(difference: Decimal) -> str:
    return f"{_number(abs(difference))} {'more' if difference > 0 else 'less'}"


def _is_sum_of(amount: Decimal, parts: Sequence[Decimal], tolerance: Decimal) -> bool:
    """Is it what some of the parts come to? The newest are tried in every combination, all older ones count as paid."""
    sums = {ZERO}
    for part in parts[-_MOST_PAYMENTS:]:
        sums |= {one + part for one in sums}
    return bool(parts) and any(abs(amount - one) <= tolerance for one in sums)


def _number(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"
