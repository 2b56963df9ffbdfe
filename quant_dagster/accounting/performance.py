"""What an account's equity says about a strategy, and how little that is when there are few sessions.

Belongs here: numbers made from equity per session and from fills. Does not: how they are shown (``operations``).
A number that the data cannot carry is None, with a note that says why; nothing is extrapolated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant_dagster.accounting.events import Event
from quant_dagster.accounting.fills import ZERO, Fill
from quant_dagster.accounting.holdings import Holding, after_event, after_fill, in_order
from quant_dagster.errors import BooksError

SESSIONS_PER_YEAR = 252
LEAST_FOR_ANNUAL_RETURN = SESSIONS_PER_YEAR
"""Returns below which none is annualised: GIPS 2010, 5.A.4 forbids it for less than a year."""
LEAST_FOR_VOLATILITY = 10
"""Returns below which neither volatility nor Sharpe ratio is given."""


@dataclass(frozen=True)
class Drawdown:
    """The deepest fall of equity below an earlier peak.

    ``depth`` is a positive fraction of the peak, ``money`` the same in currency; ``recovered`` is the first session
    at or above the peak again, None if there was none.
    """

    depth: float
    money: float
    peak: date
    trough: date
    recovered: date | None


@dataclass(frozen=True)
class Performance:
    """Figures of one equity series; fractions, not percent. ``returns`` counts session-to-session returns.

    ``sharpe`` is annualised, in excess of zero; ``sharpe_error`` is its standard error. ``session_hit_rate`` is the
    share of returns above zero. ``notes`` say what is missing and why.
    """

    first: date
    last: date
    returns: int
    initial_equity: float
    final_equity: float
    profit: float
    cumulative_return: float | None
    annualised_return: float | None
    annualised_volatility: float | None
    sharpe: float | None
    sharpe_error: float | None
    max_drawdown: Drawdown | None
    session_hit_rate: float | None
    best_return: float | None
    worst_return: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClosedTrade:
    """What one closing fill realised: its profit, and the commission of closing and of the part it closes."""

    session: date
    symbol: str
    quantity: Decimal
    profit: Decimal
    commission: Decimal

    @property
    def net(self) -> Decimal:
        """Profit after commission."""
        return self.profit - self.commission


def performance(sessions: Sequence[date], equity: ArrayLike) -> Performance:
    """Figures of an equity series; the first value is where it starts from, not a return.

    Parameters
    ----------
    sessions
        Ascending, one per value.
    equity
        Shape (sessions,), account currency, no deposits or withdrawals in between.

    Raises
    ------
    BooksError
        No value, a session without one or out of order, or a value that is not a number.
    """
    values = np.asarray(equity, dtype=np.float64)
    _require_series(sessions, values)
    returns = session_returns(values)
    count, notes = len(values) - 1, []
    cumulative = float(values[-1] / values[0] - 1.0) if count and values[0] > 0 else None
    annual = volatility = ratio = error = None
    if returns is None:
        notes.append("equity was not above zero throughout: returns are undefined")
    else:
        if cumulative is not None and count >= LEAST_FOR_ANNUAL_RETURN:
            annual = annualised_return(cumulative, count)
        else:
            notes.append(f"{count} returns are less than a year ({LEAST_FOR_ANNUAL_RETURN}): not annualised")
        if count >= LEAST_FOR_VOLATILITY:
            volatility = float(returns.std(ddof=1)) * math.sqrt(SESSIONS_PER_YEAR)
            ratio = sharpe_ratio(returns)
            error = None if ratio is None else sharpe_standard_error(ratio, count)
        else:
            notes.append(f"{count} returns are too few for a volatility (at least {LEAST_FOR_VOLATILITY})")
        if ratio is not None and error is not None and abs(ratio) < 1.96 * error:
            notes.append(
                f"the Sharpe ratio cannot be told from zero: {count} returns give it a standard error of {error:.1f}"
            )
    known = returns is not None and count > 0
    return Performance(
        first=sessions[0],
        last=sessions[-1],
        returns=count,
        initial_equity=float(values[0]),
        final_equity=float(values[-1]),
        profit=float(values[-1] - values[0]),
        cumulative_return=cumulative,
        annualised_return=annual,
        annualised_volatility=volatility,
        sharpe=ratio,
        sharpe_error=error,
        max_drawdown=max_drawdown(sessions, values),
        session_hit_rate=hit_rate(returns) if returns is not None else None,
        best_return=float(returns.max()) if returns is not None and known else None,
        worst_return=float(returns.min()) if returns is not None and known else None,
        notes=tuple(notes),
    )


def session_returns(equity: ArrayLike) -> NDArray[np.float64] | None:
    """Simple returns, shape (sessions - 1,); None where a base is not above zero."""
    values = np.asarray(equity, dtype=np.float64)
    if (values[:-1] <= 0).any():
        return None
    return np.asarray(values[1:] / values[:-1] - 1.0, dtype=np.float64)


def annualised_return(cumulative: float, sessions: int) -> float:
    """Geometric: what the return compounds to in `SESSIONS_PER_YEAR` sessions; a total loss stays one."""
    return float((1.0 + max(cumulative, -1.0)) ** (SESSIONS_PER_YEAR / sessions) - 1.0)


def sharpe_ratio(returns: ArrayLike) -> float | None:
    """Mean over sample standard deviation, times the root of `SESSIONS_PER_YEAR`; None when returns do not vary."""
    values = np.asarray(returns, dtype=np.float64)
    if len(values) < 2:
        return None
    deviation = float(values.std(ddof=1))
    # Equal returns leave a rounding error, not a deviation.
    if deviation <= 1e-14 * max(1.0, float(np.abs(values).max())):
        return None
    return float(values.mean()) / deviation * math.sqrt(SESSIONS_PER_YEAR)


def sharpe_standard_error(sharpe: float, observations: int, periods: int = SESSIONS_PER_YEAR) -> float:
    """Asymptotic standard error of an annualised Sharpe ratio of independent, identically distributed returns.

    Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4), 36-52: with ``s`` the ratio per
    observation, ``sqrt(periods) * sqrt((1 + s**2 / 2) / observations)``. Serial correlation and fat tails make the
    true error larger.

    Parameters
    ----------
    sharpe
        Annualised ratio; with ``periods=1``, the ratio per observation.
    """
    per_observation = sharpe / math.sqrt(periods)
    return math.sqrt(periods * (1.0 + 0.5 * per_observation**2) / observations)


def max_drawdown(sessions: Sequence[date], equity: ArrayLike) -> Drawdown | None:
    """The deepest fall from a peak, the earliest of equals; None when equity never fell or its peak is not positive."""
    values = np.asarray(equity, dtype=np.float64)
    peaks = np.maximum.accumulate(values)
    if len(values) == 0 or peaks[0] <= 0:
        return None
    depths = 1.0 - values / peaks
    trough = int(depths.argmax())
    if depths[trough] <= 0:
        return None
    peak = int(np.flatnonzero(values[: trough + 1] == peaks[trough])[-1])
    back = np.flatnonzero(values[trough:] >= peaks[trough])
    return Drawdown(
        depth=float(depths[trough]),
        money=float(peaks[trough] - values[trough]),
        peak=sessions[peak],
        trough=sessions[trough],
        recovered=sessions[trough + int(back[0])] if len(back) else None,
    )


def turnover(traded_value: float, equity: ArrayLike) -> float | None:
    """Value bought and sold over the mean equity of the period; None when that is not above zero."""
    values = np.asarray(equity, dtype=np.float64)
    mean = float(values.mean()) if len(values) else 0.0
    return traded_value / mean if mean > 0 else None


def hit_rate(results: ArrayLike) -> float | None:
    """Share of results above zero; None when there are none."""
    values = np.asarray(results, dtype=np.float64)
    return float((values > 0).mean()) if len(values) else None


def profit_factor(results: ArrayLike) -> float | None:
    """Sum of gains over sum of losses; None without losses, where it has no value."""
    values = np.asarray(results, dtype=np.float64)
    losses = float(-values[values < 0].sum())
    return float(values[values > 0].sum()) / losses if losses > 0 else None


def closed_trades(history: Iterable[Fill], events: Iterable[Event] = ()) -> list[ClosedTrade]:
    """Every fill that closed (part of) a position, at average cost, in the order they happened.

    A closing fill bears its own commission, shared by quantity when it also opens, and as much of what was paid
    to open as the part of the position it closes. ``events`` (`events.events_of`) are the splits in between.
    """
    holdings: dict[str, Holding] = {}
    opening_commission: dict[str, Decimal] = {}
    trades = []
    for one in in_order(history, list(events)):
        before = holdings.get(one.symbol, Holding(one.symbol))
        if not isinstance(one, Fill):
            holdings[one.symbol] = after_event(before, one)
            continue
        after = after_fill(before, one)
        holdings[one.symbol] = after
        if not one.quantity:
            continue  # taken back by its venue
        paid = opening_commission.get(one.symbol, ZERO)
        closes = before.quantity * one.side.sign < 0
        closed = min(one.quantity, abs(before.quantity)) if closes else ZERO
        own = one.commission * closed / one.quantity
        released = paid * closed / abs(before.quantity) if closed else ZERO
        opening_commission[one.symbol] = paid - released + one.commission - own
        if closed:
            profit = after.realised_pnl - before.realised_pnl
            trades.append(ClosedTrade(one.session, one.symbol, closed, profit, own + released))
    return trades


def _require_series(sessions: Sequence[date], values: NDArray[np.float64]) -> None:
    if values.ndim != 1 or len(values) == 0 or len(values) != len(sessions):
        raise BooksError(f"performance needs one equity value per session: {len(sessions)} sessions, {values.shape}")
    if not np.isfinite(values).all():
        missing = sessions[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise BooksError(f"equity of {missing} is not a number: record its snapshot first")
    if any(later <= earlier for earlier, later in itertools.pairwise(sessions)):
        raise BooksError("performance needs sessions in ascending order, each once")
