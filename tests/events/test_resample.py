"""Merged events, compared with loops, and when rows see them."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import future_sum
from tests.events.reference import histories

# derandomize: the same examples in every run.
many = settings(max_examples=40)

EPOCH = pd.Timestamp("1970-01-01")
HOUR = 3_600_000  # times with a date are counted in milliseconds here
STEP = {"integer": 1, "float": 0.125, "naive": 7 * HOUR, "aware": 7 * HOUR} | {
    "days": 24 * HOUR
}
# How far apart moments of the log are (None: as floats are).
TICK = {"integer": 1, "float": None, "naive": 1, "aware": 1, "days": 24 * HOUR}
# One event of long ago keeps the moments of the log as fine as its unit.
EARLY = {"float": -99.0625, "naive": -7000 * HOUR - 1, "aware": -7000 * HOUR - 1}
IDS = {"integer": [3, 1, 2], "float": [2.5, 0.5, 1.5], "naive": list("abc")} | {
    "aware": pd.to_datetime(["2020-01-03", "2020-01-01", "2020-01-02"]),
    "days": pd.Categorical(list("cab")),
}
HOW = {
    "amount": ["sum", "mean", "min", "max", "first", "last", "count_distinct"],
    "shop": ["most_frequent", "first", "last", "count_distinct"],
    "due": ["last", "first", "min", "max", "count_distinct"],
}


def times_of(numbers, kind):
    """Return milliseconds since 1970 as datetimes, or plain numbers."""
    if kind in ("integer", "float"):
        return pd.Series(numbers, dtype="int64" if kind == "integer" else "float64")
    times = EPOCH.as_unit("ms") + pd.to_timedelta(pd.Series(numbers), "ms")
    times = times.dt.as_unit("ms")
    zone = "America/New_York"
    return times.dt.tz_localize("UTC").dt.tz_convert(zone) if kind == "aware" else times


def length(number, kind):
    dated = kind not in ("integer", "float")
    return pd.Timedelta(milliseconds=number) if dated else number


def table(events, kind):
    """Events at whole steps on both sides of 0; sums of x tell which were merged."""
    who, steps, amounts, shops = zip(*events, strict=True)
    n = len(events)
    return pd.DataFrame(
        {
            "who": pd.Series(IDS[kind])[list(who)].to_numpy(),
            "time": times_of([(step - 6) * STEP[kind] for step in steps], kind),
            "x": 2.0 ** np.arange(n),
            "amount": np.array(amounts, dtype="float64"),
            "shop": pd.Series(shops, dtype=object),
            "due": EPOCH + pd.to_timedelta(np.array(amounts, dtype="float64"), "D"),
        }
    )


def log_with_early_event(events, kind):
    if kind in EARLY:
        first = events.iloc[:1].assign(time=times_of([EARLY[kind]], kind))
        events = pd.concat([first, events])
    return EventLog(events, "who", "time", categorical=["shop"])


def numbers(times, kind):
    """Invert `times_of`."""
    if kind in ("integer", "float"):
        return times.tolist()
    naive = pd.DatetimeIndex(times).tz_localize(None)
    return [int(since / pd.Timedelta(milliseconds=1)) for since in naive - EPOCH]


def in_groups(log, kind, period=None, offset=0, timeout=None):
    """Lists of events that are merged, and the time of each list."""
    groups, tick, frame = [], TICK[kind], log.to_frame()
    for time, event in zip(
        numbers(frame["time"], kind), frame.itertuples(), strict=True
    ):
        if period is not None:
            # Before the end of the period.
            key = (time - offset) // period
            limit = offset + (key + 1) * period
            limit = limit - 1 if tick else np.nextafter(limit, -np.inf)
        else:
            key, limit = None, time + timeout
        if tick:
            limit = limit // tick * tick
        if groups and groups[-1][0][-1].who == event.who:
            events, last_key, last_time, _ = groups[-1]
            joins = (
                key == last_key if period is not None else time - last_time <= timeout
            )
            if joins:
                groups[-1] = ([*events, event], key, time, limit)
                continue
        groups.append(([event], key, time, limit))
    return [(events, limit) for events, _, _, limit in groups]


def summary(values, how):
    """One value of a list, the slow way."""
    values = [value for value in values if not pd.isna(value)]
    if not values:
        return None
    return {
        "sum": sum,
        "mean": lambda v: sum(v) / len(v),
        "min": min,
        "max": max,
        "first": lambda v: v[0],
        "last": lambda v: v[-1],
        "count_distinct": lambda v: len(set(v)),
        "most_frequent": lambda v: max(v, key=v.count),  # the first of them
    }[how](values)


events_of = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 20),
        st.sampled_from([np.nan, 1.0, 2.0, 3.0]),
        st.sampled_from([None, "n", "s", "w"]),
    ),
    min_size=1,
    max_size=15,
)
lengths = st.tuples(st.sampled_from(["period", "timeout"]), st.integers(1, 7))


def options_of(chosen, offset, kind):
    """Arguments for `resample`, and the same as numbers for the loop."""
    what, n_steps = chosen
    number = n_steps * STEP[kind]
    options, plain = {what: length(number, kind)}, {what: number}
    if what == "period":
        plain["offset"] = offset * STEP[kind]
        options["offset"] = length(plain["offset"], kind)
    return options, plain


@many
@given(events_of, st.sampled_from(list(STEP)), lengths, st.integers(0, 9), st.data())
def test_resampled_logs_equal_a_loop(events, kind, chosen, offset, data):
    log = log_with_early_event(table(events, kind), kind)
    options, plain = options_of(chosen, offset, kind)
    how = {field: data.draw(st.sampled_from(ways)) for field, ways in HOW.items()}
    merged = log.resample(**options, how=how)
    found, groups = merged.to_frame(), in_groups(log, kind, **plain)
    limits = [limit for _, limit in groups]
    assert numbers(found["time"], kind) == limits
    assert found["who"].tolist() == [rows[0].who for rows, _ in groups]
    assert found["n_events"].tolist() == [len(rows) for rows, _ in groups]
    for field, way in {"x": "sum", **how}.items():
        expected = [
            summary([getattr(r, field) for r in rows], way) for rows, _ in groups
        ]
        got = [None if pd.isna(value) else value for value in found[field]]
        assert got == expected, (field, way)  # sums of whole numbers are exact
    assert merged.customers.equals(log.customers)
    assert merged.observed_until == log.observed_until


@many
@given(
    events_of,
    st.sampled_from(list(STEP)),
    lengths,
    st.integers(0, 9),
    st.integers(-2, 60),
    st.booleans(),
)
def test_rows_see_only_what_ended_before_their_cutoff(
    events, kind, chosen, offset, half_steps, exact
):
    """Deleting all events from the cutoff on changes no history."""
    events, options = table(events, kind), options_of(chosen, offset, kind)[0]
    number = (half_steps - 12) * STEP[kind] / 2
    [cutoff] = times_of([int(number) if kind == "integer" else number], kind)
    whole = log_with_early_event(events, kind)
    before = whole.to_frame()
    before = before[before["time"] <= cutoff if exact else before["time"] < cutoff]
    if before.empty:
        return
    rows = pd.DataFrame({"who": before["who"].unique(), "cutoff": cutoff})
    attach = {"cutoff": "cutoff", "allow_exact_matches": exact}
    seen = histories(whole.resample(**options).attach(rows, **attach))
    known = EventLog(before, "who", "time", observed_until=cutoff, categorical=["shop"])
    assert seen == histories(known.resample(**options).attach(rows, **attach))
    for who, sums in zip(rows["who"], seen, strict=True):
        own = before.loc[before["who"] == who, "x"]
        assert sum(sums) <= own.sum()


@pytest.mark.parametrize(
    ("cutoff", "exact", "seen"),
    [
        ("2024-03-01 12:00", False, []),
        ("2024-03-01 23:59:59", True, []),
        ("2024-03-01 23:59:59.999", False, []),
        ("2024-03-01 23:59:59.999", True, [3.0]),
        ("2024-03-02", False, [3.0]),
        ("2024-03-02 08:00", True, [3.0]),
        ("2024-03-03", False, [3.0, 4.0]),
    ],
)
def test_a_day_is_known_at_midnight(cutoff, exact, seen):
    times = ["2024-03-01 00:00", "2024-03-01 17:30", "2024-03-02 08:00"]
    times = pd.to_datetime(times).as_unit("ms")
    lines = pd.DataFrame({"who": "a", "time": times, "x": [1.0, 2.0, 4.0]})
    log = EventLog(lines, "who", "time").resample("1D")
    rows = pd.DataFrame({"who": ["a"]})
    X = log.attach(rows, cutoff=cutoff, allow_exact_matches=exact)
    assert histories(X) == [seen]


def test_days_of_a_log_of_days_stay_where_they_are(log):
    assert (
        log.resample("1D").to_frame()["day"].tolist() == log.to_frame()["day"].tolist()
    )
    # 2024-01-01 was a Monday; weeks end with their Sunday.
    weeks = log.resample("7D", offset="4D").to_frame()
    assert weeks["day"].dt.day_of_week.tolist() == [6] * len(weeks)
    assert weeks["n_events"].tolist() == [2.0, 1.0, 1.0, 1.0, 1.0]
    assert log.resample("7D").observed_until == log.observed_until
    X = log.resample("1D").snapshots("2024-02-28")
    assert future_sum(X, "x", "3D").tolist() == [0.0, 0.0, 0.0]  # 29 Feb, 1 March


def test_floats_end_right_before_the_next_period():
    # 17 * .1 is more than 1.7, and 43 * .1 is 4.3, whatever the quotients say.
    lines = pd.DataFrame({"who": "a", "t": [1.65, 1.7, 4.25, 4.3, 4.35, 2.0**60]})
    log = EventLog(lines, "who", "t")
    found = log.resample(0.1).to_frame()
    assert found["n_events"].tolist() == [2.0, 1.0, 2.0, 1.0]
    ends = np.nextafter([17 * 0.1, 43 * 0.1, 44 * 0.1], 0.0)
    # No float lies between the last and the end of its period.
    assert found["t"].tolist() == [*ends, 2.0**60]
    assert log.resample(timeout=0.1).to_frame()["n_events"].tolist() == [2, 3, 1]


def test_with_timeout_0_only_events_at_one_time_merge():
    lines = pd.DataFrame({"who": list("aab"), "t": [1.5, 1.5, 1.5], "x": [1, 2, 4]})
    found = EventLog(lines, "who", "t").resample(timeout=0).to_frame()
    assert found["t"].tolist() == [1.5, 1.5]
    assert found["x"].tolist() == [3.0, 4.0]


def test_unfinished_periods_lie_after_observation_and_change_with_new_events():
    lines = pd.DataFrame({"who": "a", "t": [1, 9, 11], "x": [1.0, 2.0, 4.0]})
    log = EventLog(lines, "who", "t")
    tens = log.resample(10)
    assert (tens.time_span, tens.observed_until) == ((9, 19), 11)
    assert histories(tens.attach(pd.DataFrame({"who": ["a"]}))) == [[3.0, 4.0]]
    assert histories(tens.snapshots([11, 12])) == [[3.0], [3.0]]
    longer = log.append(pd.DataFrame({"who": "a", "t": [19, 20], "x": [8.0, 16.0]}))
    assert longer.resample(10).to_frame()["x"].tolist() == [3.0, 12.0, 16.0]
    assert log.resample(1000).to_frame()["t"].tolist() == [999]
    assert len(log) == 3  # as before


def test_kinds_stay_apart():
    rng = np.random.default_rng(0)
    logs = {}
    for kind, field in (("visit", "page"), ("order", "price")):
        lines = pd.DataFrame(
            {"who": rng.choice(list("abc"), 40), "t": rng.integers(0, 60, 40)}
        )
        logs[kind] = EventLog(
            lines.assign(**{field: rng.integers(1, 4, 40)}), "who", "t",
            categorical=["page"] if field == "page" else [], observed_until=60,
        )  # fmt: skip
    for options in ({"period": 7}, {"timeout": 3}):
        how = {"page": "count_distinct"}
        both = EventLog.concat(logs).resample(**options, how=how)
        visits = logs["visit"].resample(**options, how=how)
        apart = {"visit": visits, "order": logs["order"].resample(**options)}
        joined = EventLog.concat(apart)
        expected = joined.to_frame()[list(both.to_frame())]
        pd.testing.assert_frame_equal(both.to_frame(), expected)
        assert both.kinds == joined.kinds
        assert both.observed_until == 60
        assert both.only("order").resample(**options, count_field="n").kinds == {
            "order": ["price", "n_events", "n"]
        }


def test_days_and_moments_of_two_kinds_stay_apart():
    orders = pd.DataFrame({"who": "a", "t": pd.to_datetime(["2024-02-29"])})
    times = pd.to_datetime(["2024-03-01 09:00", "2024-03-01 15:00"])
    visits = pd.DataFrame({"who": "a", "t": times})
    logs = {"order": orders, "visit": visits}
    log = EventLog.concat({name: EventLog(t, "who", "t") for name, t in logs.items()})
    days = log.resample("1D").to_frame()
    assert days["n_events"].tolist() == [1.0, 2.0]
    assert days["t"].dt.second.tolist() == [59, 59]


def test_float32_stays_and_overflows_to_infinity():
    lines = pd.DataFrame({"who": list("aab"), "t": [1, 2, 1]})
    lines["x"] = np.array([3e38, 3e38, np.inf], dtype="float32")
    found = EventLog(lines, "who", "t").resample(5)
    assert found.column("x").values.dtype == np.float32
    assert found.to_frame()["x"].tolist() == [np.inf, np.inf]
    mean = EventLog(lines, "who", "t").resample(5, how={"x": "mean"})
    assert mean.to_frame()["x"].iloc[0] == np.float32(3e38)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "needs either a period.* or the timeout .*; got neither"),
        ({"period": "1D", "timeout": "1h"}, ValueError, "; got both"),
        ({"timeout": "1h", "offset": "1h"}, ValueError, "begin .*; leave it out"),
        ({"period": 1}, TypeError, "period must be a length of time, .*number 1"),
        ({"period": "0h"}, ValueError, "period must be longer than 0; got '0h'"),
        ({"timeout": "-1h"}, ValueError, "timeout must be finite and not negative"),
        ({"period": "2MS"}, ValueError, "calendar period.*such as '30D'"),
        ({"period": "much"}, ValueError, "period must be a length of time"),
        ({"period": "1ns"}, ValueError, "period is 0.001 ticks.*whole number of us"),
        ({"period": "1D", "offset": "1ns"}, ValueError, "offset is 0.001 ticks"),
        (
            {"period": "1D", "how": {"y": "sum"}},
            KeyError,
            r"no columns \['y'\] for how; it has \['x', 'shop'\]",
        ),
        (
            {"period": "1D", "how": {"shop": "sum"}},
            ValueError,
            "'shop': 'sum'.* the field is categorical, for .*'most_frequent', 'first'",
        ),
        ({"period": "1D", "how": "mean"}, TypeError, "how must be a dict.*got 'mean'"),
        ({"period": "1D", "count_field": "x"}, ValueError, "count_field=..."),
        ({"period": "1D", "count_field": "day"}, ValueError, "'day' already"),
        ({"period": "1D", "count_field": None}, TypeError, "must be text; got None"),
    ],
)
def test_errors_name_the_way_out(events, options, error, message):
    log = EventLog(events.assign(shop="n"), "customer", "day")
    with pytest.raises(error, match=message):
        log.resample(**options)


def test_the_kind_field_cannot_be_summarised(log):
    kinds = EventLog.concat({"order": log})
    with pytest.raises(ValueError, match=re.escape("how has the field 'event'")):
        kinds.resample("1D", how={"event": "first"})


def test_times_at_the_end_of_the_axis_do_not_overflow():
    lines = pd.DataFrame({"who": "a", "t": [2**62, 2**63 - 2]})
    log = EventLog(lines, "who", "t")
    period = 2**62 + 2**61
    assert log.resample(period).to_frame()["t"].tolist() == [period - 1, 2**63 - 1]
    assert log.resample(timeout=2**62).to_frame()["t"].tolist() == [2**63 - 1]
    with pytest.raises(ValueError, match="merged events make the log span"):
        EventLog(lines.assign(t=[-1, 5]), "who", "t").resample(timeout=2**63 - 1)
