"""Several numbers, and several labels, from one network."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    get_scorer,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_classifier_multioutput
from skorch.callbacks import EpochScoring

from sklearn_seqcrm._recurrent.objectives import LOSSES
from sklearn_seqcrm.metrics import GainDisplay
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import EXACT, SMALL

TABLE = make_table()
X = HistoryEncoder().fit_transform(TABLE)[["history"]]
RNG = np.random.default_rng(0)
Y = np.column_stack([RNG.poisson(2, len(X)) + 1.0, RNG.gamma(2, 500, len(X))])
LABELS = np.column_stack([make_y(X), RNG.integers(0, 2, len(X)), np.zeros(len(X))])
LABELS = LABELS.astype("int64")

# Numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_have_the_shape_of_the_targets(loss):
    model = LSTMRegressor(**SMALL, loss=loss, quantile=[0.1, 0.5, 0.9]).fit(X, Y)
    assert model.n_outputs_ == 2
    predicted = model.predict(X)
    assert predicted.shape == (len(X), 2)
    assert_allclose(model.score(X, Y), r2_score(Y, predicted))
    of_frame = clone(model).fit(X, pd.DataFrame(Y))
    assert_allclose(of_frame.predict(X), predicted, rtol=1e-6)
    if hasattr(model, "predict_quantiles"):
        found = model.predict_quantiles(X, [0.1, 0.9])
        assert found.shape == (len(X), 2, 2)
        assert (found[..., 0] <= found[..., 1]).all()
    if hasattr(model, "predict_proba_zero"):
        assert model.predict_proba_zero(X).shape == (len(X), 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_target_has_its_own_unit(loss):
    model = LSTMRegressor(**EXACT, loss=loss)
    weight = 1.0 + np.arange(len(X)) % 3
    expected = clone(model).fit(X, Y, weight).predict(X)
    unit = np.array([1e-6, 1e6])
    found = clone(model).fit(X, Y * unit, weight).predict(X)
    assert_allclose(found / unit, expected, rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_repeated_target_equals_a_single_one(loss):
    """The loss of a row is the mean of those of its targets."""
    plain = np.ones((len(X), 1))
    options = {**EXACT, "head_sizes": (), "max_epochs": 150, "learning_rate": 0.05}
    model = LSTMRegressor(**options, loss=loss, early_stopping=False)
    once = clone(model).fit(plain, Y[:, 1])
    twice = clone(model).fit(plain, Y[:, [1, 1]])
    assert_allclose(
        twice.predict(plain[:1]), [once.predict(plain[:1])[[0, 0]]], rtol=0.02
    )
    loss_of = [one.net_.history[-1, "train_loss"] for one in (once, twice)]
    assert_allclose(loss_of[1], loss_of[0], atol=0.01)


def test_continued_training_refuses_another_number_of_targets():
    model = LSTMRegressor(**SMALL).partial_fit(X, Y).partial_fit(X, Y)
    assert model.predict(X).shape == (len(X), 2)
    with pytest.raises(ValueError, match="y has 1 column, and had 2 columns in the"):
        model.partial_fit(X, Y[:, 0])
    model = LSTMRegressor(**SMALL, warm_start=True).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="y has 2 columns, and had 1 column in the"):
        model.fit(X, Y)


def test_pipelines_of_several_targets_are_scored():
    model = make_history_pipeline(LSTMRegressor(**SMALL))
    assert np.isfinite(cross_val_score(model, TABLE, Y, cv=2)).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.where(Y > 1, Y, np.nan), r"NaN: \d+ of 48 targets .* in the columns \[0\]"),
        (np.ones((48, 2, 2)), "dim 3|1d array"),
        (Y[:5], "inconsistent numbers of samples"),
    ],
)
def test_targets_of_wrong_shape_or_missing(y, message):
    with pytest.raises(ValueError, match=message):
        LSTMRegressor(**SMALL).fit(X, y)


# Labels -------------------------------------------------------------------------------


def test_labels_are_predicted_as_scikit_learn_does():
    model = LSTMClassifier(**SMALL, early_stopping=True).fit(X, LABELS)
    plain = RNG.normal(size=(len(X), 2))
    with pytest.warns(ConvergenceWarning):
        reference = MLPClassifier(max_iter=2, random_state=0).fit(plain, LABELS)
    assert model.n_outputs_ == 3
    shares, labels = model.predict_proba(X), model.predict(X)
    assert shares.shape == reference.predict_proba(plain).shape == (len(X), 3)
    assert_array_equal(labels, shares > 0.5)
    assert labels.dtype == LABELS.dtype
    assert (shares[:, 2] < 0.1).all()  # a label that no row has
    assert_allclose(model.score(X, LABELS), accuracy_score(LABELS, labels))
    assert get_tags(model).classifier_tags.multi_label
    check_classifier_multioutput("LSTMClassifier", LSTMClassifier(**SMALL))


@pytest.mark.parametrize("dtype", ["int64", "bool", "float64"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_classes_of_labels_are_those_of_scikit_learn(n_labels, dtype):
    """Numbers of two labels, 0 and 1, would look like the classes of one target."""
    y = (RNG.random((len(X), n_labels)) < 0.5).astype(dtype)
    reference = KNeighborsClassifier().fit(np.zeros((len(X), 1)), y)
    model = LSTMClassifier(**SMALL).fit(X, y)
    assert_array_equal(model.classes_, np.stack(reference.classes_), strict=True)


def labels_of(n_labels):
    """Labels that all occur in each half of the rows."""
    return np.column_stack([np.arange(len(X)) // (i + 1) % 2 for i in range(n_labels)])


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("form", ["network", "pipeline", "search"])
@pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one")
def test_scorers_of_scikit_learn_see_each_label(form, n_labels):
    y, rows = labels_of(n_labels), X if form == "network" else TABLE
    model = LSTMClassifier(**SMALL)
    if form != "network":
        model = make_history_pipeline(model)
    if form == "search":
        grid = {"estimator__learning_rate": [0.01]}
        model = GridSearchCV(model, grid, scoring="roc_auc", cv=2, error_score="raise")
    model.fit(rows, y)
    shares = model.predict_proba(rows)
    each = [roc_auc_score(a, b) for a, b in zip(y.T, shares.T, strict=True)]
    assert_allclose(get_scorer("roc_auc")(model, rows, y), np.mean(each))
    each = [average_precision_score(a, b) for a, b in zip(y.T, shares.T, strict=True)]
    assert_allclose(get_scorer("average_precision")(model, rows, y), np.mean(each))
    if form == "search":
        assert 0 < model.best_score_ < 1
    try:
        expected = -brier_score_loss(y, shares)
    except ValueError:  # before scikit-learn 1.7 there is none of several labels
        return
    assert_allclose(get_scorer("neg_brier_score")(model, rows, y), expected)


def test_labels_in_folds_comparisons_and_callbacks():
    y = labels_of(2)
    model = make_history_pipeline(LSTMClassifier(**SMALL))
    found = cross_val_predict(model, TABLE, y, cv=2, method="predict_proba")
    assert found.shape == (len(X), 2)
    comparison = compare_models(
        {"one": model, "two": model}, TABLE, y, cv=2, scoring="roc_auc", n_resamples=9
    )
    assert comparison.scores["score"].between(0, 1).all()
    score = EpochScoring("roc_auc", lower_is_better=False)
    model = LSTMClassifier(**SMALL, callbacks=[score], early_stopping=True).fit(X, y)
    assert 0 <= model.net_.history[-1, "roc_auc"] <= 1
    with pytest.raises(ValueError, match="The classifier predicts 2 labels"):
        GainDisplay.from_estimator(model, X, y)


def test_one_column_is_one_target():
    column = labels_of(1)
    with pytest.warns(DataConversionWarning):
        model = LSTMClassifier(**SMALL).fit(X, column)
    assert_array_equal(model.classes_, [0, 1])
    expected = LSTMClassifier(**SMALL).fit(X, column[:, 0])
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    for name in ("roc_auc", "neg_log_loss", "neg_brier_score"):
        scorer = get_scorer(name)
        assert scorer(model, X, column) == scorer(expected, X, column[:, 0])


@pytest.mark.parametrize(
    "container", [pd.DataFrame, csr_matrix, lambda y: y.astype(bool), np.ndarray.tolist]
)
def test_containers_of_several_labels(container):
    expected = LSTMClassifier(**SMALL).fit(X, LABELS).predict_proba(X)
    found = LSTMClassifier(**SMALL).fit(X, container(LABELS))
    assert_array_equal(found.predict_proba(X), expected)


def test_labels_are_learned_independently():
    rows = RNG.uniform(-1, 1, size=(400, 2))
    y = (rows > [0.0, 0.5]).astype(int)
    model = LSTMClassifier(
        **{**SMALL, "max_epochs": 40, "learning_rate": 0.05, "dropout": 0.0}
    )
    assert model.fit(rows, y).score(rows, y) > 0.9


def test_networks_of_labels_start_from_label_frequencies():
    model = LSTMClassifier(**{**SMALL, "learning_rate": 1e-9, "head_sizes": ()})
    plain = np.zeros((len(X), 1))
    fitted = clone(model).fit(plain, LABELS)
    fitted.net_.module_.set_shift(None)  # learned at the end
    shares = fitted.predict_proba(plain[:1])[0]
    count = LABELS.sum(axis=0)
    assert_allclose(shares, (count + 0.5) / (len(X) + 1), rtol=1e-4)
    weight = np.where(LABELS[:, 0] > 0, 3.0, 1.0)
    shares = clone(model).fit(plain, LABELS, weight).predict_proba(plain[:1])[0]
    expected = np.average(LABELS, axis=0, weights=weight)
    assert_allclose(shares[:2], expected[:2], atol=0.02)


def test_class_weights_apply_to_the_loss_of_their_label():
    """One label that repeats itself has the weights of a class."""
    y, plain = (np.arange(48) % 4 == 0).astype(int), np.zeros((48, 1))
    options = {**EXACT, "max_epochs": 100, "learning_rate": 0.05, "head_sizes": ()}
    for weights in ({0: 1, 1: 3}, "balanced"):
        model = LSTMClassifier(**options, class_weight=weights, early_stopping=False)
        one = clone(model).fit(plain, y).predict_proba(plain[:1])[0, 1]
        labels = np.column_stack([y, y])
        both = clone(model).fit(plain, labels).predict_proba(plain[:1])[0]
        assert_allclose(both, one, atol=0.01)
        assert_allclose(one, 0.5, atol=0.01)
    for weights in ([{1: 3}, {}], [{1: 3}, None], ["balanced", None]):
        model = LSTMClassifier(**options, class_weight=weights, early_stopping=False)
        shares = model.fit(plain, labels).predict_proba(plain[:1])[0]
        assert_allclose(shares, [0.5, 0.25], atol=0.02)


def test_continued_training_refuses_another_number_of_labels():
    model = LSTMClassifier(**SMALL).partial_fit(X, LABELS).partial_fit(X, LABELS)
    assert model.predict(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match="y has 2 columns, and had 3 columns"):
        model.partial_fit(X, LABELS[:, :2])
    with pytest.raises(ValueError, match="y has 1 column, and had 3 columns"):
        model.partial_fit(X, LABELS[:, 0])


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (LABELS + 1, {}, r"shape \(48, 3\), .* numbers 0 or 1 each; got \[2\]"),
        (LABELS.astype(str), {}, "numbers 0 or 1 each; got"),
        (pd.DataFrame(LABELS).assign(size="few"), {}, r"0 or 1 each; got \['few'\]"),
        (LABELS, {"class_weight": [{1: 2}]}, "a list of one for each; got 1"),
        (LABELS, {"class_weight": {1: 0}}, "finite and larger than 0 for labels of s"),
        (LABELS, {"class_weight": {1: np.inf}}, "finite and larger than 0 for labels"),
        (
            LABELS[:, 0],
            {"class_weight": [{1: 2}]},
            "A list as class_weight is for",
        ),
    ],
)
def test_labels_that_are_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL, **options).fit(X, y)
