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
