"""What depends on the cutoff, against one loop over events for each row."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._encoding import _encoded_log
from sklearn_seqcrm._encoding._training import center_and_spread
from sklearn_seqcrm._ragged import Moments, _decay
from sklearn_seqcrm._ragged._segments import BLOCK
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table

LOOKBACKS = [None, "200D", "3D"]  # no row of three days has an event


def slow_sums(rows, values, half_lives):
    """Every event of every row, faded to its cutoff."""
    times = rows.log.timeline.times
    sums = np.zeros((len(rows.codes), len(half_lives), 1 + values.shape[1]))
    for row, cutoff in enumerate(rows.cutoff):
        for event in range(rows.start[row], rows.stop[row]):
            for k, half_life in enumerate(half_lives):
                share = 0.5 ** (float(cutoff - times[event]) / half_life)
                sums[row, k, 0] += share
                sums[row, k, 1:] += share * values[event]
    return sums


@pytest.mark.parametrize("lookback", LOOKBACKS)
@pytest.mark.parametrize("at_once", [1, 7, 2**17])
def test_decayed_sums(lookback, at_once, monkeypatch):
    monkeypatch.setattr(_decay, "_WIDTH", BLOCK // at_once)
    array = make_table(lookback=lookback)["history"].array
    assert (array.rows.codes < 0).any()
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(array.log), 3)) * [1, 100, 0]
    half_lives = np.array([1.0, 30.0, 3000.0, 1e30]) * 86400e6
    actual = decayed_sums(array.rows, values, half_lives)
    desired = slow_sums(array.rows, values, half_lives)
    assert_allclose(actual, desired, rtol=1e-9, atol=1e-9)


def decayed_sums(rows, values, half_lives):
    return _decay.decayed_sums(rows, rows.log.timeline.times, values, half_lives)


def test_decayed_sums_without_rows_or_events():
    array = make_table()["history"].array
    values = np.ones((len(array.log), 2))
    for rows in (array[:0], array[array.lengths == 0]):
        sums = decayed_sums(rows.rows, values, np.array([1.0]))
        assert_array_equal(sums, np.zeros((len(rows), 1, 3)))


def slow_features(array):
    """One row at a time, in the order of ``layout.row_features``."""
    log, layout = array.log, array.log.layout
    unit, times = layout.time_unit, log.timeline.times
    result = []
    for start, stop, cutoff in zip(*array.rows[2:], strict=True):
        ages = [float(cutoff - times[event]) for event in range(start, stop)]
        values = {
            "since_last": math.log1p(ages[-1] / unit) if ages else math.nan,
            "tenure": math.log1p(ages[0] / unit) if ages else math.nan,
            "n_events": math.log1p(len(ages)),
        }
        for k, half_life in enumerate(layout.half_lives):
            shares = [0.5 ** (age / half_life) for age in ages]
            values[f"count_{k}"] = math.log1p(sum(shares))
            for i, name in enumerate(layout.channels[: layout.n_decayed]):
                facts = log.channels[start:stop, i].astype("float64")
                total = sum(w * x for w, x in zip(shares, facts, strict=True))
                values[f"{name}_{k}"] = total / (sum(shares) + 1)
        for name, period, n_harmonics in layout.calendar:
            for h in range(1, n_harmonics + 1):
                phase = 2 * math.pi * h * (float(cutoff) % period) / period
                values[f"{name}_sin{h}"] = math.sin(phase)
                values[f"{name}_cos{h}"] = math.cos(phase)
        assert set(values) == set(layout.row_features)
        result.append([values[name] for name in layout.row_features])
    return np.array(result)


def raw_features(array):
    return np.concatenate(list(array.log.raw_row_features(array.rows)))


@pytest.mark.parametrize(
    ("lookback", "n_moments"),
    [
        # Days of the events:      1 1 | 2 | 3 3 3        1 1
        (None, {"same time": [0, 1, 5, 1, 0], "1D": [0, 1, 3, 1, 0]}),
        ("12h", {"same time": [0, 1, 1, 1, 0], "1D": [0, 1, 1, 1, 0]}),
        # The third row starts within the first day.
        ("60h", {"same time": [0, 1, 4, 1, 0], "1D": [0, 1, 3, 1, 0]}),
    ],
)
@pytest.mark.parametrize("moments", ["same time", "1D"])
def test_row_features_count_moments(moments, lookback, n_moments):
    times = ["01 08:00", "01 16:00", "02 09:00", "03 08:00", "03 08:00", "03 18:00"]
    times = pd.to_datetime([f"2024-01-{one}" for one in [*times, *times[:1] * 2]])
    events = pd.DataFrame({"customer": [*"aaaaaabb"], "time": times, "n": 1.0})
    cutoffs = ["01 00:00", "01 09:00", "04 00:00", "01 20:00", "01 20:00"]
    rows = pd.DataFrame({"customer": [*"aaab?"]})
    rows["cutoff"] = pd.to_datetime([f"2024-01-{one}" for one in cutoffs])
    X = EventLog(events, "customer", "time").attach(
        rows, cutoff="cutoff", lookback=lookback
    )
    encoder = HistoryEncoder(moments=moments if moments == "1D" else True)
    array = encoder.fit_transform(X)["history"].array
    at = array.log.layout.row_features.index("n_moments")
    assert_allclose(raw_features(array)[:, at], np.log1p(n_moments[moments]))
    # The position after that of the number of events, as it was before.
    assert array.log.layout.row_features[:4] == [
        "since_last",
        "tenure",
        "n_events",
        "n_moments",
    ]


@pytest.mark.parametrize("at_once", [1, 7, 2**13])
@pytest.mark.parametrize("lookback", LOOKBACKS)
def test_row_features(lookback, at_once, monkeypatch):
    monkeypatch.setattr(_encoded_log, "_WIDTH", BLOCK // at_once)
    X = make_table(lookback=lookback)
    encoder = HistoryEncoder().fit(X)
    array = encoder.transform(X)["history"].array
    log = array.log
    raw = slow_features(array)
    assert_allclose(raw_features(array), raw, rtol=1e-6, atol=1e-6)
    known = [column[~np.isnan(column)] for column in raw.T]
    center = [column.mean() if len(column) else 0 for column in known]
    spread = [column.std() if len(column) else 1 for column in known]
    scaled = (raw - center) / [one if one > 1e-6 else 1 for one in spread]
    expected = np.nan_to_num(scaled.clip(-10, 10))
    assert_allclose(log.row_features(array.rows), expected, rtol=1e-4, atol=1e-4)
    # Other rows are scaled like the training rows.
    few = encoder.transform(X.iloc[:5])["history"].array
    assert_allclose(few.log.row_features(few.rows), expected[:5], rtol=1e-4, atol=1e-4)


def test_center_and_spread_of_blocks():
    """Of all rows together; rounding is no spread, and what is missing no number."""
    nan = np.nan
    blocks = [[[1, nan, nan, 0.3], [2, 4, nan, 0.1 + 0.2]], [[6, 8, nan, 0.3]]]
    center, spread = center_and_spread(
        Moments.of(lambda: [np.array(block) for block in blocks])
    )
    assert_allclose(center, [3, 6, 0, 0.3])
    assert_allclose(spread, [math.sqrt(14 / 3), 2, 1, 1])


def test_a_far_future_is_clipped():
    """Training rows that are nearly alike must not blow up one that is not."""
    events = pd.DataFrame({"who": ["a", "a", "b", "b"], "time": [0, 1, 0, 1.001]})
    log = EventLog(events, "who", "time")
    encoder = HistoryEncoder().fit(log.attach(events[["who"]], cutoff=2.0))
    array = encoder.transform(log.attach(events[["who"]], cutoff=1e6))["history"].array
    raw = raw_features(array)
    center, spread = array.log._row_scale
    assert np.abs((raw - center) / spread).max() > 1000
    features = array.log.row_features(array.rows)
    assert features.dtype == "float32"
    assert np.abs(features).max() == 10


def test_leap_days_are_no_scale_of_the_time_of_year():
    """Cutoffs at one day of several years: another day was ten deviations away."""
    days = pd.date_range("2015-01-01", "2020-12-31", freq="5D")
    log = EventLog(
        pd.DataFrame({"who": np.arange(len(days)) % 9, "day": days}), "who", "day"
    )
    encoder = HistoryEncoder().fit(
        log.snapshots(["2018-01-01", "2019-01-01", "2020-01-01"])
    )
    array = encoder.transform(log.snapshots(["2020-01-15"]))["history"].array
    names = array.log.layout.row_features
    year = [names.index(f"year_{wave}1") for wave in ("sin", "cos")]
    # 14 days are 0.24 radians, less than the least scale.
    assert np.abs(array.log.row_features(array.rows)[:, year]).max() < 1


def test_a_feature_without_training_values_is_zero():
    rows = make_rows().assign(at=pd.Timestamp("2000-01-01"))
    X = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    encoder = HistoryEncoder().fit(X)
    array = encoder.transform(X)["history"].array
    assert_array_equal(array.log.row_features(array.rows), 0)
    later = encoder.transform(make_table())["history"].array
    assert np.isfinite(later.log.row_features(later.rows)).all()


def test_an_event_at_the_cutoff_has_no_age():
    events = pd.DataFrame({"who": "a", "time": [1, 2, 3], "x": [1.0, 2.0, 4.0]})
    rows = pd.DataFrame({"who": ["a"], "at": [3]})
    X = EventLog(events, "who", "time").attach(
        rows, cutoff="at", allow_exact_matches=True
    )
    array = HistoryEncoder().fit_transform(X)["history"].array
    assert_array_equal(array.lengths, [3])
    since_last, tenure, n_events = raw_features(array)[0, :3]
    assert since_last == 0
    assert_allclose([tenure, n_events], np.log1p([2, 3]))


def test_events_long_ago_underflow_without_an_error():
    """Sums of old events are 0 or nearly so, whatever NumPy does with underflows."""
    # One event 1, 1.1, 1.2, ... tens of half-lives ago: some sums are just above 0.
    ages = np.logspace(0, 5, 500)
    events = pd.DataFrame({"who": np.arange(500), "time": -ages, "x": ages % 3})
    busy = pd.DataFrame({"who": -1, "time": -np.arange(1.0, 900.0), "x": 1.0})
    log = EventLog(pd.concat([events, busy]), "who", "time")
    X = log.attach(pd.DataFrame({"who": np.arange(-1, 500)}), cutoff=0.0)
    encoder = HistoryEncoder()
    array = encoder.fit_transform(X)["history"].array
    desired = array.log.row_features_and_sums(array.rows)
    with np.errstate(all="raise"):
        array = encoder.fit(X).transform(X)["history"].array
        actual = array.log.row_features_and_sums(array.rows)
    for one, other in zip(actual, desired, strict=True):
        assert_array_equal(one, other)
