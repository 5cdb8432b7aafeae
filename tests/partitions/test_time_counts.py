"""Times of all partitions, thinned, and the warnings of dates by them."""

import warnings
from functools import partial, reduce

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.partitions import PartitionedLog
from sklearn_seqcrm.partitions._schema import TimeCounts
from tests.events.test_wrong_dates import HONEST, HONEST_FIRST, LATE, TWO_YEARS


def log_of_times(times, **options):
    """Return a log of 30 customers in three partitions."""
    table = pd.DataFrame({"who": np.arange(len(times)) % 30, "time": times})
    parts = [table[table["who"] % 3 == part] for part in range(3)]
    return PartitionedLog(parts, "who", "time", **options)


@pytest.mark.parametrize("n", [2_000, 200_000])
def test_late_events_of_all_partitions_are_one_warning(n):
    first, late = (
        pd.Timestamp("2023-01-01"),
        pd.to_datetime(["2050-01-01", "2204-01-01"]),
    )
    times = first + pd.to_timedelta(np.linspace(0, 730, n), "D")
    match = rf"^2 of {n + 2:,} {LATE}.* 2050-01-01 [^,]*; the others end at 2024-12-31"
    with pytest.warns(UserWarning, match=match) as found:
        log_of_times(times.append(late))
    assert [one.filename for one in found] == [__file__]
    log_of_times(times.append(late), observed_until="2204-01-01")


def test_one_late_event_of_few_is_a_warning():
    with pytest.warns(UserWarning, match=rf"^1 of 201 {LATE}.* end at 199"):
        log_of_times([*range(200), 500])


@pytest.mark.parametrize("case", HONEST)
def test_other_last_events_are_no_warning(case):
    log_of_times(HONEST[case])


@pytest.mark.parametrize("n", [2_000, 200_000])
@pytest.mark.parametrize("options", [{}, {"observed_until": "2024-12-31"}])
def test_early_events_of_all_partitions_are_one_warning(n, options):
    """As of one log: of few distinct times, and of more than are kept."""
    bulk = pd.to_datetime(np.linspace(1.68e9, 1.73e9, n), unit="s")
    times = bulk.append(pd.to_datetime(["1900-01-01", "1900-01-01"]))
    match = rf"^2 of {n + 2:,} events came 123 years before all others, the last of "
    with pytest.warns(UserWarning, match=match) as found:
        log_of_times(times, **options)
    assert [one.filename for one in found] == [__file__]
    table = pd.DataFrame({"who": 1, "time": times})
    with pytest.warns(UserWarning, match=match) as of_one:
        EventLog(table, "who", "time", **options)
    assert str(of_one[0].message) == str(found[0].message)


@pytest.mark.parametrize("times", HONEST_FIRST)
def test_other_first_events_are_no_warning(times):
    log_of_times(times)


@pytest.mark.parametrize("wrong", ["2050-01-01", "1900-01-01"])
def test_logs_among_the_items_have_warned(recwarn, wrong):
    table = pd.DataFrame({"who": 1, "time": [*TWO_YEARS, pd.Timestamp(wrong)]})
    log = EventLog(table, "who", "time")
    assert len(recwarn) == 1
    PartitionedLog([log], "who", "time")
    assert len(recwarn) == 1


def test_logs_of_functions_have_an_end_of_observation():
    """An end that was given confirms late events, as in one process."""
    times = [*TWO_YEARS, pd.Timestamp("2030-01-01")]
    table = pd.DataFrame({"who": np.arange(len(times)) % 30, "time": times})

    def log_of_part(part):
        own = table[table["who"] % 3 == part]
        return EventLog(own, "who", "time", observed_until="2030-01-01")

    with warnings.catch_warnings():  # of the parts, whose events end years earlier
        warnings.filterwarnings("ignore", message="observed_until is")
        PartitionedLog([partial(log_of_part, i) for i in range(3)], "who", "time")


def test_observed_until_years_later_is_a_warning():
    with pytest.warns(UserWarning, match=r"2034-06-01 .*years after the last") as found:
        log_of_times(TWO_YEARS, observed_until="2034-06-01")
    assert [one.filename for one in found] == [__file__]


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_thinned_times(dtype):
    """Against the events themselves: counts, the ends, and long silences."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(-(2**62), 2**62, 30_000)).astype(dtype)
    times = times[(times < 2**60) | (times > 2**61)]
    parts = [TimeCounts.of(times[part::4]) for part in range(4)]
    found = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    assert len(found.times) <= 4000
    assert np.isin(found.times, times).all()
    assert found.counts.sum() == len(times)
    assert (found.times[0], found.times[-1]) == (times[0], times[-1])
    # From each kept time on, exactly as many events as there are.
    until = np.append(0, np.cumsum(found.counts))[:-1]
    place = int(np.argmax(np.diff(found.times)))
    silence = np.diff(times)
    assert np.diff(found.times)[place] == silence.max()
    assert until[place + 1] == np.argmax(silence) + 1


def test_few_distinct_times_are_counted_exactly():
    """Also of many partitions, and if one is centuries later."""
    days = np.append(np.random.default_rng(0).integers(0, 700, 50_000), 80_000)
    found = reduce(TimeCounts.merge, [TimeCounts.of(days[i::20]) for i in range(20)])
    expected = np.unique(days, return_counts=True)
    np.testing.assert_array_equal(found, expected)
