"""What trading costs on the paper broker: slippage with square-root impact, and commission."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.market_data.instruments import on_tick
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.types import money

PRICE_STEP = Decimal("0.0001")


def fill_price(
    side: Side,
    reference: float,
    participation: float | None,
    costs: ExecutionSettings,
    *,
    low: float | None,
    high: float | None,
    tick_size: Decimal = PRICE_STEP,
) -> Decimal:
    """Price a market order pays: the reference, worse by half spread and impact, rounded against us to the tick.

    Parameters
    ----------
    reference
        The bar's open (or close, for market on close).
    participation
        Share of the bar's volume taken; None when the volume is unknown (then no impact can be computed and only the
        half spread is paid).
    low, high
        The bar's range, which a fill cannot leave; None when unknown.
    """
    bps = costs.slippage_bps + costs.impact_bps * (participation or 0.0) ** 0.5
    price = Decimal(repr(reference * (1 + side.sign * bps / 10_000)))
    if high is not None and low is not None:
        price = min(max(price, Decimal(repr(low))), Decimal(repr(high)))
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    return money(on_tick(price, tick_size, rounding))


def commission(quantity: Decimal, price: Decimal, costs: ExecutionSettings) -> Decimal:
    """Per-share commission with a minimum, capped at a fraction of the traded value (the cap wins)."""
    wanted = max(Decimal(str(costs.commission_per_share)) * quantity, Decimal(str(costs.commission_minimum)))
    return money(min(wanted, Decimal(str(costs.commission_maximum)) * quantity * price))
