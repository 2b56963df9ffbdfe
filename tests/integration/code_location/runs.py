"""Runs of the code location's jobs inside the test, and what they decided."""

from __future__ import annotations

from datetime import date

import dagster as dg
from sqlalchemy import select

from assets.trading import REPLAY_TAG
from quant_dagster.cycle.context import TradingContext
from quant_dagster.definitions import defs
from quant_dagster.storage.ledger_tables import decisions

THURSDAY, FRIDAY, TUESDAY = date(2022, 12, 22), date(2022, 12, 23), date(2022, 12, 27)
REPLAY = {REPLAY_TAG: "true"}


def run(job: str, session: date, instance: dg.DagsterInstance, tags: dict[str, str] = REPLAY, **options):
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=session.isoformat(), tags=tags, raise_on_error=False, **options
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def event_text(event: dg.DagsterEvent, name: str) -> str:
    return str(event.materialization.metadata[name].value)


def decided(context: TradingContext) -> list[tuple[object, ...]]:
    with context.ledger.read() as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.session, decisions.c.symbol)).all()
    return [tuple(row) for row in rows]
