import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y

SMALL = {"hidden_size": 4, "head_sizes": (4,), "random_state": 0, "n_networks": 1}
X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X, ["no", "yes"])
NUMBERS = make_y(X, [1.0, 2.0, 7.0])


def test_the_first_call_is_a_fit_of_one_epoch():
    first = LSTMClassifier(**SMALL).partial_fit(X, Y, classes=["yes", "no"])
    whole = LSTMClassifier(**SMALL, max_epochs=1, early_stopping=False).fit(X, Y)
    whole.net_.module_.set_shift(None)  # learned at the end of `fit` only
    assert_array_equal(first.predict_proba(X), whole.predict_proba(X))
    one = LSTMRegressor(**SMALL).partial_fit(X, NUMBERS)
    whole = LSTMRegressor(**SMALL, max_epochs=1, early_stopping=False).fit(X, NUMBERS)
    assert_array_equal(one.predict(X), whole.predict(X))


@pytest.mark.parametrize(
    ("model", "y"), [(LSTMClassifier(**SMALL), Y), (LSTMRegressor(**SMALL), NUMBERS)]
)
def test_loss_falls_call_by_call(model, y):
    model = clone(model).set_params(learning_rate=0.02, dropout=0.0)
    options = {"classes": ["no", "yes"]} if y is Y else {}
    for n_calls in range(1, 13):
        model.partial_fit(X, y, **options)
        assert model.n_iter_ == n_calls
    losses = model.net_.history[:, "train_loss"]
    assert losses[-1] < losses[5] < losses[0]


def test_partial_fit_continues_after_fit_without_setting_rows_aside():
    model = LSTMClassifier(**SMALL, max_epochs=2, early_stopping=True).fit(X, Y)
    before = model.predict_proba(X)
    model.partial_fit(X[:10], Y[:10])
    assert model.n_iter_ == 3
    assert not np.allclose(model.predict_proba(X), before)
    assert "valid_loss" not in model.net_.history[-1]
    # fit starts afresh.
    again = model.fit(X, Y)
    assert_array_equal(again.predict_proba(X), before)


def test_calls_do_not_repeat_the_same_batches():
    """Each call draws its own order of batches, and its own dropout."""
    model = LSTMClassifier(**SMALL, batch_size=8, learning_rate=1e-9, dropout=0.5)
    for _ in range(3):
        model.partial_fit(X, Y, classes=["no", "yes"])
    losses = model.net_.history[:, "train_loss"]
    assert len(set(np.round(losses, 5))) == 3


def test_a_class_may_occur_in_a_later_call():
    early = Y == "no"
    model = LSTMClassifier(**SMALL).partial_fit(
        X[early], Y[early], classes=["no", "perhaps", "yes"]
    )
    assert model.classes_.tolist() == ["no", "perhaps", "yes"]
    assert model.partial_fit(X, Y).predict_proba(X).shape == (len(X), 3)


def test_targets_keep_their_scale():
    model = LSTMRegressor(**SMALL, dropout=0.0).partial_fit(X, 100 + NUMBERS)
    before = model.predict(X)
    assert_allclose(before, 103, atol=5)
    model.set_params(learning_rate=1e-9).partial_fit(X, 500 + NUMBERS)
    assert_allclose(model.predict(X), before, rtol=1e-5)


def test_weights_change_the_fit():
    weight = (Y == "yes") + 1e-9
    model = LSTMClassifier(**SMALL).partial_fit(
        X, Y, classes=["no", "yes"], sample_weight=weight
    )
    assert (model.predict(X) == "yes").all()
    double = LSTMClassifier(**SMALL, class_weight={"yes": 1.0, "no": 1e-9})
    double.partial_fit(X, Y, classes=["no", "yes"])
    assert_allclose(double.predict_proba(X), model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("params", "y", "classes", "message"),
    [
        ({}, Y, None, "classes must be passed on the first call to partial_fit"),
        ({}, Y, ["no", "no"], r"classes must be two at least; got \['no'\]"),
        ({}, Y == "yes", [0, 1, np.nan], "classes has 1 missing .* leave them out"),
        ({}, Y, ["no", "maybe"], r"y has the labels \['yes'\], which are not in class"),
        (
            {"class_weight": "balanced"},
            Y,
            ["no", "yes"],
            "class_weight='balanced' needs all rows at once; .*compute_class_weight",
        ),
    ],
)
def test_errors_of_the_first_call(params, y, classes, message):
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL, **params).partial_fit(X, y, classes=classes)


