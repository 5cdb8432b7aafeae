"""Cutoffs after the end of a log with many events, of a known end, or of one kind."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog

ROWS = pd.DataFrame({"who": [0]})
START = pd.Timestamp("2024-01-01")


def log_of(days, **options):
    """Return a log with an event of customer 0 on each of some days."""
    time = START + pd.to_timedelta(days, unit="D")
    return EventLog(pd.DataFrame({"who": 0, "time": time}), "who", "time", **options)


def look_silently(log, cutoff):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.attach(ROWS, cutoff=cutoff)


def assert_limit(log, limit, match="cutoffs lie after"):
    """Check that a cutoff at a limit is silent, and that one of an hour later warns."""
    limit = pd.Timestamp(limit)
    look_silently(log, limit)
    later = limit + pd.Timedelta("1h")
    with pytest.warns(UserWarning, match=match):
        log.attach(ROWS, cutoff=later)
    with pytest.warns(UserWarning, match=match):
        log.snapshots([later])


def test_a_day_after_a_given_end():
    """The date given may be the midnight before, or after, the last day."""
    log = log_of([0, 300], observed_until="2024-12-01")
    match = "1 of 1 cutoffs lie after 2024-12-01 00:00:00, observed_until, up to"
    assert_limit(log, "2024-12-03", match)


def test_a_week_after_events_on_each_day():
    assert_limit(log_of(np.arange(100)), "2024-04-17")  # the last day ends at 04-10
    look_silently(log_of(np.arange(99)), "2024-05-09")


def test_twice_the_longest_silence():
    days = np.r_[np.arange(50), np.arange(55, 105)]  # 6 days from event to event
    assert_limit(log_of(days), "2024-04-27")


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_times_within_days(unit):
    hours = START + pd.to_timedelta(np.arange(0, 2400, 7), unit="h")
    events = pd.DataFrame({"who": 0, "time": hours.as_unit(unit)})
    log = EventLog(events, "who", "time")
    assert_limit(log, events["time"].max() + pd.Timedelta("7D"))


def test_a_month_after_few_events():
    assert_limit(log_of([0, 100]), START + pd.Timedelta("132D"))


def test_the_kind_that_ends_first():
    """A merged log is observed until the end of the kind that ends first."""
    logs = {"order": log_of(np.arange(120)), "mail": log_of(np.arange(115))}
    merged = EventLog.concat(logs)
    match = "until which events of kind 'mail' were recorded, up to"
    assert merged.timeline.observation.limited_by == "mail"
    assert_limit(merged, START + pd.Timedelta(days=114 + 1 + 7), match)
    # Mails of every sixth day are silent for up to 12 days.
    logs = {"order": log_of(np.arange(620)), "mail": log_of(np.arange(0, 613, 6))}
    look_silently(EventLog.concat(logs), START + pd.Timedelta("624D"))
