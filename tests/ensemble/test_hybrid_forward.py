"""Weights of hybrids whose networks stop forward in time."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.ensemble import _base, make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned, future_count

SMALL = {"hidden_size": 6, "head_sizes": (), "max_epochs": 6, "n_networks": 1}
N_CUSTOMERS, LATEST = 60, pd.Timestamp("2024-05-30")


@pytest.fixture(autouse=True)
def few_customers_are_enough(monkeypatch):
    monkeypatch.setattr(_base, "_FEWEST_CUSTOMERS", N_CUSTOMERS)


@pytest.fixture(scope="module")
def rows():
    """Return rows at five cutoffs, 30 days apart, of customers with rates of theirs."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.0, 0.05, N_CUSTOMERS)
    days = [np.append(0, rng.uniform(0, 180, rng.poisson(180 * one))) for one in rate]
    who = np.repeat(np.arange(N_CUSTOMERS), [len(one) for one in days])
    events = pd.DataFrame({"who": who, "day": np.concatenate(days)})
    events["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(events["day"], "D")
    log = EventLog(events, "who", "day", observed_until="2024-07-01")
    return log.snapshots(pd.date_range(end=LATEST, periods=5, freq="30D"))


def trees():
    """Return a second part without any randomness."""
    return make_pipeline(RFMFeatures(), LogisticRegression())


def known_before_latest(X):
    """Return whether the windows of 30 days had ended at the latest cutoff."""
    return (X["cutoff"] + pd.Timedelta("30D") <= LATEST).to_numpy()


def first_training(network, X, y, weight=None):
    """Return a network that keeps its first training."""
    alone = clone(network).set_params(refit=False)
    fit = {} if weight is None else {"estimator__sample_weight": weight}
    return make_history_pipeline(alone).fit(X, y, **fit)


def weight_of(losses, who, weight):
    """Minimise the mean loss with the prior, in the notation of `learn_weight`.

    `losses` returns those of rows; derivatives are differences.
    """
    step = 1e-4
    low, middle, high = (losses(0.5 + d) * weight for d in (-step, 0, step))
    slope, curvature = (high - low) / (2 * step), (high - 2 * middle + low) / step**2
    information = pd.Series(slope).groupby(who).sum().pow(2).sum()
    rate = curvature.sum() / information
    found = minimize_scalar(
        lambda w: rate * (losses(w) * weight).sum() + 8 * (w - 0.5) ** 2,
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return found.x


def test_the_weight_of_classes_is_that_of_the_latest_rows(rows):
    y = churned(rows, "30D")
    network = LSTMClassifier(**SMALL, random_state=0)
    model = make_hybrid(network, trees(), random_state=0).fit(rows, y)
    earlier = known_before_latest(rows)
    latest = (rows["cutoff"] == LATEST).to_numpy()
    first = first_training(network, rows, y).predict_proba(rows[latest])[:, 1]
    of_trees = trees().fit(rows[earlier], y[earlier])
    # Probabilities are clipped.
    second = of_trees.predict_proba(rows[latest])[:, 1].clip(1e-6, 1 - 1e-6)
    is_one = y[latest].to_numpy() == 1

    def losses(w):
        share = expit(w * logit(first) + (1 - w) * logit(second))
        return -np.log(np.where(is_one, share, 1 - share))

    expected = weight_of(losses, rows["who"][latest].to_numpy(), np.ones(latest.sum()))
    assert abs(expected - 0.5) > 0.05
    assert model.weights_["lstm"] == pytest.approx(expected, abs=1e-4)
    assert model.n_customers_ == N_CUSTOMERS
    assert model.losses_["lstm"] == pytest.approx(losses(1).mean(), rel=1e-5)
    assert model.losses_["boosting"] == pytest.approx(losses(0).mean(), rel=1e-5)
    # Both parts are those of all rows.
    alone = make_history_pipeline(network).fit(rows, y)
    assert_array_equal(model.lstm_.predict_proba(rows), alone.predict_proba(rows))
    assert_array_equal(
        model.boosting_.predict_proba(rows),
        trees().fit(rows, y).predict_proba(rows),
    )
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))


def test_rows_without_weight_have_no_influence(rows):
    y = future_count(rows, "30D").astype(float)
    network = LSTMRegressor(**SMALL, loss="poisson", random_state=0)
    second = make_pipeline(RFMFeatures(), Ridge())
    weight = np.random.default_rng(0).integers(0, 3, len(rows)).astype(float)
    # Each customer keeps a row at the latest cutoff.
    weight[(rows["cutoff"] == LATEST).to_numpy()] += 1
    used = weight > 0
    model = make_hybrid(network, second, random_state=0).fit(rows, y, weight)
    without = clone(model).fit(rows[used], y[used], weight[used])
    assert model.weights_ == without.weights_
    assert_array_equal(model.predict(rows), without.predict(rows))
    latest = (rows["cutoff"] == LATEST).to_numpy()
    earlier = known_before_latest(rows)
    first = first_training(network, rows, y, weight).predict(rows[latest])
    of_trees = clone(second).fit(
        rows[earlier], y[earlier], ridge__sample_weight=weight[earlier]
    )
    other = of_trees.predict(rows[latest])

    def losses(w):
        return (y[latest].to_numpy() - w * first - (1 - w) * other) ** 2

    expected = weight_of(losses, rows["who"][latest].to_numpy(), weight[latest])
    assert model.weights_["lstm"] == pytest.approx(expected, abs=1e-3)


def test_customers_are_held_out_where_the_latest_are_few(rows, monkeypatch):
    y = churned(rows, "30D")
    network = LSTMClassifier(**SMALL, random_state=0)
    forward = make_hybrid(network, trees(), random_state=0).fit(rows, y)
    monkeypatch.setattr(_base, "_FEWEST_CUSTOMERS", N_CUSTOMERS + 1)
    by_customers = clone(forward).fit(rows, y)
    assert by_customers.n_customers_ == N_CUSTOMERS // 5
    assert by_customers.weights_ != forward.weights_
    assert_allclose(
        by_customers.lstm_.predict_proba(rows), forward.lstm_.predict_proba(rows)
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"cv": 3},
        {"refit": False},
        {"lstm__estimator__validation": "customers"},
        {"lstm__estimator__early_stopping": False},
        {"lstm__estimator__refit": False},
    ],
)
def test_customers_are_held_out_where_asked_for(rows, changed):
    y = churned(rows, "30D")
    network = LSTMClassifier(**SMALL, random_state=0)
    model = make_hybrid(network, trees(), random_state=0).set_params(**changed)
    model.fit(rows, y)
    n_held_out = N_CUSTOMERS if "cv" in changed else N_CUSTOMERS // 5
    assert model.n_customers_ == n_held_out


def test_a_failed_fit_leaves_nothing_behind(rows):
    """Nothing that a pickle could not hold, or that later fits would use."""
    y = churned(rows, "30D")
    seen = []

    class Failing(LSTMClassifier):
        def _train_on_all(self, *args):
            seen.append(self)
            raise ValueError("no second training")

    model = make_hybrid(Failing(**SMALL), trees(), random_state=0)
    with pytest.raises(ValueError, match="no second training"):
        model.fit(rows, y)
    [network] = seen
    assert "_record_latest" not in vars(network)
