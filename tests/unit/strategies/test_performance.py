"""How sources are measured: against SciPy and statsmodels, on real prices, and never with tomorrow's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.performance import (
    AlphaState,
    allocations,
    alpha_performance,
    information_half_life,
    judged,
    rank_correlation,
    t_of_mean,
)
from tests.unit.forecasting.real_returns import stock_panel

PANEL = stock_panel().last(120)
DAYS = PANEL.sessions.astype(object).tolist()


@cache
def signals() -> pl.DataFrame:
    """A prophet, who knows the next five sessions, and his opposite; both are silent on every fourth symbol."""
    logs = np.log(PANEL.close)
    frames = []
    for t, day in enumerate(DAYS[:-1]):
        ahead = logs[min(t + 5, len(logs) - 1)] - logs[t]
        for name, side in (("prophet", 1), ("fool", -1)):
            direction = side * np.sign(ahead) * (np.arange(len(ahead)) % 4 != 0)
            frames.append(
                pl.DataFrame(
                    {"session": [day] * len(ahead), "symbol": list(PANEL.symbols), "alpha": [name] * len(ahead),
                     "direction": direction.astype(np.int8), "strength": np.clip(np.abs(ahead) * 10, 0, 1)}
                )
            )  # fmt: skip
    return pl.concat(frames)


def measured(alpha: str, horizon: int) -> dict[str, object]:
    rows = alpha_performance(signals(), PANEL, ["prophet", "fool", "mute"], 60)
    return rows.filter((pl.col("alpha") == alpha) & (pl.col("horizon") == horizon)).row(0, named=True)


def test_who_knows_the_future_is_sound_and_who_is_always_wrong_is_dead() -> None:
    assert measured("prophet", 5)["state"] == "sound" and measured("fool", 5)["state"] == "dead"
    assert measured("prophet", 5)["hit_rate"] == 1.0 and measured("fool", 5)["hit_rate"] == 0.0
    assert measured("prophet", 5)["t_statistic"] > 5 > -5 > measured("fool", 5)["t_statistic"]
    assert (measured("fool", 5)["allocation"], measured("mute", 5)["allocation"]) == (0.0, 1.0)
    assert measured("mute", 5)["state"] == "unknown" and measured("mute", 5)["signals"] == 0


def test_the_information_is_the_mean_of_the_sessions_rank_correlations() -> None:
    """Computed anew with SciPy from the long rows."""
    from scipy.stats import spearmanr

    logs = np.log(PANEL.close)
    values, signed = [], 0
    for t in range(len(DAYS) - 5 - 60, len(DAYS) - 5):
        rows = signals().filter((pl.col("alpha") == "prophet") & (pl.col("session") == DAYS[t]))
        strength = (rows["direction"] * rows["strength"]).to_numpy()
        values.append(spearmanr(strength, logs[t + 5] - logs[t])[0])
        signed += int((strength != 0).sum())
    row = measured("prophet", 5)
    assert row["information_coefficient"] == pytest.approx(np.mean(values), rel=1e-12)
    assert row["signals"] == signed


def test_performance_has_the_table_s_shape_and_one_row_per_source_and_horizon() -> None:
    rows = alpha_performance(signals(), PANEL, ["prophet", "fool", "mute"], 60)
    assert rows.schema == TABLES["alpha_performance"].schema
    assert rows.height == 9 and rows.select("alpha", "horizon").n_unique() == 9
    assert (rows["session"] == DAYS[-1]).all()


def test_outcomes_after_the_session_change_nothing() -> None:
    """The same session measured from a panel that ends there and from wilder later prices."""
    cut = PANEL.rows(0, 110)
    wild = PANEL.close.copy(order="F")
    wild[110:] *= 7.0
    later = replace(PANEL, close=wild).rows(0, 110)
    one = alpha_performance(signals(), cut, ["prophet"], 60)
    assert one.equals(alpha_performance(signals(), later, ["prophet"], 60))
    known = signals().filter(pl.col("session") < DAYS[109])
    assert one.equals(alpha_performance(known, cut, ["prophet"], 60)), "its own signals have no outcome yet"


def test_states_follow_the_two_halves_of_the_window() -> None:
    good, bad = np.full(30, 0.05), np.full(30, -0.05)
    assert judged(np.concatenate([good, good]), 60) is AlphaState.SOUND
    assert judged(np.concatenate([bad, good]), 60) is AlphaState.SOUND
    assert judged(np.concatenate([good, bad]), 60) is AlphaState.DECAYING
    assert judged(np.concatenate([bad, bad]), 60) is AlphaState.DEAD
    assert judged(good[:29], 60) is AlphaState.UNKNOWN
    assert judged(np.concatenate([np.full(31, np.nan), good[:29]]), 60) is AlphaState.UNKNOWN


def test_the_allocation_is_that_of_the_holding_period() -> None:
    rows = pl.DataFrame(
        {"alpha": ["a"] * 3, "horizon": [1, 5, 10], "allocation": [1.0, 0.5, 0.0]},
        schema_overrides={"horizon": pl.Int32},
    )
    assert allocations(rows, 5) == {"a": 0.5} and allocations(rows, 7) == {"a": 0.5}
    assert allocations(rows, 63) == {"a": 0.0} and allocations(rows, 1) == {"a": 1.0}
    assert allocations(rows.clear(), 5) == {}


def test_rank_correlation_with_ties_is_scipys() -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(3)
    for _ in range(20):
        one, other = random.integers(0, 4, 25).astype(float), random.normal(size=25)
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other)[0], rel=1e-12)
    assert np.isnan(rank_correlation(np.ones(25), other)) and np.isnan(rank_correlation(one[:4], other[:4]))


@pytest.mark.parametrize("lags", [0, 4, 9])
def test_the_t_statistic_is_newey_and_wests_as_statsmodels_has_it(lags: int) -> None:
    import statsmodels.api as sm

    values = np.diff(np.log(PANEL.close[:, 0]))[:60]
    fit = sm.OLS(values, np.ones(60)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert t_of_mean(values, lags) == pytest.approx(float(fit.tvalues[0]), rel=1e-10)


def test_the_half_life_of_information_is_that_of_an_exponential() -> None:
    assert information_half_life({h: 0.06 * 0.5 ** (h / 4) for h in (1, 5, 10)}) == pytest.approx(4.0)
    assert information_half_life({1: 0.05, 5: -0.01, 10: None}) is None
    assert information_half_life({1: 0.01, 5: 0.02, 10: 0.03}) is None
