"""The epochs as good as the best, and the number of epochs that they give."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats
from skorch.history import History

from sklearn_seqcrm._recurrent.training import best_n_epochs
from sklearn_seqcrm._recurrent.training._early_stopping import as_good_as_the_best


@pytest.mark.parametrize(
    ("as_good", "n_epochs"),
    [
        ([1], 1),
        ([1, 1, 1], 3),
        ([0, 0, 1, 0, 0], 3),
        ([0, 1, 0, 1, 1, 0], 5),
        ([1] * 20, 10),
        ([0] * 12 + [1, 0, 1], 13),
        ([0] * 8 + [1, 0, 1], 9),  # of 9 and 11
        ([0, 0, 0], 1),  # training diverged
    ],
)
def test_epochs_nearest_to_10_of_those_as_good_as_the_best(as_good, n_epochs):
    history = History()
    for one in as_good:
        history.new_epoch()
        history.record("is_as_good", bool(one))
    assert best_n_epochs(SimpleNamespace(history=history)) == n_epochs


@pytest.mark.parametrize(
    ("losses", "n_epochs"),
    [
        ([5], 1),
        ([5, 5, 5], 3),
        ([5, 4, 3, 4, 5], 3),
        ([5, 3, 3.1, 3.3, 3, 5], 5),  # of 2, 3 and 5
        ([-1, -2, -3, -3, -3.1], 5),
        ([5e9, 3e9, 3e9, 3.3e9], 3),
        ([np.inf, 5, 3, np.nan, 3], 5),
        ([np.nan, np.inf], 1),
        ([5, 3] + [3.1] * 20, 10),
        ([5] * 12 + [3, 3.1, 3], 13),
        ([5] * 8 + [3, 4, 3], 9),  # of 9 and 11
    ],
)
def test_epochs_nearest_to_10_of_those_with_a_small_loss(losses, n_epochs):
    """All customers have the same losses, whose standard errors are 0."""
    found = as_good_as_the_best(np.tile(losses, (4, 1)).T, np.ones(4))
    history = History()
    for one in found:
        history.new_epoch()
        history.record("is_as_good", bool(one))
    assert best_n_epochs(SimpleNamespace(history=history)) == n_epochs


def test_one_row_per_customer_has_the_standard_error_of_a_mean():
    rng = np.random.default_rng(0)
    first = rng.gamma(2, size=400)
    noise = rng.normal(size=400)
    noise -= noise.mean()
    error = stats.sem(noise, ddof=0)
    # Differences of the mean loss just below and above one standard error.
    steps = [0.99 * error, 1.01 * error]
    losses = np.array([first, *(first + noise + step for step in steps)])
    found = as_good_as_the_best(losses, np.ones(400))
    assert_array_equal(found, [True, True, False])


def test_a_tenth_of_the_range_of_losses():
    """Losses without noise: 1.1 of 1 to 2, in any unit and of any sign."""
    means = np.array([2, 1.11, 1.09, 1, 1.2])
    for scale, shift in [(1, 0), (1e9, 0), (1, -5)]:
        losses = np.repeat((scale * means + shift)[:, None], 3, axis=1)
        found = as_good_as_the_best(losses, np.ones(3))
        assert_array_equal(found, [False, False, True, True, False])


def test_rows_of_a_customer_count_as_one():
    """The standard error does not fall if each row is there four times."""
    rng = np.random.default_rng(0)
    losses = rng.gamma(2, size=(1, 100)) + rng.normal(0, 1, size=(12, 100))
    found = as_good_as_the_best(losses, np.ones(100))
    of_four = as_good_as_the_best(4 * losses, np.full(100, 4.0))
    assert_array_equal(of_four, found)
    apart = as_good_as_the_best(np.repeat(losses, 4, axis=1), np.ones(400))
    assert found.sum() > apart.sum() >= 1


def test_customers_with_more_rows_or_weight():
    """Two customers, one of them with three rows: by hand."""
    weights = np.array([1.0, 3.0])
    # Means 2 and 2.5. Differences of customers are 2 and 0, or rests of 1.5 and -1.5
    # around 0.5 a row: the standard error is sqrt(4.5) / 4 = 0.53.
    losses = np.array([[2.0, 6.0], [4.0, 6.0]])
    assert_array_equal(as_good_as_the_best(losses, weights), [True, True])
    # Differences of 1 and 3 are 1 a row, for both customers alike.
    losses = np.array([[2.0, 6.0], [3.0, 9.0]])
    assert_array_equal(as_good_as_the_best(losses, weights), [True, False])


@pytest.mark.filterwarnings("error")
def test_losses_that_are_not_finite():
    losses = np.array([[np.inf, 1], [1, 1], [np.nan, 1], [3, 3], [1, 1]])
    with np.errstate(all="raise"):
        found = as_good_as_the_best(losses, np.ones(2))
        assert_array_equal(found, [False, True, False, False, True])
        assert not as_good_as_the_best(losses[[0, 2]], np.ones(2)).any()
