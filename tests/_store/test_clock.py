"""Times and lengths of time on the axis of a log, to the last tick."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm._store import Clock, saturating_add, saturating_subtract
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.targets import churned
from tests.events.reference import histories
from tests.logs import log_of

NANO = pd.Timedelta(1, unit="ns")
ROW = pd.DataFrame({"customer": ["a"]})


def numbered_log(times, **options):
    """A log of one customer whose field x numbers the events."""
    names, fields = ("customer", "time"), {"x": np.arange(len(times))}
    return log_of(times, names=names, fields=fields, **options)


# --- Times of other types --- ------------------------------------------------------

EXACT = 2**53 + 1


@pytest.mark.parametrize(
    ("times", "dtype", "ticks"),
    [
        ([Decimal(EXACT), Decimal("2.0")], "int64", [EXACT, 2]),
        ([Decimal("0.5"), Decimal(2)], "float64", [0.5, 2]),
        (pd.Categorical([5, 2]), "int64", [5, 2]),
        (
            pd.Categorical(pd.to_datetime([7, 2], unit="s").as_unit("s")),
            "int64",
            [7, 2],
        ),
    ],
)
def test_decimals_and_categories_are_times(times, dtype, ticks):
    """A database returns numbers as Decimals, and some files have dates as levels."""
    clock, found = Clock.of(times, "times")
    assert clock.dtype == found.dtype == dtype
    assert found.tolist() == ticks
    assert clock.read(pd.Series(times), "cutoffs").tolist() == ticks


def test_infinite_decimals_are_no_times():
    """The error spoke of ids."""
    with pytest.raises(ValueError, match="times hold 1 infinite values; drop"):
        Clock.of([Decimal("Infinity"), Decimal(1)], "times")


def test_durations_are_no_times():
    with pytest.raises(
        TypeError, match=r"times / pd.Timedelta\(days=1\) makes numbers"
    ):
        Clock.of(pd.to_timedelta(["1D"]), "times")


# --- Lengths --- ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "length", "ticks"),
    [
        (Clock("int64", "ns"), pd.Timedelta("200D") + NANO, 200 * 86400 * 10**9 + 1),
        (Clock("int64", "us"), pd.Timedelta("1us") + 500 * NANO, 1.5),
        (Clock("int64", "s"), np.timedelta64(2**62, "s"), 2**62),
        (Clock("int64", "s"), "1500ms", 1.5),
        (Clock("int64"), np.int64(2**63 - 1), 2**63 - 1),
        (Clock("int64"), 2**70, 2**63 - 1),
        (Clock("int64"), 1e30, 2**63 - 1),
        (Clock("int64"), 3.0, 3),
        (Clock("float64"), np.float32(0.5), 0.5),
    ],
)
def test_a_length_keeps_its_last_tick(clock, length, ticks):
    found = clock.duration(length, "horizon")
    assert found == ticks
    assert type(found) is type(ticks)


@pytest.mark.parametrize(
    "text",
    ["6MS", " 1 MS", "2ME", "M", "P6M", "1y", "1Y", "2 Months", "3mo", "1 quarter"],
)
def test_months_and_years_are_no_length(text):
    """pandas reads "6MS" as milliseconds, and "P6M" as minutes."""
    text = f"got {text!r}. Months and years differ in length: write days"
    with pytest.raises(ValueError, match=re.escape(text)):
        Clock("int64", "ns").duration(text.split("'")[1], "horizon")


@pytest.mark.parametrize("offset", [pd.DateOffset(months=3), pd.offsets.Week(2)])
def test_a_calendar_step_is_no_length(offset):
    text = f"got {offset!r}. Instead of a calendar offset, write days"
    with pytest.raises(ValueError, match=re.escape(text)):
        Clock("int64", "ns").duration(offset, "horizon")


@pytest.mark.parametrize(
    ("what", "end"), [("step", "'30D', or list the cutoffs."), ("bins", "'30D'.")]
)
def test_only_steps_can_be_replaced_by_cutoffs(what, end):
    with pytest.raises(ValueError, match=re.escape(f"such as {end}") + "$"):
        Clock("int64", "ns").duration("6MS", what)


def test_lengths_of_centuries_have_a_way_out():
    """As a text that is no length of time, the error said."""
    clock = Clock("int64", "s")
    with pytest.raises(ValueError, match="'300000D', and pandas reads at most 292 ye"):
        clock.duration("300000D", "lookback")
    assert clock.duration(np.timedelta64(300_000, "D"), "lookback") == 300_000 * 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5min", 300),
        ("5 minutes", 300),
        ("30m", 1800),
        ("90m", 5400),
        ("6000ms", 6),
        ("P1D", 86400),
    ],
)
def test_minutes_and_milliseconds_are_lengths(text, seconds):
    assert Clock("int64", "s").duration(text, "horizon") == seconds


@pytest.mark.parametrize("text", ["3m", "3 m"])
def test_minutes_that_may_be_months(text):
    """Nearly all customers had churned after three minutes, without a message."""
    X = numbered_log(pd.date_range("2024-01-01", "2024-12-01")).snapshots(
        ["2024-02-01"]
    )
    message = f"horizon='{text}' is 3 minutes, .* Write '3min' for minutes, and days"
    with pytest.warns(UserWarning, match=message) as caught:
        y = churned(X, text)
    assert {one.filename for one in caught} == {__file__}
    assert y.attrs["sklearn_seqcrm"]["horizon"] == "0 days 00:03:00"


def test_a_day_and_a_nanosecond_ago():
    """Floats have room for 104 days of nanoseconds."""
    now = pd.Timestamp("2024-08-01").as_unit("ns")
    log = numbered_log(
        [now - pd.Timedelta("200D") - NANO, now - pd.Timedelta("200D"), now]
    )
    for lookback, seen in (("200D", [1]), (pd.Timedelta("200D") + NANO, [0, 1])):
        assert histories(log.attach(ROW, cutoff=now, lookback=lookback)) == [seen]


def test_lengths_that_would_leave_the_axis_end_there():
    times = np.array([-(2**63), -5, 0, 2**63 - 1])
    assert saturating_subtract(times, 2**63 - 1).tolist() == [
        -(2**63),
        -(2**63),
        1 - 2**63,
        0,
    ]
    assert saturating_add(times, 2**63 - 1).tolist() == [
        -1,
        2**63 - 6,
        2**63 - 1,
        2**63 - 1,
    ]


@pytest.mark.parametrize("lookback", [2**63 - 1, 2**70, 1e30])
def test_an_endless_lookback_sees_everything(lookback):
    log = numbered_log([-9, -7, -3])
    X = log.attach(ROW, cutoff=-3, lookback=lookback)
    assert histories(X) == [[0, 1]]
    X = log.snapshots([-3], lookback=lookback)
    assert histories(X) == [[0, 1]]


def test_an_endless_lookback_of_datetimes_sees_everything():
    times = pd.to_datetime(["1700-01-01", "1700-01-03"])
    for unit in ("s", "us", "ns"):
        log = numbered_log(times.as_unit(unit))
        X = log.attach(ROW, cutoff=pd.Timestamp("1700-01-03"), lookback="100000D")
        assert histories(X) == [[0]]


@pytest.mark.parametrize(
    ("cutoff", "lookback", "expected"),
    [(2**60 + 3, 1.5, [2]), (2**60 + 3, 2.0, [1, 2]), (2**60 + 3, 2.5, [1, 2])],
)
def test_a_broken_lookback_of_large_integers(cutoff, lookback, expected):
    log = numbered_log([2**60, 2**60 + 1, 2**60 + 2, 2**60 + 3])
    assert histories(log.attach(ROW, cutoff=cutoff, lookback=lookback)) == [expected]


def test_lengths_are_added_up_before_they_are_rounded():
    clock = Clock("int64", "us")
    gap = pd.Timedelta("200D") + pd.Timedelta("1ns")
    days = 200 * 86_400 * 10**6
    assert clock.rounded_up(gap=gap) == days + 1
    assert clock.rounded_up(gap=gap, horizon=pd.Timedelta("999ns")) == days + 1
    assert clock.rounded_up(gap=gap, horizon=gap) == 2 * days + 1
    assert Clock("int64").rounded_up(gap=1.5, horizon=2**60) == 2**60 + 2
    assert Clock("float64").rounded_up(gap=1.5, horizon=1) == 2.5
    assert Clock("int64").rounded_up(gap=2**63 - 1, horizon=5) == 2**63 - 1


# --- Cutoffs --- ------------------------------------------------------------------


@pytest.mark.parametrize("as_column", [False, True])
def test_a_cutoff_beyond_int64_is_no_time_of_the_past(as_column):
    cutoff = np.array([2**63 + 5], dtype="uint64")
    rows = ROW.assign(at=cutoff)
    text = "values beyond the range of int64, the first of them 9223372036854775813"
    with pytest.raises(ValueError, match=text):
        numbered_log([1, 2]).attach(rows, cutoff="at" if as_column else cutoff[0])


@pytest.mark.parametrize("exact", [False, True])
def test_integer_cutoffs_between_two_floats(exact):
    """2 ** 53 + 1 lies after the event at 2 ** 53, and would be rounded to it."""
    log = numbered_log([2.0**53 - 1, 2.0**53, 2.0**53 + 2])
    rows = pd.DataFrame({"customer": "a", "at": [2**53 - exact, 2**53 + 1]})
    X = log.attach(rows, cutoff="at", allow_exact_matches=exact)
    assert histories(X) == [[0], [0, 1]]


def test_missing_histories_of_a_log_of_floats_do_not_round_the_cutoffs_of_others():
    whole = numbered_log([1, 2]).attach(ROW, cutoff=2**60 + 1)
    floats = numbered_log([0.5]).attach(ROW, cutoff=1.5)
    floats["history"] = floats["history"].where(pd.Series([False]))
    joint = pd.concat([whole, floats])["history"].array
    assert joint.isna().tolist() == [False, True]
    assert joint[0].cutoff == 2**60 + 1


def test_text_without_a_zone_on_a_log_with_one():
    log = numbered_log(
        pd.to_datetime(["2024-04-30 23:00", "2024-05-01 00:00"], utc=True)
    )
    text = (
        "'2024-05-01', which has no time zone, .* write '2024-05-01 00:00:00\\+00:00'"
    )
    for ask in (
        lambda: log.attach(ROW, cutoff="2024-05-01"),
        lambda: log.snapshots("2024-05-01"),
        lambda: log.snapshots(["2024-05-01"]),
        lambda: log.snapshots_before_events(end="2024-05-01"),
        lambda: numbered_log(log.to_frame()["time"], observed_until="2024-05-01"),
    ):
        with pytest.raises(ValueError, match=re.compile(text)):
            ask()
    X = log.attach(ROW, cutoff="2024-05-01 00:00:00+00:00")
    assert histories(X) == [[0]]
    assert histories(log.attach(ROW, cutoff="2024-05-01 01:00+02:00")) == [[]]


def test_text_with_a_zone_on_a_log_without():
    text = "'2024-05-01 00:00Z', which has a time zone, .* write '2024-05-01 00:00:00'"
    with pytest.raises(ValueError, match=text):
        numbered_log(pd.to_datetime(["2024-05-01"])).attach(
            ROW, cutoff="2024-05-01 00:00Z"
        )


@pytest.mark.parametrize(
    "text",
    ["05.12.2024", "12/05/2024", "2024-12", "2024", "today"],
)
def test_times_as_text_must_be_in_iso_8601(text):
    """pandas would take 05.12.2024 for the 12th of May."""
    days = pd.to_datetime(["2024-05-01", "2024-06-01"])
    log = numbered_log(days)
    for read, what in (
        (lambda: log.attach(ROW, cutoff=text), "cutoffs"),
        (lambda: log.snapshots([text]), "cutoffs"),
        (lambda: log.snapshots_every("7D", start=text), "start"),
        (lambda: log.snapshots_before_events(end=text), "end"),
        (lambda: numbered_log(days, observed_until=text), "observed_until"),
    ):
        with pytest.raises(
            ValueError, match=f"{what} must be in ISO 8601 .*, with year.*{text}"
        ):
            read()


@pytest.mark.parametrize("text", ["2024-W05-1", "2024-032", "2024Q1"])
def test_weeks_and_days_of_the_year_are_no_cutoffs(text):
    log = numbered_log(pd.to_datetime(["2024-05-01"]))
    with pytest.raises(ValueError, match=f"cutoffs must be in ISO 8601 .*{text}"):
        log.snapshots([text])


@pytest.mark.parametrize("cutoff", ["", "NaT", "nan"])
def test_text_that_is_no_time(cutoff):
    log = numbered_log(pd.to_datetime(["2024-05-01"]))
    with pytest.raises(KeyError, match="neither a column of rows"):
        log.attach(ROW, cutoff=cutoff)
    with pytest.raises(ValueError, match="cutoffs must be in ISO 8601"):
        log.snapshots(cutoff)


def test_an_undefined_number_that_arrow_does_not_miss():
    """Arrow's 0 / 0 is NaN, not null, and so not missing for pandas 2."""
    _, times = Clock.of(pd.Series([0.0, 1.0]), "times")
    assert times.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"times hold 1 undefined \(NaN\) values"):
        Clock.of(pd.Series([np.nan, 1.0]), "times")


