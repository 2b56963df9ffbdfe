"""Flags of signal sources given in code; that files are read again without a restart is tested end to end."""

from __future__ import annotations

from quant_dagster.settings import load_settings
from quant_dagster.strategies.flags import hot_flags


def test_a_flag_given_as_an_option_wins_over_the_files() -> None:
    assert hot_flags(load_settings())["trend"] is True
    assert hot_flags(load_settings({"signals": {"flags": {"trend": False}}}))["trend"] is False
