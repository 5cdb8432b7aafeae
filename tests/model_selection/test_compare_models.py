"""Scores, differences and intervals of models, and errors."""

from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    RidgeClassifier,
)
from sklearn.metrics import make_scorer, max_error
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_seqcrm._columns import known_horizon, store_horizon
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.metrics import get_scorer
from sklearn_seqcrm.model_selection import CutoffSplit, compare_models
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.model_selection.offset import RNG, N, Offset, X, Y


@pytest.fixture(scope="module")
def histories():
    table = make_table(n_customers=30, n_cutoffs=5)
    return table, make_y(table)


def boosting(**params):
    trees = HistGradientBoostingClassifier(random_state=0, **{"max_iter": 5, **params})
    return make_pipeline(RFMFeatures(amount="amount"), trees)


def test_models_on_histories(histories):
    """Every table against scikit-learn's scores of the same fits."""
    table, y = histories
    models = {
        "few": boosting(),
        "prior": DummyClassifier(),
        "more": boosting(max_iter=9),
    }
    cv = CutoffSplit(2, horizon="30D", test_size=15)
    names = ["roc_auc", "top_decile_lift"]
    found = compare_models(
        models, table, y, cv=cv, scoring=names, reference="prior", n_resamples=20
    )
    expected = []
    folds = list(cv.split(table))
    for model in models.values():
        for train, test in folds:
            fit = model.fit(table.iloc[train], y[train])
            expected += [get_scorer(s)(fit, table.iloc[test], y[test]) for s in names]
    assert_allclose(found.scores["score"], expected)
    assert_array_equal(found.scores["model"], np.repeat(list(models), 4))
    assert_array_equal(found.scores["fold"], np.tile([1, 1, 2, 2], 3))
    assert_array_equal(found.scores["metric"], np.tile(names, 6))
    means = np.reshape(expected, (3, 2, 2)).mean(axis=1)
    assert_allclose(found.summary["score"], means.ravel())
    assert found.reference == "prior"
    differences = found.differences
    assert_array_equal(differences["model"], ["few", "few", "more", "more"])
    assert_allclose(differences["difference"], (means - means[1])[[0, 2]].ravel())
    assert (differences["lower"] <= differences["upper"]).all()
    tested = table.iloc[np.concatenate([test for _, test in folds])]
    assert tested["who"].isin(["new1", "new2"]).sum() > 2  # not in the log
    assert found.n_customers == tested["who"].nunique()
    assert_array_equal(found.runs["n_test"], [len(test) for _, test in folds] * 3)
    assert_array_equal(found.runs["n_train"], [len(train) for train, _ in folds] * 3)
    assert_array_equal(found.runs["fold"], [1, 2] * 3)
    assert (found.runs[["fit_seconds", "predict_seconds"]] > 0).all(axis=None)
    assert found.unfinished == []
    # Equal to the last digit with several runs at a time; threads start sooner than
    # processes.
    args = {"cv": cv, "scoring": names, "reference": "prior", "n_resamples": 20}
    with joblib.parallel_config("threading"):
        again = compare_models(models, table, y, n_jobs=2, **args)
    for name in ("differences", "summary", "scores"):
        assert_frame_equal(getattr(again, name), getattr(found, name))


def test_customers_of_one_of_several_columns(histories):
    table, y = histories
    table = table.assign(other=table["history"].iloc[::-1].array)
    both = {"history": 30, "other": 30}
    for name, most in both.items():
        found = compare_models(
            {"prior": DummyClassifier()},
            table,
            y,
            cv=2,
            scoring="accuracy",
            history=name,
            n_resamples=2,
        )
        assert found.n_customers == most + 2
        assert found.differences.empty


def test_customers_who_are_connected_by_another_column(histories):
    table, y = histories
    table = table.assign(other=table["history"].iloc[np.zeros(len(table), int)].array)
    call = partial(compare_models, {"a": DummyClassifier()}, table, y, cv=2)
    says = "rows have 1 .*: rows with a customer in common .* history= or groups="
    with pytest.raises(ValueError, match=says):
        call(scoring="accuracy")
    assert call(scoring="accuracy", history="history").n_customers > 2


def test_rows_of_unknown_customers_stay_together():
    """Labels are random for each customer, and a tree could memorize a static."""
    rng = np.random.default_rng(0)
    who = np.repeat([f"new{i}" for i in range(100)], 5)
    rows = pd.DataFrame({"who": who, "at": np.tile(range(1, 6), 100)})
    rows["number"] = np.repeat(rng.normal(size=100), 5)
    log = EventLog(pd.DataFrame({"who": ["c"], "day": [0]}), "who", "day")
    with pytest.warns(UserWarning, match="None of the 100 customers"):
        table = log.attach(rows, cutoff="at")
    tree = make_pipeline(RFMFeatures(), DecisionTreeClassifier(random_state=0))
    y = np.repeat(rng.integers(2, size=100), 5)
    found = compare_models({"tree": tree}, table, y, cv=3, scoring="roc_auc")
    assert found.n_customers == 100
    assert 0.35 < found.summary["score"][0] < 0.65  # with split customers 1


