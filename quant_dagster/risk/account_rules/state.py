"""The state the rules look at: what the events of the trading day add up to, and what was carried into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from quant_dagster.accounting.books import ZERO
from quant_dagster.risk.account_rules.events import (
    AccountEvent,
    Event,
    FillEvent,
    PositionEvent,
    QuoteEvent,
    StopEvent,
)

NEVER = datetime.min.replace(tzinfo=UTC)
LONGEST_WINDOW = timedelta(hours=1)


@dataclass
class Holding:
    """One symbol: signed position at average cost, newest price, working stop, and since when it has lacked one.

    ``began`` is, per rule that bites on the symbol, since when it does without a pause.
    """

    position: Decimal = ZERO
    entry_price: Decimal = ZERO
    position_at: datetime = NEVER
    opened_at: datetime = NEVER
    price: Decimal = ZERO
    bid: Decimal | None = None
    ask: Decimal | None = None
    price_at: datetime = NEVER
    stop_price: Decimal | None = None
    stop_quantity: Decimal = ZERO
    stop_at: datetime = NEVER
    unprotected_since: datetime | None = None
    began: dict[str, datetime] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 for a long position, -1 for a short one, 0 when flat."""
        return (self.position > 0) - (self.position < 0)

    @property
    def mark(self) -> Decimal:
        """The price the position could be closed at: bid for a long, ask for a short, where they are known."""
        side = self.bid if self.position > 0 else self.ask
        return self.price if side is None else side

    @property
    def unrealised_pnl(self) -> Decimal:
        """Account currency."""
        return self.position * (self.mark - self.entry_price)

    def hold(self, position: Decimal, entry_price: Decimal, at: datetime) -> None:
        """A new position; the stop of one that was closed or turned round is gone with it."""
        if at < self.position_at:
            return
        if self.sign * position <= 0:
            self.opened_at = at if position else self.opened_at
            if self.position:
                self.stop_price, self.unprotected_since = None, None
        self.position, self.entry_price, self.position_at = position, entry_price, at
        self._protect(at)

    def quote(self, price: Decimal, bid: Decimal | None, ask: Decimal | None, at: datetime) -> None:
        """A new price."""
        if at >= self.price_at:
            self.price, self.bid, self.ask, self.price_at = price, bid, ask, at

    def protect(self, stop_price: Decimal | None, quantity: Decimal | None, at: datetime) -> None:
        """A new stop; a stop without a quantity covers nothing."""
        if at >= self.stop_at:
            self.stop_price, self.stop_quantity, self.stop_at = stop_price, quantity or ZERO, at
            self._protect(at)

    def _protect(self, at: datetime) -> None:
        covered = self.stop_price is not None and self.stop_quantity >= abs(self.position)
        if covered or self.position == 0:
            self.unprotected_since = None
        elif self.unprotected_since is None:
            self.unprotected_since = at


@dataclass
class Trade:
    """The fills of one order: when the first happened, what they realised net, and whether it is of this day."""

    at: datetime
    realised_pnl: Decimal = ZERO
    today: bool = True


@dataclass
class AccountState:
    """The account in one trading day; ``realised_pnl`` (per symbol, net of commission) is of this day alone.

    ``can_trade`` is the broker's newest word, None before the first.
    """

    trading_day: date
    holdings: dict[str, Holding] = field(default_factory=dict)
    realised_pnl: dict[str, Decimal] = field(default_factory=dict)
    trades: dict[str, Trade] = field(default_factory=dict)
    can_trade: bool | None = None
    account_at: datetime = NEVER
    account_detail: str = ""
    began: dict[str, datetime] = field(default_factory=dict)

    def holding(self, symbol: str) -> Holding:
        """The symbol's holding; flat if nothing is known of it."""
        return self.holdings.get(symbol, Holding())

    def trades_since(self, after: datetime) -> int:
        """Trades whose first fill is later than ``after``."""
        return sum(trade.at > after for trade in self.trades.values())

    def trades_today(self) -> int:
        """Trades of this trading day."""
        return sum(trade.today for trade in self.trades.values())

    def apply(self, event: Event) -> None:
        """Add an event. What is older than what is known of a position, price, stop or account does not replace it."""
        match event:
            case FillEvent():
                self.realised_pnl[event.symbol] = self.realised_pnl.get(event.symbol, ZERO) + event.realised_pnl
                self.trades.setdefault(event.order_id, Trade(event.at)).realised_pnl += event.realised_pnl
                self._known(event.symbol).hold(event.position, event.entry_price, event.at)
                self._known(event.symbol).quote(event.price, None, None, event.at)
            case PositionEvent():
                self._known(event.symbol).hold(event.position, event.entry_price, event.at)
                self._known(event.symbol).quote(event.price, None, None, event.at)
            case QuoteEvent():
                self._known(event.symbol).quote(event.price, event.bid, event.ask, event.at)
            case StopEvent():
                self._known(event.symbol).protect(event.stop_price, event.quantity, event.at)
            case AccountEvent() if event.at >= self.account_at:
                self.can_trade, self.account_at, self.account_detail = event.can_trade, event.at, event.detail

    def roll(self, day: date, begins: datetime) -> None:
        """The daily reset: sums and counts of the day begin anew; all else, and the sliding windows, go on."""
        self.trading_day = day
        self.realised_pnl = {}
        oldest = begins - LONGEST_WINDOW
        self.trades = {name: trade for name, trade in self.trades.items() if trade.at > oldest}
        for trade in self.trades.values():
            trade.today = False

    def _known(self, symbol: str) -> Holding:
        return self.holdings.setdefault(symbol, Holding())
