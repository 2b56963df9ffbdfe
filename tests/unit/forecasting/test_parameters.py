import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.forecasting.parameters import Backcast, ForecastParameters, MeanModel


def test_choices_may_be_given_by_name():
    settings = ForecastParameters(mean_model="sarimax", garch_backcast="arch")
    assert settings.mean_model is MeanModel.SARIMAX
    assert settings.garch_backcast is Backcast.ARCH


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean_model": "prophet"},
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
