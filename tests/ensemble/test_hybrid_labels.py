"""Hybrids of several labels."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.ensemble import HybridClassifier, make_hybrid
from sklearn_seqcrm.ensemble._blends import OfLabels, OfProbabilities
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table

X = make_table(n_customers=24)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "n_networks": 1}
Y = np.random.default_rng(0).integers(0, 2, (len(X), 3))


def small_hybrid(**options):
    trees = HistGradientBoostingClassifier(max_iter=3)
    return make_hybrid(LSTMClassifier(**SMALL), trees, random_state=0, **options)


def test_the_blend_is_that_of_two_classes_for_each_label():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 30, 2))
    y = rng.integers(0, 2, (30, 2))
    blend = OfLabels(first, second)
    each = [
        OfProbabilities(*(np.c_[0 * one[:, i], one[:, i]] for one in (first, second)))
        for i in range(2)
    ]
    losses = np.mean([one.losses(y[:, i], 0.3) for i, one in enumerate(each)], axis=0)
    assert_allclose(blend.losses(y, 0.3), losses)
    assert_allclose(blend.blend(0.3)[:, 1], each[1].blend(0.3)[:, 1])
    derivatives = [one.derivatives(y[:, i]) for i, one in enumerate(each)]
    assert_allclose(blend.derivatives(y), np.mean(derivatives, axis=0))


def test_it_is_the_blend_of_its_parts():
    model = small_hybrid(lstm_weight=0.3).fit(X, Y)
    assert isinstance(model.boosting_[-1], MultiOutputClassifier)
    assert model.get_params()["boosting__estimator__max_iter"] == 3
    trees = np.column_stack([p[:, 1] for p in model.boosting_.predict_proba(X)])
    odds = 0.3 * logit(model.lstm_.predict_proba(X)) + 0.7 * logit(trees)
    shares = model.predict_proba(X)
    assert_allclose(shares, expit(odds), rtol=1e-6)
    assert_array_equal(model.predict(X), shares > 0.5)
    assert model.predict(X).dtype == Y.dtype
    assert_array_equal(model.classes_, [[0, 1]] * 3)


def test_the_weight_is_learned():
    who = X["who"].to_numpy()
    aside = np.isin(who, np.unique(who)[:6])
    splits = [(np.flatnonzero(~aside), np.flatnonzero(aside))]
    model = small_hybrid(cv=splits, refit=False).fit(X, Y)
    assert 0 < model.weights_["lstm"] < 1
    shares = model.lstm_.predict_proba(X[aside])
    expected = np.mean([log_loss(Y[aside, i], shares[:, i]) for i in range(3)])
    assert model.losses_["lstm"] == pytest.approx(expected, rel=1e-4)


def test_targets_of_any_type():
    expected = small_hybrid(lstm_weight=0.5).fit(X, Y).predict_proba(X)
    table = pd.DataFrame(Y, index=np.arange(len(Y), 0, -1), columns=list("abc"))
    for y in (table, Y.tolist(), Y.astype(bool), csr_array(Y), 1.0 * Y):
        model = small_hybrid(lstm_weight=0.5).fit(X, y)
        assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    # One column is one label.
    one = small_hybrid(lstm_weight=0.5)
    with pytest.warns(sklearn.exceptions.DataConversionWarning):
        assert one.fit(X, Y[:, :1]).predict_proba(X).shape == (len(X), 2)


def test_trees_of_several_labels_stay_as_they_are():
    numbers = RFMFeatures(remainder="drop")
    forest = make_pipeline(numbers, SimpleImputer(), RandomForestClassifier(3))
    model = make_hybrid(LSTMClassifier(**SMALL), forest, lstm_weight=0.5).fit(X, Y)
    assert isinstance(model.boosting_[-1], RandomForestClassifier)
    assert model.predict_proba(X).shape == Y.shape
    own = make_pipeline(numbers, HistGradientBoostingClassifier(max_iter=2))
    grid = {"histgradientboostingclassifier__max_iter": [1, 2]}
    search = GridSearchCV(own, grid, cv=2, error_score="raise")
    model = make_hybrid(LSTMClassifier(**SMALL), search, lstm_weight=0.5)
    assert model.fit(X, Y).predict_proba(X).shape == Y.shape


def test_wrapped_classifiers_of_several_labels_stay_as_they_are():
    """They take several labels, and have no tag of a multi-label classifier."""
    network = LSTMClassifier(**SMALL, random_state=0)
    trees = make_pipeline(
        RFMFeatures(remainder="drop"), HistGradientBoostingClassifier(max_iter=3)
    )
    options = {"lstm_weight": 0.5, "random_state": 0}
    model = HybridClassifier(make_history_pipeline(network), trees, **options)
    expected = model.fit(X, Y).predict_proba(X)
    search = GridSearchCV(MultiOutputClassifier(trees), {"n_jobs": [1]}, cv=2)
    for wrapped in (MultiOutputClassifier(trees), search):
        found = clone(model).set_params(boosting=wrapped).fit(X, Y).predict_proba(X)
        assert_allclose(found, expected)
    chain = ClassifierChain(trees[-1])
    chained = make_pipeline(trees[0], SimpleImputer(), chain)
    model.set_params(boosting=chained).fit(X, Y)
    assert isinstance(model.boosting_[-1], ClassifierChain)
    assert model.predict_proba(X).shape == Y.shape


def test_scores_clones_and_weights():
    model = small_hybrid()
    scores = cross_val_score(model, X, Y, cv=2, scoring="roc_auc", error_score="raise")
    assert np.isfinite(scores).all()
    weight = np.arange(len(X)) % 3
    used = np.flatnonzero(weight)
    fitted = clone(model).fit(X, Y, sample_weight=weight)
    other = clone(model).fit(X.iloc[used], Y[used], sample_weight=weight[used])
    assert_allclose(fitted.predict_proba(X), other.predict_proba(X), rtol=1e-9)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_hybrid(task="classification", lstm_weight=0.5, random_state=0)
        small = {f"lstm__estimator__{name}": value for name, value in SMALL.items()}
        routed.set_params(**small, boosting__estimator__max_iter=3)
        routed.set_fit_request(sample_weight=True)
        routed.fit(X, Y, sample_weight=weight)
        unweighted = clone(routed).fit(X, Y)
    found = [m.boosting_.predict_proba(X)[0] for m in (routed, unweighted)]
    assert not np.allclose(*found)


def test_labels_of_any_type():
    expected = small_hybrid().fit(X, Y)
    table = pd.DataFrame(Y, index=X.index)
    for labels in (table.astype(object), Y.astype(object), table.astype("Int64")):
        found = small_hybrid().fit(X, labels)
        assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-6)
        assert_array_equal(found.predict(X), expected.predict(X), strict=True)


def test_bad_labels_are_refused():
    with pytest.raises(ValueError, match=r"numbers 0 or 1 each; got \[2\]\. For"):
        small_hybrid().fit(X, Y * 2)
    with pytest.raises(ValueError, match=r"numbers 0 or 1 each; got \['few'\]"):
        small_hybrid().fit(X, pd.DataFrame(Y, index=X.index).assign(size="few"))
    with pytest.raises(ValueError, match="A column of y has one label in all rows"):
        small_hybrid().fit(X, Y * [1, 0, 1])
    with pytest.raises(ValueError, match="NaN"):
        small_hybrid().fit(X, np.where(Y, np.nan, 0))
    with pytest.raises(
        ValueError, match=r"numbers 0 or 1 each; got \['[01]', '[01]'\]"
    ):
        small_hybrid().fit(X, Y.astype(str))
    with pytest.raises(ValueError, match="y has no targets"):
        small_hybrid().fit(X[:0], Y[:0])
    weight = Y[:, 0]
    with pytest.raises(ValueError, match="A column of y has one label in all rows"):
        small_hybrid().fit(X, Y, sample_weight=weight)


class OfEachLabel(ClassifierMixin, BaseEstimator):
    """Notes the labels of each fit."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X, y):
        assert (y.min(axis=0) == 0).all()
        assert (y.max(axis=0) == 1).all()
        self.n_labels_, self.classes_ = y.shape[1], np.array([0, 1])
        return self

    def predict_proba(self, X):
        return np.full((len(X), self.n_labels_), 0.5)


def test_splits_without_a_label_are_left_out():
    y = np.zeros((40, 2), dtype=int)
    y[::2, 0] = 1
    y[:4, 1] = 1  # in the first rows only
    rows = np.ones((40, 1))
    splits = [(np.arange(20, 40), np.arange(20)), (np.arange(20), np.arange(20, 40))]
    model = HybridClassifier(OfEachLabel(), OfEachLabel(), cv=splits).fit(rows, y)
    assert model.n_customers_ == 20