def test_folds_of_an_int_keep_customers_together(histories):
    table, y = histories

    class Watching(DummyClassifier):
        def fit(self, X, y):
            self.seen_ = set(X["who"])
            return super().fit(X, y)

        def predict_proba(self, X):
            assert not set(X["who"]) & self.seen_
            return super().predict_proba(X)

    compare_models(
        {"one": Watching()}, table, y, cv=3, scoring="roc_auc", n_resamples=2
    )


def test_intervals_of_better_and_worse_models_exclude_zero():
    y = X[:, 0] + 0.1 * RNG.normal(size=N)
    models = {"off": Offset(1.0), "right": Offset(), "far": Offset(-2.0)}
    models["same"] = models["off"]
    args = {"cv": 3, "scoring": "neg_root_mean_squared_error"}
    found = compare_models(models, X, y, **args)
    right, far, same = found.differences.itertuples()
    assert 0 < right.lower < right.difference < right.upper
    assert far.lower < far.difference < far.upper < 0
    assert (right.better, far.better) == (1, 0)
    assert same.difference == same.better == 0
    one_sample = compare_models(models, X, y, n_resamples=1, **args)
    assert one_sample.differences["better"].tolist() == [1, 0, 0]


def test_a_difference_from_0_has_the_interval_of_the_score():
    """Also of a skewed score: with one fold, differences are not spread further."""
    models = {"exact": Offset(), "mean": DummyRegressor()}
    args = {"scoring": "neg_mean_squared_error", "n_resamples": 50}
    cv = [(np.arange(30), np.arange(30, N))]
    found = compare_models(models, X, X[:, 0], cv=cv, **args)
    ends = ["lower", "upper"]
    difference, score = found.differences.loc[0, ends], found.summary.loc[1, ends]
    assert_allclose(difference.astype(float), score.astype(float))


@pytest.mark.filterwarnings("ignore:Fold 1 of")
def test_samples_without_a_class_are_left_out():
    """One positive row: a third of the draws are without it."""

    def needs_positives(y, predicted, sample_weight):
        if not sample_weight[y == 1].any():
            raise ValueError("no positives")
        return 1.0

    y = np.zeros(N, dtype=int)
    y[5] = 1
    models = {"a": LogisticRegression(), "b": LogisticRegression(C=0.1)}
    found = compare_models(
        models,
        X,
        y,
        cv=[(np.arange(N), np.arange(20))],
        scoring={
            "area": "roc_auc",
            "accuracy": "accuracy",
            "own": make_scorer(needs_positives),
        },
    )
    n_defined, n_all, n_own = found.differences["n_resamples"]
    assert 580 < n_defined == n_own < 690
    assert n_all == 1000
    assert np.isfinite(found.differences["lower"]).all()


def test_ranking_by_decision_functions():
    models = {"ridge": RidgeClassifier(), "logistic": LogisticRegression()}
    found = compare_models(models, X, Y, cv=2, scoring="roc_auc", n_resamples=5)
    assert found.scores["score"].between(0, 1).all()


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ({"models": {}}, ValueError, "at least one model"),
        ({"models": [Offset()]}, TypeError, "'models' parameter"),
        (
            {"models": {"a": Offset}},
            TypeError,
            r"\['a'\] is the class .* write Offset\(",
        ),
        ({"reference": "two"}, ValueError, r"one of \['one'\]; got 'two'"),
        ({"scoring": []}, ValueError, "at least one score"),
        ({"scoring": None}, TypeError, "scoring must be the name"),
        ({"scoring": {"a": 1}}, TypeError, "scoring must be the name"),
        ({"scoring": "no such"}, ValueError, "no such"),
        ({"scoring": make_scorer(max_error)}, TypeError, "takes no sample_weight"),
        ({"scoring": max_error}, TypeError, r"make_scorer\(max_error\)"),
        ({"scoring": {"a": max_error}}, TypeError, r"make_scorer\(max_error\)"),
        ({"cv": []}, ValueError, "cv makes no fold"),
        ({"cv": [([0, 1], [2]), ([0, 1], [])]}, ValueError, "fold 2 .* no test rows"),
        ({"cv": [([], [2])]}, ValueError, "fold 1 .* no training rows"),
        # r2 of one row, and of rows with one value
        ({"cv": [([0, 1], [2])]}, ValueError, "'r2' is not defined on the 1 test row"),
        ({"confidence_level": 1}, ValueError, "confidence_level"),
        ({"n_resamples": 0}, ValueError, "n_resamples"),
        ({"y": None}, ValueError, "requires y, the targets of the rows of X; got None"),
    ],
)
def test_errors(args, error, message):
    whole = {"models": {"one": Offset()}, "y": Y, "cv": 2, "scoring": "r2", **args}
    with pytest.raises(error, match=message):
        compare_models(X=X, **whole)


