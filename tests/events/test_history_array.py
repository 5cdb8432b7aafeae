"""The array of histories: selection, joins, hashes and comparisons."""

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype
from sklearn_seqcrm.feature_extraction import RFMFeatures
from tests.events.reference import histories

ROWS = pd.DataFrame({"customer": ["ann", "nobody", "bob"]})


def small_log(**columns):
    """Two events of one customer, with other columns."""
    days = pd.to_datetime(["2024-01-01", "2024-01-02"]).as_unit("us")
    events = {"customer": ["zoe", "zoe"], "day": days, "x": [6, 7], **columns}
    return EventLog(pd.DataFrame(events), "customer", "day")


# --- What an array says about itself ----------------------------------------------


def test_properties_of_an_array(log):
    array = log.attach(ROWS, cutoff="2024-01-09")["history"].array
    assert isinstance(array, HistoryArray)
    assert array.log is log
    assert array.lengths.tolist() == [2, 0, 1]
    assert array.customers[[0, 2]].tolist() == ["ann", "bob"]
    assert pd.isna(array.customers[1])
    assert array.cutoffs.tolist() == [pd.Timestamp("2024-01-09")] * 3
    assert array.isna().tolist() == [False, False, False]
    days = pd.to_datetime(["2024-01-01", "2024-01-05", "2024-01-01"])
    expected = pd.DataFrame(
        {
            "customer": ["ann", "ann", "bob"],
            "day": days.as_unit("us"),
            "x": [2.0, 1.0, 4.0],
        },
        index=[0, 0, 2],
    )
    pd.testing.assert_frame_equal(array.to_frame(), expected)


def test_a_missing_history_is_not_an_empty_one(log):
    X = log.attach(ROWS).reindex([1, 5])
    array = X["history"].array
    assert X["history"].isna().tolist() == [False, True]
    assert array.lengths.tolist() == [0, 0]
    assert array.cutoffs[0] == log.observed_until
    assert array.cutoffs[1] is pd.NaT
    assert array.customers.isna().all()
    assert histories(X) == [[], None]
    numbers = small_log(day=[1, 2]).attach(ROWS).reindex([1, 5])
    assert numbers["history"].array.cutoffs.tolist() == pytest.approx(
        [2, np.nan], nan_ok=True
    )


def test_integer_customers_stay_integers_beside_unknown_ones():
    log = small_log(customer=[2**60 + 1, 3])
    rows = pd.DataFrame({"customer": [2**60 + 1, 5]})
    assert log.attach(rows)["history"].array.customers[0] == 2**60 + 1


@pytest.mark.parametrize(
    ("dtype", "name", "keys"),
    [
        (HistoryDtype(), "history", []),
        (HistoryDtype("who", None), "history['who', None]", ["who"]),
        (HistoryDtype(np.str_("who"), None), "history['who', None]", ["who"]),
        (HistoryDtype("it's", "a day"), "history[\"it's\", 'a day']", None),
    ],
)
def test_a_dtype_is_its_name(dtype, name, keys):
    assert dtype.name == str(dtype) == name
    assert pd.api.types.pandas_dtype(name) == dtype
    assert dtype.keys == (["it's", "a day"] if keys is None else keys)


@pytest.mark.parametrize("name", ["history[", "history[1 +]", "history['a']", "hist"])
def test_other_names_are_no_dtype(name):
    with pytest.raises(TypeError, match="Cannot construct a 'HistoryDtype' from"):
        HistoryDtype.construct_from_string(name)


def test_copies_share_the_log_but_not_the_rows(log):
    array = log.attach(ROWS.iloc[:1])["history"].array
    for copied in (array.copy(), copy.copy(array), copy.deepcopy(array), array[:]):
        assert copied.log is log
        copied[0] = None
        assert not array.isna().any()


@pytest.mark.parametrize("dtype", [str, "str", "string", "U", pd.StringDtype()])
def test_histories_become_text_with_a_warning_only(log, dtype):
    X = log.attach(ROWS, cutoff="2024-01-09")
    message = r"for display and not for a model.*specific_transformers=\[\('pass"
    with pytest.warns(UserWarning, match=message):
        text = X["history"].astype(dtype)
    assert text.tolist() == list(map(repr, X["history"]))


def test_histories_become_objects_without_a_warning(log):
    histories = log.attach(ROWS, cutoff="2024-01-09")["history"]
    for dtype in (object, "O", "category", "history", histories.dtype):
        assert histories.astype(dtype).tolist() == histories.tolist()
    assert histories.astype("history").array.log is log


# --- Selecting never copies an event ----------------------------------------------


