import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.events._log import Log
from sklearn_seqcrm.targets import churned, future_count


def days(*numbers):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(list(numbers), unit="D")


def small_log(**options):
    events = pd.DataFrame({"id": list("aaab"), "day": days(0, 4, 9, 2)})
    return EventLog(events, "id", "day", **options)


def slow_count(X, events, horizon, gap, exact, name="history"):
    """Count the events in each window, one by one."""
    counts = []
    for customer, cutoff in zip(X["id"], X[name].array.cutoffs, strict=True):
        begin, end = cutoff + gap, cutoff + gap + horizon
        n_events = 0
        for event_customer, time in zip(events["id"], events["time"], strict=True):
            seen = time <= cutoff if exact else time < cutoff
            n_events += event_customer == customer and begin <= time < end and not seen
        counts.append(n_events)
    return np.array(counts)


AXES = {
    "days": (lambda t: days(*t), pd.Timedelta("1D")),
    "nanoseconds": (lambda t: days(*t).as_unit("ns"), pd.Timedelta("1D")),
    "aware": (lambda t: days(*t).tz_localize("UTC"), pd.Timedelta("1D")),
    "integers": (np.asarray, 1),
    "floats": (lambda t: np.asarray(t) / 7, 1 / 7),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("lookback", [None, 3])
@pytest.mark.parametrize("axis", AXES)
def test_targets_equal_a_loop(axis, lookback, exact):
    times, unit = AXES[axis]
    rng = np.random.default_rng(0)
    # Few distinct days: many ties between events, and of events with cutoffs.
    events = pd.DataFrame(
        {"id": rng.integers(0, 8, 80), "time": times(rng.choice(30, 80))}
    )
    log = EventLog(events, "id", "time", observed_until=times([99])[0])
    rows = pd.DataFrame(
        {"id": rng.integers(0, 10, 60), "at": times(rng.choice(35, 60))}
    )
    X = log.attach(
        rows,
        cutoff="at",
        lookback=None if lookback is None else lookback * unit,
        allow_exact_matches=exact,
    )
    for horizon, gap in [(1, 0), (5, 0), (4, 3), (60, 1)]:
        # Floats of a sum need not be those of the times that they meet.
        shift = unit / 2 if axis == "floats" else 0 * unit
        expected = slow_count(X, events, horizon * unit + shift, gap * unit, exact)
        count = future_count(X, horizon * unit + shift, gap=gap * unit)
        assert_array_equal(count, expected)
        silent = churned(X, horizon * unit + shift, gap=gap * unit)
        assert_array_equal(silent, expected == 0)


def test_window_is_half_open():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(4)[0])
    # Day 4 is the first of the window, day 9 the first after it.
    assert future_count(X, "5D").tolist() == [1, 0]
    assert future_count(X, "6D").tolist() == [2, 0]
    assert future_count(X, "4D", gap="1D").tolist() == [0, 0]
    assert churned(X, "5D").tolist() == [0, 1]


def test_events_that_the_row_saw_do_not_count():
    rows = pd.DataFrame({"id": ["a"]})
    X = small_log().attach(rows, cutoff=days(4)[0], allow_exact_matches=True)
    assert future_count(X, "5D").tolist() == [0]
    assert churned(X, "5D").tolist() == [1]


def test_unknown_customers_and_empty_histories():
    rows = pd.DataFrame({"id": ["eve", "a", "b"]})
    X = small_log().attach(rows, cutoff=days(0)[0])
    assert X["history"].array.lengths.tolist() == [0, 0, 0]
    assert future_count(X, "5D").tolist() == [0, 2, 1]
    assert churned(X, "5D").tolist() == [1, 0, 0]
    # A pickled view of unknown customers alone has a log without events.
    nobody = HistoryArray(*X["history"].array[:1].rows.compact())
    assert future_count(nobody, "5D").tolist() == [0]


def test_result_follows_the_rows():
    rows = pd.DataFrame({"id": ["b", "a"], "x": [1, 2]}, index=["r", "s"])
    X = small_log().attach(rows, cutoff=days(1)[0])
    for target, name in [(churned, "churned"), (future_count, "future_count")]:
        for form in (X, X["history"]):
            y = target(form, "3D")
            assert y.name == name
            assert y.dtype == "int64"
            assert y.index.tolist() == ["r", "s"]
        assert target(X["history"].array, "3D").index.tolist() == [0, 1]
        assert_array_equal(target(X[::-1], "3D"), target(X, "3D")[::-1])


def test_several_history_columns():
    X = pd.DataFrame({"id": ["a", "b"]})
    X = small_log().attach(X, cutoff=days(1)[0], name="early")
    X = small_log().attach(X, cutoff=days(5)[0], name="late")
    assert future_count(X, "4D", history="early").tolist() == [1, 1]
    assert future_count(X, "4D", history="late").tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"2 history columns, \['early', 'late'\]"):
        churned(X, "4D")


# The end of the record --------------------------------------------------------


