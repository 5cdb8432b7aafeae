import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from sklearn_seqcrm._encoding import EventEncoder
from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table

NAN, INF = math.nan, math.inf


def attach(events, cutoff=1000, **options):
    """One row per customer of a table with the columns who and time."""
    rows = pd.DataFrame({"who": sorted(set(events["who"]))})
    return EventLog(events, "who", "time").attach(rows, cutoff=cutoff, **options)


def one_customer(**fields):
    """Events of one customer at the times 0, 1, 2, ..."""
    n = len(next(iter(fields.values())))
    return attach(pd.DataFrame({"who": ["a"] * n, "time": range(n), **fields}))


def encoded(encoder, X, name="history"):
    """Channels and codes of all visible events, one after the other."""
    frame = encoder.transform(X)[name].array.to_frame()
    return frame.reset_index(drop=True)


def assert_same_numbers(actual, desired, atol=0):
    """Everything that a network reads of encoded histories."""
    for one, other in zip(*map(_numbers, (actual, desired)), strict=True):
        assert_allclose(one, other, rtol=0, atol=atol)


def _numbers(array):
    log, rows = array.log, array.rows
    return log.channels, log.codes, log.row_features(rows), rows.start, array.lengths


# Numbers ------------------------------------------------------------------------------


def quantile(values, share):
    """Linear interpolation between sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def symlog(values, training):
    """The documented formula, one number at a time."""
    known = [value for value in training if math.isfinite(value)]
    center = quantile(known, 0.5)
    scale = (quantile(known, 0.75) - quantile(known, 0.25)) / 1.349
    z = [(v - center) / scale if math.isfinite(v) else 0.0 for v in values]
    return [math.copysign(math.log1p(abs(one)), one) for one in z]


@pytest.mark.parametrize(
    "training",
    [
        [1.0, 2.0, 3.0, 4.0, 1000.0],
        [-5.0, 0.0, 5.0, NAN, 7.5, -2.25, INF],
        [5, 3, 8, 1],
        [True, False, True, True],
        [1e12, 2e12, -3e12],
    ],
)
def test_numbers_are_symlogs_of_scaled_values(training):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=training))
    assert_allclose(there["x"], symlog(training, training), rtol=1e-5, atol=1e-6)
    others = [0.0, -1e9, NAN, -INF, 4.0]
    there = encoded(encoder, one_customer(x=others))
    assert_allclose(there["x"], symlog(others, training), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("training", "values", "expected"),
    [
        # The spread, where quartiles are equal.
        ([0.0] * 6 + [10.0], [10.0], [math.log1p(10 / np.std([0.0] * 6 + [10.0]))]),
        # 1, where all are: the spread of these is 1e-17, no scale for a later 0.2.
        ([0.1, 0.1, 0.1], [0.1, 0.2], [0.0, math.log1p(0.1)]),
        ([NAN, NAN, INF], [NAN, 2.0], [0.0, math.log1p(2.0)]),
        # A small spread of large numbers is one.
        (1.7e9 + np.arange(9), 1.7e9 + np.arange(9), symlog(range(9), range(9))),
    ],
)
def test_scales(training, values, expected):
    encoder = HistoryEncoder().fit(one_customer(x=training))
    there = encoded(encoder, one_customer(x=values))
    assert_allclose(there["x"], expected, rtol=1e-5)
    marks = np.isnan(values) if np.isnan(training).any() else None
    assert_array_equal(there.get("x_missing"), marks)


@pytest.mark.parametrize("rare", [1e-310, 1e300])
def test_scales_beyond_the_largest_float(rare):
    training = one_customer(x=[0.0] * 9 + [rare])
    there = encoded(HistoryEncoder().fit(training), training)["x"]
    assert np.isfinite(there).all()
    assert (there[:9] == 0).all()
    assert (there[9] > 1) == (rare > 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_other", [0, 1])
def test_rounding_does_not_count_as_scale(dtype, n_other):
    """.1 + .2 is not .3, be it of half of the values or of all."""
    values = np.array([0.3] * 6 + [0.1 + 0.2] * 6 + [0.9] * n_other, dtype)
    values[:6] = np.nextafter(values[0], np.array(0, dtype))
    X = one_customer(price=values)
    there = encoded(HistoryEncoder().fit(X), X)["price"]
    assert_allclose(there[:12], 0, atol=1e-6)
    if n_other:  # the spread of all values, as where quartiles are equal
        z = 0.6 / np.std([0.3] * 12 + [0.9])
        assert_allclose(there[12], math.log1p(z), rtol=1e-6)


def test_missing_and_infinite_numbers_are_marked_if_training_had_some():
    some, none = one_customer(x=[1.0, NAN, 3.0, -INF]), one_customer(x=[1.0, 2.0, 3.0])
    there = encoded(HistoryEncoder().fit(some), some)
    assert_array_equal(there["x_missing"], [0, 1, 0, 1])
    assert there["x"][1] == there["x"][3] == 0
    encoder = HistoryEncoder().fit(none)
    assert encoder.layouts_["history"].channels == ("x", "time_gap")
    assert encoded(encoder, some)["x"][1] == 0


def test_channels_are_float32_and_codes_int32():
    X = one_customer(x=[1.0, 2.0], kind=["a", "b"])
    log = HistoryEncoder().fit_transform(X)["history"].array.log
    assert log.channels.dtype == "float32"
    assert log.codes.dtype == "int32"
    assert log.fields == ["x", "time_gap", "kind"]


# Categories ---------------------------------------------------------------------------

LEVELS = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "d"]  # of ten events


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        # What a, b, c, d become; 2 is the first level, the last is for rare ones.
        ({}, [2, 3, 4, 5]),
        ({"min_frequency": 1}, [2, 3, 4, 5]),
        ({"min_frequency": 2}, [2, 3, 4, 5]),
        ({"min_frequency": 3}, [2, 3, 4, 4]),
        ({"min_frequency": 0.3}, [2, 3, 4, 4]),
        ({"min_frequency": np.float32(0.35)}, [2, 3, 3, 3]),
        ({"min_frequency": 5}, [2, 2, 2, 2]),
        ({"max_categories": 4}, [2, 3, 4, 5]),
        ({"max_categories": 1}, [2, 3, 3, 3]),
        ({"max_categories": None}, [2, 3, 4, 5]),
        ({"min_frequency": 2, "max_categories": 1}, [2, 3, 3, 3]),
    ],
)
def test_levels_have_codes(options, codes):
    encoder = HistoryEncoder(**options).fit(one_customer(kind=LEVELS))
    X = one_customer(kind=["a", "b", "c", "d", "new", None])
    assert encoded(encoder, X)["kind"].tolist() == [*codes, 0, 1]
    assert encoder.layouts_["history"].n_levels == (max(codes) + 1,)


def test_the_most_frequent_levels_have_their_own_code():
    X = one_customer(kind=["z", "z", "z", "y", "b", "b", "a"])
    encoder = HistoryEncoder(max_categories=2).fit(X)
    # Own codes in the order of the levels: b, z; then a and y together.
    assert encoded(encoder, X)["kind"].tolist() == [3, 3, 3, 4, 2, 2, 4]


def test_a_field_without_levels_has_codes_for_unseen_and_missing():
    X = one_customer(kind=pd.Series([None, None], dtype="category"), x=[1.0, 2.0])
    encoder = HistoryEncoder().fit(X)
    assert encoder.layouts_["history"].n_levels == (2,)
    other = one_customer(kind=["a", None], x=[1.0, 2.0])
    assert encoded(encoder, other)["kind"].tolist() == [0, 1]


# Time ---------------------------------------------------------------------------------


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
    assert_allclose(encoded(encoder, X)["time_gap"], expected, rtol=1e-5, atol=1e-6)


def test_the_interarrival_time_to_a_hidden_event_is_missing():
    events = pd.DataFrame({"who": "a", "time": [0, 7, 9], "x": 0.0})
    encoder = HistoryEncoder().fit(attach(events))
    for lookback, gaps in ((None, [0, 1, -1]), (5, [0, -1])):
        there = encoded(encoder, attach(events, cutoff=10, lookback=lookback))
        assert there["time_gap"].round(3).tolist() == gaps


def test_a_strict_rhythm_does_not_magnify_another_interarrival_time():
    # The logarithms of equal gaps have a spread of 1e-16 where rounding is unlucky.
    times = np.arange(12) * 0.1
    regular = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}))
    other = attach(pd.DataFrame({"who": "a", "time": [0.0, 0.0, 0.7], "x": 0.0}))
    encoder = HistoryEncoder().fit(regular)
    expected = [0.0, -math.log(2), math.log1p(7) - math.log(2)]
    assert_allclose(encoded(encoder, other)["time_gap"], expected, atol=1e-6)


def test_without_any_interarrival_time():
    for times in ([5], [5, 5]):
        X = attach(pd.DataFrame({"who": "a", "time": times, "x": 0.0}))
        encoder = HistoryEncoder().fit(X)
        assert encoder.layouts_["history"].time_unit == 1
        assert_allclose(encoded(encoder, X)["time_gap"], np.log1p(0))


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


# What it learns from ------------------------------------------------------------------


def learned(X, **options):
    """Everything that a fitted encoder remembers of the events."""
    encoder = HistoryEncoder(**options).fit(X)._learned.encoders["history"]
    fields = {name: field.learned() for name, field in encoder.fields.items()}
    scales = encoder.interarrival_scale, encoder.row_scale.tolist()
    return fields, encoder.layout, *scales


def test_learns_nothing_from_events_after_the_cutoffs():
    events = make_events()
    seen = events[events["when"] < "2023-06-01"]
    rows = pd.DataFrame({"who": [f"c{i}" for i in range(10)]})
    later = events["when"] >= "2023-06-01"
    other = events.assign(
        amount=events["amount"].mask(later, 1e7),
        kind=events["kind"].mask(later, "future"),
    )
    tables = [
        EventLog(table, "who", "when").attach(rows, cutoff="2023-06-01")
        for table in (seen, events, other)
    ]
    first, *others = (learned(X, max_categories=1) for X in tables)
    assert others == [first, first]


def test_learns_nothing_but_gaps_from_events_before_the_lookback():
    def table(old_x, old_kind):
        events = pd.DataFrame(
            {
                "who": ["a"] * 5 + ["b"] * 3,
                "time": [1, 2, 11, 13, 14, 3, 15, 16],
                "x": [old_x, old_x, 1.0, 2.0, 4.0, old_x, 8.0, 16.0],
                "kind": [old_kind] * 2 + ["p", "q", "p", old_kind, "q", "p"],
            }
        )
        return attach(events, cutoff=20, lookback=10)

    assert learned(table(1e9, "old")) == learned(table(-5.0, "older"))
    assert learned(table(1e9, "old"))[0]["kind"] == (["p", "q"], [])


def test_an_event_that_several_rows_see_counts_once():
    events = pd.DataFrame(
        {"who": list("aaab"), "time": [1, 2, 3, 1], "x": [1.0, 2.0, 3.0, 10.0]}
    )
    log = EventLog(events, "who", "time")
    few = log.attach(pd.DataFrame({"who": list("ab"), "at": [5, 5]}), cutoff="at")
    rows = pd.DataFrame({"who": list("aaaab"), "at": [2, 3, 4, 5, 5]})
    many = log.attach(rows, cutoff="at")
    assert learned(few)[0] == learned(many)[0]


@pytest.mark.parametrize("lookback", [None, "200D"])
def test_the_same_events_in_the_same_order_and_no_other(lookback):
    X = make_table(lookback=lookback)
    array, raw = (x["history"].array for x in (HistoryEncoder().fit_transform(X), X))
    assert_array_equal(array.lengths, raw.lengths)
    assert (array.cutoffs == raw.cutoffs).all()
    assert_frame_equal(
        array.to_frame()[["who", "when"]], raw.to_frame()[["who", "when"]]
    )
    events = array.log.to_frame()
    for customer in array.log.customers:
        own = raw[raw.customers == customer]
        times = events.loc[events["who"] == customer, "when"]
        seen = own.to_frame()["when"]
        assert_array_equal(times.agg(["min", "max"]), seen.agg(["min", "max"]))
        assert (times < own.cutoffs.max()).all()
    assert "c0" in raw.customers
    assert (array.customers[raw.lengths > 0] == raw.customers[raw.lengths > 0]).all()


# The table around it ------------------------------------------------------------------


def test_other_columns_pass_through_but_for_the_keys():
    X = make_table()
    encoder = HistoryEncoder()
    there = encoder.fit_transform(X)
    statics = X.drop(columns=["history", "who", "at"])
    assert_frame_equal(there.drop(columns="history"), statics)
    assert there["history"].dtype == X["history"].dtype
    assert list(encoder.get_feature_names_out()) == [*statics, "history"]
    as_pandas = HistoryEncoder().set_output(transform="pandas").fit_transform(X)
    assert_frame_equal(as_pandas.drop(columns="history"), statics)
    # New rows are scored now, by another column or by none.
    log = EventLog(make_events(), "who", "when")
    now = log.attach(make_rows().drop(columns="at").rename(columns={"who": "id"}), "id")
    assert list(encoder.transform(now)) == list(there)
    with pytest.raises(ValueError, match="input_features is not equal"):
        encoder.get_feature_names_out(["a"])


def test_each_history_column_has_its_own_encoding():
    X = make_table()
    events = pd.DataFrame({"who": ["c1", "c2"], "when": X["at"].min(), "page": "home"})
    X = EventLog(events, "who", "when").attach(X, cutoff="at", name="clicks")
    encoder = HistoryEncoder().fit(X)
    assert list(encoder.layouts_) == ["history", "clicks"]
    assert encoder.layouts_["clicks"].codes == ("page",)
    there = encoder.transform(X)
    alone = HistoryEncoder().fit_transform(X.drop(columns="clicks"))
    assert_array_equal(
        there["history"].array.log.channels, alone["history"].array.log.channels
    )


def test_an_empty_batch_of_histories():
    X = make_table()
    encoder = HistoryEncoder().fit(X)
    empty = X[X["history"].array.lengths == 0]
    assert len(empty) > 2
    array = encoder.transform(empty)["history"].array
    assert len(array.log) == 0
    assert np.isfinite(array.log.row_features(array.rows)).all()


@pytest.mark.parametrize("table", ["default", "pandas"])
@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        lambda X: X[X.columns[::-1]],
        lambda X: X.set_axis(range(len(X.columns)), axis=1),
        lambda X: X.assign(history=X["history"].astype(object)),
        lambda X: X.drop(columns=["who", "at"]).to_numpy(dtype=object),
    ],
    ids=["frame", "reordered", "named by numbers", "object column", "object array"],
)
def test_fit_transform_encodes_once(form, table, monkeypatch):
    X = form(make_table())
    expected = HistoryEncoder().fit(make_table()).transform(make_table())["history"]
    lengths, encode = [], EventEncoder.encode

    def count(self, columns, times, gaps, out):
        lengths.append(len(times))
        return encode(self, columns, times, gaps, out)

    monkeypatch.setattr(EventEncoder, "encode", count)
    encoder, before = HistoryEncoder().set_output(transform=table), pd.DataFrame(X)
    both = encoder.fit_transform(X)
    assert sum(lengths) == len(expected.array.log)
    apart = clone(encoder).fit(X).transform(X)
    assert pd.DataFrame(X).dtypes.equals(before.dtypes)
    assert set(both.columns) <= {*before.columns, *encoder.get_feature_names_out()}
    (name,) = [n for n, d in both.dtypes.items() if isinstance(d, HistoryDtype)]
    assert_frame_equal(both.drop(columns=name), apart.drop(columns=name))
    for found in (both[name].array, apart[name].array):
        assert found.log.layout == expected.array.log.layout
        assert_same_numbers(found, expected.array)
        assert (found.cutoffs == expected.array.cutoffs).all()


@pytest.mark.parametrize("keys", [["who", "at"], []])
def test_the_input_stays_raw(keys):
    """Without keys to leave out, a copy might have been forgotten."""
    X = make_table().drop(columns=[] if keys else ["who", "at"])
    before = X.copy()
    HistoryEncoder().fit(X).transform(X)
    HistoryEncoder().fit_transform(X)
    assert list(X.columns) == list(before.columns)
    assert X["history"].dtype == before["history"].dtype
    assert X["history"].array.log is before["history"].array.log


@pytest.mark.parametrize(
    "field", ["time_gap", "hour_sin1", "amount_missing", "weekday_cos1"]
)
@pytest.mark.parametrize("text", [False, True])
def test_names_of_channels_are_unique(field, text):
    events = make_events()[["who", "when", "amount"]]
    own = np.arange(len(events)) % 7
    events[field] = own.astype(str) if text else own.astype(float)
    X = EventLog(events, "who", "when").attach(make_rows(), cutoff="at")
    encoder = HistoryEncoder().fit(X)
    encoding = encoder.layouts_["history"]
    names = [*encoding.channels, *encoding.codes]
    assert len(set(names)) == len(names)
    assert field in (encoding.codes if text else encoding.channels[:2])
    assert f"{field}_" in encoding.channels
    assert encoding.channels[encoding.interarrival_channel].rstrip("_") == "time_gap"
    # None is hidden where channels are looked at one by one.
    assert list(encoded(encoder, X)) == ["who", "when", *names]


def test_time_column_with_the_name_of_a_channel():
    events = make_events().rename(columns={"when": "time_gap"})
    X = EventLog(events, "who", "time_gap").attach(make_rows(), cutoff="at")
    frame = encoded(HistoryEncoder().fit(X), X)
    assert pd.api.types.is_datetime64_any_dtype(frame["time_gap"])
    assert frame["time_gap_"].dtype == np.float32


def test_names_of_row_features_are_unique():
    X = one_customer(count=[1.0, 2.0, 4.0], hour_sin1=[1.0, 2.0, 3.0])
    names = HistoryEncoder().fit(X).layouts_["history"].row_features
    assert len(set(names)) == len(names)


def test_levels_that_are_numbers_are_told_from_text():
    """1 is not "1": a log of another type has other levels, and is refused."""
    X = one_customer(shop=pd.Categorical([1, 2, 1]))
    encoder = HistoryEncoder().fit(X)
    other = one_customer(shop=["1", "2", "1"])
    with pytest.raises(
        ValueError, match=r"'shop' is categorical and was .* \(numbers\)"
    ):
        encoder.transform(other)
    with pytest.raises(ValueError, match=r"is categorical \(numbers\) and was"):
        HistoryEncoder().fit(other).transform(X)


# Rows to be scored --------------------------------------------------------------------


def test_columns_are_found_by_name_and_keys_under_any_name():
    X = make_table()
    encoder = HistoryEncoder().fit(X)
    assert encoder.n_features_in_ == 7
    assert encoder.get_feature_names_out(X.columns).tolist() == list(X)[2:]
    expected, events = encoder.transform(X), encoded(encoder, X)
    moved = X[X.columns[::-1]].assign(segment="new")
    renamed = X.rename(columns={"who": "id", "at": "looked_at"})
    for other in (moved, renamed, X.drop(columns=["who", "at"])):
        assert list(encoder.transform(other)) == list(expected)
        assert_frame_equal(encoded(encoder, other), events)
    again = HistoryEncoder().fit(renamed)
    assert list(again.feature_names_in_) == list(renamed)
    assert_array_equal(again.get_feature_names_out(), encoder.get_feature_names_out())
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 columns.*\['age'\]"):
        encoder.transform(X.drop(columns="age"))


def test_pretrained_decides_how_events_are_encoded():
    """Levels and scales of all customers, and row features scaled by a few rows."""
    X = make_table()
    few = X.iloc[:7]
    everyone = HistoryEncoder().fit(X)
    encoder = HistoryEncoder(pretrained=everyone, half_lives=["3D"])
    encoded = encoder.fit_transform(few)["history"].array
    known = everyone.transform(few)["history"].array
    assert_array_equal(encoded.log.channels, known.log.channels)
    assert_array_equal(encoded.log.codes, known.log.codes)
    own = HistoryEncoder(half_lives=["3D"]).fit_transform(few)["history"].array
    assert own.log.layout.n_levels != encoded.log.layout.n_levels
    features = encoded.log.row_features(encoded.rows)
    assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    assert len(encoded.log.layout.half_lives) == 1
    # Told apart from both.
    layouts = [one.log.layout for one in (encoded, known, own)]
    assert len({layout.digest for layout in layouts}) == 3
    assert layouts[0].of_events == layouts[1].of_events != layouts[2].of_events
