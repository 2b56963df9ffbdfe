"""What may be concluded from what Interactive Brokers has told, and from what it has not (see ``adapter``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from quant_dagster.errors import BrokerUnavailableError
from quant_dagster.execution.broker import LinkState
from quant_dagster.execution.brokers.ibkr.client import IbkrClient
from quant_dagster.execution.brokers.ibkr.hearing import NAME
from quant_dagster.execution.brokers.ibkr.known_order import KnownOrder
from quant_dagster.execution.brokers.ibkr.view import BrokerView
from quant_dagster.settings import ConnectionSettings

_RESET_ZONE = ZoneInfo("America/New_York")
_CLOCK_SECONDS = 1.0
"""A told time is older than this: ask again. A simulated gateway's clock does not run like ours."""
_FRESH_SECONDS = 0.5


class Evidence:
    """Whether the broker has seen an order, and how fresh and how whole what it told is.

    Parameters
    ----------
    session_of
        The exchange session an instant belongs to.
    sent_at
        When an order was first sent, in the market's time, as the ledger has it.
    """

    def __init__(
        self,
        client: IbkrClient,
        view: BrokerView,
        connection: ConnectionSettings,
        session_of: Callable[[datetime], date],
        sent_at: Callable[[str], datetime | None],
    ) -> None:
        self._client, self._view, self._connection = client, view, connection
        self._session_of, self._sent_at = session_of, sent_at
        self._listed_at = float("-inf")
        self._sent_times: dict[str, datetime] = {}
        self._forgot_before: datetime | None = None

    def refresh(self) -> None:
        """Ask again for all orders and executions; a restored link is up afterwards."""
        before = self.executions()
        state = self._client.state
        self._client.ask(self._client.learn, "asking for orders and executions", 3 * self._connection.answer_seconds)
        if state is LinkState.RESTORED and self._client.state is LinkState.RESTORED:
            self._client.state = LinkState.UP
        self.learned(before)

    def market_time(self) -> datetime:
        """The broker's clock; see `IbkrBroker.market_time`."""
        told = self._client.clock
        if self._client.state is not LinkState.DOWN and (told is None or time.monotonic() - told[1] > _CLOCK_SECONDS):
            self._client.ask(self._client.current_time, "asking for the time", upstream=False)
        return self.estimated_time()

    def estimated_time(self) -> datetime:
        """The broker's clock as it was last told, and gone by ours since."""
        told = self._client.clock
        if told is None:
            raise BrokerUnavailableError(NAME, "its clock is not known before the first connection")
        return told[0] + timedelta(seconds=time.monotonic() - told[1])

    def sending(self, client_order_id: str) -> None:
        """An order goes out now."""
        self._sent_times[client_order_id] = self.estimated_time()

    def seen(self, client_order_id: str) -> KnownOrder | None:
        """The order if there is evidence of it; asks the broker before it says that there is none."""
        known = self._view.known(client_order_id)
        if known is not None and self.is_evidence(known):
            self.complete(f"asking for order {client_order_id}")
            return self._view.known(client_order_id)
        self._client.require_up(f"asking for order {client_order_id}", upstream=True)
        self.listed()
        known = self._view.known(client_order_id)
        return known if known is not None and self.is_evidence(known) else None

    def is_evidence(self, order: KnownOrder) -> bool:
        """Has the broker spoken of an order, or is it certainly on its way?"""
        # What was sent over this very connection is on its way; what was sent over an earlier one may have been lost.
        on_its_way = order.connection == self._client.connections and self._client.state is not LinkState.DOWN
        executed = bool(self._view.executed_quantity(order.reference))
        return order.acknowledged or on_its_way or executed or order.refused_for_good

    def doubt(self, client_order_id: str) -> str:
        """Why an order that the broker does not tell of may have reached it all the same; empty: it did not."""
        sent = self._sent_times.get(client_order_id) or self._sent_at(client_order_id)
        if sent is None:
            return ""
        now = self.market_time()
        if self._session_of(sent) < self._session_of(now) or _day(sent) < _day(now):
            return f"sent at {sent:%Y-%m-%d %H:%M} UTC, before the broker's day: it may have traded; check positions"
        if self._forgot_before is not None and sent <= self._forgot_before:
            return f"sent at {sent:%Y-%m-%d %H:%M} UTC, and the broker has since forgotten: it may have traded"
        return ""

    def executions(self) -> set[str]:
        """Keys of the executions that were heard of."""
        return {message.key for message in self._view.executions()}

    def learned(self, before: set[str]) -> None:
        """Everything was told anew; of ``before``, what was not told again was forgotten."""
        self._listed_at = time.monotonic()
        now = self.estimated_time()
        told = self._client.executions_told
        today = self._session_of(now)
        missing = [
            message
            for message in self._view.executions()
            if message.key in before and message.key not in told and message.executed_at is not None
            and self._session_of(message.executed_at) == today
        ]  # fmt: skip
        if missing:
            self._forgot_before = now
            self._view.notice(
                f"the broker no longer tells of {len(missing)} executions of {today}: its day was reset; orders sent"
                f" before {now:%H:%M} UTC are not sent again without a trace of them"
            )

    def listed(self) -> None:
        """Open orders, completed orders and executions as of now, or of a moment ago."""
        if time.monotonic() - self._listed_at > _FRESH_SECONDS or self._client.state is not LinkState.UP:
            self.refresh()

    def complete(self, doing: str) -> None:
        """Have nothing missing of what happened while the broker's servers were away."""
        self._client.require_up(doing)
        if self._client.state is LinkState.RESTORED:
            self.refresh()


def _day(at: datetime) -> date:
    """The broker's day, which ends about midnight in New York: what happened in it is told only in it."""
    return at.astimezone(_RESET_ZONE).date()
