"""What clocks of a zone show, against Python's zones, one time after another."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._encoding._calendar import LocalClock, periods_of
from sklearn_seqcrm._store import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# With changes in the night to Sunday, at another hour, of half an hour, none, and of a
# whole day that was left out (Samoa, at the end of 2011).
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
]


def ahead(zone, second):
    time = (EPOCH + timedelta(seconds=int(second))).astimezone(ZoneInfo(zone))
    return int(time.utcoffset().total_seconds())


@pytest.mark.parametrize("unit", PER_SECOND)
@pytest.mark.parametrize("zone", ZONES)
def test_local_times_are_those_of_zoneinfo(zone, unit):
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", "2024-12-31", freq="h").to_numpy()
    seconds = np.concatenate(
        [
            hours.astype("M8[s]").view("int64"),  # all changes of a year
            rng.integers(4e8, 2e9, 500),  # and of some fifty
        ]
    )
    seconds = np.append(seconds, seconds - 1)
    ticks = seconds * PER_SECOND[unit] + rng.integers(PER_SECOND[unit])
    shown = LocalClock.of(zone, Clock("int64", unit, aware=True)).local(ticks)
    expected = [ahead(zone, second) for second in seconds]
    assert_array_equal((shown - ticks) / PER_SECOND[unit], expected)
    assert shown.dtype == "int64"


def test_the_night_in_which_clocks_change():
    berlin = LocalClock.of("Europe/Berlin", Clock("int64", "s", aware=True))
    for night, hours in (("2024-03-31", [0, 1, 3, 4]), ("2024-10-27", [1, 2, 2, 3])):
        utc = pd.date_range(night, periods=4, freq="h") - pd.Timedelta(hours=1)
        shown = berlin.local(utc.to_numpy().astype("M8[s]").view("int64"))
        assert (shown // 3600 % 24).tolist() == hours


@pytest.mark.parametrize("unit", PER_SECOND)
def test_the_last_possible_cutoff_has_a_local_time(unit):
    clock = LocalClock.of("Europe/Berlin", Clock("int64", unit, aware=True))
    far = np.array([2**62, -(2**62)])
    shown = clock.local(far)
    assert_array_equal(shown - far, 3600 * PER_SECOND[unit])  # as in a winter
    assert clock.local(far[:0]).shape == (0,)


@pytest.mark.parametrize("zone", ["Berlin", "", "Europe", "../etc", "UTC+1"])
def test_unknown_zones(zone):
    with pytest.raises(ValueError, match="name of a zone, such as 'Europe/Berlin'"):
        LocalClock.of(zone, Clock("int64", "us", aware=True))


@pytest.mark.parametrize(
    ("clock", "kind"),
    [
        (Clock("int64", "us"), "naive datetimes"),
        (Clock("int64"), "plain numbers"),
        (Clock("float64"), "plain numbers"),
    ],
)
def test_times_without_a_zone(clock, kind):
    with pytest.raises(ValueError, match=f"that have a zone, .* are {kind}"):
        LocalClock.of("Europe/Berlin", clock)


@pytest.mark.parametrize("unit", PER_SECOND)
def test_days_end_with_their_last_tick(unit):
    day = PER_SECOND[unit] * 86_400
    ticks = np.array([19_800 * day, 19_801 * day - 1, 19_801 * day])
    assert periods_of(ticks, float(day), None).tolist() == [19_800, 19_800, 19_801]
    assert_array_equal(periods_of(ticks, 0.0, None), ticks)
