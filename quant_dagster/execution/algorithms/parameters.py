"""What an algorithm is told when its order is approved, as it stands in the ledger: enough to work it to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.almgren_chriss import Impact
from quant_dagster.execution.algorithms.parents import Algorithm
from quant_dagster.execution.algorithms.volume_curve import CurveSource, VolumeCurve
from quant_dagster.settings import AlgorithmSettings


@dataclass(frozen=True)
class Parameters:
    """The parameters of one parent order.

    Attributes
    ----------
    minutes
        Length of the interval it is worked over.
    slices
        Slices of TWAP, VWAP and Almgren-Chriss in that interval, at most.
    lot
        Smallest tradable quantity, shares.
    least_slice_value
        Slices of less value (account currency) are put together.
    participation
        POV: share of the market's volume.
    display
        Iceberg: share of the parent that shows at a time.
    risk_aversion
        Almgren-Chriss: lambda, per unit of currency.
    curve
        VWAP: the volume it expects, and where that is known from.
    impact
        Almgren-Chriss: volatility and cost of trading.
    """

    minutes: int
    slices: int
    lot: Decimal
    least_slice_value: Decimal
    participation: Decimal | None = None
    display: Decimal | None = None
    risk_aversion: float | None = None
    curve: VolumeCurve | None = None
    impact: Impact | None = None

    @classmethod
    def chosen(
        cls,
        algorithm: Algorithm,
        settings: AlgorithmSettings,
        *,
        lot: Decimal,
        curve: VolumeCurve | None = None,
        impact: Impact | None = None,
    ) -> Parameters:
        """The settings, and what is known of the symbol, as one order's parameters: those its algorithm reads.

        Raises
        ------
        OrderError
            VWAP without a curve, Almgren-Chriss without the cost of trading, or a lot that is not positive.
        """
        is_vwap, is_optimal = algorithm is Algorithm.VWAP, algorithm is Algorithm.ALMGREN_CHRISS
        if lot <= 0:
            raise OrderError(f"parameters of an order by {algorithm}: a lot of {lot} shares; it must be positive")
        if (is_vwap and curve is None) or (is_optimal and impact is None):
            needed = "a volume curve" if is_vwap else "volatility and cost of trading"
            raise OrderError(f"parameters of an order by {algorithm}: it needs {needed} of the symbol")
        return cls(
            minutes=settings.minutes,
            slices=settings.slices,
            lot=lot,
            least_slice_value=_exact(settings.least_slice_value),
            participation=_exact(settings.participation) if algorithm is Algorithm.POV else None,
            display=_exact(settings.display) if algorithm is Algorithm.ICEBERG else None,
            risk_aversion=settings.risk_aversion if is_optimal else None,
            curve=curve if is_vwap else None,
            impact=impact if is_optimal else None,
        )

    def as_json(self) -> dict[str, Any]:
        """As the ledger keeps them: decimals as text, absent ones left out."""
        content: dict[str, Any] = {"minutes": self.minutes, "slices": self.slices}
        for name in ("lot", "least_slice_value", "participation", "display"):
            value = getattr(self, name)
            if value is not None:
                content[name] = str(value)
        if self.risk_aversion is not None:
            content["risk_aversion"] = self.risk_aversion
        if self.curve is not None:
            curve = self.curve
            content["curve"] = {"shares": list(curve.shares), "source": str(curve.source), "sessions": curve.sessions}
        if self.impact is not None:
            impact = self.impact
            content["impact"] = {
                "volatility": impact.volatility,
                "half_spread": impact.half_spread,
                "temporary": impact.temporary,
                "permanent": impact.permanent,
            }
        return content

    @classmethod
    def of(cls, algorithm: Algorithm, content: Mapping[str, Any]) -> Parameters:
        """Read back what `as_json` wrote.

        Raises
        ------
        OrderError
            Something the algorithm needs is absent or cannot be read.
        """
        try:
            curve, impact = content.get("curve"), content.get("impact")
            found = cls(
                minutes=int(content["minutes"]),
                slices=int(content["slices"]),
                lot=Decimal(content["lot"]),
                least_slice_value=Decimal(content["least_slice_value"]),
                participation=_decimal(content, "participation"),
                display=_decimal(content, "display"),
                risk_aversion=content.get("risk_aversion"),
                curve=None
                if curve is None
                else VolumeCurve(tuple(curve["shares"]), CurveSource(curve["source"]), int(curve["sessions"])),
                impact=None if impact is None else Impact(**impact),
            )
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise OrderError(f"parameters of an order by {algorithm} cannot be read: {error!r} in {content}") from error
        needed: dict[Algorithm, tuple[str, ...]] = {
            Algorithm.POV: ("participation",),
            Algorithm.ICEBERG: ("display",),
            Algorithm.VWAP: ("curve",),
            Algorithm.ALMGREN_CHRISS: ("impact", "risk_aversion"),
        }
        absent = [name for name in needed.get(algorithm, ()) if getattr(found, name) is None]
        if absent or found.lot <= 0 or found.slices < 1:
            raise OrderError(f"parameters of an order by {algorithm}: {absent or 'lot or slices'} are not usable")
        return found


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))


def _decimal(content: Mapping[str, Any], name: str) -> Decimal | None:
    return Decimal(content[name]) if name in content else None
