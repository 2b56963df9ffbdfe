"""Approved orders, fills and positions: the ledger's side. No step here is ever retried by Dagster."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl
from sqlalchemy import Table

from assets.metadata import OWNERS, markdown_table, table_metadata
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.errors import OrderError
from quant_dagster.storage import ledger_tables
from resources.desk import DeskResource

BROKER_POOL = "broker"
REPLAY_TAG = "quant/replay"
"""Run tag that says an older session is replayed on purpose; allowed on the paper broker only."""


def build_trading_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``approved_orders``, ``fills`` and ``positions``."""
    common: dict[str, Any] = {
        "owners": OWNERS,
        "code_version": code_version(),
        "partitions_def": partitions,
        "pool": BROKER_POOL,
    }

    @dg.asset(
        **common,
        group_name="execution",
        deps=["signals", "forecasts", "quality_scores", "bars"],
        kinds={"python", "sql"},
        description="One decision per symbol with its reasons, and the orders the risk gate approved. What is due from "
        "earlier sessions is settled first; deciding a session again changes nothing.",
    )
    def approved_orders(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        session = date.fromisoformat(context.partition_key)
        trading = desk.open()
        refuse_old_session(trading, session, replay=REPLAY_TAG in context.run_tags)
        cycle = desk.session(session)
        cycle.begin()
        approval = cycle.approve()
        decided = _rows(trading, ledger_tables.decisions, session)
        orders = _rows(trading, ledger_tables.orders, session)
        shown = decided.select("symbol", "action", "reasons", "confidence", "current_quantity", "target_quantity")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(orders.drop("created_at")),
                "actions": dg.MetadataValue.json(dict(approval.actions)),
                "repeated": approval.repeated,
                "decisions": dg.MetadataValue.md(markdown_table(shown.head(60))),
            }
        )

    @dg.asset(
        **common,
        group_name="execution",
        deps=[approved_orders, "bars"],
        kinds={"python", "sql"},
        description="Sends the session's approved orders to the broker and books every execution of the session. On "
        "paper an order can meet only the bars of later sessions. Where the trading daemon runs, both are its work.",
    )
    def fills(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.handover import handed_over

        session = date.fromisoformat(context.partition_key)
        trading = desk.open()
        cycle = desk.session(session)
        handed = handed_over(trading)
        settled = cycle.settle()
        sent = cycle.submit().sent
        frame = _rows(trading, ledger_tables.fills, session)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame.drop("provenance", "recorded_at")),
                "handed_over_to_daemon": handed,
                "orders_sent": sent + settled.sent,
                "orders_expired": settled.expired,
                "orders_rejected": settled.rejected,
            }
        )

    @dg.asset(
        **common,
        group_name="accounting",
        deps=[fills],
        kinds={"python", "sql"},
        description="Positions and the account at the session's close, from double-entry postings.",
    )
    def positions(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.operations.report.charts import as_markdown, equity_png

        session = date.fromisoformat(context.partition_key)
        trading = desk.open()
        cycle = desk.session(session)
        cycle.settle()
        cycle.complete()
        account = cycle.account()
        frame = _rows(trading, ledger_tables.positions, session)
        snapshots = trading.ledger.frame("account_snapshots").filter(pl.col("session") <= session)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame.drop("session")),
                "equity": float(account.equity),
                "cash": float(account.cash),
                "gross_exposure": float(account.gross_exposure),
                "realised_pnl": float(account.realised_pnl),
                "unrealised_pnl": float(account.unrealised_pnl),
                "equity_curve": dg.MetadataValue.md(as_markdown(equity_png(snapshots), "equity and drawdown")),
            }
        )

    return [approved_orders, fills, positions]


def build_trading_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """The books balance, the audit chain holds, every symbol has exactly one decision."""

    @dg.asset_check(
        asset="approved_orders",
        name="one_decision_per_symbol",
        blocking=True,
        partitions_def=partitions,
        description="Every member of the universe has exactly one decision in the session's cycle.",
    )
    def one_decision_per_symbol(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        session = date.fromisoformat(context.partition_key)
        decided = _rows(trading, ledger_tables.decisions, session)["symbol"].to_list()
        missing = sorted(set(trading.symbols_on(session)) - set(decided))
        return dg.AssetCheckResult(
            passed=not missing and len(decided) == len(set(decided)),
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"decisions": len(decided), "symbols_without": dg.MetadataValue.json(missing)},
        )

    @dg.asset_check(
        asset="positions",
        name="books_balance",
        blocking=True,
        partitions_def=partitions,
        description="Debits equal credits, positions are the sum of fills, orders are what their events say.",
    )
    def books_balance(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.operations.verification import verify_ledger

        report = verify_ledger(desk.open().ledger)
        return dg.AssetCheckResult(
            passed=report.sound,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"problems": dg.MetadataValue.json(list(report.problems)), **report.counts},
        )

    @dg.asset_check(
        asset="positions",
        name="audit_chain_intact",
        blocking=True,
        partitions_def=partitions,
        description="No byte of the audit log was changed, and orders, fills and decisions agree with it.",
    )
    def audit_chain_intact(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.observability.audit import verify

        report = verify(desk.open().ledger)
        return dg.AssetCheckResult(
            passed=report.intact,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"rows": report.rows, "problems": dg.MetadataValue.json(list(report.problems))},
        )

    return [one_decision_per_symbol, books_balance, audit_chain_intact]


def refuse_old_session(trading: TradingContext, session: date, *, replay: bool) -> None:
    """Orders are made for the newest session only, unless a replay on the paper broker says otherwise.

    Raises
    ------
    OrderError
        Saying which session is the newest and which tag allows a replay.
    """
    from quant_dagster.cycle.session import newest_session

    newest = newest_session(trading, trading.now())
    if session == newest or (replay and trading.settings.mode == "paper"):
        return
    raise OrderError(
        f"orders for {session} are refused: the newest session with bars is {newest}. To replay an older session on "
        f"the paper broker, tag the run {REPLAY_TAG}=true"
    )


def _rows(trading: TradingContext, table: Table, session: date) -> pl.DataFrame:
    """A session's rows of a ledger table."""
    frame = trading.ledger.frame(table.name)
    return frame.filter(pl.col("session") == session)
