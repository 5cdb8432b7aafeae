"""Warnings of compare_models about folds and columns that look into the future."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_seqcrm._columns import store_horizon
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import (
    CutoffSplit,
    check_no_leakage,
    compare_models,
)
from sklearn_seqcrm.model_selection._labels_in_columns import warn_labels
from sklearn_seqcrm.targets import future_count, time_to_next


def rows_at_cutoffs(horizon, observed_until=None):
    events = pd.DataFrame(
        {"who": np.repeat(list("abcdefgh"), 3), "time": np.tile([0, 1, 2], 8)}
    )
    log = EventLog(events, "who", "time", observed_until=observed_until)
    X = log.snapshots([3, 5, 7, 9])
    y = pd.Series(np.arange(len(X)) % 2, index=X.index, name="y")
    if horizon:
        store_horizon(y, {"horizon": horizon, "gap": 0})
    return X, y


AT = np.repeat(np.arange(4), 8)  # cutoff of each row, by number


@pytest.mark.parametrize(
    ("horizon", "train", "test", "says"),
    [
        (
            None,
            AT < 3,
            AT == 3,
            "tests from the cutoff 9 on, and the horizon of the target is un",
        ),
        (None, AT < 2, AT == 3, None),  # leaves rows out
        (None, AT > 0, AT == 0, "labels of up to 9, tests from the cutoff 3 on"),
        (None, AT < 3, AT >= 2, "Fold 1 of 1 tests 8 rows that it also trains on"),
        (2, AT < 3, AT == 3, None),
        (3, AT < 3, AT == 3, "labels of up to 10, tests from the cutoff 9 on"),
        (4, AT < 2, AT == 3, None),
    ],
)
def test_a_warning_of_known_futures(horizon, train, test, says):
    X, y = rows_at_cutoffs(horizon)
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="uniform")}

    def compare(X):
        folds = [(np.flatnonzero(train), np.flatnonzero(test))]
        compare_models(models, X, y, cv=folds, scoring="accuracy", n_resamples=5)

    # Without histories, rows have neither cutoffs nor customers in common.
    if says is None or "tests from" in says:
        compare(np.zeros((len(X), 1)))
    if says is None:
        compare(X)
        return
    with pytest.warns(UserWarning, match=says) as caught:
        compare(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (lambda X, y: y, "y is no target of sklearn_seqcrm.targets with a horizon"),
        (lambda X, y: time_to_next(X, censored="keep"), "y was computed without one"),
        (lambda X, y: future_count(X, 1).rename("n"), r"y describe \['future_count'\]"),
        (
            lambda X, y: with_horizon(y, "30 days"),
            "the horizon in the attrs of y .*30 ",
        ),
        (lambda X, y: with_horizon(y, "1 month"), "attrs of y have horizon='1 month'"),
    ],
)
def test_a_warning_of_an_unknown_horizon_has_the_reason(target, reason):
    X, y = rows_at_cutoffs(None, observed_until=20)
    folds = [(np.flatnonzero(AT < 3), np.flatnonzero(AT == 3))]
    few = {"cv": folds, "scoring": {"zero": make_scorer(zero)}, "n_resamples": 3}
    way = r"As cv, CutoffSplit\(\.\.\., horizon=\.\.\.\)"
    says = rf"9 on, and .*{reason}.*\. If the .*{way}"
    with pytest.warns(UserWarning, match=says) as caught:
        compare_models({"a": Zeros()}, X, target(X, y), **few)
    assert len(caught) == 1


def with_horizon(y, horizon):
    store_horizon(y, {"horizon": horizon, "gap": 0})
    return y


@pytest.mark.parametrize("name", ["y", "groups", "params['sample_weight']"])
def test_a_warning_of_values_in_another_order(name):
    """They are matched to the rows of X by position."""
    X, y = rows_at_cutoffs(None)
    tree = DecisionTreeClassifier(random_state=0)
    with config_context(enable_metadata_routing=True):
        tree.set_fit_request(sample_weight=True)
    given = {"y": y, "groups": X["who"], "params['sample_weight']": y + 1}
    given[name] = given[name].iloc[::-1]
    y, groups, weight = given.values()
    options = {"cv": 2, "scoring": "accuracy", "n_resamples": 5, "groups": groups}
    options["params"] = {"sample_weight": weight}
    models = {"a": make_pipeline(RFMFeatures(remainder="drop"), tree)}
    says = re.escape(f"{name} has the index of X in another order")
    with pytest.warns(UserWarning, match=says) as caught:
        compare_models(models, X, y, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_split_and_its_comparison_warn_once():
    X, y = rows_at_cutoffs(3)
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="uniform")}
    few = {"scoring": "accuracy", "n_resamples": 5}
    with pytest.warns(UserWarning, match="^horizon=2 is shorter") as caught:
        compare_models(models, X, y, cv=CutoffSplit(1, horizon=2), **few)
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.parametrize(
    ("cv", "warns"),
    [(2, 0), (GroupKFold(2), 0), (CutoffSplit(2), 0), (KFold(2, shuffle=True), 1)],
)
def test_splits_of_customers_and_of_time_are_fair(cv, warns, recwarn):
    X, y = rows_at_cutoffs(2)
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="uniform")}
    compare_models(models, X, y, cv=cv, scoring="accuracy", n_resamples=5)
    assert len(recwarn) == warns


N = 60
LABELS = np.arange(N) % 3 == 0
AMOUNTS = np.where(LABELS, 0, np.arange(N) * 1.5)
STATICS = {
    "a copy": (LABELS, LABELS),
    "text": (LABELS, np.where(LABELS, "lost", "active")),
    "one missing": (LABELS, np.where(LABELS, 1.0, np.nan)),
    "a part of labels": (LABELS, np.where(LABELS, "x", np.arange(N) % 2)),
    "amounts": (AMOUNTS, -2 * AMOUNTS),
    "labels of one column": (np.c_[np.arange(N) % 2, LABELS], LABELS),
}
INNOCENT = {
    "one exception": (LABELS, LABELS ^ (np.arange(N) == 7)),
    "a level per row": (LABELS, [f"a{i}" for i in range(N)]),
    "few others": (np.arange(N) < 4, np.arange(N) < 4),
    "constant": (LABELS, np.ones(N)),
    "other amounts": (AMOUNTS, np.arange(N) % 7),
    "constant labels": (np.zeros(N), LABELS),
    "lists": (LABELS, [[1]] * N),
    "complex numbers": (LABELS, np.ones(N) * 1j),
}


@pytest.mark.parametrize("name", [*STATICS, *INNOCENT])
def test_a_warning_of_statics_that_determine_labels(name, recwarn):
    events = pd.DataFrame({"who": np.arange(N), "time": 0})
    X = EventLog(events, "who", "time").snapshots([1])
    y, static = (STATICS | INNOCENT)[name]
    models = {"a": DummyClassifier(), "b": DummyClassifier(strategy="uniform")}
    few = {"cv": 2, "scoring": {"zero": make_scorer(zero)}, "n_resamples": 3}
    compare_models(models, X.assign(extra=static), y, **few)
    found = [(str(one.message), one.filename) for one in recwarn]
    assert len(found) == (name in STATICS)
    for message, file in found:
        assert message.startswith("The columns ['extra'] of X determine y: in 60 rows")
        assert file == __file__


def test_all_rows_are_compared_with_labels():
    """Not only the first ones, which rule out most columns."""
    n = 2500
    labels, amounts = np.arange(n) % 3 == 0, np.arange(n) // 2 / 7
    is_one = np.arange(n) == 7
    statics = {
        "copy": labels,
        "reverse": -amounts,
        "one exception": labels ^ is_one,
        "one other amount": amounts + is_one,
        "one missing amount": np.where(is_one, np.nan, amounts),
        "one list": [[1] if i == 7 else label for i, label in enumerate(labels)],
    }
    events = pd.DataFrame({"who": np.arange(n), "time": 0})
    X = EventLog(events, "who", "time").snapshots([1]).assign(**statics)
    y = np.c_[labels, amounts]
    with pytest.warns(
        UserWarning, match=r"columns \['copy', 'reverse'\] of X"
    ) as found:
        warn_labels(X, y, np.arange(n))
    assert len(found) == 1


class Zeros(BaseEstimator):
    """A model of any target."""

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize(
    "y", [pd.Series([[one] for one in LABELS]), LABELS.reshape(N, 1, 1)]
)
def test_statics_are_not_compared_with_targets_that_are_no_table(y):
    events = pd.DataFrame({"who": np.arange(N), "time": 0})
    X = EventLog(events, "who", "time").snapshots([1]).assign(extra=LABELS)
    few = {"cv": 2, "scoring": {"zero": make_scorer(zero)}, "n_resamples": 3}
    compare_models({"a": Zeros()}, X, y, **few)
    check_no_leakage(make_pipeline(RFMFeatures(), Zeros()).fit(X, y), X, y)


def zero(y, prediction, sample_weight=None):
    """A score for any target."""
    return 0.0
