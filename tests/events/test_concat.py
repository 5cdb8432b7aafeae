"""Logs of several kinds, merged and separated again."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from tests.logs import log_of_table


def table(n, seed, **columns):
    """Events of five customers at few different times, so that there are ties."""
    rng = np.random.default_rng(seed)
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9, n), "D")
    rows = {"who": rng.choice(list("abcde"), n), "time": time}
    return pd.DataFrame(
        rows | {name: rng.choice(list(values), n) for name, values in columns.items()}
    )


ORDERS = table(60, 0, price=[1.5, 2.5, np.nan], shop=["north", "south"])
RETURNS = table(25, 1, reason=["size", "colour", None], shop=["south", "west"])


def merged(**options):
    logs = {"order": log_of_table(ORDERS), "return": log_of_table(RETURNS)}
    return EventLog.concat(logs, **options)


def test_merging_equals_building_from_concatenated_tables():
    both = pd.concat([ORDERS.assign(event="order"), RETURNS.assign(event="return")])
    columns = ["who", "time", "event", "price", "shop", "reason"]
    expected = log_of_table(both[columns]).to_frame()
    pd.testing.assert_frame_equal(merged().to_frame(), expected)


def test_ties_keep_the_order_of_the_mapping():
    at = pd.DataFrame({"who": ["a"], "time": [5]})
    logs = {"z": log_of_table(at), "b": log_of_table(at), "m": log_of_table(at)}
    assert EventLog.concat(logs).to_frame()["event"].tolist() == ["z", "b", "m"]


def test_one_log_gets_a_kind():
    frame = EventLog.concat(
        {"order": log_of_table(ORDERS)}, kind_field="what"
    ).to_frame()
    assert frame["what"].unique().tolist() == ["order"]
    expected = log_of_table(ORDERS).to_frame()
    pd.testing.assert_frame_equal(frame.drop(columns="what"), expected)


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        ("s", "ns", "datetime64[ns]"),
        ("us", "ms", "datetime64[us]"),
    ],
)
def test_times_get_the_finest_unit(first, second, dtype):
    a = log_of_table(
        pd.DataFrame({"who": ["a"], "time": pd.to_datetime(["2024-01-02"])})
    )
    tables = [
        pd.DataFrame({"who": ["a"], "time": pd.to_datetime([day]).as_unit(unit)})
        for day, unit in (("2024-01-02", first), ("2024-01-01", second))
    ]
    log = EventLog.concat({"x": log_of_table(tables[0]), "y": log_of_table(tables[1])})
    assert log.to_frame()["time"].dtype == dtype
    assert log.to_frame()["event"].tolist() == ["y", "x"]
    assert len(a) == 1


def test_fields_get_the_finest_unit():
    due = pd.DataFrame({"who": ["a"], "time": [1], "due": ["2024-01-02"]})
    tables = [due.astype({"due": f"datetime64[{unit}]"}) for unit in ("s", "ns")]
    first, second = map(log_of_table, tables)
    for log in (
        EventLog.concat({"x": first, "y": second}),
        first.append(tables[1], duplicates="keep"),
    ):
        assert log.to_frame()["due"].tolist() == [pd.Timestamp("2024-01-02")] * 2


def test_observation_ends_with_the_first_log_or_where_given():
    later = pd.Timestamp("2024-03-01")
    logs = {
        "order": log_of_table(ORDERS, observed_until=later),
        "return": log_of_table(RETURNS),
    }
    with pytest.warns(
        UserWarning, match="last event of kind 'return' is at 2024-01-09"
    ):
        assert EventLog.concat(logs).observed_until == RETURNS["time"].max()
    assert EventLog.concat(logs, observed_until=later).observed_until == later


def test_events_may_lie_after_the_end_of_observation():
    orders = pd.DataFrame({"who": ["a"] * 3, "time": [1, 60, 100]})
    returns = pd.DataFrame({"who": ["a"], "time": [20]})
    logs = {
        "order": log_of_table(orders),
        "return": log_of_table(returns, observed_until=50),
    }
    for until, until_told in ((None, 50), (70, 70)):
        log = EventLog.concat(logs, observed_until=until)
        assert log.observed_until == until_told
        assert len(log) == 4


def test_without_a_cutoff_rows_see_all_kinds():
    late = pd.DataFrame({"who": ["a"], "time": [9]})
    early = pd.DataFrame({"who": ["a"], "time": [1]})
    log = EventLog.concat({"order": log_of_table(late), "return": log_of_table(early)})
    assert log.observed_until == 1
    [history] = log.attach(pd.DataFrame({"who": ["a"]}))["history"]
    assert len(history) == 2


def test_a_return_is_not_known_before_it_happens():
    order = pd.DataFrame({"who": ["a"], "time": [1]})
    come_back = pd.DataFrame({"who": ["a"], "time": [20]})
    log = EventLog.concat(
        {"order": log_of_table(order), "return": log_of_table(come_back)}
    )
    X = log.attach(pd.DataFrame({"who": ["a", "a"], "now": [20, 21]}), cutoff="now")
    seen = [history.to_frame()["event"].tolist() for history in X["history"]]
    assert seen == [["order"], ["order", "return"]]


@pytest.mark.parametrize("kinds", [("order",), ("return",), ("return", "order")])
def test_only_keeps_the_events_of_some_kinds(kinds):
    log = merged()
    frame = log.to_frame()
    expected = frame[frame["event"].isin(kinds)].reset_index(drop=True)
    for name in ("event", "shop", "reason"):
        expected[name] = expected[name].cat.remove_unused_categories()
    only = log.only(*kinds)
    pd.testing.assert_frame_equal(only.to_frame(), expected)
    assert only.customers.tolist() == sorted(expected["who"].unique())
    assert only.observed_until == log.observed_until


def test_only_takes_a_list_as_well():
    log = merged()
    assert log.only(["order", "return"]).to_frame().equals(log.to_frame())


@pytest.mark.parametrize("kind", ["2024-03-01", pd.Timestamp("2024-03-01")])
def test_kinds_that_are_dates_may_be_text(kind):
    day = pd.to_datetime(["2024-03-01", "2024-03-02", "2024-03-01"])
    events = pd.DataFrame({"who": ["a", "a", "b"], "at": [1, 2, 3], "day": day})
    log = EventLog(events, "who", "at", categorical=["day"])
    assert log.only(kind, kind_field="day").to_frame()["at"].tolist() == [1, 3]


def test_only_forgets_customers_without_such_an_event():
    log = EventLog.concat(
        {
            "order": log_of_table(pd.DataFrame({"who": ["a", "b"], "time": [1, 2]})),
            "return": log_of_table(pd.DataFrame({"who": ["b"], "time": [3]})),
        }
    )
    X = log.only("return").attach(pd.DataFrame({"who": ["a", "b"]}))
    assert X["history"].array.lengths.tolist() == [0, 1]


FLOATS = pd.DataFrame({"who": ["a"], "time": [1.5]})
NUMBERED = pd.DataFrame({"who": ["a"], "time": [1], "price": [1.0]})


@pytest.mark.parametrize(
    ("logs", "options", "error", "message"),
    [
        (
            [log_of_table(ORDERS)],
            {},
            TypeError,
            "a dict that names the kind .* got list",
        ),
        ({}, {}, TypeError, "a dict that names the kind"),
        ({"o": ORDERS}, {}, TypeError, "'o' must be an EventLog; got DataFrame"),
        ({1: log_of_table(ORDERS)}, {}, TypeError, "kinds of logs must be text; got 1"),
        (
            {"o": log_of_table(ORDERS)},
            {"kind_field": "shop"},
            ValueError,
            "a column 'shop' alrea",
        ),
        (
            {"o": log_of_table(ORDERS)},
            {"kind_field": "who"},
            ValueError,
            "a column 'who' already",
        ),
        (
            {"o": log_of_table(ORDERS), "n": log_of_table(NUMBERED)},
            {},
            ValueError,
            "times of 'n' are plain numbers, those of 'o' naive datetimes",
        ),
        (
            {"o": log_of_table(NUMBERED), "n": log_of_table(NUMBERED.assign(who=7))},
            {},
            TypeError,
            "customers have the types .* cast them",
        ),
        (
            {
                "o": log_of_table(NUMBERED),
                "n": log_of_table(NUMBERED.assign(price="dear")),
            },
            {},
            ValueError,
            "'price' has the types .*'o': 'numeric', 'n': 'categorical'",
        ),
        (
            {
                "o": log_of_table(NUMBERED),
                "n": EventLog(NUMBERED.assign(who=0, id="a", at=1), "id", "at"),
            },
            {},
            ValueError,
            r"kind 'n' has fields \['who', 'time'\].* first log; rename them",
        ),
        (
            {
                "o": log_of_table(
                    NUMBERED.assign(due=np.datetime64("9999-12-31", "us"))
                ),
                "n": log_of_table(
                    NUMBERED.assign(due=np.datetime64("2024-01-01", "ns"))
                ),
            },
            {},
            ValueError,
            "'due' has times of the unit 'ns' in one log, and in another times outside",
        ),
        (
            {
                "o": log_of_table(NUMBERED.assign(time=2**53 + 1)),
                "n": log_of_table(FLOATS),
            },
            {},
            ValueError,
            r"times of 'o' hold 1 whole numbers beyond 2\*\*53, .* that are floats",
        ),
        (
            {"o": log_of_table(NUMBERED)},
            {"observed_until": np.nan},
            ValueError,
            "observed_until must be one time; got nan",
        ),
    ],
)
def test_bad_logs_to_merge(logs, options, error, message):
    with pytest.raises(error, match=message):
        EventLog.concat(logs, **options)


@pytest.mark.parametrize(
    ("kinds", "options", "error", "message"),
    [
        (("click",), {}, ValueError, r"no events of the kinds \['click'\]; .*'order'"),
        ((), {}, ValueError, r"kinds is empty; field 'event' has \['order'"),
        (("order",), {"kind_field": "type"}, KeyError, "no field 'type'"),
        (("order",), {"kind_field": "price"}, ValueError, "'price' is numeric"),
    ],
)
def test_bad_kinds_to_keep(kinds, options, error, message):
    with pytest.raises(error, match=message):
        merged().only(*kinds, **options)
