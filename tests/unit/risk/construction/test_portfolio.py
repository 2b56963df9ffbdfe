"""Portfolios against closed forms and direct formulations, under every limit, in whole lots."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction import optimise, portfolio
from quant_dagster.risk.construction.black_litterman import equilibrium, posterior
from quant_dagster.risk.construction.limits import breaches
from quant_dagster.risk.construction.optimise import Method
from quant_dagster.risk.construction.portfolio import Views
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.correlations import shrunk_correlation
from tests.unit.risk.construction.portfolios import SYMBOLS, built, limits, stock_returns, views

FREE = {"long_only": False, "caps": np.full(5, 50.0), "gross": 100.0, "turnover": 200.0}


def covariance(count: int = 5) -> np.ndarray:
    return shrunk_correlation(stock_returns(count), SYMBOLS[:count]).covariance


def cvar_by_rockafellar_uryasev(returns, confidence: float, mean=None, aversion: float = 1.0) -> np.ndarray:
    """Rockafellar & Uryasev (2000), "Optimization of conditional value-at-risk", eq. 17, as a linear program."""
    import cvxpy as cp

    weights, threshold, beyond = cp.Variable(returns.shape[1]), cp.Variable(), cp.Variable(len(returns))
    cvar = threshold + cp.sum(beyond) / (len(returns) * (1.0 - confidence))
    objective = aversion * cvar - (0.0 if mean is None else mean @ weights)
    rules = [weights >= 0, cp.sum(weights) == 1, beyond >= 0, beyond >= -returns @ weights - threshold]
    cp.Problem(cp.Minimize(objective), rules).solve(solver="CLARABEL")
    return np.asarray(weights.value)


def test_mean_variance_of_two_assets_is_the_closed_form() -> None:
    """``w = (1/a) Sigma^-1 (mu - g 1)``, with g from the budget (Merton 1972)."""
    returns, mean = stock_returns(2), np.array([0.0011, 0.0007])
    inverse, ones = np.linalg.inv(covariance(2)), np.ones(2)
    price = (ones @ inverse @ mean - 3.0) / (ones @ inverse @ ones)
    expected = inverse @ (mean - price) / 3.0
    rules = FREE | {"caps": np.full(2, 50.0)}
    found = built(Method.MEAN_VARIANCE, 2, returns=returns, views=views(mean), rules=rules)
    np.testing.assert_allclose(found.ideal_weights, expected, atol=5e-6)
    assert found.ideal_weights.sum() == pytest.approx(1.0, abs=1e-7)
    careful = built(Method.MEAN_VARIANCE, 2, returns=returns, views=views(mean), rules=rules, risk_aversion=30.0)
    price = (ones @ inverse @ mean - 30.0) / (ones @ inverse @ ones)
    np.testing.assert_allclose(careful.ideal_weights, inverse @ (mean - price) / 30.0, atol=5e-6)


def test_without_a_budget_the_rest_is_cash() -> None:
    mean = np.array([0.0008, -0.0003, 0.0005, 0.0001, 0.0004])
    found = built(Method.MEAN_VARIANCE, views=views(mean), rules=FREE | {"budget": None})
    np.testing.assert_allclose(found.ideal_weights, np.linalg.solve(3.0 * covariance(), mean), atol=2e-4)


def test_black_litterman_is_mean_variance_of_the_posterior() -> None:
    expected = np.array([0.002, np.nan, -0.001, np.nan, np.nan])
    confidences, market = np.array([0.7, np.nan, 0.2, 0.5, 0.5]), np.array([0.3, 0.1, 0.2, 0.2, 0.2])
    picks = np.eye(5)[[0, 2]]
    prior = equilibrium(covariance(), market, 3.0)
    mean, spread = posterior(prior, covariance(), picks, np.array([0.002, -0.001]), np.array([0.7, 0.2]))
    found = built(Method.BLACK_LITTERMAN, views=Views(expected, confidences, market), rules=FREE | {"budget": None})
    np.testing.assert_allclose(found.ideal_weights, np.linalg.solve(3.0 * spread, mean), atol=2e-4)
    assert found.expected_return == pytest.approx(found.weights @ mean)
    assert found.volatility == pytest.approx(np.sqrt(found.weights @ spread @ found.weights))


def test_black_litterman_without_views_holds_the_market() -> None:
    none = Views(np.full(5, np.nan), np.full(5, np.nan), np.array([0.3, 0.1, 0.2, 0.2, 0.2]))
    found = built(Method.BLACK_LITTERMAN, views=none, rules=FREE | {"budget": None})
    np.testing.assert_allclose(found.ideal_weights, none.market / 1.05, atol=2e-4)


def test_risk_parity_of_two_assets_is_by_inverse_volatility() -> None:
    std = np.sqrt(np.diag(covariance(2)))
    found = built(Method.RISK_PARITY, 2, views=None)
    np.testing.assert_allclose(found.ideal_weights, std[::-1] / std.sum(), atol=1e-5)
    half = built(Method.RISK_PARITY, 2, views=None, rules={"budget": 0.5})
    np.testing.assert_allclose(half.ideal_weights, 0.5 * std[::-1] / std.sum(), atol=1e-5)


def test_risk_parity_positions_contribute_the_same() -> None:
    weights = built(Method.RISK_PARITY, views=None).ideal_weights
    parts = weights * (covariance() @ weights)
    np.testing.assert_allclose(parts / parts.sum(), 0.2, atol=1e-5)


def test_risk_parity_under_limits_is_equal_among_the_rest() -> None:
    held = np.full(5, 0.1)
    free = built(Method.RISK_PARITY, views=None).ideal_weights
    cap = float(free.max()) - 0.005
    found = built(
        Method.RISK_PARITY, views=None, current_weights=held, rules={"budget": 0.5, "caps": np.full(5, 0.5 * cap)}
    )
    bound = np.isclose(found.ideal_weights, 0.5 * cap, atol=1e-5)
    parts = (found.ideal_weights * (covariance() @ found.ideal_weights))[~bound]
    assert bound.sum() == 1
    np.testing.assert_allclose(parts / parts.mean(), 1.0, atol=1e-3)
    slow = built(Method.RISK_PARITY, views=None, current_weights=held, rules={"budget": 0.5, "turnover": 0.02})
    assert np.abs(slow.ideal_weights - held).sum() == pytest.approx(0.02, abs=1e-6)


def test_least_cvar_is_rockafellar_and_uryasevs() -> None:
    returns = stock_returns(5)
    for confidence in (0.9, 0.95):
        expected = cvar_by_rockafellar_uryasev(returns, confidence)
        found = built(Method.CVAR, views=None, cvar_confidence=confidence)
        best = expected_shortfall(returns @ expected, confidence)
        assert expected_shortfall(returns @ found.ideal_weights, confidence) == pytest.approx(best, rel=1e-6)
        np.testing.assert_allclose(found.ideal_weights, expected, atol=1e-4)


def test_with_views_return_is_weighed_against_cvar() -> None:
    returns, mean = stock_returns(5), np.array([0.004, 0.0, 0.001, 0.002, 0.0])
    for aversion in (0.05, 0.2):
        expected = cvar_by_rockafellar_uryasev(returns, 0.95, mean, aversion)
        found = built(Method.CVAR, views=views(mean), risk_aversion=aversion)
        assert found.ideal_weights @ mean - aversion * expected_shortfall(
            returns @ found.ideal_weights, 0.95
        ) == pytest.approx(expected @ mean - aversion * expected_shortfall(returns @ expected, 0.95), rel=1e-5)


@pytest.mark.parametrize("method", list(Method))
def test_every_method_obeys_every_limit_in_whole_lots(method: Method) -> None:
    held = np.array([0.3, 0.1, 0.0, 0.1, 0.1])
    rules = {
        "caps": np.array([0.25, 0.3, 0.3, 0.3, 0.3]), "sectors": ("a", "a", "b", "b", "c"), "gross": 0.9,
        "sector_caps": {"a": 0.35, "c": 0.2}, "budget": 0.8, "turnover": 0.5,
    }  # fmt: skip
    prices, lots = np.array([97.0, 31.0, 55.0, 210.0, 12.0]), np.array([10.0, 100.0, 50.0, 10.0, 100.0])
    found = built(method, current_weights=held, rules=rules, prices=prices, lots=lots, equity=1e6)
    assert breaches(found.weights, held, limits(5, **rules), SYMBOLS) == []
    assert breaches(found.ideal_weights, held, limits(5, **rules), SYMBOLS) == []
    assert found.ideal_weights.sum() == pytest.approx(0.8, abs=1e-6)
    assert 0.8 - (lots * prices).sum() / 1e6 < found.weights.sum() < 0.8 + 1e-6
    assert (found.shares % lots == 0).all()
    np.testing.assert_allclose(found.weights, found.shares * prices / 1e6)
    assert found.turnover == pytest.approx(np.abs(found.weights - held).sum())
    assert found.cvar == expected_shortfall(stock_returns(5) @ found.weights, 0.95)
    assert (found.method, found.symbols) == (method, SYMBOLS[:5])


def test_long_and_short_stays_within_gross_and_net() -> None:
    mean = np.array([0.003, -0.003, 0.002, -0.002, 0.0])
    found = built(Method.MEAN_VARIANCE, views=views(mean), rules=FREE | {"gross": 1.2, "budget": 0.1})
    assert found.ideal_weights.min() < -0.1
    assert np.abs(found.ideal_weights).sum() == pytest.approx(1.2, abs=1e-5)
    assert found.ideal_weights.sum() == pytest.approx(0.1, abs=1e-6)


def test_what_is_reported_without_views_is_the_past() -> None:
    found = built(Method.RISK_PARITY, views=None)
    assert found.expected_return == pytest.approx(found.weights @ stock_returns(5).mean(axis=0))
    assert found.volatility == pytest.approx(np.sqrt(found.weights @ covariance() @ found.weights))
    assert found.problems == ()
    told = built(Method.RISK_PARITY, views=views(np.full(5, 0.01)))
    assert told.expected_return == pytest.approx(0.01 * told.weights.sum())


def test_positions_smaller_than_a_lot_are_told() -> None:
    found = built(Method.RISK_PARITY, views=None, lots=np.array([1.0, 1.0, 1.0, 1.0, 1e7]))
    assert found.shares[4] == 0.0
    missed = found.ideal_weights[4]
    assert found.problems == (
        f"wanted, but by less than a lot: {SYMBOLS[4]}",
        f"rounding to whole lots changed {missed:.2%} of equity",
    )


@pytest.mark.parametrize(("lot", "told"), [(4e4, False), (7e5, True)])
def test_a_percent_of_equity_lost_in_rounding_is_told(lot: float, told: bool) -> None:
    found = built(Method.RISK_PARITY, views=None, lots=np.full(5, lot))
    assert ("rounding to whole lots" in str(found.problems)) is told
    assert "less than a lot" not in str(found.problems)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize(
    ("rules", "current", "said"),
    [
        (
            {"caps": np.full(5, 0.15)},
            0.0,
            "caps and gross limit let the weights sum to 75.0000% at most, the budget is 100",
        ),
        ({"sector_caps": {"all": 0.6}}, 0.0, "sum to 60.0000% at most"),
        ({"turnover": 0.5}, 0.0, "to obey the other limits takes a turnover of 100.0000%, and 50.0000% is allowed"),
        ({"caps": np.array([0.2, 1, 1, 1, 1]), "turnover": 0.3, "budget": 0.8}, 0.4, "takes a turnover of 120.0000%"),
    ],
)
def test_what_cannot_be_had_is_said_and_never_approximated(method, rules, current, said) -> None:
    with pytest.raises(RiskError) as error:
        built(method, rules=rules, current_weights=np.full(5, current))
    assert str(error.value).startswith(f"portfolio construction ({method}) is infeasible: ")
    assert said in str(error.value) and str(error.value).endswith("; change the limits or the positions")


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (
            Method.CVAR,
            {"views": None, "rules": {"budget": None}},
            "(cvar): without views and budget the least risk is no",
        ),
        (Method.RISK_PARITY, {"rules": {"budget": None}}, "(risk_parity) takes long positions and a budget above 0"),
        (Method.RISK_PARITY, {"rules": {"budget": 0.0}}, "(risk_parity) takes long positions and a budget above 0"),
        (
            Method.RISK_PARITY,
            {"rules": {"long_only": False}},
            "(risk_parity) takes long positions and a budget above 0",
        ),
        (Method.MEAN_VARIANCE, {"views": None}, "(mean_variance) needs views; give expected returns or choose"),
        (Method.BLACK_LITTERMAN, {"views": None}, "(black_litterman) needs views; give expected returns or choose"),
        (
            Method.CVAR,
            {"views": views([0.1, np.nan, 0, 0, 0])},
            f"the expected return is unknown: {SYMBOLS[1]} (1 symbols)",
        ),
        (
            Method.BLACK_LITTERMAN,
            {"views": views([0.1, np.inf, 0, 0, 0])},
            f"view or market weight is wrong: {SYMBOLS[1]}",
        ),
        (Method.BLACK_LITTERMAN, {"views": views([0.1] * 5, 1.1)}, "the confidence of the view is not between 0 and 1"),
        (
            Method.BLACK_LITTERMAN,
            {"views": views([0.1] * 5, -0.1)},
            "the confidence of the view is not between 0 and 1",
        ),
        (
            Method.BLACK_LITTERMAN,
            {"views": views([0.1] * 5, np.nan)},
            "the confidence of the view is not between 0 and 1",
        ),
        (
            Method.BLACK_LITTERMAN,
            {"views": Views(np.zeros(5), np.ones(5), np.full(5, np.nan))},
            "market weight is wrong",
        ),
        (Method.CVAR, {"equity": 0.0}, "equity is 0.00; weights of it are not defined"),
        (Method.CVAR, {"equity": np.nan}, "equity is nan"),
        (
            Method.CVAR,
            {"prices": np.array([1, 1, np.nan, 1, 0.0])},
            f"lot size is unknown: {SYMBOLS[2]}, {SYMBOLS[4]} (2 sy",
        ),
        (
            Method.CVAR,
            {"lots": np.array([1, 1, np.inf, 1, 1])},
            f"price or lot size is unknown: {SYMBOLS[2]} (1 symbols)",
        ),
        (
            Method.CVAR,
            {"current_weights": np.array([np.nan, 0, 0, 0, 0])},
            f"the current weight is unknown; mark the positions: {SYMBOLS[0]} (1 symbols)",
        ),
        (Method.CVAR, {"returns": stock_returns(5)[:59]}, "59 sessions of returns, 60 are needed; load more history"),
        (Method.CVAR, {"symbols": SYMBOLS[:4]}, "prices and lots do not belong together: [4, 5]"),
        (Method.CVAR, {"current_weights": np.zeros(6)}, "do not belong together: [5, 6]"),
        (Method.CVAR, {"prices": np.ones(6)}, "do not belong together: [5, 6]"),
        (Method.CVAR, {"lots": np.ones(6)}, "do not belong together: [5, 6]"),
        (Method.CVAR, {"limits": limits(6)}, "do not belong together: [5, 6]"),
    ],
)
def test_what_is_not_known_makes_no_portfolio(method, changes, said) -> None:
    with pytest.raises(RiskError) as error:
        built(method, **changes)
    assert said in str(error.value)
    assert str(error.value).startswith("portfolio construction (")


def test_sixty_sessions_are_enough() -> None:
    assert built(Method.CVAR, returns=stock_returns(5)[:60]).weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_certain_and_a_worthless_view_are_views() -> None:
    assert built(Method.BLACK_LITTERMAN, views=views([0.001] * 5, 1.0)).weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert built(Method.BLACK_LITTERMAN, views=views([0.001] * 5, 0.0)).weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_missing_return_is_not_filled_in() -> None:
    returns = stock_returns(5).copy()
    returns[7, 3] = np.nan
    with pytest.raises(
        RiskError, match=rf"\(cvar\): returns are missing; complete or leave out: {SYMBOLS[3]} \(1 symbols"
    ):
        built(Method.CVAR, returns=returns)


def test_of_many_symbols_ten_are_named() -> None:
    with pytest.raises(RiskError) as error:
        built(Method.CVAR, 12, prices=np.full(12, np.nan))
    assert str(error.value).endswith(f"unknown: {', '.join(SYMBOLS[:10])} (12 symbols)")


def test_a_solver_that_fails_under_limits_that_can_be_met_is_said_to_have_failed(monkeypatch) -> None:
    monkeypatch.setattr(optimise, "_fitted", lambda model, returns: (None, "numerical trouble"))
    with pytest.raises(RiskError, match=r"^portfolio construction \(cvar\): the solver failed \(numerical trouble\)"):
        built(Method.CVAR)


def test_weights_the_solver_calls_inaccurate_are_not_taken() -> None:
    from skfolio.optimization import MeanRisk

    returns = stock_returns(5)
    weights, status = optimise._fitted(MeanRisk(save_problem=True), returns)
    assert status == "optimal" and weights is not None and weights.sum() == pytest.approx(1.0)
    stopped = MeanRisk(save_problem=True, solver_params={"max_iter": 1})
    weights, status = optimise._fitted(stopped, returns)
    assert weights is None and status != "optimal"


def test_weights_that_break_a_limit_are_not_taken_whatever_the_solver_says(monkeypatch) -> None:
    monkeypatch.setattr(portfolio, "best_weights", lambda *arguments: np.array([1.1, 0, 0, 0, 0]))
    with pytest.raises(RiskError, match=r"^portfolio construction \(cvar\): the solver broke limits: .* has 110.0000%"):
        built(Method.CVAR)
