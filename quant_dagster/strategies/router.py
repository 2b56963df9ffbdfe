"""The router: which signal speaks for a symbol. Its answer always has the same shape, whatever is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from quant_dagster.settings import SignalSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import ALPHAS, MarketState
from quant_dagster.strategies.selection import priority, priority_factor

__all__ = ["Signal", "SignalBundle", "priority", "route", "signal_frame"]


@dataclass(frozen=True)
class Signal:
    """One alpha's view on one symbol, with the priority the router gave it."""

    alpha: str
    direction: int
    strength: float
    confidence: float
    risk: float
    priority: float
    enabled: bool
    reasons: str

    @property
    def dead(self) -> bool:
        """Its priority was taken from it: it has no information left."""
        return self.priority <= 0.0

    @property
    def speaks(self) -> bool:
        """Switched on, alive, and has a direction."""
        return self.enabled and self.direction != 0 and not self.dead


@dataclass(frozen=True)
class SignalBundle:
    """What the router says of a symbol: every source, and who is first and second to speak (None: nobody).

    ``conflict`` holds the two signals that cancelled each other; then nobody speaks.
    """

    symbol: str
    signals: tuple[Signal, ...]
    primary: Signal | None
    fallback: Signal | None
    conflict: tuple[Signal, ...] = ()


def signal_frame(state: MarketState, session: date, settings: SignalSettings) -> pl.DataFrame:
    """Every alpha's view on every symbol, in the schema of lake table ``signals``; disabled sources included.

    The priority is ``confidence_weight x confidence + risk_weight x (1 - risk)``, times the regime's tilt and the
    source's allocation (``selection``).
    """
    frames = []
    for name, alpha in ALPHAS.items():
        view = alpha(state, settings)
        base = priority(view.confidence, view.risk, settings)  # type: ignore[arg-type]
        frames.append(
            pl.DataFrame(
                {
                    "session": [session] * len(state.symbols),
                    "symbol": list(state.symbols),
                    "alpha": [name] * len(state.symbols),
                    "direction": view.direction,
                    "strength": view.strength,
                    "confidence": view.confidence,
                    "risk": view.risk,
                    "priority": base * priority_factor(name, state, settings),
                    "enabled": [_is_enabled(name, settings)] * len(state.symbols),
                    "reasons": list(view.reasons),
                }
            )
        )
    table = TABLES["signals"]
    return pl.concat(frames).cast(dict(table.schema)).select(list(table.schema)).sort("symbol", "alpha")  # type: ignore[arg-type]


def route(
    signals: pl.DataFrame, flags: Mapping[str, bool] | None = None, conflict_margin: float = 0.0
) -> Mapping[str, SignalBundle]:
    """A bundle per symbol from one session's rows of ``signals``: highest priority first, ties by name.

    Parameters
    ----------
    flags
        The feature flags as they are now (``flags.hot_flags``); None: as they were when the signals were made. A
        source they do not name is off.
    conflict_margin
        The first to speak and the first on the other side cancel when their priorities are closer than this.
    """
    by_symbol: dict[str, list[Signal]] = {}
    for row in signals.sort("symbol", "alpha").iter_rows(named=True):
        signal = Signal(**{name: row[name] for name in Signal.__dataclass_fields__})
        if flags is not None:
            signal = replace(signal, enabled=flags.get(signal.alpha, False))
        by_symbol.setdefault(row["symbol"], []).append(signal)
    return {symbol: _bundle(symbol, views, conflict_margin) for symbol, views in by_symbol.items()}


def _bundle(symbol: str, views: list[Signal], conflict_margin: float) -> SignalBundle:
    speaking = sorted((view for view in views if view.speaks), key=lambda view: (-view.priority, view.alpha))
    other_side = [view for view in speaking if view.direction != speaking[0].direction]
    if other_side and speaking[0].priority - other_side[0].priority < conflict_margin:
        return SignalBundle(symbol, tuple(views), None, None, (speaking[0], other_side[0]))
    return SignalBundle(
        symbol=symbol,
        signals=tuple(views),
        primary=speaking[0] if speaking else None,
        fallback=speaking[1] if len(speaking) > 1 else None,
    )


def _is_enabled(alpha: str, settings: SignalSettings) -> bool:
    return any(on for name, on in settings.flags.items() if name == alpha)
