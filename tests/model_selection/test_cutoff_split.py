import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit


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
def test_no_label_is_known_too_late(seed):
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
    with pytest.raises(ValueError, match="2 history columns"):
        next(CutoffSplit(1, horizon=1).split(X))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_model_selection_of_sklearn(n_jobs):
    X = rows_at([1, 2, 3, 4, 5, 6] * 6).assign(city="Rome")
    y = np.arange(len(X)) % 2
    model = make_pipeline(RFMFeatures(), HistGradientBoostingClassifier(max_iter=2))
    cv = CutoffSplit(2, horizon=1)
    scores = cross_validate(model, X, y, cv=cv, n_jobs=n_jobs)
    assert len(scores["test_score"]) == 2
    grid = {"rfmfeatures__dialect": ["marketing", "btyd"]}
    search = GridSearchCV(model, grid, cv=cv, n_jobs=n_jobs).fit(X, y)
    assert search.n_splits_ == 2
    assert clone(search).cv.horizon == 1


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
    ],
)
def test_bad_parameters(options, error, message):
    X = rows_at([1, 2, 3, 4, 5])
    with pytest.raises(error, match=message):
        next(CutoffSplit(**options).split(X))


def test_no_history():
    with pytest.raises(ValueError, match="X has no history column"):
        next(CutoffSplit(horizon=1).split(pd.DataFrame({"at": [1, 2]})))


def test_missing_history():
    X = rows_at([1, 2, 3, 4]).reindex([0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="1 of 5 rows have no history"):
        next(CutoffSplit(1, horizon=1).split(X))
