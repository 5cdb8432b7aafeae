"""Concordance of a sort against all pairs and scikit-survival."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm._ragged import concordance


def by_pairs(event, time, risk, weight):
    """All pairs, one after the other."""
    right = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and later:
                both = weight[i] * weight[j]
                pairs += both
                right += both * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2)
    return right / pairs


def draw(n, n_values, seed):
    rng = np.random.default_rng(seed)
    time = rng.integers(0, n_values, n) / 4
    risk = rng.integers(0, n_values, n) / 8
    event = rng.random(n) < 0.6
    event[0] = True
    time[:2] = 0, n_values
    return event, time, risk, rng.integers(0, 4, n) + 1.0


@pytest.mark.parametrize("n_values", [2, 5, 1000])
@pytest.mark.parametrize("n", [2, 3, 17, 64, 120])
def test_concordance_equals_a_loop_over_all_pairs(n, n_values):
    """With many and with few equal times and risks."""
    event, time, risk, weight = draw(n, n_values, seed=n)
    expected = by_pairs(event, time, risk, np.ones(n))
    assert_allclose(concordance(event, time, risk), expected, rtol=1e-12)
    expected = by_pairs(event, time, risk, weight)
    assert_allclose(concordance(event, time, risk, weight), expected, rtol=1e-12)


@pytest.mark.parametrize("n_values", [5, 1000])
def test_concordance_equals_scikit_survival(n_values):
    metrics = pytest.importorskip("sksurv.metrics")
    event, time, risk, _ = draw(500, n_values, seed=0)
    expected = metrics.concordance_index_censored(event, time, risk)[0]
    assert_allclose(concordance(event, time, risk), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("event", "time"), [([False, False], [1, 2]), ([True, True], [1, 1]), ([True], [1])]
)
def test_no_comparable_pair_is_an_error(event, time):
    with pytest.raises(ValueError, match=f"No two of the {len(time)} rows are compar"):
        concordance(np.array(event), np.array(time, float), np.zeros(len(time)))
