import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table
from tests.preprocessing.encoded_logs import (
    NAN,
    assert_same_numbers,
    attach,
    encoded,
    one_customer,
    symlog,
)


def test_interarrival_times_are_within_customers():
    events = pd.DataFrame(
        {"who": list("aaaabbc"), "time": [0, 1, 3, 3, 10, 18, 5], "x": 0.0}
    )
    X = attach(events)
    encoder = HistoryEncoder().fit(X)
    gaps = [None, 1, 2, 0, None, 8, None]
    known = [gap for gap in gaps if gap]
    unit = sorted(known)[1]
    assert encoder.layouts_["history"].time_unit == unit
    logs = np.log1p(np.array(known) / unit)
    all_logs = np.log1p(np.array(gaps, dtype="float64") / unit)
    expected = np.nan_to_num((all_logs - logs.mean()) / logs.std())
    assert_allclose(
        encoded(encoder, X)["interarrival_time"], expected, rtol=1e-5, atol=1e-6
    )


def test_the_interarrival_time_to_a_hidden_event_is_missing():
    events = pd.DataFrame({"who": "a", "time": [0, 7, 9], "x": 0.0})
    encoder = HistoryEncoder().fit(attach(events))
    for lookback, gaps in ((None, [0, 1, -1]), (5, [0, -1])):
        there = encoded(encoder, attach(events, cutoff=10, lookback=lookback))
        assert there["interarrival_time"].round(3).tolist() == gaps


def test_a_strict_rhythm_does_not_magnify_another_interarrival_time():
    # The logarithms of equal gaps have a spread of 1e-16 where rounding is unlucky.
    times = np.arange(12) * 0.1
    regular = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}))
    other = attach(pd.DataFrame({"who": "a", "time": [0.0, 0.0, 0.7], "x": 0.0}))
    encoder = HistoryEncoder().fit(regular)
    expected = [0.0, -math.log(2), math.log1p(7) - math.log(2)]
    assert_allclose(encoded(encoder, other)["interarrival_time"], expected, atol=1e-6)


def test_without_any_interarrival_time():
    for times in ([5], [5, 5]):
        X = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}))
        encoder = HistoryEncoder().fit(X)
        assert encoder.layouts_["history"].time_unit == 1
        assert_allclose(encoded(encoder, X)["interarrival_time"], np.log1p(0))


@pytest.mark.parametrize(
    ("times", "calendar"),
    [
        (pd.date_range("2024-01-01", periods=20, freq="D"), ["weekday"]),
        (pd.date_range("2024-01-01 12:00", periods=20, freq="D"), ["weekday"]),
        (pd.date_range("2024-01-01", periods=20, freq="7h"), ["hour", "weekday"]),
        (pd.date_range("2024-01-01", periods=20, freq="MS"), []),
        (pd.date_range("2024-01-01", periods=25, freq="MS"), ["year"]),
        (pd.date_range("2024-01-31", periods=20, freq="ME"), ["weekday"]),
        (pd.date_range("2024-01-01", periods=20, freq="40D"), ["weekday", "year"]),
        (pd.date_range("2024-01-01", periods=9, freq="90D"), ["weekday"]),
        (pd.date_range("2024-01-01", periods=9, freq="D", tz="UTC"), ["weekday"]),
        (np.arange(20) * 86400, []),
    ],
)
def test_calendar_cycles_are_those_that_the_times_support(times, calendar):
    X = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}), cutoff=None)
    encoder = HistoryEncoder().fit(X)
    encoding = encoder.layouts_["history"]
    assert [name for name, _, _ in encoding.calendar] == calendar
    waves = [f"{name}_{wave}1" for name in calendar for wave in ("sin", "cos")]
    assert set(waves) <= set(encoding.channels)
    assert set(waves) <= set(encoding.row_features)


