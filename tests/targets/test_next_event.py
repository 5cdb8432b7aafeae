import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import (
    churned,
    next_value,
    time_to_next,
)
from tests.logs import log_of_table
from tests.targets.small_logs import days, shop_log, small_log


def test_next_value_of_each_type():
    events = pd.DataFrame({"id": ["a", "a", "b"], "time": [1, 5, 7]})
    events["price"] = [1.0, np.nan, 3.0]
    events["shop"] = ["north", "south", None]
    events["due"] = pd.to_datetime(["2024-01-01", None, "2024-01-03"], utc=True)
    X = log_of_table(events).attach(
        pd.DataFrame({"id": list("abz")}, list("rst")), cutoff=2
    )
    price = next_value(X, "price", censored="nan")
    assert_array_equal(price, [np.nan, 3, np.nan])
    assert price.index.tolist() == ["r", "s", "t"]
    assert price.name == "next_value"
    shop = next_value(X, "shop", censored="nan")
    assert shop.tolist() == ["south", np.nan, np.nan]
    # Also levels that no row has, so that all targets have the same.
    assert shop.cat.categories.tolist() == ["north", "south"]
    due = next_value(X, "due", censored="nan")
    assert due.tolist() == [pd.NaT, pd.Timestamp("2024-01-03"), pd.NaT]
    # A missing value of an event is known; that there is no event yet is not.
    assert next_value(X, "price", censored="drop").index.tolist() == ["r", "s"]


def test_the_first_event_of_a_log_is_a_next_event():
    events = pd.DataFrame({"id": ["a", "b"], "time": [1, 7], "price": [2.0, 3.0]})
    X = log_of_table(events).attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=1)
    assert next_value(X, "price").tolist() == [2.0, 3.0]
    y = time_to_next(X)
    assert y["event"].tolist() == [True, True]
    assert y["time"].tolist() == [0, 6]


def test_without_a_horizon_an_unknown_next_event_is_censored():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(3)[0])
    message = (
        "The next event of 1 of 2 rows is not known, because the log ends before it, "
        r"the first in the rows 1\. Use censored='drop' or {}'nan'{}, or a horizon; "
        "or, .*observed_until"
    )
    log = X["history"].array.log.to_frame().assign(x=1.0)
    X = EventLog(log, "id", "day").attach(X[["id"]], cutoff=days(3)[0])
    with pytest.raises(ValueError, match=message.format("", "")):
        next_value(X, "x")
    message = message.replace("'drop' or", "'drop',").format("", " or 'keep'")
    with pytest.raises(ValueError, match=message):
        time_to_next(X)
    assert next_value(X, "x", censored="drop").to_dict() == {0: 1.0}
    # In a complete window, no event is an answer.
    assert_array_equal(next_value(X, "x", "7D"), [1, np.nan])
    with pytest.raises(ValueError, match="The windows of 2 of 2 rows run past"):
        next_value(X, "x", "8D")


def test_an_event_does_not_complete_its_window():
    """Otherwise early events would be over-represented near the end."""
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(6)[0])
    assert len(time_to_next(X, "5D", censored="drop")) == 0
    assert time_to_next(X, "5D", censored="nan").isna().all(axis=None)


def test_time_to_next_of_censored_rows():
    log = small_log(observed_until=days(12)[0])
    rows = pd.DataFrame({"id": list("abzaa"), "at": days(5, 5, 5, 11, 40)})
    with pytest.warns(UserWarning, match="1 of 5 cutoffs lie after 2024-01-13"):
        X = log.attach(rows, cutoff="at")
    y = time_to_next(X, censored="keep")
    assert y["event"].tolist() == [True, False, False, False, False]
    assert y["time"].dt.days.tolist() == [4, 7, 7, 1, 0]
    y = time_to_next(X, "3D", gap="2D", censored="keep")
    assert y["event"].tolist() == [True, False, False, False, False]
    assert y["time"].dt.days.tolist() == [2, 3, 3, 0, 0]
    assert y["time"].dtype.kind == "m"


@pytest.mark.parametrize(
    ("times", "gap", "expected"),
    [
        ([0, 3, 9], 0, [2, 8]),
        ([0, 3, 9], 1.5, [0.5, 6.5]),
        ([0.0, 3.5, 9.0], 0.25, [2.25, 7.75]),
    ],
)
def test_time_to_next_in_numbers(times, gap, expected):
    log = log_of_table(pd.DataFrame({"id": ["a", "a", "b"], "time": times}))
    X = log.attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=1)
    assert time_to_next(X, gap=gap)["time"].tolist() == expected


def test_gap_finer_than_the_times():
    times = pd.to_datetime(["2024-01-01 00:00:00", "2024-01-01 00:00:09"]).as_unit("s")
    log = log_of_table(pd.DataFrame({"id": ["a", "a"], "time": times}))
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=times[0] + pd.Timedelta("1s"))
    y = time_to_next(X, gap="1500ms")
    assert y["time"].tolist() == [pd.Timedelta("6.5s")]


def test_record_array_for_survival_analysis():
    X = small_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(3)[0])
    y = time_to_next(X, censored="keep")
    y["time"] /= pd.Timedelta("1D")
    array = y.to_records(index=False)
    assert array.dtype.names == ("event", "time")
    assert array["event"].dtype == "bool"
    assert array["time"].tolist() == [1.0, 6.0]


def test_complete_window_without_an_event_lasts_for_its_horizon():
    """Day 9 is recorded to its end, although its events are at its midnight."""
    X = small_log().attach(pd.DataFrame({"id": ["b"]}), cutoff=days(8)[0])
    y = time_to_next(X, "2D")
    assert y["event"].tolist() == [False]
    assert y["time"].tolist() == [pd.Timedelta("2D")]


def test_only_time_to_next_keeps_censored_rows():
    X = shop_log().attach(pd.DataFrame({"id": ["a"]}), cutoff=days(12)[0])
    with pytest.raises(ValueError, match="'censored' parameter of churned"):
        churned(X, "4D", censored="keep")
