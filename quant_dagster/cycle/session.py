"""One session through every stage. Each stage can be repeated, and reads what it needs from the lake and the ledger,
so the ``quant`` command runs them in one process and Dagster runs them as assets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot, Mark, record_snapshot, stored_snapshot, value_account
from quant_dagster.cycle import history
from quant_dagster.cycle.approval import Approval, approve, refuse_older_session
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.cycle.wishes import ApprovalInputs, SymbolState
from quant_dagster.errors import DataUnavailableError
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import SessionBar
from quant_dagster.execution.desk import Settlement
from quant_dagster.features.compute import FeatureFrame, compute, to_long
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.gate import MarketFacts
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import cycles, decisions
from quant_dagster.storage.types import money
from quant_dagster.strategies.alphas import MarketState
from quant_dagster.strategies.decisions import cycle_id
from quant_dagster.strategies.router import route, signal_frame

_VOLUME_WINDOW = 20
_RECENT_SESSIONS = 250
_NEWEST_SESSIONS = 5
_MOST_MISSING = 5
"""Sessions without a single bar that are borne among the last 250; none among the newest five."""


class SessionCycle:
    """The stages of one session.

    Parameters
    ----------
    context
        The desk's parts.
    session
        The exchange session; everything used was known at its close.
    """

    def __init__(self, context: TradingContext, session: date) -> None:
        if not context.calendar.is_session(session):
            raise DataUnavailableError(
                "every symbol", context.universe.exchange, session, session, "the exchange is closed that day"
            )
        self.context = context
        self.session = session
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
        """Choose each symbol's bar; returns how many there are for this session."""
        history.build_range(self.context, self.session, self.session)
        return len(self.bars)

    def score_quality(self) -> pl.DataFrame:
        """Score this session's bars and store the scores; returns them."""
        return history.score_sessions(self.context, self.panel, [self.session])

    @cached_property
    def panel(self) -> Panel:
        """Every bar up to this session.

        Raises
        ------
        DataUnavailableError
            The newest sessions are missing for every symbol: what follows would be computed across a hole.
        """
        panel = load_panel(self.context.lake, self.context.symbols, self.session)
        self._refuse_holes(panel)
        return panel

    @cached_property
    def bars(self) -> Mapping[str, SessionBar]:
        """This session's bars per symbol."""
        return self._bars_of(self.session)

    # -- execution of earlier orders ----------------------------------------------------------------------------------

    def settle(self) -> Settlement:
        """Fill what was ordered before against the bars since, mark the account to this session's closes.

        Sessions that had no cycle are gone through one by one, so that a day order meets only its own day.
        """
        context = self.context
        with context.ledger.read() as connection:
            open_orders = order_log.with_status(connection, order_log.OPEN, until=self.session)
        total = Settlement()
        oldest = min((order.session for order in open_orders), default=self.session)
        for session in context.calendar.session_dates(oldest, self.session):
            if session > oldest or session == self.session:
                bars = self._bars_of(session)
                if not bars and session > oldest:
                    # Showing a venue an empty session would expire every day order for want of data.
                    raise DataUnavailableError(
                        "every symbol", "lake table bars", session, session, "orders wait for it; run 'quant backfill'"
                    )
                done = context.desk.settle(session, bars)
                total = Settlement(
                    total.sent + done.sent,
                    total.fills + done.fills,
                    total.expired + done.expired,
                    total.rejected + done.rejected,
                )
        with context.ledger.write() as connection:
            now = context.ledger.now()
            marks = self._marks(connection)
            record_snapshot(connection, marks, self.session, at=now)
            snapshot = value_account(connection, marks, self.session)
            limit = context.settings.risk.max_drawdown
            if float(snapshot.drawdown) > limit:
                reason = f"drawdown {float(snapshot.drawdown):.1%} is over risk.max_drawdown {limit:.1%}"
                escalate(connection, ControlMode.REDUCE, actor="drawdown", reason=reason, at=now)
        return total

    def account(self) -> AccountSnapshot:
        """The account at this session's closes: as recorded then, else valued now."""
        with self.context.ledger.read() as connection:
            recorded = stored_snapshot(connection, self.session)
            return recorded or value_account(connection, self._marks(connection), self.session)

    # -- views ------------------------------------------------------------------------------------------------------

    @cached_property
    def feature_frame(self) -> FeatureFrame:
        """Every feature over the whole panel."""
        return compute(self.panel, self.context.universe.exchange)

    def store_features(self) -> pl.DataFrame:
        """Write this session's features to the offline store; returns them."""
        frame = to_long(self.feature_frame, slice(len(self.panel.sessions) - 1, None))
        self._require_last_session()
        known = self.context.lake.read(
            "bars", columns=["symbol", "known_at"], symbols=self.context.symbols, end=self.session, ordered=False
        )
        frame = frame.join(known.group_by("symbol").agg(pl.col("known_at").max()), on="symbol", how="left")
        self.context.feature_store.write_offline(frame)
        return frame

    def push_features(self) -> int:
        """Push this session's features to the online store; returns rows written."""
        return self.context.feature_store.push_online(self.session).written

    def forecast(self) -> pl.DataFrame:
        """Fit every model to every symbol and store the forecasts; returns them."""
        from quant_dagster.forecasting.parameters import ForecastParameters, MeanModel
        from quant_dagster.forecasting.runner import forecast_session

        context, settings = self.context, self.context.settings.forecasting
        self._require_last_session()
        run = forecast_session(
            self.panel,
            horizons=tuple(settings.horizons),
            data_version=context.lake.version("bars") or 0,
            settings=ForecastParameters(
                window=settings.window,
                min_observations=settings.minimum_observations,
                mean_model=MeanModel(settings.mean_model),
                garch_starts=settings.garch_starts,
                hmm_states=settings.hmm_states,
                workers=settings.workers,
            ),
            progress=context.progress,
        )
        history.store(context, "forecasts", run.frame)
        return run.frame

    def make_signals(self) -> pl.DataFrame:
        """Let every alpha speak on every symbol and store it; returns the signals."""
        forecasts = self._read("forecasts")
        frame = signal_frame(self._market_state(forecasts), self.session, self.context.settings.signals)
        history.store(self.context, "signals", frame)
        return frame

    # -- decisions --------------------------------------------------------------------------------------------------

    def approve(self) -> Approval:
        """Settle what is due, then decide every symbol once and approve orders, in one transaction."""
        self.settle()
        context = self.context
        return approve(
            context.ledger,
            context.settings,
            self._approval_inputs(),
            lambda connection: value_account(connection, self._marks(connection), self.session),
        )

    def submit(self) -> Settlement:
        """Send this session's approved orders to the broker."""
        return self.context.desk.submit(self.session)

    # -- inputs -----------------------------------------------------------------------------------------------------

    def _read(self, table: str) -> pl.DataFrame:
        return self.context.lake.read(table, symbols=self.context.symbols, start=self.session, end=self.session)

    def _refuse_holes(self, panel: Panel) -> None:
        """A symbol that misses a session is scored for it; sessions that every symbol misses show in no panel."""
        newest = panel.sessions[-_RECENT_SESSIONS:]
        expected = self.context.calendar.sessions(newest[0].astype(object), self.session)[-_RECENT_SESSIONS:]
        missing = np.setdiff1d(expected, newest)
        if len(missing) > _MOST_MISSING or bool(np.isin(missing, expected[-_NEWEST_SESSIONS:]).any()):
            raise DataUnavailableError(
                "every symbol",
                ", ".join(vendor.name for vendor in self.context.vendors),
                missing[0].astype(object),
                missing[-1].astype(object),
                f"{len(missing)} of the last {len(expected)} sessions have no bar at all; run 'quant backfill'",
            )

    def _require_last_session(self) -> None:
        if self.panel.last_session != self.session:
            raise DataUnavailableError(
                "every symbol",
                ", ".join(vendor.name for vendor in self.context.vendors),
                self.session,
                self.session,
                f"the newest bars are of {self.panel.last_session}; run 'quant backfill' or choose that session",
            )

    def _bars_of(self, session: date) -> dict[str, SessionBar]:
        lake = self.context.lake
        version = lake.version("bars") or 0
        rows = lake.read("bars", start=session, end=session)
        return {
            row["symbol"]: SessionBar(
                symbol=row["symbol"],
                session=session,
                open=row["open"],
                high=row["high"],
                low=row["low"],
                close=row["close"],
                volume=row["volume"],
                vendor=row["vendor"],
                row_hash=row["row_hash"],
                lake_version=version,
            )
            for row in rows.iter_rows(named=True)
        }

    def _marks(self, connection: Connection) -> dict[str, Mark]:
        """The newest close up to this session of everything held."""
        held = [symbol for symbol, holding in books.balances(connection).holdings.items()]
        marks = {s: Mark(money(bar.close), self.session) for s, bar in self.bars.items() if s in held}
        if missing := [symbol for symbol in held if symbol not in marks]:
            rows = self.context.lake.read(
                "bars", columns=["symbol", "session", "close"], symbols=missing, end=self.session
            ).drop_nulls("close")
            for row in rows.group_by("symbol").tail(1).iter_rows(named=True):
                marks[row["symbol"]] = Mark(money(row["close"]), row["session"])
        return marks

    def _market_state(self, forecasts: pl.DataFrame) -> MarketState:
        symbols = self.context.symbols
        combined = self._combined(forecasts)
        regimes = _by_symbol(
            forecasts.filter(
                pl.col("model").str.starts_with("hmm")
                & (pl.col("horizon") == min(self.context.settings.forecasting.horizons))
            )
        )
        features = {name: self.feature_frame[name][-1] for name in self.feature_frame.names}
        nan = float("nan")
        return MarketState(
            symbols=symbols,
            features=features,
            mean=np.array([combined[s]["mean"] if s in combined else nan for s in symbols]),
            volatility=np.array([combined[s]["std"] if s in combined else nan for s in symbols]),
            high_volatility=np.array(
                [
                    json.loads(regimes[s]["diagnostics"])["next_probabilities"][-1] if s in regimes else nan
                    for s in symbols
                ]
            ),
        )

    def _approval_inputs(self) -> ApprovalInputs:
        context, panel = self.context, self.panel
        scores = _by_symbol(self._read("quality"))
        combined = self._combined(self._read("forecasts"))
        bundles = route(self._read("signals"))
        facts = self._facts(panel)
        with context.ledger.read() as connection:
            held = [s for s, holding in books.balances(connection).holdings.items() if holding.quantity]
        others = [symbol for symbol in held if symbol not in panel.symbols]
        other_panel = load_panel(context.lake, others, self.session, lookback=_VOLUME_WINDOW) if others else None
        states = []
        for symbol in context.symbols:
            score, forecast = scores.get(symbol), combined.get(symbol)
            states.append(
                SymbolState(
                    symbol=symbol,
                    facts=facts.get(symbol),
                    quality_score=score["score"] if score else None,
                    quality_issues=score["issues"] if score else "not_scored",
                    not_evaluated=score["not_evaluated"] if score else "",
                    forecast_mean=forecast["mean"] if forecast else None,
                    forecast_volatility=forecast["std"] if forecast else None,
                    forecast_fallback=forecast["fallback"] if forecast else None,
                    bundle=bundles.get(symbol),
                )
            )
        scenarios = context.settings.risk.cvar_scenarios
        closes = panel.close[-(scenarios + 1) :]
        with np.errstate(invalid="ignore"):
            returns = closes[1:] / closes[:-1] - 1.0
        recent = panel.sessions[-max(_VOLUME_WINDOW, context.settings.risk.max_price_age_sessions + 1) :]
        return ApprovalInputs(
            session=self.session,
            states=states,
            held_facts=self._facts(other_panel) if other_panel is not None else {},
            scenario_returns=returns,
            scenario_symbols=panel.symbols,
            sessions_since={day: len(recent) - 1 - i for i, day in enumerate(recent.astype(object))},
            volume_required=context.universe.volume_required,
            lake_versions={name: context.lake.version(name) for name in ("bars", "quality", "forecasts", "signals")},
            code_version=code_version(),
        )

    def _combined(self, forecasts: pl.DataFrame) -> dict[str, dict[str, Any]]:
        """The combined forecast over the longest horizon, per session: the mean a position is held for."""
        horizon = max(self.context.settings.forecasting.horizons)
        rows = forecasts.filter((pl.col("model") == "combined") & (pl.col("horizon") == horizon))
        per_session = rows.with_columns(pl.col("mean") / horizon, pl.col("std") / horizon**0.5)
        return _by_symbol(per_session)

    def _facts(self, panel: Panel) -> dict[str, MarketFacts]:
        """What the gate needs to know of every symbol that has a close."""
        facts = {}
        volumes = panel.volume[-_VOLUME_WINDOW:]
        known_volumes = np.isfinite(volumes)
        averages = np.where(known_volumes, volumes, 0.0).sum(axis=0) / np.maximum(known_volumes.sum(axis=0), 1)
        for column, symbol in enumerate(panel.symbols):
            closes = panel.close[:, column]
            known = np.flatnonzero(np.isfinite(closes[-_VOLUME_WINDOW:])) + max(0, len(closes) - _VOLUME_WINDOW)
            if not len(known):
                continue
            facts[symbol] = MarketFacts(
                price=float(closes[known[-1]]),
                price_session=panel.sessions[known[-1]].astype(object),
                previous_price=float(closes[known[-2]]) if len(known) > 1 else None,
                average_volume=float(averages[column]) if known_volumes[:, column].any() else None,
                sector=self.context.sectors.get(symbol, "unknown"),
                lot_size=self.context.universe.lot_size,
            )
        return facts


def _by_symbol(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["symbol"]: row for row in frame.iter_rows(named=True)}


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
