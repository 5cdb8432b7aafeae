"""Warnings of dates that are probably wrong: single late events, a late end."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from tests.logs import log_of

RNG = np.random.default_rng(0)
TWO_YEARS = pd.Timestamp("2023-01-01") + pd.to_timedelta(RNG.uniform(0, 730, 2000), "D")
WHO = RNG.integers(0, 50, 2001)
LATE = "events are long after all others"


def with_late(times, *late):
    """Times of customers, and late ones of customer 7 in the first rows."""
    times = pd.DatetimeIndex([*map(pd.Timestamp, late), *times])
    return times, np.append([7] * len(late), WHO[: len(times) - len(late)])


@pytest.mark.parametrize(
    ("times", "late", "n"),
    [
        (TWO_YEARS, ["2204-01-01"], 1),
        (TWO_YEARS, ["2050-01-01", "2204-01-01"], 2),
        (TWO_YEARS, ["2025-06-01"], 1),
        (TWO_YEARS[:99], ["2034-01-01"], 1),
        # A wrong early date, too, does not hide it.
        ([*TWO_YEARS, pd.Timestamp("2014-01-01")], ["2034-01-01"], 1),
    ],
)
def test_a_late_event_is_a_warning(times, late, n):
    times, who = with_late(times, *late)
    match = rf"^{n} of {len(times):,} {LATE}.* {late[0]} .* customer 7; the others .*"
    with pytest.warns(UserWarning, match=match + rf"events\['time'\] >= '{late[0]} "):
        log_of(times, who)


def test_a_late_number_is_a_warning():
    numbers = [*range(200), 500]
    with pytest.warns(UserWarning, match=rf"1 of 201 {LATE}.* at 500, .* end at 199"):
        log_of(numbers, "a")


SEASONS = [
    pd.Timestamp(f"{year}-06-01") + pd.Timedelta(hours=hour)
    for year in range(2020, 2024)
    for hour in range(0, 2000, 30)
]
HONEST = {
    "evenly spread": TWO_YEARS,
    "a month later": [*TWO_YEARS, pd.Timestamp("2025-01-31")],
    "few events": [*TWO_YEARS[:90], pd.Timestamp("2034-01-01")],
    "a season": [*SEASONS, pd.Timestamp("2024-06-01")],
    "a new period": [*TWO_YEARS, *(TWO_YEARS[:10] + pd.Timedelta("1000D"))],
    "ever fewer": pd.Timestamp("2020-01-01")
    + pd.to_timedelta(1.003 ** np.arange(2000), "D"),
    "one time": [pd.Timestamp("2024-01-01")] * 200 + [pd.Timestamp("2024-05-01")],
    "numbers": [*range(200), 390],
    "floats": np.append(RNG.exponential(30.0, 2000), 400.0),
}


@pytest.mark.parametrize("case", HONEST)
def test_other_last_events_are_no_warning(case):
    log_of(HONEST[case], "a")


@pytest.mark.parametrize("kinds", [False, True])
def test_an_appended_late_event_is_one_warning(kinds):
    log = log_of(TWO_YEARS, WHO[:2000])
    more = pd.DataFrame({"who": [3], "time": pd.to_datetime(["2204-01-01"])})
    later = more.assign(time=pd.to_datetime(["2025-01-01"]))
    if kinds:
        log = EventLog.concat({"order": log})
        more, later = {"order": more}, {"order": later}
    with pytest.warns(UserWarning, match=rf"1 of 2,001 {LATE}.* customer 3; "):
        late = log.append(more)
    # Whoever has accepted it is not warned again.
    assert len(late.append(later)) == 2002


def test_observed_until_confirms_late_events(tmp_path):
    times, who = with_late(TWO_YEARS, "2025-06-01")
    table = pd.DataFrame({"who": who, "time": times})
    until = {"observed_until": "2025-06-01"}
    with pytest.warns(UserWarning, match=r"confirm them by observed_until=\.\.\.,"):
        EventLog(table, "who", "time")
    EventLog(table, "who", "time", **until)
    parts = [table.sort_values(["who", "time"])]
    EventLog.from_parts(parts, tmp_path / "log", "who", "time", **until)
    # In `append`, also the end of observation of an appended log.
    log = EventLog(table[1:], "who", "time")
    log.append(table[:1], **until)
    log.append(EventLog(table[:1], "who", "time", observed_until="2025-06-02"))


def test_parts_on_disk_are_checked_together(tmp_path):
    times, who = with_late(TWO_YEARS, "2204-01-01")
    table = pd.DataFrame({"who": who, "time": times})
    parts = [table[table["who"] < 9], table[table["who"] >= 9]]
    with pytest.warns(UserWarning, match=rf"1 of 2,001 {LATE}.* customer 7; "):
        EventLog.from_parts(parts, tmp_path / "log", "who", "time")


@pytest.mark.filterwarnings("error")
def test_a_warning_as_error_leaves_no_folder(tmp_path):
    times, who = with_late(TWO_YEARS, "2025-06-01")
    table = pd.DataFrame({"who": who, "time": times}).sort_values(["who", "time"])
    for _ in range(2):
        with pytest.raises(UserWarning, match=LATE):
            EventLog.from_parts([table], tmp_path / "log", "who", "time")
        assert not list(tmp_path.iterdir())
    EventLog.from_parts(
        [table], tmp_path / "log", "who", "time", observed_until="2025-06-01"
    )


def test_observed_until_years_later_is_a_warning(tmp_path):
    far = "2034-06-01"
    match = r"observed_until is 2034-06-01 .*, (9|10) years after the last event"
    log = log_of(TWO_YEARS, WHO[:2000])
    more = pd.DataFrame({"who": 3, "time": TWO_YEARS[:100]})
    for build in (
        lambda: log_of(TWO_YEARS, WHO[:2000], observed_until=far),
        lambda: log.append(more, observed_until=far, duplicates="keep"),
        lambda: EventLog.concat({"order": log}, observed_until=far),
        lambda: EventLog.from_parts(
            [more], tmp_path / "log", "who", "time", observed_until=far
        ),
    ):
        with pytest.warns(UserWarning, match=match) as found:
            build()
        assert "tests" in Path(found[0].filename).parts


def test_an_accepted_observed_until_is_not_warned_of_again():
    with pytest.warns(UserWarning, match="years after the last event"):
        log = log_of(TWO_YEARS, WHO[:2000], observed_until="2034-06-01")
    more = pd.DataFrame({"who": [3], "time": pd.to_datetime(["2025-01-01"])})
    log.append(more)
    log.append(more[:0])
    log.append(more, observed_until="2034-06-01")
    with pytest.warns(UserWarning, match="observed_until is 2044-06-01"):
        log.append(more, observed_until="2044-06-01")


def test_rare_kinds_may_end_long_before_they_were_observed():
    log_of(TWO_YEARS, "a", observed_until="2026-12-31")
    log_of(TWO_YEARS[:99], "a", observed_until="2034-01-01")
    log_of([1, 2, 3], "a", observed_until=5000)


@pytest.mark.parametrize(
    ("early", "years"),
    [
        (["1900-01-01"], 123),
        (["1900-01-01"] * 300, 123),
        (["1900-01-01", "1970-01-01"], 53),
        (["2019-12-01"], 3),
        ([f"1900-01-{day:02d}" for day in range(1, 11)], 123),
    ],
)
def test_an_early_event_is_a_warning(early, years, tmp_path):
    """One event of 1900 gave its customer 1,500 rows of snapshots_every("30D")."""
    times, who = with_late(TWO_YEARS, *early)
    match = (
        f"{len(early)} of {len(times):,} events came {years} years before all others, "
        rf"the last of them at {early[-1]} .*; the others begin at 2023-01-01 .* drop "
        r"the rows with events\['time'\] < '2023-01-01 "
    )
    with pytest.warns(UserWarning, match=match) as found:
        log_of(times, who)
    assert "tests" in Path(found[0].filename).parts
    table = pd.DataFrame({"who": who, "time": times})
    log = EventLog(table[len(early) :], "who", "time")
    with pytest.warns(UserWarning, match=match):
        late = log.append(table[: len(early)])
    late.append(table[:1], duplicates="keep")  # not warned of again
    parts = [table.sort_values(["who", "time"])]
    with pytest.warns(UserWarning, match=match):
        EventLog.from_parts(parts, tmp_path / "log", "who", "time")


HONEST_FIRST = [
    [*TWO_YEARS, pd.Timestamp("2020-06-01")],
    [*TWO_YEARS[:90], pd.Timestamp("1900-01-01")],
    [*(TWO_YEARS - pd.Timedelta(days=3000)), *TWO_YEARS],
    pd.date_range("1990-01-01", "2024-01-01", periods=2000),
    [*pd.date_range("1940-01-01", "2004-01-01", periods=11), *TWO_YEARS],
    [*[pd.Timestamp("1900-01-01")] * (len(TWO_YEARS) // 3), *TWO_YEARS],
    [-(10**12), *range(2000)],
]


@pytest.mark.parametrize("times", HONEST_FIRST)
def test_other_first_events_are_no_warning(times):
    log_of(times, "a")


def test_very_few_early_events_may_be_on_many_days():
    """Years of two digits were read as those of another century."""
    early = pd.date_range("1923-01-01", periods=11)
    times = np.r_[early.as_unit("s"), np.tile(TWO_YEARS.as_unit("s"), 20)]
    with pytest.warns(UserWarning, match="11 of .* events came 100 years before all"):
        log_of(pd.Series(times), "a")


NOONS = pd.Series(pd.to_datetime(["2024-01-02 12:00", "2024-01-05 12:00"]))
AWARE = NOONS.dt.tz_localize("Asia/Tokyo")


@pytest.mark.parametrize("dtype", [None, object])
@pytest.mark.parametrize(
    ("time", "due", "match"),
    [
        (
            NOONS,
            AWARE,
            r"\['due'\] hold datetimes with a time zone, but the times have",
        ),
        (AWARE, NOONS, r"\['due'\] hold datetimes without a time zone, but the times"),
    ],
)
def test_fields_of_another_time_zone_than_the_times(time, due, match, dtype, tmp_path):
    due = due if dtype is None else due.astype(dtype)
    events = pd.DataFrame({"who": ["a", "b"], "time": time, "due": due})
    with pytest.warns(UserWarning, match=match) as found:
        EventLog(events, "who", "time")
    assert [one.filename for one in found] == [__file__]
    with pytest.warns(UserWarning, match=match):
        EventLog.from_parts([events[:1], events[1:]], tmp_path / "log", "who", "time")


@pytest.mark.parametrize(
    ("time", "due"),
    [
        (NOONS, NOONS),
        (AWARE, AWARE.dt.tz_convert("Europe/Berlin")),
        (AWARE, AWARE.astype(object)),
        (AWARE, NOONS.dt.date),  # a date has no zone
        (AWARE, NOONS.dt.normalize()),
        (NOONS, AWARE.where([False, False])),  # nothing is known
        (pd.Series([1, 2]), AWARE),  # days since 1970
    ],
)
def test_fields_with_the_time_zone_of_the_times(time, due):
    """Warnings are errors in the tests."""
    EventLog(pd.DataFrame({"who": ["a", "b"], "time": time, "due": due}), "who", "time")


def test_appended_and_later_fields_of_another_time_zone(tmp_path):
    events = pd.DataFrame({"who": ["a", "b"], "time": NOONS, "due": NOONS})
    more = events.assign(due=AWARE)
    log = EventLog(events, "who", "time")
    merged = EventLog.concat({"order": log})
    parts = [events[:1], more[1:]]
    match = r"\['due'\] hold datetimes with a time zone, but the times have"
    for build in (
        lambda: log.append(more, duplicates="keep"),
        lambda: merged.append({"order": more}, duplicates="keep"),
        lambda: EventLog.from_parts(parts, tmp_path / "log", "who", "time"),
    ):
        with pytest.warns(UserWarning, match=match) as found:
            build()
        assert [one.filename for one in found] == [__file__]


@pytest.mark.parametrize("dtype", [None, object])
@pytest.mark.parametrize(("time", "due"), [(NOONS, AWARE), (AWARE, NOONS)])
def test_the_advice_about_time_zones_can_be_executed(time, due, dtype):
    due = due if dtype is None else due.astype(dtype)
    events = pd.DataFrame({"who": ["a", "b"], "time": time, "due": due})
    with pytest.warns(UserWarning, match="names the zone|makes local times") as found:
        EventLog(events, "who", "time")
    advice = re.search(r"pd\..*\)(?= names| makes)", str(found[0].message))[0]
    events["due"] = eval(advice, {"pd": pd, "events": events})
    EventLog(events, "who", "time")
