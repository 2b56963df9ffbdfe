"""The registry tells the truth about the kernels."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_dagster.features.compute import compute, latest, to_long
from quant_dagster.features.definitions import FEATURES, View, features_of
from quant_dagster.market_data.panel import FIELDS
from tests.unit.features.real_panels import mixed_panel, with_gaps


def test_features_are_many_and_every_view_has_some() -> None:
    assert len(FEATURES) >= 60
    assert sum(len(features_of(view)) for view in View) == len(FEATURES)
    assert all(features_of(view) for view in View)


def test_warm_up_is_the_number_of_bars_before_the_first_value() -> None:
    panel = mixed_panel()
    features = compute(panel)
    for symbol in ("IBM", "GOOG"):  # GOOG is listed in the middle of the panel
        column = panel.symbols.index(symbol)
        first_bar = int(np.flatnonzero(features.present[:, column])[0])
        for name, feature in FEATURES.items():
            if feature.view is View.CALENDAR:
                continue
            first_value = int(np.flatnonzero(np.isfinite(features[name][:, column]))[0])
            assert first_value - first_bar + 1 == feature.warm_up, (symbol, name)


@pytest.mark.parametrize("field", FIELDS)
def test_a_feature_is_absent_exactly_where_a_field_it_needs_always_was(field: str) -> None:
    panel = mixed_panel()
    column = panel.symbols.index("IBM")
    fields = {name: getattr(panel, name).copy(order="F") for name in FIELDS}
    fields[field][:, column] = np.nan
    features = compute(type(panel)(sessions=panel.sessions, symbols=panel.symbols, **fields))
    for name, feature in FEATURES.items():
        if feature.view is View.CALENDAR:
            continue
        assert np.isnan(features[name][:, column]).all() == (field in feature.needs), name


def test_long_frame_has_one_row_a_bar_and_null_for_absent() -> None:
    panel = with_gaps(mixed_panel(), 0.05, seed=2)
    features = compute(panel)
    frame = to_long(features, slice(-30, None))
    assert len(frame) == int((~np.isnan(panel.close[-30:])).sum())
    assert frame.columns == ["symbol", "session", *FEATURES]
    assert not frame.select("symbol", "session").is_duplicated().any()
    row = frame.filter(pl.col("symbol") == "GOOG").tail(1)
    t = int(np.searchsorted(panel.sessions, np.datetime64(row["session"][0])))
    column = panel.symbols.index("GOOG")
    for name in FEATURES:
        value = features[name][t, column]
        assert row[name][0] == (None if np.isnan(value) else value), name
    assert frame.select(pl.col(pl.Float64).is_nan().any()).row(0) == (False,) * len(FEATURES)


def test_latest_is_the_last_session_of_the_panel() -> None:
    panel = mixed_panel()
    frame = latest(panel)
    assert frame["session"].unique().to_list() == [date(2006, 6, 30)]
    assert frame.equals(to_long(compute(panel), slice(-1, None)))