def test_errors_name_model_and_fold():
    class Broken(Offset):
        def fit(self, X, y):
            raise OSError("no")

    with pytest.raises(OSError, match="no") as caught:
        compare_models({"bad": Broken()}, X, Y, cv=2, scoring="r2")
    assert caught.value.__notes__ == ["compare_models: 'bad', fold 1."]


@pytest.mark.filterwarnings("ignore:Fold 1 of")
@pytest.mark.parametrize("name", ["roc_auc", "roc_auc_ovr"])
def test_undefined_scores_raise(name, tmp_path):
    """In the fast formula, in the scorer, and from a cache of other scores."""
    models = {"one": LogisticRegression()}
    args = {"cv": [(np.arange(N), np.flatnonzero(Y))], "cache": tmp_path}
    compare_models(models, X, Y, scoring=["accuracy", "neg_log_loss"], **args)
    with pytest.raises(ValueError, match=f"'{name}' is not defined on the"):
        compare_models(models, X, Y, scoring=name, **args)


def test_several_targets():
    y = X[:, :2]
    models = {"mean": DummyRegressor(), "line": LinearRegression()}
    names = ["neg_mean_squared_error", "neg_mean_absolute_error", "r2"]
    cv = list(KFold(2).split(X))
    found = compare_models(models, X, y, cv=cv, scoring=names, n_resamples=3)
    for row in found.scores[found.scores["model"] == "mean"].itertuples():
        train, test = cv[row.fold - 1]
        model = DummyRegressor().fit(X[train], y[train])
        expected = get_scorer(row.metric)(model, X[test], y[test])
        assert row.score == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Fold 1 of")
@pytest.mark.parametrize(
    ("splitter", "same"), [(KFold(3), lambda X: KFold(3).split(X)), (GroupKFold(3), 3)]
)
def test_splitters_that_need_groups_get_customers(splitter, same):
    """Other splitters would warn that they ignore groups."""
    table = make_table(12)
    y = np.arange(len(table), dtype=float)
    models = {"mean": make_pipeline(RFMFeatures(amount=None), DummyRegressor())}
    args = {"scoring": "neg_mean_squared_error", "n_resamples": 2}
    found = compare_models(models, table, y, cv=splitter, **args)
    cv = list(same(table)) if callable(same) else same
    expected = compare_models(models, table, y, cv=cv, **args)
    assert_frame_equal(found.scores, expected.scores)


def test_series_as_y():
    y = pd.Series(Y, index=N + RNG.permutation(N))
    models = {"one": LogisticRegression()}
    args = {"cv": 2, "scoring": "roc_auc", "n_resamples": 2}
    found = compare_models(models, pd.DataFrame(X), y, **args)
    assert_frame_equal(found.scores, compare_models(models, X, Y, **args).scores)


# Events and times ---------------------------------------------------------------------


class Hasty(BaseEstimator):
    """Predicts its first column as the risk; checks that targets have two dtypes."""

    def fit(self, X, y):
        kinds = y.dtypes if isinstance(y, pd.DataFrame) else y.dtype.fields
        assert len(kinds) == 2
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0]


def make_waits(unit=1):
    return pd.DataFrame({"event": Y > 0, "time": np.exp(-X[:, 0] + X[:, 1]) * unit})


class SeesHorizon(DummyClassifier):
    """Keeps the horizon of its target."""

    seen = []

    def fit(self, X, y):
        self.seen.append(known_horizon(y)["horizon"])
        return super().fit(X, y)


def test_targets_keep_their_horizon(histories, tmp_path):
    """For splits forward in time, of the comparison and within models."""
    table, y = histories
    y = pd.Series(y, index=table.index)
    store_horizon(y, {"horizon": "30D"})
    cv = CutoffSplit(1, test_size=15)
    options = {"cv": cv, "scoring": "accuracy", "cache": tmp_path}
    found = compare_models({"a": SeesHorizon()}, table, y, **options)
    assert SeesHorizon.seen == ["30D"]
    options["cv"] = CutoffSplit(1, test_size=15, horizon="30D")
    again = compare_models({"a": SeesHorizon()}, table, y, **options)
    assert_frame_equal(found.scores, again.scores)
    assert SeesHorizon.seen == ["30D"]  # read from the cache
    # Models may depend on the horizon: another one is another run.
    store_horizon(y, {"horizon": "29D"})
    compare_models({"a": SeesHorizon()}, table, y, **options)
    assert SeesHorizon.seen == ["30D", "29D"]


