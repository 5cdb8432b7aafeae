"""Views of rows after their visible segments were concatenated."""

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import starts_in_segments, visible_segments
from sklearn_seqcrm._store import rows_of_kinds
from sklearn_seqcrm.events import EventLog
from tests.events.reference import histories

EVENTS = pd.DataFrame(
    {
        "customer": [*"aaa", *"bbb"],
        "time": [1, 2, 3, 4, 5, 6],
        "x": range(6),
        "kind": ["order", "click"] * 3,
    }
)
# Of a and of b one row without an event, before all others or after a lookback.
ROWS = pd.DataFrame({"customer": [*"abab"], "cutoff": [1, 9, 4, 7]})


def test_an_empty_history_starts_within_the_visible_segment():
    X = EventLog(EVENTS, "customer", "time").attach(ROWS, cutoff="cutoff", lookback=2)
    assert histories(X) == [[], [], [1, 2], [4, 5]]
    rows = X["history"].array.rows
    seen = visible_segments(rows)
    start = starts_in_segments(seen, rows, np.array([0, 2, 4]))
    assert start.tolist() == [0, 2, 0, 2]


def test_a_customer_without_visible_events_has_an_empty_segment():
    X = EventLog(EVENTS, "customer", "time").attach(ROWS[:2], cutoff=4, lookback=2)
    X = X.assign(history=X["history"].array[[1, 0]])
    rows = X["history"].array.rows
    assert starts_in_segments(
        visible_segments(rows), rows, np.array([0, 2, 2])
    ).tolist() == [
        2,
        0,
    ]


def test_empty_histories_stay_empty_without_some_kinds():
    log = EventLog(EVENTS, "customer", "time")
    X = log.attach(ROWS, cutoff="cutoff", lookback=2)
    rows = rows_of_kinds(X["history"].array.rows, log.column("kind"), "click")
    assert (rows.stop - rows.start).tolist() == [0, 0, 1, 1]
    begin, end = rows.log.timeline.offsets[[rows.codes, rows.codes + 1]]
    assert (begin <= rows.start).all()
    assert (rows.stop <= end).all()
