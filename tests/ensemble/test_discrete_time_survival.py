import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_seqcrm.ensemble import DiscreteTimeSurvival
from sklearn_seqcrm.ensemble._discrete_time_survival import PersonPeriods


class Keeps(ClassifierMixin, BaseEstimator):
    """Predicts shares that depend on the bin, and keeps the arguments of `fit`."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        bin_ = np.asarray(X)[:, -1].astype(float)
        hazard = 0.1 * (1 + bin_)
        left = [1 - hazard]
        n = len(self.classes_) - 1
        return np.column_stack(left + [hazard / n] * n)


def survival(event, time):
    return pd.DataFrame({"event": event, "time": time})


def test_person_periods_by_hand():
    """Bins 0-1, 1-2, 2-4: an event at 1.5, censored at 3, an event at 0, at 4."""
    y = survival([True, False, True, False], [1.5, 3.0, 0.0, 4.0])
    X = pd.DataFrame({"x": [10.0, 20, 30, 40]})
    model = DiscreteTimeSurvival(Keeps(), bins=[1, 2, 4]).fit(X, y, [1, 2, 1, 1])
    inner = model.classifier_
    assert_array_equal(inner.X_["x"], [10, 10, 20, 20, 20, 30, 40, 40, 40])
    assert_array_equal(inner.X_["bin"], [0, 1, 0, 1, 2, 0, 0, 1, 2])
    assert_array_equal(inner.y_, [0, 1, 0, 0, 0, 1, 0, 0, 0])
    assert_allclose(inner.weight_, [1, 1, 2, 2, 1, 1, 1, 1, 1])
    assert_allclose(model.unique_times_, [0, 1, 2, 4])
    curves = model.predict_survival_function(X[:1], return_array=True)
    assert_allclose(curves, [[1, 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7]])


def test_complete_periods_have_no_weights():
    """With weights, trees of scikit-learn take a multiple of the time."""
    X = np.ones((3, 1))
    model = DiscreteTimeSurvival(Keeps(), bins=[1, 2, 4])
    whole = model.fit(X, survival([True, False, False], [1.5, 4.0, 2.0]))
    assert whole.classifier_.weight_ is None
    part = model.fit(X, survival([True, False, False], [1.5, 3.0, 2.0]))
    assert_allclose(part.classifier_.weight_, [1, 1, 1, 1, 0.5, 1, 1])


def test_competing_kinds():
    y = survival([1, 2, 0, 2], [0.5, 1.5, 2.0, 1.2])
    model = DiscreteTimeSurvival(Keeps(), bins=[1, 2]).fit(np.ones((4, 1)), y)
    assert_array_equal(model.classifier_.y_, [1, 0, 2, 0, 0, 0, 2])
    assert_array_equal(model.event_types_, [1, 2])
    found = model.predict_cumulative_incidence([[1.0]])
    assert found.shape == (1, 3, 3)
    assert_allclose(found.sum(axis=1), 1)
    assert_allclose(found[0, 1], [0, 0.05, 0.05 + 0.9 * 0.1])


def test_without_features_it_is_the_life_table():
    """With a free hazard for each bin, the estimate is events over rows at risk."""
    rng = np.random.default_rng(0)
    share = np.pi / 6  # of the bin; times have no common step
    time = rng.integers(0, 6, 500) + share
    event = rng.random(500) < 0.6
    bins = make_pipeline(OneHotEncoder(), LogisticRegression(C=1e9, tol=1e-10))
    model = DiscreteTimeSurvival(bins, bins=[1, 2, 3, 4, 5, 6])
    model.fit(np.ones((500, 1)), survival(event, time))
    survived, expected = 1.0, [1.0]
    for start in range(6):
        here = (time > start) & (time < start + 1)
        at_risk = (time > start).sum() - (1 - share) * (here & ~event).sum()
        survived *= 1 - (here & event).sum() / at_risk
        expected.append(survived)
    found = model.predict_survival_function([[1.0]], return_array=True)[0]
    assert_allclose(found, expected, atol=1e-3)


def test_it_recovers_hazards_that_are_not_proportional():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 4000)
    # Rate .3 always, or .6 in the first 2 days and .1 later.
    first = rng.exponential(1 / np.where(x, 0.6, 0.3))
    time = np.where(first < 2, first, 2 + rng.exponential(1 / np.where(x, 0.1, 0.3)))
    y = survival(time < 6, time.clip(max=6))
    trees = HistGradientBoostingClassifier(random_state=0, max_iter=60)
    model = DiscreteTimeSurvival(trees, bins=np.arange(1, 7)).fit(x[:, None], y)
    found = model.predict_survival_function([[0], [1]], return_array=True)
    t = np.arange(7)
    expected = [
        np.exp(-0.3 * t),
        np.exp(-0.6 * t.clip(max=2) - 0.1 * (t - 2).clip(min=0)),
    ]
    assert_allclose(found, expected, atol=0.04)
    assert model.score(x[:, None], y) > 0.5


def test_fewer_rows_have_more_weight():
    rng = np.random.default_rng(0)
    y = survival(rng.random(300) < 0.5, rng.uniform(0, 10, 300))
    X = rng.normal(size=(300, 1))
    full = DiscreteTimeSurvival(Keeps()).fit(X, y).classifier_
    some = DiscreteTimeSurvival(Keeps(), max_rows=200, random_state=0)
    kept = some.fit(X, y).classifier_
    assert (kept.y_ == 0).sum() == 200
    assert (kept.y_ == 1).sum() == (full.y_ == 1).sum()
    for one in (0, 1):
        total = full.weight_[full.y_ == one].sum()
        assert kept.weight_[kept.y_ == one].sum() == pytest.approx(total, rel=0.05)
    again = clone(some).fit(X, y).classifier_
    assert_array_equal(again.X_, kept.X_)


def test_columns_keep_their_types_and_names():
    X = pd.DataFrame(
        {"bin": [1.0, 2, 3, 4], "city": pd.Categorical(list("abab"))},
        index=[3, 1, 0, 7],
    )
    y = survival([True, True, False, True], [1.0, 2, 3, 4])
    model = DiscreteTimeSurvival(Keeps(), bins=[2, 4, 6]).fit(X, y)
    table = model.classifier_.X_
    assert list(table) == ["bin", "city", "bin_"]
    assert isinstance(table["city"].dtype, pd.CategoricalDtype)
    numbered = X.set_axis([0, 1], axis=1)
    model = DiscreteTimeSurvival(Keeps(), bins=[2, 4, 6]).fit(numbered, y)
    assert list(model.classifier_.X_) == ["0", "1", "bin"]
    trees = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=2)).fit(X, y)
    assert trees.feature_names_in_.tolist() == ["bin", "city"]
    with pytest.raises(ValueError, match="feature names"):
        trees.predict(X[["city"]])


@pytest.mark.parametrize("dtype", [bool, "int8", "float16", "float32", "U1", object])
def test_arrays_of_any_dtype_have_the_numbers_of_all_bins(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (600, 1)).astype(dtype)
    y = survival(np.ones(600, bool), np.arange(600) + 0.5)
    model = DiscreteTimeSurvival(Keeps(), bins=np.arange(1, 601), max_rows=None)
    table = model.fit(X, y).classifier_.X_
    assert_array_equal(np.unique(table[:, -1].astype(float)), np.arange(600))
    assert_array_equal(table[:3, 0], X[[0, 1, 1], 0])
    if dtype == "float32":
        assert table.dtype == "float32"


@pytest.mark.parametrize("classifier", [None, LogisticRegression()])
def test_all_events_in_the_first_bin(classifier):
    X, y = np.arange(20.0)[:, None], survival(np.ones(20, bool), np.ones(20))
    model = DiscreteTimeSurvival(classifier, bins=[2, 4]).fit(X, y)
    found = model.predict_survival_function(X, return_array=True)
    assert_allclose(found[:, 0], 1)
    assert_allclose(found[:, 1:], 0, atol=1e-5)
    assert np.isfinite(model.predict(X)).all()


def test_durations_are_days():
    y = survival([True, True, False], pd.to_timedelta([1, 2, 3], "D"))
    model = DiscreteTimeSurvival(Keeps(), bins="1D").fit(np.ones((3, 1)), y)
    assert_allclose(model.unique_times_, [0, 1, 2, 3])
    found = model.predict_proba_before([[1.0]], "2D")
    assert_allclose(found, 1 - 0.9 * 0.8)


def test_rows_in_parts_and_copies(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = survival(rng.random(50) < 0.7, rng.uniform(0, 10, 50))
    model = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=5)).fit(X, y)
    whole = model.predict_survival_function(X, return_array=True)
    name = "sklearn_seqcrm.ensemble._discrete_time_survival._MOST_AT_ONCE"
    monkeypatch.setattr(name, 60)
    assert_array_equal(model.predict_survival_function(X, return_array=True), whole)
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.predict(X), model.predict(X))


def test_weights_of_zero_and_routing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = survival(rng.random(60) < 0.7, rng.uniform(0, 10, 60))
    weight = np.arange(60) % 3
    used = weight > 0
    model = DiscreteTimeSurvival(Keeps())
    one = clone(model).fit(X, y, weight).classifier_
    other = clone(model).fit(X[used], y[used], weight[used]).classifier_
    assert_array_equal(one.X_, other.X_)
    assert_allclose(one.weight_, other.weight_)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = make_pipeline(Keeps().set_fit_request(sample_weight=True))
        routed = DiscreteTimeSurvival(inner).fit(X, y, weight).classifier_[-1]
        # Shares of bins are weights that a classifier gets without a request.
        plain = clone(model).fit(X, y).classifier_
    assert_allclose(routed.weight_, one.weight_)
    assert_allclose(plain.weight_, clone(model).fit(X, y).classifier_.weight_)


def test_bad_input_is_refused():
    X, y = np.ones((3, 1)), survival([True, False, True], [1.0, 2, 3])
    with pytest.raises(ValueError, match="None of the 3 rows has an event"):
        DiscreteTimeSurvival(Keeps()).fit(X, y.assign(event=False))
    with pytest.raises(ValueError, match="zero"):
        DiscreteTimeSurvival(Keeps()).fit(X, y, [0, 0, 0])
    with pytest.raises(ValueError, match="inconsistent"):
        DiscreteTimeSurvival(Keeps()).fit(X[:2], y)
    with pytest.raises(ValueError, match="max_rows"):
        DiscreteTimeSurvival(Keeps(), max_rows=0).fit(X, y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        DiscreteTimeSurvival(Keeps()).predict(X)


def test_periods_of_rows_without_time():
    """Censored at once: the row was never at risk."""
    periods = PersonPeriods.of(np.array([0.0, 1.0]), np.array([0, 1]))
    assert_array_equal(periods.row, [1])
    assert_array_equal(periods.label, [1])


@pytest.mark.parametrize("to_table", [pl.from_pandas, pa.Table.from_pandas])
def test_tables_of_polars_and_arrow(to_table):
    """Categories stay categories: in arrays they would be text, which trees refuse."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"city": pd.Categorical(rng.choice(["a", "b"], 80)), "x": 1.0})
    y = survival(rng.random(80) < 0.7, rng.exponential(9, 80))
    model = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=3), bins=3)
    expected = clone(model).fit(X, y).predict(X)
    found = model.fit(to_table(X), to_table(y))
    assert_allclose(found.predict(to_table(X)), expected)
    assert found.feature_names_in_.tolist() == ["city", "x"]


def test_tables_of_polars_without_pyarrow(monkeypatch):
    def to_pandas(self):
        raise ModuleNotFoundError("No module named 'pyarrow'")

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.random(80), "z": rng.random(80)})
    y = survival(rng.random(80) < 0.7, rng.exponential(9, 80))
    model = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=3), bins=3)
    expected = clone(model).fit(X, y).predict(X)
    table, target = pl.from_pandas(X), pl.from_pandas(y)
    monkeypatch.setattr(pl.DataFrame, "to_pandas", to_pandas)
    assert_allclose(model.fit(table, target).predict(table), expected)
