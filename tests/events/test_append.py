import re

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog


def test_append_equals_the_log_of_both_tables(events, log):
    more = pd.DataFrame(
        {
            "customer": ["zoe", "ann", "ann"],
            "day": pd.to_datetime(["2024-01-01", "2024-01-05", "2023-12-31"]),
            "x": [6.0, 7.0, 8.0],
        }
    )
    more["day"] = more["day"].dt.as_unit("us")
    joint = log.append(more)
    expected = EventLog(pd.concat([events, more]), "customer", "day")
    pd.testing.assert_frame_equal(joint.to_frame(), expected.to_frame())
    assert joint.to_frame()["x"].tolist() == [8, 2, 1, 7, 5, 4, 0, 3, 6]
    assert joint.observed_until == expected.observed_until
    pd.testing.assert_index_equal(joint.customers, expected.customers)


def test_append_leaves_the_log_and_its_histories_as_they_were(events, log):
    X = log.attach(pd.DataFrame({"customer": ["ann"]}))
    before, n_events = X["history"].array.to_frame(), len(log)
    joint = log.append(events.assign(day=pd.Timestamp("2023-01-01")))
    pd.testing.assert_frame_equal(X["history"].array.to_frame(), before)
    assert len(log) == n_events
    assert len(joint) == 2 * n_events


@pytest.mark.parametrize(
    ("unit", "more"),
    [
        ("s", pd.to_datetime(["2024-01-05", "2024-01-03"]).as_unit("ns")),
        ("ns", pd.to_datetime(["2024-01-05", "2024-01-03"]).as_unit("s")),
        ("us", pd.array(["2024-01-05", "2024-01-03"], "timestamp[ns][pyarrow]")),
    ],
)
def test_append_takes_times_of_another_unit(events, unit, more):
    events["day"] = events["day"].dt.as_unit(unit)
    log = EventLog(events, "customer", "day")
    joint = log.append(
        pd.DataFrame({"customer": ["ann", "ann"], "day": more, "x": [6, 7]})
    )
    assert joint.timeline.clock == log.timeline.clock
    assert joint.to_frame()["x"].tolist() == [2, 7, 1, 6, 5, 4, 0, 3]


def test_append_of_times_that_the_unit_of_a_field_cannot_hold():
    first = pd.DataFrame({"customer": ["a"], "time": [1]})
    log = EventLog(
        first.assign(due=np.datetime64("2024-01-01", "ns")), "customer", "time"
    )
    with pytest.raises(ValueError, match="'due' has times of the unit 'ns' in one log"):
        log.append(first.assign(due=np.datetime64("9999-12-31", "us")))


def test_a_record_of_days_and_of_moments():
    """Only where all are whole days does the record reach to the end of the last."""
    days = pd.DataFrame({"customer": ["a"], "time": pd.to_datetime(["2024-01-02"])})
    later = days.assign(time=pd.Timestamp("2024-01-05"))
    moments = days.assign(time=pd.Timestamp("2024-01-04 10:00"))
    log = EventLog(days, "customer", "time")
    assert log.append(later).timeline.record.in_days
    assert not log.append(moments).append(later).timeline.record.in_days
    assert (
        not EventLog(moments, "customer", "time").append(later).timeline.record.in_days
    )


def test_append_unites_categories_and_observed_until():
    first = pd.DataFrame({"customer": ["a"], "time": [1], "item": ["shoe"]})
    more = pd.DataFrame({"customer": ["a", "b"], "time": [0, 2], "item": ["hat", None]})
    log = EventLog(first, "customer", "time", observed_until=9).append(more)
    assert log.to_frame()["item"].tolist() == ["hat", "shoe", np.nan]
    assert log.column("item").categories.tolist() == ["hat", "shoe"]
    assert log.observed_until == 9


BAD_APPENDS = {
    "finer times": (
        {"day": pd.to_datetime(["2024-01-05 00:00:00.5"])}, ValueError,
        "times in column 'day' of more are finer than the unit s of the log, so that "
        "they would be rounded; build a new log from all tables.",
    ),
    "aware times": (
        {"day": pd.to_datetime(["2024-01-05"], utc=True)}, ValueError,
        "times in column 'day' of more are time-zone aware datetimes, but the times of "
        "the log are naive datetimes; tz_convert(None) makes naive datetimes of aware "
        "ones.",
    ),
    "a field less": (
        {"x": None}, KeyError, "events has no columns ['x'] for fields",
    ),
    "a field of another kind": (
        {"x": ["red"]}, ValueError,
        "Field 'x' is categorical in one log and numeric in another; give it one type "
        "before building the logs.",
    ),
    "customers of another type": (
        {"customer": [7]}, TypeError,
        "Column 'customer' mixes values of the types int, str",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_APPENDS)
def test_bad_appends(events, case):
    change, error, text = BAD_APPENDS[case]
    events["day"] = events["day"].dt.as_unit("s")
    more = {"customer": ["ann"], "day": events["day"][:1], "x": [1.0], **change}
    more = pd.DataFrame(
        {key: value for key, value in more.items() if value is not None}
    )
    with pytest.raises(error, match=re.escape(text)):
        EventLog(events, "customer", "day").append(more)
