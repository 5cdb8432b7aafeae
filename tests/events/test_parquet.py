"""Logs and histories in parquet files."""

import os
import pickle
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from tests.events.reference import histories

# --- Histories --- ----------------------------------------------------------------

DAYS = pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-03"]).as_unit("us")
TIMES = {
    "naive": DAYS,
    "milliseconds": DAYS.as_unit("ms"),
    "nanoseconds": DAYS.as_unit("ns"),
    "aware": DAYS.tz_localize("Asia/Tokyo"),
    "integers": [2**60 + 1, 2**60 + 5, 2**60 + 3],
    "floats": [0.1, 0.5, 0.3],
}
# A missing history, an unknown customer, and one whose first event is yet to come.
ROWS = {"customer": ["ann", "bob", "nobody", "ann", "bob"], "row": [0, 0, 0, 0, 1]}


def make_rows(times):
    """Rows at the time of ann's last event, of which bob's second sees nothing."""
    events = pd.DataFrame(
        {
            "customer": ["ann", "ann", "bob"],
            "time": times,
            "x": [1.0, np.nan, np.inf],
            "small": np.array([1, 2, 3], "float32"),
            "item": pd.Categorical(["hat", None, "shoe"]),
            "due": pd.to_datetime(["2024-02-01", None, "2024-02-02"]),
        }
    )
    log = EventLog(events, "customer", "time")
    rows = pd.DataFrame(ROWS, index=list("pqrst"))
    rows["cutoff"] = pd.Series(times)[[1, 1, 1, 0, 2]].to_numpy()
    if isinstance(times, pd.DatetimeIndex) and times.tz is not None:
        rows["cutoff"] = times[[1, 1, 1, 0, 2]]
    return log.attach(rows, cutoff="cutoff").reindex(list("pqrstu"))


def assert_same(back, X):
    array, expected = back["history"].array, X["history"].array
    assert back["history"].dtype == X["history"].dtype
    # Only levels that are in use travel.
    pd.testing.assert_frame_equal(
        array.to_frame(), expected.to_frame(), check_categorical=False
    )
    pd.testing.assert_index_equal(array.cutoffs, expected.cutoffs)
    assert array.lengths.tolist() == expected.lengths.tolist()
    assert array.isna().tolist() == expected.isna().tolist()
    customers = pd.Series(expected.customers).fillna("?").tolist()
    assert pd.Series(array.customers).fillna("?").tolist() == customers
    assert back.index.tolist() == X.index.tolist()


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("select", ["pqrstu", "upts", "q", "rt", "r", "u", ""])
def test_round_trip(tmp_path, kind, select):
    X = make_rows(TIMES[kind]).loc[list(select)]
    X.to_parquet(tmp_path / "X.parquet")
    assert_same(pd.read_parquet(tmp_path / "X.parquet"), X)


def test_round_trip_in_several_row_groups(tmp_path):
    X = make_rows(DAYS)
    X.to_parquet(tmp_path / "X.parquet", row_group_size=2)
    assert_same(pd.read_parquet(tmp_path / "X.parquet"), X)


def test_integer_customers(tmp_path):
    events = pd.DataFrame({"who": [2**60 + 1, 7], "time": [1, 2], "x": [0, 1]})
    log = EventLog(events, "who", "time")
    X = log.attach(pd.DataFrame({"who": [7, 9, 2**60 + 1]}))
    X.to_parquet(tmp_path / "X.parquet")
    back = pd.read_parquet(tmp_path / "X.parquet")
    assert histories(back) == [[1], [], [0]]
    assert back["history"].array.customers[2] == 2**60 + 1
    assert back["history"].array.log.names == ("who", "time")


def test_files_without_unknown_customers(tmp_path):
    """Version 0.1.0 did not write their identities."""
    X = make_rows(DAYS)
    table = pa.Table.from_pandas(X)
    at = table.schema.get_field_index("history")
    column = table["history"].combine_chunks()
    names = [field.name for field in column.type]
    assert names == ["customer", "cutoff", "events", "unknown_customer"]
    old = pa.StructArray.from_arrays(
        column.flatten()[:3], names[:3], mask=column.is_null()
    )
    field = table.schema.field(at).with_type(old.type)
    table = table.set_column(at, field, old)
    pq.write_table(table, tmp_path / "X.parquet")
    assert_same(pd.read_parquet(tmp_path / "X.parquet"), X)


