"""X, y and weights that a pipeline refuses."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import (
    make_y,
)
from tests.bad_input.inputs import (
    ENCODED,
    EVENTS,
    FITTED,
    ROWS,
    SMALL,
    X,
    Y,
    attach,
    build,
    check_refused,
    without,
)

# X that a fitted pipeline cannot predict ----------------------------------------------


def predict(wrong):
    return partial(FITTED.predict, wrong)


TRANSFORMED = FITTED[:-1].transform(X)
PREDICT = {
    "zero rows": (predict(X.iloc[:0]), "X has no rows; .* at least one"),
    "no history column": (
        predict(X.drop(columns="history")),
        r"lacks 1 of the 5 columns that HistoryEncoder saw in fit: \['history'\]",
    ),
    "renamed": (
        predict(X.rename(columns={"history": "past"})),
        r"fit: \['history'\]. It has columns that fit did not see: \['past'\]. Add or",
    ),
    "no static": (
        predict(X.drop(columns="age")),
        r"lacks 1 of the 5 columns that HistoryEncoder saw in fit: \['age'\]. Add or",
    ),
    "no histories in the column": (
        predict(X.assign(history=1.5)),
        "'history' must hold histories, but its type is float64; EventLog.attach",
        TypeError,
    ),
    "missing histories": (
        predict(X.assign(history=X["history"].where(np.arange(len(X)) > 2))),
        "'history' has 3 missing histories in",
    ),
    "encoded": (
        predict(X.assign(history=HistoryEncoder().fit_transform(X)["history"])),
        "HistoryEncoder needs raw histories, but those in 'history' are encoded",
        TypeError,
    ),
    "a field less": (
        predict(attach(EVENTS.drop(columns="kind"))),
        r"behind 'history' .*lacks the fields \['kind'\].*fields=\['amount', 'kind'",
    ),
    "a field more": (
        predict(attach(EVENTS.assign(more=1))),
        r"has the unknown fields \['more'\]",
    ),
    "a field of another type": (
        predict(attach(EVENTS.assign(amount="much"))),
        "other types: 'amount' is categorical and was numeric",
    ),
    "plain numbers for times": (
        predict(build(when=1)().attach(ROWS.assign(at=2), cutoff="at")),
        "'history' are plain numbers, but the times of the log seen in fit are naive",
    ),
    "infinite statics after scaling": (
        lambda: FITTED[-1].predict(TRANSFORMED.assign(age=1e300)),
        r"beyond the range of float32, 3e38 \(count\): 'age' \(\d+\). Clip them",
    ),
    "an array": (
        predict(np.zeros((3, 7))),
        "DataFrame with a history column",
        TypeError,
    ),
    "None": (
        predict(None),
        "DataFrame with a history column.*got builtins.NoneType",
        TypeError,
    ),
}

# X and y that cannot be fitted --------------------------------------------------------


def fit(wrong, y):
    return lambda: clone(FITTED).fit(wrong, y)


FIT = {
    "zero rows": (fit(X.iloc[:0], Y[:0]), "X has no rows"),
    "no history column": (
        fit(X[["age", "city"]], Y),
        r"no history column; EventLog.attach adds one. Its columns are \['age', 'city'",
    ),
    "a name twice": (
        fit(pd.concat([X, X[["age"]]], axis=1), Y),
        r"several columns of the names \['age'\]; rename",
    ),
    "names that are numbers": (
        fit(X.set_axis(range(X.shape[1]), axis=1), Y),
        r"names of columns must be text; got \[.*X.columns = \[str\(name\) for name in",
        TypeError,
    ),
    "names of two levels": (
        fit(pd.concat({"all": X}, axis=1), Y),
        r"names of columns must be text; got .*'_'.join\(map\(str, name\)\).rstrip",
        TypeError,
    ),
    "a name twice, and no history": (
        lambda: LSTMClassifier().fit(X[["age", "age"]].astype(object), Y),
        r"several columns of the names \['age'\]; rename",
    ),
    "one class": (fit(X, np.ones(len(X))), "2 classes in y; got 1 class, 1.0"),
    "one row": (fit(X.iloc[:1], Y[:1]), "2 classes in y; got 1 class"),
    "NaN in y": (
        fit(X, without(Y, np.nan, np.nan)),
        f"Input y contains NaN: 2 of {len(X)} targets are missing; drop those rows",
    ),
    "None in y": (
        fit(X, np.array([None, *make_y(X, ["no", "yes"])[1:]], dtype=object)),
        f"Input y contains NaN: 1 of {len(X)} targets are missing; drop those rows",
    ),
    "infinity in y": (
        fit(X, without(Y, np.inf)),
        f"Input y contains infinity: 1 of {len(X)} targets are infinite; drop",
    ),
    "numbers as classes": (fit(X, Y + 0.5 * (Y > 0)), "Unknown label type"),
    "no y": (fit(X, None), "requires y to be passed, but the target y is None"),
    "a survival target": (
        fit(X, pd.DataFrame({"event": Y > 0, "time": pd.to_timedelta(Y, "D")})),
        r"durations, in the columns \['event', 'time'\].*LSTMSurvival learns",
        TypeError,
    ),
    "two columns of classes": (fit(X, np.c_[Y, Y + 1]), "numbers 0 or 1 each; got"),
    "short y": (fit(X, Y[1:]), rf"inconsistent numbers of samples: \[{len(X)}"),
    "one customer and early stopping": (
        lambda: LSTMClassifier(**SMALL, early_stopping=True).fit(
            ENCODED[(X["who"] == "c3").to_numpy()], [0, 1, 0, 1]
        ),
        "all 4 rows belong to one customer; use early_stopping=False",
    ),
}


def regress(y, **options):
    return partial(LSTMRegressor(**SMALL, **options).fit, ENCODED, y)


def weigh(weight):
    return partial(LSTMClassifier(**SMALL).fit, ENCODED, Y, sample_weight=weight)


NUMERIC_TARGETS_AND_WEIGHTS = {
    "NaN": (regress(without(Y, np.nan)), "Input y contains NaN: 1 of 48"),
    "infinity": (regress(without(Y, np.inf, -np.inf)), "contains infinity: 2 of 48"),
    "infinity in objects": (
        regress(without(Y, np.inf).astype(object)),
        "contains infinity: 1 of 48",
    ),
    "text": (
        regress(make_y(X, ["a", "b"])),
        "y must hold numbers or durations; got text, such as",
        TypeError,
    ),
    "negative counts": (
        regress(without(Y, -1, -2), loss="poisson"),
        "that are not negative; 2 of 48 are negative. Use loss='squared_error'",
    ),
    "gamma: zeros": (
        regress(without(Y + 1, 0, -1), loss="gamma"),
        "larger than 0; of 48, 1 are 0 and 1 negative. Use loss='poisson', or 'zero_i",
    ),
    "zero-inflated log-normal: negative": (
        regress(without(Y, -1, -2), loss="zero_inflated_lognormal"),
        "2 of 48 are. Use loss='squared_error', or set negative ones to 0",
    ),
    "one amount of 1e300": (
        regress(without(Y, 1e300), loss="zero_inflated_lognormal"),
        r"y holds amounts of up to 1e\+300, .*divide y by a constant, and multiply",
    ),
    "several targets: NaN": (
        regress(np.column_stack([Y, without(Y, np.nan)])),
        r"Input y contains NaN: 1 of 48 targets are missing in the columns \[1\]; drop",
    ),
    "several labels that are none": (
        lambda: LSTMClassifier(**SMALL).fit(ENCODED, np.column_stack([Y, Y + 1])),
        r"y has the shape \(48, 2\), and the labels .* numbers 0 or 1 each; got \[2\]",
    ),
    "exposure: no such column": (
        regress(Y, loss="poisson", exposure="days"),
        r"no column 'days' to be the exposure; its statics are \[",
    ),
    "exposure: not larger than 0": (
        partial(
            LSTMRegressor(**SMALL, loss="poisson", exposure="days").fit,
            ENCODED.assign(days=without(Y + 1, 0, -1)),
            Y,
        ),
        "Exposures must be larger than 0; 2 of 48 in 'days' are not. Leave those rows",
    ),
    "exposure: NaN": (
        partial(
            LSTMRegressor(**SMALL, loss="poisson", exposure="days").fit,
            ENCODED.assign(days=without(Y + 1, np.nan)),
            Y,
        ),
        "Exposures must be known; 1 of 48 in 'days' are missing or infinite",
    ),
    "exposure: text": (
        partial(
            LSTMRegressor(**SMALL, loss="poisson", exposure="days").fit,
            ENCODED.assign(days="365D"),
            Y,
        ),
        r"The exposure 'days' must hold numbers or durations; got text, .*\['365D'",
        TypeError,
    ),
    "exposure: a loss without": (
        regress(Y, exposure="age"),
        "goes with the losses .*'poisson'.*; for loss='squared_error' leave the column",
    ),
    "zero weights": (
        weigh(np.zeros(len(X))),
        "sample_weight is zero|at least one non-zero",
    ),
    "negative weights": (
        weigh(-np.ones(len(X))),
        "Negative values in data passed to `?sample_weight",
    ),
    "few weights": (weigh(np.ones(3)), "sample_weight.shape == "),
    "NaN weights": (weigh(np.full(len(X), np.nan)), "contains NaN"),
}

REFUSED = [PREDICT, FIT, NUMERIC_TARGETS_AND_WEIGHTS]


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, id=case) for cases in REFUSED for case, how in cases.items()],
)
def test_refused(how):
    check_refused(*how)