@pytest.mark.parametrize(
    "select",
    [
        lambda X: X.iloc[::-1],
        lambda X: X[X["customer"] == "ann"],
        lambda X: X.sample(frac=2, replace=True, random_state=0),
        lambda X: X.reindex([2, 9]),
        lambda X: pd.concat([X, X.iloc[:1], X.reindex([9])]),
        lambda X: X.merge(pd.DataFrame({"customer": ["bob", "y"]}), how="right"),
        lambda X: pd.concat([X, X.iloc[:0].copy()]),
        lambda X: pd.concat([X, X.drop(columns="history")]),
    ],
)
def test_selections_share_the_log(log, select):
    X = log.attach(ROWS)
    assert select(X)["history"].array.log is log


# --- Joining logs -----------------------------------------------------------------


def test_rows_of_several_logs_share_a_new_log(events, log):
    other = EventLog(events.assign(x=-events["x"]), "customer", "day")
    X = log.attach(ROWS)
    joint = pd.concat([X, other.attach(ROWS), X.iloc[[0]], X.reindex([7])])
    both = [[2, 1, 5], [], [4, 0], [-2, -1, -5], [], [-4, 0], [2, 1, 5], None]
    assert histories(joint) == both
    customers = joint["history"].array.customers
    assert customers[[0, 2, 3, 5, 6]].tolist() == ["ann", "bob", "ann", "bob", "ann"]
    assert histories(joint.iloc[::-1]) == both[::-1]
    assert histories(X) == both[:3]


def test_the_parts_of_one_log_stay_together(events, log):
    # A customer's rows must keep one segment, whose events are read once.
    X = log.attach(ROWS.iloc[[0]])
    other = EventLog(events, "customer", "day").attach(ROWS.iloc[[2]])
    array = pd.concat([X, other, X])["history"].array
    assert len(array.log) == 3 + 2
    assert array.rows.codes[0] == array.rows.codes[2]


def test_rows_of_unknown_customers_bring_no_fields(log):
    other = small_log(y=[1, 2]).attach(ROWS.iloc[[1]], cutoff="2024-01-01")
    X = pd.concat([log.attach(ROWS), other])
    assert histories(X) == [[2, 1, 5], [], [4, 0], []]
    assert X["history"].array.log.fields == ["x"]
    assert X["history"].array.cutoffs[3] == pd.Timestamp("2024-01-01")


@pytest.mark.parametrize("is_on_disk", [False, True])
@pytest.mark.parametrize("units", [("s", "ns"), ("ns", "us")])
def test_the_unit_of_joined_logs_is_the_finest(events, tmp_path, units, is_on_disk):
    """pandas 2 has nanoseconds where pandas 3 has microseconds."""
    parts = []
    for unit in units:
        table = events.assign(day=events["day"].dt.as_unit(unit))
        log = EventLog.concat({"x": EventLog(table, "customer", "day")})
        if is_on_disk:
            log.to_disk(tmp_path / unit)
            log = EventLog.open(tmp_path / unit)
        parts.append(log.attach(ROWS, cutoff=pd.Timestamp("2024-01-04").as_unit(unit)))
    joint = pd.concat(parts)
    assert histories(joint) == 2 * histories(parts[0])
    array = joint["history"].array
    assert array.log.timeline.clock.unit == "ns"
    assert (array.cutoffs == pd.Timestamp("2024-01-04")).all()
    # Equal events of both logs are the same, whatever their unit was.
    assert len(array.log) == 5
    first = parts[0].copy()
    first.loc[0, "history"] = parts[1]["history"][2]
    assert histories(first)[0] == histories(parts[1])[2]


def test_logs_of_whole_and_other_numbers_share_a_column():
    whole = small_log(day=[1, 2]).attach(ROWS.iloc[:1], cutoff=3)
    other = small_log(day=[1.5, 2]).attach(ROWS.iloc[:1], cutoff=2.5)
    assert pd.concat([whole, other])["history"].array.cutoffs.tolist() == [3, 2.5]


@pytest.mark.parametrize(
    ("other", "customer", "text"),
    [
        (
            small_log(day=[1, 2]), "zoe",
            "Histories cannot share a column, because the times of one log are naive "
            "datetimes of unit us and of another plain numbers of unit None; convert "
            "the times before building the logs.",
        ),
        # Their cutoffs would be misread, though there is no event to join.
        (small_log(day=pd.to_datetime([0, 1], utc=True)), "nobody", "time-zone aware"),
        (
            small_log(y=[1, 2]), "zoe",
            r"Histories of logs with different fields cannot share a column: \['x'\] "
            r"and \['x', 'y'\].",
        ),
        (
            small_log(x=["red", "blue"]), "zoe",
            "Field 'x' has the types {'log 0': 'numeric', 'log 1': 'categorical'}; "
            "give it one type, or different names, before building the logs.",
        ),
    ],
)  # fmt: skip
def test_logs_that_cannot_be_joined(log, other, customer, text):
    X = log.attach(ROWS)
    Z = other.attach(pd.DataFrame({"customer": [customer]}))
    with pytest.raises(ValueError, match=text):
        pd.concat([X, Z])


