import pickle
from math import ceil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm._columns import store_horizon
from sklearn_seqcrm._store import hashed_ids
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.targets import churned


def rows_at(cutoffs, *, seed=0):
    """Rows of a few customers in a shuffled order."""
    cutoffs = np.asarray(cutoffs)
    events = pd.DataFrame({"id": [0, 1, 2], "time": cutoffs.min()})
    rows = pd.DataFrame({"id": np.arange(len(cutoffs)) % 3, "at": cutoffs})
    rows = rows.sample(frac=1, random_state=seed, ignore_index=True)
    return EventLog(events, "id", "time").attach(rows, cutoff="at")


def cutoffs_of(X, folds):
    return [
        (sorted(set(X["at"].iloc[a])), sorted(set(X["at"].iloc[b]))) for a, b in folds
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"n_splits": 2, "horizon": 1},
            [([1, 2, 3, 4], [5]), ([1, 2, 3, 4, 5], [6])],
        ),
        (  # windows that end at the test cutoff are known by then, later ones not
            {"n_splits": 2, "horizon": 3},
            [([1, 2], [5]), ([1, 2, 3], [6])],
        ),
        (
            {"n_splits": 2, "horizon": 2, "gap": 1},
            [([1, 2], [5]), ([1, 2, 3], [6])],
        ),
        (
            {"n_splits": 2, "horizon": 1, "test_size": 2},
            [([1, 2], [3, 4]), ([1, 2, 3, 4], [5, 6])],
        ),
        ({"n_splits": 1, "horizon": 5}, [([1], [6])]),
        ({"n_splits": 1, "horizon": 4.5}, [([1], [6])]),
    ],
)
def test_folds(options, expected):
    X = rows_at([1, 2, 3, 4, 5, 6] * 3)
    splitter = CutoffSplit(**options)
    folds = list(splitter.split(X))
    assert cutoffs_of(X, folds) == expected
    assert len(folds) == splitter.get_n_splits(X) == options["n_splits"]


@pytest.mark.parametrize("seed", range(5))
def test_training_labels_end_before_the_test(seed):
    rng = np.random.default_rng(seed)
    X = rows_at(rng.integers(0, 40, 200), seed=seed)
    horizon, gap = int(rng.integers(1, 6)), int(rng.integers(0, 4))
    splitter = CutoffSplit(4, horizon=horizon, gap=gap, test_size=2)
    moments = sorted(set(X["at"]))[-8:]
    for k, (train, test) in enumerate(splitter.split(X)):
        fold = moments[2 * k : 2 * k + 2]
        slow_test = [i for i in range(len(X)) if X["at"][i] in fold]
        slow_train = [i for i in range(len(X)) if X["at"][i] + gap + horizon <= fold[0]]
        assert_array_equal(test, slow_test)
        assert_array_equal(train, slow_train)


ROLES = ["train", "test", "overlap", "window", "customers", "later"]
COUNTS = [
    "n_train",
    "n_test",
    "n_dropped_overlap",
    "n_dropped_window",
    "n_dropped_customers",
    "n_later",
]


def slow_role(row, fold, gap, horizon, window, held_out):
    """What becomes of one row in the fold that tests some cutoffs."""
    cutoff, held = row["at"], row["id"] in held_out
    if cutoff > max(fold):
        return "later"
    if cutoff >= min(fold):
        return "test" if held or not held_out else "customers"
    last = min(fold) - gap - horizon
    if cutoff > last:
        return "overlap"
    if window is not None and cutoff <= last - window:
        return "window"
    return "customers" if held else "train"


@st.composite
def problems(draw):
    n = draw(st.integers(12, 40))
    number = st.integers(0, 12)
    if draw(st.booleans()):
        number = number.map(lambda tick: tick / 4)
    rows = pd.DataFrame(
        {
            "id": draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)),
            "at": draw(st.lists(number, min_size=n, max_size=n)),
        }
    )
    options = {
        "n_splits": draw(st.integers(1, 3)),
        "test_size": draw(st.integers(1, 2)),
        "horizon": draw(st.integers(1, 3)),
        "gap": draw(st.integers(0, 1)),
        "train_window": draw(st.one_of(st.none(), st.integers(1, 6))),
        "holdout_customers": draw(st.sampled_from([None, 0.1, 0.5])),
        "random_state": draw(st.integers(0, 3)),
    }
    order = draw(st.permutations(range(n)))
    return rows, options, list(order)


