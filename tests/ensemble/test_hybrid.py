import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_series_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    QuantileRegressor,
)
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from sklearn_seqcrm._columns import store_horizon
from sklearn_seqcrm.ensemble import HybridClassifier, HybridRegressor, make_hybrid
from sklearn_seqcrm.ensemble._losses import predicted_quantile
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.model_selection import CutoffSplit, check_no_leakage
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y

X = make_table(n_customers=16)
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "n_networks": 1}


class Constant(RegressorMixin, BaseEstimator):
    """Predicts one number, and keeps the arguments of `fit`."""

    def __init__(self, value=0.0):
        self.value = value

    def fit(self, X, y, sample_weight=None):
        self.seen_, self.weight_ = X, sample_weight
        return self

    def predict(self, X):
        return np.full(len(X), self.value)


class Shares(ClassifierMixin, BaseEstimator):
    """Predicts the columns of X for the classes that it saw."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        shares = np.asarray(X)[:, self.classes_.astype(int)]
        return shares / shares.sum(axis=1, keepdims=True)


def rows_of(n_customers, n_rows=1, n_known=None):
    """Return rows of customers, at cutoffs 1, 2, ..., with one static."""
    who = np.repeat(np.arange(n_customers), n_rows)
    known = np.unique(who)[:n_known]  # to the log
    log = EventLog(pd.DataFrame({"who": known, "day": 0}), "who", "day")
    rows = pd.DataFrame({"who": who, "at": np.arange(len(who)) + 1, "x": 0.0})
    return log.attach(rows, cutoff="at")


# Fitting ------------------------------------------------------------------------------


def test_it_is_the_blend_of_its_parts():
    y = make_y(X, ("a", "b", "c"))
    model = make_hybrid(LSTMClassifier(**SMALL), lstm_weight=0.3, random_state=0)
    model.fit(X, y)
    assert model.weights_ == {"lstm": 0.3, "boosting": 0.7}
    assert_array_equal(model.classes_, ["a", "b", "c"])
    parts = (
        model.lstm_.predict_proba(X) ** 0.3 * model.boosting_.predict_proba(X) ** 0.7
    )
    expected = parts / parts.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6)
    assert_array_equal(model.predict(X), model.classes_[expected.argmax(axis=1)])
    numbers = make_hybrid(LSTMRegressor(**SMALL), lstm_weight=0.3, random_state=0)
    numbers.fit(X, np.arange(len(X)))
    expected = 0.3 * numbers.lstm_.predict(X) + 0.7 * numbers.boosting_.predict(X)
    assert_allclose(numbers.predict(X), expected)


def test_a_frozen_part_is_not_fitted_again():
    y = make_y(X, ("a", "b"))
    network = make_history_pipeline(LSTMClassifier(**SMALL)).fit(X, y)
    model = make_hybrid(FrozenEstimator(network), random_state=0).fit(X, y)
    assert model.lstm_.estimator is network
    assert 0 < model.weights_["lstm"] < 1


@pytest.mark.parametrize("n_known", [10, 1])
@pytest.mark.parametrize("cv", [None, 3])
def test_customers_are_on_one_side(cv, n_known):
    """Parts predict only customers that they were not fitted on."""
    aside = []

    class Watching(Constant):
        def predict(self, X):
            assert not set(X["who"]) & set(self.seen_["who"])
            aside.append(X)
            return super().predict(X)

    rows = rows_of(10, 4, n_known)
    model = HybridRegressor(Watching(1.0), Constant(-1.0), cv=cv, random_state=0)
    model.fit(rows, np.full(40, 0.2))
    assert model.n_customers_ == (2 if cv is None else 10)
    assert sum(map(len, aside)) == 4 * model.n_customers_
    assert len(model.lstm_.seen_) == 40
    # The loss is least at .6; the prior draws the weight towards .5.
    assert 0.5 < model.weights_["lstm"] < 0.6
    assert model.losses_["lstm"] == pytest.approx(0.64)
    assert model.losses_["boosting"] == pytest.approx(1.44)


def test_without_a_refit_parts_have_not_seen_held_out_customers():
    rows, y = rows_of(10, 4), np.zeros(40)
    model = HybridRegressor(Constant(1.0), Constant(), refit=False, random_state=0)
    assert len(model.fit(rows, y).lstm_.seen_) == 32
    with pytest.raises(ValueError, match="there are 3 of each"):
        clone(model).set_params(cv=3).fit(rows, y)


def test_forward_in_time():
    """The last cutoffs are held out; parts see cutoffs with known labels."""
    log = EventLog(pd.DataFrame({"who": [1, 2], "day": [0, 0]}), "who", "day")
    rows = log.snapshots([2, 4, 6, 8])
    cv = CutoffSplit(1, horizon=3)
    model = HybridRegressor(Constant(1.0), Constant(), cv=cv, refit=False)
    model.fit(rows, np.zeros(8))
    assert sorted(model.lstm_.seen_["cutoff"].unique()) == [2, 4]


class SeesTarget(Constant):
    """Notes the cutoffs and the targets of each fit."""

    seen = []

    def fit(self, X, y, sample_weight=None):
        self.seen.append((sorted(set(X["cutoff"])), y))
        return super().fit(X, y, sample_weight)


def test_splits_and_parts_get_the_attrs_of_the_target():
    log = EventLog(pd.DataFrame({"who": range(60), "day": 0}), "who", "day")
    X = log.snapshots([1, 2, 3, 4])
    # In another index, and with weights of 0: rows stay in their order.
    y = pd.Series(np.arange(len(X)) / len(X), index=np.arange(len(X), 0, -1))
    store_horizon(y, {"horizon": 2, "gap": 0})
    weight = np.arange(len(X)) % 2
    for cv, first in ((CutoffSplit(1), [1, 2]), (None, [1, 2, 3, 4])):
        SeesTarget.seen = []
        parts = [Pipeline([("last", SeesTarget(value))]) for value in (0.0, 1.0)]
        HybridRegressor(*parts, cv=cv, random_state=0).fit(X, y, weight)
        found = [cutoffs for cutoffs, _ in SeesTarget.seen]
        assert found == 2 * [first] + 2 * [[1, 2, 3, 4]]
        for _, target in SeesTarget.seen:
            assert target.attrs == y.attrs
            assert_series_equal(target, y[target.index])
        assert_series_equal(SeesTarget.seen[-1][1], y[weight > 0])
        # Targets without attrs are passed as arrays.
        HybridRegressor(*parts, random_state=0).fit(X, y.to_numpy(), weight)
        assert isinstance(SeesTarget.seen[-1][1], np.ndarray)


def test_labels_of_a_target_with_attrs_stay_as_they_are():
    y = pd.Series(make_y(X, ("a", "b", "c")), index=X.index)
    plain = make_hybrid(LSTMClassifier(**SMALL), lstm_weight=0.5, random_state=0)
    expected = clone(plain).fit(X, y)
    y.attrs["of"] = "a test"
    found = plain.fit(X, y)
    for one in (found, found.lstm_, found.boosting_):
        assert_array_equal(one.classes_, ["a", "b", "c"])
    assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_a_search_in_a_part_splits_forward_in_time():
    y = pd.Series(make_y(X), index=X.index)
    store_horizon(y, {"horizon": "1D"})
    lstm = make_history_pipeline(LSTMClassifier(**SMALL))
    sizes, cv = {"estimator__hidden_size": [2, 3]}, CutoffSplit(1)
    search = GridSearchCV(lstm, sizes, cv=cv, error_score="raise")
    model = make_hybrid(search, DummyClassifier(), lstm_weight=0.5).fit(X, y)
    assert set(model.lstm_.cv_results_["params"][0]) == set(sizes)
    # A parameter of the name is the estimator's own.
    assert model.lstm_.best_estimator_[-1].horizon is None
    with pytest.raises(ValueError, match="CutoffSplit needs a horizon"):
        clone(model).fit(X, y.to_numpy())


def test_networks_in_a_part_stop_forward_in_time():
    log = EventLog(pd.DataFrame({"who": range(60), "day": 0}), "who", "day")
    rows = log.snapshots([1, 2, 3, 4])
    y = pd.Series(np.arange(len(rows)) / len(rows))
    store_horizon(y, {"horizon": 2})
    lstm = LSTMRegressor(**SMALL)
    model = make_hybrid(lstm, DummyRegressor(), lstm_weight=0.5)
    network = model.fit(rows, y).lstm_[-1]
    assert network.validation_["by"] == "forward"
    assert network.validation_["n_dropped"] == 60


def test_one_customer_and_one_class_leave_one_half():
    one = HybridRegressor(Constant(1.0), Constant(), refit=False).fit(
        rows_of(1, 5), np.zeros(5)
    )
    assert one.weights_["lstm"] == 0.5
    assert (one.n_customers_, one.losses_, len(one.lstm_.seen_)) == (0, {}, 5)
    # The only row of the second class is held out.
    y, splits = np.array([0, 0, 0, 0, 1]), [(np.arange(4), np.array([4]))]
    numbers = FunctionTransformer(lambda X: X[["x"]])
    part = make_pipeline(numbers, LogisticRegression())
    model = HybridClassifier(part, part, cv=splits).fit(rows_of(5), y)
    assert (model.weights_["lstm"], model.n_customers_) == (0.5, 0)


def test_a_class_that_a_part_has_not_seen():
    """The class has a probability of about 0, and all classes keep their columns."""
    shares = np.array([[0.6, 0.2, 0.2]] * 6)
    y, splits = np.array([0, 1, 0, 1, 2, 0]), [(np.arange(4), np.arange(4, 6))]
    model = HybridClassifier(Shares(), DummyClassifier(), cv=splits, refit=False)
    found = model.fit(shares, y).predict_proba(shares)
    assert found.shape == (6, 3)
    assert (found[:, 2] < 1e-5).all()
    assert_allclose(found.sum(axis=1), 1)
    assert np.isfinite(model.losses_["hybrid"])


def test_the_better_part_has_more_weight():
    """One part sees the true log-odds, the other noise."""
    rng = np.random.default_rng(0)
    odds = rng.normal(size=3000)
    y = (rng.random(3000) < 1 / (1 + np.exp(-odds))).astype(int)
    table = np.column_stack([odds, rng.normal(size=3000)])
    good, bad = (
        make_pipeline(
            FunctionTransformer(lambda X, i=i: X[:, [i]]), LogisticRegression()
        )
        for i in (0, 1)
    )
    model = HybridClassifier(bad, good, cv=5, random_state=0).fit(table, y)
    assert model.weights_["lstm"] < 0.2
    losses = model.losses_
    assert losses["hybrid"] <= min(losses.values()) + 1e-3 < losses["lstm"]


def test_grid_search_clone_and_pickle():
    y = make_y(X)
    model = make_hybrid(LSTMClassifier(**SMALL), random_state=0)
    grid = {
        "lstm__estimator__hidden_size": [3],
        "boosting__estimator__max_iter": [2],
        "boosting__features__max_features": [20],
        "validation_fraction": [0.3],
    }
    search = GridSearchCV(model, grid, cv=2, scoring="roc_auc", error_score="raise")
    best = search.fit(X, y).best_estimator_
    shares = best.predict_proba(X)
    assert_array_equal(clone(best).fit(X, y).predict_proba(X), shares)
    assert_array_equal(pickle.loads(pickle.dumps(best)).predict_proba(X), shares)
    check_no_leakage(best, X, n_cutoffs=3)
    assert best.feature_names_in_.tolist() == list(X)
    assert best.n_features_in_ == X.shape[1]


def test_a_random_state_of_none_gets_a_seed():
    model = make_hybrid(LSTMClassifier(random_state=7, **SMALL), random_state=0)
    model.set_params(lstm_weight=0.5).fit(X, make_y(X))
    assert model.lstm_[-1].random_state == 7
    assert isinstance(model.boosting_[-1].random_state, int)
    assert model.boosting[-1].random_state is None


def test_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    boosting = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
    model = make_hybrid(LSTMClassifier(**SMALL), boosting, random_state=0)
    shares = model.fit(X, make_y(X)).predict_proba(X)
    assert isinstance(model.boosting_[-1], lightgbm.LGBMClassifier)
    assert model.boosting_[0].max_categories is None
    assert shares.shape == (len(X), 2)


# Weights of rows ----------------------------------------------------------------------


@pytest.mark.parametrize("routing", [False, True])
def test_weights_reach_the_last_step_of_each_part(routing):
    y, weight = make_y(X), np.arange(len(X)) % 3
    with sklearn.config_context(enable_metadata_routing=routing):
        model = make_hybrid(task="classification", random_state=0)
        small = {f"lstm__estimator__{name}": value for name, value in SMALL.items()}
        model.set_params(**small, boosting__estimator__max_iter=5)
        if routing:
            model.set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=weight)
        used = np.flatnonzero(weight)
        without = clone(model).fit(X.iloc[used], y[used], sample_weight=weight[used])
        assert_allclose(model.predict_proba(X), without.predict_proba(X), rtol=1e-12)
        unweighted = clone(model).fit(X.iloc[used], y[used])
        for part in ("lstm_", "boosting_"):
            one, other = (
                getattr(fit, part).predict_proba(X) for fit in (model, unweighted)
            )
            assert not np.allclose(one, other)


def test_weights_of_plain_parts_follow_their_rows():
    weight = np.arange(40) + 1.0
    model = HybridRegressor(Constant(1.0), Constant(), refit=False, random_state=0)
    fit = model.fit(rows_of(10, 4), np.zeros(40), sample_weight=weight)
    assert_array_equal(fit.lstm_.weight_, fit.lstm_.seen_["at"])


# Parts and tasks -------------------------------------------------------------------


def test_parts_by_default_and_as_given():
    model = make_hybrid(task="regression")
    steps = {
        name: [type(step).__name__ for _, step in part.steps]
        for name, part in (("lstm", model.lstm), ("boosting", model.boosting))
    }
    assert steps["lstm"] == ["HistoryEncoder", "StaticsTransformer", "LSTMRegressor"]
    assert steps["boosting"] == ["HistoryAggregator", "SmallTreesRegressor"]
    given = HistGradientBoostingClassifier()
    assert make_hybrid(boosting=given).boosting[-1].max_leaf_nodes == 31
    own = Pipeline([("mine", given)])
    assert make_hybrid(LSTMClassifier(), own).boosting is own
    assert isinstance(make_hybrid(boosting=own), HybridClassifier)


HIST = HistGradientBoostingClassifier(max_iter=2)


@pytest.mark.parametrize(
    "boosting",
    [
        HIST,
        CalibratedClassifierCV(HIST, cv=2),
        GridSearchCV(HIST, {"max_leaf_nodes": [3]}, cv=2),
        OneVsRestClassifier(HIST),
        VotingClassifier([("one", HIST)], voting="soft"),
    ],
    ids=lambda boosting: type(boosting).__name__,
)
def test_wrapped_boosting_of_scikit_learn_takes_many_categories(boosting):
    """Boosting of scikit-learn takes at most 255 categories of a column."""
    rows = rows_of(300).assign(city=[f"city {i}" for i in range(300)])
    part = make_hybrid(LSTMClassifier(), boosting).boosting
    assert part[0].max_categories == 255
    assert part.fit(rows, np.arange(300) % 2).predict_proba(rows).shape == (300, 2)


def test_boosting_without_a_limit_gets_all_categories():
    class Booster(HistGradientBoostingClassifier):
        pass

    class Unlimited(ClassifierMixin, BaseEstimator):
        __module__ = "lightgbm.sklearn"

    class Own(Unlimited):
        pass

    for boosting, most in (
        (Unlimited(), None),
        (Own(), None),
        (CalibratedClassifierCV(Unlimited()), None),
        (VotingClassifier([("a", Unlimited()), ("b", HIST)]), 255),
        (Booster(), 255),
        (DecisionTreeClassifier(), 255),
    ):
        part = make_hybrid(boosting=boosting).boosting
        assert part[0].max_categories == most


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "What is to be predicted"),
        ({"task": "ranking"}, "task must be one of"),
        (
            {"lstm": LSTMClassifier(), "boosting": LinearRegression()},
            "have one task",
        ),
        ({"lstm": LSTMClassifier(), "task": "regression"}, "have one task"),
        (
            {"boosting": FunctionTransformer()},
            "a classifier, a regressor or a surv",
        ),
    ],
)
def test_a_task_must_be_known(args, message):
    with pytest.raises(ValueError, match=message):
        make_hybrid(**args)


def test_splits_without_weight_on_a_side_are_left_out():
    weight, table = np.ones(40), rows_of(20, 2)
    weight[20:] = 0
    first, second = np.arange(20), np.arange(20, 40)
    parts = Constant(1.0), Constant(2.0)
    y, halves = np.repeat([1.0, 0.0], 20), [(first, second), (second, first)]
    hybrid = HybridRegressor(*parts, cv=halves).fit(table, y, weight)
    assert (hybrid.weights_["lstm"], hybrid.n_customers_) == (0.5, 0)
    quarters = [*halves, (first[:10], first[10:])]
    hybrid = HybridRegressor(*parts, cv=quarters).fit(table, y, weight)
    assert hybrid.n_customers_ == 5


@pytest.mark.parametrize(
    ("part", "quantile"),
    [
        (LSTMRegressor(), "mean"),
        (LSTMRegressor(loss="quantile", quantile=0.9, n_networks=1), 0.9),
        (LSTMRegressor(loss="quantile", quantile=[0.1, 0.4, 0.9], n_networks=1), 0.4),
        (LSTMRegressor(loss="absolute_error", n_networks=1), 0.5),
        (HistGradientBoostingRegressor(loss="quantile", quantile=0.2), 0.2),
        (HistGradientBoostingRegressor(loss="poisson"), "mean"),
        (GradientBoostingRegressor(loss="quantile", alpha=0.7), 0.7),
        (QuantileRegressor(quantile=0.8), 0.8),
        (DummyRegressor(strategy="quantile", quantile=0.6), 0.6),
        (DummyRegressor(strategy="median"), 0.5),
        (LinearRegression(), None),
        (Constant(), None),
        (
            GridSearchCV(
                make_history_pipeline(
                    LSTMRegressor(loss="quantile", quantile=0.9, n_networks=1)
                ),
                {},
            ),
            0.9,
        ),
    ],
)
def test_quantiles_that_parts_predict(part, quantile):
    assert predicted_quantile(part) == quantile


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("trees", "an estimator with get_params; got 'trees'"),
        ([], r"an estimator with get_params; got \[\]"),
        (
            HistGradientBoostingRegressor,
            "an instance of an estimator; got the class His",
        ),
    ],
)
def test_a_part_that_is_no_estimator_is_refused(part, found):
    message = rf"HybridRegressor\(boosting=...\) needs {found}"
    with pytest.raises(TypeError, match=message):
        HybridRegressor(boosting=part).fit(np.ones((4, 1)), np.arange(4.0))
    with pytest.raises(TypeError, match=rf"make_hybrid\(lstm=...\) needs {found}"):
        make_hybrid(part)


def test_hybrids_of_quantiles():
    y = np.random.default_rng(0).exponential(size=len(X))
    lstm = LSTMRegressor(**SMALL, loss="quantile", quantile=0.9, random_state=0)
    trees = HistGradientBoostingRegressor(loss="quantile", quantile=0.9, max_iter=3)
    model = make_hybrid(lstm, trees, refit=False, random_state=0)
    who = X["who"].to_numpy()
    aside = np.isin(who, np.unique(who)[:5])
    model.set_params(cv=[(np.flatnonzero(~aside), np.flatnonzero(aside))]).fit(X, y)
    assert model.quantile_ == 0.9
    for name, part in (("lstm", model.lstm_), ("boosting", model.boosting_)):
        expected = mean_pinball_loss(y[aside], part.predict(X[aside]), alpha=0.9)
        assert_allclose(model.losses_[name], expected)
    expected = mean_pinball_loss(y[aside], model.predict(X[aside]), alpha=0.9)
    assert_allclose(model.losses_["hybrid"], expected)
    for other, what in (
        (HistGradientBoostingRegressor(), "the mean"),
        (HistGradientBoostingRegressor(loss="quantile", quantile=0.5), "the quantile"),
    ):
        message = f"lstm predicts the quantile 0.9 and boosting predicts {what}"
        with pytest.raises(ValueError, match=message):
            make_hybrid(lstm, other).fit(X, y)


def test_the_way_to_several_quantiles():
    model = make_hybrid(LSTMRegressor(loss="quantile"))
    assert not hasattr(model, "predict_quantiles")
    with pytest.raises(AttributeError, match=r"Fit a hybrid for each, .*quantile=q"):
        model.predict_quantiles  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        model.other  # noqa: B018


def test_several_splits_without_a_refit_are_refused_before_any_fit():
    class Untouched(Constant):
        def fit(self, X, y, sample_weight=None):
            raise AssertionError("fitted")

    hybrid = HybridRegressor(Untouched(), Untouched(), cv=3, refit=False)
    with pytest.raises(ValueError, match="there are 3 of each"):
        hybrid.fit(rows_of(9), np.zeros(9))


def test_a_search_around_a_pipeline_reads_raw_histories_too():
    lstm = make_history_pipeline(LSTMClassifier(**SMALL))
    trees = make_pipeline(HistoryAggregator(), DecisionTreeClassifier())
    depths = {"decisiontreeclassifier__max_depth": [1, 2]}
    search = GridSearchCV(trees, depths, cv=2, error_score="raise")
    calibrated = CalibratedClassifierCV(lstm, cv=2)
    model = make_hybrid(calibrated, search, lstm_weight=0.5)
    assert (model.lstm, model.boosting) == (calibrated, search)
    of_tables = GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2]})
    assert make_hybrid(boosting=of_tables).boosting[-1] is of_tables


def test_errors_of_fit():
    rows = rows_of(4)
    with pytest.raises(ValueError, match="lstm_weight"):
        HybridRegressor(Constant(), Constant(), lstm_weight=2).fit(rows, range(4))
    with pytest.raises(ValueError, match="at least 2 classes"):
        HybridClassifier(Shares(), Shares()).fit(rows, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="zero"):
        HybridRegressor(Constant(), Constant()).fit(rows, range(4), np.zeros(4))
    model = HybridClassifier(Shares(), DecisionTreeClassifier())
    with pytest.raises(TypeError, match="sample_weight"):
        model.fit([[0.5, 0.5]] * 4, [0, 1, 0, 1], [1, 1, 2, 1])
    with pytest.raises(ValueError, match="NaN"):
        HybridRegressor(DummyRegressor(), Constant()).fit(rows, [1, np.nan, 2, 3])
    bare = HybridClassifier(DummyClassifier(), HistGradientBoostingClassifier())
    with pytest.raises((TypeError, ValueError), match=r"annot|convert") as caught:
        bare.fit(X, make_y(X))
    assert "boosting got the histories of X as they are" in caught.value.__notes__[0]


# Callbacks ----------------------------------------------------------------------------


class Note:
    """A callback of scikit-learn that records calls, also for nested estimators."""

    max_propagation_depth = None

    def __init__(self):
        self.seen = []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.seen.append((context.estimator_name, context.task_name, len(X)))

    def on_fit_task_end(self, estimator, context):
        pass


@pytest.mark.parametrize("kind", [HybridClassifier, HybridRegressor])
def test_callbacks_see_the_fits_of_parts(kind):
    pytest.importorskip("sklearn.callback")  # scikit-learn 1.9
    note, rows = Note(), rows_of(10, 4)
    part = (
        Constant()
        if kind is HybridRegressor
        else make_pipeline(
            FunctionTransformer(lambda X: X[["x"]]), LogisticRegression()
        )
    )
    lstm = LSTMRegressor if kind is HybridRegressor else LSTMClassifier
    model = kind(make_history_pipeline(lstm(**SMALL)), part, random_state=0)
    plain = clone(model).fit(rows, np.arange(40) % 2)
    with pytest.warns(UserWarning, match="does not support callbacks"):
        model.set_callbacks(note).fit(rows, np.arange(40) % 2)
    assert (note.seen[0], note.seen[-1]) == ("setup", "teardown")
    assert note.seen[1] == (kind.__name__, "fit", 40)
    # 32 rows of four fifths of the customers, then all of them.
    fits = [one for one in note.seen[1:-1] if one[:2] == ("HistoryPipeline", "fit")]
    assert [n for *_, n in fits] == [32, 40]
    epochs = [one for one in note.seen[1:-1] if one[1] == "epoch"]
    assert len(epochs) == 2 * SMALL["max_epochs"]
    assert_array_equal(model.predict(rows), plain.predict(rows))
    assert model.weights_ == plain.weights_
    assert not hasattr(model, "_callback_fit_ctx")