def test_calendar_is_a_wave():
    times = pd.date_range("2024-01-01", periods=400, freq="53h")
    X = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}), cutoff=None)
    there = encoded(HistoryEncoder().fit(X), X)
    hour = 2 * np.pi * times.hour / 24
    weekday = 2 * np.pi * (times.day_of_week + times.hour / 24) / 7
    # Weekdays are counted from Thursday, the day of the epoch.
    thursday = 2 * np.pi * 3 / 7
    for name, phase in (("hour", hour), ("weekday", weekday - thursday)):
        waves = there[[f"{name}_sin1", f"{name}_cos1"]].to_numpy()
        size = np.hypot(*waves.T)
        assert_allclose(size, size[0], rtol=1e-5)
        expected = size[0] * np.column_stack([np.sin(phase), np.cos(phase)])
        assert_allclose(waves, expected, atol=1e-5)
    year = there[["year_sin1", "year_cos1"]].to_numpy()
    days = np.asarray((times - times[0]) / pd.Timedelta("1D"))
    turned = np.unwrap(np.arctan2(*year.T)) - np.arctan2(*year[0])
    assert_allclose(turned, 2 * np.pi * days / 365.2425, atol=1e-4)


def aware_table(unit="us"):
    """Rows with cutoffs in UTC; the same rows as clocks of Berlin show them."""
    utc, local = ([], [])
    for table, column in ((make_events(), "when"), (make_rows(), "at")):
        times = (table[column] + pd.Timedelta(hours=3)).dt.as_unit(unit)
        times = times.dt.tz_localize("UTC")
        utc.append(table.assign(**{column: times}))
        times = times.dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
        local.append(table.assign(**{column: times}))
    return [
        EventLog(events.drop(columns="due"), "who", "when").attach(rows, cutoff="at")
        for events, rows in (utc, local)
    ]


def calendar_of(array):
    """What the calendar is to the events, and to the rows before they are scaled."""
    log = array.log
    raw = np.concatenate(list(log.raw_row_features(array.rows)))
    names = log.layout.channels[log.layout.interarrival_channel + 1 :]
    assert names == tuple(log.layout.row_features[-len(names) :])
    return log.channels[:, -len(names) :], raw[:, -len(names) :]


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_the_calendar_of_a_zone_is_that_of_local_time(unit):
    """Bit for bit, also of a log in another unit than that of the training."""
    utc, local = aware_table(unit)
    encoder = HistoryEncoder(time_zone="Europe/Berlin").fit(utc)
    assert [name for name, *_ in encoder.layouts_["history"].calendar] == [
        "hour",
        "weekday",
        "year",
    ]
    expected = calendar_of(HistoryEncoder().fit_transform(local)["history"].array)
    in_utc = calendar_of(HistoryEncoder().fit_transform(utc)["history"].array)
    for X in (utc, aware_table("us")[0]):
        found = calendar_of(encoder.transform(X)["history"].array)
        for one, other, third in zip(found, expected, in_utc, strict=True):
            assert_array_equal(one, other)
            assert (one != third).any()


def test_a_row_alone_has_the_local_time_that_it_has_among_all():
    X, _ = aware_table()
    encoder = HistoryEncoder(time_zone="America/New_York").fit(X)
    whole = encoder.transform(X)["history"].array
    for i in range(0, len(X), 5):
        alone = encoder.transform(X.iloc[[i]])["history"].array
        assert_array_equal(alone[0].to_frame(), whole[i].to_frame())
        features = whole.log.row_features(whole[[i]].rows)
        assert_array_equal(alone.log.row_features(alone.rows), features)


def test_days_of_a_zone_have_no_hour():
    days = pd.date_range("2024-01-01", periods=200, freq="D", tz="Europe/Berlin")
    X = attach(pd.DataFrame({"who": "a", "time": days, "x": 0.0}), cutoff=None)
    for zone, names in (("Europe/Berlin", ["weekday"]), (None, ["hour", "weekday"])):
        encoder = HistoryEncoder(time_zone=zone).fit(X)
        assert [name for name, *_ in encoder.layouts_["history"].calendar] == names


