"""Bad input: errors and their messages.

``python tests/test_bad_input.py`` prints the cases and their messages as a table.
"""

import re
import warnings
from functools import partial
from inspect import getdoc

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    stack_horizons,
    time_to_next,
)
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
EVENTS = make_events()
ROWS = make_rows()
LOG = EventLog(EVENTS, "who", "when")
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


def refused(call, message, error=ValueError):
    """Call it and give back the error, whose text the whole pattern must match."""
    with pytest.raises(error, match=f"(?s){message}") as caught:
        call()
    return caught.value


# The log and its histories ------------------------------------------------------------


def build(**changed):
    return partial(EventLog, EVENTS.assign(**changed), "who", "when")


def rows_with(**changed):
    return partial(LOG.attach, ROWS.assign(**changed), cutoff="at")


NUMBERS = np.arange(len(EVENTS), dtype="float64")
AWARE = EVENTS["when"].dt.tz_localize("UTC")
LOGS = {
    "missing ids": (
        build(who=EVENTS["who"].where(EVENTS.index > 1)),
        "customer column 'who' of events has 2 missing values, .* rows 0, 1; drop or",
    ),
    "NaT": (
        build(when=EVENTS["when"].where(EVENTS.index > 0)),
        "time column 'when' of events has 1 missing values, .* rows 0; drop or fill",
    ),
    "NaN for a time": (
        build(when=without(NUMBERS, np.nan)),
        "time column 'when' of events has 1 missing values",
    ),
    "infinite times": (
        build(when=without(NUMBERS, np.inf, -np.inf)),
        "times in column 'when' hold 2 infinite values; drop those rows",
    ),
    "naive and aware times": (
        build(when=EVENTS["when"].astype(object).where(EVENTS.index > 3, AWARE)),
        r"'when' mix naive and time-zone aware .*; pd.to_datetime\(..., utc=True\)",
    ),
    "times as text": (
        build(when="2024-01-01"),
        "'when' must be datetimes or numbers; got .*pd.to_datetime reads dates",
        TypeError,
    ),
    "no customer column": (
        partial(EventLog, EVENTS, "customer", "when"),
        r"no customer column 'customer'; it has \['who', 'when', 'amount'",
        KeyError,
    ),
    "no time column": (
        partial(EventLog, EVENTS, "who", "time"),
        "no time column 'time'; it has",
        KeyError,
    ),
    "a column twice": (
        partial(EventLog, pd.concat([EVENTS, EVENTS], axis=1), "who", "when"),
        "events has columns of the same name; rename them.*- 'amount' 2 times",
    ),
    "zero events": (partial(EventLog, EVENTS[:0], "who", "when"), "events has no rows"),
    "no table": (
        partial(EventLog, EVENTS.to_numpy(), "who", "when"),
        "whatever has __arrow_c_stream__.; got numpy.ndarray",
        TypeError,
    ),
    "a field of several types": (
        build(amount=EVENTS["amount"].astype(object).where(EVENTS.index > 0, "much")),
        r"'amount' mixes values .* float, str; make them one type, .*astype\(str\)",
        TypeError,
    ),
    "a field of lists of text": (
        build(amount=[["a"]] * len(EVENTS)),
        "'amount' of events holds values of the type list of string, .* leave it out",
        TypeError,
    ),
    "append: a field less": (
        partial(LOG.append, EVENTS.drop(columns="kind")),
        r"no columns \['kind'\] for fields; it has \['who', 'when', 'amount', 'due'",
        KeyError,
    ),
    "append: another type": (
        partial(LOG.append, EVENTS.assign(amount="much")),
        "Field 'amount' has the types .*'more': 'categorical'.*; give it one type",
    ),
    "concat: other times": (
        lambda: EventLog.concat({"a": LOG, "b": build(when=AWARE)()}),
        "times of 'b' are time-zone aware .* of 'a' naive .*; build both from times",
    ),
    "attach: missing ids": (
        rows_with(who=ROWS["who"].where(ROWS.index > 1)),
        "customer column 'who' of rows has 2 missing values, .*; drop or fill them",
    ),
    "attach: NaT": (
        rows_with(at=ROWS["at"].where(ROWS.index > 0)),
        "cutoff column 'at' of rows has 1 missing values, .* rows 0; drop or fill them",
    ),
    "attach: aware cutoffs": (
        rows_with(at=ROWS["at"].dt.tz_localize("UTC")),
        r"'at' are time-zone aware .* log are naive datetimes; tz_convert\(None\)",
    ),
    "attach: numbers as cutoffs": (
        rows_with(at=1),
        "'at' are plain numbers, but the times of the log are naive datetimes; build",
    ),
    "attach: ids of another type": (
        rows_with(who=1),
        "'who' of rows are of the type int64, .* none would be found; cast them: ",
        TypeError,
    ),
    "attach: no cutoff column": (
        partial(LOG.attach, ROWS, cutoff="when"),
        r"cutoff='when' is neither a column of rows, which has \['who', 'at', .*nor",
        KeyError,
    ),
    "attach: no customer column": (
        partial(LOG.attach, ROWS.drop(columns="who"), cutoff="at"),
        "rows has no customer column 'who'; it has",
        KeyError,
    ),
    "attach: the name is taken": (
        partial(LOG.attach, X, cutoff="at"),
        "a column 'history' already; choose another name with name=",
    ),
    "snapshots: no step": (
        partial(LOG.snapshots_every, 0),
        "step must be longer than 0",
    ),
    "snapshots: NaT": (
        partial(LOG.snapshots, [pd.NaT]),
        "cutoffs has 1 missing values",
    ),
    "snapshots: True for a number of events": (
        partial(LOG.snapshots, ["2024-01-01"], min_events=True),
        "min_events must be a whole number from 0 on; got True",
    ),
}

