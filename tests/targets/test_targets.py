import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._ragged import _segments
from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    stack_horizons,
    time_to_next,
)
from tests.logs import log_of, log_of_table
from tests.targets.small_logs import TARGETS, days, shop_log, small_log


def test_window_is_half_open():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(4)[0])
    # Day 4 is the first of the window, day 9 the first after it.
    assert future_count(X, "5D").tolist() == [1, 0]
    assert future_count(X, "6D").tolist() == [2, 0]
    assert future_count(X, "4D", gap="1D").tolist() == [0, 0]
    assert churned(X, "5D").tolist() == [0, 1]


def test_events_of_the_history_do_not_count():
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
    log = log_of_table(events, observed_until=until)
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=log.time_span[0])
    assert churned(X, complete).tolist() == [0]
    with pytest.raises(ValueError, match="1 of 1 rows run past"):
        churned(X, too_long)


@pytest.mark.parametrize("in_days", [False, True])
@pytest.mark.parametrize("kind", ["dates", "floats"])
def test_a_part_of_a_log_keeps_the_end_of_the_record(kind, in_days):
    """A few events may be whole days by chance where the log has moments."""
    time = pd.Series([4.0, *[2.0 + 0.5 * (not in_days)] * 200])
    until, cutoff, horizon = 30.0, 20.0, 11.0
    if kind == "dates":
        day = pd.Timedelta("1D")
        start = pd.Timestamp("2024-01-01")
        time, horizon = start + time * day, horizon * day
        until, cutoff = start + until * day, start + cutoff * day
    events = pd.DataFrame({"id": ["a", *[f"b{i}" for i in range(200)]], "time": time})
    events["event"] = ["order", *["click"] * 200]
    log = log_of_table(events, observed_until=until)
    X = log.attach(pd.DataFrame({"id": ["a", "new"]}), cutoff=cutoff)
    expected = [1.0 if in_days else np.nan] * 2
    for rows in (
        X,
        pickle.loads(pickle.dumps(X)),
        log.only("order").attach(X[["id"]], cutoff=cutoff),
        log.subset(np.array([0])).attach(X[["id"]], cutoff=cutoff),
    ):
        y = churned(rows, horizon, censored="nan")
        assert_array_equal(y, expected)


def test_the_latest_cutoff_of_an_error_has_whole_seconds():
    log = log_of_table(
        pd.DataFrame({"id": ["a"], "day": pd.to_datetime(["2024-01-01"])}),
        observed_until="2024-03-01 00:00:00.000001",
    )
    with pytest.raises(ValueError, match="Use cutoffs up to 2024-02-20 00:00:00, "):
        churned(log.snapshots(["2024-02-28"]), "10D")


def test_events_after_the_end_of_the_record_are_not_counted():
    """Some kinds may have been recorded for longer than others."""
    orders = pd.DataFrame({"id": ["a", "a", "b"], "time": [1, 60, 100], "price": 7.0})
    returns = pd.DataFrame({"id": ["a"], "time": [20]})
    log = EventLog.concat(
        {
            "order": EventLog(orders, "id", "time"),
            "return": EventLog(returns, "id", "time", observed_until=50),
        }
    )
    X = log.snapshots([10, 40, 55], min_events=0)
    both = ["order", "return"]
    y = time_to_next(X, censored="keep", kinds=both)
    assert y["event"].tolist() == [True, False, False, False, False, False]
    assert y["time"].tolist() == [10, 40, 10, 10, 0, 0]
    y = time_to_next(X, 25, censored="keep", kinds=both)
    assert y["event"].tolist() == [True, False, False, False, False, False]
    assert y["time"].tolist() == [10, 25, 10, 10, 0, 0]
    assert next_value(X, "price", censored="nan", kinds=both).isna().all()
    assert_array_equal(
        future_sum(X, "price", 41, censored="nan"), [0, 0, *[np.nan] * 4]
    )


def test_a_cutoff_at_the_end_has_no_complete_window():
    X = small_log().attach(pd.DataFrame({"id": ["a"]}))
    assert_array_equal(churned(X, "1D", gap="1D", censored="nan"), [np.nan])


