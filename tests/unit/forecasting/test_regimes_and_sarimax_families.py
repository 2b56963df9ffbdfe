"""What the seasonal and the regime family answer, and what of it a later session carries forward."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from quant_dagster.forecasting.arma.sarimax import candidate_orders
from quant_dagster.forecasting.families.protocol import Answer, EarlierFit, Request
from quant_dagster.forecasting.families.regime import regime_family
from quant_dagster.forecasting.families.seasonal import sarimax_family
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import ForecastParameters
from tests.unit.forecasting.real_returns import stock_panel

SETTINGS = ForecastParameters(window=500, hmm_states=3, workers=2)
FAMILIES = {"sarimax": sarimax_family, "hmm": regime_family}


def request(settings=SETTINGS, back=0, **options):
    whole = stock_panel()
    panel = whole.until(whole.sessions[-1 - back].astype("datetime64[D]").astype(object))
    tried = np.ones(20, np.bool_)
    tried[3] = False
    return Request(return_history(panel, settings.window, 5), (1, 5), settings, 2, tried, panel, **options)


def as_earlier(answers, fitted_on):
    """What comes back from the stored JSON."""
    return {
        j: EarlierFit(fitted_on, 5, json.loads(json.dumps(dict(answer.parameters))))
        for j, answer in enumerate(answers)
        if isinstance(answer, Answer)
    }


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, sarimax_seasonal_period=5, sarimax_calendar=True)])
def test_columns_not_due_keep_their_parameters_and_say_since_when(name, settings):
    if settings.sarimax_calendar and name == "hmm":
        pytest.skip("the calendar is of the seasonal family only")
    before, settings = request(replace(settings, sarimax_max_order=1), back=5), replace(settings, sarimax_max_order=1)
    first = FAMILIES[name](before)
    due = np.zeros(20, np.bool_)
    due[:5] = True
    later = FAMILIES[name](request(settings, earlier=as_earlier(first, before.session), refit=due))
    for j, answer in enumerate(later):
        if j == 3 or not isinstance(answer, Answer):
            continue
        assert (answer.fitted_on is None) == bool(due[j] or not isinstance(first[j], Answer))
        if answer.fitted_on is not None:
            assert answer.fitted_on == before.session
            assert json.dumps(answer.parameters) == json.dumps(first[j].parameters)
            assert answer.std[0] > 0
    assert sum(isinstance(answer, Answer) and answer.fitted_on is not None for answer in later) >= 13


@pytest.mark.parametrize("name", FAMILIES)
def test_with_nothing_earlier_every_column_is_estimated_though_none_is_due(name):
    asked = request(replace(SETTINGS, sarimax_max_order=1))
    plain, none_due = (FAMILIES[name](replace(asked, refit=refit)) for refit in (None, np.zeros(20, np.bool_)))
    for a, b in zip(plain, none_due, strict=True):
        assert isinstance(a, str) or a.parameters == b.parameters


def test_the_order_and_all_candidates_criteria_are_kept():
    answers = sarimax_family(request())
    answer = answers[0]
    assert set(answer.diagnostics["bic"]) == {"".join(map(str, order)) for order in candidate_orders(2)}
    p, _, q = answer.parameters["order"]
    assert min(answer.diagnostics["bic"], key=answer.diagnostics["bic"].get) == f"{p}{q}00"
    assert {"log_likelihood", "converged", "ljung_box_p", "jarque_bera_p"} <= set(answer.diagnostics)
    assert answers[3] == "not asked"


def test_innovations_that_fail_their_tests_are_counted_in_one_line(caplog):
    with caplog.at_level(logging.INFO, "quant_dagster"):
        answers = sarimax_family(request(replace(SETTINGS, sarimax_max_order=0)))
    fails = sum(isinstance(a, Answer) and a.diagnostics["jarque_bera_p"] < 0.01 for a in answers)
    (record,) = caplog.records
    assert f"and {fails} innovations that are not normal" in record.getMessage()


def test_the_turn_of_the_month_is_a_regressor_and_known_in_advance():
    calendar = replace(SETTINGS, sarimax_max_order=0, sarimax_calendar=True)
    answer, asked = sarimax_family(request(calendar))[0], request(calendar)
    days = stock_panel().sessions[-500:].astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    turn = np.array([np.sum(months[t:] == months[t]) <= 4 for t in range(500)])  # itself and at most three after it
    effect = answer.parameters["regression"]["turn_of_month"]
    returns = asked.history.returns[:, 0]
    from quant_dagster.features.calendar import calendar_features

    holiday = calendar_features(days)["is_before_holiday"]
    expected = np.linalg.lstsq(np.column_stack([np.ones(500), turn, holiday]), returns, rcond=None)[0]
    np.testing.assert_allclose([answer.parameters["mean"], effect], expected[:2], rtol=1e-7)
    # 1 July 2020 follows the last session, and 2 July is the last session before Independence Day, observed on the 3rd
    mean, before_holiday = answer.parameters["mean"], answer.parameters["regression"]["before_holiday"]
    np.testing.assert_allclose(answer.mean, [mean, 5 * mean + before_holiday], rtol=1e-9)


def test_a_regime_answer_says_how_many_states_and_how_they_compare():
    answer = regime_family(request())[0]
    assert answer.parameters["states"] == len(answer.parameters["means"])
    assert set(answer.diagnostics["bic"]) == {"1", "2", "3"}
    assert len(answer.diagnostics["next_probabilities"]) == answer.parameters["states"]
    assert answer.parameters["stds"] == sorted(answer.parameters["stds"])