def test_the_hour_that_a_clock_shows_twice():
    zone = "America/New_York"
    first, second = (
        pd.Timestamp("2024-11-03 01:30").tz_localize(zone, ambiguous=summer)
        for summer in (True, False)
    )
    log = numbered_log(pd.Series([first, second]))
    assert histories(log.attach(ROW, cutoff=second)) == [[0]]
    assert histories(log.attach(ROW, cutoff=second, lookback="59min")) == [[]]
    assert histories(log.attach(ROW, cutoff=second, lookback="60min")) == [[0]]


# --- Times that are too far apart --- ---------------------------------------------

AGES = pd.to_datetime(["1700-01-01", "2200-01-01"]).as_unit("ns")
FAR = {
    "integers": [-(2**62), 2**62],
    "floats": [-1.5e308, 1.5e308],
    "datetimes": AGES,
}


@pytest.mark.parametrize("kind", FAR)
def test_times_further_apart_than_numbers_can_tell_are_refused(kind):
    early, late = FAR[kind]
    text = "make the log span from .* which is more than .* use a coarser unit"
    events = pd.DataFrame({"customer": ["a"], "time": [late], "x": [1.0]})
    if kind == "datetimes":
        events["time"] = events["time"].dt.as_unit("ns")
    ways = {
        "log": lambda: numbered_log(FAR[kind]),
        "append": lambda: numbered_log(FAR[kind][:1]).append(events),
        "concat": lambda: EventLog.concat(
            {"a": numbered_log(FAR[kind][:1]), "b": numbered_log(FAR[kind][1:])},
            observed_until=late,
        ),
        "record": lambda: numbered_log(FAR[kind][:1], observed_until=late),
        "attach": lambda: numbered_log(FAR[kind][1:]).attach(ROW, cutoff=early),
        "column": lambda: numbered_log(FAR[kind][1:]).attach(
            pd.DataFrame({"customer": ["a"], "at": FAR[kind][:1]}), cutoff="at"
        ),
        "snapshots": lambda: numbered_log(FAR[kind][1:]).snapshots(
            [early], min_events=0
        ),
        "random": lambda: numbered_log(FAR[kind][:1]).snapshots_at_random(end=late),
    }
    for way in ways.values():
        with pytest.raises(ValueError, match=text):
            way()