# Targets, splits and features ---------------------------------------------------------

TARGETS = {
    "a horizon without a unit": (
        partial(churned, X, horizon=30),
        r"horizon must be a length of time, .*'14D'.*got the bare number 30",
        TypeError,
    ),
    "no horizons": (partial(churned, X, horizon=[]), r"one or several; got \[\]"),
    "a horizon twice": (
        partial(future_count, X, ["30D", "720h"], censored="nan"),
        r"horizon names some horizons twice: \['30D', '720h'\]",
    ),
    "several windows beyond the log": (
        partial(churned, X, horizon=["1D", "3000D"]),
        "windows of 48 of 48 rows run past the end of the log, the first in the rows",
    ),
    "stack_horizons: rows that were dropped": (
        lambda: stack_horizons(X, future_count(X.iloc[:5], ["1D", "2D"])),
        r"X has 48 rows and y 5, and their indexes differ: .*X.loc\[y.index\]",
    ),
    "stack_horizons: a column of the name": (
        lambda: stack_horizons(
            X, future_count(X, ["1D", "30D"], censored="nan"), name="age"
        ),
        "X has a column 'age' already; choose another name",
    ),
    "an unknown field": (
        partial(future_sum, X, "money", horizon="30D"),
        r"no field 'money'; it has \['amount', 'kind', 'due'\]",
        KeyError,
    ),
    "a sum of categories": (
        partial(future_sum, X, "kind", horizon="30D"),
        "'kind' is categorical, and cannot be summed",
    ),
    "windows beyond the log": (
        partial(churned, X, horizon="3000D"),
        "windows of 48 of 48 rows run past the end of the log, the first in the rows",
    ),
    "missing histories": (
        partial(churned, X.assign(history=X["history"].where(X.index > 0)), horizon=1),
        "The history column has 1 missing histories in 48 rows",
    ),
    "CutoffSplit: a horizon too long": (
        lambda: list(CutoffSplit(2, horizon="9000D").split(X)),
        "Fold 1 of 2 has no training rows: .*Use fewer splits, earlier cutoffs or",
    ),
    "CutoffSplit: no histories": (
        lambda: list(CutoffSplit(2, horizon="9D").split(X[["age"]])),
        r"X has no history column; EventLog.attach adds one. Its columns are \['age'\]",
    ),
    "RFMFeatures: no histories": (
        partial(RFMFeatures().fit, X[["age"]]),
        "X has no history column; EventLog.attach adds one",
    ),
    "RFMFeatures: a column less": (
        partial(RFMFeatures().fit(X).transform, X.drop(columns="history")),
        r"lacks 1 of the 5 columns that RFMFeatures saw in fit: \['history'\]",
    ),
    "RFMFeatures: a field of another type": (
        partial(RFMFeatures().fit(X).transform, attach(EVENTS.assign(amount="much"))),
        "'amount' .* is categorical, but .*; choose another with amount=",
        TypeError,
    ),
}