def test_a_joined_log_looks_no_customers_up(events, log):
    # With equal events, customers of both would have one segment.
    other = EventLog(events.assign(x=9.0), "customer", "day")
    joint = pd.concat([log.attach(ROWS), other.attach(ROWS)])["history"].array.log
    with pytest.raises(ValueError, match="stacked from several logs and cannot find"):
        joint.attach(ROWS)


def test_other_key_columns_still_concatenate(log):
    X = log.snapshots(["2024-01-06", "2024-02-02"])
    Z = X.drop(columns="history").rename(columns={"cutoff": "when"})
    Z = log.attach(Z, cutoff="when")
    joint = pd.concat([X["history"], Z["history"]])
    assert joint.dtype == HistoryDtype("customer", None)
    assert joint.array.log is log


# --- Columns without any history --------------------------------------------------

NO_HISTORY = {
    "no values": lambda: pd.array([], dtype="history"),
    "missing values": lambda: pd.array([None, pd.NA, np.nan], dtype="history"),
    "an empty frame": lambda: pd.DataFrame(columns=["h"], dtype="history")["h"].array,
    "a scalar": lambda: pd.Series(pd.NA, index=[1, 2], dtype="history").array,
}


@pytest.mark.parametrize("case", NO_HISTORY)
@pytest.mark.parametrize("kind", ["datetimes", "floats"])
def test_a_column_without_history_joins_any_log(log, case, kind):
    nothing = NO_HISTORY[case]()
    assert isinstance(nothing, HistoryArray)
    assert nothing.isna().all()
    assert len(nothing.to_frame()) == 0
    assert repr(nothing.log) == ("RawLog(0 events, 0 customers, no time, fields: none)")
    if kind == "floats":
        log = small_log(day=[0.5, 1.5])
    array = log.attach(ROWS)["history"].array
    for joint in (
        HistoryArray._concat_same_type([nothing, array]),
        HistoryArray._concat_same_type([array, nothing])[::-1],
    ):
        assert joint.log is log
        assert joint.rows.cutoff.dtype == log.timeline.clock.dtype
        assert joint.isna().sum() == len(nothing)
    if len(nothing):
        nothing[0] = array[0]
        assert nothing.log is log
        assert nothing[0] == array[0]


@pytest.mark.parametrize("periods", [1, -3, 9])
def test_shifted_rows_keep_the_log(log, periods):
    """Of missing histories alone, transformers said that their times were of others."""
    X = log.attach(ROWS, cutoff="2024-01-09")
    rfm = RFMFeatures(amount="x").fit(X)
    for rows in (X, X[:1]):
        shifted = rows.assign(history=rows["history"].shift(periods))
        assert shifted["history"].array.log is log
        assert rfm.transform(shifted)[shifted["history"].isna()].isna().all(axis=None)


def test_missing_rows_of_any_log_join_any_other(log):
    missing = small_log(day=[0.5, 1.5]).attach(ROWS).reindex([7])["history"].array
    array = log.attach(ROWS)["history"].array
    joint = HistoryArray._concat_same_type([missing, array])
    assert joint.log is log
    assert joint.rows.cutoff.dtype == "int64"
    assert joint.cutoffs[1:].tolist() == array.cutoffs.tolist()


# --- Setting rows -----------------------------------------------------------------


def test_setting_a_row_may_bring_another_log(events, log):
    array = log.attach(ROWS)["history"].array
    other = EventLog(events.assign(x=-events["x"]), "customer", "day")
    array[1] = other.attach(ROWS)["history"][0]
    array[2] = None
    assert histories({"history": array}) == [[2, 1, 5], [-2, -1, -5], None]
    assert len(log) == 6


def test_joined_logs_end_where_the_first_of_them_ends():
    events = pd.DataFrame({"who": ["a"], "day": [1]})
    parts = [
        EventLog(events, "who", "day", observed_until=until).attach(events[["who"]])
        for until in (9, 5, 7)
    ]
    assert pd.concat(parts)["history"].array.log.observed_until == 5


