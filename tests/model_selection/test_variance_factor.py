"""Folds that depend on each other: the factor of variances, and of intervals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import KFold, RepeatedKFold, TimeSeriesSplit

from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.model_selection._resampled_scores import variance_factor
from tests.model_selection.offset import N, Offset, X, Y

ROWS = np.arange(60)
HALVES = [(ROWS[:30], ROWS[30:]), (ROWS[30:], ROWS[:30])]
# The second fold trains on a third of the test rows of the first, which trains on all
# test rows of the second.
PARTLY = [(ROWS[:30], ROWS[30:]), (ROWS[20:40], ROWS[:20])]
SPLITS = {
    "one fold": HALVES[:1],
    "2 folds": HALVES,
    "5 folds": list(KFold(5).split(ROWS)),
    "repeated": list(
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0).split(ROWS)
    ),
    "forward": list(TimeSeriesSplit(4).split(ROWS)),
    "partly": PARTLY,
    "unequal": [(ROWS[:40], ROWS[40:]), (ROWS[35:50], ROWS[:30])],
}


def counts_of_pairs(folds):
    """Return c_ij: how much row j, in training, counts for row i, in the test."""
    found = np.zeros((len(ROWS), len(ROWS)))
    for train, test in folds:
        for i in test:
            for j in train:
                found[i, j] += 1 / (len(folds) * len(test) * len(train))
    return found


@pytest.mark.parametrize("name", SPLITS)
def test_factor_is_a_sum_over_pairs(name):
    c = counts_of_pairs(SPLITS[name])
    pairs = [(i, j) for i in ROWS for j in ROWS]
    both = sum(c[i, j] * c[j, i] for i, j in pairs)
    expected = 1 + both / sum(c[i, j] ** 2 for i, j in pairs)
    assert_allclose(variance_factor(SPLITS[name], len(ROWS)), expected)


def test_cross_validation_has_2_and_forward_folds_1():
    factors = {name: variance_factor(one, 60) for name, one in SPLITS.items()}
    for name, expected in {
        "one fold": 1,
        "2 folds": 2,
        "5 folds": 2,
        "forward": 1,
    }.items():
        assert_allclose(factors[name], expected, err_msg=name)
    assert 1 < factors["partly"] < 2


@pytest.mark.parametrize("name", ["one fold", "5 folds", "forward", "partly"])
def test_factor_is_that_of_simulated_variances(name):
    """A model is the mean vector of its training rows, which have no signal."""
    rng, folds = np.random.default_rng(0), SPLITS[name]
    vectors = rng.normal(size=(2000, len(ROWS), 5))
    scores = np.zeros(2000)
    of_rows = np.zeros((2000, len(ROWS)))  # what each row adds as a test row
    for train, test in folds:
        model = vectors[:, train].mean(axis=1)
        own = (vectors[:, test] * model[:, None]).sum(axis=2) / len(test) / len(folds)
        of_rows[:, test] += own
        scores += own.sum(axis=1)
    of_samples = (of_rows**2).sum(axis=1).mean()
    # Means of 2,000 squares: a standard error of about 4%.
    assert_allclose(scores.var() / of_samples, variance_factor(folds, 60), rtol=0.15)


def test_intervals_of_differences_are_wider_by_the_root_of_2():
    """Against the folds alone, and without a factor for the intervals of scores."""
    models = {"one": Offset(0.5), "two": Offset(0.7)}
    rows = np.arange(N)
    halves = [(rows[: N // 2], rows[N // 2 :]), (rows[N // 2 :], rows[: N // 2])]

    def width(table):
        return (table["upper"] - table["lower"]).to_numpy()

    both, *each = (
        compare_models(
            models, X, Y, cv=cv, scoring="r2", n_resamples=2000, random_state=0
        )
        for cv in (halves, halves[:1], halves[1:])
    )
    # The mean of two independent folds has half the root of the sum of their squares.
    for name, factor in {"differences": np.sqrt(2), "summary": 1}.items():
        independent = np.sqrt(sum(width(getattr(one, name)) ** 2 for one in each)) / 2
        # Quantiles of 2,000 samples have a standard error of 3% of the width.
        found = width(getattr(both, name)) / independent
        assert_allclose(found, factor, rtol=0.12, err_msg=name)
