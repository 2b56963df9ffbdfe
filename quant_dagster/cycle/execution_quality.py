"""How the orders of a trading session were executed: measured from ledger and lake, and stored in the ledger.

Belongs here: which orders and which data. Does not: the measures (``execution.quality``), what is shown of them
(``cli.cost_commands``, ``operations.report.execution``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from quant_dagster.errors import DataUnavailableError
from quant_dagster.execution.quality.benchmarks import one_series
from quant_dagster.execution.quality.impact_model import CostFacts, ImpactModel, PreTradeEstimate, estimate, fit
from quant_dagster.execution.quality.measurement import SymbolMarket, measured
from quant_dagster.execution.quality.worked import WorkedOrder, worked_orders
from quant_dagster.storage.ledger_tables import execution_quality
from quant_dagster.storage.types import canonical_json

if TYPE_CHECKING:
    from decimal import Decimal

    from quant_dagster.accounting.books import Side
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.settings import ExecutionSettings

VOLUME_WINDOW = 20
VOLATILITY_WINDOW = 60
MODEL_ORDERS = 5000
"""Most orders the cost model is learned from, the newest."""
_LEAST_RETURNS = 20
_DAYS = 2 * VOLATILITY_WINDOW  # calendar days that surely hold the window

Row = dict[str, Any]


def measure_execution(context: TradingContext, session: date) -> pl.DataFrame:
    """Measure every order that was in the market of a trading session, or could have been, and store the rows.

    A slice counts with its parent. The rows of the session are replaced in one transaction; measuring again gives the
    same rows, unless ledger or lake have learned something since. An order that works over several sessions is
    measured whole, in the last of them.

    Returns
    -------
    polars.DataFrame
        The rows, by order, in the shape of :func:`quality_frame`.
    """
    calendar, ledger = context.calendar, context.ledger
    with ledger.read() as connection:
        found = worked_orders(
            connection, session, previous=calendar.previous_session(session), next_session=calendar.next_session
        )
    half_spread = context.settings.execution.slippage_bps
    markets = _markets(context, found)
    rows = [measured(order, markets[order.order_id], half_spread_bps=half_spread) for order in found]
    with ledger.write() as connection:
        _replace(connection, session, rows)
    return quality_frame(context, orders=[row["order_id"] for row in rows])


def quality_frame(
    context: TradingContext,
    *,
    session: date | None = None,
    since: date | None = None,
    until: date | None = None,
    orders: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Stored rows of ``execution_quality``, by session and order: quantities and prices as floats, evidence as text."""
    with context.ledger.read() as connection:
        rows = quality_rows(connection, session=session, since=since, until=until, orders=orders)
    return as_frame(rows)


def quality_rows(
    connection: Connection,
    *,
    session: date | None = None,
    since: date | None = None,
    until: date | None = None,
    orders: Sequence[str] | None = None,
    newest: int | None = None,
) -> list[Row]:
    """Stored rows of ``execution_quality``, by session and order; at most the ``newest`` of them."""
    table = execution_quality
    query = select(table).order_by(table.c.session.desc(), table.c.order_id.desc()).limit(newest)
    if session is not None:
        query = query.where(table.c.session == session)
    if since is not None:
        query = query.where(table.c.session >= since)
    if until is not None:
        query = query.where(table.c.session <= until)
    rows = [dict(row) for row in connection.execute(query).mappings()][::-1]
    wanted = None if orders is None else set(orders)
    return [row for row in rows if wanted is None or row["order_id"] in wanted]