def attached(rows, dtype="int64"):
    """Customers 0 to 3 are known to the log, the others are not."""
    events = pd.DataFrame({"id": [0, 1, 2, 3], "time": np.zeros(4, dtype)})
    return EventLog(events, "id", "time").attach(rows, cutoff="at")


def slow_folds(rows, options):
    """Cutoffs and roles of each fold, None if there are none to train or test on."""
    # In the order of their hashes, whether the log knows them or not.
    ids = pd.Index(rows["id"].unique())
    customers = list(ids[np.argsort(hashed_ids(ids))])
    held_out = set()
    if options["holdout_customers"] is not None:
        drawn = np.random.RandomState(options["random_state"]).permutation(customers)
        held_out = set(drawn[: ceil(options["holdout_customers"] * len(customers))])
    moments = sorted(
        {
            at
            for at, i in zip(rows["at"], rows["id"], strict=True)
            if i in held_out or not held_out
        }
    )
    n_splits, size = options["n_splits"], options["test_size"]
    if len(moments) < n_splits * size:
        return None
    moments = moments[-n_splits * size :]
    folds = []
    for k in range(n_splits):
        fold = moments[k * size : (k + 1) * size]
        lengths = [options[name] for name in ("gap", "horizon", "train_window")]
        roles = [
            slow_role(rows.iloc[i], fold, *lengths, held_out) for i in range(len(rows))
        ]
        if "train" not in roles:
            return None
        folds.append((fold, roles))
    return folds


@given(problems())
def test_folds_against_a_loop(problem):
    rows, options, order = problem
    X = attached(rows, rows["at"].dtype)
    splitter = CutoffSplit(**options)
    expected = slow_folds(rows, options)
    if expected is None:
        with pytest.raises(ValueError, match=r"Fold|n_splits=|holdout_customers="):
            list(splitter.split(X))
        return
    folds, report = list(splitter.split(X)), splitter.report(X)
    wait = options["gap"] + options["horizon"]
    for (fold, roles), (train, test) in zip(expected, folds, strict=True):
        assert_array_equal(train, [i for i, one in enumerate(roles) if one == "train"])
        assert_array_equal(test, [i for i, one in enumerate(roles) if one == "test"])
        line = report.iloc[expected.index((fold, roles))]
        assert line[COUNTS].tolist() == [roles.count(role) for role in ROLES]
        trained = X["at"].iloc[train]
        spans = [trained.min(), trained.max(), trained.max() + wait]
        spans += [fold[0], fold[-1], fold[-1] + wait]
        assert line.drop(COUNTS).tolist() == spans
        assert spans[2] <= spans[3]
    # Other orders and other indices are the same rows.
    moved = X.iloc[order].set_axis([7] * len(X))
    for (train, test), (train_m, test_m) in zip(
        folds, splitter.split(moved), strict=True
    ):
        assert_array_equal(train, np.sort(np.array(order)[train_m]))
        assert_array_equal(test, np.sort(np.array(order)[test_m]))
    # Rows that are there twice are twice in the same part.
    twice = pd.concat([X, X])
    for ours, both in zip(folds, splitter.split(twice), strict=True):
        for part, doubled in zip(ours, both, strict=True):
            assert_array_equal(doubled, np.r_[part, part + len(X)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (  # (4 - 2, 4] is known when 6 is tested
            {"train_window": 2},
            [
                (3, 4, 6, 6, 6, 8, 6, 3, 3, 6, 0, 3),
                (4, 5, 7, 7, 7, 9, 6, 3, 3, 9, 0, 0),
            ],
        ),
        (
            {"train_window": 100, "gap": 1},
            [
                (1, 3, 6, 6, 6, 9, 9, 3, 6, 0, 0, 3),
                (1, 4, 7, 7, 7, 10, 12, 3, 6, 0, 0, 0),
            ],
        ),
        (
            {"holdout_customers": 0.3, "random_state": 0},
            [
                (1, 4, 6, 6, 6, 8, 8, 1, 3, 0, 6, 3),
                (1, 5, 7, 7, 7, 9, 10, 1, 3, 0, 7, 0),
            ],
        ),
    ],
)
def test_report(options, expected):
    at = np.repeat(np.arange(1, 8), 3)
    events = pd.DataFrame({"id": [0, 1, 2], "time": 0})
    rows = pd.DataFrame({"id": np.tile([0, 1, 2], 7), "at": at})
    X = EventLog(events, "id", "time").attach(rows, cutoff="at")
    report = CutoffSplit(2, horizon=2, **options).report(X)
    assert list(map(tuple, report.to_numpy())) == expected
    assert report.index.tolist() == [1, 2]
    assert (report[COUNTS].sum(axis=1) == len(X)).all()


