"""Warnings of tables whose customers have ids in another notation."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog


def log_of_ids(ids):
    return EventLog(pd.DataFrame({"id": ids, "day": range(len(ids))}), "id", "day")


@pytest.mark.parametrize(
    ("orders", "returns", "message"),
    [
        (  # read as numbers, and then made text
            ["007", "012", "150"],
            ["7", "150"],
            "1 of 2 customers of 'return' are not in 'order', .* differently: '7' in "
            "'return', '007' in 'order', which are two customers",
        ),
        (["7", "12"], ["007"], "'007' in 'return', '7' in 'order'"),
        (["7", "12"], ["7.0"], "'7.0' in 'return', '7' in 'order'"),
        (["7.0", "12.0"], ["7"], "'7' in 'return', '7.0' in 'order'"),
        (
            [f"C{i}" for i in range(10)],
            [f"c{i}" for i in range(10)],
            "None of the 10 customers of 'return' is in 'order': 'c0', 'c1', 'c2', .* "
            "Are their ids written differently",
        ),
    ],
)
def test_kinds(orders, returns, message):
    """Each customer became two, without a message."""
    logs = {"order": log_of_ids(orders), "return": log_of_ids(returns)}
    with pytest.warns(UserWarning, match=message) as caught:
        EventLog.concat(logs)
    assert [one.filename for one in caught] == [__file__]


def test_three_kinds():
    """Each is compared with all others, not only with the first one."""
    alike = {
        "complaint": log_of_ids(["000150"]),
        "order": log_of_ids(["000007", "000150"]),
        "visit": log_of_ids(["7"]),
    }
    with pytest.warns(UserWarning, match="'7' in 'visit', '000007' in 'order'"):
        EventLog.concat(alike, observed_until=9)
    ids = [f"C{i}" for i in range(30)]
    unlike = {"visit": log_of_ids([one.lower() for one in ids])}
    shared = {"complaint": log_of_ids(ids[:10]), "order": log_of_ids(ids)}
    for logs in (shared | unlike, unlike | shared):
        with pytest.warns(UserWarning, match="None of the 30 customers of 'visit'"):
            EventLog.concat(logs, observed_until=30)
    # Customers of two rare kinds are others, but all of them have orders.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        returns = {"return": log_of_ids(ids[-10:])}
        EventLog.concat({**returns, **shared}, observed_until=30)


def test_there_is_one_warning():
    """Merged logs that are divided into kinds again have been warned about."""
    logs = {"order": log_of_ids(["007", "012"]), "return": log_of_ids(["7"])}
    with pytest.warns(UserWarning, match="'7' in 'return'"):
        log = EventLog.concat(logs, observed_until=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.resample(2)


def test_appended_events():
    log = log_of_ids(["007", "012"])
    more = pd.DataFrame({"id": ["7"], "day": [5]})
    with pytest.warns(UserWarning, match="'7' in 'more', '007' in 'the log'"):
        log.append(more)


@pytest.mark.parametrize(
    ("orders", "returns"),
    [
        (["007", "012"], ["012"]),
        (["a", "b"], ["c"]),  # a few may be other customers
        (["", "5"], ["0"]),  # no number is an empty text
        ([7, 12], [7.0, 13.0]),  # the same numbers
    ],
)
def test_no_warning(orders, returns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = log_of_ids(orders + returns)
        EventLog.concat({"order": log_of_ids(orders), "return": whole})
        EventLog.concat({"order": whole, "return": log_of_ids(orders)})
        EventLog.concat({"order": log_of_ids(orders), "return": log_of_ids(returns)})


def test_new_customers_are_appended_without_a_warning():
    log = log_of_ids([f"C{i}" for i in range(20)])
    new = pd.DataFrame({"id": [f"D{i}" for i in range(20)], "day": 30})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(log.append(new)) == 40
