"""The router: which signal speaks for a symbol. Its answer always has the same shape, whatever is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_dagster.settings import SignalSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.alphas import ALPHAS, MarketState


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
    def speaks(self) -> bool:
        """Switched on, and has a direction."""
        return self.enabled and self.direction != 0


@dataclass(frozen=True)
class SignalBundle:
    """What the router says of a symbol: every source, and who is first and second to speak (None: nobody)."""

    symbol: str
    signals: tuple[Signal, ...]
    primary: Signal | None
    fallback: Signal | None


def priority(confidence: float, risk: float, settings: SignalSettings) -> float:
    """``0.6 confidence + 0.4 (1 - risk)`` with the default weights."""
    return settings.confidence_weight * confidence + settings.risk_weight * (1.0 - risk)


def signal_frame(state: MarketState, session: date, settings: SignalSettings) -> pl.DataFrame:
    """Every alpha's view on every symbol, in the schema of lake table ``signals``; disabled sources included."""
    frames = []
    for name, alpha in ALPHAS.items():
        view = alpha(state, settings)
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
                    "priority": priority(view.confidence, view.risk, settings),  # type: ignore[arg-type]
                    "enabled": [_is_enabled(name, settings)] * len(state.symbols),
                    "reasons": list(view.reasons),
                }
            )
        )
    table = TABLES["signals"]
    return pl.concat(frames).cast(dict(table.schema)).select(list(table.schema)).sort("symbol", "alpha")  # type: ignore[arg-type]


def route(signals: pl.DataFrame) -> Mapping[str, SignalBundle]:
    """A bundle per symbol from one session's rows of ``signals``: highest priority first, ties by name."""
    by_symbol: dict[str, list[Signal]] = {}
    for row in signals.sort("symbol", "alpha").iter_rows(named=True):
        fields = {name: row[name] for name in Signal.__dataclass_fields__}
        by_symbol.setdefault(row["symbol"], []).append(Signal(**fields))
    bundles = {}
    for symbol, views in by_symbol.items():
        speaking = sorted((view for view in views if view.speaks), key=lambda view: (-view.priority, view.alpha))
        bundles[symbol] = SignalBundle(
            symbol=symbol,
            signals=tuple(views),
            primary=speaking[0] if speaking else None,
            fallback=speaking[1] if len(speaking) > 1 else None,
        )
    return bundles


def _is_enabled(alpha: str, settings: SignalSettings) -> bool:
    return any(on for name, on in settings.flags.items() if name == alpha)