def test_histories_encoded_in_two_zones_do_not_concatenate():
    X, _ = aware_table()
    one, other = (
        HistoryEncoder(time_zone=zone).fit_transform(X)
        for zone in ("Europe/Berlin", "Europe/Paris")
    )
    with pytest.raises(ValueError, match="two different HistoryEncoders"):
        pd.concat([one, other])


@pytest.mark.parametrize(
    ("zone", "error", "words"),
    [
        ("Europe/Atlantis", ValueError, "name of a zone.*; got 'Europe/Atlantis'"),
        (2, ValueError, "'time_zone' parameter of HistoryEncoder must be"),
    ],
)
def test_unknown_zones_are_refused(zone, error, words):
    X, _ = aware_table()
    with pytest.raises(error, match=words):
        HistoryEncoder(time_zone=zone).fit(X)


def test_a_zone_is_refused_for_times_without_one():
    _, local = aware_table()
    for X, kind in (
        (local, "naive datetimes"),
        (one_customer(x=[1.0]), "plain number"),
    ):
        with pytest.raises(ValueError, match=f"those of the log are {kind}"):
            HistoryEncoder(time_zone="Europe/Berlin").fit(X)


def test_a_datetime_is_days_since_the_event():
    time = pd.to_datetime(["2024-01-01 00", "2024-01-02 12", "2024-01-05 00"])
    due = pd.to_datetime(["2024-01-03", "2024-01-02", None])
    X = attach(pd.DataFrame({"who": "a", "time": time, "due": due}), cutoff=None)
    there = encoded(HistoryEncoder().fit(X), X)
    assert_allclose(there["due"], symlog([2.0, -0.5, NAN], [2.0, -0.5]), rtol=1e-5)
    assert_array_equal(there["due_missing"], [0, 0, 1])


def test_a_datetime_beside_plain_times_is_days_since_the_epoch():
    due = pd.to_datetime(["1970-01-03", "1970-01-02", "1970-01-05"])
    X = one_customer(due=due)
    there = encoded(HistoryEncoder().fit(X), X)
    assert_allclose(there["due"], symlog([2, 1, 4], [2, 1, 4]), rtol=1e-5, atol=1e-7)


def test_half_lives():
    X = make_table()
    auto = HistoryEncoder().fit(X).layouts_["history"]
    assert_allclose(np.divide(auto.half_lives, auto.time_unit), [1, 4, 16, 64])
    lives = ["7D", pd.Timedelta(hours=3)]
    own = HistoryEncoder(half_lives=lives).fit(X).layouts_["history"]
    per_hour = X["history"].array.log.timeline.clock.duration("1h", "an hour")
    assert own.half_lives == (7 * 24 * per_hour, 3 * per_hour)
    plain = HistoryEncoder(half_lives=[2, 0.5]).fit(one_customer(x=[1.0, 2.0]))
    assert plain.layouts_["history"].half_lives == (2, 0.5)


@pytest.mark.parametrize("fit_unit", ["s", "us", "ns"])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_times_of_another_unit_are_the_same_times(fit_unit, unit):
    events, rows = make_events(), make_rows()

    def rows_in(unit):
        table = events.assign(when=events["when"].dt.as_unit(unit))
        return EventLog(table, "who", "when").attach(rows, cutoff="at")

    encoder = HistoryEncoder(half_lives=["30D"]).fit(rows_in(fit_unit))
    reference = HistoryEncoder(half_lives=["30D"]).fit(rows_in("us"))
    actual = encoder.transform(rows_in(unit))["history"].array
    desired = reference.transform(rows_in("us"))["history"].array
    assert actual.log.timeline.clock.unit == fit_unit
    assert (actual.cutoffs == desired.cutoffs).all()
    assert_same_numbers(actual, desired, atol=1e-5)
