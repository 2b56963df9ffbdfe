"""What the tests have the unmodified ib_insync do at the gateway."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.support.tws_gateway import InsyncClient, wait_until

HUNDRED = Decimal(100)


def stock(client: InsyncClient, symbol: str = "AAPL") -> Any:
    import ib_insync

    (contract,) = client.ask(lambda: client.ib.qualifyContractsAsync(ib_insync.Stock(symbol, "SMART", "USD")))
    return contract


def place(client: InsyncClient, reference: str, action: str = "BUY", quantity: float = 100, limit: float | None = 170.0,
          symbol: str = "AAPL", **fields: Any) -> Any:  # fmt: skip
    import ib_insync

    contract = stock(client, symbol)
    kind = {"orderType": "MKT"} if limit is None else {"orderType": "LMT", "lmtPrice": limit}
    order = ib_insync.Order(
        action=action, totalQuantity=quantity, orderRef=reference, **(kind | {"tif": "DAY"} | fields)
    )
    return client.do(lambda: client.ib.placeOrder(contract, order))


def becomes(trade: Any, status: str) -> None:
    wait_until(lambda: trade.orderStatus.status == status)


def working(client: InsyncClient, reference: str, **fields: Any) -> Any:
    trade = place(client, reference, **fields)
    becomes(trade, "Submitted")
    return trade
