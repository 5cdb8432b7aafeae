"""Sample weights and class weights."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_seqcrm._recurrent.objectives._numbers import weighted_quantile
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_y
from tests.neural_network.small_fits import COUNTS, X, Y, fit_and_see
from tests.small_networks import EXACT, SMALL

WHOLE = {**EXACT, "max_epochs": 8, "early_stopping": False}
MODELS = {
    "classifier": LSTMClassifier(**WHOLE),
    "squared": LSTMRegressor(**WHOLE),
    "absolute": LSTMRegressor(**WHOLE, loss="absolute_error"),
    "poisson": LSTMRegressor(**WHOLE, loss="poisson"),
}


def outputs(model, X):
    return getattr(model, "predict_proba", model.predict)(X)


def target_of(name):
    return Y if name == "classifier" else COUNTS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("plain", [False, True])
def test_an_integer_weight_equals_copies_of_the_row(name, plain):
    """A weight of 0 means no copy. Steps on full batches are equal up to rounding."""
    rows = np.random.default_rng(0).normal(size=(len(X), 3)) if plain else X
    y = target_of(name)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    copies = np.repeat(np.arange(len(y)), weight)
    copied = rows[copies] if plain else rows.iloc[copies]
    of_copies = clone(MODELS[name]).fit(copied, y[copies])
    weighted = clone(MODELS[name]).fit(rows, y, sample_weight=weight)
    unweighted = clone(MODELS[name]).fit(rows, y)
    expected = outputs(of_copies, rows)
    assert np.abs(outputs(unweighted, rows) - expected).max() > 0.01
    # At the median gradients cancel to 0 or to 1e-9; AdamW scales up 1e-9.
    tolerance = 2e-3 if name == "absolute" else 1e-4
    assert_allclose(outputs(weighted, rows), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_equal_weights_have_no_effect(name):
    y = target_of(name)
    weighted = clone(MODELS[name]).fit(X, y, sample_weight=np.full(len(y), 0.25))
    expected = outputs(clone(MODELS[name]).fit(X, y), X)
    assert_allclose(outputs(weighted, X), expected, rtol=1e-5, atol=1e-5)


def test_rows_of_weight_zero_have_no_effect():
    weight = (X["number"] % 2).to_numpy()
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.5)
    _, seen = fit_and_see(model, X, Y, sample_weight=weight)
    for part in seen[0]:
        assert (part.static[:, -1] % 2 == 1).all()
    assert sum(len(part) for part in seen[0]) == weight.sum()


@pytest.mark.parametrize(
    "options", [{"early_stopping": True}, {"class_weight": "balanced"}]
)
def test_rows_of_weight_zero_could_be_left_out(options):
    """They change neither which customers are set aside nor the classes' weights."""
    classes = np.arange(len(X)) % 3
    weight = np.random.default_rng(0).integers(0, 2, len(X)) * 1.0
    weight[classes == 2] *= np.arange((classes == 2).sum()) % 4 == 0
    used = np.flatnonzero(weight)
    model = LSTMClassifier(**{**SMALL, **options})
    weighted = clone(model).fit(X, classes, sample_weight=weight).predict_proba(X)
    expected = clone(model).fit(X.iloc[used], classes[used]).predict_proba(X)
    assert_allclose(weighted, expected, rtol=1e-5)
    padded = HistoryPadder().fit_transform(X)
    model.set_params(dropout=0.0)
    weighted = clone(model).fit(padded, classes, sample_weight=weight)
    expected = clone(model).fit(padded[used], classes[used])
    assert_allclose(*(one.predict_proba(X) for one in (weighted, expected)), rtol=1e-5)


