"""What is held at a session's close, and the history its risk is measured over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.cycle.session import SessionCycle
from quant_dagster.errors import DataUnavailableError, RiskError
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.risk.measures.holdings import SMALLEST_COVERAGE

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

FloatArray = NDArray[np.float64]
_T = TypeVar("_T")


@dataclass(frozen=True)
class HeldPortfolio:
    """The account at a session's close and the history of its universe up to it.

    Attributes
    ----------
    account
        Valued at the closes up to the session.
    panel
        A column for each member of the universe on the day, then for what else is held.
    quantities, prices
        Shape (m,), by column: signed shares, and the newest close, account currency a share; 0 and NaN: not held.
    """

    account: AccountSnapshot
    panel: Panel
    quantities: FloatArray
    prices: FloatArray

    @property
    def values(self) -> FloatArray:
        """Signed market values by column, account currency; 0 is not held."""
        return np.where(self.quantities != 0.0, self.quantities * self.prices, 0.0)

    @property
    def held(self) -> tuple[str, ...]:
        """Symbols with a position."""
        return self.names(self.quantities != 0.0)

    def names(self, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
        """The symbols of these columns."""
        return tuple(self.panel.symbols[j] for j in np.flatnonzero(chosen).tolist())

    def measurable(self, window: int) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
        """Newest ``window`` simple returns (sessions, m), the values that can be measured by them, and who cannot.

        A position with returns in fewer than half of the sessions has the value 0 and is named.
        """
        closes = self.panel.close[-(window + 1) :]
        returns = closes[1:] / closes[:-1] - 1.0
        known = np.isfinite(returns).sum(axis=0) >= SMALLEST_COVERAGE * len(returns)
        return returns, np.where(known, self.values, 0.0), self.names(~known & (self.quantities != 0.0))


def held_portfolio(context: TradingContext, session: date, lookback: int | None) -> HeldPortfolio:
    """The account at ``session``'s close with the newest ``lookback`` bars of its universe; None: all there are.

    Raises
    ------
    DataUnavailableError
        The session has no bars.
    BooksError
        A position has no price.
    """
    cycle = SessionCycle(context, session)
    context.ledger.upgrade()
    with context.ledger.read() as connection:
        account, prices = cycle.value(connection), cycle.prices(connection)
        holdings = books.balances(connection, until=session).holdings
    held = {symbol: float(one.quantity) for symbol, one in holdings.items() if one.quantity}
    names = tuple(dict.fromkeys([*context.symbols_on(session), *sorted(held)]))
    panel = load_panel(context.lake, names, session, lookback=lookback)
    if panel.last_session != session:
        raise DataUnavailableError(
            "every symbol", "lake table bars", session, session,
            f"the newest bars are of {panel.last_session}; run 'quant backfill' or choose that session",
        )  # fmt: skip
    return HeldPortfolio(
        account,
        panel,
        np.array([held.get(symbol, 0.0) for symbol in names]),
        np.array([float(prices[symbol]) if symbol in held else np.nan for symbol in names]),
    )


def attempt(work: Callable[[], _T], problems: list[str]) -> _T | None:
    """What ``work`` gives, or None and its RiskError among the problems: one part that cannot be had hides no other."""
    try:
        return work()
    except RiskError as error:
        problems.append(str(error))
        return None
