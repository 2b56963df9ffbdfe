import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.forecasting.history import return_history
from tests.unit.forecasting.real_returns import panel_of, stock_panel


def plain_history(close, window, longest_gap):
    """One symbol, one close at a time."""
    close = close[-(window + 1) :]
    returns, previous = [], None
    for t, price in enumerate(close):
        if not (np.isfinite(price) and price > 0):
            continue
        if previous is not None:
            if t - previous - 1 > longest_gap:
                returns = []
            else:
                returns.append(np.log(price) - np.log(close[previous]))
        previous = t
    return np.array(returns), -1 if previous is None else len(close) - 1 - previous


def assert_like_plain(panel, window, longest_gap):
    history = return_history(panel, window, longest_gap)
    for j in range(panel.close.shape[1]):
        returns, stale = plain_history(panel.close[:, j], window, longest_gap)
        assert (history.counts[j], history.stale[j]) == (len(returns), stale)
        np.testing.assert_array_equal(history.returns[: len(returns), j], returns)
        assert np.isnan(history.returns[len(returns) :, j]).all()
        if len(returns):
            np.testing.assert_allclose(history.mean[j], returns.mean(), rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(history.variance[j], returns.var(), rtol=1e-9, atol=1e-20)


def test_whole_histories_give_their_newest_returns():
    assert_like_plain(stock_panel(), 1000, 5)
    assert (return_history(stock_panel(), 1000, 5).counts == 1000).all()


def test_a_panel_shorter_than_the_window_gives_all_it_has():
    history = return_history(stock_panel().last(300), 1000, 5)
    assert history.returns.shape == (1000, 20)
    assert (history.counts == 299).all()


@settings(max_examples=40, deadline=None)
@given(
    share=st.floats(0.0, 0.99),
    seed=st.integers(0, 2**16),
    window=st.integers(5, 90),
    longest_gap=st.integers(0, 6),
)
def test_missing_closes_are_dropped_and_long_gaps_start_anew(share, seed, window, longest_gap):
    closes = stock_panel().close[-80:].copy()
    closes[np.random.default_rng(seed).random(closes.shape) < share] = np.nan
    assert_like_plain(panel_of(closes), window, longest_gap)


def test_prices_without_a_logarithm_are_absent():
    closes = stock_panel().close[-60:, :2].copy()
    closes[10, 0], closes[20, 0], closes[30, 0] = 0.0, -3.0, np.inf
    history = return_history(panel_of(closes), 59, 5)
    assert history.counts.tolist() == [56, 59]


def test_a_symbol_without_closes_has_no_history():
    closes = stock_panel().close[-60:, :2].copy()
    closes[:, 0] = np.nan
    history = return_history(panel_of(closes), 59, 5)
    assert history.counts.tolist() == [0, 59]
    assert history.stale.tolist() == [-1, 0]
    assert np.isnan(history.mean[0])
