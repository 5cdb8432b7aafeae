"""Logs from tables of every library and dtype."""

import copy
import datetime
import decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone

from sklearn_seqcrm._ragged import _segments
from sklearn_seqcrm.events import EventLog

# --- Construction -----------------------------------------------------------------

LIBRARIES = {
    "pandas": lambda frame: frame,
    "pandas with Arrow types": lambda frame: pa.Table.from_pandas(
        frame, preserve_index=False
    ).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_every_library_and_row_order_gives_the_same_log(events, library, seed, zone):
    if zone is not None:
        events["day"] = events["day"].dt.tz_localize(zone)
    shuffled = events.sample(frac=1, random_state=seed)
    log = EventLog(LIBRARIES[library](shuffled), "customer", "day")
    days = ["2024-01-01", "2024-01-05", "2024-01-09", "2024-01-01", "2024-03-01"]
    expected = pd.DataFrame(
        {
            "customer": ["ann", "ann", "ann", "bob", "bob", "eve"],
            "day": pd.to_datetime([*days, "2024-02-01"]).as_unit("us"),
            "x": [2.0, 1.0, 5.0, 4.0, 0.0, 3.0],
        }
    )
    if zone is not None:
        expected["day"] = expected["day"].dt.tz_localize(zone).dt.tz_convert("UTC")
    frame = log.to_frame().astype({"customer": expected["customer"].dtype})
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("times", [[2, 1, 1, 1, 2], [2.5, 1.5, 1.5, 1.5, 2.5]])
def test_ties_keep_their_input_order(library, times):
    events = pd.DataFrame(
        {"customer": ["b", "a", "b", "a", "b"], "time": times, "x": [0, 1, 2, 3, 4]}
    )
    log = EventLog(LIBRARIES[library](events), "customer", "time")
    assert log.to_frame()["x"].tolist() == [1, 3, 2, 0, 4]


def test_long_runs_of_ties_keep_their_input_order():
    # Longer than the 16 items that a compiled sort moves by insertion, in order.
    times = np.random.default_rng(0).integers(0, 3, 500)
    events = pd.DataFrame({"customer": "a", "time": times, "x": range(500)})
    frame = EventLog(events, "customer", "time").to_frame()
    assert frame["x"].tolist() == np.argsort(times, kind="stable").tolist()


def test_properties_of_a_log(log):
    assert len(log) == 6
    assert log.n_customers == 3
    assert log.customers.tolist() == ["ann", "bob", "eve"]
    assert log.fields == ["x"]
    assert log.time_span == (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-03-01"))
    assert log.observed_until == pd.Timestamp("2024-03-01")
    assert repr(log) == (
        "EventLog(6 events, 3 customers, 2024-01-01..2024-03-01, numeric: x)"
    )


def test_repr_of_many_fields_has_lines_of_88_characters():
    names = [f"amount_in_{k}" for k in range(20)]
    events = pd.DataFrame({"customer": ["a"], "time": [1], **dict.fromkeys(names, 0.5)})
    first, *others = repr(EventLog(events, "customer", "time")).splitlines()
    assert others
    assert all(len(line) <= 88 for line in (first, *others))
    assert all(line.startswith("         amount_in_") for line in others)
    found = " ".join([first, *(line.strip() for line in others)])
    assert found.endswith(f"numeric: {', '.join(names)})")


def test_repr_names_the_types_of_fields(events):
    fields = {"shop": "s", "due": events["day"], "y": 1.0, "v": list(np.ones((6, 2)))}
    found = repr(EventLog(events.assign(**fields), "customer", "day"))
    types = "numeric: x, y; categorical: shop; datetime: due; vector: v)"
    assert " ".join(found.split()).endswith(types)


@pytest.mark.parametrize(
    ("times", "span"),
    [([1_700_000_000, 5], "5..1700000000"), ([0.5, 0.25], "0.25..0.5")],
)
def test_repr_of_plain_numbers(times, span):
    events = pd.DataFrame({"customer": ["a", "a"], "time": times})
    log = EventLog(events, "customer", "time")
    assert repr(log) == f"EventLog(2 events, 1 customers, {span}, fields: none)"


@pytest.mark.parametrize("block", [2, 2**18])
def test_repr_counts_moments_if_they_are_fewer(block, monkeypatch):
    monkeypatch.setattr(_segments, "BLOCK", block)
    # b begins at the time at which a ends, and d has one event.
    events = pd.DataFrame(
        {"who": list("aaabbcccd"), "time": [1, 1, 2, 2, 2, 4, 5, 5, 5]}
    )
    log = EventLog(events, "who", "time")
    moments = len(events.drop_duplicates())
    assert repr(log).startswith(f"EventLog(9 events at {moments} moments, 4 customers")
    assert f"9 events at {moments} moments, 4 customers" in log._repr_html_()
    X = log.attach(pd.DataFrame({"who": ["a"]}))
    assert "3 events at 2 moments from 1 to 2" in X["history"][0]._repr_html_()


def test_observed_until(events):
    log = EventLog(events, "customer", "day", observed_until="2024-04-01")
    assert log.observed_until == pd.Timestamp("2024-04-01")


def test_fields_chooses_and_orders_columns(events):
    events["y"] = 1
    assert EventLog(events, "customer", "day").fields == ["x", "y"]
    assert EventLog(events, "customer", "day", fields=["y", "x"]).fields == ["y", "x"]
    assert EventLog(events, "customer", "day", fields=[]).fields == []


class OnlyAStream:
    """What shows an Arrow table by the protocol alone, as a relation of DuckDB does."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        """Return the stream of the table."""
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "query",
    [
        lambda events: pl.from_pandas(events).lazy().filter(pl.col("x") < 5),
        lambda events: OnlyAStream(pa.Table.from_pandas(events[events["x"] < 5])),
    ],
)
def test_a_query_is_run(events, query):
    expected = EventLog(events[events["x"] < 5], "customer", "day").to_frame()
    log = EventLog(query(events), "customer", "day", fields=["x"])
    pd.testing.assert_frame_equal(log.to_frame(), expected)
    first = EventLog(events[events["x"] >= 5], "customer", "day")
    joint = first.append(query(events))
    pd.testing.assert_frame_equal(
        joint.to_frame(), EventLog(events, "customer", "day").to_frame()
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_ids_as_categories_are_exact_in_every_library(library):
    events = pd.DataFrame(
        {
            "customer": ["a"] * 4,
            "time": [1, 2, 3, 4],
            "basket": pd.array([2**60 + 2, None, 2**60 + 1, 2**60 + 2], "Int64"),
            "amount": [1, 2, 3, 4],
        }
    )
    table = LIBRARIES[library](events)
    log = EventLog(table, "customer", "time", categorical=["basket"])
    assert log.column("basket").categories.tolist() == [2**60 + 1, 2**60 + 2]
    assert log.column("basket").values.tolist() == [1, -1, 0, 1]
    assert log.column("amount").type.name == "numeric"


@pytest.mark.parametrize(
    ("values", "levels", "codes"),
    [
        ([7.0, np.nan, 3.0], [3, 7], [1, -1, 0]),  # read with a missing value
        ([True, None, False], [False, True], [1, -1, 0]),
        ([decimal.Decimal(7), None, decimal.Decimal(3)], [3, 7], [1, -1, 0]),
        (["b", None, "a"], ["a", "b"], [1, -1, 0]),
        ([1.5, 2, 1.5], [1.5, 2], [0, 1, 0]),
        ([None, None, None], [], [-1, -1, -1]),
    ],
)
def test_given_fields_become_categories(values, levels, codes):
    events = pd.DataFrame({"customer": "a", "time": [1, 2, 3], "x": values})
    column = EventLog(events, "customer", "time", categorical=["x"]).column("x")
    assert column.categories.tolist() == levels
    assert column.values.tolist() == codes


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([3, 1, 3], [1, 3]),
        (np.array([3, 1, 3], dtype="uint8"), [1, 3]),
        (pd.array([3, 1, 3], dtype="Int64"), [1, 3]),
        (["c", "a", "c"], ["a", "c"]),
        (pd.Categorical(["c", "a", "c"], categories=["c", "b", "a"]), ["a", "c"]),
        (pd.Categorical([3, 1, 3]), [1, 3]),
        (pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-03"]), None),
    ],
)
def test_kinds_of_customers(ids, expected):
    events = pd.DataFrame({"customer": ids, "time": [1, 2, 3], "x": [0, 1, 2]})
    log = EventLog(events, "customer", "time")
    expected = expected or [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-03")]
    assert log.customers.tolist() == expected
    assert log.to_frame()["x"].tolist() == [1, 0, 2]
    X = log.attach(events[["customer"]].iloc[[1, 0]], cutoff=3)
    assert X["history"].array.lengths.tolist() == [1, 1]


DAYS = pd.Series(pd.to_datetime(["2024-01-02", None, "2024-01-01"]))
NAN, NAT = np.nan, pd.NaT
FIELDS = {
    "integers": ([3, 1, 2], "numeric", [3.0, 1.0, 2.0]),
    "floats": ([3.0, None, np.inf], "numeric", [3.0, NAN, np.inf]),
    "float32": (np.array([1, 2, 3], "float32"), "numeric", [1.0, 2.0, 3.0]),
    "nullable integers": (pd.array([3, None, 2], "Int64"), "numeric", [3, NAN, 2]),
    "booleans": ([True, False, True], "numeric", [1.0, 0.0, 1.0]),
    "nullable booleans": (pd.array([True, None, False]), "numeric", [1, NAN, 0]),
    "booleans as objects": (
        np.array([True, None, False], object), "numeric", [1, NAN, 0]
    ),
    "decimals": (
        [decimal.Decimal("1.5"), None, decimal.Decimal(2)], "numeric", [1.5, NAN, 2]
    ),
    "datetimes": (DAYS, "datetime", DAYS.tolist()),
    "aware datetimes": (
        DAYS.dt.tz_localize("Asia/Tokyo"),
        "datetime",
        [pd.Timestamp("2024-01-01 15:00"), NAT, pd.Timestamp("2023-12-31 15:00")],
    ),
    "dates": (
        [datetime.date(2024, 1, 2), None, datetime.date(2024, 1, 1)],
        "datetime",
        DAYS.tolist(),
    ),
    "strings": (["shoe", None, "hat"], "categorical", ["shoe", NAN, "hat"]),
    "categories": (
        pd.Categorical(["shoe", None, "hat"]), "categorical", ["shoe", NAN, "hat"]
    ),
    "times of day": ([datetime.time(9)] * 3, "categorical", [datetime.time(9)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("case", FIELDS)
def test_kinds_of_fields(library, case):
    values, kind, expected = FIELDS[case]
    events = pd.DataFrame({"customer": ["a"] * 3, "time": [1, 2, 3], "field": values})
    log = EventLog(LIBRARIES[library](events), "customer", "time")
    column = log.column("field")
    assert column.type.name == kind
    frame = log.to_frame()
    pd.testing.assert_series_equal(
        frame["field"].astype(object), pd.Series(expected, dtype=object, name="field")
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_decimals_become_the_nearest_floats(library):
    prices = [decimal.Decimal(i) / 100 for i in range(100)]
    events = pd.DataFrame({"who": "a", "time": range(100), "price": prices})
    log = EventLog(LIBRARIES[library](events), "who", "time")
    assert log.to_frame()["price"].tolist() == [i / 100 for i in range(100)]


def test_datetimes_that_are_objects_of_several_zones():
    """A driver returns the offset of each time, which daylight saving changes."""
    due = ["2024-03-30 12:00+01:00", None, "2024-03-31 12:00+02:00"]
    stamps = [None if text is None else pd.Timestamp(text) for text in due]
    in_utc = [pd.Timestamp("2024-03-30 11:00"), NAT, pd.Timestamp("2024-03-31 10:00")]
    objects = {
        "pandas": stamps,
        "Python": [one and one.to_pydatetime() for one in stamps],
        "NumPy": [one and one.tz_convert(None).to_datetime64() for one in stamps],
    }
    for values in objects.values():
        events = pd.DataFrame({"customer": ["a"] * 3, "time": [1, 2, 3]})
        events["due"] = pd.Series(values, dtype=object)
        found = EventLog(events, "customer", "time").to_frame()["due"]
        assert found.dtype.kind == "M"
        assert found.astype(object).tolist() == in_utc


@pytest.mark.parametrize(
    "values",
    [
        [decimal.Decimal("2.5"), 1, None],
        [1, 2.5, decimal.Decimal(3)],
        [Fraction(1, 2), Fraction(3), None],
        [Fraction(1, 2), True, np.float32(2)],
    ],
)
def test_numbers_that_are_objects_are_no_categories(values):
    """Alone, each of them is a number as well."""
    events = pd.DataFrame({"who": "a", "time": range(3), "v": pd.Series(values)})
    for one in (events.astype({"v": object}), events[:1]):
        column = EventLog(one, "who", "time").column("v")
        expected = one["v"].to_numpy("float64", na_value=np.nan)
        np.testing.assert_array_equal(column.values, expected)


def test_float32_stays_and_levels_are_in_ascending_order():
    events = pd.DataFrame(
        {
            "customer": ["a"] * 3,
            "time": [1, 2, 3],
            "small": np.array([1, 2, 3], "float32"),
            "item": pd.Categorical(["shoe", "hat", None], ["unused", "shoe", "hat"]),
        }
    )
    log = EventLog(events, "customer", "time")
    assert log.column("small").values.dtype == np.float32
    assert log.column("item").categories.tolist() == ["hat", "shoe"]
    assert log.column("item").values.tolist() == [1, 0, -1]
    with pytest.raises(KeyError, match=r"no field 'price'; it has \['small', 'item'\]"):
        log.column("price")


TOKYO = pd.Timestamp("2024-01-01", tz="Asia/Tokyo")
TIMES = {
    "dates": (np.array([datetime.date(2024, 1, 2), TOKYO.date()]), "naive datetimes"),
    "Arrow datetimes": (
        pd.array(["2024-01-02", "2024-01-01"], "timestamp[us, tz=UTC][pyarrow]"),
        "time-zone aware datetimes",
    ),
    "two time zones": (
        np.array([pd.Timestamp("2024-01-02", tz="UTC"), TOKYO], object),
        "time-zone aware datetimes",
    ),
    "small integers": (np.array([2, 1], "uint16"), "plain numbers"),
    "nullable integers": (pd.array([2, 1], "Int64"), "plain numbers"),
    "nullable floats": (pd.array([2.5, 1.5], "Float64"), "plain numbers"),
}


@pytest.mark.parametrize("case", TIMES)
def test_kinds_of_times(case):
    times, kind = TIMES[case]
    events = pd.DataFrame({"customer": ["a", "a"], "time": times, "x": [0, 1]})
    log = EventLog(events, "customer", "time")
    assert str(log.timeline.clock) == kind
    assert log.to_frame()["x"].tolist() == [1, 0]


# --- Bad input --------------------------------------------------------------------


def frame(**columns):
    """A table of two events, with other columns."""
    return pd.DataFrame({"customer": ["a", "b"], "time": [1, 2], **columns})


BAD_INPUT = {
    "no table": (
        ([1, 2], "customer", "time"), TypeError,
        "events must be a pandas, polars or pyarrow table, or a query that gives one "
        "(a LazyFrame, a DuckDB relation, whatever has __arrow_c_stream__); got "
        "builtins.list.",
    ),
    "no rows": (
        (frame().iloc[:0], "customer", "time"), ValueError,
        "events has no rows; a log needs at least one event. Where a source may have "
        "none, leave it out; append to a log accepts an empty table.",
    ),
    "no customer column": (
        (frame(), "who", "time"), KeyError,
        "events has no customer column 'who'; it has ['customer', 'time'].",
    ),
    "no time column": (
        (frame(), "customer", "when"), KeyError,
        "events has no time column 'when'; it has ['customer', 'time'].",
    ),
    "one column for both": (
        (frame(), "time", "time"), ValueError,
        "customer and time are the same column 'time'.",
    ),
    "missing customers": (
        (frame(customer=[None, "b"]).set_axis([7, 8]), "customer", "time"), ValueError,
        "The customer column 'customer' of events has 1 missing values, the first in "
        "the rows 7; drop or fill them.",
    ),
    "missing times": (
        (frame(time=[np.nan, np.nan]), "customer", "time"), ValueError,
        "The time column 'time' of events has 2 missing values, the first in the rows "
        "0, 1; drop or fill them.",
    ),
    "mixed ids": (
        (frame(customer=[1, "b"]), "customer", "time"), TypeError,
        "Column 'customer' mixes values of the types int, str; make them one type, for "
        "example events['customer'].astype(str).",
    ),
    "mixed categories": (
        (frame(item=["hat", 7]), "customer", "time"), TypeError,
        "Column 'item' mixes values of the types int, str; make them one type, for "
        "example events['item'].astype(str).",
    ),
    "nested values": (
        (frame(basket=[["hat"], ["shoe"]]), "customer", "time"), TypeError,
        "Column 'basket' of events holds values of the type list of string, and a "
        "field of vectors needs lists of numbers, or None; leave the column out of "
        "fields, or make a column of each part.",
    ),
    "lengths of time": (
        (frame(wait=pd.to_timedelta(["1D", "2D"])), "customer", "time"), TypeError,
        "Field 'wait' holds lengths of time; make numbers of them, for example "
        "events['wait'] / pd.Timedelta(days=1).",
    ),
    "lengths of time as objects": (
        (
            frame(wait=pd.Series([datetime.timedelta(1), pd.NA], dtype=object)),
            "customer", "time",
        ), TypeError,
        "Field 'wait' holds lengths of time; make numbers of them, for example "
        "events['wait'] / pd.Timedelta(days=1).",
    ),
    "half of a surrogate pair": (
        (
            frame(item=pd.Series(["hat", "h\ud800"], dtype=object)),
            "customer", "time",
        ), ValueError,
        "values in column 'item' of events have the text 'h\\ud800', which is no valid "
        "Unicode: it has half of a surrogate pair. Decode it with errors='replace'.",
    ),
    "complex numbers": (
        (frame(phase=[1j, 2]), "customer", "time"), TypeError,
        "Field 'phase' holds complex numbers; make fields of their parts, such as "
        "events['phase'].to_numpy().real.",
    ),
    "a field of naive and aware datetimes": (
        (
            frame(due=[pd.Timestamp(0), pd.Timestamp(0, tz="UTC")]),
            "customer", "time",
        ), ValueError,
        "values of the field 'due' mix naive and time-zone aware datetimes; "
        "pd.to_datetime(..., utc=True) makes all of them aware.",
    ),
    "times as text": (
        (frame(time=["2024-01-01", "2024-01-02"]), "customer", "time"), TypeError,
        "times in column 'time' must be datetimes or numbers; got the type",
    ),
    "times as text objects": (
        (frame(time=np.array(["2024-01", "2"], object)), "customer", np.str_("time")),
        TypeError,
        "times in column 'time' must be datetimes or numbers; got the type",
    ),
    "times that are periods": (
        (frame(time=pd.PeriodIndex(["2024-01-01", "2024-01-02"], freq="D")),
         "customer", "time"),
        TypeError,
        "got the type period[D]. pd.to_datetime reads dates written as text, with "
        "dayfirst=True those like '05.12.2024', and .dt.to_timestamp() makes datetimes "
        "of periods.",
    ),
    "times that are true or false": (
        (frame(time=[True, False]), "customer", "time"), TypeError,
        "times in column 'time' must be datetimes or numbers; got the type bool",
    ),
    "infinite times": (
        (frame(time=[np.inf, 1.0]), "customer", "time"), ValueError,
        "times in column 'time' hold 1 infinite values; drop those rows.",
    ),
    "an infinite end of observation": (
        (frame(), "customer", "time", None, np.inf), ValueError,
        "observed_until must be finite; got inf.",
    ),
    "naive and aware times": (
        (
            frame(time=[pd.Timestamp(0), pd.Timestamp(0, tz="UTC")]),
            "customer", "time",
        ), ValueError,
        "times in column 'time' mix naive and time-zone aware datetimes; "
        "pd.to_datetime(..., utc=True) makes all of them aware.",
    ),
    "fields as text": (
        (frame(), "customer", "time", "amount"), TypeError,
        "fields must be a list of columns; got the text 'amount'.",
    ),
    "unknown fields": (
        (frame(x=1), "customer", "time", ["x", "y"]), KeyError,
        "events has no columns ['y'] for fields; it has ['customer', 'time', 'x'].",
    ),
    "categorical as text": (
        (frame(x=1), "customer", "time", None, None, "x"), TypeError,
        "categorical must be a list of columns; got the text 'x'.",
    ),
    "unknown categorical": (
        (frame(x=1), "customer", "time", None, None, ["x", "y"]), KeyError,
        "events has no columns ['y'] for categorical; it has ['x'].",
    ),
    "floats that were ids": (
        (frame(x=[2.0**60, 1.0]), "customer", "time", None, None, ["x"]), ValueError,
        "values in column 'x' of events are of the type float64, in which "
        "whole numbers from 9,007,199,254,740,992 on are not exact",
    ),
    "numbers as names of keys": (
        (pd.DataFrame([["a", 1, 2.0]]), 0, 1), TypeError,
        "events has columns whose names are not text, [0, 1, 2]; rename them, for "
        "example by events.columns = events.columns.astype(str).",
    ),
    "numbers as names of fields": (
        (frame().assign(**{"x": 1}).rename(columns={"x": 7}), "customer", "time"),
        TypeError, "events has columns whose names are not text, [7]; rename them",
    ),
    "keys as fields": (
        (frame(x=1), "customer", "time", ["x", "time"]), ValueError,
        "fields repeats the customer or time column: ['time'].",
    ),
    "observed_until too early": (
        (frame(), "customer", "time", None, 1), ValueError,
        "observed_until=1 lies before the last event at 2; leave out later events,",
    ),
    "observed_until of another kind": (
        (frame(), "customer", "time", None, pd.Timestamp("2024-01-01")), ValueError,
        "observed_until are naive datetimes, but the times of the log are plain "
        "numbers; build both from times of the same type, for dates such as 20240131 "
        "by pd.to_datetime(times.astype('int64').astype(str)).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case):
    arguments, error, text = BAD_INPUT[case]
    with pytest.raises(error) as caught:
        EventLog(*arguments)
    assert text in str(caught.value.args[0])


# --- A log never changes ----------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda log: clone(log, safe=False)]
)
def test_a_copy_is_the_log_itself(log, copied):
    assert copied(log) is log
    assert copied([log])[0] is log


def test_stored_arrays_cannot_be_written(log):
    timeline = log.timeline
    for stored in (timeline.times, timeline.offsets, log.column("x").values):
        with pytest.raises(ValueError, match="read-only"):
            stored[0] = 0


def test_a_log_copies_its_table(events):
    log = EventLog(events, "customer", "day")
    before = log.to_frame()
    events.loc[:, "x"] = -1.0
    pd.testing.assert_frame_equal(log.to_frame(), before)


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64"])
@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m"])
def test_dates_as_numbers_are_a_warning(dtype, form, tmp_path):
    days = pd.to_datetime(["2023-11-30", "2024-01-31", "2024-02-01"]).strftime(form)
    events = pd.DataFrame({"who": "a", "day": days.astype("int64").astype(dtype)})
    with pytest.warns(UserWarning, match=f"'day' .* {days[0]} to {days[2]}") as found:
        EventLog(events, "who", "day")
    advice = str(found[0].message).split("with ")[1].removesuffix(".")
    dates = eval(advice, {"pd": pd, "times": events["day"]})
    assert dates.dt.strftime(form).astype("int64").tolist() == list(events["day"])
    with pytest.warns(UserWarning, match="look like dates"):
        EventLog.from_parts([events], tmp_path / "log", "who", "day")


@pytest.mark.parametrize(
    "times",
    [
        [20240131, 20240132],  # no such day
        [202400, 202401],  # no such month
        [20240131.5, 20240201],
        [0, 20240131],
        [20240131, 1706659200],  # seconds since 1970
        [-20240131, 20240131],
        pd.to_datetime(["20240131", "20240201"]).astype("datetime64[s]"),
    ],
)
def test_other_times_are_no_dates(times):
    EventLog(pd.DataFrame({"who": "a", "day": times}), "who", "day")
