import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.parameters import Backcast, Backend, ForecastParameters


def test_choices_may_be_given_by_name():
    settings = ForecastParameters(backend="dask", dask_address="tcp://127.0.0.1:8786", garch_backcast="arch")
    assert settings.backend is Backend.DASK
    assert settings.garch_backcast is Backcast.ARCH


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "ray"},
        {"dask_address": None, "backend": "dask"},
        {"refit_sessions": 0},
        {"time_out_seconds": 0.0},
        {"sarimax_max_order": 9},
        {"ssa_window": 5},
        {"ensemble_holdout": 5},
        {"garch_backcast": "zero"},
        {"window": 100},
        {"min_observations": 10},
        {"fewest_observations": 5},
        {"ar_max_order": 6},
        {"garch_starts": 0},
        {"hmm_states": 4},
        {"hmm_tolerance": 0.0},
        {"workers": 0},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ForecastParameters(**wrong)
