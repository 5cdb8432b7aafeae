import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.metrics import pit_histogram

RNG = np.random.default_rng(0)


def slow_histogram(y, paths, n_bins):
    """Draw the randomized transform many times, instead of using its range."""
    found = []
    for value, own in zip(y, paths, strict=True):
        below, equal = sum(own < value), sum(own == value)
        found += [(below + u * (equal + 1)) / (len(own) + 1) for u in RNG.random(4000)]
    return np.histogram(found, n_bins, (0, 1))[0] / len(found)


@pytest.mark.parametrize("n_bins", [1, 4, 10])
def test_it_is_the_mean_of_the_randomized_one(n_bins):
    y, paths = RNG.poisson(1, 30), RNG.poisson(2, (30, 5))
    # A share of 120,000 draws has a deviation of .0015 at most.
    found = pit_histogram(y, paths, n_bins=n_bins)
    assert_allclose(found, slow_histogram(y, paths, n_bins), atol=0.006)
    assert_allclose(found.sum(), 1)


@pytest.mark.parametrize("n_paths", [1, 3, 50])
@pytest.mark.parametrize("draw", [lambda size: RNG.poisson(0.7, size), RNG.normal])
def test_the_right_distribution_is_flat(draw, n_paths):
    def right(size):
        values = np.asarray(draw(size=size), float)
        values[values > 1.5] = np.inf  # as a time beyond the horizon
        return values

    found = pit_histogram(right(20_000), right((20_000, n_paths)))
    assert_allclose(found, 0.1, atol=0.012)  # some four deviations of a share


def test_shapes_of_wrong_distributions():
    y, paths = RNG.normal(size=2000), RNG.normal(size=(2000, 100))
    low, wide, narrow = (pit_histogram(y, p) for p in (paths - 1, 3 * paths, paths / 3))
    assert low[-1] > 3 * low[0]
    assert wide[4:6].mean() > 2 * wide[[0, -1]].mean()
    assert narrow[[0, -1]].mean() > 2 * narrow[4:6].mean()


@pytest.mark.parametrize(
    ("y", "paths", "words"),
    [
        ([1, 2], [[1, 2]], r"shapes \(1, 2\) and \(2,\)"),
        ([1, 2], [1, 2], r"shapes \(2,\)"),
        ([], np.zeros((0, 3)), r"shapes \(0, 3\)"),
        ([1], np.zeros((1, 0)), r"shapes \(1, 0\)"),
        ([np.nan], [[1.0]], "y_true has 1 missing"),
        ([1], [[1.0, np.nan]], "simulated has 1 missing"),
    ],
)
def test_errors(y, paths, words):
    with pytest.raises(ValueError, match=words):
        pit_histogram(y, paths)