def test_censored():
    rows = pd.DataFrame({"id": ["a", "a", "b"], "at": days(3, 6, 8)}, index=[5, 6, 7])
    X = small_log().attach(rows, cutoff="at")  # known until the end of day 9
    message = (
        "The windows of 1 of 3 rows run past the end of the log, the first in the rows "
        r"7\. Use cutoffs up to 2024-01-07 00:00:00, .*observed_until"
    )
    for target in (churned, future_count):
        with pytest.raises(ValueError, match=message):
            target(X, "4D")
    assert future_count(X, "4D", censored="drop").to_dict() == {5: 1, 6: 1}
    assert churned(X, "4D", censored="drop").to_dict() == {5: 0, 6: 0}
    y = future_count(X, "4D", censored="nan")
    assert y.dtype == "float64"
    assert_array_equal(y, [1, 1, np.nan])
    assert_array_equal(churned(X, "4D", censored="nan"), [0, 0, np.nan])
    # Nothing is censored: the type follows the parameter, not the data.
    assert future_count(X, "1D", censored="nan").dtype == "float64"
    assert future_count(X, "1D", censored="drop").dtype == "int64"


def test_gap_moves_the_end():
    X = small_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(6)[0])
    assert future_count(X, "3D", gap="1D").tolist() == [1]
    with pytest.raises(ValueError, match="1 of 1 rows"):
        future_count(X, "3D", gap="2D")


@pytest.mark.parametrize(
    ("times", "until", "complete", "too_long"),
    [
        # Days: the whole last day is known.
        (pd.to_datetime(["2017-12-29", "2017-12-31"]), None, "3D", "73h"),
        (pd.to_datetime(["2017-12-29", "2017-12-31"], utc=True), None, "3D", "73h"),
        (pd.to_datetime(["2017-12-29", "2017-12-30"]), "2017-12-31", "3D", "73h"),
        # Moments: up to and with the last one, in the unit of the log (here us).
        (
            pd.to_datetime(["2017-12-29 00:00", "2017-12-31 12:00"]).as_unit("us"),
            None,
            pd.Timedelta("2.5D") + pd.Timedelta("1us"),
            pd.Timedelta("2.5D") + pd.Timedelta("2us"),
        ),
        (
            pd.to_datetime(["2017-12-29", "2017-12-30"]).as_unit("us"),
            "2017-12-31 12:00",
            pd.Timedelta("2.5D") + pd.Timedelta("1us"),
            "3D",
        ),
        (
            pd.to_datetime(["2017-12-29 00:00", "2017-12-30 12:00"]).as_unit("us"),
            "2017-12-31",
            pd.Timedelta("2D") + pd.Timedelta("1us"),
            "3D",
        ),
        # Numbers: whole ones count units, others are moments.
        ([10, 12], None, 3, 4),
        ([10.0, 12.0], None, 3, 3.5),
        ([10.0, 12.5], None, 2.5, 2.6),
        ([10.0, 12.0], 12.5, 2.5, 2.6),
    ],
)
def test_end_of_the_record(times, until, complete, too_long):
    events = pd.DataFrame({"id": ["a", "b"], "time": times})
    log = EventLog(events, "id", "time", observed_until=until)
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=log.time_span[0])
    assert churned(X, complete).tolist() == [0]
    with pytest.raises(ValueError, match="1 of 1 rows run past"):
        churned(X, too_long)


def test_everything_known_has_no_complete_window():
    X = small_log().attach(pd.DataFrame({"id": ["a"]}))
    assert_array_equal(churned(X, "1D", gap="1D", censored="nan"), [np.nan])


# Errors -----------------------------------------------------------------------


def test_drop_needs_a_unique_index():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}, [0, 0]), cutoff=days(4)[0])
    with pytest.raises(ValueError, match=r"without repeated labels.*reset_index"):
        churned(X, "1D", censored="drop")
    assert churned(X, "1D").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": "0D"}, ValueError, "horizon must be longer than 0"),
        ({"horizon": 14}, TypeError, "horizon must be a length of time"),
        ({"horizon": "4D", "gap": "-1D"}, ValueError, "gap must be .* not negative"),
        ({"horizon": "4D", "censored": "no"}, ValueError, "'censored' parameter"),
        ({"horizon": "4D", "history": "x"}, KeyError, "no column 'x'"),
    ],
)
@pytest.mark.parametrize("target", [churned, future_count])
def test_bad_parameters(target, options, error, message):
    X = small_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    with pytest.raises(error, match=message):
        target(X, **options)


def test_no_history():
    with pytest.raises(ValueError, match="X has no history column"):
        churned(pd.DataFrame({"id": ["a"]}), "4D")


class EncodedLog(Log):
    """What a HistoryEncoder would make."""

    def columns_at(self, index):
        return {}

    def _take(self, timeline, index):
        return EncodedLog(timeline, self.names)

    def _stack(self, logs, timeline):
        return EncodedLog(timeline, self.names)


def test_encoded_histories():
    log = small_log()
    rows = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])[
        "history"
    ].array.rows
    encoded = HistoryArray(EncodedLog(log.timeline, log.names), *rows[1:])
    with pytest.raises(TypeError, match="A target reads raw histories"):
        churned(pd.Series(encoded), "4D")


def test_histories_of_several_logs():
    # One log ends on day 9, the other knows nothing after day 1.
    short = EventLog(pd.DataFrame({"id": ["a"], "day": days(1)}), "id", "day")
    rows = pd.DataFrame({"id": ["a"]})
    parts = [log.attach(rows, cutoff=days(1)[0]) for log in (small_log(), short)]
    with pytest.raises(ValueError, match="joined from several logs"):
        churned(pd.concat(parts, ignore_index=True), "4D")
