"""From the gate's verdict to something that is worked: an order sent whole, or one that an algorithm slices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from quant_dagster.errors import ConfigurationError
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log, volume_curve
from quant_dagster.execution.algorithms.almgren_chriss import Impact
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm
from quant_dagster.execution.quality.impact_model import CostFacts, ImpactModel, estimate
from quant_dagster.risk.gate import MarketFacts, RiskDecision
from quant_dagster.settings import Settings

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.execution.algorithms.volume_curve import VolumeCurve

BASIS_POINT = 1e-4


class OrderMaker:
    """Makes the orders of one session, the way ``execution.algorithms`` says.

    Reading what an algorithm needs to know of the market writes to nothing; do it before a transaction (`prepare`).

    Parameters
    ----------
    algorithm
        How orders are worked; None: sent whole.
    """

    def __init__(
        self, settings: Settings, session: date, algorithm: Algorithm | None, context: TradingContext | None = None
    ) -> None:
        self.settings = settings
        self.session = session
        self.algorithm = algorithm
        self.context = context

    @classmethod
    def of_settings(cls, context: TradingContext, session: date) -> OrderMaker:
        """The way the settings want strategies' orders worked."""
        named = context.settings.execution.algorithms.algorithm
        return cls(context.settings, session, None if named == "none" else Algorithm(named), context)

    def prepare(self) -> OrderMaker:
        """Read what the algorithm and the estimate of costs have to know; itself.

        Raises
        ------
        ConfigurationError
            An algorithm is asked for at a broker that has no market to slice in.
        """
        if self.algorithm is not None and self.context is not None and not self.context.broker.capabilities.remote:
            raise ConfigurationError(
                f"algorithm '{self.algorithm}' needs a market that trades all day: broker "
                f"'{self.context.broker.name}' fills once a session. Set execution.algorithms.algorithm to none, or "
                "trade at 'quant gateway simulate'"
            )
        if self.algorithm is Algorithm.VWAP:
            _ = self._curves
        _ = self._costs
        return self

    def make(
        self,
        connection: Connection,
        verdict: RiskDecision,
        facts: MarketFacts | None,
        volatility: float | None,
        *,
        at: datetime,
    ) -> str:
        """Make what the verdict allows; returns how it is worked.

        Parameters
        ----------
        volatility
            Standard deviation of the one-session return; None: unknown, then Almgren-Chriss falls back to TWAP.
        """
        execution = self.settings.execution
        estimated = self._estimate(verdict)
        algorithm = self._possible(facts, volatility)
        if algorithm is None or verdict.intent.stop_price is not None:
            order_log.create(
                connection,
                verdict,
                order_type=execution.order_type_sent,
                time_in_force=execution.time_in_force,
                at=at,
                estimated_bps=estimated,
            )
            return "whole"
        symbol = verdict.intent.symbol
        parameters = Parameters.chosen(
            algorithm,
            execution.algorithms,
            lot=Decimal(facts.lot_size if facts is not None else 1),
            curve=self._curves.get(symbol, volume_curve.uniform()) if algorithm is Algorithm.VWAP else None,
            impact=self._impact(facts, volatility) if algorithm is Algorithm.ALMGREN_CHRISS else None,
        )
        parent_log.create(
            connection, verdict, algorithm=algorithm, parameters=parameters, at=at, estimated_bps=estimated
        )
        return algorithm.value

    def _estimate(self, verdict: RiskDecision) -> float | None:
        """What the order will probably cost, basis points; None where nobody knows."""
        intent = verdict.intent
        model, facts = self._costs
        known = facts.get(intent.symbol)
        if model is None or known is None:
            return None
        said = estimate(model, intent.symbol, intent.side, verdict.approved_quantity, known, self.settings.execution)
        return said.total_bps

    @cached_property
    def _costs(self) -> tuple[ImpactModel | None, Mapping[str, CostFacts]]:
        """The cost model learned from own fills, and what it has to know of each symbol."""
        if self.context is None:
            return None, {}
        from quant_dagster.cycle.execution_quality import all_cost_facts, cost_model

        context = self.context
        return cost_model(context, self.session), all_cost_facts(context, context.symbols, self.session)

    def _possible(self, facts: MarketFacts | None, volatility: float | None) -> Algorithm | None:
        """Almgren-Chriss has to know what trading costs and risks; where nobody does, it is TWAP."""
        if self.algorithm is Algorithm.ALMGREN_CHRISS and self._impact(facts, volatility) is None:
            return Algorithm.TWAP
        return self.algorithm

    def _impact(self, facts: MarketFacts | None, volatility: float | None) -> Impact | None:
        costs = self.settings.execution
        if facts is None or not facts.average_volume or not volatility or not costs.slippage_bps:
            return None
        return Impact.estimated(
            price=facts.price,
            volatility=volatility,
            half_spread=facts.price * costs.slippage_bps * BASIS_POINT,
            daily_volume=facts.average_volume,
        )

    @cached_property
    def _curves(self) -> Mapping[str, VolumeCurve]:
        """The volume curve of every symbol, from the sessions up to the decided one."""
        if self.context is None:
            return {}
        context, wanted = self.context, self.settings.execution.algorithms.curve_sessions
        trading = context.calendar.next_session(self.session)
        sessions = context.calendar.sessions(self.session.replace(year=self.session.year - 1), self.session)[-wanted:]
        bars = context.lake.read(
            "intraday_bars", symbols=context.symbols, start=sessions[0].astype(object), end=self.session
        )
        return volume_curve.learn(bars, context.symbols, context.calendar, before=trading, sessions=wanted)
