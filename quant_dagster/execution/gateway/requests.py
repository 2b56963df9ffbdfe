"""Orders as clients write them: from the fields of a message to a ticket."""

from __future__ import annotations

from dataclasses import dataclass

from quant_dagster.accounting.books import Side
from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.gateway.records import ZERO, Ticket
from quant_dagster.execution.gateway.wire import Fields

_ALGORITHM, _WHAT_IF = 83, 85
_NOT_PLAIN = {65: "a hedging order", 77: "a hedge", _ALGORITHM: "an algorithm"}


@dataclass(frozen=True)
class AskedContract:
    """A contract as a client describes it: by id, or by symbol, type and currency."""

    con_id: int
    symbol: str
    security_type: str
    exchange: str
    currency: str
    primary_exchange: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> AskedContract:
        """From the twelve fields of a contract."""
        return cls(
            con_id=fields.integer(0),
            symbol=fields[1] or fields[10],
            security_type=fields[2],
            exchange=fields[7],
            primary_exchange=fields[8],
            currency=fields[9],
        )


def place_order(client_id: int, fields: Fields) -> tuple[AskedContract, Ticket]:
    """The order of a place-order message (type 3).

    Raises
    ------
    MalformedDataError
        The message ends early, a number is none, or the order is of a kind whose fields are not read here.
    """
    contract = AskedContract.parse(fields[2:14])
    if unread := [name for position, name in _NOT_PLAIN.items() if fields[position]]:
        raise MalformedDataError(f"order {fields[1]}: {', '.join(unread)} is not offered by this gateway")
    # A price that an order does not have comes as 0 or unset.
    ticket = Ticket(
        client_id=client_id,
        order_id=fields.integer(1),
        symbol=contract.symbol,
        side=Side.BUY if fields[16] == "BUY" else Side.SELL,
        quantity=fields.decimal(17) or ZERO,
        order_type=fields[18],
        limit=fields.decimal(19) or None,
        stop=fields.decimal(20) or None,
        time_in_force=fields[21],
        oca_group=fields[22],
        order_ref=fields[26],
        transmit=fields.flag(27),
        parent_id=fields.integer(28),
        outside_rth=fields.flag(33),
        oca_type=fields.integer(47),
        what_if=fields.flag(_WHAT_IF),
    )
    return contract, ticket