def test_held_out_customers_are_never_trained_on():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"id": rng.integers(0, 7, 300), "at": rng.integers(0, 20, 300)})
    X = attached(rows)  # 4 to 6 are unknown to the log
    splitter = CutoffSplit(3, horizon=2, holdout_customers=0.4, random_state=0)
    trained, tested = set(), set()
    for train, test in splitter.split(X):
        trained |= set(X["id"].iloc[train])
        tested |= set(X["id"].iloc[test])
    assert len(tested) == 3
    assert len(trained) == 4
    assert not trained & tested
    others = CutoffSplit(3, horizon=2, holdout_customers=0.4, random_state=2)
    assert set(X["id"].iloc[next(others.split(X))[1]]) != tested


def test_customers_by_the_key_column_or_by_the_log():
    rows = pd.DataFrame({"id": [0, 1, 2, 3] * 5, "at": np.repeat(np.arange(5), 4)})
    X = attached(rows)
    splitter = CutoffSplit(2, horizon=1, holdout_customers=0.5, random_state=3)
    expected = splitter.report(X)
    assert_frame_equal(splitter.report(X["history"]), expected)
    assert_frame_equal(splitter.report(X["history"].array), expected)
    with_one_unknown = pd.concat([X, attached(rows.assign(id=9))], ignore_index=True)
    fold = next(splitter.split(with_one_unknown))
    assert not set(with_one_unknown["id"][fold[0]]) & set(
        with_one_unknown["id"][fold[1]]
    )
    # Customers without a row do not count, and a pickle leaves them behind.
    few = X[X["id"].isin([1, 3])]
    report = splitter.report(few)
    assert (report["n_test"] == 1).all()
    assert_frame_equal(splitter.report(pickle.loads(pickle.dumps(few))), report)
    # A column over two logs has some customers twice.
    other = attached(rows)
    assert other["history"].array.log is not X["history"].array.log
    assert_frame_equal(
        splitter.report(pd.concat([X[:10], other[10:]])), splitter.report(X)
    )


@pytest.mark.parametrize(
    ("make", "horizons"),
    [
        (np.asarray, [2**63 - 1, 2**63 - 40, 1e30]),
        (
            lambda t: pd.to_datetime(t, unit="D").as_unit("ns"),
            [pd.Timedelta(days=365 * 250), pd.Timedelta.max],
        ),
    ],
)
def test_long_horizons_do_not_overflow(make, horizons):
    times = make(np.arange(50, 60))
    log = EventLog(pd.DataFrame({"id": ["a"], "time": times[:1]}), "id", "time")
    X = log.snapshots(times)
    for horizon in horizons:
        with pytest.raises(ValueError, match="Fold 1 of 2 has no training rows"):
            list(CutoffSplit(2, horizon=horizon).split(X))


def test_a_horizon_finer_than_the_times_is_rounded_up():
    times = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]).as_unit("s")
    X = EventLog(pd.DataFrame({"id": "a", "time": times}), "id", "time").snapshots(
        times
    )
    report = CutoffSplit(1, horizon=pd.Timedelta("1ms")).report(X)
    assert report["train_labels_end"].tolist() == [pd.Timestamp("2024-01-02 00:00:01")]