# X that a fitted pipeline cannot predict ----------------------------------------------


def predict(wrong):
    return partial(FITTED.predict, wrong)


PREDICT = {
    "zero rows": (predict(X.iloc[:0]), "X has no rows; .* at least one"),
    "no history column": (
        predict(X.drop(columns="history")),
        r"lacks 1 of the 5 columns that HistoryEncoder saw in fit: \['history'\]",
    ),
    "renamed": (
        predict(X.rename(columns={"history": "past"})),
        r"fit: \['history'\]. It has others that fit had not: \['past'\]. Add or",
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
        "HistoryEncoder reads raw histories, but those in 'history' are encoded",
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
        "'history' are plain numbers, but the times of the log are naive datetimes",
    ),
    "infinite statics after scaling": (
        predict(X.assign(age=without(X["age"], 1e300))),
        r"beyond the range of float32, 3e38 \(count\): 'age' \(1\). clip them",
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
    "two columns of classes": (fit(X, np.c_[Y, Y + 1]), "must be 0 or 1 each; got"),
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
        "not negative; 2 of 48 are. Use loss='squared_error', or count returns as 0",
    ),
    "several targets: NaN": (
        regress(np.column_stack([Y, without(Y, np.nan)])),
        r"Input y contains NaN: 1 of 48 targets are missing in the columns \[1\]; drop",
    ),
    "several labels that are none": (
        lambda: LSTMClassifier(**SMALL).fit(ENCODED, np.column_stack([Y, Y + 1])),
        r"y has the shape \(48, 2\), and the labels .* must be 0 or 1 each; got \[2\]",
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

# When events come ---------------------------------------------------------------------

WHEN = time_to_next(X, censored="keep")
SURVIVAL = LSTMSurvival(**SMALL, bins=5).fit(ENCODED, WHEN)
IN_NUMBERS = WHEN.assign(time=WHEN["time"] / pd.Timedelta("1D"))
SURVIVAL_IN_NUMBERS = LSTMSurvival(**SMALL, bins=5).fit(ENCODED, IN_NUMBERS)


def survive(y, **options):
    return partial(LSTMSurvival(**SMALL, **options).fit, ENCODED, y)


def at(*values):
    return IN_NUMBERS.assign(time=without(IN_NUMBERS["time"], *values))


SURVIVAL_TARGETS = {
    "negative times": (
        survive(at(-1, -2)),
        "Input y is negative: 2 of 48 times lie before the cutoff; drop those from X",
    ),
    "NaN times": (survive(at(np.nan)), "contains NaN: 1 of 48 times are missing; drop"),
    "NaT": (
        survive(WHEN.assign(time=WHEN["time"].where(WHEN.index > 0))),
        "contains NaN: 1 of 48 times are missing; drop",
    ),
    "infinite times": (survive(at(np.inf)), "contains infinity: 1 of 48 times are inf"),
    "datetimes": (
        survive(WHEN.assign(time=X["at"])),
        "times in y must hold .* durations; got datetimes, .* the cutoff of each row",
        TypeError,
    ),
    "censored='nan'": (
        survive(time_to_next(X, censored="nan")),
        r"of \d+ of 48 rows it is not known .*; time_to_next\(X, censored='keep'\)",
    ),
    "all censored": (
        survive(WHEN.assign(event=False)),
        "None of the 48 rows has an event, .*Use a longer horizon or earlier cutoffs",
    ),
    "half an event": (
        survive(WHEN.assign(event=0.5)),
        "must be 0 where none came and 1, 2, .*; 48 of 48 .*, such as 0.5",
    ),
    "negative kinds": (survive(WHEN.assign(event=-1)), "1, 2, ... .* such as -1"),
    "kinds as text": (
        survive(WHEN.assign(event="order")),
        "must be booleans, or whole numbers that name their kind, and are of the type",
        TypeError,
    ),
    "events alone": (
        survive(WHEN["event"]),
        "event indicators without times; .*censored='keep'",
        TypeError,
    ),
    "an array of two columns": (
        survive(IN_NUMBERS.to_numpy(dtype="float64")),
        "two columns, either may be the event; .*structured array",
    ),
    "three columns": (
        survive(WHEN.assign(more=1)),
        r"must have two columns, .*; got 'event' \(bool\), 'time' \(timedelta64",
    ),
    "two columns of floats": (
        survive(IN_NUMBERS.set_axis(["a", "b"], axis=1).astype("float64")),
        r"must have two columns, .*; got 'a' \(float64\), 'b' \(float64\)",
    ),
    "a column twice": (
        survive(pd.concat([WHEN["time"], WHEN["time"]], axis=1)),
        "must have two columns, .*; got columns of the same name",
    ),
    "few targets": (survive(WHEN[1:]), r"inconsistent numbers of samples: \[48, 47\]"),
    "no bins": (survive(WHEN, bins=0), r"int in the range \[1, inf\)"),
    "bins of no length": (survive(WHEN, bins="0D"), "bins must be longer than 0"),
    "bins of a second": (survive(WHEN, bins="1s"), "more than 10,000 until .*; choose"),
    "bins as text": (
        survive(WHEN, bins="weeks"),
        "bins must be a number or a length of time, .*'14D'; got 'weeks'",
    ),
    "bins that descend": (survive(WHEN, bins=[3, 2]), r"ascend, .*; got \[0.0, 3.0, 2"),
    "no edges": (survive(WHEN, bins=[]), r"edges that ascend, one beyond 0 .*got \[\]"),
    "negative bins": (survive(WHEN, bins=[-1, 2]), "finite and not negative; got -1"),
    "bins before all events": (
        survive(WHEN, bins=[1e-9]),
        "No event comes before 1e-09, where the last of the bins .*Give bins edges",
    ),
    "bins: durations of numbers": (
        survive(IN_NUMBERS, bins="7D"),
        "bins must be a number, because the times of y were plain numbers; got '7D'",
        TypeError,
    ),
    "horizon: durations of numbers": (
        partial(SURVIVAL_IN_NUMBERS.predict_proba_before, ENCODED, "7D"),
        "horizon must be a number, because the times of y were plain numbers; got '7D'",
        TypeError,
    ),
    "score: durations of numbers": (
        partial(SURVIVAL_IN_NUMBERS.score, ENCODED, WHEN),
        "times of y are durations, and were plain numbers before; divide them by",
        TypeError,
    ),
    "a horizon beyond the bins": (
        partial(SURVIVAL.predict_proba_before, ENCODED, "9000D"),
        "horizon must lie between 0 and .*nothing more is known; 48 of 48 .*as 9000",
    ),
    "horizons of few rows": (
        partial(SURVIVAL.predict_proba_before, ENCODED, [1, 2]),
        "one for all rows, or one for each; got 2 for 48 rows",
    ),
    "a negative horizon": (
        partial(SURVIVAL.predict_proba_before, ENCODED, -1.0),
        "horizon must be finite and not negative; got -1.0",
    ),
    "a curve beyond the bins": (
        partial(SURVIVAL.predict_survival_function(ENCODED)[0], [1.0, 1e6]),
        "time must lie between 0 and .*; 1 of 2 do not, such as 1e",
    ),
    "a curve at a bare number as text": (
        partial(SURVIVAL.predict_survival_function(ENCODED)[0], "7"),
        "time must be a number or a length of time, for example .*'14D'; got '7'",
    ),
    "a curve at durations of numbers": (
        partial(SURVIVAL_IN_NUMBERS.predict_survival_function(ENCODED)[0], "7D"),
        "time must be a number, because the times of y were plain numbers; got '7D'",
        TypeError,
    ),
    "times as text": (
        survive(["3 days"] * len(X)),
        "times in y must hold numbers or durations; got text, .*pd.to_timedelta makes",
        TypeError,
    ),
    "q=1": (partial(SURVIVAL.predict_quantile, ENCODED, 1), "between 0 and 1, .*got 1"),
    "q=0": (
        partial(SURVIVAL.predict_quantile, ENCODED, [0.5, 0]),
        r"Quantiles must be one or several numbers between 0 and 1.* \[0.5, 0\]",
    ),
    "score: all censored": (
        partial(SURVIVAL.score, ENCODED, WHEN.assign(event=False)),
        "No two of the 48 rows can be compared",
    ),
}

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
    "negative codes": (
        tensors(with_one("codes", -1)),
        "'codes' has 1 negative codes; 0 is the",
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
        (CLASSIFIER, "n_networks", True, r"int in the range \[1, inf\). Got True"),
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

# Queries of an event model ------------------------------------------------------------

EVENT_MODEL = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)


def ask(method, *args, **options):
    return lambda: getattr(EVENT_MODEL, method)(X, *args, **options)


def next_kind(**options):
    return ask("predict_next", "kind", **options)


def simulated(target):
    return ask("simulate_targets", target, "9D", n_paths=2)


def demand(*args, **options):
    return ask("demand", *(args or ("kind", "28D")), n_paths=2, **options)


WHOLE = r"int in the range \[1, inf\)"
EVENT_MODELS = {
    **{
        f"predict_next: n={n!r}": (next_kind(n=n), f"'n' parameter .* {WHOLE}. Got {n}")
        for n in (-1, 0, 1.5, None, True)
    },
    **{
        f"predict_next: n_draws={n!r}, {way}": (
            next_kind(n_draws=n, **way),
            f"'n_draws' parameter .* {WHOLE} or None. Got {n}",
        )
        for n in (0, 1.5, True)
        for way in ({}, {"basket": True}, {"within": "9D"})
    },
    **{
        f"{method}: n_paths={n!r}": (
            ask(method, *args, n_paths=n),
            f"'n_paths' parameter of LSTMEventModel.{method} .* {WHOLE}. Got {n}",
        )
        for n in (0, 1.5, True, None)
        for method, *args in [
            ("sample", "9D"),
            ("simulate_targets", len, "9D"),
            ("demand", "kind", "9D"),
        ]
    },
    "predict_next: basket that is text": (
        next_kind(basket="no"),
        "'basket' parameter .* must be an instance of 'bool' .* Got 'no'",
    ),
    "predict_next: exclude_seen that is text": (
        next_kind(exclude_seen="no"),
        "'exclude_seen' parameter .* must be an instance of 'bool' .* Got 'no'",
    ),
    "predict_next: no categorical field": (
        ask("predict_next", "amount"),
        r"field must be one of the categorical fields \['kind'\]; got 'amount'",
    ),
    "predict_next: within that has no unit": (
        next_kind(within="7"),
        "within must have a unit, .*'14D'; got '7'",
    ),
    "predict_next: unknown candidates": (
        next_kind(candidates=["order", "phone"]),
        "1 of 2 candidates are no values of 'kind' in training, such as 'phone'",
    ),
    "predict_next: an unknown candidate": (
        next_kind(candidates="phone"),
        "1 of 1 candidates are no values of 'kind' in training, such as 'phone'",
    ),
    "predict_next: candidates that are lists": (
        next_kind(candidates=[["order"]]),
        r"candidates must be values of 'kind', one or a list of them; got \[\['order'",
        TypeError,
    ),
    "sample: horizon of 0": (ask("sample", "0D"), "horizon must be longer than 0; got"),
    "sample: horizon without a unit": (
        ask("sample", "7"),
        "horizon must have a unit, .*'14D'; got '7'",
    ),
    "sample: horizon without an end": (
        ask("sample", np.inf),
        "horizon must be a length of time, .*; got the bare number inf",
        TypeError,
    ),
    "sample: random_state that is text": (
        ask("sample", "9D", random_state="x"),
        "'random_state' parameter of LSTMEventModel.sample .* Got 'x'",
    ),
    "sample: random_state of another generator": (
        ask("sample", "9D", random_state=np.random.default_rng(0)),
        "'random_state' parameter .* Got Generator",
    ),
    "simulate_targets: the name of a target": (
        simulated("future_count"),
        "'target' parameter of LSTMEventModel.simulate_targets must be a callable",
    ),
    "simulate_targets: a target of nothing": (
        simulated(lambda rows: None),
        r"target must return a value for each of the \d+ simulated rows; got NoneType",
        TypeError,
    ),
    "simulate_targets: a target of one number": (
        simulated(lambda rows: future_count(rows, "9D").sum()),
        r"a value for each of the \d+ simulated rows; got int",
        TypeError,
    ),
    "simulate_targets: rows and targets": (
        simulated(lambda rows: stack_horizons(rows, future_count(rows, ["1D", "9D"]))),
        r"a value for each of the \d+ simulated rows; got tuple",
        TypeError,
    ),
    "simulate_targets: a window beyond the simulation": (
        simulated(lambda rows: future_count(rows, "10D")),
        "windows of .* rows run past the end of the log.* a shorter horizon",
    ),
    "simulate_targets: such windows left out": (
        simulated(lambda rows: future_count(rows, "10D", censored="drop")),
        r"each of the \d+ simulated rows; got 0. Those of a window .*censored='nan'",
    ),
    "simulate_targets: a wrong parameter of the target": (
        simulated(lambda rows: future_count(rows, "9D", censored="no")),
        "The 'censored' parameter of future_count must be .* Got 'no'",
    ),
    "demand: no categorical field": (
        demand("amount", "28D"),
        r"field must be one of the categorical fields \['kind'\]; got 'amount'",
    ),
    "demand: a value that is no number": (
        demand(value="due"),
        r"value must be one of the numeric fields \['amount'\]; got 'due'",
    ),
    "demand: no column": (
        demand(by="region"),
        r"by must be one of the columns of X, \['who', .*\]; got 'region'",
    ),
    "demand: two columns": (
        demand(by=["city", "age"]),
        r"by must be one of the columns of X, .*; got \['city', 'age'\]",
    ),
    "demand: groups of histories": (
        demand(by="history"),
        "The values of column 'history' cannot be groups; choose a column of text",
        TypeError,
    ),
    "demand: a shorter period at the end": (
        demand(every="8D"),
        "horizon must be a multiple of every, .* got horizon='28D' and every='8D'",
    ),
    "demand: a period longer than the horizon": (
        demand(every="56D"),
        "horizon must be a multiple of every, .* got horizon='28D' and every='56D'",
    ),
    "demand: periods of 0": (demand(every="0D"), "every must be longer than 0"),
    "demand: periods that are numbers": (
        demand(every=7),
        "every must be a length of time, .*; got the bare number 7",
        TypeError,
    ),
    "demand: an interval in percent": (
        demand(interval=90),
        r"'interval' parameter .* float in the range \(0.0, 1.0\). Got 90",
    ),
    "zero rows": (
        lambda: EVENT_MODEL.demand(X[:0], "kind", "28D"),
        "X has no rows; LSTMEventModel needs at least one",
    ),
}

# All of them --------------------------------------------------------------------------

REFUSED = {
    "EventLog": LOGS,
    "targets, splits, RFM": TARGETS,
    "pipeline.predict": PREDICT,
    "pipeline.fit": FIT,
    "targets and weights": NUMERIC_TARGETS_AND_WEIGHTS,
    "when events come": SURVIVAL_TARGETS,
    "networks": NETWORK,
    "padded tensors": TENSORS,
    "parameters": PARAMETERS,
    "event models": EVENT_MODELS,
}


@pytest.mark.parametrize(
    ("where", "case"), [(where, case) for where in REFUSED for case in REFUSED[where]]
)
def test_refused(where, case):
    error = refused(*REFUSED[where][case])
    assert not re.search(r"\{[a-z]", str(error)), "a place is left open"


# Odd input that is no error -----------------------------------------------------------


def test_odd_all_histories_empty():
    """A warning, and a model of the statics alone."""
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


def test_odd_unknown_customers():
    """Predicted like customers who have done nothing yet."""
    rows = make_rows().assign(who=[f"stranger {i}" for i in range(len(X))])
    with pytest.warns(UserWarning, match="None of the 48 customers .* in the log"):
        strangers = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    assert not strangers["history"].array.lengths.any()
    shares = FITTED.predict_proba(strangers)
    assert np.isfinite(shares).all()
    # Like customers who have done nothing yet.
    nothing = (X["history"].array.lengths == 0).nonzero()[0]
    expected = FITTED.predict_proba(X.iloc[nothing])
    np.testing.assert_allclose(shares[nothing], expected, rtol=1e-5, atol=1e-5)


def test_odd_unseen_levels():
    """Predicted like missing ones."""
    events = make_events()
    other = attach(events.assign(kind="never heard of")).assign(city="Atlantis")
    shares = FITTED.predict_proba(other)
    assert np.isfinite(shares).all()
    missing = FITTED.predict_proba(
        attach(events.assign(kind="nor of that")).assign(city="nor there")
    )
    np.testing.assert_array_equal(shares, missing)


def test_odd_infinite_numbers_in_fields():
    """Read as missing."""
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


def test_odd_huge_numbers_in_fields():
    """Clipped to the range of training."""
    huge = attach(make_events().assign(amount=1e300))
    assert np.isfinite(FITTED.predict_proba(huge)).all()


def test_odd_one_row():
    """Predicted as it is among others."""
    one = FITTED.predict_proba(X.iloc[[7]])
    np.testing.assert_allclose(one, FITTED.predict_proba(X)[[7]], rtol=1e-5)


def test_odd_constant_target_of_a_regressor():
    """Predicted everywhere, but for what two epochs leave of the first weights."""
    model = make_history_pipeline(LSTMRegressor(**SMALL)).fit(X, np.full(len(X), 7.5))
    np.testing.assert_allclose(model.predict(X), 7.5, atol=0.3)


def test_odd_one_row_to_fit_a_regressor():
    """Its target is predicted for it."""
    longest = X.iloc[[X["history"].array.lengths.argmax()]]
    model = make_history_pipeline(LSTMRegressor(**SMALL)).fit(longest, [7.5])
    np.testing.assert_allclose(model.predict(longest), 7.5, atol=0.3)
    assert np.isfinite(model.predict(X)).all()


def test_odd_times_in_several_zones():
    """Read as the moments that they are."""
    zones = ["Asia/Tokyo", "Europe/Paris", "America/Lima"]
    there = [t.tz_convert(zones[i % 3]) for i, t in enumerate(AWARE)]
    log = build(when=pd.Series(there, dtype=object))()
    rows = ROWS.assign(at=ROWS["at"].dt.tz_localize("UTC"))
    same = log.attach(rows, cutoff="at")["history"]
    assert same.array.lengths.tolist() == X["history"].array.lengths.tolist()


# The table ----------------------------------------------------------------------------


def table():
    """Lines of a Markdown table of all of the above."""
    yield "| Where | Bad input | What a user reads |"
    yield "|---|---|---|"
    for where, cases in REFUSED.items():
        for case, how in cases.items():
            error = refused(*how)
            text = " ".join(str(error).replace("|", "\\|").split())
            yield f"| {where} | {case} | {type(error).__name__}: {text} |"
    for name, test in globals().items():
        if name.startswith("test_odd_"):
            test()
            case = name.removeprefix("test_odd_").replace("_", " ")
            yield f"| pipeline | {case} | No error: {getdoc(test)} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*table(), sep="\n")
