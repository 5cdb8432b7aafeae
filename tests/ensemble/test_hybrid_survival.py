"""Hybrids of survival models."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.ensemble import DiscreteTimeSurvival, HybridSurvival, make_hybrid
from sklearn_seqcrm.ensemble._blends import OfHazards
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMSurvival
from sklearn_seqcrm.targets import time_to_next

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "n_networks": 1}


def rows(n=80):
    """Return rows of customers at two cutoffs, and the time to their next order."""
    journeys = make_customer_journeys(n, random_state=0)
    log = EventLog(
        journeys.events,
        customer="customer_id",
        time="timestamp",
        observed_until=journeys.observed_until,
    )
    X = log.snapshots(["2024-08-01", "2024-10-01"])
    return X, time_to_next(X, kinds="order", censored="keep")


X, Y = rows()


def hybrid(**options):
    trees = HistGradientBoostingClassifier(max_iter=3)
    return make_hybrid(LSTMSurvival(**SMALL), trees, random_state=0, **options)


class Constant(BaseEstimator):
    """A survival model with one hazard rate, from the edge of 0 to `end`."""

    def __init__(self, rate=0.1, end=100.0, n_kinds=1):
        self.rate = rate
        self.end = end
        self.n_kinds = n_kinds

    def fit(self, X, y, sample_weight=None):
        self.seen_ = X
        return self

    def predict_survival_function(self, X):
        class Curve:
            x = np.array([0.0, self.end])

        return np.array([Curve()] * len(X), dtype=object)

    def predict_cumulative_incidence(self, X, times):
        times = np.asarray(times)
        assert (times <= self.end).all()
        came = 1 - np.exp(-self.rate * times)
        one = np.vstack([1 - came, *[came / self.n_kinds] * self.n_kinds])
        return np.tile(one, (len(X), 1, 1))


# The blend ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_kinds", [1, 2])
def test_losses_and_derivatives(n_kinds):
    """The likelihood by a loop over the bins of each row."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40, n_kinds, 5))
    number = rng.integers(0, n_kinds + 1, 40)
    last = rng.integers(1, 6, 40)
    y = np.column_stack([np.where(number > 0, last, last - rng.random(40)), number])
    blend = OfHazards(first, second)
    odds = 0.3 * first + 0.7 * second
    expected = []
    for z, (passed, kind) in zip(odds, y, strict=True):
        share = np.exp(z) / (1 + np.exp(z).sum(axis=0))  # (n_kinds, 5)
        log_likelihood = 0.0
        for j in range(5):
            observed = min(max(passed - j, 0), 1)
            if kind > 0 and j == passed - 1:
                log_likelihood += np.log(share[int(kind) - 1, j])
            else:
                log_likelihood += observed * np.log(1 - share[:, j].sum())
        expected.append(-log_likelihood)
    assert_allclose(blend.losses(y, 0.3), expected)
    step = 1e-4
    low, mid, high = (blend.losses(y, 0.5 + s) for s in (-step, 0, step))
    slope, curvature = blend.derivatives(y)
    assert_allclose(slope, (high - low) / (2 * step), atol=1e-6)
    assert_allclose(curvature, (high - 2 * mid + low) / step**2, atol=1e-5)


# Fitting ------------------------------------------------------------------------------


def odds_of(part, edges):
    """Return the log odds of the hazards of a part between edges."""
    chances = part.predict_cumulative_incidence(X, edges)
    survival = chances[:, 0]
    return np.log(survival[:, :-1] / survival[:, 1:] - 1)


def test_it_is_the_blend_of_its_parts():
    model = hybrid(lstm_weight=0.3).fit(X, Y)
    assert isinstance(model, HybridSurvival)
    lstm, trees = model.lstm_[-1], model.boosting_[-1]
    edges = model.unique_times_
    assert_array_equal(edges, lstm.unique_times_)
    assert_array_equal(edges, trees.unique_times_)
    network = odds_of(model.lstm_, edges)
    features = model.boosting_[:-1].transform(X)
    chances = trees.predict_survival_function(features, return_array=True)
    boosted = np.log(chances[:, :-1] / chances[:, 1:] - 1)
    odds = 0.3 * network + 0.7 * boosted
    hazard = np.logaddexp(0, odds).cumsum(axis=1)
    found = model.predict_survival_function(X, return_array=True)
    assert_allclose(found[:, 1:], np.exp(-hazard), rtol=1e-4)
    before = model.predict_proba_before(X, "30D")
    [curve] = model.predict_survival_function(X[:1])
    assert before[0] == pytest.approx(1 - curve("30D"))
    assert model.predict_quantile(X).shape == (len(X),)
    assert 0 < model.score(X, Y) < 1
    assert_allclose(model.predict_cumulative_incidence(X).sum(axis=1), 1)