def test_an_event_at_the_end_of_time():
    text = r"The last event is at 2262-04-11 23:47:16\.854775807, .* means 'never'"
    with pytest.raises(ValueError, match=text):
        numbered_log(pd.DatetimeIndex([pd.Timestamp.max]))


def test_regular_cutoffs_further_apart_than_the_axis_is_long():
    for log, every in (
        (numbered_log([5, 9]), 2**63 - 1),
        (numbered_log(pd.to_datetime(["2024-01-02"]).as_unit("ns")), "106751D"),
    ):
        with pytest.raises(ValueError, match="There is no cutoff from"):
            log.snapshots_every(every)


def test_a_broken_training_window_of_large_integers():
    cutoffs = [2**60 + 2, 2**60 + 4, 2**60 + 6, 2**60 + 8]
    X = numbered_log([2**60, 2**60 + 9]).snapshots(cutoffs)
    folds = list(CutoffSplit(2, horizon=2, train_window=1.5).split(X))
    assert [train.tolist() for train, _ in folds] == [[1], [2]]


# --- Steps of the calendar --- ----------------------------------------------------


@pytest.mark.parametrize(
    ("every", "freq"),
    [("MS", "MS"), ("1MS", "MS"), (pd.offsets.MonthBegin(2), "2MS"), ("B", "B")],
)
def test_steps_of_the_calendar_are_listed(every, freq):
    """As a length of time, pandas reads "1MS" as one millisecond."""
    log = numbered_log(
        pd.to_datetime(["2024-01-05 09:00", "2024-06-09"], format="mixed")
    )
    line = (
        f"snapshots(pd.date_range('2024-01-05 09:00:00', '2024-06-09 00:00:00', "
        f"freq={freq!r}, normalize=True))"
    )
    with pytest.raises(ValueError, match=re.escape(line)):
        log.snapshots_every(every)
    assert len(eval(f"log.{line}", {"log": log, "pd": pd})) > 1


