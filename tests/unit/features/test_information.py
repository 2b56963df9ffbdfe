"""Transfer entropy against plain counting, a process whose transfer entropy is known, and chance."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest

from quant_dagster.features.information import false_discovery, lead_lag_graph, quantile_bins, transfer_entropy


def counted(leader, follower, lag):
    """Schreiber's equation 4 by counting, in bits."""
    triples = [(follower[t], follower[t - 1], leader[t - lag]) for t in range(lag, len(follower))]
    n = len(triples)
    joint = Counter(triples)
    own_leader = Counter((b, c) for _, b, c in triples)
    own_pair = Counter((a, b) for a, b, _ in triples)
    own = Counter(b for _, b, _ in triples)
    return sum(k / n * math.log2((k / own_leader[b, c]) / (own_pair[a, b] / own[b])) for (a, b, c), k in joint.items())


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_all_pairs_at_once_are_each_pair_counted_one_by_one(lag: int) -> None:
    states = np.random.default_rng(1).integers(0, 3, (200, 4))
    states[lag:, 3] = np.where(np.random.default_rng(2).random(200 - lag) < 0.5, states[:-lag, 0], states[lag:, 3])
    found = transfer_entropy(states, lag)
    bias = 12 / (2 * (200 - lag) * math.log(2))
    for i in range(4):
        for j in range(4):
            if i != j:
                expected = counted(states[:, i].tolist(), states[:, j].tolist(), lag)
                assert found.bits[i, j] + bias == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_a_copy_through_a_noisy_channel_transfers_what_the_channel_carries(noise: float) -> None:
    """Y repeats X a step later and flips with a chance e: 1 - H(e) bits, and nothing goes back."""
    generator = np.random.default_rng(3)
    x = generator.integers(0, 2, 200_000)
    y = np.roll(x, 1) ^ (generator.random(len(x)) < noise)
    found = transfer_entropy(np.stack([x, y.astype(np.int64)], axis=1), 1, bins=2)
    carried = 1.0 + noise * math.log2(noise) + (1 - noise) * math.log2(1 - noise)
    assert found.bits[0, 1] == pytest.approx(carried, abs=0.005)
    assert found.bits[1, 0] == pytest.approx(0.0, abs=1e-4)


def test_without_information_p_values_are_uniform_and_bits_are_zero_on_average() -> None:
    found = transfer_entropy(quantile_bins(np.random.default_rng(4).standard_normal((1000, 40))))
    off = ~np.eye(40, dtype=bool)
    assert kstest(found.p_value[off], "uniform").pvalue > 0.01
    assert abs(found.bits[off].mean()) < 5e-4


def test_bins_are_equally_frequent() -> None:
    binned = quantile_bins(np.random.default_rng(5).standard_normal((300, 2)))
    assert np.bincount(binned[:, 0]).tolist() == [100, 100, 100]


def test_the_graph_finds_the_leader_its_lag_and_direction_and_nothing_among_noise() -> None:
    generator = np.random.default_rng(6)
    returns = generator.standard_normal((600, 30)) * 0.01
    returns[2:, 7] += 0.8 * returns[:-2, 3]
    symbols = tuple(f"S{i}" for i in range(30))
    edges = lead_lag_graph(returns, symbols)
    assert (edges[0].leader, edges[0].follower, edges[0].lag) == ("S3", "S7", 2)
    assert edges[0].correlation > 0.4
    assert len(edges) <= 3
    assert lead_lag_graph(np.random.default_rng(7).standard_normal((600, 30)), symbols) == []


def test_what_moves_all_at_once_and_again_a_session_later_leads_nobody() -> None:
    generator = np.random.default_rng(8)
    market = np.convolve(generator.standard_normal(601), [1.0, 0.7])[1:601]
    returns = market[:, None] + generator.standard_normal((600, 20))
    assert lead_lag_graph(returns, tuple(f"S{i}" for i in range(20))) == []


def test_false_discovery_is_benjamini_and_hochberg_s() -> None:
    """Their example of 15 p-values (1995, section 4.1): four are significant at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert false_discovery(np.array(p), 0.05).sum() == 4
    from statsmodels.stats.multitest import multipletests

    assert (false_discovery(np.array(p), 0.05) == multipletests(p, 0.05, "fdr_bh")[0]).all()


def test_symbols_with_holes_are_left_out() -> None:
    returns = np.random.default_rng(9).standard_normal((600, 3))
    returns[100, 1] = np.nan
    assert all("B" not in (e.leader, e.follower) for e in lead_lag_graph(returns, ("A", "B", "C"), level=1.0))