def test_share_of_customers_is_rounded():
    events = pd.DataFrame({"id": np.arange(100), "time": 0})
    X = EventLog(events, "id", "time").snapshots([1, 2, 3])
    splitter = CutoffSplit(1, horizon=1, holdout_customers=0.07, random_state=0)
    [(_, test)] = splitter.split(X)
    assert len(test) == 7  # 0.07 * 100 is 7.000000000000001


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_datetimes(zone):
    months = pd.date_range("2024-01-01", periods=6, freq="MS", tz=zone)
    X = rows_at(months)
    splitter = CutoffSplit(2, horizon="30D", gap=pd.Timedelta("1D"))
    # Until 1 May: the windows from January to March, whose last ends on 1 April.
    first, second = cutoffs_of(X, splitter.split(X))
    assert first == (list(months[:3]), [months[4]])
    assert second == (list(months[:5]), [months[5]])


def test_order_of_rows_does_not_matter():
    X = rows_at([1, 2, 3, 4, 5, 6] * 3)
    splitter = CutoffSplit(2, horizon=2)
    for (train, test), (train_r, test_r) in zip(
        splitter.split(X), splitter.split(X[::-1]), strict=True
    ):
        assert_array_equal(train, np.sort(len(X) - 1 - train_r))
        assert_array_equal(test, np.sort(len(X) - 1 - test_r))


def test_takes_series_and_array():
    X = rows_at([1, 2, 3, 4])
    splitter = CutoffSplit(2, horizon=1)
    for form in (X["history"], X["history"].array):
        for ours, expected in zip(splitter.split(form), splitter.split(X), strict=True):
            assert_array_equal(ours[0], expected[0])
            assert_array_equal(ours[1], expected[1])


def test_several_history_columns():
    X = rows_at([1, 2, 3, 4])
    log = X["history"].array.log
    X = log.attach(X, cutoff=9, name="all")
    folds = CutoffSplit(1, horizon=1, history="history").split(X)
    assert cutoffs_of(X, folds) == [([1, 2, 3], [4])]
    says = r"2 history columns.*CutoffSplit\(history='history'\)"
    with pytest.raises(ValueError, match=says):
        cross_validate(DummyClassifier(), X, cv=CutoffSplit(1, horizon=1))


def test_model_selection_of_sklearn():
    X = rows_at([1, 2, 3, 4, 5, 6] * 6).assign(city="Rome")
    y = np.arange(len(X)) % 2
    model = make_pipeline(RFMFeatures(), HistGradientBoostingClassifier(max_iter=2))
    options = {"train_window": 3, "holdout_customers": 0.3, "random_state": 1}
    cv = CutoffSplit(2, horizon=1, **options)
    scores = cross_validate(model, X, y, cv=cv)
    assert len(scores["test_score"]) == 2
    grid = {"rfmfeatures__dialect": ["marketing", "btyd"]}
    search = GridSearchCV(model, grid, cv=cv).fit(X, y)
    assert search.n_splits_ == 2
    assert clone(search).cv.horizon == 1


@pytest.mark.parametrize("options", [{}, {"holdout_customers": 0.3, "random_state": 0}])
def test_a_search_by_successive_halving(options):
    X = rows_at(np.tile(np.arange(1, 7), 40))
    y = np.arange(len(X)) % 2
    model = make_pipeline(RFMFeatures(), HistGradientBoostingClassifier(max_iter=2))
    cv = CutoffSplit(1, horizon=1, **options)
    grid = {"rfmfeatures__dialect": ["marketing", "btyd"]}
    search = HalvingGridSearchCV(model, grid, cv=cv, random_state=0).fit(X, y)
    assert search.n_splits_ == 1
    search.set_params(cv=CutoffSplit(1, horizon=1, holdout_customers=0.3))
    with pytest.raises(ValueError, match="random_state"):
        search.fit(X, y)


