from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    cross_validate,
)

from sklearn_seqcrm.metrics import (
    aggregate_bias,
    decile_mape,
    get_scorer,
    lift_at,
    normalized_gini,
)
from sklearn_seqcrm.metrics._scorers import _SCORERS
from sklearn_seqcrm.model_selection import compare_models

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2))
Y = np.exp(X[:, 0] + 0.3 * RNG.normal(size=300))
WEIGHT = RNG.integers(1, 4, 300)


class Scaled(RegressorMixin, BaseEstimator):
    """Predicts the true mean, up to a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return self.factor * np.exp(X[:, 0] + 0.3**2 / 2)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("normalized_gini", normalized_gini),
        ("neg_decile_mape", lambda *a, **k: -decile_mape(*a, **k)),
        ("neg_absolute_bias", lambda *a, **k: -abs(aggregate_bias(*a, **k))),
        ("top_decile_value", lift_at),
    ],
)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_scorers_of_predictions(name, metric, weight):
    model = Scaled(0.8).fit(X, Y)
    expected = metric(Y, model.predict(X), sample_weight=weight)
    assert get_scorer(name)(model, X, Y, sample_weight=weight) == expected


def test_scorers_are_documented():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    for text, quote in ((get_scorer.__doc__, "``"), (page, '`"')):
        lacking = [one for one in _SCORERS if f"{quote}{one}{quote[::-1]}" not in text]
        assert lacking == []


def test_scorers_of_probabilities():
    y = Y > 2
    model = LogisticRegression().fit(X, y)
    expected = lift_at(y, model.predict_proba(X)[:, 1])
    assert get_scorer("top_decile_lift")(model, X, y) == expected > 1
    labels = np.where(y, "buys", "leaves")
    model.fit(X, labels)
    scorer = make_scorer(
        lift_at, response_method="predict_proba", fraction=0.2, pos_label="buys"
    )
    expected = lift_at(y, -model.predict_proba(X)[:, 1], 0.2)
    assert scorer(model, X, labels) == expected > 1


@pytest.mark.parametrize(
    "labels", [(0, 1), (1, 2), (-1, 1), (False, True), ("no", "yes"), (2.0, 7.0)]
)
def test_the_top_decile_is_of_the_second_class(labels):
    """Labels must not be read as amounts: 1 and 2 would give a lift of 1.4."""
    y, expected_y = np.asarray(labels)[(Y > 2).astype(int)], Y > 2
    model = LogisticRegression().fit(X, y)
    expected = lift_at(expected_y, model.predict_proba(X)[:, 1], sample_weight=WEIGHT)
    scorer = get_scorer("top_decile_lift")
    assert scorer(model, X, y, sample_weight=WEIGHT) == expected > 2
    folds = list(KFold(3).split(X))
    scored, compared = [], []
    for target in (y, expected_y):
        scores = cross_val_score(model, X, target, cv=folds, scoring=scorer)
        scored.append(scores)
        found = compare_models(
            {"it": model}, X, target, cv=folds, scoring="top_decile_lift", n_resamples=9
        )
        compared.append(found.scores["score"])
    assert_array_equal(scored[0], scored[1])
    assert_array_equal(compared[0], compared[1])
    # Of one class alone there is no doubt which it is.
    assert scorer(model, X[expected_y], y[expected_y]) == 1
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(scorer(model, X[~expected_y], y[~expected_y]))


def test_the_top_decile_is_of_two_classes():
    three = np.digitize(Y, [0.5, 2])
    with pytest.raises(ValueError, match="The classifier has 3 classes"):
        get_scorer("top_decile_lift")(LogisticRegression().fit(X, three), X, three)


def test_a_search_finds_the_factor_without_bias():
    grid = {"factor": [0.5, 1.0, 2.0]}
    for name in ("neg_absolute_bias", "neg_decile_mape"):
        search = GridSearchCV(Scaled(), grid, scoring=get_scorer(name), cv=3)
        assert search.fit(X, Y).best_params_ == {"factor": 1.0}
    names = ["normalized_gini", "r2"]
    scoring = {name: get_scorer(name) for name in names}
    scores = cross_validate(LinearRegression(), X, Y, cv=3, scoring=scoring)
    assert (scores["test_normalized_gini"] > 0.3).all()


def test_names():
    model = DummyRegressor().fit(X, Y)
    assert get_scorer("normalized_gini")(model, X, Y) == pytest.approx(0)
    # Those of scikit-learn, and scorers, are what they were.
    auc = get_scorer("roc_auc")(LogisticRegression().fit(X, Y > 2), X, Y > 2)
    assert auc == roc_auc_score(
        Y > 2, LogisticRegression().fit(X, Y > 2).decision_function(X)
    )
    assert get_scorer(normalized_gini) is normalized_gini
    with pytest.raises(ValueError, match=r"no scorer 'gini'; there are \['neg_abs"):
        get_scorer("gini")


def test_a_request_is_that_of_a_copy():
    with config_context(enable_metadata_routing=True):
        asking = get_scorer("normalized_gini").set_score_request(sample_weight=True)
        other = get_scorer("normalized_gini")
        requests = [
            scorer.get_metadata_routing().score.requests.get("sample_weight")
            for scorer in (asking, other)
        ]
    assert requests == [True, None]