def as_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a polars frame; exact decimals become float64, evidence stays text."""
    schema = {column.name: _DTYPES.get(column.name, pl.Float64()) for column in execution_quality.columns}
    plain = [{name: _plain(name, row[name]) for name in schema} for row in rows]
    return pl.DataFrame(plain, schema=schema)


def cost_model(context: TradingContext, until: date | None = None) -> ImpactModel:
    """The cost model of the broker in use, learned from what was measured up to a session.

    It is fitted when it is asked for: the rows of ``execution_quality`` are all there is to keep of it.
    """
    with context.ledger.read() as connection:
        return cost_model_of(connection, context.settings.execution, until)


def cost_model_of(connection: Connection, costs: ExecutionSettings, until: date | None = None) -> ImpactModel:
    """The same from an open connection.

    The newest `MODEL_ORDERS` orders count, and of them those of the broker in use: what the paper broker charges says
    nothing of a market, and a market nothing of the paper broker.
    """
    rows = quality_rows(connection, until=until, newest=MODEL_ORDERS)
    return fit(
        [row for row in rows if row["evidence"].get("broker") == costs.broker], prior_impact_bps=costs.impact_bps
    )


def cost_facts(context: TradingContext, symbol: str, session: date) -> CostFacts:
    """What an estimate needs to know of a symbol, from the bars up to ``session``.

    Raises
    ------
    DataUnavailableError
        The lake has no bar of it.
    """
    found = all_cost_facts(context, [symbol], session).get(symbol)
    if found is None:
        raise DataUnavailableError(symbol, "lake table bars", None, session, "what an order would cost cannot be said")
    return found


def all_cost_facts(context: TradingContext, symbols: Sequence[str], session: date) -> dict[str, CostFacts]:
    """`cost_facts` of many symbols, read at once; those without a bar are left out."""
    bars = context.lake.read("bars", symbols=symbols, start=session - timedelta(days=_DAYS), end=session)
    found = {}
    for (symbol,), rows in bars.group_by("symbol", maintain_order=True):
        volatility, volume = _history(rows)
        found[str(symbol)] = CostFacts(float(rows["close"][-1]), volatility, volume)
    return found


def estimate_order(
    context: TradingContext, symbol: str, side: Side, quantity: Decimal, session: date, model: ImpactModel | None = None
) -> PreTradeEstimate:
    """What an order decided in ``session`` will probably cost."""
    fitted = cost_model(context, session) if model is None else model
    return estimate(fitted, symbol, side, quantity, cost_facts(context, symbol, session), context.settings.execution)


_DTYPES: dict[str, pl.DataType] = {
    "order_id": pl.String(), "session": pl.Date(), "symbol": pl.String(), "side": pl.String(),
    "algorithm": pl.String(), "evidence": pl.String(),
}  # fmt: skip


def _plain(name: str, value: Any) -> Any:
    if name == "evidence":
        return canonical_json(value)
    return value if name in _DTYPES or value is None else float(value)


def _replace(connection: Connection, session: date, rows: Sequence[Row]) -> None:
    table = execution_quality
    ids = [row["order_id"] for row in rows]
    connection.execute(table.delete().where(table.c.session == session))
    for row in rows:
        connection.execute(table.delete().where(table.c.order_id == row["order_id"]))
    if ids:
        connection.execute(table.insert(), list(rows))


def _markets(context: TradingContext, found: Sequence[WorkedOrder]) -> dict[str, SymbolMarket]:
    """The market of each order, everything read at once."""
    if not found:
        return {}
    symbols = sorted({order.symbol for order in found})
    first, last = min(order.first_session for order in found), max(order.session for order in found)
    decided = min(order.decided for order in found)
    bars = context.lake.read("bars", symbols=symbols, start=decided - timedelta(days=_DAYS), end=last)
    intraday = context.lake.read("intraday_bars", symbols=symbols, start=first, end=last)
    quotes = context.lake.read("intraday_quotes", symbols=symbols, start=first, end=last)
    by_symbol = {symbol: bars.filter(pl.col("symbol") == symbol) for symbol in symbols}
    calendar = context.calendar
    markets = {}
    for order in found:
        own = by_symbol[order.symbol]
        volatility, volume = _history(own.filter(pl.col("session") <= order.decided))
        during = (pl.col("symbol") == order.symbol) & pl.col("session").is_between(order.first_session, order.session)
        markets[order.order_id] = SymbolMarket(
            first_bar=_bar(own, order.first_session),
            bar=_bar(own, order.session),
            intraday=one_series(intraday.filter(during)),
            quotes=one_series(quotes.filter(during)),
            opens_at=calendar.open_time(order.first_session),
            closes_at=calendar.close_time(order.session),
            volatility=volatility,
            average_volume=volume,
            time_zone=calendar.time_zone,
        )
    return markets


def _bar(bars: pl.DataFrame, session: date) -> Row | None:
    rows = bars.filter(pl.col("session") == session)
    return None if rows.is_empty() else rows.row(0, named=True)


def _history(bars: pl.DataFrame) -> tuple[float | None, float | None]:
    """Standard deviation of the one-session log return, and mean volume; None where too little is known."""
    closes = bars["close"].tail(VOLATILITY_WINDOW + 1).to_numpy()
    volatility = None
    if len(closes) > _LEAST_RETURNS:
        volatility = float(np.std(np.diff(np.log(closes)), ddof=1))
    volumes = bars["volume"].tail(VOLUME_WINDOW).drop_nulls()
    average = float(volumes.mean()) if len(volumes) else 0.0  # type: ignore[arg-type]
    known = volatility is not None and math.isfinite(volatility) and volatility > 0
    return volatility if known else None, average if average > 0 else None
