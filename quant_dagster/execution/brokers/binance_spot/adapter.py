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
from typing import TYPE_CHECKING

from quant_dagster.errors import BrokerError, BrokerUnavailableError
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
from quant_dagster.execution.brokers.binance_spot.codes import ARCHIVED, CANCEL_REFUSED, ORDER_REFUSED
from quant_dagster.execution.brokers.binance_spot.inquiry import Inquiry, read_answer
from quant_dagster.execution.brokers.binance_spot.markets import TYPES, Market, read_markets, weight_limit
from quant_dagster.execution.brokers.binance_spot.messages import VenueOrder, VenueTrade, read_balances, read_order
from quant_dagster.execution.brokers.binance_spot.translation import (
    account_of,
    execution_of,
    open_order_of,
    order_fields,
    report_of,
)
from quant_dagster.execution.brokers.binance_spot.view import SpotView
from quant_dagster.execution.orders import Order
from quant_dagster.execution.pricing import Quote
from quant_dagster.settings import BinanceSpotSettings, ConnectionSettings

if TYPE_CHECKING:
    import polars as pl

_BUSY = 0.5
"""Share of the request weight after which polling waits for the next minute."""


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
        self._session_of = session_of
        self._sleep, self._clock = sleep, clock
        self._poll_seconds, self._settling_ms = poll_seconds, int(1000 * settling_seconds)
        self._client = BinanceClient(settings, connection, now=now, clock=clock)
        self._view = SpotView()
        self._inquiry = Inquiry(self._client, self._view, symbol_of, symbols)
        self._lock = threading.RLock()
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
                markets = read_answer(lambda said: read_markets(said, self._settings.quote_currency), answer)
                self._inquiry.learn(markets)
                self._client.weight_limit = weight_limit(answer) or self._client.weight_limit
                self._opened_at = self._client.stamp()
                self._inquiry.sweep()
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
            self._inquiry.sweep()
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
                news = self._view.news()
                executions = tuple(map(self._execution, news.trades))
                return Changes(tuple(map(self._report, news.orders)), executions, news.notices)
            self._sleep(max(wait, 0.001) if self._client.state is not LinkState.DOWN else until - self._clock())

    def _poll(self) -> None:
        with self._lock:
            self._next_poll = self._clock() + self._poll_seconds
            self._inquiry.poll()
            if self._client.used_weight > _BUSY:
                self._next_poll = self._clock() + self._client.seconds_to_next_minute()

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
            market = self._inquiry.market_of(order.symbol)
            if market is None:
                return self._reject(order, f"binance spot has no market {order.symbol}")
            if problems := market.problems(order):
                return self._reject(order, "; ".join(problems))
            if order.client_order_id not in self._never_seen:
                there = self._inquiry.ask_for(order.client_order_id, market)
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
            order = self._inquiry.locate(client_order_id)
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
                found = self._inquiry.locate(client_order_id)  # it was over before the request came
                return self._report(found or order)
            return self._report(self._view.take_order(read_answer(read_order, answer)))

    def find(self, client_order_id: str) -> OrderReport | None:
        """Where an order stands; None only where the venue cannot have seen it and never will (see the module).

        Raises
        ------
        BrokerUnavailableError
            The venue cannot be asked, or it is too early to conclude anything.
        """
        with self._lock:
            try:
                order = self._inquiry.locate(client_order_id)
            except RefusedError as error:
                if error.code.number != ARCHIVED:
                    raise
                session = self._session_of(self.market_time())
                return OrderReport(client_order_id, ReportedStatus.CANCELED, session, Decimal(0), error.text)
        return self._absent(client_order_id) if order is None else self._report(order)

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand; those on their way are ``sent``, those the venue does not know are left out."""
        with self._lock:
            self._inquiry.markets()
            found = []
            fresh = self._inquiry.look_over(client_order_ids)
            for one in client_order_ids:
                order = fresh.get(one) or self._inquiry.locate(one)
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
                self._inquiry.pull_all()
                return list(map(self._execution, self._view.trades()))
            orders = [order for order in map(self._inquiry.locate, client_order_ids) if order is not None]
            for order in orders:
                self._inquiry.complete(order)
            return list(map(self._execution, self._view.trades([order.key for order in orders])))

    def open_orders(self) -> list[BrokerOrder]:
        """Everything that works at the venue, whoever sent it."""
        with self._lock:
            self._inquiry.markets()
            working = self._inquiry.ask_open(None)
            symbol, reference = self._inquiry.symbol, self._view.reference
            return [open_order_of(one, symbol(one.market_id), reference(one)) for one in working]

    def account(self) -> BrokerAccount:
        """Balances, locked ones included: currencies and stable coins as cash, other assets as positions."""
        answer = self._client.ask("asking for the account", "privateGetAccount", {"omitZeroBalances": "true"})
        balances = read_answer(read_balances, answer)
        quote = self._settings.quote_currency
        return account_of(str(answer.get("uid", "")), balances, quote, self._inquiry.symbol_of_asset)

    # -- the market --------------------------------------------------------------------------------------------------

    def snapshot(self, symbol: str) -> Quote | None:
        """Bid, ask and last as they are now; None where there is no market."""
        market = self._inquiry.markets().of_symbol(symbol)
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
        market = self._inquiry.markets().of_symbol(symbol)
        if market is None:
            raise BrokerError(NAME, f"binance spot has no market {symbol}")
        return prices.history(self._client, market, symbol, start, end, bar_seconds)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(self, order: Order, market: Market) -> OrderReport:
        name = order.client_order_id
        try:
            answer = self._client.ask(
                f"sending order {name}", "privatePostOrder", order_fields(order, market),
                on_send=lambda stamp: self._view.sending(name, market.id, stamp),
            )  # fmt: skip
            return self._report(self._view.take_order(read_answer(read_order, answer)))
        except RefusedError as error:
            self._view.attempts.pop(name, None)
            if error.code.number == ORDER_REFUSED and "duplicate" in error.text.lower():
                there = self._inquiry.ask_for(name, market)
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

    def _absent(self, name: str) -> OrderReport | None:
        """The venue does not know an id: None once that can be believed."""
        if name in self._refused:
            return self._refused[name]
        if not self._inquiry.where(name):
            doubt = f"its market is not known here, and binance cannot be asked for {name} without it"
            return self._sent(name, self._session_of(self.market_time()), doubt)
        attempt = self._view.attempts.get(name)
        left = self._left_ms(max(self._opened_at, attempt.stamp if attempt is not None else 0)) / 1000
        if name not in self._never_seen and left > 0:
            if left > self._connection.answer_seconds:
                raise BrokerUnavailableError(NAME, f"order {name} may still arrive: ask again in {left:.1f} s")
            self._sleep(left)
            order = self._inquiry.locate(name)
            if order is not None:
                return self._report(order)
        self._view.attempts.pop(name, None)
        self._never_seen.add(name)
        return None

    def _left_ms(self, stamp: int) -> int:
        """How long a request of that time may still be carried out, or show late in the venue's records."""
        return stamp + self._settings.receive_window_ms + self._settling_ms - self._client.stamp()

    # -- translations ------------------------------------------------------------------------------------------------

    def _report(self, order: VenueOrder) -> OrderReport:
        return report_of(order, self._session_of(order.updated_at))

    def _execution(self, trade: VenueTrade) -> Execution:
        order = self._view.order_at(trade.market_id, trade.order_id)
        market = self._inquiry.markets().of_id(trade.market_id)
        return execution_of(
            trade,
            "" if order is None else self._view.reference(order),
            symbol=self._inquiry.symbol(trade.market_id),
            session=self._session_of(trade.executed_at),
            currency=None if market is None else market.quote,
        )
