"""A desk that holds real positions over real prices, for the measures of risk and stress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import polars as pl

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.market_data.panel import Panel
from quant_dagster.risk.measures.measure import Method
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES
from tests.unit.accounting.test_books import unchecked
from tests.unit.forecasting.real_returns import stock_panel

SYMBOLS = ("AAPL", "JPM", "XOM", "PG")
POSITIONS = {"AAPL": 100, "JPM": 300, "XOM": -200}
LAST = date(2020, 6, 30)
WINDOW = 250
NOW = datetime(2020, 7, 1, tzinfo=UTC)


def prices(sessions: int = 620) -> Panel:
    """Real closes of four stocks up to `LAST`."""
    whole = stock_panel()
    return whole.columns([whole.symbols.index(symbol) for symbol in SYMBOLS]).last(sessions)


def bars(panel: Panel, volumes: dict[str, float] | None = None) -> pl.DataFrame:
    """The closes that are there, as rows of ``bars``."""
    table, count = TABLES["bars"], len(panel.sessions)
    values = {
        "symbol": np.repeat(panel.symbols, count),
        "session": np.tile(panel.sessions, len(panel.symbols)),
        "close": panel.close.T.ravel(),
        "volume": np.repeat([(volumes or {}).get(symbol, np.nan) for symbol in panel.symbols], count),
        "vendor": ["packaged"] * (count * len(panel.symbols)),
        "known_at": [NOW] * (count * len(panel.symbols)),
    }
    frame = pl.DataFrame({name: pl.Series(name, value) for name, value in values.items()}, nan_to_null=True)
    frame = frame.filter(pl.col("close").is_finite()).with_columns(
        pl.lit(None).cast(dtype).alias(name) for name, dtype in table.schema.items() if name not in values
    )
    return frame.select(list(table.schema)).cast(table.schema).with_columns(pl.col("volume").fill_nan(None))


def desk(
    panel: Panel | None = None,
    positions: dict[str, int] = POSITIONS,
    volumes: dict[str, float] | None = None,
    **risk: object,
) -> TradingContext:
    """A desk with a real history that bought at its last close, in an account of 100,000."""
    measures = {"window": WINDOW, "paths": 2000} | dict(risk.pop("measures", {}))  # type: ignore[call-overload]
    settings = load_settings(
        {"portfolio": {"initial_cash": 100_000.0}, "risk": {"measures": measures} | risk, "forecasting": {"workers": 1}}
    )
    context = TradingContext(settings, symbols=SYMBOLS, clock=lambda: NOW)
    panel = panel or prices()
    context.lake.merge("bars", bars(panel, volumes))
    context.open_books(panel.last_session)
    newest = {symbol: panel.close[-1, j] for j, symbol in enumerate(panel.symbols)}
    for symbol, quantity in positions.items():
        trade(context, symbol, quantity, newest[symbol], panel.last_session)
    return context


def trade(context: TradingContext, symbol: str, quantity: int, price: float, session: date) -> None:
    side = Side.BUY if quantity > 0 else Side.SELL
    amount = Decimal(str(round(price, 4)))
    with unchecked(context.ledger) as connection:
        number = f"{symbol}:{session}"
        fill = Fill(
            execution_id=number, client_order_id=number, session=session, symbol=symbol, side=side,
            quantity=Decimal(abs(quantity)), price=amount, commission=Decimal(0), decision_price=amount,
            reference_price=amount, provenance={},
        )  # fmt: skip
        books.book(connection, fill, at=NOW)


def without(panel: Panel, rows: slice, symbols: tuple[str, ...] = SYMBOLS[:3]) -> Panel:
    """The panel where ``symbols`` have no closes in ``rows``."""
    close = panel.close.copy()
    close[rows, [panel.symbols.index(symbol) for symbol in symbols]] = np.nan
    return replace(panel, close=np.asfortranarray(close))


def without_newest(panel: Panel, symbol: str, known: int) -> Panel:
    """The panel where ``symbol`` has closes in the newest ``known`` sessions only."""
    return without(panel, slice(0, len(panel.sessions) - known), (symbol,))


def by_hand(panel: Panel, positions: dict[str, int] = POSITIONS) -> tuple[np.ndarray, np.ndarray]:
    """Returns of the window, and values rounded as the books keep prices."""
    closes = panel.close[-(WINDOW + 1) :]
    values = np.array([positions.get(s, 0) * panel.close[-1, j] for j, s in enumerate(panel.symbols)])
    return closes[1:] / closes[:-1] - 1.0, values


def column(frame: pl.DataFrame, name: str, *, method: Method, confidence: float = 0.95) -> Iterable[float]:
    return frame.filter((pl.col("method") == method) & (pl.col("confidence") == confidence))[name].to_list()
