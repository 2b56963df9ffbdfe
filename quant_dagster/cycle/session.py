"""One session through every stage. Each stage can be repeated, and reads what it needs from the lake and the ledger,
so the ``quant`` command runs them in one process and Dagster runs them as assets.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cached_property

import polars as pl
from sqlalchemy import Connection, select

from quant_dagster.accounting.actions import accrue_borrow
from quant_dagster.accounting.snapshots import Mark, record_snapshot, value_account
from quant_dagster.cycle import history
from quant_dagster.cycle.account_watch import watch_account
from quant_dagster.cycle.approval import Approval, approve, refuse_older_session
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.cycle.corporate_actions import book_corporate_actions
from quant_dagster.cycle.factors import store_factors
from quant_dagster.cycle.gatekeeping import closing_instant
from quant_dagster.cycle.handover import settle_at_broker, submit_to_broker
from quant_dagster.cycle.inputs import approval_inputs, market_state
from quant_dagster.cycle.model_watch import watch_models
from quant_dagster.cycle.modelling import forecast_panel
from quant_dagster.cycle.ordering import OrderMaker
from quant_dagster.cycle.pairs import follow_pairs
from quant_dagster.cycle.reconciling import reconcile_range
from quant_dagster.cycle.registry import register_models, store_importance
from quant_dagster.cycle.restatement import rebuild_restated
from quant_dagster.cycle.risk_actions import withdraw
from quant_dagster.cycle.session_data import SessionData
from quant_dagster.cycle.signal_selection import measure_alphas, settings_now
from quant_dagster.errors import DataUnavailableError
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import RemoteBroker, SimulatedVenue
from quant_dagster.execution.desk import Settlement
from quant_dagster.features.compute import FeatureFrame, to_long
from quant_dagster.market_data.calendars import FIRST_DAY
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.permission import enforce_kill, read_permission
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import cycles, decisions
from quant_dagster.strategies.decisions import cycle_id
from quant_dagster.strategies.performance import allocations
from quant_dagster.strategies.router import signal_frame

_VOLUME_WINDOW = 20


class SessionCycle(SessionData):
    """The stages of one session.

    Parameters
    ----------
    context
        The desk's parts.
    session
        The exchange session; everything used was known at its close.
    """

    def __init__(self, context: TradingContext, session: date) -> None:
        super().__init__(context, session)
        self.cycle_id = cycle_id(context.settings.strategy, context.settings.mode, session)

    # -- state ------------------------------------------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Has the cycle of this session been run to its end?"""
        with self.context.ledger.read() as connection:
            row = connection.execute(select(cycles.c.status).where(cycles.c.cycle_id == self.cycle_id)).first()
        return row is not None and row.status == "completed"

    def begin(self) -> None:
        """Open the cycle in the ledger; refuses a session older than the newest decided one."""
        context, settings = self.context, self.context.settings
        context.open_books(self.session)
        with context.ledger.write() as connection:
            refuse_older_session(connection, settings, self.session)
            now = context.ledger.now()
            row = {
                "cycle_id": self.cycle_id,
                "strategy": settings.strategy,
                "mode": settings.mode,
                "session": self.session,
                "status": "running",
                "settings_hash": settings.decision_hash(),
                "code_version": code_version(),
                "inputs": {},
                "started_at": now,
            }
            if insert_new(connection, cycles, row):
                key = f"cycle:{self.cycle_id}:started"
                audit.append(connection, key, "cycle_started", actor="desk", at=now, session=self.session)

    def complete(self) -> None:
        """Close the cycle in the ledger, if its session was decided."""
        with self.context.ledger.write() as connection:
            now = self.context.ledger.now()
            closed = connection.execute(
                cycles.update()
                .where(
                    cycles.c.cycle_id == self.cycle_id,
                    cycles.c.status == "running",
                    cycles.c.cycle_id.in_(select(decisions.c.cycle_id)),
                )
                .values(status="completed", completed_at=now)
            ).rowcount
            if closed:
                key = f"cycle:{self.cycle_id}:completed"
                audit.append(connection, key, "cycle_completed", actor="desk", at=now, session=self.session)

    # -- data -------------------------------------------------------------------------------------------------------

    def ingest(self) -> int:
        """Ask the vendors for this session; returns rows in the lake that are new or changed."""
        return history.ingest_range(self.context, self.session, self.session).changed

    def build_bars(self) -> int:
        """Choose each symbol's bar; returns how many there are for this session.

        The sessions a vendor was asked for again are built again: what it has restated since comes in here.
        """
        history.build_range(self.context, self._asked_for()[0], self.session)
        return len(self.bars)

    def score_quality(self) -> pl.DataFrame:
        """Score this session's bars (and, of the sessions before, those that were restated); returns this session's.

        Where several vendors speak of the session, their breaks are recorded.
        """
        scores = history.score_sessions(self.context, self.panel, self._asked_for())
        reconcile_range(self.context, self._asked_for()[0], self.session)
        return scores.filter(pl.col("session") == self.session)

    # -- execution of earlier orders ----------------------------------------------------------------------------------

    def settle(self) -> Settlement:
        """Fill what was ordered before against the bars since, mark the account to this session's closes.

        Sessions that had no cycle are gone through one by one, so that a day order meets only its own day.
        """
        context = self.context
        context.open_ledger()
        with context.ledger.read() as connection:
            open_orders = order_log.with_status(connection, order_log.OPEN, until=self.session)
        if isinstance(context.broker, RemoteBroker):
            book_corporate_actions(context, self.session)
            total = settle_at_broker(context, self.session)
            self._mark()
            return total
        total = Settlement()
        oldest = min((order.session for order in open_orders), default=self.session)
        for session in context.calendar.session_dates(oldest, self.session):
            if session > oldest or session == self.session:
                bars = self.bars_of(session)
                if not bars and session > oldest:
                    # Showing a venue an empty session would expire every day order for want of data.
                    raise DataUnavailableError(
                        "every symbol", "lake table bars", session, session, "orders wait for it; run 'quant backfill'"
                    )
                book_corporate_actions(context, session)
                done = context.desk.settle(session, bars)
                total = Settlement(
                    total.sent + done.sent,
                    total.fills + done.fills,
                    total.expired + done.expired,
                    total.rejected + done.rejected,
                )
        self._mark()
        return total

    def _mark(self) -> None:
        """Mark the account to this session's closes, and tell the rules."""
        context = self.context
        with context.ledger.write() as connection:
            now = context.ledger.now()
            marks = self.marks(connection)
            self._charge_borrow(connection, marks, now)
            record_snapshot(connection, marks, self.session, at=now)
            snapshot = value_account(connection, marks, self.session)
            limit = context.settings.risk.max_drawdown
            if float(snapshot.drawdown) > limit:
                reason = f"drawdown {float(snapshot.drawdown):.1%} is over risk.max_drawdown {limit:.1%}"
                escalate(connection, ControlMode.REDUCE, actor="drawdown", reason=reason, at=now)
            watch_account(connection, context, self.session, marks)

    def _charge_borrow(self, connection: Connection, marks: Mapping[str, Mark], now: datetime) -> None:
        """What shorts of a simulated account cost since the session before; a real broker charges by itself."""
        context = self.context
        rate = context.settings.portfolio.borrow_rate
        if not rate or not isinstance(context.broker, SimulatedVenue):
            return
        days = (self.session - context.calendar.previous_session(self.session)).days
        prices = {symbol: mark.price for symbol, mark in marks.items()}
        accrue_borrow(connection, self.session, prices=prices, annual_rates={}, days=days, at=now, default_rate=rate)

    # -- views ------------------------------------------------------------------------------------------------------

    @cached_property
    def feature_frame(self) -> FeatureFrame:
        """Every feature at this session."""
        return self.context.feature_memory.newest(self.panel, self.context.universe.exchange)

    def store_features(self) -> pl.DataFrame:
        """Write this session's features to the offline store; returns them."""
        frame = to_long(self.feature_frame)
        self._require_last_session()
        known = self.context.lake.read(
            "bars", columns=["symbol", "known_at"], symbols=self.symbols, end=self.session, ordered=False
        )
        frame = frame.join(known.group_by("symbol").agg(pl.col("known_at").max()), on="symbol", how="left")
        self.context.feature_store.write_offline(frame)
        rebuild_restated(self.context)
        return frame

    def store_factors(self) -> pl.DataFrame:
        """Store what each factor earned in this session and the exposures at its close; returns the former."""
        self._require_last_session()
        return store_factors(self.context, self.panel)[0]

    def push_features(self) -> int:
        """Push this session's features to the online store; returns rows written."""
        return self.context.feature_store.push_online(self.session).written

    def watch_models(self) -> pl.DataFrame:
        """Score stored forecasts whose outcome is known now, test the models for drift; returns the tests."""
        self._require_last_session()
        return watch_models(self.context, self.panel)

    def forecast(self) -> pl.DataFrame:
        """Ask every model about every symbol and store what each said, or why it did not; returns the rows."""
        self._require_last_session()
        run = forecast_panel(self.context, self.panel)
        history.store(self.context, "forecasts", run.frame)
        register_models(self.context, self.session, run.frame)
        store_importance(self.context, run.frame)
        return run.frame

    def make_signals(self) -> pl.DataFrame:
        """Follow the pairs, measure the alphas, let each speak on every symbol and store it all; returns the signals.

        Which sources are switched on is read from the settings files now.
        """
        context = self.context
        performance = measure_alphas(context, self.panel)
        state = market_state(
            context,
            self.session,
            self.feature_frame,
            pairs=follow_pairs(context, self.panel),
            allocation=allocations(performance, max(context.settings.forecasting.horizons)),
        )
        frame = signal_frame(state, self.session, settings_now(context.settings))
        history.store(context, "signals", frame)
        return frame

    # -- decisions --------------------------------------------------------------------------------------------------

    def approve(self) -> Approval:
        """Settle what is due, then decide every symbol once and approve orders, in one transaction.

        Kill conditions are obeyed first, and what automatic actions do not want at work is withdrawn.
        """
        context = self.context
        enforce_kill(context.ledger, context.settings, context.home)
        self.settle()
        withdraw(context, self.session, read_permission(context.ledger, context.settings, context.home).mode)
        return approve(
            context.ledger,
            context.settings,
            approval_inputs(context, self.session, self.panel),
            self.value,
            closing_instant(context.calendar, self.session),
            OrderMaker.of_settings(context, self.session).prepare(),
        )

    def submit(self) -> Settlement:
        """Send this session's approved orders to the broker, or leave them to the trading daemon where it runs."""
        if isinstance(self.context.broker, RemoteBroker):
            return submit_to_broker(self.context, self.session)
        return self.context.desk.submit(self.session)

    # -- inputs -----------------------------------------------------------------------------------------------------

    def _asked_for(self) -> list[date]:
        """The sessions vendors are asked for this evening: live ones for a few before this one as well."""
        if not any(vendor.capabilities.remote for vendor in self.context.vendors):
            return [self.session]
        overlap = self.context.settings.market_data.failover.overlap_sessions
        start = max(FIRST_DAY, self.session - timedelta(days=2 * overlap + 14))
        return self.context.calendar.session_dates(start, self.session)[-overlap - 1 :]

    def _require_last_session(self) -> None:
        if self.panel.last_session != self.session:
            raise DataUnavailableError(
                "every symbol",
                ", ".join(vendor.name for vendor in self.context.vendors),
                self.session,
                self.session,
                f"the newest bars are of {self.panel.last_session}; run 'quant backfill' or choose that session",
            )


def newest_session(context: TradingContext, now: datetime) -> date:
    """The newest session the lake has bars for: what a cycle runs by default.

    Raises
    ------
    DataUnavailableError
        There are no bars at all.
    """
    days = context.lake.read("bars", columns=["session"], symbols=context.symbols, ordered=False)["session"]
    newest = days.max()
    if not isinstance(newest, date):
        raise DataUnavailableError("every symbol", "lake table bars", None, None, "run 'quant backfill' first")
    return min(newest, context.calendar.latest_completed(now))