def test_balanced_weights_of_one_of_several_labels_need_all_rows():
    labels = np.column_stack([Y == "yes", Y == "no"]).astype(int)
    model = LSTMClassifier(**SMALL, class_weight=["balanced", None])
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        model.partial_fit(X, labels)


def test_errors_of_later_calls():
    model = LSTMClassifier(**SMALL).partial_fit(X, Y, classes=["no", "yes"])
    with pytest.raises(ValueError, match=r"classes=\['a', 'no'\] is not the same"):
        model.partial_fit(X, Y, classes=["a", "no"])
    model.partial_fit(X, Y, classes=["yes", "no", "no"])
    other = HistoryEncoder(half_lives=["7D"]).fit_transform(make_table())[["history"]]
    with pytest.raises(ValueError, match="was fitted on"):
        model.partial_fit(other, Y)


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
def test_weights_are_relative_across_calls(name):
    """Rows of one class in each call: one of them has hardly any weight."""

    def share_of_yes(weight_of_no):
        model = LSTMClassifier(**SMALL, learning_rate=0.05, dropout=0.0, batch_size=8)
        if name == "class_weight":
            model.set_params(class_weight={"no": weight_of_no, "yes": 1.0})
        for _ in range(10):
            for label in ("yes", "no"):
                rows = label == Y
                weight = np.full(rows.sum(), weight_of_no if label == "no" else 1.0)
                model.partial_fit(
                    X[rows],
                    Y[rows],
                    classes=["no", "yes"],
                    sample_weight=weight if name == "sample_weight" else None,
                )
        return model.predict_proba(X)[:, 1].mean()

    assert share_of_yes(1.0) < 0.6
    assert share_of_yes(1e-3) > 0.9


@pytest.mark.parametrize("weight", [50.0, 0.6])
def test_weights_keep_their_scale(weight):
    """An equal weight for every row equals no weights."""
    same = LSTMClassifier(**SMALL)
    plain = clone(same)
    weights = np.full(len(X), weight)
    for _ in range(2):
        plain.partial_fit(X, Y, classes=["no", "yes"])
        same.partial_fit(X, Y, classes=["no", "yes"], sample_weight=weights)
    assert_array_equal(same.predict_proba(X), plain.predict_proba(X))
    other = clone(plain)
    other.partial_fit(X, Y, classes=["no", "yes"], sample_weight=weights)
    other.partial_fit(X, Y)  # of weight 1
    losses = other.net_.history[:, "train_loss"]
    assert_allclose(losses[1], losses[0] / weight, rtol=0.2)


def test_a_call_may_have_only_counts_of_0():
    model = LSTMRegressor(**SMALL, loss="poisson")
    model.partial_fit(X, 0 * NUMBERS).partial_fit(X, NUMBERS)
    model.partial_fit(X, 0 * NUMBERS)
    with pytest.raises(ValueError, match="48 of 48 are negative"):
        model.partial_fit(X, -NUMBERS)


def test_a_diverged_network_is_dropped():
    model = LSTMRegressor(**SMALL, learning_rate=1e30, batch_size=8)
    with pytest.raises(ValueError, match=r"Training diverged .* fit from the start"):
        model.partial_fit(X, NUMBERS)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.set_params(learning_rate=0.01).partial_fit(X, NUMBERS)
    assert np.isfinite(model.predict(X)).all()
