"""Merged logs without one kind of events, in place of a table without rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.preprocessing import HistoryEncoder


def table(columns, n=120, seed=0):
    """Return events of 20 customers on 30 days."""
    rng = np.random.default_rng(seed)
    keys = {"who": rng.integers(0, 20, n), "day": rng.integers(0, 30, n)}
    return pd.DataFrame(keys | {name: rng.choice(v, n) for name, v in columns.items()})


ORDERS = table({"price": [5.0, 8.0, 9.0], "item": ["a", "b"]})
RETURNS = table({"reason": ["size", "color"], "price": [-5.0]}, n=40, seed=1)
VISITS = table({"seconds": [1.0, 2.0]}, seed=2)


def rows(**tables):
    """Return a row for each customer on day 30 from a merged log."""
    logs = {name: EventLog(one, "who", "day") for name, one in tables.items()}
    log = EventLog.concat(logs, observed_until=29)
    return log.attach(pd.DataFrame({"who": range(20)}), cutoff=30)


TRAINING = rows(order=ORDERS, returned=RETURNS, visit=VISITS)
MODEL = LSTMEventModel(hidden_size=4, max_epochs=2, random_state=0).fit(TRAINING)
ENCODER = HistoryEncoder().fit(TRAINING)
AGGREGATOR = HistoryAggregator().fit(TRAINING)
ASK = {
    "aggregator": AGGREGATOR.transform,
    "encoder": lambda X: pd.DataFrame(encoded(X)),
    "score": lambda X: MODEL.score_events(X),
    "sample": lambda X: MODEL.sample(X, 5, n_paths=2, random_state=0),
    "next": lambda X: MODEL.predict_next(X, "item", exclude_seen=True),
    "next reason": lambda X: MODEL.predict_next(X, "reason"),
}


def encoded(X):
    """Return the channels and codes of the events that rows see."""
    array = ENCODER.transform(X)["history"].array
    at = np.concatenate(
        [np.arange(*ends) for ends in zip(*array.rows[2:4], strict=True)]
    )
    return np.column_stack([array.log.channels[at], array.log.codes[at]])


@pytest.mark.parametrize("ask", ASK)
def test_fields_of_absent_kinds_are_missing(ask):
    """As for the customers of a log with all kinds who have none of these events."""
    late = RETURNS.assign(day=35), VISITS.assign(day=35)  # after the cutoff
    whole = rows(order=ORDERS, returned=late[0], visit=late[1])
    assert_frame_equal(ASK[ask](rows(order=ORDERS)), ASK[ask](whole))


def test_a_log_on_a_disk(tmp_path):
    X = rows(order=ORDERS, visit=VISITS)
    X["history"].array.log.to_disk(tmp_path / "log")
    on_disk = EventLog.open(tmp_path / "log").attach(X[["who"]], cutoff=30)
    assert_array_equal(encoded(on_disk), encoded(X))


def test_training_goes_on():
    model = LSTMEventModel(hidden_size=4, random_state=0).partial_fit(TRAINING)
    model.partial_fit(rows(order=ORDERS, returned=RETURNS))
    assert np.isfinite(model.score(TRAINING))


@pytest.mark.parametrize(
    ("tables", "lost"),
    [
        ({"order": ORDERS.drop(columns="price")}, "price"),
        # An event of an unknown kind may have any field.
        ({"order": ORDERS, "gift": VISITS}, "reason"),
        ({"order": ORDERS.assign(price=1.0), "visit": VISITS[["who", "day"]]}, "sec"),
    ],
)
@pytest.mark.parametrize("fitted", [MODEL, ENCODER])
def test_fields_of_kinds_in_the_log_are_needed(fitted, tables, lost):
    message = (
        rf"lacks the fields \['{lost}.*Merge it by EventLog.concat from logs of the sa"
        r".*'visit': \['seconds'\]}; only a kind without events may be left out"
    )
    with pytest.raises(ValueError, match=message):
        fitted.transform(rows(**tables))


def test_aggregates_need_fields_of_kinds_in_the_log():
    with pytest.raises(ValueError, match="lack the field 'item' that they had in fit"):
        AGGREGATOR.transform(rows(order=ORDERS.drop(columns="item")))


def test_a_log_without_kinds_is_not_merged():
    log = EventLog(ORDERS, "who", "day", observed_until=29)
    X = log.attach(pd.DataFrame({"who": range(20)}), cutoff=30)
    with pytest.raises(ValueError, match=r"lacks the fields \['event', .*Merge it by"):
        MODEL.score(X)