# Kinds of events --------------------------------------------------------------


def test_only_some_kinds_count():
    X = shop_log().attach(pd.DataFrame({"id": ["a", "b", "c"]}), cutoff=days(1)[0])
    assert future_count(X, "10D").tolist() == [4, 2, 0]
    assert future_count(X, "10D", kinds="order").tolist() == [2, 1, 0]
    assert future_count(X, "10D", kinds=["return", "click"]).tolist() == [2, 1, 0]
    assert churned(X, "10D", gap="1D", kinds=["order"]).tolist() == [0, 1, 1]
    assert future_sum(X, "price", "10D", kinds="click").tolist() == [0, 0, 0]
    y = next_value(X, "size", "10D", kinds=("return",))
    assert y.tolist() == ["S", np.nan, np.nan]
    y = time_to_next(X, "10D", kinds="order")
    assert y["event"].tolist() == [True, True, False]
    assert y["time"].dt.days.tolist() == [2, 0, 10]


def test_kinds_of_any_categorical_field():
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(0)[0])
    # An event without a size is of no kind.
    for kinds, n in ((["S", "M", "L"], 4), ("M", 2)):
        assert future_count(X, "9D", kinds=kinds, kind_field="size").tolist() == [n]


def test_kinds_need_a_categorical_field():
    events = pd.DataFrame({"id": "a", "day": [1, 5, 9], "amount": [2.0, 3.0, 2.0]})
    rows = pd.DataFrame({"id": ["a"], "at": [4]})
    X = EventLog(events, "id", "day").attach(rows, cutoff="at")
    with pytest.raises(KeyError, match=r"no categorical field.*categorical=\[name\]"):
        future_count(X, 6, kinds=2.0)
    X = EventLog(events, "id", "day", categorical=["amount"]).attach(rows, cutoff="at")
    assert future_count(X, 6, kinds=2.0, kind_field="amount").tolist() == [1]


def test_events_at_the_cutoff_belong_to_the_history():
    rows = pd.DataFrame({"id": ["a"]})
    X = shop_log().attach(rows, cutoff=days(3)[0], allow_exact_matches=True)
    assert future_sum(X, "price", "6D").tolist() == [6]
    assert next_value(X, "size").tolist() == ["S"]
    assert next_value(X, "size", kinds="order").tolist() == ["M"]
    assert time_to_next(X)["time"].dt.days.tolist() == [2]


# Sums -------------------------------------------------------------------------


def test_missing_and_infinite_amounts_count_as_0():
    X = shop_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(0)[0])
    y = future_sum(X, "price", "9D")
    assert y.name == "future_sum"
    assert y.dtype == "float64"
    assert y.tolist() == [20, 0]


@pytest.mark.parametrize("big", [1e300, -1e17])
def test_large_amounts_do_not_touch_other_windows(big):
    n = 1000
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {"id": rng.integers(0, 20, n), "time": rng.integers(0, 50, n)}
    )
    events["x"] = np.where(events["id"] % 3 == 0, big, rng.random(n))
    # One customer is small and large by turns.
    events.loc[events["time"] < 10, "x"] = 0.1
    X = log_of_table(events).snapshots([5, 20, 35], min_events=0)
    y = future_sum(X, "x", 15)
    for row, total in zip(X.itertuples(), y, strict=True):
        mine = (events["id"] == row.id) & events["time"].between(
            row.cutoff, row.cutoff + 14
        )
        # The sum of positive numbers has 15 digits, whatever stands beside them.
        np.testing.assert_allclose(total, events["x"][mine].sum(), rtol=1e-13)


def test_sums_over_several_blocks(monkeypatch):
    events = pd.DataFrame({"id": np.arange(300) % 7, "time": np.arange(300)})
    events["x"] = events["time"] ** 2.0
    X = log_of_table(events).snapshots(np.arange(0, 200, 9), min_events=0)
    whole = future_sum(X, "x", 100)
    for block in (1, 10, 13, 40, 100):
        monkeypatch.setattr(_segments, "BLOCK", block)
        assert_array_equal(future_sum(X, "x", 100), whole)


