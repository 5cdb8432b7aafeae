"""Datetime fields of logs whose times have a time zone."""

import datetime

import pandas as pd

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import next_value


def test_datetimes_are_in_utc_if_times_have_a_zone():
    """A log of what another one returns is equal to it, and warns of nothing."""
    local = pd.to_datetime(["2024-01-01 00:30", "2024-01-05 12:00", None])
    events = pd.DataFrame({"who": [1, 1, 1], "time": local[[0, 1, 1]], "due": local})
    for name in ("time", "due"):
        events[name] = events[name].dt.tz_localize("Europe/Berlin")
    events["posted"] = local.normalize()  # a date has no zone
    log = EventLog(events, "who", "time")
    X = log.attach(pd.DataFrame({"who": [1]}), cutoff=events["time"][1])
    assert next_value(X, "due").tolist() == [events["due"][1]]
    assert next_value(X, "due").dt.tz == datetime.UTC
    found = log.to_frame()
    assert found["due"].tolist() == events["due"].tolist()
    assert found["posted"].tolist() == events["posted"].dt.tz_localize("UTC").tolist()
    assert X["history"].array.to_frame()["due"].dt.tz == datetime.UTC
    pd.testing.assert_frame_equal(EventLog(found, "who", "time").to_frame(), found)
