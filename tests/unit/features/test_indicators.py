"""Indicators that no installed library has, beside their formulas written out bar by bar."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.features.compute import compute
from tests.unit.features.real_panels import mixed_panel, one_symbol, with_gaps


def wilder_directional(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> dict[str, list[float]]:
    """New Concepts in Technical Trading Systems (Wilder 1978), section IV, with his sums over 14 days.

    The first sums are over 14 moves, then a sum loses a 14th of itself and gains the day's value; the first ADX is
    the mean of 14 DX, then 13/14 of the day before and 1/14 of the day's DX.
    """
    plus_di, minus_di, adx = ([float("nan")] * len(close) for _ in range(3))
    ranges, ups, downs, indices = [], [], [], []
    range_sum = up_sum = down_sum = average = 0.0
    for t in range(1, len(close)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        ups.append(up if up > max(down, 0.0) else 0.0)
        downs.append(down if down > max(up, 0.0) else 0.0)
        ranges.append(max(high[t], close[t - 1]) - min(low[t], close[t - 1]))
        if t < 14:
            continue
        if t == 14:
            range_sum, up_sum, down_sum = sum(ranges), sum(ups), sum(downs)
        else:
            range_sum += ranges[-1] - range_sum / 14
            up_sum += ups[-1] - up_sum / 14
            down_sum += downs[-1] - down_sum / 14
        plus_di[t], minus_di[t] = 100 * up_sum / range_sum, 100 * down_sum / range_sum
        indices.append(100 * abs(plus_di[t] - minus_di[t]) / (plus_di[t] + minus_di[t]))
        if len(indices) == 14:
            average = sum(indices) / 14
        elif len(indices) > 14:
            average = (13 * average + indices[-1]) / 14
        if len(indices) >= 14:
            adx[t] = average
    return {"plus_di_14": plus_di, "minus_di_14": minus_di, "adx_14": adx}


@pytest.mark.parametrize("symbol", ["IBM", "GOOG"])
def test_directional_movement_follows_wilders_worksheet(symbol: str) -> None:
    panel = mixed_panel()
    column = panel.symbols.index(symbol)
    listed = ~np.isnan(panel.close[:, column])
    bars = (getattr(panel, field)[listed, column] for field in ("high", "low", "close"))
    features = compute(panel)
    for name, expected in wilder_directional(*bars).items():
        np.testing.assert_allclose(features[name][listed, column], expected, rtol=1e-9, err_msg=name)


def test_cci_follows_lamberts_formula() -> None:
    """Lambert (Commodities, October 1980): (TP - mean) / (0.015 × mean absolute deviation), each over 20 days."""
    panel = mixed_panel()
    column = panel.symbols.index("IBM")
    actual = compute(panel)["cci_20"][:, column]
    typical = [
        sum(bar) / 3 for bar in zip(*(getattr(panel, f)[:, column] for f in ("high", "low", "close")), strict=True)
    ]
    for t in (19, 20, 57, 300, 625):
        window = typical[t - 19 : t + 1]
        mean = sum(window) / 20
        deviation = sum(abs(price - mean) for price in window) / 20
        assert actual[t] == pytest.approx((typical[t] - mean) / (0.015 * deviation), rel=1e-9)
    assert np.isnan(actual[:19]).all()


def test_signed_volume_is_the_change_of_on_balance_volume() -> None:
    """Granville (1963): the running total gains the volume of a rise and loses that of a fall."""
    panel = mixed_panel()
    column = panel.symbols.index("MSFT")
    close, volume = panel.close[:, column], panel.volume[:, column]
    balance = [0.0]
    for t in range(1, len(close)):
        balance.append(balance[-1] + volume[t] * float(np.sign(close[t] - close[t - 1])))
    actual = compute(panel)["signed_volume_20"][:, column]
    for t in (20, 100, 625):
        expected = (balance[t] - balance[t - 20]) / volume[t - 19 : t + 1].sum()
        assert actual[t] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_drift_does_not_disturb_rogers_satchell() -> None:
    """A bar that opens at its low and closes at its high has moved and has no Rogers-Satchell variance."""
    price = 100.0 * 1.01 ** np.arange(40)
    bar = {"open": price, "low": price, "high": price * 1.01, "close": price * 1.01}
    features = compute(one_symbol(**{name: list(values) for name, values in bar.items()}))
    assert features["rogers_satchell_20"][-1, 0] == pytest.approx(0.0, abs=1e-7)
    assert features["parkinson_20"][-1, 0] > 0.05
    assert features["yang_zhang_20"][-1, 0] == pytest.approx(0.0, abs=1e-6)


def test_bars_that_do_not_move_have_no_direction() -> None:
    flat = {field: [20.0] * 60 for field in ("open", "high", "low", "close")}
    features = compute(one_symbol(**flat))
    for name in ("plus_di_14", "minus_di_14", "adx_14", "rogers_satchell_20", "yang_zhang_20"):
        assert features[name][-1, 0] == 0.0, name
    for name in ("cci_20", "stochastic_k_14", "stochastic_d_14", "wavelet_noise_share"):
        assert np.isnan(features[name][-1, 0]), name


def test_oscillators_stay_within_their_bounds() -> None:
    features = compute(with_gaps(mixed_panel(), 0.01, seed=1))
    for name in ("plus_di_14", "minus_di_14", "adx_14"):
        assert np.nanmin(features[name]) >= 0.0 and np.nanmax(features[name]) <= 100.0, name
    assert np.nanmax(np.abs(features["signed_volume_20"])) <= 1.0
    share = features["wavelet_noise_share"]
    assert np.nanmin(share) > 0.0 and np.nanmax(share) < 1.0