def test_float32_amounts_are_summed_in_float64():
    events = pd.DataFrame({"id": ["a"] * 3, "time": [0, 1, 2]})
    events["x"] = np.array([1, 2**24, 1], dtype="float32")
    X = log_of_table(events).attach(pd.DataFrame({"id": ["a"]}), cutoff=0)
    assert future_sum(X, "x", 3).tolist() == [2**24 + 2]
    assert next_value(X, "x").dtype == "float32"


# Far beyond the end -----------------------------------------------------------


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_long_durations_do_not_overflow(unit):
    """An integer overflow would make a window of 290 years end in the past."""
    X = pd.DataFrame({"id": ["a"]})
    events = pd.DataFrame({"id": ["a", "a"], "day": days(0, 4).as_unit(unit)})
    X = EventLog(events.assign(x=1.0), "id", "day").attach(X, cutoff=days(1)[0])
    for options in ({"horizon": "106751D"}, {"horizon": "1D", "gap": "106751D"}):
        assert churned(X, **options, censored="nan").isna().all()
        assert future_sum(X, "x", **options, censored="nan").isna().all()
        with pytest.raises(ValueError, match="1 of 1 rows run past the end"):
            churned(X, **options)
    assert next_value(X, "x", gap="106751D", censored="nan").isna().all()
    y = time_to_next(X, gap="106751D", censored="keep")
    assert y["time"].tolist() == [pd.Timedelta(0)]


def test_long_gap_before_1970():
    events = pd.DataFrame({"id": ["a", "a"], "time": [-9, -7]})
    X = log_of_table(events).attach(pd.DataFrame({"id": ["a"]}), cutoff=5)
    y = time_to_next(X, gap=2**63 - 1, censored="keep")
    assert y["time"].tolist() == [0]
    assert y["event"].tolist() == [False]
    y = time_to_next(X, gap=1e30, censored="keep")
    assert y["time"].tolist() == [0]


def test_large_numbers_do_not_overflow():
    log = log_of_table(pd.DataFrame({"id": ["a", "a"], "time": [0, 4]}))
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=1)
    for horizon in (2**63 - 1, 1e30):
        assert churned(X, horizon, censored="nan").isna().all()
        with pytest.raises(ValueError, match="1 of 1 rows run past the end"):
            churned(X, horizon)
        assert churned(X, 3, gap=horizon, censored="nan").isna().all()
        with pytest.raises(ValueError, match="1 of 1 rows run past the end"):
            churned(X, horizon, gap=horizon)


def test_recommended_cutoff_has_a_complete_window():
    log = log_of_table(pd.DataFrame({"id": ["a", "a"], "time": [-9, -7]}))
    row = pd.DataFrame({"id": ["a"]})
    with pytest.raises(ValueError, match="Use cutoffs up to -9, a shorter horizon"):
        churned(log.attach(row, cutoff=-7), 2.5)
    assert churned(log.attach(row, cutoff=-9), 2.5).tolist() == [0]
    assert churned(log.attach(row, cutoff=-8), 2.5, censored="nan").isna().all()


# Errors -----------------------------------------------------------------------


