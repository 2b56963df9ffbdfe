"""Parent orders for tests, and a venue that does to their slices what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.execution.algorithms.almgren_chriss import Impact
from quant_dagster.execution.algorithms.due import due, sliced, superseded
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder, ParentState, apply
from quant_dagster.execution.algorithms.progress import ChildProgress, MarketView, Progress, Slice
from quant_dagster.execution.algorithms.volume_curve import VolumeCurve, uniform
from quant_dagster.settings import AlgorithmSettings

SESSION = date(2019, 2, 14)
OPEN = datetime(2019, 2, 15, 14, 30, tzinfo=UTC)
CLOSE = datetime(2019, 2, 15, 21, 0, tzinfo=UTC)
COSTS = Impact(volatility=3.0, half_spread=0.01, temporary=2e-6, permanent=2e-7)


def minutes(count: float) -> datetime:
    """An instant after the open."""
    return OPEN + timedelta(minutes=count)


def view(volume: int | Decimal | None = None, price: int | None = None) -> MarketView:
    """The market in that session."""
    return MarketView(
        OPEN, CLOSE, None if volume is None else Decimal(volume), None if price is None else Decimal(price)
    )


def working(
    algorithm: Algorithm,
    quantity: int | Decimal = 1000,
    *,
    interval: tuple[float, float] = (0, 390),
    lot: int | str = 1,
    curve: VolumeCurve | None = None,
    price: int = 100,
    **settings: float,
) -> ParentOrder:
    """A started parent order, worked from and to these minutes after the open."""
    chosen = AlgorithmSettings(**({"least_slice_value": 0} | settings))  # type: ignore[arg-type]
    parameters = Parameters.chosen(algorithm, chosen, lot=Decimal(lot), curve=curve or uniform(), impact=COSTS)
    return ParentOrder(
        parent_id="p1", decision_id=None, strategy="s", session=SESSION, symbol="IBM", side=Side.BUY,
        quantity=Decimal(quantity), algorithm=algorithm, parameters=parameters.as_json(),
        decision_price=Decimal(price), created_at=OPEN - timedelta(hours=12), state=ParentState.WORKING,
        starts_at=minutes(interval[0]), ends_at=minutes(interval[1]), events=2,
    )  # fmt: skip


@dataclass
class Venue:
    """Takes a parent's slices and fills, cancels or refuses them; keeps every slice it was given."""

    parent: ParentOrder
    children: dict[int, ChildProgress] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)

    @property
    def progress(self) -> Progress:
        return Progress(tuple(self.children[number] for number in sorted(self.children)))

    def ask(self, now: datetime, market: MarketView) -> Slice | None:
        """Cancel what is superseded and make what is due, as the daemon does."""
        for number in superseded(self.parent, self.progress, now, market):
            self.cancel(number)
        one = due(self.parent, self.progress, now, market)
        if one is not None:
            self.parent = apply(self.parent, sliced(self.parent, self.progress, one))
            self.children[one.number] = ChildProgress(one.number, one.quantity, Decimal(0), True, now)
            self.slices.append(one)
        return one

    def fill(self, number: int, quantity: Decimal | None = None) -> None:
        """Fill a slice by so much, or whole."""
        child = self.children[number]
        filled = min(child.quantity, child.filled + (child.quantity if quantity is None else quantity))
        self.children[number] = replace(child, filled=filled, is_open=filled < child.quantity)

    def cancel(self, number: int) -> None:
        """Close a slice with what it has."""
        self.children[number] = replace(self.children[number], is_open=False)

    def open_numbers(self) -> list[int]:
        return [number for number, child in sorted(self.children.items()) if child.is_open]

    def pause(self) -> None:
        self.parent = replace(self.parent, state=ParentState.PAUSED)

    def resume(self) -> None:
        self.parent = replace(self.parent, state=ParentState.WORKING)
