"""Intervals of effects from samples of the customers."""

from itertools import islice
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from sklearn_seqcrm.uplift import choose_contacts
from sklearn_seqcrm.uplift._fit_samples import _samples
from tests.uplift.small_tables import (
    LEARNERS,
    POINTS,
    effect,
    linear,
    table,
    three_folds,
)


def test_intervals_contain_the_truth():
    """90% of the intervals of linear models without bias, here at 4 points."""
    covered = []
    for seed in range(8):
        X, y, treated, propensity = table(300, seed)
        model = linear(n_bootstraps=30, random_state=seed)
        model.fit(X, y, treatment=treated, propensity=propensity)
        interval = model.predict_interval(POINTS)
        assert interval.shape == (4, 2)
        covered.append(
            (interval[:, 0] < effect(POINTS)) & (effect(POINTS) < interval[:, 1])
        )
    assert 0.7 < np.mean(covered) <= 1


def test_an_interval_has_quantiles_of_the_samples():
    X, y, treated, _ = table(90)
    model = linear(n_bootstraps=5, confidence_level=0.5, random_state=0)
    model.fit(X, y, treatment=treated)
    # Of five in order, the quantiles .25 and .75 are the second and the fourth.
    samples = np.sort(model.predict_samples(POINTS), axis=0)
    np.testing.assert_allclose(model.predict_interval(POINTS), samples[[1, 3]].T)


class Drawn(NamedTuple):
    """Rows whose samples are their positions."""

    customers: np.ndarray

    def take(self, index):
        return index


def test_samples_draw_each_customer_with_all_rows():
    rows = Drawn(np.array([7, 3, 7, 5, 3, 7]))
    draws = []
    for index in islice(_samples(rows, np.random.RandomState(0)), 200):
        times = np.bincount(index, minlength=6)
        assert times[0] == times[2] == times[5]
        assert times[1] == times[4]
        draws.append(times[[0, 1, 3]])
    assert (np.sum(draws, axis=1) == 3).all()
    # Of 600, each customer is drawn 200 times, with a standard error of 11.5.
    np.testing.assert_allclose(np.sum(draws, axis=0), 200, atol=46)


def test_samples_have_the_given_folds():
    """Folds by masks and positions, which count the rows that fit gets."""
    X, y, treated, propensity = table(90)
    masks = [(np.arange(90) % 3 != i, np.arange(90) % 3 == i) for i in range(3)]
    one, two = (
        linear(cv=cv, n_bootstraps=2, random_state=0)
        .fit(X, y, treatment=treated, propensity=propensity)
        .predict_interval(X)
        for cv in (three_folds(90), iter(masks))
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("learner", ["x", "dr", "r"])
def test_splitters_by_position_split_all_rows_once(learner):
    """Positions of a `PredefinedSplit` are those of the rows that fit gets.

    Rows of weight 0 made them point beyond the others, and in samples of customers to
    rows of other folds.
    """
    X, y, treated, _ = table(90)
    weight = np.r_[np.zeros(30), np.ones(60)]
    one, two = (
        linear(learner, cv=cv, n_bootstraps=2, random_state=0)
        .fit(X, y, treatment=treated, sample_weight=weight)
        .predict_interval(X)
        for cv in (three_folds(90), PredefinedSplit(np.arange(90) % 3))
    )
    np.testing.assert_array_equal(one, two)


def test_splits_without_a_fold_of_different_customers():
    X, y, treated, _ = table(90)
    all_rows = np.arange(90)
    with pytest.raises(ValueError, match="cv makes 1 folds, and none has rows"):
        linear(cv=[(all_rows, all_rows[:0])]).fit(X, y, treatment=treated)


def test_intervals_of_several_treatments_and_processes():
    X, y, _, _ = table(90)
    arm = np.arange(90) % 3
    one, two = (
        linear(control=0, n_bootstraps=3, n_jobs=n, random_state=0).fit(
            X, y, treatment=arm
        )
        for n in (1, 2)
    )
    assert one.predict_interval(X).shape == (90, 2, 2)
    np.testing.assert_array_equal(one.predict_interval(X), two.predict_interval(X))
    assert (np.diff(one.predict_interval(X)) >= 0).all()
    samples = one.predict_samples(X)
    assert samples.shape == (3, 90, 2)
    ends = np.moveaxis(np.quantile(samples, [0.05, 0.95], axis=0), 0, -1)
    np.testing.assert_allclose(one.predict_interval(X), ends)
    plan = choose_contacts(one.predict(X), value=1, effect_samples=samples)
    assert plan.lower <= plan.upper
    # The effects themselves do not depend on the number of samples.
    none = linear(control=0, random_state=0).fit(X, y, treatment=arm)
    np.testing.assert_array_equal(none.predict(X), one.predict(X))
    with pytest.raises(ValueError, match="set n_bootstraps to 50 or more"):
        none.predict_interval(X)
    with pytest.raises(ValueError, match="set n_bootstraps to 50 or more"):
        none.predict_samples(X)


def rare(n_rare):
    """Rows of three arms, of which one has few rows."""
    X, y, treated, _ = table(200)
    arm = treated.astype(object)
    arm[:n_rare] = 2
    return X, y, arm


@pytest.mark.parametrize("learner", LEARNERS)
def test_samples_have_rows_of_a_rare_arm(learner):
    """One draw in 50 or so of customers lacks an arm of 4, or has it in one fold."""
    X, y, arm = rare(4)
    model = linear(learner, control=0, propensity="constant", n_bootstraps=40, cv=2)
    model.set_params(random_state=0).fit(X, y, treatment=arm)
    assert model.predict_interval(X).shape == (200, 2, 2)


@pytest.mark.parametrize("learner", ["s", "dr"])
def test_an_arm_that_samples_lack_is_named(learner, monkeypatch):
    monkeypatch.setattr("sklearn_seqcrm.uplift._fit_samples._MOST_DRAWS", 1)
    X, y, arm = rare(2)
    model = linear(learner, control=0, propensity="constant", n_bootstraps=40, cv=2)
    with pytest.raises(ValueError, match=r"Bootstrap sample \d+ .* 2: 2}\. Leave"):
        model.set_params(random_state=0).fit(X, y, treatment=arm)