def test_drop_needs_a_unique_index():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}, [0, 0]), cutoff=days(4)[0])
    with pytest.raises(ValueError, match=r"without repeated labels.*reset_index"):
        churned(X, "1D", censored="drop")
    assert churned(X, "1D").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": "0D"}, ValueError, "horizon must be longer than 0; got '0D'"),
        ({"horizon": 14}, TypeError, "horizon must be a length of time"),
        ({"horizon": "soon"}, ValueError, r"horizon must be a length .* got 'soon'\.$"),
        ({"horizon": "2M"}, ValueError, "got '2M'. Months and years differ in length"),
        ({"gap": "-1D"}, ValueError, "gap must be .* not negative; got '-1D'"),
        ({"gap": 3}, TypeError, "gap must be a length of time.*bare number 3"),
        ({"censored": "no"}, ValueError, "'censored' parameter of {} .* 'no'"),
        ({"history": "x"}, KeyError, r"no column 'x'.*are \['history'\]"),
        ({"history": 3.5}, ValueError, "'history' parameter of {} .* Got 3.5"),
        ({"kinds": "gift"}, ValueError, r"kinds \['gift'\]; field 'event' has \['cl"),
        ({"kinds": ["order", 7]}, ValueError, r"no events of the kinds \[7\]"),
        ({"horizon": "30"}, ValueError, "horizon must have a unit, .* got '30'"),
        ({"gap": "-1.5"}, ValueError, "gap must have a unit, .* got '-1.5'"),
        ({"kinds": []}, ValueError, r"kinds is empty; field 'event' has \['click'"),
        ({"kinds": "M", "kind_field": "price"}, ValueError, "'price' is .* no kinds"),
        (
            {"kinds": "M", "kind_field": "what"},
            KeyError,
            r"'what'.* kind_field.*'event'",
        ),
        ({"kind_field": 1}, ValueError, "'kind_field' parameter of {} .* Got 1"),
    ],
)
@pytest.mark.parametrize("name", TARGETS)
def test_bad_parameters(name, options, error, message):
    target, good = TARGETS[name]
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    target(X, **good)
    with pytest.raises(error, match=message.format(name)):
        target(X, **(good | options))


@pytest.mark.parametrize("target", [future_count, time_to_next])
@pytest.mark.parametrize(
    ("moments", "error", "message"),
    [
        ("0D", ValueError, "moments must be longer than 0; got '0D'"),
        (7, TypeError, "moments must be a length of time"),
        ("auto", ValueError, "moments must be a length .* got 'auto'"),
    ],
)
def test_bad_moments(target, moments, error, message):
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    with pytest.raises(error, match=message):
        target(X, "4D", moments=moments)


def test_the_rest_of_a_day_is_no_new_visit():
    hours = pd.Timestamp("2024-01-01") + pd.to_timedelta([9, 9, 11, 33, 35], unit="h")
    X = log_of(hours, observed_until="2024-01-09").snapshots(["2024-01-01 10:00"])
    assert future_count(X, "3D").tolist() == [3]
    assert future_count(X, "3D", moments="1D").tolist() == [1]
    next_visit = time_to_next(X, moments="1D")
    assert next_visit["time"].tolist() == [pd.Timedelta("23h")]


@pytest.mark.parametrize(
    ("target", "field", "error", "message"),
    [
        (
            future_sum,
            "cost",
            KeyError,
            r"no field 'cost'; it has \['event', 'price', 'size'\]",
        ),
        (next_value, "cost", KeyError, "no field 'cost'; it has"),
        (
            future_sum,
            "size",
            ValueError,
            r"'size' is categorical, and cannot be summed; the numeric fields are "
            r"\['price'\]\. .*decimal=','",
        ),
        (future_sum, 1, ValueError, "'field' parameter of future_sum .* Got 1"),
        (next_value, ["price"], ValueError, "'field' parameter of next_value"),
    ],
)
def test_bad_fields(target, field, error, message):
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    with pytest.raises(error, match=message):
        target(X, field, "4D")


@pytest.mark.parametrize("name", TARGETS)
def test_options_are_given_by_name(name):
    target = TARGETS[name][0]
    field = ["price"] if name in ("future_sum", "next_value") else []
    with pytest.raises(TypeError, match="too many positional"):
        target(None, *field, "4D", "1D")