def test_a_weight_of_one_is_the_network():
    for weight, name in ((1.0, "lstm_"), (0.0, "boosting_")):
        model = hybrid(lstm_weight=weight).fit(X, Y)
        part = getattr(model, name)
        prepared = part[:-1].transform(X)
        assert_allclose(model.predict(X), part[-1].predict(prepared), atol=1e-4)


def test_the_weight_minimises_the_likelihood_of_customers_held_out():
    rng = np.random.default_rng(0)
    time = rng.exponential(10, 4000)
    y = pd.DataFrame({"event": time < 30, "time": time.clip(max=30)})
    table = pd.DataFrame({"x": np.ones(4000)})
    options = {"cv": 5, "random_state": 0}
    good = HybridSurvival(Constant(0.1), Constant(0.02), **options).fit(table, y)
    bad = HybridSurvival(Constant(0.02), Constant(0.1), **options).fit(table, y)
    assert good.weights_["lstm"] > 0.9
    assert bad.weights_["lstm"] < 0.1
    assert good.losses_["hybrid"] <= good.losses_["lstm"] + 1e-6
    assert good.losses_["lstm"] < good.losses_["boosting"]
    # -log likelihood of an exponential time in bins: that of hazards of .1 a day.
    [curve] = good.predict_survival_function(table[:1])
    assert curve(20.0) == pytest.approx(np.exp(-2), abs=0.03)


def test_held_out_rows_may_be_later_than_all_others():
    """Rows fitted on end at 5 of 20; both parts get the same hazard after that."""
    y = pd.DataFrame({"event": True, "time": np.tile([1.0, 2, 4, 20], 20)})
    part = Constant(0.1, end=5.0)
    table = pd.DataFrame({"x": np.ones(80)})
    model = HybridSurvival(part, Constant(0.3, end=5.0), lstm_weight=None, cv=2)
    with pytest.raises(ValueError, match="must reach 20, but they end at: lstm 5"):
        model.fit(table, y)
    assert np.isfinite(list(model.losses_.values())).all()
    with pytest.raises(ValueError, match="boosting 5"):
        HybridSurvival(Constant(), part, lstm_weight=0.5).fit(table, y)


@pytest.mark.parametrize("bins", [20, "7D"])
def test_without_refit_the_bins_end_with_the_rows_fitted_on(bins):
    """Some of six seeds hold out the row with the longest time."""
    trees = HistGradientBoostingClassifier(max_iter=2)
    y = Y.assign(time=Y["time"].where(np.arange(len(Y)) != 3, pd.Timedelta("400D")))
    ends = []
    for seed in range(6):
        network = LSTMSurvival(**SMALL, bins=bins)
        model = make_hybrid(network, trees, refit=False, random_state=seed).fit(X, y)
        edges = model.unique_times_
        ends.append(edges[-1])
        assert edges[-1] == model.lstm_[-1].unique_times_[-1]
        found = model.predict_survival_function(X, return_array=True)
        assert found.shape == (len(X), len(edges))
        assert (np.diff(found) <= 0).all()
        assert 0 < model.score(X, y) < 1
    assert min(ends) < 300 < 399 < max(ends)


def test_without_refit_the_trees_must_reach_the_end_of_the_network():
    daily = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=2), bins="1D")
    model = make_hybrid(LSTMSurvival(**SMALL, bins="14D"), daily, refit=False)
    with pytest.raises(ValueError, match="must reach"):
        model.set_params(random_state=0).fit(X, Y)


def test_kinds_of_events():
    y = Y.assign(event=Y["event"] * (1 + np.arange(len(Y)) % 2))
    model = hybrid(lstm_weight=0.5).fit(X, y)
    found = model.predict_cumulative_incidence(X, ["10D", "30D"])
    assert found.shape == (len(X), 3, 2)
    assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert_array_equal(model.event_types_, [1, 2])
    learned = hybrid().fit(X, y)
    assert 0 < learned.weights_["lstm"] < 1
    wrong = HybridSurvival(Constant(n_kinds=1), Constant(n_kinds=2), lstm_weight=0.5)
    table = pd.DataFrame({"x": np.ones(len(y))})
    numbers = y.assign(time=y["time"] / pd.Timedelta("10D"))
    wrong.fit(table, numbers)
    with pytest.raises(ValueError, match="predicts 1 kinds of events, and y has 2"):
        wrong.predict(table)


