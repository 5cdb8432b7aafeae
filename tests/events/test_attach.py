"""Histories attached to rows, compared with a loop."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.partitions import PartitionedLog
from tests.events.reference import histories, snapshot_rows, visible

# --- attach -----------------------------------------------------------------------


def in_kind(hours, kind):
    """Whole hours as the times of a log, or as cutoffs."""
    hours = pd.Series(hours)
    if kind == "integer":
        return hours
    if kind == "float":
        return hours / 8
    naive = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")
    naive = naive.dt.as_unit("us" if kind == "aware" else kind)
    return naive.dt.tz_localize("America/New_York") if kind == "aware" else naive


def length_in_kind(hours, kind):
    if kind in ("integer", "float"):
        return hours / 8 if kind == "float" else hours
    return pd.Timedelta(hours=hours)


@pytest.mark.parametrize("kind", ["s", "us", "ns", "aware", "integer", "float"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("lookback", [None, 0, 2, 100])
def test_attach_equals_a_slow_loop(kind, exact, lookback):
    random = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "customer": random.choice(["a", "b", "c"], 40),
            "time": in_kind(random.integers(0, 12, 40), kind),  # full of ties
            "x": np.arange(40.0),
        }
    )
    rows = pd.DataFrame(
        {
            "customer": random.choice(["a", "b", "c", "unknown"], 15),
            "cutoff": in_kind(random.integers(-1, 14, 15), kind),
        }
    )
    log = EventLog(events, "customer", "time")
    if lookback is not None:
        lookback = length_in_kind(lookback, kind)
    X = log.attach(rows, cutoff="cutoff", lookback=lookback, allow_exact_matches=exact)
    assert histories(X) == [
        visible(events, row.customer, row.cutoff, lookback, exact)
        for row in rows.itertuples()
    ]
    pd.testing.assert_frame_equal(X[["customer", "cutoff"]], rows)


SECONDS = pd.to_datetime(["2024-01-01 00:00:08", "2024-01-01 00:00:09"] * 2)
SECONDS = SECONDS.append(pd.to_datetime(["2024-01-01 00:00:10"])).as_unit("s")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize(
    ("cutoff", "options", "expected"),
    [
        ("00:00:09.000", {}, [0, 2]),
        ("00:00:09.001", {}, [0, 2, 1, 3]),
        ("00:00:08.999", {}, [0, 2]),
        ("00:00:09.000", {"allow_exact_matches": True}, [0, 2, 1, 3]),
        ("00:00:08.999", {"allow_exact_matches": True}, [0, 2]),
        ("00:00:10.500", {"lookback": "2s"}, [1, 3, 4]),
        ("00:00:10.500", {"lookback": "1.5s"}, [1, 3, 4]),
        ("00:00:10.500", {"lookback": "1.499s"}, [4]),
        ("00:00:10.500", {"lookback": "1.7s"}, [1, 3, 4]),
        ("00:00:10.500", {"lookback": "2s", "allow_exact_matches": True}, [1, 3, 4]),
        ("00:00:10.500", {"lookback": "0s", "allow_exact_matches": True}, []),
        ("00:00:10.000", {"lookback": "0s", "allow_exact_matches": True}, [4]),
    ],
)
def test_cutoffs_finer_than_the_unit_of_the_log(unit, cutoff, options, expected):
    events = pd.DataFrame({"customer": "a", "time": SECONDS, "x": range(5)})
    log = EventLog(events, "customer", "time")
    rows = pd.DataFrame(
        {"customer": ["a"], "at": pd.to_datetime([f"2024-01-01 {cutoff}"])}
    )
    rows["at"] = rows["at"].dt.as_unit(unit)
    assert histories(log.attach(rows, cutoff="at", **options)) == [expected]
    one = log.attach(rows[["customer"]], cutoff=rows["at"][0], **options)
    assert histories(one) == [expected]


@pytest.mark.parametrize(
    ("cutoff", "options", "expected"),
    [
        (2.0, {}, [0]),
        (2.5, {}, [0, 1]),
        (-0.5, {}, []),
        (2.5, {"allow_exact_matches": True}, [0, 1]),
        (3.5, {"lookback": 1.5}, [1, 2]),
        (3.5, {"lookback": 1.25}, [2]),
        (3, {"lookback": 1.5}, [1]),
        (3.5, {"lookback": 2, "allow_exact_matches": True}, [1, 2]),
    ],
)
def test_an_integer_log_takes_cutoffs_between_its_ticks(cutoff, options, expected):
    events = pd.DataFrame({"customer": "a", "time": [1, 2, 3], "x": [0, 1, 2]})
    log = EventLog(events, "customer", "time")
    rows = pd.DataFrame({"customer": ["a"], "at": [cutoff]})
    assert histories(log.attach(rows, cutoff="at", **options)) == [expected]
    one = log.attach(rows[["customer"]], cutoff=cutoff, **options)
    assert histories(one) == [expected]


def test_small_unsigned_cutoffs_do_not_wrap_around():
    events = pd.DataFrame({"customer": "a", "time": [1, 2], "x": [0, 1]})
    rows = pd.DataFrame({"customer": ["a"], "at": np.array([3], "uint8")})
    X = EventLog(events, "customer", "time").attach(rows, cutoff="at", lookback=30)
    assert histories(X) == [[0, 1]]


def test_cutoffs_before_1970_round_to_the_later_tick():
    times = pd.to_datetime(["1960-01-01 00:00:00", "1960-01-01 00:00:01"]).as_unit("s")
    events = pd.DataFrame({"customer": "a", "time": times, "x": [0, 1]})
    X = EventLog(events, "customer", "time").attach(
        pd.DataFrame({"customer": ["a"]}), cutoff=pd.Timestamp("1960-01-01 00:00:00.5")
    )
    assert histories(X) == [[0]]


@pytest.mark.parametrize(
    ("cutoff", "expected"),
    [
        (None, [[2.0, 1.0, 5.0], [4.0, 0.0], []]),
        ("2024-01-05", [[2.0], [4.0], []]),
        (pd.Timestamp("2024-01-05"), [[2.0], [4.0], []]),
        (np.datetime64("2024-01-06"), [[2.0, 1.0], [4.0], []]),
        (pd.Timestamp("2024-01-05").date(), [[2.0], [4.0], []]),
        (pd.Timestamp("2024-01-05").to_pydatetime(), [[2.0], [4.0], []]),
    ],
)
def test_one_cutoff_for_all_rows(log, cutoff, expected):
    rows = pd.DataFrame({"customer": ["ann", "bob", "nobody"]})
    X = log.attach(rows, cutoff=cutoff)
    assert histories(X) == expected
    assert X["history"].dtype == HistoryDtype("customer", None)


def test_without_a_cutoff_everything_is_visible(events):
    log = EventLog(events, "customer", "day", observed_until="2024-03-31")
    X = log.attach(pd.DataFrame({"customer": ["bob"]}), lookback="31D")
    assert X["history"].array.cutoffs.tolist() == [pd.Timestamp("2024-03-31")]
    assert histories(X) == [[0.0]]
    X = log.attach(pd.DataFrame({"customer": ["bob"]}), lookback="29D")
    assert histories(X) == [[]]


def test_aware_times_compare_across_zones():
    times = pd.to_datetime(["2024-01-01 09:00"]).tz_localize("Asia/Tokyo")  # 00:00 UTC
    events = pd.DataFrame({"customer": ["a"], "time": times, "x": [0]})
    log = EventLog(events, "customer", "time")
    rows = pd.DataFrame({"customer": ["a", "a"]})
    rows["at"] = pd.to_datetime(["2023-12-31 19:00", "2023-12-31 19:01"])
    rows["at"] = rows["at"].dt.tz_localize("America/New_York")
    X = log.attach(rows, cutoff="at")
    assert histories(X) == [[], [0]]
    assert X["history"].array.cutoffs[0] == pd.Timestamp("2024-01-01", tz="UTC")
    X = log.attach(rows[["customer"]], cutoff="2024-01-01 09:01+09:00")
    assert histories(X) == [[0], [0]]


@pytest.mark.parametrize(
    "lookback", ["4D", pd.Timedelta(days=4), np.timedelta64(4, "D"), pd.offsets.Day(4)]
)
def test_a_lookback_is_anything_that_pandas_parses(log, lookback):
    rows = pd.DataFrame({"customer": ["ann"]})
    X = log.attach(rows, cutoff="2024-01-09", lookback=lookback)
    assert histories(X) == [[1.0]]


def test_rows_keep_index_order_and_columns(log):
    rows = pd.DataFrame(
        {"age": [30, 40, 50], "who": ["eve", "ann", "eve"], "at": ["x", "y", "z"]},
        index=pd.Index([7, 7, 3], name="row"),
    )
    before = rows.copy()
    X = log.attach(rows, customer="who", cutoff="2024-02-02", name="orders")
    assert X.columns.tolist() == ["age", "who", "at", "orders"]
    pd.testing.assert_frame_equal(X[["age", "who", "at"]], before)
    pd.testing.assert_frame_equal(rows, before)
    assert X["orders"].array.lengths.tolist() == [1, 3, 1]
    assert X["orders"].array.customers.tolist() == ["eve", "ann", "eve"]


@pytest.mark.parametrize(
    "who",
    [
        ["ann", "nobody", "bob"],
        pd.Categorical(["ann", "nobody", "bob"], ["nobody", "unused", "bob", "ann"]),
        np.array(["ann", "nobody", "bob"], dtype=object),
        pd.array(["ann", "nobody", "bob"], dtype="string[pyarrow]"),
    ],
)
def test_types_of_customers_in_rows(log, events, who):
    rows = pd.DataFrame({"customer": who})
    expected = [[2.0, 1.0, 5.0], [], [4.0, 0.0]]
    assert histories(log.attach(rows)) == expected
    events["customer"] = events["customer"].astype("category")
    assert histories(EventLog(events, "customer", "day").attach(rows)) == expected


@pytest.mark.parametrize("kind", ["naive", "aware", "numbers"])
def test_no_rows(kind):
    times = pd.Series([1, 2])
    if kind != "numbers":
        times = pd.to_datetime(times, utc=kind == "aware")
    events = pd.DataFrame({"customer": "a", "time": times})
    rows = pd.DataFrame({"customer": [], "cutoff": []})
    X = EventLog(events, "customer", "time").attach(rows, cutoff="cutoff", lookback=0)
    assert X.shape == (0, 3)
    assert X["history"].dtype == HistoryDtype("customer", "cutoff")


def test_a_customer_column_may_have_a_number_for_a_name(log):
    rows = pd.DataFrame([["ann", 31], ["bob", 54]])
    X = log.attach(rows, customer=0)
    assert X["history"].dtype == HistoryDtype(0, None)
    assert X["history"].array.customers.tolist() == ["ann", "bob"]


class Stream:
    """What DuckDB, ADBC and others return: nothing but a stream of Arrow."""

    def __init__(self, table):
        self.table = pa.Table.from_pandas(table)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


TABLES = {
    "polars": pl.from_pandas,
    "polars, lazy": lambda rows: pl.from_pandas(rows).lazy(),
    "Arrow": pa.Table.from_pandas,
    "stream": Stream,
}


@pytest.mark.parametrize("kind", TABLES)
def test_rows_of_other_libraries(log, kind):
    """The result is a pandas table; numbers beside missing values stay exact."""
    at = pd.to_datetime(["2024-02-01", "2024-01-06", "2024-03-01"]).as_unit("us")
    rows = pd.DataFrame(
        {
            "customer": ["bob", "ann", "nobody"],
            "at": at,
            "large": pd.array([2**60 + 1, None, 3], dtype="Int64"),
            "city": ["Rome", None, "Oslo"],
            "share": [0.5, np.nan, 1.5],
        }
    )
    X = log.attach(TABLES[kind](rows), cutoff="at")
    expected = log.attach(rows, cutoff="at")
    assert type(X) is pd.DataFrame
    assert X.columns.tolist() == expected.columns.tolist()
    assert X["history"].tolist() == expected["history"].tolist()
    assert X["history"].dtype == expected["history"].dtype
    assert X["at"].tolist() == at.tolist()
    assert X["large"].dtype == "Int64"
    assert X["large"][0] == 2**60 + 1
    for name in ("large", "city", "share"):
        assert X[name].isna().tolist() == [False, True, False]
        assert X[name].dropna().tolist() == rows[name].dropna().tolist()


@pytest.mark.parametrize(
    "values",
    [[{"lat": 1, "lon": 2}, None], pl.Series([[1, 2], [3, 4]], dtype=pl.Array(int, 2))],
)
def test_structs_and_arrays_of_polars_stay_values(log, values):
    rows = pl.DataFrame({"customer": ["bob", "ann"], "place": values})
    assert log.attach(rows)["place"].tolist() == rows["place"].to_list()


def test_structs_of_polars_are_no_fields():
    events = pl.DataFrame({"who": ["ann"], "day": [1], "place": [{"lat": 1, "lon": 2}]})
    with pytest.raises(TypeError, match=r"'place' .* dict, which cannot be categories"):
        EventLog(events, "who", "day")


ROWS = pd.DataFrame({"customer": ["ann", "bob"], "at": pd.Timestamp("2024-02-01")})
AWARE = ROWS.assign(at=ROWS["at"].dt.tz_localize("UTC"))
BAD_ROWS = {
    "no table": (
        ROWS.to_numpy(), {}, TypeError,
        "rows must be a pandas, polars or pyarrow table, or a query that gives one "
        "(a LazyFrame, a DuckDB relation, whatever has __arrow_c_stream__); got "
        "numpy.ndarray.",
    ),
    "no customer column": (
        ROWS.rename(columns={"customer": "who"}), {}, KeyError,
        "rows has no customer column 'customer'; it has ['who', 'at'].",
    ),
    "two customer columns": (
        ROWS.set_axis(["customer", "customer"], axis=1), {}, ValueError,
        "rows has 2 columns 'customer', so that it is not clear which holds the "
        "customer; rename them.",
    ),
    "missing customers": (
        ROWS.assign(customer=["ann", None]), {}, ValueError,
        "The customer column 'customer' of rows has 1 missing values, the first in the "
        "rows 1; drop or fill them.",
    ),
    "customers of another type": (
        ROWS.assign(customer=[1, 2]), {}, TypeError,
        "customers in column 'customer' of rows are of the type int64, but the "
        "customers of the log are of the type str, so that no id "
        "would match; cast them: .astype(str) makes text of integers (and of floats "
        "'7.0', not '7'); ids with leading zeros have lost them, and need "
        "pd.read_csv(..., dtype={'id': str}).",
    ),
    "categories of another type": (
        ROWS.assign(customer=pd.Categorical([1, 2])), {}, TypeError,
        "customers in column 'customer' of rows are of the type int64",
    ),
    "a name that is taken": (
        ROWS, {"name": "at"}, ValueError,
        "rows has a column 'at' already; choose another name with name=...",
    ),
    "a name that is no text": (
        ROWS, {"name": 0}, TypeError, "name must be text; got 0."
    ),
    "an unknown cutoff column": (
        ROWS, {"cutoff": "when"}, KeyError,
        "cutoff='when' is neither a column of rows, which has ['customer', 'at'], nor "
        "a time like those of the log.",
    ),
    "missing cutoffs": (
        ROWS.assign(at=pd.NaT), {"cutoff": "at"}, ValueError,
        "The cutoff column 'at' of rows has 2 missing values, the first in the rows 0, "
        "1; drop or fill them.",
    ),
    "a missing cutoff": (
        ROWS, {"cutoff": pd.NaT}, ValueError,
        "cutoff is missing; None means everything known.",
    ),
    "a not-a-number cutoff": (
        ROWS, {"cutoff": np.float32("nan")}, ValueError,
        "cutoff is missing; None means everything known.",
    ),
    "an array of cutoffs": (
        ROWS, {"cutoff": ROWS["at"].to_numpy()}, TypeError,
        "cutoff must be a column of rows or one time for all of them; got ndarray.",
    ),
    "cutoffs as text": (
        ROWS.assign(at="2024-02-01"), {"cutoff": "at"}, TypeError,
        "cutoffs in 'at' must be datetimes or numbers; got the type",
    ),
    "a name of NumPy": (
        ROWS.assign(at="2024-02-01"), {"cutoff": np.str_("at")}, TypeError,
        "cutoffs in 'at' must be datetimes or numbers; got the type",
    ),
    "aware cutoffs": (
        AWARE, {"cutoff": "at"}, ValueError,
        "cutoffs in 'at' are time-zone aware datetimes, but the times of the log are "
        "naive datetimes; tz_convert(None) makes naive datetimes of aware ones.",
    ),
    "an aware cutoff": (
        ROWS, {"cutoff": AWARE["at"][0]}, ValueError,
        "cutoffs are time-zone aware datetimes, but the times of the log are naive "
        "datetimes; tz_convert(None) makes naive datetimes of aware ones.",
    ),
    "cutoffs that are numbers": (
        ROWS.assign(at=5), {"cutoff": "at"}, ValueError,
        "cutoffs in 'at' are plain numbers, but the times of the log are naive "
        "datetimes; build both from times of the same type.",
    ),
    "a cutoff that is a number": (
        ROWS, {"cutoff": 5}, ValueError,
        "cutoffs are plain numbers, but the times of the log are naive datetimes",
    ),
    "a lookback without a unit": (
        ROWS, {"cutoff": "at", "lookback": 30}, TypeError,
        "lookback must be a length of time, for example pd.Timedelta(days=14) or "
        "'14D', because the times of the log are datetimes; got the bare number 30.",
    ),
    "a lookback in words": (
        ROWS, {"cutoff": "at", "lookback": "a while"}, ValueError,
        "lookback must be a length of time, for example pd.Timedelta(days=14) or "
        "'14D'; got 'a while'.",
    ),
    "a missing lookback": (
        ROWS, {"cutoff": "at", "lookback": pd.NaT}, ValueError,
        "lookback must be a length of time, for example pd.Timedelta(days=14) or "
        "'14D'; got NaT.",
    ),
    "a negative lookback": (
        ROWS, {"cutoff": "at", "lookback": "-1D"}, ValueError,
        "lookback must be finite and not negative; got '-1D'.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows(log, case):
    rows, options, error, text = BAD_ROWS[case]
    with pytest.raises(error) as caught:
        log.attach(rows, **options)
    assert text in str(caught.value.args[0])


NUMBERS = pd.DataFrame({"customer": ["a"], "time": [1], "at": [1.0]})
OTHER_CLOCKS = {
    "naive cutoffs, aware log": (
        NUMBERS.assign(time=pd.Timestamp(0, tz="UTC"), at=pd.Timestamp(0)), {},
        "cutoffs in 'at' are naive datetimes, but the times of the log are time-zone "
        "aware datetimes; tz_localize('UTC'), or the zone that they were recorded in, "
        "makes aware datetimes of naive ones.",
    ),
    "datetimes, log of numbers": (
        NUMBERS.assign(at=pd.Timestamp(0)), {},
        "cutoffs in 'at' are naive datetimes, but the times of the log are plain "
        "numbers; build both from times of the same type, for dates such as 20240131 "
        "by pd.to_datetime(times.astype('int64').astype(str)).",
    ),
    "infinite cutoffs, integer log": (
        NUMBERS.assign(at=np.inf), {},
        "cutoffs in 'at' must be finite; got inf.",
    ),
    "infinite cutoffs, float log": (
        NUMBERS.assign(time=1.0, at=-np.inf), {},
        "cutoffs in 'at' must be finite; got -inf.",
    ),
    "cutoffs beyond all integers": (
        NUMBERS.assign(at=1e300), {},
        "cutoffs in 'at' hold 1 values beyond the range of int64, the first of them "
        "1e+300; drop those rows, or use numbers of a coarser unit.",
    ),
    "cutoffs beyond all nanoseconds": (
        NUMBERS.assign(
            time=pd.Series(pd.to_datetime(["2024-01-01"])).dt.as_unit("ns"),
            at=np.array(["9999-12-31"], "M8[us]"),
        ), {},
        "cutoffs in 'at' lie outside the years that times of the log's unit ns can ",
    ),
    "an infinite lookback": (
        NUMBERS, {"lookback": np.inf},
        "lookback must be finite and not negative; got inf.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_CLOCKS)
def test_cutoffs_of_another_clock(case):
    table, options, text = OTHER_CLOCKS[case]
    log = EventLog(table[["customer", "time"]], "customer", "time")
    with pytest.raises(ValueError, match=re.escape(text)):
        log.attach(table[["customer", "at"]], cutoff="at", **options)


@pytest.mark.parametrize("lookback", ["14D", True, np.timedelta64(14, "D")])
def test_the_lookback_of_a_log_of_numbers_is_a_number(lookback):
    log = EventLog(NUMBERS[["customer", "time"]], "customer", "time")
    text = (
        "lookback must be a number, because the times of the log are plain numbers; "
        f"got {lookback!r}. If they are dates, such as 20240131, build the log from"
    )
    with pytest.raises(TypeError, match=re.escape(text)):
        log.attach(NUMBERS[["customer"]], cutoff=2, lookback=lookback)


# --- snapshots --------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_events": 0},
        {"min_events": 3},
        {"active_within": 3},
        {"active_within": 0},
        {"lookback": 2},
        {"min_events": 2, "active_within": 4, "lookback": 1},
    ],
)
@pytest.mark.parametrize("kind", ["us", "integer"])
def test_snapshots_equal_a_slow_loop(kind, options):
    random = np.random.default_rng(1)
    events = pd.DataFrame(
        {
            "customer": random.choice(["a", "b", "c", "d"], 30),
            "time": in_kind(random.integers(0, 12, 30), kind),
            "x": np.arange(30.0),
        }
    )
    cutoffs = in_kind([6, 3, 12, 6], kind)  # neither sorted nor distinct
    options = {
        key: value if key == "min_events" else length_in_kind(value, kind)
        for key, value in options.items()
    }
    X = EventLog(events, "customer", "time").snapshots(cutoffs, **options)
    rows = zip(X["customer"], X["cutoff"], histories(X), strict=True)
    assert list(rows) == snapshot_rows(events, cutoffs, **options)
    assert X["history"].dtype == HistoryDtype("customer", "cutoff")
    assert X["history"].array.cutoffs.tolist() == X["cutoff"].tolist()


@pytest.mark.parametrize(
    "cutoffs",
    [
        "2024-01-06",
        pd.Timestamp("2024-01-06"),
        ["2024-01-06"],
        pd.date_range("2024-01-06", periods=1),
        np.array(["2024-01-06"], dtype="M8[D]"),
    ],
)
def test_snapshots_take_one_cutoff_or_many(log, cutoffs):
    X = log.snapshots(cutoffs, name="orders")
    assert X.columns.tolist() == ["customer", "cutoff", "orders"]
    assert X["customer"].tolist() == ["ann", "bob"]
    assert X["cutoff"].tolist() == [pd.Timestamp("2024-01-06")] * 2
    assert X["orders"].array.lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("cutoffs", "options", "error", "text"),
    [
        ([], {}, ValueError, "cutoffs is empty; it needs at least one time."),
        (
            ["2024-01-01", pd.NaT], {}, ValueError,
            "The sequence cutoffs has 1 missing values, the first in the rows 1",
        ),
        (5, {}, ValueError, "cutoffs are plain numbers, but the times of the log are"),
        ("events", {}, ValueError, "got 'events'. Other ways to choose them are snap"),
        (
            "2024-01-01", {"name": "cutoff"}, ValueError,
            "The columns 'customer', 'cutoff' and 'cutoff' need three names; choose "
            "another with name=..., or rename the log's customer column.",
        ),
        (
            "2024-01-01", {"active_within": 7}, TypeError,
            "active_within must be a length of time",
        ),
        ("2024-01-01", {"lookback": 7}, TypeError, "lookback must be a length of time"),
    ],
)  # fmt: skip
def test_bad_snapshots(log, cutoffs, options, error, text):
    with pytest.raises(error, match=re.escape(text)):
        log.snapshots(cutoffs, **options)


@pytest.mark.parametrize("flag", ["no", "history", 1, None])
def test_allow_exact_matches_is_a_boolean(flag):
    """Text was taken for True, so that rows saw the events at their cutoff."""
    log = EventLog(pd.DataFrame({"who": ["a"], "day": [1]}), "who", "day")
    rows = pd.DataFrame({"who": ["a"], "at": [1]})
    message = f"allow_exact_matches must be True or False; got {flag!r}"
    with pytest.raises(TypeError, match=message):
        log.attach(rows, "who", "at", None, flag)
    with pytest.raises(TypeError, match=message):
        PartitionedLog([log], "who", "day").attach(
            rows, cutoff="at", allow_exact_matches=flag
        )
    seen = log.attach(rows, cutoff="at", allow_exact_matches=np.True_)
    assert seen["history"].array.lengths.tolist() == [1]
