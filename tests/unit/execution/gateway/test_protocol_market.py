"""Contracts and quotes as the unmodified ib_insync sees them."""

from __future__ import annotations

from decimal import Decimal

from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import InsyncClient, tws_gateway, wait_until
from tests.unit.execution.gateway.client_at_work import becomes, place, stock, working


def test_a_contract_is_qualified_and_found_by_its_id(client: InsyncClient) -> None:
    import ib_insync

    contract = stock(client)
    assert contract.conId > 0 and contract.primaryExchange == "NASDAQ"
    (details,) = client.ask(lambda: client.ib.reqContractDetailsAsync(ib_insync.Contract(conId=contract.conId)))
    assert details.contract.symbol == "AAPL" and details.minTick == 0.01


def test_an_unknown_symbol_is_error_200(client: InsyncClient) -> None:
    import ib_insync

    assert client.ask(lambda: client.ib.qualifyContractsAsync(ib_insync.Stock("NOPE", "SMART", "USD"))) == []
    assert 200 in client.codes()


def test_quotes_come_as_snapshot_and_as_stream(client: InsyncClient, gateway: Gateway) -> None:
    contract = stock(client)
    (ticker,) = client.ask(lambda: client.ib.reqTickersAsync(contract))
    assert (ticker.bid, ticker.ask, ticker.last) == (169.99, 170.01, 170)
    live = client.do(lambda: client.ib.reqMktData(contract))
    wait_until(lambda: live.last == 170)
    gateway.set_price("AAPL", Decimal("171.25"))
    wait_until(lambda: live.last == 171.25)
    client.do(lambda: client.ib.cancelMktData(contract))


def test_a_market_may_fill_by_itself() -> None:
    with tws_gateway(fills_at_once=True) as gateway, InsyncClient() as client:
        client.connect(gateway)
        becomes(place(client, "one", limit=None), "Filled")
        waiting = working(client, "two", limit=169.0)
        gateway.set_price("AAPL", Decimal("168.50"))
        becomes(waiting, "Filled")
        assert waiting.orderStatus.avgFillPrice == 168.5