def test_searches_clones_pickles_and_leaks():
    model = hybrid()
    grid = {"lstm__estimator__hidden_size": [3], "boosting__estimator__bins": [10]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise")
    best = search.fit(X, Y).best_estimator_
    risk = best.predict(X)
    assert_allclose(clone(best).fit(X, Y).predict(X), risk, rtol=1e-12)
    assert_array_equal(pickle.loads(pickle.dumps(best)).predict(X), risk)
    assert np.isfinite(cross_val_score(model, X, Y, cv=2, error_score="raise")).all()
    check_no_leakage(best, X, n_cutoffs=2)


def test_searches_as_parts():
    parts = hybrid()
    searches = [
        GridSearchCV(part, grid, cv=2, error_score="raise")
        for part, grid in (
            (parts.lstm, {"estimator__hidden_size": [3]}),
            (parts.boosting, {"estimator__max_rows": [50]}),
        )
    ]
    model = make_hybrid(*searches, lstm_weight=0.5, random_state=0).fit(X, Y)
    assert isinstance(model, HybridSurvival)
    assert model.lstm_.best_params_ == {"estimator__hidden_size": 3}
    assert np.isfinite(model.predict(X)).all()


def test_weights_of_rows():
    weight = np.arange(len(X)) % 3
    used = weight > 0
    one = hybrid().fit(X, Y, sample_weight=weight)
    other = hybrid().fit(X[used], Y[used], sample_weight=weight[used])
    assert_allclose(one.predict(X), other.predict(X), rtol=1e-9)
    plain = hybrid().fit(X[used], Y[used])
    assert not np.allclose(one.predict(X), plain.predict(X))


def test_shares_of_bins_need_no_request_where_metadata_are_routed():
    risk = hybrid(lstm_weight=0.0).fit(X, Y).predict(X)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = hybrid(lstm_weight=0.0).fit(X, Y)
    assert_allclose(routed.predict(X), risk, rtol=1e-9)


def test_targets_of_scikit_survival():
    days = (Y["time"] / pd.Timedelta("1D")).to_numpy()
    pairs = list(zip(Y["event"], days, strict=True))
    y = np.array(pairs, dtype=[("event", bool), ("time", float)])
    found = hybrid().fit(X, y).predict(X)
    table = Y.assign(time=days).set_axis(np.arange(len(Y), 0, -1))
    assert_allclose(hybrid().fit(X, table).predict(X), found, rtol=1e-9)


# Parts --------------------------------------------------------------------------------


def test_parts_by_default_and_as_given():
    model = make_hybrid(LSTMSurvival())
    assert isinstance(model.boosting[-1], DiscreteTimeSurvival)
    assert model.boosting[-1].classifier.max_leaf_nodes == 5
    assert isinstance(make_hybrid(task="survival").lstm[-1], LSTMSurvival)
    own = make_pipeline(HistoryAggregator(), DiscreteTimeSurvival(LogisticRegression()))
    assert isinstance(make_hybrid(boosting=own), HybridSurvival)
    trees = DiscreteTimeSurvival(HistGradientBoostingClassifier(), bins=5)
    assert make_hybrid(LSTMSurvival(), trees).boosting[-1] is trees
    classifier = make_pipeline(HistoryAggregator(), HistGradientBoostingClassifier())
    for parts, message in (
        ((LSTMSurvival(), classifier), "All must have one task.*DiscreteTimeSurvival"),
        ((LSTMClassifier(), trees), "All must have one task; [^.]*.$"),
    ):
        with pytest.raises(ValueError, match=message):
            make_hybrid(*parts)


def test_bins_are_those_of_the_network():
    network = LSTMSurvival(**SMALL, bins="14D")
    model = make_hybrid(network, HistGradientBoostingClassifier(max_iter=2))
    assert model.boosting[-1].bins == "14D"
    assert HybridSurvival(model.lstm)._parts()["boosting"][-1].bins == "14D"
    model.fit(X, Y)
    assert_allclose(np.diff(model.unique_times_), 14)
    # Other bins that reach as far, and some that do not.
    daily = DiscreteTimeSurvival(HistGradientBoostingClassifier(max_iter=2), bins="1D")
    short = make_hybrid(LSTMSurvival(**SMALL, bins=["7D", "14D"]), daily)
    assert_allclose(short.fit(X, Y).unique_times_, [0, 7, 14])
    message = "must reach 252, but they end at: lstm 252, boosting 242"
    with pytest.raises(ValueError, match=message):
        make_hybrid(clone(network), daily).fit(X, Y)


def test_without_events_nothing_is_fitted():
    with pytest.raises(ValueError, match="has an event"):
        hybrid().fit(X, Y.assign(event=False))
