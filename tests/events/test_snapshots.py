"""Regular, per-event and random snapshots. Listed cutoffs are in test_attach.py."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog

EVENTS = pd.DataFrame(
    {
        "who": ["a", "a", "a", "a", "b", "c", "c"],
        "day": [1, 4, 4, 9, 5, 2, 6],
        "event": ["order", "click", "order", "return", "click", "order", "click"],
    }
)
LOG = EventLog(EVENTS, customer="who", time="day", observed_until=12)


def numbers_of_events(X):
    """Each row as customer, cutoff and, after a colon, its number of events."""
    rows = zip(X["who"], X["cutoff"], X["history"].array.lengths, strict=True)
    return " ".join(f"{who}{cutoff}:{n_events}" for who, cutoff, n_events in rows)


@pytest.mark.parametrize(
    ("step", "options", "expected"),
    [
        (4, {}, "a5:3 b5:0 c5:1 a9:3 b9:1 c9:2"),
        (5, {"start": 2, "end": 7}, "a2:1 b2:0 c2:0 a7:3 b7:1 c7:2"),
        (20, {"start": 3}, "a3:1 b3:0 c3:1"),
    ],
)
def test_regular_cutoffs(step, options, expected):
    assert (
        numbers_of_events(LOG.snapshots_every(step, **options, min_events=0))
        == expected
    )
    known = " ".join(row for row in expected.split() if not row.endswith(":0"))
    assert numbers_of_events(LOG.snapshots_every(step, **options)) == known


def test_cutoffs_before_all_events():
    message = "first event of the log, at 1, so that there is no row; the last cutoff"
    with pytest.warns(UserWarning, match=f"{message} is 1") as caught:
        assert len(LOG.snapshots([0, 1])) == 0
    assert caught[0].filename == __file__
    assert len(LOG.snapshots([1, 2])) == 1
    assert len(LOG.snapshots(1, min_events=0)) == 3


def test_regular_cutoffs_of_dates():
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(EVENTS["day"], "D")
    log = EventLog(EVENTS.assign(day=days), "who", "day")
    X = log.snapshots_every("3D", end="2024-01-09")
    assert X["cutoff"].dt.day.unique().tolist() == [5, 8]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "a4:1 a9:3 c6:1"),
        ({"min_events": 0}, "a1:0 a4:1 a9:3 b5:0 c2:0 c6:1"),
        ({"kinds": "click"}, "a4:1 c6:1"),
        ({"kinds": ["order", "return"], "min_events": 0}, "a1:0 a4:1 a9:3 c2:0"),
        ({"start": 5}, "a9:3 c6:1"),
        ({"end": 6}, "a4:1 c6:1"),
        ({"active_within": 4}, "a4:1 c6:1"),
        ({"lookback": 5}, "a4:1 a9:2 c6:1"),
    ],
)
def test_before_each_event(options, expected):
    assert numbers_of_events(LOG.snapshots_before_events(**options)) == expected


def test_customers_with_events_at_one_time_stay_apart():
    """The last event of one customer and the first of the next are not a tie."""
    events = pd.DataFrame({"who": ["a", "a", "b", "b"], "day": [1, 9, 9, 12]})
    X = EventLog(events, "who", "day").snapshots_before_events(min_events=0)
    assert numbers_of_events(X) == "a1:0 a9:1 b9:0 b12:1"


def test_a_history_keeps_its_cutoff_when_the_column_is_changed():
    X = LOG.snapshots([5, 10])
    X.loc[:, "cutoff"] = 7  # which pandas 2 writes into the array of the column
    assert X["history"].array.cutoffs.tolist() == [5, 5, 10, 10, 10]


@pytest.mark.parametrize("kind", ["integer", "float", "date"])
def test_random_cutoffs_lie_between_the_first_event_and_the_end(kind):
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        rng.integers(0, [2000, 60], (4000, 2)), columns=["who", "day"]
    )
    if kind == "float":
        events["day"] = events["day"] + 0.25
    if kind == "date":
        days = pd.to_timedelta(events["day"], "D")
        events["day"] = pd.Timestamp("2024-01-01") + days
    log = EventLog(events, "who", "day")
    X = log.snapshots_at_random(random_state=3)
    first = events.groupby("who")["day"].min().loc[X["who"]].reset_index(drop=True)
    last = events["day"].max()
    assert (X["cutoff"] > first).all()
    assert (X["cutoff"] <= last).all()
    assert X["who"].is_unique
    # Any moment between the two is as likely as any other.
    share = ((X["cutoff"] - first) / (last - first))[
        last - first > (last - first).median()
    ]
    assert abs(share.mean() - 0.5) < 0.03
    again = log.snapshots_at_random(random_state=np.random.RandomState(3))
    pd.testing.assert_series_equal(X["cutoff"], again["cutoff"])
    other = log.snapshots_at_random(random_state=4)
    assert not X["cutoff"].equals(other["cutoff"])


def test_random_cutoffs_leave_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  (the one to be left alone)
    LOG.snapshots_at_random()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_random_cutoffs_within_bounds():
    X = LOG.snapshots_at_random(start=7, end=8, random_state=0)
    assert X["who"].tolist() == ["a", "b", "c"]
    assert X["cutoff"].between(7, 8).all()


def test_each_moment_within_the_bounds_is_drawn():
    """Also the last one: of 300 draws from 3 all are the same with 3 * (2/3) ** 300."""
    events = pd.DataFrame({"who": range(300), "day": 5})
    log = EventLog(events, "who", "day", observed_until=8)
    X = log.snapshots_at_random(random_state=0)
    assert set(X["cutoff"]) == {6, 7, 8}
    assert len(X) == 300
    X = log.snapshots_at_random(start=7, end=9, random_state=0)
    assert set(X["cutoff"]) == {7, 8, 9}


def test_cutoffs_in_any_collection():
    expected = numbers_of_events(LOG.snapshots([5, 10]))
    for cutoffs in ({5, 10}, (10, 5, 5), np.array([5, 10]), pd.Index([5, 10])):
        assert numbers_of_events(LOG.snapshots(cutoffs)) == expected
    assert numbers_of_events(LOG.snapshots(cutoff for cutoff in (5, 10))) == expected


def test_an_end_between_two_ticks():
    second = pd.Timedelta("1s")
    days = (pd.Timestamp("2024-01-01") + EVENTS["day"] * second).dt.as_unit("s")
    log = EventLog(EVENTS.assign(day=days), "who", "day")
    for options, expected in (
        ({"end": 5.5}, [4, 5]),
        ({"end": 6}, [4, 5, 6]),
        ({"start": 4.5, "end": 6}, [5, 6]),
    ):
        bounds = {
            name: pd.Timestamp("2024-01-01") + bound * second
            for name, bound in options.items()
        }
        X = log.snapshots_before_events(min_events=0, **bounds)
        seconds = X["cutoff"].dt.second
        assert sorted(set(seconds[seconds > 2])) == expected


@pytest.mark.parametrize("n_customers", [3, 400])
def test_few_and_many_events_per_customer_are_counted_alike(n_customers):
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {"who": rng.integers(0, n_customers, 1000), "day": rng.integers(0, 50, 1000)}
    )
    X = EventLog(events, "who", "day").snapshots([0, 7, 30, 99])
    expected = [
        ((events["who"] == who) & (events["day"] < cutoff)).sum()
        for who, cutoff in zip(X["who"], X["cutoff"], strict=True)
    ]
    assert X["history"].array.lengths.tolist() == expected


EVERY, BEFORE = LOG.snapshots_every, LOG.snapshots_before_events


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: EVERY(0), ValueError, "step must be longer than 0"),
        (lambda: EVERY("2D"), TypeError, "step must be a number"),
        (lambda: EVERY(99), ValueError, "There is no cutoff from 100 to 12"),
        (lambda: EVERY(2.5), ValueError, "step is 2.5 ticks .* whole number"),
        (lambda: EVERY(2, start=np.nan), ValueError, "start must be a time; got nan"),
        (lambda: BEFORE("visit"), ValueError, "no events of the kinds"),
        (lambda: BEFORE("a", kind_field="type"), KeyError, "no field 'type'"),
        (lambda: EVERY(2, start=[]), TypeError, "start must be one time; got list"),
        (lambda: BEFORE(end=pd.NaT), ValueError, "end must be a time; got NaT"),
        (lambda: LOG.snapshots("events"), ValueError, "got 'events'.*before_events"),
        (lambda: LOG.snapshots([5], min_events=-1), ValueError, "min_events .* -1"),
        (lambda: LOG.snapshots([5], min_events="2"), ValueError, "min_events .* '2'"),
        (lambda: LOG.snapshots([5], name="who"), ValueError, "need three names"),
        (lambda: LOG.snapshots([]), ValueError, "cutoffs is empty"),
    ],
)
def test_bad_snapshots(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_about_kinds_lists_the_first_levels():
    items = [f"item {i:02d}" for i in range(30)]
    log = EventLog(pd.DataFrame({"who": 1, "day": 1, "item": items}), "who", "day")
    with pytest.raises(ValueError, match=r"'x'\]; field 'item' .*19'\] and 10 more\.$"):
        log.snapshots([2], kinds="x", kind_field="item")
