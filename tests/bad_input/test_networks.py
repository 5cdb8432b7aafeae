"""What only a network refuses: encoded X, padded tensors and parameters."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder
from tests.bad_input.inputs import (
    ENCODED,
    PADDED,
    SMALL,
    X,
    Y,
    check_refused,
    without,
)

# What only a network refuses ----------------------------------------------------------


def network(wrong):
    return lambda: LSTMClassifier(**SMALL).fit(wrong, Y[: len(wrong)])


def padder(wrong):
    return partial(HistoryPadder().fit, wrong)


TEXT = ENCODED.assign(city="Rome", day=pd.Timestamp("2024-01-01"))
HOLES = ENCODED.assign(
    age=without(Y, np.nan, np.nan), spend=without(Y, np.inf, -np.inf, np.nan)
)
MISSING = ENCODED.assign(history=ENCODED["history"].where(np.arange(len(X)) > 0))
HUGE = ENCODED.assign(spend=without(Y, 1e38), age=without(Y, -2e18, 1e17))
NETWORK = {
    "huge statics": (
        network(HUGE),
        r"values beyond 1e\+18, .* \(count\): 'age' \(1\), 'spend' \(1\)\. make_hi",
    ),
    "huge numbers in an array": (
        network(np.where(np.arange(2 * len(X)).reshape(-1, 2) == 1, 1e38, 0)),
        r"values beyond 1e\+18, .* \(count\): 1 \(1\)",
    ),
    "raw histories": (
        network(X),
        r"histories in 'history' are raw events.*Write make_history_pipeline"
        r"\(LSTMClassifier\(...\)\).fit\(X, y\), or put HistoryEncoder\(\) before it",
        TypeError,
    ),
    "raw histories of an array": (
        network(X[["history"]].to_numpy(dtype=object)),
        "histories in 'x0' are raw events",
        TypeError,
    ),
    "text": (
        network(TEXT),
        r"no numbers: 'city' \((str|object)\), 'day' \(datetime64\[..?\]\). Write "
        r"make_history_pipeline\(LSTMClassifier\(...\)\).fit\(X, y\), which encodes",
        TypeError,
    ),
    "text without histories": (
        network(X[["age", "city"]]),
        "Columns that are no numbers: 'city'",
        TypeError,
    ),
    "missing statics": (
        network(HOLES),
        r"missing or infinite values \(count\): 'age' \(2\), 'spend' \(3\). make_hist",
    ),
    "missing histories": (network(MISSING), "'history' has 1 missing histories"),
    "zero rows": (network(ENCODED.iloc[:0]), "X has no rows"),
    "a static less": (
        lambda: (
            LSTMClassifier(**SMALL).fit(ENCODED, Y).predict(ENCODED.drop(columns="age"))
        ),
        r"lacks 1 of the \d columns that LSTMClassifier saw in fit: \['age'\]",
    ),
    "padder: raw histories": (padder(X), "'history' are raw events", TypeError),
    "padder: text": (padder(TEXT), "no numbers: 'city' .*which encodes", TypeError),
    "padder: missing statics": (
        padder(HOLES),
        r"\(count\): 'age' \(2\), 'spend' \(3\). make_hist",
    ),
    "padder: missing histories": (padder(MISSING), "'history' has 1 missing hist"),
}

# Padded tensors -----------------------------------------------------------------------


def padded(*left_out, **changed):
    tensors = {name: PADDED[name] for name in PADDED if name not in left_out}
    return {**tensors, **changed}


def with_one(name, value):
    tensor = PADDED[name].copy()
    tensor[PADDED["lengths"].argmax(), 0, 0] = value
    return padded(**{name: tensor})


def tensors(wrong):
    return partial(LSTMClassifier(**SMALL).fit, wrong, Y)


TENSORS = {
    "no values": (
        tensors(padded("values")),
        r"Padded tensors are 'values' .*HistoryPadder",
    ),
    "another key": (
        tensors(padded(statics=PADDED["static"])),
        r"got \[.*'statics'\]",
    ),
    "no lengths": (
        tensors(padded("lengths")),
        "'lengths' must have one integer for each row",
    ),
    "lengths that are floats": (
        tensors(padded(lengths=PADDED["lengths"] / 1)),
        "'lengths' must have one integer",
    ),
    "lengths beyond the steps": (
        tensors(padded(lengths=PADDED["lengths"] + 1)),
        "'lengths' must lie between 0 and 8, the number of steps; got 1 to 9",
    ),
    "negative lengths": (
        tensors(padded(lengths=PADDED["lengths"] - 1)),
        "'lengths' must lie between 0 and 8, .* got -1 to 7",
    ),
    "flat values": (
        tensors(padded(values=PADDED["values"][:, 0])),
        r"'values' must have the shape \(n, T, F\); got \(48, 1[0-9]\)",
    ),
    "codes of other steps": (
        tensors(padded(codes=PADDED["codes"][:, 1:])),
        r"'codes' must have the shape \(48, 8, C\), like 'values'; got \(48, 7, 1\)",
    ),
    "fewer rows of statics": (
        tensors(padded(static=PADDED["static"][1:])),
        "differ in their number of rows: .*'static': 47",
    ),
    "NaN values": (
        tensors(with_one("values", np.nan)),
        "'values' has 1 missing or infinite",
    ),
    "NaN statics": (
        tensors(padded(static=PADDED["static"] * np.nan)),
        "'static' has .* missing or infinite values; fill them",
    ),
    "flat statics": (
        tensors(padded(static=PADDED["static"][:, 0])),
        r"'static' must have the shape \(n, S\); got \(48,\)",
    ),
    "statics with an axis of steps": (
        tensors(padded(static=PADDED["values"])),
        r"'static' must have the shape \(n, S\); got \(48, 8, 1[0-9]\)",
    ),
    "negative codes": (
        tensors(with_one("codes", -1)),
        "'codes' has 1 negative codes; 0 is the",
    ),
    "codes below int32": (
        tensors(with_one("codes", -(2**32))),
        "'codes' has 1 negative codes; 0 is the",
    ),
    "a number as statics": (
        tensors(padded(static=np.array(1.0))),
        r"need an axis of rows; \['static'\] have none",
    ),
    "codes between integers": (
        tensors(padded(codes=PADDED["codes"] + 0.5)),
        "'codes' has [0-9]+ values that are not integers from 0 to 2147483647",
    ),
    "codes beyond int32": (
        tensors(with_one("codes", 2**32 + 1)),
        "'codes' has 1 values that are not integers from 0 to 2147483647",
    ),
    "zero rows": (tensors(PADDED[:0]), "X has no rows"),
    "nothing": (tensors({}), "Padded tensors are"),
    "a static less in fit": (
        lambda: (
            LSTMClassifier(**SMALL)
            .fit(padded(static=PADDED["static"][:, 1:]), Y)
            .predict(padded())
        ),
        "29 statics.*was fitted on .* and 28",
    ),
    "without their layout": (
        lambda: LSTMClassifier(**SMALL).fit(ENCODED, Y).predict(padded()),
        "Use the encoder that was fitted with it",
    ),
}

# Parameters ---------------------------------------------------------------------------

CLASSIFIER, REGRESSOR = LSTMClassifier(**SMALL), LSTMRegressor(**SMALL)
ENCODER, PADDER = HistoryEncoder(), HistoryPadder()
PARAMETERS = {
    f"{type(estimator).__name__}({name}={value!r})": (
        partial(
            clone(estimator).set_params(**{name: value}).fit,
            X if estimator is ENCODER else ENCODED,
            Y,
        ),
        message,
        *error,
    )
    for estimator, name, value, message, *error in [
        (CLASSIFIER, "hidden_size", 0, r"int in the range \[1, inf\). Got 0"),
        (
            CLASSIFIER,
            "hidden_size",
            4.5,
            "'hidden_size' .* must be an int",
        ),
        (CLASSIFIER, "hidden_size", True, r"int in the range \[1, inf\). Got True"),
        (
            CLASSIFIER,
            "n_networks",
            True,
            r"\[1, inf\) or a str among {'auto'}. Got True",
        ),
        (CLASSIFIER, "num_layers", 0, r"int in the range \[1, inf\). Got 0"),
        (
            CLASSIFIER,
            "cell",
            "transformer",
            "'cell' .*'gru'.* Got 'transformer'",
        ),
        (CLASSIFIER, "pooling", "sum", "'pooling' .*among .*'decay'.* Got 'sum'"),
        (
            CLASSIFIER,
            "pooling",
            ["last", "sum"],
            "different ones of .*got .*'sum'",
        ),
        (
            CLASSIFIER,
            "pooling",
            ["last", "last"],
            "different .*got .*'last', 'last'",
        ),
        (CLASSIFIER, "pooling", [], r"one or several .*got \[\]"),
        (CLASSIFIER, "dropout", 1, r"float in the range \[0.0, 1.0\). Got 1"),
        (
            CLASSIFIER,
            "head_sizes",
            (8, 0),
            r"must be positive integers; got \(8, 0\)",
        ),
        (
            CLASSIFIER,
            "head_sizes",
            (True,),
            r"must be positive integers; got \(True,\)",
        ),
        (CLASSIFIER, "head_sizes", 8, "'head_sizes' .* must be an array-like"),
        (CLASSIFIER, "learning_rate", 0.0, "'learning_rate' .* Got 0.0"),
        (CLASSIFIER, "weight_decay", -1.0, "'weight_decay' .* Got -1.0"),
        (
            CLASSIFIER,
            "batch_size",
            0,
            r"int in the range \[1, inf\) or a str among {'auto'}. Got 0",
        ),
        (CLASSIFIER, "max_epochs", 0, r"int in the range \[1, inf\) or a .* Got 0"),
        (CLASSIFIER, "early_stopping", "always", "'early_stopping' .* Got 'always'"),
        (CLASSIFIER, "validation_fraction", 1.0, "'validation_fraction' .* Got 1.0"),
        (CLASSIFIER, "n_iter_no_change", 0, "'n_iter_no_change' .* Got 0"),
        (CLASSIFIER, "callbacks", 3, "'callbacks' .* Got 3"),
        (CLASSIFIER, "class_weight", "even", "'class_weight' .* Got 'even'"),
        (CLASSIFIER, "random_state", "x", "'random_state' .* Got 'x'"),
        (REGRESSOR, "loss", "huber", "'loss' .*'poisson'.* Got 'huber'"),
        (REGRESSOR, "quantile", 0, "between 0 and 1, neither of them .*; got 0"),
        (REGRESSOR, "quantile", [0.5, 1.0], r"between 0 and 1, .*; got \[0.5, 1.0\]"),
        (REGRESSOR, "quantile", [], r"one or several numbers .*; got \[\]"),
        (REGRESSOR, "quantile", [[0.1, 0.9]], r"one or several numbers .*; got \[\["),
        (
            REGRESSOR,
            "quantile",
            [0.9, 0.1, 0.1],
            r"must ascend, each once; got .*Write \[0.1, 0.9\]",
        ),
        (ENCODER, "min_frequency", 0, "'min_frequency' .* Got 0"),
        (ENCODER, "min_frequency", 1.5, "'min_frequency' .* Got 1.5"),
        (ENCODER, "max_categories", 0, "'max_categories' .* Got 0"),
        (ENCODER, "half_lives", "7D", "'half_lives' .* Got '7D'"),
        (ENCODER, "half_lives", ["soon"], "half_lives must be a length of time, .*'s"),
        (ENCODER, "half_lives", ["0D"], r"half_lives must be positive.*\['0D'\]"),
        (ENCODER, "half_lives", [], r"half_lives .* one at least; got \[\]"),
        (
            ENCODER,
            "half_lives",
            [7],
            "half_lives must be .*bare number 7",
            TypeError,
        ),
        (PADDER, "max_length", 0, "'max_length' .* Got 0"),
        (PADDER, "padding", "left", "'padding' .* Got 'left'"),
        (PADDER, "truncation", "middle", "'truncation' .* Got 'middle'"),
    ]
}


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [LSTMClassifier, LSTMRegressor, LSTMSurvival])
def test_each_training_checks_parameters(kind, call):
    with pytest.raises(ValueError, match="'cell' parameter"):
        getattr(kind(cell="transformer"), call)(ENCODED, Y + 1.0)


REFUSED = [NETWORK, TENSORS, PARAMETERS]


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, id=case) for cases in REFUSED for case, how in cases.items()],
)
def test_refused(how):
    check_refused(*how)
