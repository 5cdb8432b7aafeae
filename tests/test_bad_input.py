"""What encoder, padder and networks say of bad input: column, count and way out."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
X = make_table()
Y = make_y(X)
ENCODED = make_history_pipeline(HistoryPadder()).fit(X)[:-1].transform(X)
PADDED = HistoryPadder().fit_transform(ENCODED)
FITTED = make_history_pipeline(LSTMClassifier(**SMALL)).fit(X, Y)


def attach(events, **options):
    return EventLog(events, "who", "when").attach(make_rows(), cutoff="at", **options)


def without(y, *bad):
    y = np.array(y, dtype="float64")
    y[: len(bad)] = bad
    return y


# X that a fitted pipeline cannot predict ----------------------------------------------

PREDICT = {
    "zero rows": (X.iloc[:0], ValueError, "X has no rows; .* at least one"),
    "no history column": (
        X.drop(columns="history"),
        ValueError,
        "seen at fit time, yet now missing:\n- history",
    ),
    "renamed": (
        X.rename(columns={"history": "past"}),
        ValueError,
        "unseen at fit time:\n- past\n.*now missing:\n- history",
    ),
    "no static": (
        X.drop(columns="age"),
        ValueError,
        "seen at fit time, yet now missing:\n- age",
    ),
    "columns reordered": (
        X[X.columns[::-1]],
        ValueError,
        "must be in the same order as they were in fit",
    ),
    "no histories in the column": (
        X.assign(history=1.5),
        TypeError,
        "'history' must hold histories, but its type is float64; EventLog.attach",
    ),
    "missing histories": (
        X.assign(history=X["history"].where(np.arange(len(X)) > 2)),
        ValueError,
        "'history' has 3 missing histories; a customer without events has an empty",
    ),
    "encoded": (
        X.assign(history=HistoryEncoder().fit_transform(X)["history"]),
        TypeError,
        "'history' are encoded already; give the raw X",
    ),
    "a field less": (
        attach(make_events().drop(columns="kind")),
        ValueError,
        r"behind 'history' .*lacks the fields \['kind'\].*fields=\['amount', 'kind'",
    ),
    "a field more": (
        attach(make_events().assign(more=1)),
        ValueError,
        r"has the unknown fields \['more'\]",
    ),
    "a field of another type": (
        attach(make_events().assign(amount="much")),
        ValueError,
        "other types: 'amount' is categorical and was numeric",
    ),
    "plain numbers for times": (
        EventLog(make_events().assign(when=1), "who", "when").attach(
            make_rows().assign(at=2), cutoff="at"
        ),
        ValueError,
        "'history' are plain numbers, but the times of the log are naive datetimes",
    ),
    "an array": (np.zeros((3, 7)), TypeError, "DataFrame with a history column"),
    "None": (None, TypeError, "DataFrame with a history column.*got builtins.NoneType"),
}


@pytest.mark.parametrize("case", PREDICT)
def test_predict(case):
    wrong, error, message = PREDICT[case]
    with pytest.raises(error, match=f"(?s){message}"):
        FITTED.predict(wrong)


# X and y that cannot be fitted --------------------------------------------------------

FIT = {
    "zero rows": (X.iloc[:0], Y[:0], ValueError, "X has no rows"),
    "no history column": (
        X[["age", "city"]],
        Y,
        ValueError,
        r"no history column; EventLog.attach adds one. Its columns are \['age', 'city'",
    ),
    "a name twice": (
        pd.concat([X, X[["age"]]], axis=1),
        Y,
        ValueError,
        r"several columns of the names \['age'\]; rename",
    ),
    "one class": (X, np.ones(len(X)), ValueError, "2 classes in y; got 1 class, 1.0"),
    "NaN in y": (
        X,
        without(Y, np.nan, np.nan),
        ValueError,
        f"Input y contains NaN: 2 of {len(X)} targets are missing; drop those rows",
    ),
    "None in y": (
        X,
        np.array([None, *make_y(X, ["no", "yes"])[1:]], dtype=object),
        ValueError,
        f"Input y contains NaN: 1 of {len(X)} targets are missing; drop those rows",
    ),
    "infinity in y": (
        X,
        without(Y, np.inf),
        ValueError,
        f"Input y contains infinity: 1 of {len(X)} targets are infinite; drop",
    ),
    "numbers as classes": (X, Y + 0.5 * (Y > 0), ValueError, "Unknown label type"),
    "no y": (X, None, ValueError, "requires y to be passed, but the target y is None"),
    "two columns of y": (X, np.c_[Y, Y], ValueError, "y should be a 1d array"),
    "short y": (X, Y[1:], ValueError, rf"inconsistent numbers of samples: \[{len(X)}"),
}


@pytest.mark.parametrize("case", FIT)
def test_fit(case):
    wrong, y, error, message = FIT[case]
    with pytest.raises(error, match=message):
        clone(FITTED).fit(wrong, y)


REGRESSION_TARGETS = {
    "NaN": ({}, without(Y, np.nan), "Input y contains NaN: 1 of 48"),
    "infinity": ({}, without(Y, np.inf, -np.inf), "contains infinity: 2 of 48"),
    "objects": ({}, without(Y, np.inf).astype(object), "contains infinity: 1 of 48"),
    "text": ({}, make_y(X, ["a", "b"]), "could not convert string to float"),
    "negative counts": (
        {"loss": "poisson"},
        without(Y, -1, -2),
        "not negative and not all zero; 2 of 48 are negative. Use loss='squared_error'",
    ),
    "no counts": ({"loss": "poisson"}, 0 * Y, "not all zero; all are 0"),
}


@pytest.mark.parametrize("case", REGRESSION_TARGETS)
def test_targets_of_the_regressor(case):
    options, y, message = REGRESSION_TARGETS[case]
    with pytest.raises(ValueError, match=message):
        LSTMRegressor(**SMALL, **options).fit(ENCODED, y)


# What only a network refuses ----------------------------------------------------------

NETWORK = {
    "raw histories": (
        X,
        TypeError,
        r"histories in 'history' are raw events.*Write make_history_pipeline"
        r"\(LSTMClassifier\(...\)\).fit\(X, y\), or put HistoryEncoder\(\) before it",
    ),
    "raw histories of an array": (
        X[["history"]].to_numpy(dtype=object),
        TypeError,
        "histories in 'x0' are raw events",
    ),
    "text": (
        ENCODED.assign(city="Rome", day=pd.Timestamp("2024-01-01")),
        TypeError,
        r"no numbers: 'city' \((str|object)\), 'day' \(datetime64\[..?\]\). Write "
        r"make_history_pipeline\(LSTMClassifier\(...\)\).fit\(X, y\), which encodes",
    ),
    "text without histories": (
        X[["age", "city"]],
        TypeError,
        r"Columns that are no numbers: 'city'",
    ),
    "missing statics": (
        ENCODED.assign(
            age=without(Y, np.nan, np.nan), spend=without(Y, np.inf, -np.inf, np.nan)
        ),
        ValueError,
        r"missing or infinite values \(count\): 'age' \(2\), 'spend' \(3\). make_hist",
    ),
    "missing histories": (
        ENCODED.assign(history=ENCODED["history"].where(np.arange(len(X)) > 0)),
        ValueError,
        "'history' has 1 missing histories",
    ),
    "zero rows": (ENCODED.iloc[:0], ValueError, "X has no rows"),
}


@pytest.mark.parametrize("case", NETWORK)
def test_network(case):
    wrong, error, message = NETWORK[case]
    with pytest.raises(error, match=message):
        LSTMClassifier(**SMALL).fit(wrong, Y[: len(wrong)])


def test_text_or_missing_statics_are_refused_by_the_padder_too():
    for case in ("raw histories", "text", "missing statics", "missing histories"):
        wrong, error, message = NETWORK[case]
        with pytest.raises(error, match=message.replace("LSTMClassifier", ".*")):
            HistoryPadder().fit(wrong)


def test_other_statics_than_in_fit():
    model = LSTMClassifier(**SMALL).fit(ENCODED, Y)
    with pytest.raises(ValueError, match="unseen at fit time:\n- more"):
        model.predict(ENCODED.assign(more=1.0))
    with pytest.raises(ValueError, match=r"29 statics.*was fitted on .* and 28"):
        LSTMClassifier(**SMALL).fit(padded(static=PADDED["static"][:, 1:]), Y).predict(
            padded()
        )


# Padded tensors -----------------------------------------------------------------------


def padded(*left_out, **changed):
    tensors = {name: PADDED[name] for name in PADDED if name not in left_out}
    return {**tensors, **changed}


def with_one(name, value):
    tensor = PADDED[name].copy()
    tensor[PADDED["lengths"].argmax(), 0, 0] = value
    return padded(**{name: tensor})


TENSORS = {
    "no values": (padded("values"), r"Padded tensors are 'values' .*HistoryPadder"),
    "another key": (padded(statics=PADDED["static"]), r"got \[.*'statics'\]"),
    "no lengths": (padded("lengths"), "'lengths' must have one integer for each row"),
    "lengths that are floats": (
        padded(lengths=PADDED["lengths"] / 1),
        "'lengths' must have one integer",
    ),
    "lengths beyond the steps": (
        padded(lengths=PADDED["lengths"] + 1),
        "'lengths' must lie between 0 and 8, the number of steps; got 1 to 9",
    ),
    "negative lengths": (
        padded(lengths=PADDED["lengths"] - 1),
        "'lengths' must lie between 0 and 8, .* got -1 to 7",
    ),
    "flat values": (
        padded(values=PADDED["values"][:, 0]),
        r"'values' must have the shape \(n, T, F\); got \(48, 1[0-9]\)",
    ),
    "codes of other steps": (
        padded(codes=PADDED["codes"][:, 1:]),
        r"'codes' must have the shape \(48, 8, C\), like 'values'; got \(48, 7, 1\)",
    ),
    "fewer statics": (
        padded(static=PADDED["static"][1:]),
        "differ in their number of rows: .*'static': 47",
    ),
    "NaN values": (with_one("values", np.nan), "'values' has 1 missing or infinite"),
    "NaN statics": (
        padded(static=PADDED["static"] * np.nan),
        "'static' has .* missing or infinite values; fill them",
    ),
    "negative codes": (with_one("codes", -1), "'codes' has 1 negative codes; 0 stands"),
    "zero rows": (PADDED[:0], "X has no rows"),
    "nothing": ({}, "Padded tensors are"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(case):
    wrong, message = TENSORS[case]
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL).fit(wrong, Y)


def test_tensors_without_their_layout():
    model = LSTMClassifier(**SMALL).fit(ENCODED, Y)
    with pytest.raises(ValueError, match="Use the encoder that was fitted with it"):
        model.predict(padded())


# Parameters ---------------------------------------------------------------------------

NETWORK_PARAMETERS = [
    ("hidden_size", 0, r"int in the range \[1, inf\). Got 0"),
    ("hidden_size", 4.5, "'hidden_size' parameter of LSTMClassifier must be an int"),
    ("num_layers", 0, r"int in the range \[1, inf\). Got 0"),
    ("cell", "transformer", "'cell' .*among .*'gru'.* Got 'transformer'"),
    ("pooling", "sum", "'pooling' .*among .*'decay'.* Got 'sum'"),
    ("pooling", ["last", "sum"], "different ones of .*'decay'.*got .*'sum'"),
    ("pooling", ["last", "last"], "different ones of .*got .*'last', 'last'"),
    ("pooling", [], r"one or several .*got \[\]"),
    ("dropout", 1, r"float in the range \[0.0, 1.0\). Got 1"),
    ("head_sizes", (8, 0), r"head_sizes must be positive integers; got \(8, 0\)"),
    ("head_sizes", 8, "'head_sizes' .* must be an instance of 'list'"),
    ("learning_rate", 0.0, "'learning_rate' .* Got 0.0"),
    ("weight_decay", -1.0, "'weight_decay' .* Got -1.0"),
    ("batch_size", 0, r"int in the range \[1, inf\). Got 0"),
    ("max_epochs", 0, r"int in the range \[1, inf\). Got 0"),
    ("early_stopping", "always", "'early_stopping' .* Got 'always'"),
    ("validation_fraction", 1.0, "'validation_fraction' .* Got 1.0"),
    ("n_iter_no_change", 0, "'n_iter_no_change' .* Got 0"),
    ("callbacks", 3, "'callbacks' .* Got 3"),
    ("class_weight", "even", "'class_weight' .* Got 'even'"),
    ("random_state", "x", "'random_state' .* Got 'x'"),
]


@pytest.mark.parametrize(("name", "value", "message"), NETWORK_PARAMETERS)
def test_parameters_of_networks(name, value, message):
    model = LSTMClassifier(**{**SMALL, name: value})
    with pytest.raises(ValueError, match=message):
        model.fit(ENCODED, Y)


def test_loss_of_the_regressor():
    with pytest.raises(ValueError, match=r"'loss' .*'poisson'.* Got 'gamma'"):
        LSTMRegressor(loss="gamma").fit(ENCODED, Y)


ENCODER_PARAMETERS = [
    ({"min_frequency": 0}, ValueError, "'min_frequency' .* Got 0"),
    ({"min_frequency": 1.5}, ValueError, "'min_frequency' .* Got 1.5"),
    ({"max_categories": 0}, ValueError, "'max_categories' .* Got 0"),
    ({"half_lives": "7D"}, ValueError, "'half_lives' .* Got '7D'"),
    ({"half_lives": ["soon"]}, ValueError, "half_lives must be a length of time, .*'s"),
    ({"half_lives": [7]}, TypeError, "half_lives must be a length of time, .*number 7"),
    ({"half_lives": ["0D"]}, ValueError, r"half_lives must be positive.*\['0D'\]"),
    ({"half_lives": []}, ValueError, r"half_lives .* one at least; got \[\]"),
]


@pytest.mark.parametrize(("options", "error", "message"), ENCODER_PARAMETERS)
def test_parameters_of_the_encoder(options, error, message):
    with pytest.raises(error, match=message):
        HistoryEncoder(**options).fit(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "'max_length' .* Got 0"),
        ({"padding": "left"}, "'padding' .* Got 'left'"),
        ({"truncation": "middle"}, "'truncation' .* Got 'middle'"),
    ],
)
def test_parameters_of_the_padder(options, message):
    with pytest.raises(ValueError, match=message):
        HistoryPadder(**options).fit(ENCODED)


def test_early_stopping_needs_customers_to_set_aside():
    one = ENCODED[(X["who"] == "c3").to_numpy()]
    model = LSTMClassifier(**SMALL, early_stopping=True)
    message = "all 4 rows belong to one customer; use early_stopping=False"
    with pytest.raises(ValueError, match=message):
        model.fit(one, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(len(X)), r"sample_weight is zero|at least one non-zero"),
        (-np.ones(len(X)), "Negative values in data passed to `?sample_weight"),
        (np.ones(3), "sample_weight.shape == "),
        (np.full(len(X), np.nan), "contains NaN"),
    ],
)
def test_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(**SMALL).fit(ENCODED, Y, sample_weight=weight)


# Odd input that is no error -----------------------------------------------------------


def test_all_histories_empty():
    rows = make_rows().assign(at=pd.Timestamp("2000-01-01"))
    empty = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    model = clone(FITTED)
    message = (
        "All 48 histories in 'history' are empty, so that the model learns from st"
    )
    with pytest.warns(UserWarning, match=message):
        model.fit(empty, Y)
    # Statics alone: rows differ by them, and by nothing else.
    shares = model.predict_proba(empty)
    assert np.ptp(shares[:, 0]) > 0.001
    same = empty.assign(age=40.0, city="Rome", joined=empty["at"], member=True)
    assert np.ptp(model.predict_proba(same)[:, 0]) < 1e-6
    assert np.isfinite(model.predict_proba(X)).all()


def test_unknown_customers():
    rows = make_rows().assign(who=[f"stranger {i}" for i in range(len(X))])
    strangers = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    assert not strangers["history"].array.lengths.any()
    shares = FITTED.predict_proba(strangers)
    assert np.isfinite(shares).all()
    # Like customers who have done nothing yet.
    nothing = (X["history"].array.lengths == 0).nonzero()[0]
    expected = FITTED.predict_proba(X.iloc[nothing])
    np.testing.assert_allclose(shares[nothing], expected, rtol=1e-5, atol=1e-5)


def test_unseen_levels():
    events = make_events()
    other = attach(events.assign(kind="never heard of")).assign(city="Atlantis")
    shares = FITTED.predict_proba(other)
    assert np.isfinite(shares).all()
    missing = FITTED.predict_proba(
        attach(events.assign(kind="nor of that")).assign(city="nor there")
    )
    np.testing.assert_array_equal(shares, missing)


def test_numbers_that_are_not_finite():
    amount = make_events()["amount"]
    assert np.isinf(amount).any()
    assert amount.isna().any()
    log = HistoryEncoder().fit_transform(X)["history"].array.log
    assert np.isfinite(log.channels).all()
    infinite = attach(make_events().assign(amount=np.inf))
    nan = attach(make_events().assign(amount=np.nan))
    np.testing.assert_array_equal(
        FITTED.predict_proba(infinite), FITTED.predict_proba(nan)
    )
    assert np.isfinite(FITTED.predict_proba(nan)).all()


def test_huge_numbers():
    huge = attach(make_events().assign(amount=1e300))
    assert np.isfinite(FITTED.predict_proba(huge)).all()
    with pytest.raises(ValueError, match=r"infinite values \(count\): 'age' \(1\)"):
        FITTED.predict_proba(huge.assign(age=without(Y, 1e300)))


def test_messages_have_no_place_left_open():
    for table in (PREDICT, FIT, NETWORK):
        for *_, message in table.values():
            assert not re.search(r"\{[a-z]", message)
