"""The broker itself: what the desk asks, answered from what Binance says.

What the venue does not promise, and what is done about it:

* **An id sent twice can be two orders.** The venue refuses a client order id only while an order under it is open. So
  before anything is sent, the venue is asked for the id; and after an attempt without an answer nothing is sent until
  it is certain that the attempt can no longer arrive: the venue refuses a request that is older than its receive
  window, also right before it goes to the matching engine. `submit` then says ``sent``, and `find` says None ("never
  seen") only when the venue, asked after the window of the last possible attempt and a margin for its own delays,
  knows no such order. Earlier it waits, or raises `BrokerUnavailableError` where the wait is longer than
  ``execution.connection.answer_seconds``. What another process may have sent before this one opened its connection
  counts as sent at that moment.
* **Orders are asked for by market.** Of an id alone the venue knows nothing: ``symbol_of`` says which market it is in;
  without it, all ``symbols`` are asked. Where neither is known, `find` never says None: the order stays ``sent``.
* **Trades name no client order id**, and their ids count per market: an execution's id is ``MARKET-TRADE``.
* **No order can be changed in place.** Cancel-and-replace is two steps that can stop in between, with a second order
  under the same id; the venue's own amendment can only shrink a quantity. So ``modifies`` is False: cancel the order
  and make a new one.
* **There are no day orders**: everything works until it is cancelled. Nor can an order be limited to reducing a
  position, but what is not held cannot be sold on a spot market.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError, MalformedDataError
from quant_dagster.execution.broker import (
    BrokerAccount,
    BrokerOrder,
    Capabilities,
    Changes,
    Execution,
    LinkState,
    OrderReport,
    ReportedStatus,
)
from quant_dagster.execution.brokers.binance_spot import prices
from quant_dagster.execution.brokers.binance_spot.client import (
    NAME,
    BinanceClient,
    OutcomeUnknownError,
    RefusedError,
)
from quant_dagster.execution.brokers.binance_spot.codes import ARCHIVED, CANCEL_REFUSED, NO_SUCH_ORDER, ORDER_REFUSED
from quant_dagster.execution.brokers.binance_spot.markets import TYPES, Market, Markets, read_markets, weight_limit
from quant_dagster.execution.brokers.binance_spot.messages import (
    VenueOrder,
    VenueTrade,
    read_balances,
    read_order,
    read_trade,
)
from quant_dagster.execution.brokers.binance_spot.view import SpotView
from quant_dagster.execution.orders import Order
from quant_dagster.execution.pricing import Quote
from quant_dagster.settings import BinanceSpotSettings, ConnectionSettings

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
CASH = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "USDP", "DAI", "BUSD", "USD1", "USD", "EUR", "GBP", "TRY", "BRL",
                  "JPY", "AUD", "PLN", "MXN", "ZAR", "ARS", "COP", "CZK", "RON", "UAH"})  # fmt: skip
"""Assets that are cash: currencies, and coins that stand for one."""
_PAGE = 1000
_ALL_MARKETS_ABOVE = 13
"""Asking for the open orders of one market weighs 6, of all 80."""
_BUSY = 0.5
"""Share of the request weight after which polling waits for the next minute."""
_OURS = {theirs: ours for ours, theirs in TYPES.items()}


class BinanceSpotBroker:
    """Binance spot as a `Broker` and `RemoteBroker`. Methods may be called from any thread.

    Parameters
    ----------
    session_of
        The session an instant belongs to.
    now
        Our clock; the venue's is taken from the venue.
    symbol_of
        The symbol of an order id, as the ledger has it; None where it does not know the id.
    symbols
        What is traded: the markets that are swept for trades, and asked for ids whose symbol is not known.
    sleep, clock
        Waiting, and monotonic seconds.
    poll_seconds
        Least time between two polls of `changes`.
    settling_seconds
        How long after the receive window the venue's own records may lag.
    """

    name = NAME
    capabilities = Capabilities(order_types=frozenset(TYPES), modifies=False, remote=True)

    def __init__(
        self,
        settings: BinanceSpotSettings,
        connection: ConnectionSettings,
        *,
        session_of: Callable[[datetime], date],
        now: Callable[[], datetime],
        symbol_of: Callable[[str], str | None] = lambda client_order_id: None,
        symbols: Callable[[], Iterable[str]] = lambda: (),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        poll_seconds: float = 1.0,
        settling_seconds: float = 1.0,
    ) -> None:
        self._settings, self._connection = settings, connection
        self._session_of, self._symbol_of, self._symbols = session_of, symbol_of, symbols
        self._sleep, self._clock = sleep, clock
        self._poll_seconds, self._settling_ms = poll_seconds, int(1000 * settling_seconds)
        self._client = BinanceClient(settings, connection, now=now, clock=clock)
        self._view = SpotView()
        self._lock = threading.RLock()
        self._markets: Markets | None = None
        self._ours: dict[str, str] = {}
        """Our symbol of a market, where it is not the venue's BASE/QUOTE."""
        self._opened_at = 0
        self._never_seen: set[str] = set()
        self._refused: dict[str, OrderReport] = {}
        self._next_poll = float("-inf")

    # -- the connection ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Set the clock, learn the markets, and sweep. See `RemoteBroker.open`."""
        with self._lock:
            self._client.open()
            try:
                self._never_seen.clear()
                answer = self._client.ask("asking for the markets", "publicGetExchangeInfo", signed=False)
                self._markets = _read(lambda said: read_markets(said, self._settings.quote_currency), answer)
                self._client.weight_limit = weight_limit(answer) or self._client.weight_limit
                self._opened_at = self._client.stamp()
                self._sweep()
            except BrokerError:
                self._client.close()
                raise
            self._client.state = LinkState.UP

    def close(self) -> None:
        """Hang up; safe to repeat."""
        self._client.close()

    def ping(self, seconds: float) -> None:
        """Ask for a sign of life; `BrokerUnavailableError` when none comes within ``seconds``."""
        self._client.ask("asking for a sign of life", "publicGetPing", signed=False, seconds=seconds)

    def link(self) -> LinkState:
        """The state of the way there. A request without an answer closes it: what it did must be asked for."""
        return self._client.state

    def refresh(self) -> None:
        """Ask again for all open orders and trades."""
        with self._lock:
            self._client.synchronise()
            self._sweep()
            self._client.state = LinkState.UP

    def changes(self, seconds: float) -> Changes:
        """Poll for up to ``seconds``, at a pace inside the venue's limits; hand over what is new, once."""
        until = self._clock() + seconds
        while True:
            if self._client.state is not LinkState.DOWN and self._clock() >= self._next_poll:
                # A lost connection shows in `link`, not here.
                with contextlib.suppress(BrokerUnavailableError):
                    self._poll()
            wait = min(until, max(self._next_poll, self._clock())) - self._clock()
            if self._view.has_news or self._clock() >= until:
                return self._news()
            self._sleep(max(wait, 0.001) if self._client.state is not LinkState.DOWN else until - self._clock())

    def market_time(self) -> datetime:
        """The venue's clock, by ours and the difference that was last measured."""
        return self._client.venue_time()

    # -- orders ------------------------------------------------------------------------------------------------------

    def reserve(self) -> str:
        """Orders go under their own id here."""
        return ""

    def submit(self, order: Order, broker_order_id: str = "") -> OrderReport:
        """Send an order unless the venue has it already; ``sent`` where no answer says what became of it."""
        with self._lock:
            market = self._known_markets().of_symbol(order.symbol)
            if market is None:
                return self._reject(order, f"binance spot has no market {order.symbol}")
            self._ours[market.id] = order.symbol
            if problems := market.problems(order):
                return self._reject(order, "; ".join(problems))
            if order.client_order_id not in self._never_seen:
                there = self._ask_for(order.client_order_id, market)
                if there is not None:
                    return self._report(there)
                attempt = self._view.attempts.get(order.client_order_id)
                if attempt is not None and self._left_ms(attempt.stamp) > 0:
                    return self._sent(order.client_order_id, order.session, "an earlier attempt may still arrive")
            self._never_seen.discard(order.client_order_id)
            self._refused.pop(order.client_order_id, None)
            return self._send(order, market)

    def modify(self, order: Order, *, quantity: Decimal, limit_price: Decimal | None) -> OrderReport | None:
        """Not offered: see the module."""
        raise BrokerError(
            NAME, f"no order can be changed in one step here: cancel {order.client_order_id}, and make a new one"
        )

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        """Cancel an order; where it stands then, None if it was never seen."""
        with self._lock:
            order = self._locate(client_order_id)
        if order is None:
            return self._absent(client_order_id)  # may wait: others may ask meanwhile
        if order.is_over:
            return self._report(order)
        with self._lock:
            try:
                answer = self._client.ask(
                    f"cancelling order {client_order_id}", "privateDeleteOrder",
                    {"symbol": order.market_id, "orderId": order.order_id},
                )  # fmt: skip
            except RefusedError as error:
                if error.code.number != CANCEL_REFUSED:
                    raise
                found = self._locate(client_order_id)  # it was over before the request came
                return self._report(found or order)
            return self._report(self._view.take_order(_read(read_order, answer)))

    def find(self, client_order_id: str) -> OrderReport | None:
        """Where an order stands; None only where the venue cannot have seen it and never will (see the module).

        Raises
        ------
        BrokerUnavailableError
            The venue cannot be asked, or it is too early to conclude anything.
        """
        with self._lock:
            try:
                order = self._locate(client_order_id)
            except RefusedError as error:
                if error.code.number != ARCHIVED:
                    raise
                session = self._session_of(self.market_time())
                return OrderReport(client_order_id, ReportedStatus.CANCELED, session, Decimal(0), error.text)
        return self._absent(client_order_id) if order is None else self._report(order)

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand; those on their way are ``sent``, those the venue does not know are left out."""
        with self._lock:
            self._known_markets()
            found = []
            fresh = self._look_over(client_order_ids)
            for one in client_order_ids:
                order = fresh.get(one) or self._locate(one)
                if order is not None:
                    found.append(self._report(order))
                elif one in self._refused:
                    found.append(self._refused[one])
                elif (attempt := self._view.attempts.get(one)) is not None and self._left_ms(attempt.stamp) > 0:
                    found.append(self._sent(one, self._session_of(self.market_time()), "not answered yet"))
            return found

    def executions(self, client_order_ids: Sequence[str] | None = None) -> list[Execution]:
        """Executions of these orders, oldest first; None: of the newest 1000 trades a market, and all since."""
        with self._lock:
            if client_order_ids is None:
                for market in self._swept_markets():
                    self._pull(market)
                for order in self._view.incomplete():
                    self._complete(order)
                return self._told(self._view.trades())
            orders = [order for order in map(self._locate, client_order_ids) if order is not None]
            for order in orders:
                self._complete(order)
            return self._told(self._view.trades([order.key for order in orders]))

    def open_orders(self) -> list[BrokerOrder]:
        """Everything that works at the venue, whoever sent it."""
        with self._lock:
            self._known_markets()
            return [self._as_open(order) for order in self._ask_open(None)]

    def account(self) -> BrokerAccount:
        """Balances, locked ones included: currencies and stable coins as cash, other assets as positions."""
        answer = self._client.ask("asking for the account", "privateGetAccount", {"omitZeroBalances": "true"})
        cash: dict[str, Decimal] = {}
        held: dict[str, Decimal] = {}
        for asset, amount in _read(read_balances, answer).items():
            if asset in CASH or asset == self._settings.quote_currency:
                cash[asset] = amount
            elif amount:
                held[self._symbol_of_asset(asset)] = amount
        return BrokerAccount(str(answer.get("uid", "")), self._settings.quote_currency, cash, held)

    # -- the market --------------------------------------------------------------------------------------------------

    def snapshot(self, symbol: str) -> Quote | None:
        """Bid, ask and last as they are now; None where there is no market."""
        market = self._known_markets().of_symbol(symbol)
        return None if market is None else prices.snapshot(self._client, market)

    def history(self, symbol: str, start: datetime, end: datetime, bar_seconds: int) -> pl.DataFrame:
        """Bars that begin in ``[start, end)``.

        Returns
        -------
        pl.DataFrame
            ``symbol``, ``bar_start`` (UTC), ``open``, ``high``, ``low``, ``close``, ``volume`` (in the base asset).

        Raises
        ------
        DataUnavailableError
            The venue has none.
        BrokerError
            It has no such market or no bars of this length.
        """
        market = self._known_markets().of_symbol(symbol)
        if market is None:
            raise BrokerError(NAME, f"binance spot has no market {symbol}")
        return prices.history(self._client, market, symbol, start, end, bar_seconds)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(self, order: Order, market: Market) -> OrderReport:
        name = order.client_order_id
        try:
            answer = self._client.ask(
                f"sending order {name}", "privatePostOrder", _fields(order, market),
                on_send=lambda stamp: self._view.sending(name, market.id, stamp),
            )  # fmt: skip
            return self._report(self._view.take_order(_read(read_order, answer)))
        except RefusedError as error:
            self._view.attempts.pop(name, None)
            if error.code.number == ORDER_REFUSED and "duplicate" in error.text.lower():
                there = self._ask_for(name, market)
                if there is not None:
                    return self._report(there)
            return self._reject(order, f"{error.text or error.code.meaning} ({error.code.number})")
        except OutcomeUnknownError as error:
            return self._sent(name, order.session, error.detail)
        except BrokerUnavailableError:
            self._view.attempts.pop(name, None)  # nothing went out, or the venue said that it did nothing
            raise

    def _reject(self, order: Order, reason: str) -> OrderReport:
        report = OrderReport(order.client_order_id, ReportedStatus.REJECTED, order.session, Decimal(0), reason)
        self._refused[order.client_order_id] = report
        return report

    def _sent(self, name: str, session: date, reason: str) -> OrderReport:
        return OrderReport(name, ReportedStatus.SENT, session, Decimal(0), reason)

    # -- what may be concluded ---------------------------------------------------------------------------------------

    def _locate(self, name: str) -> VenueOrder | None:
        """The order under an id, asked for anew unless it is over; None: the venue does not know it now."""
        known = self._view.order(name)
        if known is not None and known.is_over:
            return known
        for market in self._where(name):
            found = self._ask_for(name, market)
            if found is not None:
                return found
        return None

    def _where(self, name: str) -> list[Market]:
        """Markets an id can be in."""
        markets = self._known_markets()
        known, attempt = self._view.order(name), self._view.attempts.get(name)
        if known is not None or attempt is not None:
            id_ = known.market_id if known is not None else attempt.market_id if attempt is not None else ""
            market = markets.of_id(id_)
        else:
            symbol = self._symbol_of(name)
            if symbol is None:
                return self._swept_markets()
            market = markets.of_symbol(symbol)
            if market is not None:
                self._ours[market.id] = symbol
        return [] if market is None else [market]

    def _absent(self, name: str) -> OrderReport | None:
        """The venue does not know an id: None once that can be believed."""
        if name in self._refused:
            return self._refused[name]
        if not self._where(name):
            doubt = f"its market is not known here, and binance cannot be asked for {name} without it"
            return self._sent(name, self._session_of(self.market_time()), doubt)
        attempt = self._view.attempts.get(name)
        left = self._left_ms(max(self._opened_at, attempt.stamp if attempt is not None else 0)) / 1000
        if name not in self._never_seen and left > 0:
            if left > self._connection.answer_seconds:
                raise BrokerUnavailableError(NAME, f"order {name} may still arrive: ask again in {left:.1f} s")
            self._sleep(left)
            order = self._locate(name)
            if order is not None:
                return self._report(order)
        self._view.attempts.pop(name, None)
        self._never_seen.add(name)
        return None

    def _left_ms(self, stamp: int) -> int:
        """How long a request of that time may still be carried out, or show late in the venue's records."""
        return stamp + self._settings.receive_window_ms + self._settling_ms - self._client.stamp()

    # -- asking ------------------------------------------------------------------------------------------------------

    def _known_markets(self) -> Markets:
        if self._markets is None:
            raise BrokerUnavailableError(NAME, "not connected: its markets are not known yet")
        return self._markets

    def _swept_markets(self) -> list[Market]:
        markets = self._known_markets()
        found = {market.id: market for market in map(markets.of_id, self._view.markets()) if market is not None}
        for symbol in self._symbols():
            market = markets.of_symbol(symbol)
            if market is not None:
                self._ours.setdefault(market.id, symbol)
                found[market.id] = market
        return [found[name] for name in sorted(found)]

    def _ask_for(self, name: str, market: Market) -> VenueOrder | None:
        try:
            answer = self._client.ask(
                f"asking for order {name}", "privateGetOrder", {"symbol": market.id, "origClientOrderId": name}
            )
        except RefusedError as error:
            if error.code.number != NO_SUCH_ORDER:
                raise
            return None
        return self._view.take_order(_read(read_order, answer))

    def _ask_open(self, market_id: str | None) -> list[VenueOrder]:
        where = {} if market_id is None else {"symbol": market_id}
        answers = self._client.ask("asking for open orders", "privateGetOpenOrders", where)
        return [self._view.take_order(_read(read_order, answer)) for answer in answers]

    def _look_over(self, names: Iterable[str]) -> dict[str, VenueOrder]:
        """Open orders of markets in which more than one of these ids is known to work, by id."""
        counts: dict[str, int] = {}
        for name in names:
            known = self._view.order(name)
            if known is not None and not known.is_over:
                counts[known.market_id] = counts.get(known.market_id, 0) + 1
        busy = [market for market, count in counts.items() if count > 1]
        if len(busy) > _ALL_MARKETS_ABOVE:
            listed = self._ask_open(None)
        else:
            listed = [order for market in busy for order in self._ask_open(market)]
        return {order.client_order_id: order for order in listed}

    def _sweep(self) -> None:
        """Everything: open orders, orders that were open when last heard of, trades."""
        listed = {order.key for order in self._ask_open(None)}
        for order in self._view.working():
            if order.key not in listed:
                self._locate(order.client_order_id)
        for market in self._swept_markets():
            self._pull(market)

    def _pull(self, market: Market) -> None:
        """Trades of a market since the last that was heard of; the first time, the newest 1000."""
        newest = self._view.newest_trade(market.id)
        first = newest is None
        while True:
            asked: dict[str, Any] = {"symbol": market.id, "limit": _PAGE}
            if newest is not None:
                asked["fromId"] = newest + 1
            page = [
                _read(read_trade, one) for one in self._client.ask("asking for trades", "privateGetMyTrades", asked)
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

    def _complete(self, order: VenueOrder) -> None:
        """All trades of an order, however long ago."""
        first = 0
        while order.executed > self._view.traded(order):
            asked = {"symbol": order.market_id, "orderId": order.order_id, "fromId": first, "limit": _PAGE}
            answer = self._client.ask("asking for trades of an order", "privateGetMyTrades", asked)
            page = [_read(read_trade, one) for one in answer]
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
                self._view.take_order(_read(read_order, one))
            if unnamed[0] in self._view.unnamed(market.id):
                raise BrokerUnavailableError(
                    NAME, f"{market.symbol}: trades of order {unnamed[0]}, but no such order yet"
                )

    # -- news --------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        with self._lock:
            self._next_poll = self._clock() + self._poll_seconds
            working = self._view.working()
            markets = {order.market_id for order in working}
            if markets:
                where = [None] if len(markets) > _ALL_MARKETS_ABOVE else sorted(markets)
                listed = {order.key for market in where for order in self._ask_open(market)}
                for order in working:
                    if order.key not in listed:
                        self._locate(order.client_order_id)
            for name in list(self._view.attempts):
                self._locate(name)
            for order in self._view.incomplete():
                self._complete(order)
            if self._client.used_weight > _BUSY:
                self._next_poll = self._clock() + self._client.seconds_to_next_minute()

    def _news(self) -> Changes:
        news = self._view.news()
        reports = tuple(self._report(order) for order in news.orders)
        return Changes(reports, tuple(self._told(news.trades)), news.notices)

    # -- translations ------------------------------------------------------------------------------------------------

    def _symbol(self, market_id: str) -> str:
        market = self._known_markets().of_id(market_id)
        return self._ours.get(market_id) or (market_id if market is None else market.symbol)

    def _symbol_of_asset(self, asset: str) -> str:
        market = self._known_markets().of_symbol(f"{asset}/{self._settings.quote_currency}")
        return asset if market is None else self._symbol(market.id)

    def _report(self, order: VenueOrder) -> OrderReport:
        return OrderReport(
            client_order_id=order.client_order_id,
            status=order.status,
            session=self._session_of(order.updated_at),
            filled_quantity=order.executed,
            reason=order.reason,
            broker_order_id=str(order.order_id),
        )

    def _as_open(self, order: VenueOrder) -> BrokerOrder:
        return BrokerOrder(
            broker_order_id=str(order.order_id),
            client_order_id=order.client_order_id if self._view.is_ours(order.client_order_id) else "",
            symbol=self._symbol(order.market_id),
            side=order.side,
            quantity=order.quantity,
            filled_quantity=order.executed,
            order_type=_OURS.get(order.order_type, order.order_type.lower()),
            limit_price=order.limit_price,
        )

    def _told(self, trades: Iterable[VenueTrade]) -> list[Execution]:
        return [self._execution(trade) for trade in trades]

    def _execution(self, trade: VenueTrade) -> Execution:
        order = self._view.order_at(trade.market_id, trade.order_id)
        market = self._known_markets().of_id(trade.market_id)
        ours = order is not None and self._view.is_ours(order.client_order_id)
        return Execution(
            execution_id=f"{trade.market_id}-{trade.trade_id}",
            client_order_id=order.client_order_id if order is not None and ours else "",
            symbol=self._symbol(trade.market_id),
            side=trade.side,
            quantity=trade.quantity,
            price=trade.price,
            session=self._session_of(trade.executed_at),
            commission=trade.commission,
            executed_at=trade.executed_at,
            currency=None if market is None else market.quote,
            commission_currency=trade.commission_asset,
            broker_order_id=str(trade.order_id),
            provenance={
                "broker": NAME,
                "market": trade.market_id,
                "trade_id": trade.trade_id,
                "order_id": trade.order_id,
                "liquidity": "maker" if trade.is_maker else "taker",
                "quote_quantity": str(trade.quote_quantity),
                "commission": str(trade.commission),
                "commission_asset": trade.commission_asset,
            },
        )


def _read(read: Callable[[Any], T], answer: Any) -> T:
    """An answer that cannot be read tells nothing of what was done."""
    try:
        return read(answer)
    except MalformedDataError as error:
        raise OutcomeUnknownError(NAME, str(error)) from error


def _fields(order: Order, market: Market) -> dict[str, str]:
    fields = {
        "symbol": market.id, "side": "BUY" if order.side is Side.BUY else "SELL", "type": TYPES[order.order_type],
        "quantity": _plain(order.quantity), "newClientOrderId": order.client_order_id, "newOrderRespType": "RESULT",
    }  # fmt: skip
    if order.order_type == "limit" and order.limit_price is not None:
        fields |= {"timeInForce": "GTC", "price": _plain(order.limit_price)}
    if order.order_type == "stop" and order.stop_price is not None:
        fields["stopPrice"] = _plain(order.stop_price)
    return fields


def _plain(amount: Decimal) -> str:
    """Without exponent and without trailing zeros, which the venue counts as decimals."""
    return f"{amount.normalize():f}"
