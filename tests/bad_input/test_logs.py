"""Logs, histories, targets and splits that are refused."""

from decimal import Decimal
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    stack_horizons,
    time_to_next,
)
from tests.bad_input.inputs import (
    AWARE,
    EVENTS,
    LOG,
    NUMBERS,
    ROWS,
    X,
    attach,
    build,
    check_refused,
    rows_with,
    without,
)

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
    "customers instead of their column": (
        partial(EventLog, EVENTS, EVENTS["who"], "when"),
        "customer must be the name of a column .* got values of the type Series",
        TypeError,
    ),
    "times instead of their column": (
        partial(EventLog, EVENTS, "who", EVENTS["when"].to_numpy()),
        "time must be the name of a column .* got values of the type ndarray",
        TypeError,
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
    "a Series": (
        partial(EventLog, EVENTS["amount"], "who", "when"),
        r"events must be .*; got pandas.*Series\. Its to_frame\(\) makes a table",
        TypeError,
    ),
    "a list of events": (
        partial(EventLog, EVENTS.to_dict("records"), "who", "when"),
        r"events must be .*; got .*list\. pd.DataFrame\(...\) makes a table of it",
        TypeError,
    ),
    "customers as the index": (
        partial(EventLog, EVENTS.set_index("who"), "who", "when"),
        r"no customer column 'who'; it has .* in the index, of which .reset_index\(\)",
        KeyError,
    ),
    "names of several levels": (
        partial(
            EventLog, pd.concat({"a": EVENTS}, axis=1), ("a", "who"), ("a", "when")
        ),
        r"not text, \[\('a', 'who'\), .* by events.columns = \['_'.join\(map\(",
        TypeError,
    ),
    "an integer beyond the floats": (
        build(amount=pd.Series([10**400] * len(EVENTS), dtype=object)),
        r"Field 'amount' holds an integer .* too large .*, list 'amount' in catego",
    ),
    "a field of several types": (
        build(amount=EVENTS["amount"].astype(object).where(EVENTS.index > 0, "much")),
        r"'amount' mixes values .* float, str; make them one type, .*astype\(str\)",
        TypeError,
    ),
    "a field of lists of text": (
        build(amount=[["a"]] * len(EVENTS)),
        "'amount' of events holds values of the type list of string, .* leave the col",
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
        lambda: EventLog.concat({"a": LOG, "b": build(when=AWARE, due=AWARE)()}),
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
        "'who' of rows are of the type int64, .* no id would match; cast them: ",
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
    "attach: customers instead of their column": (
        partial(LOG.attach, ROWS, ROWS["who"], "at"),
        "customer must be the name of a column of rows, such as 'id'; got values",
        TypeError,
    ),
    "attach: customers as the index": (
        partial(LOG.attach, ROWS.set_index("who"), cutoff="at"),
        r"rows has no customer column 'who'; it has .*reset_index\(\) makes columns",
        KeyError,
    ),
    "attach: cutoffs as the index": (
        partial(LOG.attach, ROWS.set_index("at"), cutoff="at"),
        r"cutoff='at' is neither a column of rows, .*reset_index\(\) makes columns",
        KeyError,
    ),
    "attach: a Series of ids": (
        partial(LOG.attach, ROWS["who"]),
        r"rows must be .*; got pandas.*Series\. Its to_frame\(\) makes a table",
        TypeError,
    ),
    "attach: a Series of cutoffs": (
        partial(LOG.attach, ROWS[["who"]], cutoff=ROWS["at"]),
        r"cutoff must be a column of rows or one time .* rows.assign\(cutoff=...\) and",
        TypeError,
    ),
    "attach: the name is taken": (
        partial(LOG.attach, X, cutoff="at"),
        "a column 'history' already; choose another name with name=",
    ),
    "snapshots: a generator": (
        partial(LOG.snapshots_at_random, random_state=np.random.default_rng(0)),
        r"random_state must be an int, .*; got a Generator\. int\(rng.integers\(",
        TypeError,
    ),
    "snapshots: a text as seed": (
        partial(LOG.snapshots_at_random, random_state="a"),
        "random_state must be an int, .*; got a str",
        TypeError,
    ),
    "concat: no log": (
        partial(EventLog.concat, {}),
        "logs must be a dict that names the kind .*; got an empty one",
        TypeError,
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
        r"horizon names 1 of its 2 horizons more than once: 30 days 00:00:00\. Each",
    ),
    "a horizon for each row": (
        partial(future_count, X, [pd.Timedelta("9D")] * len(X), censored="nan"),
        "names 1 of its 48 .*; horizons that differ from row to row need a call for ",
    ),
    "several windows beyond the log": (
        partial(churned, X, horizon=["1D", "3000D"]),
        "windows of 48 of 48 rows run past the end of the log, the first in the rows",
    ),
    "stack_horizons: rows that were dropped": (
        lambda: stack_horizons(X, future_count(X.iloc[:5], ["1D", "2D"])),
        r"X has 48 rows and y 5, and their indexes differ: .*X.loc\[y.index\]",
    ),
    "stack_horizons: a target of one horizon": (
        lambda: stack_horizons(X, time_to_next(X, "2D")),
        r"columns of y must be the horizons, .*; they are \['event', 'time'\]. future",
        TypeError,
    ),
    "stack_horizons: horizons as text": (
        lambda: stack_horizons(X, future_count(X, ["1D", "2D"]).rename(columns=str)),
        r"must be the horizons.*'1 days 00:00:00', .*; pd.to_timedelta\(y.columns\) ma",
        TypeError,
    ),
    "stack_horizons: a horizon twice": (
        lambda: stack_horizons(X, pd.concat([future_count(X, ["1D"])] * 2, axis=1)),
        r"y has several columns for the horizons \[Timedelta\('1 days",
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
        "'amount' .* is categorical, but was numeric in fit; give it that type before",
        TypeError,
    ),
}

REFUSED = [LOGS, TARGETS]


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, id=case) for cases in REFUSED for case, how in cases.items()],
)
def test_refused(how):
    check_refused(*how)


def test_decimals_of_a_negative_scale():
    prices = pa.array([Decimal(1200)], pa.decimal128(10, -2))
    events = pa.table({"who": ["a"], "time": [1], "price": prices})
    try:  # older versions of narwhals read them
        assert EventLog(events, "who", "time").to_frame()["price"].tolist() == [1200]
    except ValueError as error:
        assert "Field 'price' of events has an Arrow type" in str(error)  # noqa: PT017
