"""Days between datetimes: equal delays are equal numbers."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._store import Clock, Column, days_between, days_between_ticks
from sklearn_seqcrm._store._days import datetimes_after

UNITS = ["s", "ms", "us", "ns"]
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def some_moments(n=200):
    """Moments of 60 years around 1970, in seconds."""
    return np.random.default_rng(0).integers(-(10**9), 10**9, n).astype("M8[s]")


@pytest.mark.parametrize("end_unit", UNITS)
@pytest.mark.parametrize("start_unit", UNITS)
def test_equal_delays_give_equal_days(start_unit, end_unit):
    delay = np.timedelta64(36 * 3600 + 17 * 60, "s")
    start = some_moments()
    end = (start + delay).astype(f"M8[{end_unit}]")
    start = start.astype(f"M8[{start_unit}]")
    assert set(days_between(start, end)) == {36 / 24 + 17 / 1440}
    assert set(days_between(end, start)) == {-(36 / 24 + 17 / 1440)}


@pytest.mark.parametrize("end_unit", UNITS)
@pytest.mark.parametrize("start_unit", UNITS)
def test_within_a_rounding_of_the_exact_quotient(start_unit, end_unit):
    rng = np.random.default_rng(1)
    start, end = (
        rng.integers(-(10**9), 10**9, 50) * PER_SECOND[unit]
        + rng.integers(0, PER_SECOND[unit], 50)
        for unit in (start_unit, end_unit)
    )
    exact = [
        (
            Fraction(int(b), PER_SECOND[end_unit])
            - Fraction(int(a), PER_SECOND[start_unit])
        )
        / 86_400
        for a, b in zip(start, end, strict=True)
    ]
    found = days_between(start.view(f"M8[{start_unit}]"), end.view(f"M8[{end_unit}]"))
    for days, wanted in zip(found.tolist(), exact, strict=True):
        # One rounding of the part of a day, and one of the sum.
        assert abs(Fraction(days) - wanted) <= Fraction(np.spacing(abs(days)))
    one_by_one = [
        days_between_ticks(int(a), start_unit, int(b), end_unit)
        for a, b in zip(start, end, strict=True)
    ]
    assert_array_equal(one_by_one, found)


def test_far_dates_beside_fine_ticks():
    """int64 cannot count the nanoseconds until the year 9999."""
    start = np.array(["2024-01-01", "NaT", "2024-01-01"], "M8[ns]")
    end = np.array(["9999-12-31", "9999-12-31", "NaT"], "M8[s]")
    days = (np.datetime64("9999-12-31") - np.datetime64("2024-01-01")).astype(int)
    assert_array_equal(days_between(start, end), [days, np.nan, np.nan])


@pytest.mark.parametrize("unit", UNITS)
def test_a_field_of_datetimes_is_days_after_its_event(unit):
    clock = Clock("int64", unit)
    times = some_moments().astype(f"M8[{unit}]")
    column = Column(times.astype("M8[ns]") + np.timedelta64(5, "m"))
    assert set(column.as_numbers(times.view("int64"), clock)) == {5 / 1440}
    # Where times are plain numbers, days since 1970.
    moments = Column(np.array(["1970-01-02T06:00", "NaT"], f"M8[{unit}]"))
    numbers = moments.as_numbers(np.array([0.5, 2.5]), Clock("float64"))
    assert_array_equal(numbers, [1.25, np.nan])


@pytest.mark.parametrize("unit", UNITS)
def test_moments_after_events_are_the_inverse(unit):
    clock, start = Clock("int64", unit), some_moments()
    end = start + np.random.default_rng(2).integers(-(10**8), 10**8, len(start))
    times = start.astype(f"M8[{unit}]").view("int64")
    days = days_between(start, end)
    days[7] = np.nan
    end[7] = np.datetime64("NaT", "s")
    assert_array_equal(datetimes_after(days, times, clock, 1), end)
    found = datetimes_after(days, times, clock, 86_400)
    seconds = end[found == found].view("int64")
    nearest = (seconds + 43_200) // 86_400 * 86_400
    assert_array_equal(found[found == found].view("int64"), nearest)
    plain = datetimes_after(np.array([1.25]), np.array([3.5]), Clock("float64"), 1)
    assert_array_equal(plain, np.array(["1970-01-02T06:00"], "M8[s]"))
