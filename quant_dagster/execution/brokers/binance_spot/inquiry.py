"""Asking the venue what it knows: orders by id, open orders, trades; what it answers goes into the view.

Belongs here: which market an id or a symbol is in, and in how few requests it can be asked. Does not: what may be
concluded from an answer, or from none (``adapter``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from quant_dagster.errors import BrokerUnavailableError, MalformedDataError
from quant_dagster.execution.brokers.binance_spot.client import NAME, BinanceClient, OutcomeUnknownError, RefusedError
from quant_dagster.execution.brokers.binance_spot.codes import NO_SUCH_ORDER
from quant_dagster.execution.brokers.binance_spot.markets import Market, Markets
from quant_dagster.execution.brokers.binance_spot.messages import VenueOrder, read_order, read_trade
from quant_dagster.execution.brokers.binance_spot.view import SpotView

T = TypeVar("T")
_PAGE = 1000
ALL_MARKETS_ABOVE = 13
"""Asking for the open orders of one market weighs 6, of all 80."""


class Inquiry:
    """Questions to the venue.

    Parameters
    ----------
    symbol_of
        The symbol of an order id, as the ledger has it; None where it does not know the id.
    symbols
        What is traded: the markets that are swept for trades, and asked for ids whose symbol is not known.
    """

    def __init__(
        self,
        client: BinanceClient,
        view: SpotView,
        symbol_of: Callable[[str], str | None],
        symbols: Callable[[], Iterable[str]],
    ) -> None:
        self._client, self._view = client, view
        self._symbol_of, self._symbols = symbol_of, symbols
        self._markets: Markets | None = None
        self._ours: dict[str, str] = {}
        """Our symbol of a market, where it is not the venue's BASE/QUOTE."""

    def learn(self, markets: Markets) -> None:
        """From now on these are the venue's markets."""
        self._markets = markets

    def markets(self) -> Markets:
        """The venue's markets; `BrokerUnavailableError` while they are not known."""
        if self._markets is None:
            raise BrokerUnavailableError(NAME, "not connected: its markets are not known yet")
        return self._markets

    def market_of(self, symbol: str) -> Market | None:
        """The market of one of our symbols, which is called so from then on; None where there is none."""
        market = self.markets().of_symbol(symbol)
        if market is not None:
            self._ours[market.id] = symbol
        return market

    def symbol(self, market_id: str) -> str:
        """What a market is called here."""
        market = self.markets().of_id(market_id)
        return self._ours.get(market_id) or (market_id if market is None else market.symbol)

    def symbol_of_asset(self, asset: str, quote_currency: str) -> str:
        """What an asset is called here: the symbol of its market in a currency, where there is one."""
        market = self.markets().of_symbol(f"{asset}/{quote_currency}")
        return asset if market is None else self.symbol(market.id)

    def locate(self, name: str) -> VenueOrder | None:
        """The order under an id, asked for anew unless it is over; None: the venue does not know it now."""
        known = self._view.order(name)
        if known is not None and known.is_over:
            return known
        for market in self.where(name):
            found = self.ask_for(name, market)
            if found is not None:
                return found
        return None

    def where(self, name: str) -> list[Market]:
        """Markets an id can be in."""
        markets = self.markets()
        known, attempt = self._view.order(name), self._view.attempts.get(name)
        if known is not None or attempt is not None:
            id_ = known.market_id if known is not None else attempt.market_id if attempt is not None else ""
            market = markets.of_id(id_)
        else:
            symbol = self._symbol_of(name)
            if symbol is None:
                return self.swept()
            market = self.market_of(symbol)
        return [] if market is None else [market]

    def swept(self) -> list[Market]:
        """The markets that are swept for trades: those traded in, and those of the symbols."""
        markets = self.markets()
        found = {market.id: market for market in map(markets.of_id, self._view.markets()) if market is not None}
        for symbol in self._symbols():
            market = markets.of_symbol(symbol)
            if market is not None:
                self._ours.setdefault(market.id, symbol)
                found[market.id] = market
        return [found[name] for name in sorted(found)]

    def ask_for(self, name: str, market: Market) -> VenueOrder | None:
        """The order under an id in a market; None where the venue finds none."""
        try:
            answer = self._client.ask(
                f"asking for order {name}", "privateGetOrder", {"symbol": market.id, "origClientOrderId": name}
            )
        except RefusedError as error:
            if error.code.number != NO_SUCH_ORDER:
                raise
            return None
        return self._view.take_order(read_answer(read_order, answer))

    def ask_open(self, market_id: str | None) -> list[VenueOrder]:
        """Open orders of a market; None: of all."""
        where = {} if market_id is None else {"symbol": market_id}
        answers = self._client.ask("asking for open orders", "privateGetOpenOrders", where)
        return [self._view.take_order(read_answer(read_order, answer)) for answer in answers]

    def look_over(self, names: Iterable[str]) -> dict[str, VenueOrder]:
        """Open orders of markets in which more than one of these ids is known to work, by id."""
        counts: dict[str, int] = {}
        for name in names:
            known = self._view.order(name)
            if known is not None and not known.is_over:
                counts[known.market_id] = counts.get(known.market_id, 0) + 1
        busy = [market for market, count in counts.items() if count > 1]
        if len(busy) > ALL_MARKETS_ABOVE:
            listed = self.ask_open(None)
        else:
            listed = [order for market in busy for order in self.ask_open(market)]
        return {order.client_order_id: order for order in listed}

    def sweep(self) -> None:
        """Everything: open orders, orders that were open when last heard of, trades."""
        listed = {order.key for order in self.ask_open(None)}
        for order in self._view.working():
            if order.key not in listed:
                self.locate(order.client_order_id)
        for market in self.swept():
            self.pull(market)

    def poll(self) -> None:
        """What may have changed since: orders that work, attempts without an answer, trades that are still to come."""
        working = self._view.working()
        markets = {order.market_id for order in working}
        if markets:
            where = [None] if len(markets) > ALL_MARKETS_ABOVE else sorted(markets)
            listed = {order.key for market in where for order in self.ask_open(market)}
            for order in working:
                if order.key not in listed:
                    self.locate(order.client_order_id)
        for name in list(self._view.attempts):
            self.locate(name)
        for order in self._view.incomplete():
            self.complete(order)

    def pull_all(self) -> None:
        """Trades of every market that is swept, and all of those orders whose trades are still to come."""
        for market in self.swept():
            self.pull(market)
        for order in self._view.incomplete():
            self.complete(order)

    def pull(self, market: Market) -> None:
        """Trades of a market since the last that was heard of; the first time, the newest 1000."""
        newest = self._view.newest_trade(market.id)
        first = newest is None
        while True:
            asked: dict[str, Any] = {"symbol": market.id, "limit": _PAGE}
            if newest is not None:
                asked["fromId"] = newest + 1
            page = [
                read_answer(read_trade, one)
                for one in self._client.ask("asking for trades", "privateGetMyTrades", asked)
            ]
            for trade in page:
                self._view.take_trade(trade)
            if page:
                newest = max(trade.trade_id for trade in page)
            if first and len(page) == _PAGE:
                since = min(trade.executed_at for trade in page)
                self._view.notice(f"only the newest {_PAGE} trades in {market.symbol} were asked for, since {since}")
            if first or len(page) < _PAGE:
                break
        self._name_orders(market)
        # Only now: had naming failed, the trades would be asked for again.
        self._view.swept(market.id, -1 if newest is None else newest)

    def complete(self, order: VenueOrder) -> None:
        """All trades of an order, however long ago."""
        first = 0
        while order.executed > self._view.traded(order):
            asked = {"symbol": order.market_id, "orderId": order.order_id, "fromId": first, "limit": _PAGE}
            answer = self._client.ask("asking for trades of an order", "privateGetMyTrades", asked)
            page = [read_answer(read_trade, one) for one in answer]
            for trade in page:
                self._view.take_trade(trade)
            if len(page) < _PAGE:
                break
            first = max(trade.trade_id for trade in page) + 1

    def _name_orders(self, market: Market) -> None:
        """Trades carry no client order id: look up the orders that are not known yet."""
        while unnamed := self._view.unnamed(market.id):
            asked = {"symbol": market.id, "orderId": unnamed[0], "limit": _PAGE}
            page = self._client.ask("asking for the orders of trades", "privateGetAllOrders", asked)
            for one in page:
                self._view.take_order(read_answer(read_order, one))
            if unnamed[0] in self._view.unnamed(market.id):
                raise BrokerUnavailableError(
                    NAME, f"{market.symbol}: trades of order {unnamed[0]}, but no such order yet"
                )


def read_answer(reader: Callable[[Any], T], answer: Any) -> T:
    """An answer that cannot be read tells nothing of what was done."""
    try:
        return reader(answer)
    except MalformedDataError as error:
        raise OutcomeUnknownError(NAME, str(error)) from error
