"""Rows with cutoffs at events, and transformers with deliberate leaks."""

from functools import cache

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.testing._small_data import make_events, make_rows


def tied_rows():
    """Rows, every other of which has its cutoff at an event of its customer."""
    rows = make_rows().reset_index(drop=True)
    times = make_events().groupby("who")["when"].agg(list)
    for i in range(0, len(rows), 2):
        own = times.get(rows["who"][i], [])
        if len(own):
            rows.loc[i, "at"] = own[i % len(own)]
    return rows


@cache
def _table():
    return EventLog(make_events(), "who", "when").attach(tied_rows(), cutoff="at")


def table():
    """Tied rows, whose histories end before the events at their cutoffs."""
    return _table().copy()


def views(X, name="history"):
    array = X[name].array
    return array.log, array.rows


def amounts(log):
    values = log.column("amount").values
    return np.where(np.isfinite(values), values, 0)


def beyond_stop(X):
    """Whether there is one more event after those that the row shows."""
    log, rows = views(X)
    known = rows.codes >= 0
    end = np.where(known, log.timeline.offsets[rows.codes + 1], 0)
    return pd.DataFrame({"leak": end > rows.stop, "fine": rows.stop - rows.start})


def time_to_the_next(X):
    log, rows = views(X)
    times = np.append(log.timeline.times, 0)
    return pd.DataFrame({"leak": times[rows.stop] - rows.cutoff, "fine": 1.0})


def at_the_cutoff(X):
    """Number of events up to the cutoff and at it."""
    log, rows = views(X)
    upto = log.timeline.positions(rows.codes, rows.cutoff, after=True)
    return pd.DataFrame({"leak": upto - rows.start, "fine": rows.stop - rows.start})


def share_of_the_total(X):
    log, rows = views(X)
    counts = np.append(log.timeline.counts, 1)[rows.codes]
    seen = rows.stop - rows.start
    return pd.DataFrame({"leak": seen / counts, "fine": seen})


def global_mean(X):
    """The sum of the amounts of a row, less the mean of the log."""
    log, rows = views(X)
    sums = np.append(0, np.cumsum(amounts(log)))
    seen = sums[rows.stop] - sums[rows.start]
    seen = seen.round(6)
    return pd.DataFrame({"leak": seen - amounts(log).mean(), "fine": seen})


def who_will_come(X):
    """Whether the customer is known to the log, if only from later on."""
    _, rows = views(X)
    return pd.DataFrame({"leak": rows.codes >= 0, "fine": rows.cutoff})


def end_of_record(X):
    log, rows = views(X)
    left = log.timeline.observed_until - rows.cutoff
    return pd.DataFrame({"leak": left, "fine": rows.cutoff})


def next_kind(X):
    """Text: what kind the next event has."""
    log, rows = views(X)
    kind = np.append(log.column("kind").to_pandas(aware=False).astype(object), None)
    return pd.DataFrame({"leak": kind[rows.stop], "fine": "text"})


def over_all_rows_of_a_customer(X):
    """The number of events of the customer's last row, in all rows."""
    seen = X["history"].array.lengths
    most = pd.Series(seen).groupby(X["who"].to_numpy()).transform("max")
    return pd.DataFrame({"leak": most, "fine": seen})


def codes_of_the_log(X):
    """Codes of all levels, also of those that only later events have."""
    log, rows = views(X)
    codes = np.append(log.column("kind").values, -1)
    last = np.where(rows.stop > rows.start, rows.stop - 1, -1)
    return pd.DataFrame({"leak": codes[last], "fine": rows.stop - rows.start})


LEAKS = [
    beyond_stop,
    time_to_the_next,
    at_the_cutoff,
    share_of_the_total,
    global_mean,
    who_will_come,
    end_of_record,
    next_kind,
    codes_of_the_log,
    over_all_rows_of_a_customer,
]


METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
)


class Estimator(TransformerMixin, BaseEstimator):
    """Estimator whose given methods are all one function of X."""

    def __init__(self, make, methods=("transform",)):
        self.make = make
        self.methods = methods

    def fit(self, X, y=None):
        return self

    def __getattribute__(self, name):
        get = object.__getattribute__
        if name in METHODS:
            if name not in get(self, "methods"):
                raise AttributeError(name)
            return get(self, "make")
        return get(self, name)