def test_models_get_all_attrs_of_a_series():
    seen = []

    class SeesAttrs(DummyClassifier):
        def fit(self, X, y):
            seen.append(getattr(y, "attrs", None))
            return super().fit(X, y)

    y, args = pd.Series(Y), {"cv": 2, "scoring": "accuracy", "n_resamples": 2}
    y.attrs["unit"] = "EUR"
    compare_models({"one": SeesAttrs()}, X, y, **args)
    y.attrs.clear()
    compare_models({"one": SeesAttrs()}, X, y, **args)
    assert seen == [{"unit": "EUR"}] * 2 + [None] * 2


def test_survival_targets_of_another_horizon_are_other_runs(tmp_path):
    y = make_waits()
    args = {"cv": 2, "scoring": "concordance", "n_resamples": 2, "cache": tmp_path}
    for horizon, n_runs in (("30D", 2), ("30D", 2), ("60D", 4)):
        y.attrs["horizon"] = horizon
        compare_models({"one": Hasty()}, X, y, **args)
        assert len(list(tmp_path.iterdir())) == n_runs


@pytest.mark.parametrize("form", ["frame", "durations", "records", "kinds"])
def test_forms_of_survival_targets(form, tmp_path):
    """Against all pairs of each fold."""
    y = waits = make_waits()
    if form == "durations":
        y = make_waits(pd.Timedelta("1D"))
    elif form == "records":
        y = waits.to_records(index=False)
    elif form == "kinds":
        y = waits.assign(event=np.where(Y, 1 + (X[:, 2] > 0), 0))
    cv = list(KFold(2).split(X))
    args = {"cv": cv, "scoring": "concordance", "n_resamples": 20, "cache": tmp_path}
    found = compare_models({"one": Hasty()}, X, y, **args)
    for (_, test), score in zip(cv, found.scores["score"], strict=True):
        event, time = waits.iloc[test].to_numpy().T
        sooner = (event > 0)[:, None] & (time[:, None] < time)
        right = X[test, 0][:, None] > X[test, 0]
        assert_allclose(score, right[sooner].mean())
    [whole] = found.summary.itertuples()
    assert whole.lower < whole.score < whole.upper
    compare_models({"one": Hasty()}, X, y.copy(), **args)
    assert len(list(tmp_path.iterdir())) == 2


def test_survival_models():
    ensemble = pytest.importorskip("sksurv.ensemble")
    table = make_table(n_customers=40, n_cutoffs=2)
    cv = list(GroupKFold(2).split(table, groups=table["who"]))
    table = table[["history"]]
    y = time_to_next(table, censored="keep")
    y["time"] /= pd.Timedelta("1D")
    network = LSTMSurvival(
        hidden_size=4,
        head_sizes=(4,),
        bins=4,
        max_epochs=2,
        random_state=0,
        n_networks=1,
    )
    models = {
        "LSTM": make_history_pipeline(network),
        "forest": make_pipeline(
            RFMFeatures(amount="amount"),
            ensemble.RandomSurvivalForest(5, random_state=0),
        ),
    }
    found = compare_models(
        models,
        table,
        y.to_records(index=False),
        cv=cv,
        scoring="concordance",
        n_resamples=10,
    )
    for row in found.scores.itertuples():
        train, test = cv[row.fold - 1]
        targets = [y.iloc[part].to_records(index=False) for part in (train, test)]
        model = clone(models[row.model]).fit(table.iloc[train], targets[0])
        expected = model.score(table.iloc[test], targets[1])
        assert row.score == pytest.approx(expected, rel=1e-9)


def test_groups_replace_customers():
    groups = np.repeat([f"shop {i}" for i in range(6)], N // 6)
    args = {"cv": 3, "scoring": "r2", "n_resamples": 9}
    found = compare_models({"one": Offset()}, X, Y, groups=groups, **args)
    assert found.n_customers == 6
    # NumPy would make text of the first list, and two columns of the second.
    for listed in (
        [i // 20 if i % 20 < 10 else str(i // 20) for i in range(N)],
        [(i // 20, i % 20 < 10) for i in range(N)],
    ):
        other = compare_models({"one": Offset()}, X, Y, groups=listed, **args)
        assert other.n_customers == 6
        assert_allclose(other.scores["score"], found.scores["score"])
    again = compare_models(
        {"one": Offset()},
        X,
        Y,
        **{**args, "cv": list(GroupKFold(3).split(X, Y, groups))},
    )
    assert_allclose(found.scores["score"], again.scores["score"])
    with pytest.raises(ValueError, match=r"60 rows; got the shape \(59,\)"):
        compare_models({"one": Offset()}, X, Y, groups=groups[1:], **args)
    missing = [None, *groups[1:]]
    with pytest.raises(ValueError, match="for each of the 60 rows; got 1 missing"):
        compare_models({"one": Offset()}, X, Y, groups=missing, **args)
