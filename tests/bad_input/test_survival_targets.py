"""Survival targets that are refused, and those that are not."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.targets import (
    time_to_next,
)
from tests.bad_input.inputs import (
    ENCODED,
    SMALL,
    X,
    check_refused,
    without,
)

WHEN = time_to_next(X, censored="keep")
SURVIVAL = LSTMSurvival(**SMALL, bins=5).fit(ENCODED, WHEN)
IN_NUMBERS = WHEN.assign(time=WHEN["time"] / pd.Timedelta("1D"))
SURVIVAL_IN_NUMBERS = LSTMSurvival(**SMALL, bins=5).fit(ENCODED, IN_NUMBERS)


def survive(y, **options):
    return partial(LSTMSurvival(**SMALL, **options).fit, ENCODED, y)


def at(*values):
    return IN_NUMBERS.assign(time=without(IN_NUMBERS["time"], *values))


SURVIVAL_TARGETS = {
    "no rows": (survive(WHEN[:0]), r"no times \(n_samples=0\)"),
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
    "infinite kinds": (
        survive(IN_NUMBERS.assign(event=np.where(WHEN.index == 3, np.inf, 1.0))),
        "1 of 48 are other values, such as inf",
    ),
    "censored='nan'": (
        survive(time_to_next(X, censored="nan")),
        r"for \d+ of 48 rows, it is unknown .*\. time_to_next\(X, censored='keep'\)",
    ),
    "all censored": (
        survive(WHEN.assign(event=False)),
        "None of the 48 rows has an event, .*Use a longer horizon or earlier cutoffs",
    ),
    "half an event": (
        survive(WHEN.assign(event=0.5)),
        "must be 0 if censored and 1, 2, .*; 48 of 48 .*, such as 0.5",
    ),
    "negative kinds": (survive(WHEN.assign(event=-1)), "1, 2, ... .* such as -1"),
    "kinds as text": (
        survive(WHEN.assign(event="order")),
        "must be booleans, or whole numbers for their kinds; got the type",
        TypeError,
    ),
    "events alone": (
        survive(WHEN["event"]),
        "event indicators without times; .*censored='keep'",
        TypeError,
    ),
    "an array of two columns": (
        survive(IN_NUMBERS.to_numpy(dtype="float64")),
        "does not show which one is the event; .*structured array",
    ),
    "three columns": (
        survive(WHEN.assign(more=1)),
        r"must have two columns: .*; got 'event' \(bool\), 'time' \(timedelta64",
    ),
    "two columns of floats": (
        survive(IN_NUMBERS.set_axis(["a", "b"], axis=1).astype("float64")),
        r"must have two columns: .*; got 'a' \(float64\), 'b' \(float64\)",
    ),
    "a column twice": (
        survive(pd.concat([WHEN["time"], WHEN["time"]], axis=1)),
        "must have two columns: .*; got columns of the same name",
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
        "horizon must lie between 0 and .*, where the last bin of training ends and "
        "nothing more is known; 48 of 48 .*as 9000",
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
        "time must have a unit, for example .*'14D'; got '7'",
    ),
    # pandas reads "6MS" as milliseconds.
    "bins of months": (
        survive(WHEN, bins="6MS"),
        "bins must be a number or a length of time, .*'6MS'. Months and years differ",
    ),
    "a curve at months": (
        partial(SURVIVAL.predict_survival_function(ENCODED)[0], "6MS"),
        "time must be a number or a length of time, .*'6MS'. Months and years differ",
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
    "q as text": (
        partial(SURVIVAL.predict_quantile, ENCODED, "0.5x"),
        "Quantiles must be one or several numbers between 0 and 1.* got '0.5x'",
    ),
    "times as return_array": (
        partial(SURVIVAL.predict_survival_function, ENCODED, [7, 14]),
        r"return_array must be True or False; got \[7, 14\]. Curves take times: ",
        TypeError,
    ),
    "a time as return_array": (
        partial(SURVIVAL.predict_cumulative_hazard_function, ENCODED, 1),
        "return_array must be True or False; got 1. Curves take times: ",
        TypeError,
    ),
    "score: all censored": (
        partial(SURVIVAL.score, ENCODED, WHEN.assign(event=False)),
        "No two of the 48 rows are comparable",
    ),
}


@pytest.mark.parametrize("case", SURVIVAL_TARGETS)
def test_refused(case):
    check_refused(*SURVIVAL_TARGETS[case])


@pytest.mark.parametrize("network", [LSTMClassifier, LSTMRegressor])
def test_other_networks_refuse_structured_targets(network):
    y = IN_NUMBERS.to_records(index=False)
    with pytest.raises(TypeError, match=r"\['event', 'time'\], the target of survival"):
        network(**SMALL).fit(ENCODED, y)


NUMBERS = pd.Series(range(len(ENCODED)), ENCODED.index) % 3 + 1.0


@pytest.mark.parametrize(
    ("name", "method", "values"),
    [
        ("horizon", SURVIVAL_IN_NUMBERS.predict_proba_before, [NUMBERS]),
        ("y", SURVIVAL_IN_NUMBERS.score, [IN_NUMBERS]),
        ("sample_weight", SURVIVAL_IN_NUMBERS.score, [IN_NUMBERS, NUMBERS]),
    ],
)
def test_series_whose_rows_are_in_another_order(name, method, values):
    """Rows are matched by position, and who wanted something else is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(ENCODED, *values)
    with pytest.warns(UserWarning, match=f"{name} has the index of X in another"):
        method(ENCODED, *values[:-1], values[-1][::-1])