def test_class_weights_are_weights_of_rows():
    y = (np.arange(len(X)) % 4 == 0).astype(int)
    rows = np.where(y == 1, 3.0, 0.5)
    by_class = LSTMClassifier(**EXACT, class_weight={0: 0.5, 1: 3.0}).fit(X, y)
    by_row = LSTMClassifier(**EXACT).fit(X, y, sample_weight=rows)
    assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    balanced = LSTMClassifier(**EXACT, class_weight="balanced").fit(X, y)
    n = len(y)
    rows = np.where(y == 1, n / (2 * y.sum()), n / (2 * (n - y.sum())))
    by_row = LSTMClassifier(**EXACT).fit(X, y, sample_weight=rows)
    assert_array_equal(balanced.predict_proba(X), by_row.predict_proba(X))
    assert balanced.predict_proba(X)[:, 1].mean() > 0.4
    both = LSTMClassifier(**EXACT, class_weight={0: 2.0, 1: 2.0})
    both.fit(X, y, sample_weight=rows / 2)
    assert_allclose(both.predict_proba(X), by_row.predict_proba(X), rtol=1e-5)


def test_class_weights_of_labels():
    y = make_y(X, ["yes", "no"])
    model = LSTMClassifier(**EXACT, class_weight={"yes": 9.0, "no": 1.0}).fit(X, y)
    assert model.predict_proba(X)[:, 1].mean() > 0.7


def test_a_weighted_median_equals_that_of_copies():
    y, weight = np.array([0.0, 0.0, 0.0, 8.0]), np.array([1, 1, 0, 5])
    rows = np.zeros((4, 1))
    model = LSTMRegressor(
        **{**EXACT, "max_epochs": 1, "learning_rate": 1e-9}, loss="absolute_error"
    )
    weighted = clone(model).fit(rows, y, sample_weight=weight).predict(rows)
    copies = np.repeat(y, weight)
    expected = clone(model).fit(np.zeros((7, 1)), copies).predict(rows)
    assert_allclose(weighted, expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.1, 0.3, 1e-7, 7.0])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_quantiles_do_not_depend_on_the_unit_of_weights(factor, share):
    """Also where exactly the share of the weight lies below a target."""
    rng = np.random.default_rng(0)
    for n in (10, 20, 30):
        weight = np.full(n, factor)
        expected = np.arange(n)[round(n * share) - 1]
        assert weighted_quantile(np.arange(n), weight, share) == expected
        weight = rng.integers(0, 3, n).astype("float64")
        weight[-1] += 10 - weight.sum() % 10
        below = np.cumsum(weight)
        expected = np.flatnonzero(below >= round(weight.sum() * share))[0]
        for one in (weight, weight * factor):
            assert weighted_quantile(np.arange(n), one, share) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 0, 1: 0}, "leaves no row any weight"),
        ({0: -1, 1: 1}, "class_weight must not be negative, and finite; got {0: -1"),
        ({0: np.nan, 1: 1}, "class_weight must not be negative, and finite; got {0: n"),
        ({0: np.inf, 1: 1}, "class_weight must not be negative, and finite; got {0: i"),
    ],
)
def test_invalid_class_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL, class_weight=weights).fit(X, Y)


def test_weights_correlated_with_the_length_count():
    """Batches have rows of similar length; their weights must not cancel there."""
    lengths = np.repeat([1, 30], 64)
    events = pd.DataFrame({"who": np.repeat(np.arange(128), lengths)})
    events["time"] = events.groupby("who").cumcount()
    table = EventLog(events, "who", "time").snapshots([40])
    sign = np.where(np.arange(128) % 2, 1.0, -1.0)
    flipped = np.where(lengths == 1, sign, -sign)
    frame = HistoryEncoder().fit_transform(table).assign(sign=sign)
    settings = {**SMALL, "head_sizes": (), "batch_size": 16, "max_epochs": 40}
    model = LSTMClassifier(**settings, dropout=0.0, learning_rate=0.02)
    at = {}
    for name, long in {"long count": 100.0, "short count": 0.01}.items():
        weight = np.where(lengths == 1, 1.0, long)
        fit = clone(model).fit(frame, flipped > 0, sample_weight=weight)
        inside = fit.predict_proba(frame)[:, 1]
        at[name] = np.corrcoef(inside, sign)[0, 1]
    assert at["long count"] < -0.5
    assert at["short count"] > 0.5
