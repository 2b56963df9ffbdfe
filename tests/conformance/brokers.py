"""One harness a broker: how its venue is started, made to fill, refuse, forget and go away."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import Broker, LinkState, OrderReport, RemoteBroker, SessionBar
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.brokers.ibkr import IbkrBroker
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.orders import Order, client_order_id
from quant_dagster.settings import BinanceSpotSettings, ConnectionSettings, ExecutionSettings, IbkrSettings
from tests.support.binance_spot_server import KEY, SECRET, BinanceSpotServer
from tests.support.tws_gateway import tws_gateway, wait_until

TODAY = date(2024, 1, 2)
START = datetime(2024, 1, 2, 15, 0, tzinfo=UTC)


class NotOfferedError(Exception):
    """The broker cannot do what a rule is about; says why."""


class Harness(ABC):
    """A broker and the venue behind it.

    Attributes
    ----------
    broker
        The process's broker; `restart` makes another one on the same venue.
    prices
        Two symbols and what they cost.
    quantity
        A usual order's.
    """

    name: ClassVar[str]
    prices: ClassVar[dict[str, Decimal]]
    quantity: ClassVar[Decimal]

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.numbers: dict[str, str] = {}
        """What orders were sent under, as the ledger keeps it."""
        self.broker: Broker = self.make_broker()

    @property
    def symbol(self) -> str:
        return next(iter(self.prices))

    def order(self, intent: str = "one", **changed: Any) -> Order:
        """A limit order that rests."""
        symbol = changed.get("symbol", self.symbol)
        fields: dict[str, Any] = {
            "client_order_id": client_order_id("conformance", TODAY, symbol, intent), "decision_id": None,
            "strategy": "conformance", "session": TODAY, "symbol": symbol, "side": Side.BUY, "quantity": self.quantity,
            "order_type": "limit", "time_in_force": "gtc", "decision_price": self.prices[symbol], "created_at": START,
            "limit_price": self.prices[symbol],
        }  # fmt: skip
        return Order(**fields | changed)

    def send(self, order: Order) -> OrderReport:
        """Send as the desk does: the number is written down first, and used again."""
        number = self.numbers.setdefault(order.client_order_id, self.broker.reserve())
        return self.broker.submit(order, number)

    def restart(self) -> Broker:
        """The process ended; another one begins."""
        if isinstance(self.broker, RemoteBroker):
            self.broker.close()
        self.broker = self.make_broker()
        return self.broker

    @abstractmethod
    def make_broker(self) -> Broker:
        """A broker on the venue, connected."""

    @abstractmethod
    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """The market trades some of an order."""

    @abstractmethod
    def orders_under(self, name: str) -> int:
        """How many orders the venue was ever given under an id."""

    def reject_next(self) -> Order:
        """Make the venue refuse the next order; an order that it refuses."""
        raise NotImplementedError

    def send_unheard(self, order: Order) -> None:
        """Send an order and die before the answer comes."""
        self.send(order)

    def trade_by_hand(self, quantity: Decimal, price: Decimal) -> None:
        """Somebody else trades in the account, and leaves an order working."""
        raise NotOfferedError("nobody else can trade on its book")

    def lose_connection(self) -> None:
        """The venue cannot be reached, until `regain_connection`."""
        raise NotOfferedError("there is no connection to lose")

    def regain_connection(self) -> None:
        """It can be reached again, and the broker connects."""
        raise NotOfferedError("there is no connection to lose")


class PaperHarness(Harness):
    """The paper broker: bars are made so that they trade the wanted quantity at the wanted price."""

    name = "paper"
    prices: ClassVar = {"AAPL": Decimal("170.00"), "MSFT": Decimal("105.50")}
    quantity = Decimal(100)

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._days = itertools.count(1)
        super().__init__(stack, folder)

    def make_broker(self) -> PaperBroker:
        costs = ExecutionSettings(slippage_bps=0, impact_bps=0, participation_cap=1)
        return PaperBroker(self.folder / "paper.db", costs, volume_required=True, opening_cash=Decimal(1_000_000))

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        session, level = TODAY + timedelta(days=next(self._days)), float(price)
        bar = SessionBar(order.symbol, session, level, level, level, level, float(quantity), "conformance", "", 0)
        assert isinstance(self.broker, PaperBroker)
        self.broker.trade_session(session, {order.symbol: bar})

    def orders_under(self, name: str) -> int:
        return len(self.broker.reports([name]))

    def reject_next(self) -> Order:
        return self.order("fraction", quantity=Decimal("0.5"))


class IbkrHarness(Harness):
    """Interactive Brokers: the loopback gateway and the unmodified client library."""

    name = "ibkr"
    prices: ClassVar = {"AAPL": Decimal("170.00"), "MSFT": Decimal("105.50")}
    quantity = Decimal(100)

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.gateway = stack.enter_context(tws_gateway(prices=self.prices, start=START))
        super().__init__(stack, folder)

    def make_broker(self) -> IbkrBroker:
        broker = IbkrBroker(
            IbkrSettings(host=self.gateway.host, port=self.gateway.port),
            ConnectionSettings(answer_seconds=3, connect_seconds=3),
            session_of=lambda at: at.date(),
            terms=lambda symbol: None,
            highest_order_number=lambda: max(map(int, self.numbers.values()), default=0),
        )
        self.stack.callback(broker.close)
        wait_until(lambda: not self.gateway.clients())
        broker.open()
        broker.prepare(list(self.prices))
        return broker

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        self.gateway.fill(order.client_order_id, quantity, price)

    def orders_under(self, name: str) -> int:
        return sum(one.ticket.order_ref == name for one in self.gateway.orders())

    def reject_next(self) -> Order:
        self.gateway.reject_next(201, "Order rejected - reason:for a test")
        return self.order("refused")

    def send_unheard(self, order: Order) -> None:
        self.gateway.go_silent(True)
        self.send(order)
        wait_until(lambda: self.orders_under(order.client_order_id))
        self.gateway.disconnect_all()
        self.gateway.go_silent(False)

    def trade_by_hand(self, quantity: Decimal, price: Decimal) -> None:
        self.gateway.place_foreign(self.symbol, Side.BUY, 2 * quantity, price)
        self.gateway.fill("by hand", quantity, price)

    def lose_connection(self) -> None:
        self.gateway.refuse_connections(True)
        self.gateway.disconnect_all()
        broker = self.broker
        assert isinstance(broker, IbkrBroker)
        wait_until(lambda: broker.link() is LinkState.DOWN)

    def regain_connection(self) -> None:
        self.gateway.refuse_connections(False)
        assert isinstance(self.broker, IbkrBroker)
        self.broker.close()
        self.broker.open()


class BinanceSpotHarness(Harness):
    """Binance spot: the loopback venue and unmodified ccxt."""

    name = "binance_spot"
    prices: ClassVar = {"BTC/USDT": Decimal("42000.00"), "ETH/USDT": Decimal("2300.00")}
    quantity = Decimal("0.5")

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.venue = stack.enter_context(BinanceSpotServer(start=START))
        self.venue.free["BTC"] = Decimal(0)
        super().__init__(stack, folder)

    def make_broker(self) -> BinanceSpotBroker:
        broker = BinanceSpotBroker(
            BinanceSpotSettings(base_url=self.venue.base_url, api_key=KEY, api_secret=SECRET, receive_window_ms=500),
            ConnectionSettings(answer_seconds=3),
            session_of=lambda at: at.date(),
            now=self.venue.now,
            symbols=lambda: self.prices,
            poll_seconds=0.02,
            settling_seconds=0.05,
        )
        self.stack.callback(broker.close)
        broker.open()
        return broker

    def fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        self.venue.fill(order.client_order_id, quantity, price)

    def orders_under(self, name: str) -> int:
        return len(self.venue.of(name))

    def reject_next(self) -> Order:
        self.venue.reject_next()
        return self.order("refused")

    def send_unheard(self, order: Order) -> None:
        self.venue.fault("lose_answer")
        self.send(order)

    def trade_by_hand(self, quantity: Decimal, price: Decimal) -> None:
        self.venue.place_by_hand("BTCUSDT", "BUY", 2 * quantity, price)
        self.venue.fill("web_7c9f", quantity, price)

    def lose_connection(self) -> None:
        self.venue.refuse_connections()

    def regain_connection(self) -> None:
        self.venue.listen()
        assert isinstance(self.broker, BinanceSpotBroker)
        self.broker.open()


HARNESSES: tuple[type[Harness], ...] = (PaperHarness, IbkrHarness, BinanceSpotHarness)


@contextmanager
def harness_of(kind: type[Harness], folder: Path) -> Iterator[Harness]:
    """A broker with a new venue; both are gone afterwards."""
    with ExitStack() as stack:
        yield kind(stack, folder)
