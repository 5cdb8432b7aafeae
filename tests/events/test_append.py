"""Appending a table to a log equals building the log from both."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog


def test_append_equals_the_log_of_both_tables(events, log):
    more = pd.DataFrame(
        {
            "customer": ["zoe", "ann", "ann"],
            "day": pd.to_datetime(["2024-01-01", "2024-01-05", "2023-12-31"]),
            "x": [6.0, 7.0, 8.0],
        }
    )
    more["day"] = more["day"].dt.as_unit("us")
    joint = log.append(more)
    expected = EventLog(pd.concat([events, more]), "customer", "day")
    pd.testing.assert_frame_equal(joint.to_frame(), expected.to_frame())
    assert joint.to_frame()["x"].tolist() == [8, 2, 1, 7, 5, 4, 0, 3, 6]
    assert joint.observed_until == expected.observed_until
    pd.testing.assert_index_equal(joint.customers, expected.customers)


def test_append_leaves_the_log_and_its_histories_as_they_were(events, log):
    X = log.attach(pd.DataFrame({"customer": ["ann"]}))
    before, n_events = X["history"].array.to_frame(), len(log)
    joint = log.append(events.assign(day=pd.Timestamp("2023-01-01")))
    pd.testing.assert_frame_equal(X["history"].array.to_frame(), before)
    assert len(log) == n_events
    assert len(joint) == 2 * n_events


@pytest.mark.parametrize(
    ("unit", "more"),
    [
        ("s", pd.to_datetime(["2024-01-05", "2024-01-03"]).as_unit("ns")),
        ("ns", pd.to_datetime(["2024-01-05", "2024-01-03"]).as_unit("s")),
        ("us", pd.array(["2024-01-05", "2024-01-03"], "timestamp[ns][pyarrow]")),
    ],
)
def test_append_takes_times_of_another_unit(events, unit, more):
    events["day"] = events["day"].dt.as_unit(unit)
    log = EventLog(events, "customer", "day")
    joint = log.append(
        pd.DataFrame({"customer": ["ann", "ann"], "day": more, "x": [6, 7]})
    )
    assert joint.timeline.clock == log.timeline.clock
    assert joint.to_frame()["x"].tolist() == [2, 7, 1, 6, 5, 4, 0, 3]


def test_append_of_times_that_the_unit_of_a_field_cannot_hold():
    first = pd.DataFrame({"customer": ["a"], "time": [1]})
    log = EventLog(
        first.assign(due=np.datetime64("2024-01-01", "ns")), "customer", "time"
    )
    with pytest.raises(ValueError, match="'due' has times of the unit 'ns' in one log"):
        log.append(first.assign(due=np.datetime64("9999-12-31", "us")))


def test_days_stay_days_only_if_all_parts_have_days():
    """Only if all times are whole days is the last day observed to its end."""
    days = pd.DataFrame({"customer": ["a"], "time": pd.to_datetime(["2024-01-02"])})
    later = days.assign(time=pd.Timestamp("2024-01-05"))
    moments = days.assign(time=pd.Timestamp("2024-01-04 10:00"))
    log = EventLog(days, "customer", "time")
    assert log.append(later).timeline.observation.in_days
    assert not log.append(moments).append(later).timeline.observation.in_days
    assert (
        not EventLog(moments, "customer", "time")
        .append(later)
        .timeline.observation.in_days
    )


def test_append_unites_categories_and_observed_until():
    first = pd.DataFrame({"customer": ["a"], "time": [1], "item": ["shoe"]})
    more = pd.DataFrame({"customer": ["a", "b"], "time": [0, 2], "item": ["hat", None]})
    log = EventLog(first, "customer", "time", observed_until=9).append(more)
    assert log.to_frame()["item"].tolist() == ["hat", "shoe", np.nan]
    assert log.column("item").categories.tolist() == ["hat", "shoe"]
    assert log.observed_until == 9


BAD_APPENDS = {
    "finer times": (
        {"day": pd.to_datetime(["2024-01-05 00:00:00.5"])}, ValueError,
        "times in column 'day' of more are finer than the unit s of the log, so that "
        "they would be rounded; build a new log from all tables.",
    ),
    "aware times": (
        {"day": pd.to_datetime(["2024-01-05"], utc=True)}, ValueError,
        "times in column 'day' of more are time-zone aware datetimes, but the times of "
        "the log are naive datetimes; tz_convert(None) makes naive datetimes of aware "
        "ones.",
    ),
    "a field less": (
        {"x": None}, KeyError, "more has no columns ['x'] for fields; it has ['cus",
    ),
    "a field of another kind": (
        {"x": ["red"]}, ValueError,
        "Field 'x' has the types {'the log': 'numeric', 'more': 'categorical'}; give "
        "it one type, or different names, before building the logs.",
    ),
    "customers of another type": (
        {"customer": [7]}, TypeError,
        "The customers have the types {'the log': 'str', 'more': 'int64'}, so that "
        "no id would match; cast them: .astype(str) makes text of integers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_APPENDS)
def test_bad_appends(events, case):
    change, error, text = BAD_APPENDS[case]
    events["day"] = events["day"].dt.as_unit("s")
    more = {"customer": ["ann"], "day": events["day"][:1], "x": [1.0], **change}
    more = pd.DataFrame(
        {key: value for key, value in more.items() if value is not None}
    )
    with pytest.raises(error, match=re.escape(text)):
        EventLog(events, "customer", "day").append(more)


# --- Read as the log is -----------------------------------------------------------

IDS = pd.DataFrame(
    {"who": ["a", "b"], "time": [1, 2], "basket": [2**60 + 1, 2**60 + 2]}
)


@pytest.mark.parametrize(
    "basket",
    [
        [2**60 + 3, 2**60 + 1],
        pd.array([2**60 + 3, 2**60 + 1], "UInt64"),
        pd.array([2**60 + 3, 2**60 + 1], "int64[pyarrow]"),
        pd.Categorical([2**60 + 3, 2**60 + 1]),
        np.array([2**60 + 3, 2**60 + 1], object),
    ],
)
def test_integers_appended_to_categories_are_categories(basket):
    log = EventLog(IDS, "who", "time", categorical=["basket"])
    more = pd.DataFrame({"who": ["a", "b"], "time": [3, 4], "basket": basket})
    for joint in (log.append(more), pickle.loads(pickle.dumps(log)).append(more)):
        column = joint.column("basket")
        assert column.categories.tolist() == [2**60 + 1, 2**60 + 2, 2**60 + 3]
        assert column.values.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("kind", ["numeric", "categorical", "datetime"])
def test_a_column_without_values_is_of_every_kind(kind, missing):
    values = {"numeric": 1.5, "categorical": "hat", "datetime": pd.Timestamp(0)}
    first = pd.DataFrame({"who": ["a"], "time": [1], "x": [values[kind]]})
    more = first.assign(time=2, x=pd.Series([missing], dtype=object))
    for joint in (
        EventLog(first, "who", "time").append(more),
        EventLog(more, "who", "time").append(first),
        EventLog.concat(
            {"a": EventLog(first, "who", "time"), "b": EventLog(more, "who", "time")}
        ),
    ):
        assert joint.column("x").type.name == kind
        assert joint.to_frame()["x"].isna().tolist() == [False, True]


def test_numbers_appended_to_categories_without_a_level_are_categories():
    none = pd.Categorical([None, None], categories=pd.Index([], dtype="int64"))
    log = EventLog(IDS.assign(basket=none), "who", "time")
    assert log.append(IDS).column("basket").type.name == "categorical"


def test_categories_of_another_type_are_refused():
    log = EventLog(IDS, "who", "time", categorical=["basket"])
    text = (
        "The categories of field 'basket' have the types {'the log': 'int64', 'more': "
        "'str'}, so that no id would match; cast them: .astype('int64')"
    )
    with pytest.raises(TypeError, match=re.escape(text)):
        log.append(IDS.assign(basket=["7", "8"]))


def test_large_levels_of_two_types_stay_apart():
    baskets = np.array([2**63 + 1, 2**60 + 1], "uint64")
    log = EventLog(IDS, "who", "time", categorical=["basket"])
    joint = log.append(IDS.assign(basket=baskets))
    expected = [2**60 + 1, 2**60 + 2, 2**63 + 1]
    assert joint.column("basket").categories.tolist() == expected
    rows = IDS[["who"]]
    other = EventLog(IDS.assign(basket=baskets), "who", "time", categorical=["basket"])
    stacked = pd.concat([log.attach(rows), other.attach(rows)])["history"].array.log
    assert stacked.column("basket").categories.tolist() == expected


def test_a_log_can_be_appended(events, log):
    more = events.assign(day=events["day"] + pd.Timedelta(days=900), y=1)
    other = EventLog(more, "customer", "day", observed_until="2029-01-01")
    joint = log.append(other)
    pd.testing.assert_frame_equal(joint.to_frame(), log.append(more).to_frame())
    assert joint.observed_until == pd.Timestamp("2029-01-01")
    renamed = EventLog(more.rename(columns={"customer": "c", "day": "d"}), "c", "d")
    pd.testing.assert_frame_equal(log.append(renamed).to_frame(), joint.to_frame())
    with pytest.raises(KeyError, match=r"more has no columns \['x'\] for fields"):
        log.append(EventLog(more, "customer", "day", fields=["y"]))


# --- How far the record reaches ---------------------------------------------------


def test_append_may_extend_observation(log, events):
    later = events.assign(day=events["day"] + pd.Timedelta(days=366))
    assert log.append(later).observed_until == pd.Timestamp("2025-03-02")
    joint = log.append(later, observed_until="2025-03-31")
    assert joint.observed_until == pd.Timestamp("2025-03-31")
    assert joint.timeline.observation.in_days
    nothing = log.append(events[:0], observed_until="2024-03-31")
    assert nothing.observed_until == pd.Timestamp("2024-03-31")
    assert len(nothing) == len(log)
    with pytest.raises(ValueError, match="lies before the last event at 2025-03-02"):
        log.append(later, observed_until="2025-03-01")
    with pytest.raises(ValueError, match=r"lies before 2024-03-31.*observed already"):
        nothing.append(events[:0], observed_until="2024-03-30")


# --- Duplicates -------------------------------------------------------------------

DAY = pd.DataFrame(
    {
        "who": ["a", "a", "b", "b"],
        "time": [1, 1, 1, 2],
        "amount": [5.0, np.nan, 5.0, 5.0],
        "item": ["hat", None, "hat", "shoe"],
        "due": pd.to_datetime(["2024-01-01", None, "2024-01-02", None]),
    }
)


def test_a_day_appended_twice_is_a_warning():
    log = EventLog(DAY, "who", "time")
    text = (
        "4 of the 4 appended events are in the log already, with the same customer, "
        "time and fields: 'a' at 1, 'a' at 1, 'b' at 1, .... duplicates='drop' leaves "
        "them out, duplicates='keep' keeps them, without this warning."
    )
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        joint = log.append(DAY)
    assert caught[0].filename == __file__
    assert len(joint) == 8
    assert len(log.append(DAY, duplicates="keep")) == 8
    with pytest.raises(ValueError, match="4 of the 4 appended events are in the log"):
        log.append(DAY, duplicates="raise")
    assert log.append(DAY, duplicates="drop") is log
    assert log.append(DAY[:0]) is log


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("who", ["c", "c", "a", "a"]),
        ("time", [3, 3, 3, 3]),
        ("amount", [np.nan, 5.0, 6.0, np.nan]),
        ("item", ["shoe", "hat", "cap", None]),
        ("due", pd.to_datetime([None, "2024-01-01", "2024-01-01", "2024-01-01"])),
    ],
)
def test_events_that_differ_in_one_field_are_no_duplicates(column, values):
    more = DAY.assign(**{column: values})
    assert len(EventLog(DAY, "who", "time").append(more)) == 8


def test_duplicates_within_one_table_are_events():
    log = EventLog(DAY, "who", "time").append(pd.concat([DAY, DAY]).assign(time=9))
    assert len(log) == 12


def test_duplicates_are_compared_in_the_type_of_the_log():
    """A text file may return more digits than float32 has."""
    events = DAY.assign(amount=np.array([0.1, np.nan, 1e38, 16777216], "float32"))
    more = DAY.assign(amount=[0.1, np.nan, 1e38, 16777216])
    log = EventLog(events, "who", "time")
    assert len(log.append(more, duplicates="drop")) == 4
    other = more.assign(amount=[0.2, 1, 1e300, 16777218])
    assert len(log.append(other, duplicates="drop")) == 8
    # What a log of float64 tells apart stays apart.
    log = EventLog(more, "who", "time")
    other = more.assign(amount=more["amount"] * (1 + 1e-12))
    assert len(log.append(other, duplicates="drop")) == 7


def test_duplicates_in_datetimes_of_another_unit():
    log = EventLog(DAY.assign(due=DAY["due"].dt.as_unit("s")), "who", "time")
    finer = DAY.assign(due=DAY["due"].dt.as_unit("ns") + pd.Timedelta("1ms"))
    assert len(log.append(DAY, duplicates="drop")) == 4
    assert len(log.append(finer, duplicates="drop")) == 6


@pytest.mark.parametrize("seed", range(5))
def test_dropped_duplicates_equal_a_loop(seed):
    random = np.random.default_rng(seed)
    first, more = (
        pd.DataFrame(
            {
                "who": random.choice(["a", "b", "c"], n),
                "time": random.integers(0, 4, n),
                "x": random.choice([1.0, 2.0, np.nan], n),
                "item": random.choice(np.array(["hat", "shoe", None], object), n),
            }
        )
        for n in (30, 40)
    )
    known = set(first.fillna({"x": -1, "item": "-"}).itertuples(index=False))
    new = [
        tuple(event) not in known
        for event in more.fillna({"x": -1, "item": "-"}).itertuples(index=False)
    ]
    log = EventLog(first, "who", "time")
    expected = EventLog(pd.concat([first, more[new]]), "who", "time")
    dropped = log.append(more, duplicates="drop")
    pd.testing.assert_frame_equal(dropped.to_frame(), expected.to_frame())


def test_unknown_duplicates_option(log, events):
    text = "duplicates must be one of ['warn', 'keep', 'drop', 'raise']; got 'ignore'."
    with pytest.raises(ValueError, match=re.escape(text)):
        log.append(events, duplicates="ignore")


@pytest.mark.parametrize("drop", ["customer", "day", "x"])
def test_an_empty_table_is_validated(log, events, drop):
    empty = events.drop(columns=drop)[:0]
    with pytest.raises(KeyError, match=f"more has no .*{drop}"):
        log.append(empty, observed_until="2030-01-01")


def test_integers_that_the_floats_of_a_log_cannot_hold():
    log = EventLog(pd.DataFrame({"who": ["a"], "time": [0.5]}), "who", "time")
    text = (
        "times in column 'time' of more hold 1 whole numbers beyond 2**53, which would "
        "be rounded among times that are floats; build the log from integers to begin "
        "with."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        log.append(pd.DataFrame({"who": ["a", "b"], "time": [2**53 + 1, 5]}))


def test_errors_name_what_was_given(log, events):
    with pytest.raises(
        TypeError, match="more must be a pandas, polars or pyarrow tabl"
    ):
        log.append([1])
    with pytest.raises(KeyError, match="more has no time column 'day'"):
        log.append(events.drop(columns="day"))
    with pytest.raises(
        ValueError, match="customer column 'customer' of more has 6 mis"
    ):
        log.append(events.assign(customer=None))
    with pytest.raises(TypeError, match=r"more is a dict .* but this log has no kinds"):
        log.append({"order": events})
