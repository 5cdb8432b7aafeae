"""Hybrids that learn their weight at the latest cutoffs: ``cv="latest"``."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned, future_count, time_to_next

SMALL = {"hidden_size": 6, "head_sizes": (), "max_epochs": 6, "n_networks": 1}
QUANTILES = QuantileRegressor(quantile=0.8, alpha=0.01)
N_CUSTOMERS, LATEST = 60, pd.Timestamp("2024-05-30")


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
    network = LSTMClassifier(**SMALL, batch_size=128, random_state=0)
    model = make_hybrid(network, trees(), cv="latest", random_state=0).fit(rows, y)
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
    model = make_hybrid(network, second, cv="latest", random_state=0).fit(
        rows, y, weight
    )
    without = clone(model).fit(rows[used], y[used], weight[used])
    # Up to rounding: the sums of Ridge depend on where its rows are in memory.
    assert model.weights_ == pytest.approx(without.weights_, rel=1e-9)
    assert_allclose(model.predict(rows), without.predict(rows), rtol=1e-6)
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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"refit": False}, "refit=False would keep"),
        ({"lstm__estimator__validation": "customers"}, "validation='customers'"),
        ({"lstm__estimator__early_stopping": False}, "early_stopping=False"),
        ({"lstm__estimator__refit": False}, "refit=False or warm_start=True"),
        ({"lstm__estimator__warm_start": True}, "warm_start=True continues"),
        ({"lstm__estimator": LogisticRegression()}, "no network; got LogisticRegr"),
        ({"cv": "last"}, "'cv' parameter of HybridClassifier"),
    ],
)
def test_it_is_refused_where_networks_do_not_stop_so(rows, changed, message):
    y = churned(rows, "30D")
    network = LSTMClassifier(**SMALL, random_state=0)
    model = make_hybrid(network, trees(), cv="latest", random_state=0)
    with pytest.raises(ValueError, match=message):
        model.set_params(**changed).fit(rows, y)


def test_it_is_refused_without_a_horizon_and_for_survival_models(rows):
    model = make_hybrid(LSTMClassifier(**SMALL), trees(), cv="latest")
    with pytest.raises(
        ValueError, match=r"the horizon of the target is unknown.*cv=No"
    ):
        model.fit(rows, churned(rows, "30D").to_numpy())
    times = make_hybrid(LSTMSurvival(**SMALL), cv="latest")
    y = time_to_next(rows, "30D", censored="keep")
    with pytest.raises(ValueError, match="HybridSurvival does not support it"):
        times.fit(rows, y)


@pytest.mark.parametrize("kind", ["labels", "quantile", "exposure"])
def test_other_targets(rows, kind):
    """The weight is that of hand-made parts, by the loss of the hybrid."""
    count = future_count(rows, "30D").astype(float)
    options = {**SMALL, "random_state": 0}
    if kind == "labels":
        y = future_count(rows, ["10D", "30D"]) > 0
        network = LSTMClassifier(**options)
    elif kind == "quantile":
        y, network = count, LSTMRegressor(**options, loss="quantile", quantile=0.8)
    else:
        rows, y = rows.assign(days=30.0), count
        network = LSTMRegressor(**options, loss="poisson", exposure="days")
    second = {"labels": LogisticRegression(), "quantile": QUANTILES}.get(kind, Ridge())
    second = make_pipeline(RFMFeatures(), second)
    model = make_hybrid(network, second, cv="latest", random_state=0).fit(rows, y)
    assert 0 < model.weights_["lstm"] < 1
    assert model.n_customers_ == N_CUSTOMERS
    at_best = model.losses_["hybrid"]
    assert at_best <= min(model.losses_["lstm"], model.losses_["boosting"]) + 0.02


def test_a_label_of_later_rows_cannot_be_learned_from_earlier_ones(rows):
    """The weight is one half, as if the trees could not be fitted on a fold."""
    often = churned(rows, "30D")
    is_unknown = rows["cutoff"] == LATEST - pd.Timedelta("30D")  # at the latest cutoff
    y = pd.DataFrame({"often": often, "once": often * is_unknown})
    network = LSTMClassifier(**SMALL, horizon="60D", random_state=0)
    model = make_hybrid(network, trees(), cv="latest", random_state=0).fit(rows, y)
    assert model.weights_ == {"lstm": 0.5, "boosting": 0.5}
    assert model.losses_ == {}
    assert model.lstm_[-1].validation_["n_epochs"] is not None
    assert model.predict_proba(rows).shape == (len(rows), 2)


def test_rows_that_the_network_leaves_out_are_an_error(rows):
    """Positions of rows would be others in the network than in the hybrid."""
    y = churned(rows, "30D").map({0: "stays", 1: "leaves"}).rename("churned")
    y[::7] = "other"
    y.attrs = churned(rows, "30D").attrs
    weight = {"stays": 1, "leaves": 1, "other": 0}
    network = LSTMClassifier(**SMALL, class_weight=weight, random_state=0)
    model = make_hybrid(network, trees(), cv="latest", random_state=0)
    with pytest.raises(ValueError, match="leaves out 43 of 300 rows"):
        model.fit(rows, y)


def test_copies_during_a_fit_can_be_pickled(rows):
    """Callbacks of scikit-learn keep such copies."""
    copies = []

    class Copying(LSTMClassifier):
        def _adjust(self, data):
            copies.append(copy.copy(self))
            super()._adjust(data)

    y = churned(rows, "30D")
    network = Copying(**SMALL, random_state=0)
    make_hybrid(network, trees(), cv="latest", random_state=0).fit(rows, y)
    assert "_on_first_training" not in vars(copies[0])


def test_a_failed_fit_leaves_nothing_behind(rows):
    """Nothing that a pickle could not hold, or that later fits would use."""
    y = churned(rows, "30D")
    seen = []

    class Failing(LSTMClassifier):
        def _adjust(self, data):
            seen.append(self)
            raise ValueError("no calibration")

    model = make_hybrid(Failing(**SMALL), trees(), cv="latest", random_state=0)
    with pytest.raises(ValueError, match="no calibration"):
        model.fit(rows, y)
    [network] = seen
    assert "_on_first_training" not in vars(network)