def test_the_horizon_of_the_target():
    """Also in a search, whose splitter gets the target."""
    X = rows_at([1, 2, 3, 4, 5, 6] * 3)
    y = pd.Series(np.arange(len(X)) % 2)
    store_horizon(y, {"horizon": 2, "gap": 1})
    of_target, given = CutoffSplit(2), CutoffSplit(2, horizon=2, gap=1)
    folds = cutoffs_of(X, of_target.split(X, y))
    assert folds == cutoffs_of(X, given.split(X)) == [([1, 2], [5]), ([1, 2, 3], [6])]
    assert_frame_equal(of_target.report(X, y), given.report(X))
    model = make_pipeline(RFMFeatures(amount=None), HistGradientBoostingClassifier())
    found = cross_validate(model, X, y, cv=of_target, return_indices=True)
    assert [len(one) for one in found["indices"]["train"]] == [6, 9]
    # A given horizon comes first.
    assert cutoffs_of(X, CutoffSplit(1, horizon=4).split(X, y)) == [([1, 2], [6])]
    with pytest.raises(ValueError, match="gap=1 needs a horizon"):
        next(CutoffSplit(2, gap=1).split(X, y))
    for unknown in (None, y.to_numpy()):
        with pytest.raises(ValueError, match="needs a horizon, and the horizon of the"):
            next(of_target.split(X, unknown))


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (
            {"horizon": 2},
            r"^horizon=2 is shorter than horizon and gap of y, .*'gap': 1",
        ),
        ({"horizon": 3}, "^horizon=3 is shorter than horizon and gap of y"),
        (
            {"horizon": 2, "gap": 1},
            "^horizon=2 and gap=1 is shorter than horizon and gap of y",
        ),
        ({"horizon": 3, "gap": 1}, None),
        ({"horizon": 4}, None),
        ({}, None),
    ],
)
def test_a_shorter_horizon_than_that_of_the_target(lengths, says):
    X = rows_at([2, 4, 6, 8, 10, 12])
    y = pd.Series(np.arange(len(X)) % 2, index=X.index, name="y")
    store_horizon(y, {"horizon": 3, "gap": 1})
    split = CutoffSplit(1, **lengths)
    for use in (lambda: list(split.split(X, y)), lambda: split.report(X, y)):
        if says is None:  # warnings are errors
            use()
            continue
        with pytest.warns(UserWarning, match=says) as caught:
            use()
        assert len(caught) == 1
        assert caught[0].filename == __file__
    assert len(list(split.split(X, y.to_numpy() if lengths else y))) == 1


def test_repr():
    shown = repr(CutoffSplit(2, horizon="14D"))
    assert shown.startswith("CutoffSplit(")
    assert "horizon='14D'" in shown


# Errors -----------------------------------------------------------------------


def test_too_few_cutoffs():
    X = rows_at([1, 2, 3] * 3)
    message = r"need more than 4 distinct cutoffs.*X has 3\. Use fewer splits"
    with pytest.raises(ValueError, match=message):
        next(CutoffSplit(2, horizon=1, test_size=2).split(X))
    with pytest.raises(ValueError, match="more than 3 distinct cutoffs"):
        next(CutoffSplit(3, horizon=1).split(X))
    with pytest.raises(ValueError, match="X has 0"):
        next(CutoffSplit(3, horizon=1).split(X[:0]))