def test_a_column_without_history(tmp_path):
    X = pd.DataFrame({"history": pd.array([None, None], dtype="history")})
    X.to_parquet(tmp_path / "X.parquet")
    back = pd.read_parquet(tmp_path / "X.parquet")
    assert back["history"].dtype == HistoryDtype()
    assert histories(back) == [None, None]


def test_a_file_holds_nothing_after_the_cutoffs(tmp_path):
    X = make_rows(DAYS).iloc[:1]
    X.to_parquet(tmp_path / "X.parquet")
    value = pq.read_table(tmp_path / "X.parquet")["history"][0].as_py()
    assert value["customer"] == "ann"
    assert [event["x"] for event in value["events"]] == [1.0]
    assert len(pd.read_parquet(tmp_path / "X.parquet")["history"].array.log) == 1


def test_arrow_has_no_level_of_the_future():
    events = pd.DataFrame(
        {"who": list("aab"), "day": [1, 5, 1], "item": ["hat", "later", "other"]}
    )
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": ["a"]}), cutoff=3)
    table = pa.Table.from_pandas(X)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written = sink.getvalue().to_pybytes()
    assert b"hat" in written
    assert b"later" not in written
    assert b"other" not in written


def test_rows_read_back_have_the_kinds_of_their_log(tmp_path):
    """Aggregates of the amounts of orders and of returns were one."""
    who = {"who": ["a", "a", "b"], "day": [1, 2, 3], "amount": [1.0, 2.0, 3.0]}
    orders = EventLog(pd.DataFrame({**who, "shop": "north"}), "who", "day")
    returns = EventLog(pd.DataFrame(who), "who", "day")
    log = EventLog.concat({"order": orders, "return": returns}, kind_field="what")
    X = log.attach(pd.DataFrame({"who": ["a", "b"]}))
    X.to_parquet(tmp_path / "X.parquet")
    back = pd.read_parquet(tmp_path / "X.parquet")
    for rows in (back, pd.concat([X, back]), back.iloc[:0], pickle_of(back)):
        found = rows["history"].array.log
        assert found.kind_field == "what"
        assert found.kinds == {"order": ["amount", "shop"], "return": ["amount"]}
    names = [HistoryAggregator(min_rows=1).fit(one) for one in (X, back)]
    assert "history__amount_of_order_sum" in names[1].get_feature_names_out()
    assert_frame_equal(names[1].transform(X), names[0].transform(back))
    with pytest.warns(UserWarning, match="RFMFeatures counts in 'history' events of"):
        RFMFeatures(amount="amount").fit(back)


def pickle_of(X):
    return pickle.loads(pickle.dumps(X))


def test_rows_read_back_join_others(tmp_path):
    X = make_rows(DAYS)
    X.to_parquet(tmp_path / "X.parquet")
    back = pd.read_parquet(tmp_path / "X.parquet")
    for parts in ([X, back], [back, X]):
        joint = pd.concat(parts)["history"].array
        assert joint.lengths.tolist() == [1, 1, 0, 0, 0, 0] * 2
        with pytest.raises(AttributeError, match="has no attach: it was read back"):
            joint.log.attach(X)
    with pytest.raises(TypeError, match="more is a log that was read back"):
        X["history"].array.log.append(joint.log)


