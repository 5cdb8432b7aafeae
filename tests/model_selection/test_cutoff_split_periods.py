"""Folds of CutoffSplit where most rows have a cutoff of their own."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit


def payments(n=400, *, seed=0):
    """Rows at the times of payments within 100 days, in any order."""
    rng = np.random.default_rng(seed)
    minutes = rng.choice(100 * 24 * 60, n, replace=False)
    rows = pd.DataFrame(
        {
            "card": rng.integers(0, 50, n),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(minutes, unit="min"),
        }
    )
    return EventLog(rows, "card", "at").attach(rows, cutoff="at")


@pytest.mark.parametrize(
    "size",
    [
        "10D",
        pd.Timedelta("10D"),
        datetime.timedelta(10),
        np.timedelta64(240, "h"),
        pd.offsets.Day(10),
    ],
)
def test_a_period_in_each_fold(size):
    X = payments()
    at, length = X["at"], pd.Timedelta("10D")
    splitter = CutoffSplit(3, horizon="7D", test_size=size)
    folds = list(splitter.split(X))
    for k, (train, test) in zip((2, 1, 0), folds, strict=True):
        end = at.max() - k * length
        tested = (at > end - length) & (at <= end)
        known = at + pd.Timedelta("7D") <= at[tested].min()
        assert_array_equal(test, np.flatnonzero(tested))
        assert_array_equal(train, np.flatnonzero(known))
    report = splitter.report(X)
    assert report["n_test"].tolist() == [len(test) for _, test in folds]
    assert report["n_test"].min() > 20


def test_a_period_with_customers_held_out():
    X = payments()
    held = {"holdout_customers": 0.5, "random_state": 0}
    splitter = CutoffSplit(2, horizon="7D", test_size="20D", **held)
    for train, test in splitter.split(X):
        assert len(test) > 20
        assert not set(X["card"].iloc[train]) & set(X["card"].iloc[test])


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ("0D", ValueError, "test_size must be longer than 0"),
        ("10", ValueError, "test_size must have a unit"),
        ("1s", ValueError, "Fold 1 of 2 has no test rows: .* test_size='1s'"),
        ("60D", ValueError, "Fold 1 of 2 has no training rows"),
        ("900D", ValueError, "has no test rows"),
        (np.timedelta64(300_000, "D"), ValueError, "has no test rows"),
        (0.1, ValueError, "'test_size' parameter"),
    ],
)
def test_bad_periods(size, error, message):
    with pytest.raises(error, match=message):
        next(CutoffSplit(2, horizon="7D", test_size=size).split(payments()))


def test_an_error_in_a_function_of_sklearn_names_the_split():
    """Functions of scikit-learn put their own name in place of CutoffSplit."""
    X, cv = payments(), CutoffSplit(2, horizon="7D", test_size=0.1)
    with pytest.raises(ValueError, match="'test_size' parameter of CutoffSplit"):
        cross_val_score(DummyClassifier(), X, np.tile([0, 1], 200), cv=cv)


def test_no_rows():
    with pytest.raises(ValueError, match="X has none to test"):
        next(CutoffSplit(1, horizon="7D", test_size="9D").split(payments()[:0]))


def test_numbers_have_no_periods():
    events = pd.DataFrame({"id": "a", "time": range(9)})
    X = EventLog(events, "id", "time").snapshots(range(1, 9))
    with pytest.raises(TypeError, match="test_size must be a number"):
        next(CutoffSplit(1, horizon=1, test_size="2D").split(X))


def test_few_of_many_rows_in_a_fold():
    X, y = payments(), np.tile([0, 1], 200)
    message = (
        "Each fold of CutoffSplit tests test_size=1 of 400 cutoffs, about 1 of 400 "
        "rows, .* pass the length of time that a fold tests, such as '30D', or a larger"
    )
    cv = CutoffSplit(3, horizon="7D")
    with pytest.warns(UserWarning, match=message) as caught:
        cross_val_score(DummyClassifier(), X, y, cv=cv, scoring="neg_brier_score")
    assert [one.filename for one in caught] == [__file__]
    # Lines of orders: those of one order have the same cutoff.
    with pytest.warns(UserWarning, match="about 3 of 1,200 rows"):
        next(cv.split(pd.concat([X] * 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(CutoffSplit(3, horizon="7D", test_size=50).split(X))
        next(CutoffSplit(3, horizon="7D", test_size="5D").split(X))
        # At common cutoffs, one cutoff tests many rows: here 50, at one of 400.
        next(CutoffSplit(3, horizon="7D").split(pd.concat([X] * 50)))
        monthly = X["history"].array.log.snapshots(
            pd.date_range("2024-01-05", "2024-04-09")
        )
        next(CutoffSplit(3, horizon="7D").split(monthly))
