"""What the report is about, read once: ledger rows of a period in one transaction, and the lake's rows beside them.

Belongs here: reading, and the arithmetic that joins tables (profit per symbol, cost of a fill, how forecasts did).
Does not: what a table or a figure looks like (``tables``, ``figures``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import ZERO, Side
from quant_dagster.accounting.performance import ClosedTrade, Performance, closed_trades, performance
from quant_dagster.errors import LedgerError
from quant_dagster.observability import audit
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import (
    account_snapshots,
    control_state,
    cycles,
    decisions,
    fills,
    orders,
    positions,
    risk_events,
)

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]


@dataclass(frozen=True)
class SymbolProfit:
    """What one symbol earned in the period: changes of realised and unrealised profit and of commission paid."""

    symbol: str
    quantity: Decimal
    market_value: Decimal
    realised: Decimal
    unrealised: Decimal
    commission: Decimal

    @property
    def net(self) -> Decimal:
        """Profit after commission."""
        return self.realised + self.unrealised - self.commission


@dataclass(frozen=True)
class FillCost:
    """What a fill cost against the price it was decided on, in currency; positive is a cost.

    Perold (1988), The Implementation Shortfall: ``delay`` is what the market moved from the decision to the
    reference price, ``execution`` what was paid beyond the reference. ``notional`` is at the decision price.
    """

    notional: Decimal
    delay: Decimal
    execution: Decimal
    commission: Decimal

    @property
    def total(self) -> Decimal:
        """All three together."""
        return self.delay + self.execution + self.commission

    def __add__(self, other: FillCost) -> FillCost:
        return FillCost(
            self.notional + other.notional,
            self.delay + other.delay,
            self.execution + other.execution,
            self.commission + other.commission,
        )


NO_COST = FillCost(ZERO, ZERO, ZERO, ZERO)


@dataclass(frozen=True)
class Period:
    """Rows of every ledger table from ``first`` to ``last``, both included, and what stood before.

    ``opening`` is the snapshot before ``first``, None where the account opened in the period;
    ``positions_before`` and ``positions_after`` belong to it and to the last snapshot.
    """

    first: date
    last: date
    cycles: list[Row]
    decisions: list[Row]
    orders: list[Row]
    fills: list[Row]
    risk_events: list[Row]
    control_changes: list[Row]
    snapshots: list[Row]
    opening: Row | None
    positions_before: dict[str, Row]
    positions_after: dict[str, Row]
    decided: dict[str, date]
    """Session in which each filled order was decided."""
    trades: list[ClosedTrade]
    book_problems: tuple[str, ...]
    audit: audit.AuditReport

    @cached_property
    def performance(self) -> Performance | None:
        """Figures of the equity series; None without a snapshot."""
        series = [self.opening, *self.snapshots] if self.opening else self.snapshots
        if not self.snapshots:
            return None
        return performance([row["session"] for row in series], [float(row["equity"]) for row in series])

    @cached_property
    def symbol_profits(self) -> list[SymbolProfit]:
        """Profit of every symbol ever held, the largest first."""
        found = []
        for symbol, after in self.positions_after.items():
            before = self.positions_before.get(symbol, {})
            change = {name: after[name] - before.get(name, ZERO) for name in _ACCUMULATED}
            found.append(
                SymbolProfit(
                    symbol,
                    after["quantity"],
                    after["market_value"],
                    change["realised_pnl"],
                    change["unrealised_pnl"],
                    change["commission"],
                )
            )
        return sorted(found, key=lambda profit: (-profit.net, profit.symbol))

    @cached_property
    def profit_reconciles(self) -> bool:
        """Do the symbols' profits add up, to the last decimal, to what the account's equity changed by?"""
        if not self.snapshots:
            return True
        start = self.opening or self.snapshots[0]
        base = ZERO if self.opening else start["realised_pnl"] + start["unrealised_pnl"] - start["commission"]
        change: Decimal = self.snapshots[-1]["equity"] - start["equity"] + base
        return sum((profit.net for profit in self.symbol_profits), ZERO) == change

    @cached_property
    def costs(self) -> list[FillCost]:
        """The cost of each fill, in the order of ``fills``."""
        return [fill_cost(row) for row in self.fills]


_ACCUMULATED = ("realised_pnl", "unrealised_pnl", "commission")


def read_period(ledger: Ledger, sessions: Sequence[date] | None) -> Period:
    """Everything the ledger holds from the first to the last of ``sessions`` (None: of all cycles).

    Raises
    ------
    LedgerError
        No cycle has been run in those sessions.
    """
    chain = audit.verify(ledger)
    with ledger.read() as connection:
        first, last = _range(connection, sessions)
        snapshots = _between(connection, account_snapshots, first, last)
        previous = connection.execute(
            select(func.max(account_snapshots.c.session)).where(account_snapshots.c.session < first)
        ).scalar()
        filled = _between(connection, fills, first, last, fills.c.sequence)
        ids = {row["client_order_id"] for row in filled}
        known = connection.execute(
            select(orders.c.client_order_id, orders.c.session).join(fills).where(fills.c.session.between(first, last))
        )
        history = [fill for fill in books.fills_of(connection) if fill.session <= last]
        return Period(
            first=first,
            last=last,
            cycles=_between(connection, cycles, first, last, cycles.c.strategy),
            decisions=_between(connection, decisions, first, last, decisions.c.symbol),
            orders=_between(connection, orders, first, last, orders.c.symbol),
            fills=filled,
            risk_events=_between(connection, risk_events, first, last, risk_events.c.symbol),
            control_changes=_rows(connection, select(control_state).order_by(control_state.c.sequence)),
            snapshots=snapshots,
            opening=next(iter(_between(connection, account_snapshots, previous, previous)), None) if previous else None,
            positions_before=_positions(connection, previous),
            positions_after=_positions(connection, snapshots[-1]["session"] if snapshots else None),
            decided={order: session for order, session in known if order in ids},
            trades=[trade for trade in closed_trades(history) if trade.session >= first],
            book_problems=tuple(books.problems(connection)),
            audit=chain,
        )


def fill_cost(row: Row) -> FillCost:
    """Delay, execution and commission of a row of ``fills``; positive is a cost."""
    signed = row["quantity"] * Side(row["side"]).sign
    return FillCost(
        notional=row["quantity"] * row["decision_price"],
        delay=signed * (row["reference_price"] - row["decision_price"]),
        execution=signed * (row["price"] - row["reference_price"]),
        commission=row["commission"],
    )


def read_quality(lake: Lake, period: Period) -> pl.DataFrame:
    """Quality scores of the decided symbols in the period."""
    return lake.read("quality", symbols=_symbols(period), start=period.first, end=period.last)


def read_bars(lake: Lake, period: Period) -> pl.DataFrame:
    """Bars of the decided symbols in the period."""
    return lake.read("bars", symbols=_symbols(period), start=period.first, end=period.last)


def read_forecasts(lake: Lake, period: Period) -> pl.DataFrame:
    """Forecasts made in the period, without parameters and diagnostics; refusals left out."""
    import polars as pl

    columns = ["session", "symbol", "model", "horizon", "mean", "std", "q05", "q25", "q50", "q75", "q95", "fallback",
               "status"]  # fmt: skip
    answered = pl.col("mean").is_not_null()
    return lake.read(
        "forecasts", columns=columns, symbols=_symbols(period), start=period.first, end=period.last, where=answered
    )


def forecast_outcomes(forecasts: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """How forecasts fared where the outcome is known by the period's end.

    Returns
    -------
    polars.DataFrame
        Per model and horizon: ``forecasts``, ``fallbacks``, ``known`` outcomes, the share of them inside the 25-75 %
        and the 5-95 % interval (``inside_50``, ``inside_90``), with the mean's sign (``same_sign``), and the mean and
        root mean square of outcome minus mean (``bias``, ``rmse``, log returns).
    """
    import polars as pl

    days = bars.select("session").unique().sort("session").with_row_index("day")
    closes = bars.join(days, on="session").select("symbol", pl.col("day").cast(pl.Int64), pl.col("close").log())
    known = (
        forecasts.join(days.with_columns(pl.col("day").cast(pl.Int64)), on="session", how="left")
        .join(closes, on=["symbol", "day"], how="left")
        .with_columns((pl.col("day") + pl.col("horizon").cast(pl.Int64)).alias("due"))
        .join(closes.rename({"day": "due", "close": "later"}), on=["symbol", "due"], how="left")
        .with_columns((pl.col("later") - pl.col("close")).alias("outcome"))
    )
    outcome, error = pl.col("outcome"), pl.col("outcome") - pl.col("mean")
    return (
        known.group_by("model", "horizon")
        .agg(
            pl.len().alias("forecasts"),
            (pl.col("status") == "fallback").sum().alias("fallbacks"),
            outcome.is_not_null().sum().alias("known"),
            outcome.is_between("q25", "q75").mean().alias("inside_50"),
            outcome.is_between("q05", "q95").mean().alias("inside_90"),
            (outcome.sign() == pl.col("mean").sign()).mean().alias("same_sign"),
            error.mean().alias("bias"),
            error.pow(2).mean().sqrt().alias("rmse"),
        )
        .sort("model", "horizon")
    )


def _symbols(period: Period) -> list[str]:
    return sorted({row["symbol"] for row in period.decisions})


def _range(connection: Connection, sessions: Sequence[date] | None) -> tuple[date, date]:
    query = select(func.min(cycles.c.session), func.max(cycles.c.session))
    if sessions is not None:
        if not sessions:
            raise LedgerError("nothing to report: no session was asked for, or the ledger has no cycle: 'quant replay'")
        query = query.where(cycles.c.session.between(min(sessions), max(sessions)))
    first, last = connection.execute(query).one()
    if first is None or last is None:
        asked = f" between {min(sessions)} and {max(sessions)}" if sessions else ""
        raise LedgerError(f"nothing to report: the ledger has no cycle{asked}; run 'quant replay' or 'quant cycle'")
    return first, last


def _between(connection: Connection, table: Table, first: date, last: date, *order: Any) -> list[Row]:
    query = select(table).where(table.c.session.between(first, last)).order_by(table.c.session, *order)
    return _rows(connection, query)


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _positions(connection: Connection, session: date | None) -> dict[str, Row]:
    if session is None:
        return {}
    return {row["symbol"]: row for row in _between(connection, positions, session, session, positions.c.symbol)}