# --- Whole logs --- ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "until"),
    [
        (pd.to_datetime(["2024-01-02", "2024-01-01"]).as_unit("s"), "2024-02-01"),
        (pd.to_datetime(["2024-01-02", "2024-01-01"]).as_unit("ns"), None),
        (pd.to_datetime(["2024-01-02", "2024-01-01"], utc=True), "2024-02-01 09:00Z"),
        ([2**60 + 1, 2**60], 2**60 + 3),
        ([0.1, 0.2], 0.30000000000000004),
    ],
)
def test_round_trip_of_a_log(tmp_path, times, until):
    events = pd.DataFrame(
        {
            "who": [2, 1],
            "when": times,
            "x": [np.nan, 1.5],
            "small": np.array([1, 2], "float32"),
            "item": pd.Categorical(["shoe", None]),
            "due": pd.to_datetime(["2024-01-02", None]).as_unit("s"),
        }
    )
    log = EventLog(events, "who", "when", observed_until=until)
    log.to_parquet(tmp_path / "log.parquet")
    back = EventLog.from_parquet(tmp_path / "log.parquet")
    pd.testing.assert_frame_equal(back.to_frame(), log.to_frame())
    assert back.timeline.clock == log.timeline.clock
    assert back.names == log.names
    assert back.observed_until == log.observed_until
    assert [back.column(f).type.name for f in back.fields] == [
        log.column(f).type.name for f in log.fields
    ]


def test_categories_that_are_numbers_stay_categories(tmp_path):
    """Beside a missing value Arrow's integers would become floats."""
    events = pd.DataFrame(
        {
            "who": [1, 1, 2],
            "when": [1, 2, 3],
            "basket": pd.array([2**60 + 2, None, 2**60 + 1], "Int64"),
            "amount": [1, 2, 3],
        }
    )
    log = EventLog(events, "who", "when", categorical=["basket"])
    log.to_parquet(tmp_path / "log.parquet")
    back = EventLog.from_parquet(tmp_path / "log.parquet")
    assert back.column("basket").categories.tolist() == [2**60 + 1, 2**60 + 2]
    assert back.column("basket").values.tolist() == [1, -1, 0]
    assert back.column("amount").type.name == "numeric"


def test_any_reader_sees_a_log_as_a_table(tmp_path, log):
    log.to_parquet(tmp_path / "log.parquet")
    table = pl.read_parquet(tmp_path / "log.parquet")
    assert table.columns == ["customer", "day", "x"]
    assert len(table) == 6


def test_an_ordinary_file_is_no_log(tmp_path, events):
    path = tmp_path / "orders.parquet"
    events.to_parquet(path)
    text = f"{path} was not written by EventLog.to_parquet; read it as a table"
    with pytest.raises(ValueError, match=re.escape(text)):
        EventLog.from_parquet(path)


def test_a_log_of_days_stays_a_log_of_days(tmp_path):
    """The events left of a log of moments may be days by chance."""
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 10:00"])
    events = pd.DataFrame({"who": ["a", "b"], "when": times})
    for table, in_days in ((events, False), (events[:1], True)):
        log = EventLog(table, "who", "when").subset(np.array([0]))
        log.to_parquet(tmp_path / "log.parquet")
        back = EventLog.from_parquet(tmp_path / "log.parquet")
        assert back.timeline.observation == log.timeline.observation
        assert back.timeline.observation.in_days == in_days


# Types that parquet gives back as numbers, or of which it forgets a part.
LEVELS = {
    "integers": pd.Index([7, 2**60 + 1]),
    "small integers": pd.Index([1, 2], dtype="int8"),
    "unsigned integers": pd.Index([7, 2**63 + 5], dtype="uint64"),
    "floats": pd.Index([1.5, 2.0]),
    "seconds": pd.to_datetime(["2024-01-01", "2024-01-02"]).as_unit("s"),
    "aware": pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize("Asia/Tokyo"),
    "lengths of time": pd.to_timedelta(["1D", "2D"]),
    "decimals": pd.Index([Decimal("1.5"), Decimal("2.0")]),
    "bytes": pd.Index([b"x", b"y"]),
    "text": pd.Index(["x", "y"]),
    "booleans": pd.Index([False, True]),
}