@pytest.mark.parametrize("target", [churned, future_count])
def test_a_window_needs_an_end_where_it_is_counted(target):
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    with pytest.raises(ValueError, match="horizon must be a length of time"):
        target(X, None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "y has no columns"),
        (
            pd.to_timedelta(["1D", None]),
            r"y has the horizons \[NaT\], .* longer than 0",
        ),
        (pd.to_timedelta(["1D", "-1D"]), r"horizons \[Timedelta\('-1 days"),
        ([1.0, np.nan], r"y has the horizons \[nan\]"),
        ([0, 2], r"y has the horizons \[0\]"),
        (pd.Index([2, -1], dtype=object), r"y has the horizons \[-1\]"),
    ],
)
def test_columns_that_are_no_horizons(columns, message):
    X = small_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    y = pd.DataFrame(np.ones((1, len(columns))), columns=columns)
    with pytest.raises(ValueError, match=message):
        stack_horizons(X, y)


def test_no_history():
    with pytest.raises(ValueError, match="X has no history column"):
        churned(pd.DataFrame({"id": ["a"]}), "4D")


def test_encoded_histories():
    X = small_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(1)[0])
    with pytest.raises(TypeError, match=r"A target needs raw histories.*Histor"):
        churned(HistoryEncoder().fit_transform(X), "4D")


def test_histories_of_several_logs():
    # One log ends on day 9, the other on day 1.
    short = log_of_table(pd.DataFrame({"id": ["a"], "day": days(1)}))
    rows = pd.DataFrame({"id": ["a"]})
    for other in (short, small_log()):  # the second one has the same events
        parts = [log.attach(rows, cutoff=days(1)[0]) for log in (small_log(), other)]
        with pytest.raises(ValueError, match="joined from several logs"):
            churned(pd.concat(parts, ignore_index=True), "4D")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_last_nanosecond_of_a_window_counts(unit):
    times = pd.to_datetime(["2024-01-01", "2024-01-03"]).as_unit(unit)
    events = pd.DataFrame({"who": "a", "when": times})
    log = EventLog(events, "who", "when", observed_until="2024-03-01")
    X = log.attach(pd.DataFrame({"who": ["a"]}), cutoff="2024-01-02")
    day, nano = pd.Timedelta("1D"), pd.Timedelta(1, unit="ns")
    assert future_count(X, day).tolist() == [0]
    assert future_count(X, day + nano).tolist() == [1]
    assert future_count(X, "10D", gap=day).tolist() == [1]
    assert future_count(X, "10D", gap=day + nano).tolist() == [0]


def month_until(observed_until, unit, zone=None):
    """Return a log of March, with orders of two customers."""
    when = pd.to_datetime(["2024-03-01 10:00", "2024-03-20 12:00"]).as_unit(unit)
    orders = pd.DataFrame({"who": ["a", "b"], "when": when.tz_localize(zone)})
    return EventLog(orders, "who", "when", observed_until=observed_until)


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("until", ["2024-03-31 23:59:59", "2024-03-31 23:59:59.5"])
def test_the_last_second_of_a_day_counts_to_its_end(until, unit):
    log = month_until(until, unit)
    assert churned(log.snapshots(["2024-03-02"]), "30D").tolist() == [1]
    assert log.observed_until < pd.Timestamp("2024-04-01")
    # Not a nanosecond more.
    nano = pd.Timedelta(1, unit="ns")
    with pytest.raises(ValueError, match="run past the end of the log"):
        churned(log.snapshots(["2024-03-02"]), pd.Timedelta("30D") + nano)


def test_the_last_second_of_a_day_is_that_of_its_time_zone():
    until = pd.Timestamp("2024-03-31 23:59:59", tz="Asia/Kolkata")
    log = month_until(until, "us", "Asia/Kolkata")
    midnight = pd.Timestamp("2024-03-02", tz="Asia/Kolkata")
    assert churned(log.snapshots([midnight]), "30D").tolist() == [1]


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_record_that_ends_a_second_too_early(unit):
    """The error proposes the time that completes the window."""
    log = month_until("2024-03-31 11:59:59", unit)
    X = log.snapshots(["2024-03-01 12:00"])
    text = "less than a second after .*observed_until='2024-03-31 12:00:00'"
    with pytest.raises(ValueError, match=text):
        churned(X, "30D")
    log = month_until("2024-03-31 12:00:00", unit)
    assert churned(log.snapshots(["2024-03-01 12:00"]), "30D").tolist() == [1]
