"""Customers of rows, whether or not they are in the log."""

import pickle
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._columns import (
    customers_of,
    ranked_customers,
    row_customers,
    split_customers,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder
from tests.logs import log_of

WHO = ["new1", "b", "new2", "new1", "a", "new2", "b"]
EXPECTED = [0, 1, 2, 0, 3, 2, 1]


def log_with(customers, name="who"):
    """Build a log with an event of each customer."""
    return log_of(
        range(len(customers)), customers, names=(name, "day"), fields={"x": 1}
    )


def make_table():
    """Return rows of two customers in the log, and of two who are not."""
    rows = pd.DataFrame({"who": WHO, "at": range(1, 8), "age": 1.0})
    return log_with(["a", "b", "c"]).attach(rows, cutoff="at")


def read_back(X, tmp_path):
    X.to_parquet(tmp_path / "X.parquet")
    return pd.read_parquet(tmp_path / "X.parquet")


FORMS = {
    "as attached": lambda X, _: X,
    "without keys": lambda X, _: X[["history"]],
    "encoded": lambda X, _: HistoryEncoder().fit_transform(X),
    "objects": lambda X, _: X.to_numpy(dtype=object),
    "pickled": lambda X, _: pickle.loads(pickle.dumps(X)),
    "pickled objects": lambda X, _: pickle.loads(pickle.dumps(X.astype(object))),
    "parquet": read_back,
    "in two parts": lambda X, _: pd.concat([X[:3], X[3:]]),
    "some from a file": lambda X, path: pd.concat([X[:3], read_back(X[3:], path)]),
    "one by one": lambda X, _: X.assign(history=list(X["history"])),
}


@pytest.mark.parametrize("form", FORMS)
def test_customers_not_in_the_log_get_numbers(form, tmp_path):
    numbers = customers_of(FORMS[form](make_table(), tmp_path))
    assert_array_equal(pd.factorize(numbers)[0], EXPECTED)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_do_not_depend_on_the_order_of_the_rows(seed):
    X = make_table()
    array = X["history"].array
    order = np.random.default_rng(seed).permutation(len(X))
    assert_array_equal(ranked_customers(array[order]), ranked_customers(array)[order])
    assert sorted(set(ranked_customers(array))) == [0, 1, 2, 3]


def test_numbers_do_not_depend_on_who_is_in_the_log():
    """Otherwise events of another customer could change a split."""
    rows = pd.DataFrame({"who": ["c", "a", "b", "a"]})
    for known in (["a", "b", "c"], ["b"], ["z"]):
        X = log_with(known).attach(rows, cutoff=9)
        assert_array_equal(customers_of(X), [0, 1, 2, 1])


def test_ranks_do_not_depend_on_who_is_in_the_log():
    """Otherwise an event after the cutoffs could change folds."""
    rows = pd.DataFrame({"who": list("fcadbeag")})
    first, *others = (
        ranked_customers(log_with(known).attach(rows, cutoff=9)["history"].array)
        for known in (list("abcdefg"), ["b"], ["z"])
    )
    assert sorted(set(first)) == [0, 1, 2, 3, 4, 5, 6]
    for ranks in others:
        assert_array_equal(ranks, first)


def test_a_customer_may_be_in_one_of_several_logs():
    rows = pd.DataFrame({"who": ["a", "b", "new"]})
    parts = [log_with([who]).attach(rows, cutoff=9) for who in "abc"]
    assert_array_equal(customers_of(pd.concat(parts)), [0, 1, 2] * 3)


@pytest.mark.parametrize("known", [("a", "a"), ("ab", "bc"), ("bc", "ab")])
def test_a_customer_may_be_in_several_logs(known):
    rows = pd.DataFrame({"who": ["a", "b", "c"]})
    parts = [log_with(list(who)).attach(rows, cutoff=9) for who in known]
    assert_array_equal(customers_of(pd.concat(parts)), [0, 1, 2] * 2)


def test_rows_are_joined_through_any_column():
    rows = pd.DataFrame({"who": ["a", "new", "new", "b"], "card": [1, 2, 3, 3]})
    X = log_with(["a"]).attach(rows, cutoff=9, name="h")
    X = log_with([1], "card").attach(X, customer="card", cutoff=9, name="g")
    assert_array_equal(pd.factorize(customers_of(X))[0], [0, 1, 1, 1])
    assert_array_equal(pd.factorize(customers_of(X, "h"))[0], [0, 1, 1, 2])
    assert_array_equal(pd.factorize(customers_of(X, "g"))[0], [0, 1, 2, 2])


def test_missing_histories_join_no_rows():
    X = make_table()
    X.loc[[0, 3], "history"] = None
    numbers = row_customers([X["history"].array])
    assert_array_equal(pd.factorize(numbers)[0], [0, 1, 2, 3, 4, 2, 1])
    ranks = ranked_customers(X["history"].array)
    assert_array_equal(ranks[[0, 3]], [3, 4])  # after three customers
    assert sorted(ranks[[1, 2, 4]]) == [0, 1, 2]
    assert_array_equal(ranks[[6, 5]], ranks[[1, 2]])


A, B = uuid.UUID(int=1), uuid.UUID(int=2)
DAY, NIGHT = pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01 12:30")
SAME_IDS = {
    "integers": (5, [[1, 2], [1.0, 2.0], np.array([1, 2], "uint8"), [Decimal(1), 2]]),
    "negative ones": (5, [[-1, -2], [-1.0, -2.0]]),
    "large ones": (5, [[2**62, 2**62 + 1], [2**62, Decimal(2**62 + 1)]]),
    "fractions": (0.5, [[0.25, 1], [Decimal("0.25"), 1], [0.25, 1.0]]),
    "text": ("x", [["1", "2"], pd.Categorical(["1", "2"]), pd.array(["1", "2"])]),
    "datetimes": (
        DAY + pd.Timedelta("9D"),
        [pd.DatetimeIndex([DAY, NIGHT]).as_unit(unit) for unit in ("s", "us", "ns")],
    ),
    "UUIDs": (uuid.UUID(int=9), [[A, B]]),
}


@pytest.mark.parametrize("case", SAME_IDS)
def test_equal_ids_of_other_types_are_one_customer(case):
    known, forms = SAME_IDS[case]
    log = log_with([known])
    parts = [log.attach(pd.DataFrame({"who": one}), cutoff=9) for one in forms]
    numbers = customers_of(pd.concat(parts, ignore_index=True))
    assert_array_equal(pd.factorize(numbers)[0], [0, 1] * len(forms))


def test_customers_are_held_out_with_all_rows():
    customers = np.array([7, 3, 3, 5, 7, 9, 3, 1])
    train, aside = split_customers(customers, "share", 0.25, 0)
    assert_array_equal(np.sort([*train, *aside]), np.arange(8))
    assert len(set(customers[aside])) == 2  # 1.25, rounded up
    assert not set(customers[aside]) & set(customers[train])


@pytest.mark.parametrize(("fraction", "n_aside"), [(0.7, 3), (0.76, None)])
def test_some_customers_are_left_to_fit_on(fraction, n_aside):
    """Of four customers, 0.76 is more than three, which are rounded up to four."""
    customers = np.repeat(np.arange(4), 2)
    if n_aside is None:
        with pytest.raises(ValueError, match=r"share=0.76 of 4 customers leaves none"):
            split_customers(customers, "share", fraction, 0)
    else:
        _, aside = split_customers(customers, "share", fraction, 0)
        assert len(aside) == 2 * n_aside
