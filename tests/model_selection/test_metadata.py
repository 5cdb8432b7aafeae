"""Metadata of rows in comparisons: treatments for `fit` and for scores."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.metrics import policy_value
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.neural_network import LSTMUpliftRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table

RNG = np.random.default_rng(0)
X, ARM = RNG.normal(size=(60, 2)), RNG.integers(0, 2, 60)
Y = X[:, 0] + ARM
FOLDS = KFold(3)


class Difference(BaseEstimator):
    """Predicts the difference of the means of two arms, for all rows."""

    __metadata_request__fit = {"treatment": True}

    def fit(self, X, y, *, treatment):
        treatment = np.asarray(treatment)
        self.treatments_ = np.array([0, 1])
        self.effect_ = y[treatment == 1].mean() - y[treatment == 0].mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.effect_)


def error_of_mean(y, effect, treatment, sample_weight=None):
    """Minus the distance of the mean effect from the weighted difference of means."""
    treatment = np.asarray(treatment)
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    means = [
        np.average(y[treatment == arm], weights=weight[treatment == arm])
        for arm in (0, 1)
    ]
    return -abs(np.average(effect, weights=weight) - (means[1] - means[0]))


MODELS = {"mean": Difference(), "scaled": make_pipeline(StandardScaler(), Difference())}


def compare(models=MODELS, params=None, **options):
    options = {"cv": FOLDS, "scoring": make_scorer(error_of_mean), **options}
    params = {"treatment": ARM.tolist()} if params is None else params
    return compare_models(models, X, Y, params=params, n_resamples=10, **options)


def value_of_all(y, effect, treatment, sample_weight=None):
    """Mean outcome with the treatment 1."""
    return policy_value(y, 1, treatment, sample_weight=sample_weight).value


def test_samples_do_not_repeat_warnings():
    """A warning of few buyers has another number in each sample."""
    y, arm = np.arange(400) % 40 == 1, np.arange(400) % 2
    models, folds = {"mean": Difference(), "other": Difference()}, KFold(2)
    with pytest.warns(UserWarning, match=r"Of the 100 rows .* only 5") as found:
        compare_models(
            models,
            np.zeros((400, 1)),
            y.astype(float),
            cv=folds,
            scoring=make_scorer(value_of_all),
            params={"treatment": arm},
            n_resamples=10,
        )
    assert len({str(one.message) for one in found}) == 1


def test_fits_and_scores_get_the_rows_of_their_fold(tmp_path):
    expected = []
    for train, test in FOLDS.split(X):
        model = Difference().fit(X[train], Y[train], treatment=ARM[train])
        effect = model.predict(X[test])
        expected.append(error_of_mean(Y[test], effect, ARM[test]))
    found = compare(cache=tmp_path)
    for name in MODELS:
        rows = found.scores[found.scores["model"] == name]
        assert_allclose(rows["score"].mean(), np.mean(expected))

    again = compare(cache=tmp_path)
    assert_allclose(again.scores["score"], found.scores["score"])
    # Other treatments are other runs.
    n_files = len(list(tmp_path.iterdir()))
    compare(cache=tmp_path, params={"treatment": 1 - ARM})
    assert len(list(tmp_path.iterdir())) == 2 * n_files


def test_models_without_the_metadata_get_none():
    models = {"mean": Difference(), "constant": LinearRegression()}
    scores = compare(models).scores
    assert set(scores["model"]) == {"mean", "constant"}


class Weighted(Difference):
    """Could take propensities and weights, but does not request them."""

    def fit(self, X, y, *, treatment, propensity=None, sample_weight=None):
        assert propensity is None
        return super().fit(X, y, treatment=treatment)


class Weighing(Weighted):
    """Requests weights."""

    __metadata_request__fit = {"treatment": True, "sample_weight": True}


def test_metadata_of_a_metric_alone():
    def value(y, effect, treatment, propensity, sample_weight):
        return np.average(y / propensity, weights=sample_weight)

    params = {"treatment": ARM, "propensity": np.full(60, 0.5)}
    found = compare({"a": Weighted()}, params, scoring=make_scorer(value))
    assert_allclose(found.scores["score"].mean(), 2 * Y.mean())


def test_weights_that_only_one_model_requests():
    """Scores take no weights, so that the request of the other was forgotten."""
    params = {"treatment": ARM, "sample_weight": np.ones(60)}
    with pytest.raises(ValueError, match=r"\[sample_weight\] are passed"):
        compare({"a": Weighted(), "b": Weighing()}, params)
    assert len(compare({"b": Weighing()}, params).scores) == 3


def test_networks_of_effects_beside_others(tmp_path):
    table = make_table()
    n_rows = len(table)
    treatment = np.arange(n_rows) % 2
    network = LSTMUpliftRegressor(
        hidden_size=4, head_sizes=(4,), max_epochs=1, random_state=0, n_networks=1
    )
    for _ in range(2):  # the second time from the cache
        found = compare_models(
            {"network": make_history_pipeline(network), "mean": Difference()},
            table,
            np.arange(n_rows) % 3 + treatment,
            cv=2,
            scoring={"mean": make_scorer(error_of_mean), "qini": "qini_auc"},
            params={"treatment": treatment},
            n_resamples=10,
            cache=tmp_path,
        )
        assert np.isfinite(found.scores["score"]).all()
    # The metric reads the labels of the network, although a pipeline has none.
    network.set_params(control="none")
    labels = np.where(treatment, "mail", "none")
    found = compare_models(
        {"network": make_history_pipeline(network)},
        table,
        np.arange(n_rows) % 3 + treatment,
        cv=2,
        scoring="qini_auc",
        params={"treatment": labels},
        n_resamples=10,
        cache=tmp_path,
    )
    assert np.isfinite(found.scores["score"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"treatment": ARM[:-1]}}, "inconsistent numbers of samples"),
        (
            {
                "models": {"line": LinearRegression()},
                "params": {"treatment": ARM},
                "scoring": "r2",
            },
            "no model requests for fit and no metric takes",
        ),
        ({"params": {"weather": ARM}}, "'weather', which no model requests"),
        (
            {"params": {"difference__sample_weight": ARM}},
            r"pass it as 'sample_weight', and request it by set_fit_request\(sample_w",
        ),
        (
            {"params": {"store__size": ARM}},
            r"no metric takes; request it by set_fit_request\(store__size=True\)",
        ),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        compare(**options)