@pytest.mark.parametrize("what", LEVELS)
def test_levels_stay_levels(tmp_path, what):
    """A file alone would turn the codes of products into quantities."""
    items = pd.Categorical.from_codes([1, -1, 0, 1], LEVELS[what])
    events = pd.DataFrame({"who": [*"aabb"], "when": [1, 2, 3, 4], "item": items})
    log = EventLog(events, "who", "when")
    levels = log.column("item").categories
    assert (levels == LEVELS[what]).all()
    log.to_parquet(tmp_path / "log.parquet")
    X = log.attach(pd.DataFrame({"who": ["a", "b"]}))
    X.to_parquet(tmp_path / "X.parquet")
    read = pd.read_parquet(tmp_path / "X.parquet")["history"].array
    for back in (EventLog.from_parquet(tmp_path / "log.parquet"), read.log):
        assert back.column("item").type.name == "categorical"
        assert back.column("item").values.tolist() == [1, -1, 0, 1]
        pd.testing.assert_index_equal(back.column("item").categories, levels)
    assert pl.read_parquet(tmp_path / "log.parquet").columns == ["who", "when", "item"]


def test_a_field_without_a_level(tmp_path):
    events = pd.DataFrame({"who": ["a"], "when": [1], "none": pd.Categorical([None])})
    log = EventLog(events, "who", "when")
    log.to_parquet(tmp_path / "log.parquet")
    back = EventLog.from_parquet(tmp_path / "log.parquet")
    assert back.column("none").type.name == "categorical"
    assert back.column("none").values.tolist() == [-1]


NEVER = {
    "intervals": (pd.cut([1, 2], 2), "interval[float64, right]"),
    "periods": (pd.PeriodIndex(["2024-01", "2024-02"], freq="M"), "period[M]"),
    "tuples": ([(1, 2), (1, 3)], "object"),
}


def test_a_field_of_none_alone_takes_any_later_type(tmp_path):
    events = pd.DataFrame({"who": [1], "day": [1], "note": [None]})
    EventLog(events, "who", "day").to_parquet(tmp_path / "log")
    log = EventLog.from_parquet(tmp_path / "log")
    later = log.append(events.assign(day=2, note=[1.5]))
    assert later.column("note").type.name == "numeric"


@pytest.mark.parametrize("what", NEVER)
def test_levels_that_parquet_cannot_store(tmp_path, what):
    values, dtype = NEVER[what]
    path = tmp_path / "log.parquet"
    log = EventLog(
        pd.DataFrame({"who": ["a", "b"], "when": [1, 2], "x": values}), "who", "when"
    )
    text = (
        f"Column 'x' holds values of the type {dtype}, which parquet cannot store. "
        "Make text of them before building the log: events['x'].astype(str)."
    )
    path.write_bytes(b"good")
    X = log.attach(pd.DataFrame({"who": ["a"]}))
    for write in (log.to_parquet, X.to_parquet):
        with pytest.raises(TypeError, match=re.escape(text)):
            write(path)
        assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["log.parquet"]


def test_integers_that_parquet_cannot_store(tmp_path):
    """Neither as ids, which histories write separately, nor as levels."""
    huge = [2**70, 5]
    ids = EventLog(pd.DataFrame({"who": huge, "when": [1, 2]}), "who", "when")
    items = pd.DataFrame({"who": [1, 2], "when": [1, 2], "item": huge})
    levels = EventLog(items, "who", "when", categorical=["item"])
    for log, name in ((ids, "who"), (levels, "item")):
        X = log.attach(log.to_frame()[["who"]])[["history"]]
        text = (
            f"Column {name!r} holds values of the type object, which parquet cannot "
            "store: Python int too large"
        )
        for write in (log.to_parquet, X.to_parquet):
            with pytest.raises(TypeError, match=re.escape(text)) as caught:
                write(tmp_path / "file")
            assert f"events[{name!r}].astype(str)" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_timeline_is_read_only(tmp_path, log):
    log.to_parquet(tmp_path / "log.parquet")
    back = EventLog.from_parquet(tmp_path / "log.parquet")
    for one in (log, back):
        with pytest.raises(AttributeError, match="cannot assign to field"):
            one.timeline.observation = None
        with pytest.raises(ValueError, match="read-only"):
            one.timeline.times[0] = 0