def test_nothing_to_train_on():
    X = rows_at(pd.date_range("2024-01-01", periods=4, freq="D"))
    message = (
        "Fold 1 of 2 has no training rows: it tests the cutoff 2024-01-03 00:00:00, "
        "but the label of the earliest cutoff 2024-01-01 00:00:00 is known only from "
        r"2024-01-05 00:00:00 on \(gap='1D', horizon='3D'\)"
    )
    with pytest.raises(ValueError, match=message):
        next(CutoffSplit(2, horizon="3D", gap="1D").split(X))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": 1, "n_splits": 0}, ValueError, "'n_splits' parameter"),
        ({"horizon": 1, "test_size": 1.5}, ValueError, "'test_size' parameter"),
        ({"horizon": 0}, ValueError, "horizon must be longer than 0"),
        ({"horizon": "1D"}, TypeError, "horizon must be a number"),
        ({"horizon": 1, "gap": -1}, ValueError, "gap must be .* not negative"),
        ({"horizon": 1, "train_window": 0}, ValueError, "train_window .* than 0"),
        ({"horizon": 1, "train_window": "9D"}, TypeError, "train_window must be a num"),
        ({"horizon": 1, "holdout_customers": 1.0}, ValueError, "'holdout_customers'"),
        ({"horizon": 1, "holdout_customers": 0}, ValueError, "'holdout_customers'"),
        ({"horizon": 1, "holdout_customers": "a"}, ValueError, "'holdout_customers'"),
        ({"horizon": 1, "random_state": "x"}, ValueError, "'random_state' parameter"),
        ({"horizon": 1, "history": "h"}, KeyError, "X has no column 'h'"),
        (
            {"horizon": 1, "holdout_customers": 0.7},
            ValueError,
            "holdout_customers=0.7 of 3 customers leaves none to train on; hold fewer",
        ),
        (
            {"horizon": 1, "holdout_customers": 0.1, "random_state": 0},
            ValueError,
            "need 3 distinct cutoffs of held-out customers, who have [12]. Use fewer "
            "splits, or a larger share than holdout_customers=0.1",
        ),
    ],
)
def test_bad_parameters(options, error, message):
    X = rows_at([1, 2, 3, 4, 5])
    with pytest.raises(error, match=message):
        next(CutoffSplit(**options).split(X))
    with pytest.raises(error, match=message):
        CutoffSplit(**options).report(X)


def test_nothing_left_to_train_on():
    rows = pd.DataFrame({"id": [0, 1, 1, 1, 2], "at": [1, 1, 4, 9, 9]})
    X = attached(rows)
    message = (
        "Fold 1 of 1 has no training rows: it tests the cutoff 9, but of the 3 rows "
        "whose label is known by then, {} are older than train_window={}, and {} "
        r"belong to held-out customers \(holdout_customers={}\). Use a longer window"
    )
    with pytest.raises(ValueError, match=message.format(3, 2, 0, None)):
        next(CutoffSplit(1, horizon=1, train_window=2).split(X))
    options = {"train_window": 4.5, "holdout_customers": 0.5, "random_state": 2}
    assert sorted(np.random.RandomState(2).permutation(3)[:2]) == [1, 2]
    with pytest.raises(ValueError, match=message.format(2, 4.5, 1, 0.5)):
        next(CutoffSplit(1, horizon=1, **options).split(X))


def test_unknown_customers_without_their_column():
    X = attached(pd.DataFrame({"id": [0, 5, 6, 7] * 5, "at": np.repeat(range(5), 4)}))
    splitter = CutoffSplit(1, horizon=1, holdout_customers=0.5, random_state=0)
    expected = splitter.report(X)
    assert expected["n_test"].tolist() == [2]
    for form in (X["history"], X[["history"]], X["history"].array):
        assert_frame_equal(splitter.report(form), expected)
        [(train, test)] = splitter.split(form)
        assert not set(X["id"].iloc[train]) & set(X["id"].iloc[test])


@pytest.mark.parametrize(
    "form", [pd.Series, np.asarray, lambda y: csr_array(y.to_numpy()[:, None])]
)
def test_a_target_of_other_rows(form):
    """Positions of X would take other rows of the target, without an error."""
    events = pd.DataFrame({"who": [1, 2, 1, 2], "day": [0, 1, 5, 11]})
    X = EventLog(events, "who", "day").snapshots([2, 6, 7, 9])
    y = churned(X, 4, censored="drop")
    assert len(y) < len(X)
    split = CutoffSplit(1, horizon=4)
    for ask in (split.report, lambda *both: list(split.split(*both))):
        match = f"y has {len(y)} rows, but X has {len(X)}.*X.loc.y.index. are the"
        with pytest.raises(ValueError, match=match):
            ask(X, form(y))
        ask(X.loc[y.index], y)


def test_no_history():
    with pytest.raises(ValueError, match="X has no history column"):
        next(CutoffSplit(horizon=1).split(pd.DataFrame({"at": [1, 2]})))


def test_missing_history():
    X = rows_at([1, 2, 3, 4]).reindex([0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="has 1 missing histories in 5 rows"):
        next(CutoffSplit(1, horizon=1).split(X))
