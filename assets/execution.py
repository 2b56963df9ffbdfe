"""After the fills: the books held against the broker's, and how well orders were executed."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, markdown_table, table_metadata
from assets.trading import BROKER_POOL
from quant_dagster.cycle.context import TradingContext, code_version
from resources.desk import DeskResource

_LEAST_ORDERS = 5
"""Orders with a price and an estimate that a session must have before its mean cost is held against the model's."""
_WORTH_A_WORD_BPS = 1.0
_BREAK_COLUMNS = ("break_id", "kind", "symbol", "reference", "ours", "theirs", "detail", "state")


def build_execution_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``broker_reconciliation`` and ``execution_quality`` of a session."""
    daily: dict[str, Any] = {"owners": OWNERS, "code_version": code_version(), "partitions_def": partitions}

    @dg.asset(
        **daily,
        group_name="accounting",
        pool=BROKER_POOL,
        deps=["positions"],
        kinds={"python", "sql"},
        description="Orders, fills, positions, cash and commissions of the ledger against the broker's. A difference "
        "locks its symbol, one of cash pauses the desk. Where the trading daemon runs it is its newest comparison.",
    )
    def broker_reconciliation(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        run, breaks = compare_with_broker(desk.open(), date.fromisoformat(context.partition_key))
        if run is None:
            return dg.MaterializeResult(
                metadata={**table_metadata(breaks), "compared_last": "never: the trading daemon has not compared yet"}
            )
        return dg.MaterializeResult(
            metadata={
                **table_metadata(breaks, preview=max(breaks.height, 1)),
                "broker": run["broker"],
                "asked_for_by": run["trigger"],
                "session": run["session"].isoformat(),
                "compared_last": f"{run['recorded_at']:%Y-%m-%d %H:%M:%S %Z}",
                **{f"compared_{kind}": count for kind, count in run["compared"].items()},
            }
        )

    @dg.asset(
        **daily,
        group_name="execution",
        deps=["positions", "bars"],
        kinds={"python", "sql"},
        description="Implementation shortfall of every order that was in the market of the session: delay, spread, "
        "impact, fees and opportunity, with benchmarks and what the cost model said before.",
    )
    def execution_quality(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.execution_quality import measure_execution

        rows = measure_execution(desk.open(), date.fromisoformat(context.partition_key))
        return dg.MaterializeResult(metadata={**table_metadata(rows.drop("evidence")), **slippage(rows)})

    return [broker_reconciliation, execution_quality]


def build_execution_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """The books agree with the broker's; every order was measured; orders cost what they were expected to."""

    @dg.asset_check(
        asset="broker_reconciliation",
        name="books_agree_with_broker",
        partitions_def=partitions,
        description="No break with the broker is open: orders, fills, positions, cash and commissions agree.",
    )
    def books_agree_with_broker(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.execution.reconciliation.record import open_breaks

        trading = desk.open()
        with trading.ledger.read() as connection:
            breaks = open_breaks(connection, trading.settings.execution.broker)
        # Not blocking: locks and the control mode stop what must stop, the rest of the session is still of use.
        return dg.AssetCheckResult(
            passed=not breaks,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(breaks)} breaks are open: 'quant broker breaks'" if breaks else "no break is open",
            metadata={"breaks": dg.MetadataValue.md(markdown_table(_break_frame(breaks)))},
        )

    @dg.asset_check(
        asset="execution_quality",
        name="every_order_measured",
        partitions_def=partitions,
        description="Every order that was executed in the session has a row of its own, or its algorithm's order has.",
    )
    def every_order_measured(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        missing, count = unmeasured(desk.open(), date.fromisoformat(context.partition_key))
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"executed": count, "not_measured": dg.MetadataValue.json(missing)},
        )

    @dg.asset_check(
        asset="execution_quality",
        name="slippage_as_expected",
        partitions_def=partitions,
        description="The mean cost of the session's orders (spread, impact and fees) is not above what the cost model "
        "said before by more than two standard errors and a basis point; of fewer than "
        f"{_LEAST_ORDERS} orders nothing is said.",
    )
    def slippage_as_expected(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.cycle.execution_quality import quality_frame

        said = slippage(quality_frame(desk.open(), session=date.fromisoformat(context.partition_key)))
        return dg.AssetCheckResult(
            passed=said["excess_bps"] <= max(_WORTH_A_WORD_BPS, 2.0 * said["standard_error_bps"]),
            severity=dg.AssetCheckSeverity.WARN,
            description=None if said["paid_bps"] else f"only {said['orders']} orders have a cost and an estimate",
            metadata=dict(said),
        )

    return [books_agree_with_broker, every_order_measured, slippage_as_expected]


def compare_with_broker(trading: TradingContext, session: date) -> tuple[dict[str, Any] | None, pl.DataFrame]:
    """Compare, or read what the trading daemon has compared; the run (None: there is none) and the open breaks."""
    from quant_dagster.cycle.broker_reconciliation import reconcile_account
    from quant_dagster.cycle.handover import connected, handed_over
    from quant_dagster.execution.broker import RemoteBroker
    from quant_dagster.execution.reconciliation.record import open_breaks
    from quant_dagster.operations.report.reconciliation import newest_runs

    if not handed_over(trading):
        with connected(trading), trading.desk.leased():
            # Another broker's account is as it is now, whatever session the run is of.
            remote = isinstance(trading.broker, RemoteBroker)
            reconcile_account(trading, trading.trading_session() if remote else session, "cycle")
    broker = trading.settings.execution.broker
    with trading.ledger.read() as connection:
        runs = newest_runs(connection, broker=broker)
        breaks = _break_frame(open_breaks(connection, broker))
    return (runs[0] if runs else None), breaks


def unmeasured(trading: TradingContext, session: date) -> tuple[list[str], int]:
    """Orders executed in the session whose cost is not measured, and how many were executed.

    An order that worked over several sessions is measured in the last of them.
    """
    from sqlalchemy import select

    from quant_dagster.storage.ledger_tables import execution_quality, fills, orders

    query = select(orders.c.client_order_id, orders.c.parent_id).join(fills).where(fills.c.session == session)
    with trading.ledger.read() as connection:
        executed = {parent or order for order, parent in connection.execute(query)}
        since = execution_quality.c.session >= session
        measured = set(connection.execute(select(execution_quality.c.order_id).where(since)).scalars())
    return sorted(executed - measured), len(executed)


def slippage(rows: pl.DataFrame) -> dict[str, float]:
    """Mean cost of filled orders and what was expected of them, basis points; zeros where too few can be compared.

    The model speaks of spread, impact and fees: what the market did before the order came is not its doing.
    """
    parts = [pl.col(f"{part}_bps") for part in ("spread", "impact", "fees")]
    known = rows.select(pl.sum_horizontal(parts, ignore_nulls=False).alias("paid"), "estimated_bps").drop_nulls()
    if known.height < _LEAST_ORDERS:
        nothing = dict.fromkeys(("paid_bps", "expected_bps", "excess_bps", "standard_error_bps"), 0.0)
        return {"orders": known.height, **nothing}
    excess = (known["paid"] - known["estimated_bps"]).to_numpy()
    return {
        "orders": known.height,
        "paid_bps": float(known["paid"].to_numpy().mean()),
        "expected_bps": float(known["estimated_bps"].to_numpy().mean()),
        "excess_bps": float(excess.mean()),
        "standard_error_bps": float(excess.std(ddof=1) / len(excess) ** 0.5),
    }


def _break_frame(breaks: list[dict[str, Any]]) -> pl.DataFrame:
    schema = dict.fromkeys(_BREAK_COLUMNS, pl.String())
    return pl.DataFrame([{name: row[name] for name in _BREAK_COLUMNS} for row in breaks], schema=schema)
