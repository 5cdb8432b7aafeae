"""Valid input, from which each case changes one thing, and the check of an error."""

import re
from functools import partial

import numpy as np
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
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


def cases_of(tables):
    """Return the names of a table of cases and of a case in it, for `parametrize`."""
    return [(where, case) for where in tables for case in tables[where]]


def refused(call, message, error=ValueError):
    """Return the error of a call, whose text the whole pattern must match."""
    with pytest.raises(error, match=f"(?s){message}") as caught:
        call()
    assert not re.search(r"\{[a-z]", str(caught.value)), "a place is left open"
    return caught.value


def build(**changed):
    return partial(EventLog, EVENTS.assign(**changed), "who", "when")


AWARE = EVENTS["when"].dt.tz_localize("UTC")
