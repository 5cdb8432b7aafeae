"""Propensities of meta-learners: learned, constant, given."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from sklearn_seqcrm.uplift import UpliftRegressor
from tests.uplift.small_tables import linear, table


def test_random_treatments_have_constant_propensities():
    """Trees that overfit predict the arm at random: the slope is about 0."""
    X, y, treated, _ = table(1500, confounded=False)
    boosting = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    model = UpliftRegressor(boosting, random_state=0).fit(X, y, treatment=treated)
    learned = model.learner_.propensity.of_rows[:, 1]
    assert np.ptp(learned) < 0.1
    assert learned.mean() == pytest.approx(treated.mean(), abs=1e-3)


def test_learned_propensities_are_those_of_the_truth():
    X, y, treated, propensity = table(4000)
    model = linear(random_state=0).fit(X, y, treatment=treated)
    learned = model.learner_.propensity.of_rows
    np.testing.assert_allclose(learned[:, 1], propensity, atol=0.1)
    np.testing.assert_allclose(learned.sum(axis=1), 1)


def test_columns_of_propensities_are_found_by_the_labels():
    X, y, treated, propensity = table(300)
    given = pd.DataFrame({"none": 1 - propensity, "mail": propensity})
    arm = given.columns.to_numpy()[treated]
    for columns in (["none", "mail"], ["mail", "none"]):
        model = linear(control="none", random_state=0)
        for values in (given[columns], pl.from_pandas(given[columns])):
            model.fit(X, y, treatment=arm, propensity=values)
            found = model.learner_.propensity.of_rows[:, 1]
            np.testing.assert_allclose(found, propensity)
    codes = pl.from_pandas(given.set_axis(["1", "0"], axis=1))  # text, of 0 and 1
    for labels in (treated, treated.astype("float64")):
        found = linear(random_state=0).fit(X, y, treatment=labels, propensity=codes)
        np.testing.assert_allclose(found.learner_.propensity.of_rows[:, 0], propensity)
    for names in (["no", "yes"], ["column_0", "column_1"]):
        other = given.set_axis(names, axis=1)
        with pytest.raises(ValueError, match=f"propensity has the names .'{names[0]}"):
            model.fit(X, y, treatment=arm, propensity=other)


def test_constant_propensities_are_the_shares():
    X, y, treated, _ = table(300)
    weight = np.where(treated, 3.0, 1.0)
    model = linear(propensity="constant", random_state=0)
    model.fit(X, y, treatment=treated, sample_weight=weight)
    share = weight[treated == 1].sum() / weight.sum()
    np.testing.assert_allclose(model.learner_.propensity.of_rows[:, 1], share)


def test_little_overlap_warns():
    X, y, _, _ = table(600)
    treated = (X[:, 0] > 0).astype(int)
    treated[:4] = [0, 1, 0, 1]
    message = r"rows have a learned propensity below .* for the treatment [01]: custom"
    with pytest.warns(UserWarning, match=message):
        model = linear(random_state=0).fit(X, y, treatment=treated)
    assert 0.045 <= model.learner_.propensity.of_rows.min() < 0.051


def test_propensities_of_a_rare_arm_are_not_raised_to_the_least():
    X, y, _, _ = table(1000)
    treated = (np.arange(1000) % 50 == 0).astype(int)  # 2 percent
    model = linear(random_state=0).fit(X, y, treatment=treated)
    mean = model.learner_.propensity.of_rows.mean(axis=0)
    np.testing.assert_allclose(mean, [0.98, 0.02], atol=0.002)
    given = np.full(1000, 0.02)
    model = linear(random_state=0).fit(X, y, treatment=treated, propensity=given)
    np.testing.assert_allclose(model.learner_.propensity.of_rows[:, 1], 0.02)
