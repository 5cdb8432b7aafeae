"""Small data, models fitted on it, and the check that a call is refused."""

import re
from functools import partial

import numpy as np
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)
from tests.small_networks import SMALL

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


def build(**changed):
    return partial(EventLog, EVENTS.assign(**changed), "who", "when")


def rows_with(**changed):
    return partial(LOG.attach, ROWS.assign(**changed), cutoff="at")


NUMBERS = np.arange(len(EVENTS), dtype="float64")
AWARE = EVENTS["when"].dt.tz_localize("UTC")


def check_refused(call, message, error=ValueError):
    """Call it and compare the error, in whose text no placeholder may be left."""
    found = refused(call, message, error)
    assert not re.search(r"\{[a-z]", str(found)), "a placeholder is left"