@pytest.mark.parametrize("dated", [False, True])
def test_the_hash_of_a_row_does_not_depend_on_others(dated):
    """An unknown customer or a missing history changes the dtype of a whole column."""
    times = pd.to_datetime(["2024-01-01", "2024-01-02"]) if dated else [1, 2]
    log = EventLog(
        pd.DataFrame({"who": [5, 6], "when": times, "x": 1.5}), "who", "when"
    )
    X = log.attach(pd.DataFrame({"who": [5, 6, 7, 6]}), cutoff=times[1])["history"]
    X = X.where(np.arange(4) != 3)
    whole = pd.util.hash_pandas_object(X, index=False)
    assert len(set(whole)) == 4
    for i in range(4):
        alone = pd.util.hash_pandas_object(X[i : i + 1], index=False)
        assert alone.tolist() == [whole[i]]


@pytest.mark.parametrize("ids", [[5, 6], ["5", "6"]])
def test_the_hash_of_an_empty_row_does_not_depend_on_later_events(ids):
    """They make a customer known to the log who would not be."""
    events = pd.DataFrame({"who": ids, "when": [1, 9]})
    found = [
        EventLog(some, "who", "when").attach(pd.DataFrame({"who": ids}), cutoff=5)
        for some in (events, events[:1])
    ]
    hashes = [pd.util.hash_pandas_object(X["history"], index=False) for X in found]
    assert_array_equal(*hashes)
    assert hashes[0][0] != hashes[0][1]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_the_hash_of_a_row_does_not_depend_on_the_unit_of_times(zone):
    times = pd.to_datetime(["2024-01-01", "1969-12-31", "2024-03-01"])
    times += pd.Timedelta("5h")
    due = pd.Series(pd.to_datetime(["2024-01-03", None, "1970-01-01"]))
    table = pd.DataFrame({"who": list("aab"), "when": times.tz_localize(zone)})

    def hashes(unit, due=due, later=0):
        when = table["when"].dt.as_unit(unit) + pd.Timedelta(later, "ns").as_unit(unit)
        events = table.assign(when=when, due=due.dt.as_unit(unit))
        X = EventLog(events, "who", "when").snapshots([when.iloc[2]], min_events=0)
        return pd.util.hash_pandas_object(X["history"], index=False).tolist()

    expected = hashes("us")
    assert [hashes(unit) for unit in ("s", "ms", "ns")] == 3 * [expected]
    assert hashes("s", due.fillna(pd.Timestamp(0)))[0] != expected[0]
    assert hashes("ns", later=1)[0] != expected[0]


# --- What pandas does with every column of a table ---------------------------------


OTHER_VALUES = [0, 1.5, "x", "", np.inf, True, pd.Timestamp("2024-01-01"), pd.NaT]


@pytest.mark.parametrize("value", OTHER_VALUES, ids=repr)
def test_no_history_equals_another_value(log, value):
    rows = pd.DataFrame({"customer": ["ann", "bob"], "number": [0.0, 1.5]})
    X = log.attach(rows).reindex(range(3))
    assert not (X["history"] == value).any()
    assert (X["history"] != value).all()
    assert not (X["history"].array == value).any()
    same = X.eq(value)
    assert not same["history"].any()
    assert_array_equal(same["number"], X["number"].eq(value))


def test_equal_to_one_history(log):
    rows = pd.DataFrame({"customer": ["ann", "bob", "ann", "nobody", "nobody"]})
    X = log.attach(rows).reindex(range(6))
    for row, expected in ((0, [0, 2]), (1, [1]), (3, [3, 4])):
        same = X["history"] == X["history"][row]
        assert np.flatnonzero(same).tolist() == expected
    other = log.attach(pd.DataFrame({"customer": ["ann"]}), cutoff=log.time_span[0])
    assert not (X["history"] == other["history"][0]).any()


def test_replace_leaves_histories_alone(log):
    rows = pd.DataFrame({"customer": ["ann", "bob"], "number": [np.inf, 0.0]})
    X = log.attach(rows)
    for old, new in (([np.inf, -np.inf], np.nan), (0, 1), ("ann", "x")):
        found = X.replace(old, new)
        pd.testing.assert_series_equal(found["history"], X["history"])
    assert X.replace([np.inf, -np.inf], np.nan)["number"].isna().tolist() == [
        True,
        False,
    ]
    assert X["history"].replace(X["history"][0], X["history"][1]).nunique() == 1


def test_counts_and_descriptions(log):
    rows = pd.DataFrame({"customer": ["bob", "ann", "bob", "bob"]})
    X = log.attach(rows).reindex(range(5))
    history = X["history"]
    counts = history.value_counts()
    assert counts.tolist() == [3, 1]
    assert counts.index.tolist() == [history[0], history[1]]
    counts = history.value_counts(dropna=False, sort=False)
    assert counts.tolist() == [3, 1, 1]
    assert pd.isna(counts.index[-1])
    told = X.describe(include="all")["history"]
    assert told[["count", "unique", "freq"]].tolist() == [4, 2, 3]
    assert told["top"] == history[0]
