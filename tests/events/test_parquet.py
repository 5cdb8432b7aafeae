"""Logs and histories that travel through parquet files."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from sklearn_seqcrm.events import EventLog, HistoryDtype
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


def test_rows_read_back_join_others(tmp_path):
    X = make_rows(DAYS)
    X.to_parquet(tmp_path / "X.parquet")
    joint = pd.concat([X, pd.read_parquet(tmp_path / "X.parquet")])
    assert joint["history"].array.lengths.tolist() == [1, 1, 0, 0, 0, 0] * 2


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
    assert [back.column(f).kind for f in back.fields] == [
        log.column(f).kind for f in log.fields
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
    assert back.column("amount").kind == "numeric"


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


def test_a_log_of_days_stays_one(tmp_path):
    """What is left of a log of moments may be days by chance."""
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 10:00"])
    events = pd.DataFrame({"who": ["a", "b"], "when": times})
    for table, in_days in ((events, False), (events[:1], True)):
        log = EventLog(table, "who", "when").subset(np.array([0]))
        log.to_parquet(tmp_path / "log.parquet")
        back = EventLog.from_parquet(tmp_path / "log.parquet")
        assert back.timeline.record == log.timeline.record
        assert back.timeline.record.in_days == in_days