def test_the_line_to_write_keeps_the_bounds():
    log = numbered_log(pd.to_datetime(["2024-01-05", "2024-06-09"], utc=True))
    line = "pd.date_range('2024-02-01 00:00:00+00:00', '2024-06-09 00:00:00+00:00', "
    with pytest.raises(ValueError, match=re.escape(line)):
        log.snapshots_every("MS", start=pd.Timestamp("2024-02-01", tz="UTC"))


@pytest.mark.parametrize("every", ["7D", "1W", pd.offsets.Day(7), pd.Timedelta("7D")])
def test_a_step_of_one_length_is_none_of_the_calendar(every):
    log = numbered_log(pd.to_datetime(["2024-01-05", "2024-01-19"]))
    days = log.snapshots_every(every)["cutoff"].dt.day
    assert days.tolist() == [12, 19]


@pytest.mark.parametrize(
    ("clock", "length", "ticks"),
    [
        (Clock("int64", "s"), "1500ms", [0, 2, 3, 5]),
        (Clock("int64", "us"), "1s", [0, 10**6, 2 * 10**6]),
        (Clock("int64"), 2.5, [0, 3, 5]),
        (Clock("int64"), 2**61 + 1, [0, 2**61 + 1, 2**62 + 2]),
        (Clock("int64"), 2**70, [0]),
        (Clock("float64"), 0.1, [0.0, 0.1, 0.2, 3 * 0.1]),
        (Clock("float64"), 2**70, [0.0]),
    ],
)
def test_multiples_of_a_length(clock, length, ticks):
    found = clock.multiples(length, "every", len(ticks))
    assert found.dtype == clock.dtype
    assert found.tolist() == ticks
