"""The positions that are measured, with a return of each in every session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]

FEWEST_SESSIONS = 100
SMALLEST_COVERAGE = 0.5  # of the sessions in which a position's symbol must have a return of its own


@dataclass(frozen=True)
class Holdings:
    """Positions of m symbols and their simple returns over n sessions, none missing.

    Attributes
    ----------
    symbols
        Those that are held, in the order they were given.
    values
        Shape (m,): signed market value in account currency, never 0.
    returns
        Shape (n, m).
    coverage
        Share of sessions with an own return, by symbol, of the symbols where that is below 1.
    """

    symbols: tuple[str, ...]
    values: FloatArray
    returns: FloatArray
    coverage: dict[str, float]

    @property
    def pnl(self) -> FloatArray:
        """What these positions would have made in each session, shape (n,), in currency."""
        return np.asarray(self.returns @ self.values)


def holdings(returns: FloatArray, values: FloatArray, symbols: Sequence[str]) -> Holdings:
    """Keep the symbols that are held and complete the histories of those that are young or miss sessions.

    A missing return is the symbol's beta times the mean return of the symbols that miss none, plus the symbol's own
    residuals, oldest first and over again: a one-factor proxy that keeps the symbol's variance and its share of the
    market's. A symbol with returns in fewer than half of the sessions is refused, for its beta would be a guess.

    Parameters
    ----------
    returns
        Simple returns, shape (n, symbols), oldest first; NaN is a missing one.
    values
        Signed market values, shape (symbols,), in account currency; 0 is not held.

    Raises
    ------
    RiskError
        Arrays that do not fit together, fewer than 100 sessions, a value or return that is not a number, nothing
        held, too short a history.
    """
    sessions, width = returns.shape
    if not width == len(values) == len(symbols):
        raise RiskError(
            f"risk measures: returns of {width} symbols, {len(values)} values and {len(symbols)} names do not belong "
            "together; pass one column, one value and one name per symbol"
        )
    if sessions < FEWEST_SESSIONS:
        raise RiskError(
            f"risk measures: {sessions} sessions of returns, {FEWEST_SESSIONS} are needed; load more history"
        )
    _refuse(~np.isfinite(values), symbols, "their value is not a finite number; mark the positions first")
    held = values != 0.0
    if not held.any():
        raise RiskError("risk measures: nothing is held; there is no risk to measure")
    _refuse(held & np.isinf(returns).any(axis=0), symbols, "a return is infinite; correct the prices")
    share = np.isfinite(returns).mean(axis=0)
    _refuse(
        held & (share < SMALLEST_COVERAGE),
        symbols,
        f"returns in fewer than {SMALLEST_COVERAGE:.0%} of {sessions} sessions; load more history or a shorter window",
    )
    complete = share == 1.0
    own: list[int] = np.flatnonzero(held).tolist()
    filled = returns[:, own]
    young: list[int] = np.flatnonzero(share[own] < 1.0).tolist()
    if young:
        market = returns[:, complete].sum(axis=1) / max(1, complete.sum())
        if not np.ptp(market) > 0.0:
            raise RiskError(
                f"risk measures: {symbols[own[young[0]]]} misses sessions, and no symbol that moves misses none, so "
                "there is nothing to complete its history from; load more symbols or correct the prices"
            )
        for j in young:
            filled[:, j] = _completed(filled[:, j], market)
    return Holdings(
        symbols=tuple(symbols[j] for j in own),
        values=values[own],
        returns=filled,
        coverage={symbols[own[j]]: float(share[own[j]]) for j in young},
    )


def overlapping_sums(values: FloatArray, horizon: int) -> FloatArray:
    """Sums over every ``horizon`` rows that follow each other, shape (n - horizon + 1, …).

    Of returns: what positions held at constant value make over the horizon.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, horizon, axis=0)
    return np.asarray(windows.sum(axis=-1))


def _completed(own: FloatArray, market: FloatArray) -> FloatArray:
    known = np.isfinite(own)
    moves = market[known] - market[known].mean()
    beta = float(moves @ own[known] / (moves @ moves))
    residuals = own[known] - beta * market[known]
    return np.where(known, own, beta * market + np.resize(residuals, len(own)))


def _refuse(refused: NDArray[np.bool_], symbols: Sequence[str], reason: str) -> None:
    if refused.any():
        names = [symbols[j] for j in np.flatnonzero(refused).tolist()]
        shown = ", ".join(names[:10])
        raise RiskError(f"risk measures of {len(names)} symbols ({shown}): {reason}")
