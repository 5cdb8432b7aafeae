"""Coverage of prediction sets and intervals, and which rows calibrate them."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_series_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_seqcrm._columns import store_horizon
from sklearn_seqcrm.calibration import ConformalClassifier, ConformalRegressor
from sklearn_seqcrm.calibration._base import conformal_quantile
from sklearn_seqcrm.datasets import make_order_returns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.targets import churned, future_sum


class Known(RegressorMixin, ClassifierMixin, BaseEstimator):
    """Returns columns of X as they are, and remembers the rows it was fitted on."""

    def fit(self, X, y):
        self.rows_ = X
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0]

    def predict_proba(self, X):
        return np.asarray(X)

    def predict_quantiles(self, X, quantiles):
        self.asked_ = quantiles
        return np.asarray(X)[:, :2]


class LowAndHigh(RegressorMixin, BaseEstimator):
    """Predicts the quantiles -reach and reach in all rows."""

    def __init__(self, reach=1.0):
        self.reach = reach

    def fit(self, X, y):
        return self

    def score(self, X, y):
        return self.reach

    def predict(self, X):
        return np.zeros(len(X))

    def predict_quantiles(self, X, quantiles):
        return np.tile([-self.reach, self.reach], (len(X), 1))


# The threshold ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "level", "rank"),
    [(9, 0.9, 9), (19, 0.9, 18), (19, 0.55, 11), (99, 0.95, 95), (3, 0.5, 2)],
)
def test_threshold_of_one_row_each_is_the_score_of_a_rank(n, level, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert conformal_quantile(scores, np.arange(n), level) == rank


@pytest.mark.parametrize(("n", "level"), [(8, 0.9), (18, 0.95), (1, 0.51)])
def test_threshold_of_too_few_customers_is_infinite(n, level):
    assert conformal_quantile(np.zeros(n), np.arange(n), level) == np.inf


def test_threshold_counts_each_customer_once():
    rng = np.random.default_rng(0)
    for _ in range(20):
        customers = rng.integers(0, 12, 60)
        scores = rng.normal(size=60).round(1)
        ids = np.unique(customers)

        def reached(s, scores=scores, customers=customers, ids=ids):
            return math.fsum((scores[customers == c] <= s).mean() for c in ids)

        enough = [s for s in scores if reached(s) >= 0.8 * (len(ids) + 1) - 1e-9]
        assert conformal_quantile(scores, customers, 0.8) == min(enough)


def test_coverage_of_new_customers_with_dependent_rows():
    """Scores share a part within a customer, and frequent customers have larger ones.

    Each customer counts once, so that the mean coverage of a new one is at least the
    level. A quantile of the rows would be that of the frequent customers.
    """
    rng = np.random.default_rng(0)
    repeats, n, level = 2000, 20, 0.8
    covered = []
    for _ in range(repeats):
        counts = rng.integers(1, 10, n + 1)
        customers = np.repeat(np.arange(n + 1), counts)
        scores = counts[customers] + rng.normal(0, 2, n + 1)[customers]
        scores = scores + rng.normal(0, 0.3, len(customers))
        new = customers == n
        threshold = conformal_quantile(scores[~new], customers[~new], level)
        covered.append((scores[new] <= threshold).mean())
    error = 4 * np.std(covered) / math.sqrt(repeats)
    # The largest rows of a customer may be one share of a customer above.
    assert level - error <= np.mean(covered) <= level + 2 / (n + 1) + error


# Coverage, from the events on ---------------------------------------------------------


@pytest.fixture(scope="module")
def shop():
    orders = make_order_returns(600, random_state=0).orders
    log = EventLog(orders, "customer_id", "timestamp")
    X = log.snapshots(["2024-02-01", "2024-03-01"])
    return X, future_sum(X, "price", "60D"), churned(X, "60D")


def halves(shop):
    """Rows to fit on, and rows of other customers to test."""
    X, spend, churn = shop
    tested = X["customer_id"].str.slice(1).astype(int) % 2 == 1
    return X, spend, churn, ~tested, tested


def binomial_error(level, n_calibration, n_test):
    """Four standard deviations of the coverage, of both samples of customers."""
    return 4 * math.sqrt(level * (1 - level) * (1 / n_calibration + 1 / n_test))


def by_customer(covered, X):
    return pd.Series(covered).groupby(X["customer_id"].to_numpy()).mean()


@pytest.mark.parametrize("level", [0.6, 0.9])
def test_coverage_of_intervals(shop, level):
    X, y, _, train, test = halves(shop)
    base = make_pipeline(RFMFeatures("price", remainder="drop"), Ridge())
    model = ConformalRegressor(
        base, confidence_level=level, calibration_fraction=0.5, random_state=0
    ).fit(X[train], y[train])
    interval = model.predict_interval(X[test])
    covered = (interval[:, 0] <= y[test]) & (y[test] <= interval[:, 1])
    each = by_customer(covered.to_numpy(), X[test])
    error = binomial_error(level, model.n_calibration_customers_, len(each))
    assert abs(each.mean() - level) <= error
    assert_allclose(interval.mean(axis=1), model.predict(X[test]))
    assert_allclose(np.ptp(interval, axis=1), 2 * model.threshold_)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_coverage_of_sets(shop, score):
    X, _, churn, train, test = halves(shop)
    y = churn.map({0: "stays", 1: "leaves"})
    base = make_pipeline(
        RFMFeatures("price", remainder="drop"), LogisticRegression(max_iter=1000)
    )
    model = ConformalClassifier(
        base, conformity_score=score, calibration_fraction=0.5, random_state=0
    ).fit(X[train], y[train])
    sets = model.predict_set(X[test])
    place = np.searchsorted(model.classes_, y[test])
    covered = sets[np.arange(len(sets)), place]
    each = by_customer(covered, X[test])
    error = binomial_error(0.9, model.n_calibration_customers_, len(each))
    assert abs(each.mean() - 0.9) <= error
    assert 1 < sets.sum(axis=1).mean() < 2
    assert list(model.classes_) == ["leaves", "stays"]
    assert_array_equal(model.predict_set(X[test].iloc[[7]])[0], sets[7])


def test_coverage_of_quantile_regression():
    """Quantiles that are too close are moved apart, and wide rows stay wide."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(1, 5, 4000)
    y = rng.normal(0, spread)
    X = np.column_stack([-spread, spread])  # of a normal target 68%
    frozen = FrozenEstimator(Known().fit(X, y))
    model = ConformalRegressor(frozen, conformity_score="cqr").fit(X[:2000], y[:2000])
    interval = model.predict_interval(X[2000:])
    covered = (interval[:, 0] <= y[2000:]) & (y[2000:] <= interval[:, 1])
    assert abs(covered.mean() - 0.9) <= binomial_error(0.9, 2000, 2000)
    assert_allclose(interval, X[2000:] + model.threshold_ * np.array([-1, 1]))
    assert frozen.estimator.asked_ == [0.05, 0.95]


def test_wide_quantiles_are_narrowed():
    y = np.linspace(-1, 1, 41)
    X = np.column_stack([np.full(41, -9.0), np.full(41, 9.0)])
    frozen = FrozenEstimator(Known().fit(X, y))
    model = ConformalRegressor(frozen, conformity_score="cqr").fit(X, y)
    assert_allclose(model.threshold_, -8.05)  # the score of y = .95 has rank 38 of 41
    assert_allclose(model.predict_interval(X[:1]), [[-0.95, 0.95]])
    # Where even they are closer than that, the interval would be empty.
    assert_allclose(model.predict_interval([[2.0, 3.0]]), [[2.5, 2.5]])


def fit_quantiles(X, y):
    frozen = FrozenEstimator(Known().fit(X, y))
    return ConformalRegressor(frozen, conformity_score="cqr").fit(X, y)


def test_intervals_from_0_are_narrowed_at_their_upper_end():
    """60% of the targets are 0, and none is negative."""
    rng = np.random.default_rng(0)
    y = rng.gamma(2, 10, 4000) * (rng.uniform(size=4000) < 0.4)
    X = np.tile([0.0, 90.0], (4000, 1))
    model = fit_quantiles(X[:2000], y[:2000])
    assert_allclose(model.threshold_, np.sort(y[:2000])[1800] - 90)  # rank 1801 of 2000
    found = model.predict_interval(X[2000:])
    assert_array_equal(found, np.tile([0, 90 + model.threshold_], (2000, 1)))
    covered = (found[:, 0] <= y[2000:]) & (y[2000:] <= found[:, 1])
    assert abs(covered.mean() - 0.9) <= binomial_error(0.9, 2000, 2000)
    # Other rows as before, to their midpoint, and those from 0 on to 0.
    others = model.predict_interval([[1.0, 3.0], [0.0, 3.0], [1.0, 200.0]])
    step = model.threshold_
    assert_allclose(others, [[2, 2], [0, 0], [1 - step, 200 + step]])
    # If a target is negative, rows of 0 are at the lower end of the interval.
    model = fit_quantiles(X[:2000], np.append(y[:1999], -0.1))
    assert model.threshold_ == 0
    with pytest.warns(UserWarning, match="unbounded"):
        model = fit_quantiles(X[:3], y[:3])
    assert_array_equal(model.predict_interval(X[:1]), [[-np.inf, np.inf]])


def test_rows_from_0_and_others_are_calibrated_together():
    X = np.array([[0.0, 4.0], [2.0, 4.0], [0.0, 4.0], [0.0, 4.0]])
    y = np.array([0.0, 0.0, 1.0, 6.0])  # scores -4, 2, -3 and 2
    frozen = FrozenEstimator(Known().fit(X, y))
    model = ConformalRegressor(frozen, conformity_score="cqr", confidence_level=0.4)
    assert model.fit(X, y).threshold_ == -3


def test_predictions_of_0_are_no_ends_of_absolute_residuals():
    X, y = np.zeros((20, 1)), np.linspace(0, 1, 20)
    frozen = FrozenEstimator(Known().fit(X, y))
    model = ConformalRegressor(frozen).fit(X, y)
    assert_array_equal(model.predict_interval(X[:1]), [[-y[18], y[18]]])


# Scores of classes --------------------------------------------------------------------


def sets_of(score, shares, calibration, y, level):
    frozen = FrozenEstimator(Known().fit(calibration, [1, 2, 5]))
    model = ConformalClassifier(frozen, conformity_score=score, confidence_level=level)
    model.fit(np.asarray(calibration), y)
    return model.threshold_, model.predict_set(np.asarray(shares)).astype(int).tolist()


CALIBRATION = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]


def test_lac_keeps_classes_of_enough_probability():
    # Scores .4, .7 and .3, of which the level .5 takes that of rank 2.
    shares = [[0.61, 0.3, 0.09], [0.35, 0.33, 0.32]]
    found = sets_of("lac", shares, CALIBRATION, [1, 5, 5], 0.5)
    assert found == (pytest.approx(0.4), [[1, 0, 0], [0, 0, 0]])


def test_aps_keeps_classes_in_descending_order():
    # More probable than the class: nothing, .5 and .9; rank 2 is .5.
    shares = [[0.55, 0.3, 0.15], [0.3, 0.15, 0.55], [0.4, 0.05, 0.55], [0.2, 0.4, 0.4]]
    found = sets_of("aps", shares, CALIBRATION, [1, 5, 1], 0.5)
    expected = [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 1]]
    assert found == (pytest.approx(0.5), expected)


def test_classes_without_training_rows_are_never_covered():
    shares = np.tile([0.5, 0.3, 0.2], (20, 1))
    y = np.repeat([1, 2, 7], [15, 3, 2])
    frozen = FrozenEstimator(Known().fit(shares, [1, 2, 5]))
    model = ConformalClassifier(frozen, confidence_level=0.8).fit(shares, y)
    assert model.threshold_ == pytest.approx(0.7)
    with pytest.warns(UserWarning, match=r"5 of 20 .* label that is not in the train"):
        model.fit(shares, np.repeat([1, 2, 7], [12, 3, 5]))
    assert model.predict_set(shares).all()


# Which rows calibrate -----------------------------------------------------------------


def test_customers_of_both_parts_are_different(shop):
    X, y, _ = shop
    base = make_pipeline(RFMFeatures("price", remainder="passthrough"), Known())
    model = ConformalRegressor(base, random_state=3).fit(X[["history"]], y)
    n = X["customer_id"].nunique()
    assert model.n_calibration_customers_ == math.ceil(n / 5)
    fitted = len(model.estimator_[-1].rows_)
    assert fitted + model.n_calibration_rows_ == len(X)
    again = clone(model).fit(X[["history"]], y)
    assert again.threshold_ == model.threshold_
    # Every customer has two rows, but for those who are new in the second month.
    rows = X["customer_id"].map(X["customer_id"].value_counts())
    assert model.n_calibration_rows_ > model.n_calibration_customers_ * rows.min()


def test_calibration_forward_in_time(shop):
    X, y, _ = shop
    base = make_pipeline(RFMFeatures("price", remainder="drop"), Ridge())
    cv = [(np.flatnonzero(X["cutoff"] < "2024-03-01"), X["cutoff"] == "2024-03-01")]
    model = ConformalRegressor(base, cv=cv).fit(X, y)
    assert model.n_calibration_rows_ == cv[0][1].sum()
    early = X["cutoff"] < "2024-03-01"
    alone = clone(base).fit(X[early], y[early])
    assert_allclose(model.predict(X), alone.predict(X))
    split = CutoffSplit(1, horizon="20D")
    by_split = ConformalRegressor(base, cv=split).fit(X, y.to_numpy())
    assert by_split.threshold_ == model.threshold_


def test_customers_in_both_parts_warn(shop):
    """Their rows are predicted too well, so that thresholds are too low."""
    X, y, _ = shop
    base = make_pipeline(RFMFeatures("price", remainder="drop"), Ridge())
    with pytest.warns(UserWarning, match=r"has \d+ customers in both parts, and not"):
        ConformalRegressor(base, cv=ShuffleSplit(1, random_state=0)).fit(X, y)
    # Training rows at the latest cutoff, too, of customers with an earlier row.
    late = np.flatnonzero(X["cutoff"] == X["cutoff"].max())[::2]
    same_time = [(np.setdiff1d(np.arange(len(X)), late), late)]
    with pytest.warns(UserWarning, match="not all calibration rows are later"):
        ConformalRegressor(base, cv=same_time).fit(X, y)
    by_customer = GroupShuffleSplit(1, random_state=0)
    ConformalRegressor(base, cv=by_customer).fit(X, y)  # no warning


@pytest.mark.parametrize("conformal", [ConformalClassifier, ConformalRegressor])
def test_splits_and_the_estimator_get_the_attrs_of_the_target(conformal):
    """Networks need the horizon in them, as a CutoffSplit does."""
    seen = []

    class SeesTarget(Known):
        def fit(self, X, y):
            seen.append(y)
            return super().fit(X, y)

        def predict(self, X):
            return np.zeros(len(X))

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    log = EventLog(pd.DataFrame({"who": range(20), "day": 0}), "who", "day")
    X = log.snapshots([1, 2, 3, 4])
    y = pd.Series(np.arange(len(X)) % 2 * 1.0, index=np.arange(len(X), 0, -1))
    store_horizon(y, {"horizon": 2, "gap": 0})
    model = conformal(SeesTarget(), confidence_level=0.5, random_state=0)
    forward = clone(model).set_params(cv=CutoffSplit(1)).fit(X, y)
    assert_series_equal(seen[0], y[(X["cutoff"] <= 2).to_numpy()])
    assert seen[0].attrs == y.attrs
    assert forward.n_calibration_rows_ == 20
    model.fit(X, y)
    assert seen[1].attrs == y.attrs
    model.fit(X, y.to_numpy())
    assert isinstance(seen[2], np.ndarray)


def test_parameters_set_after_a_fit_apply_to_the_next_one():
    y = np.arange(60) % 3
    X = np.column_stack([y - 1.0, y + 1.0])
    frozen = FrozenEstimator(Known().fit(X, y))
    model = ConformalRegressor(frozen, conformity_score="cqr").fit(X, y)
    before = model.predict_interval(X)
    model.set_params(conformity_score="absolute", confidence_level=0.5)
    assert_array_equal(model.predict_interval(X), before)
    assert frozen.estimator.asked_ == [0.05, 0.95]
    shares = np.tile([0.5, 0.3, 0.2], (60, 1))
    frozen = FrozenEstimator(Known().fit(shares, y))
    sets = ConformalClassifier(frozen, confidence_level=0.6).fit(shares, y)
    assert_array_equal(sets.predict_set(shares[:1]), [[True, True, False]])
    sets.set_params(conformity_score="aps")
    assert_array_equal(sets.predict_set(shares[:1]), [[True, True, False]])


def test_frozen_estimator_is_calibrated_on_all_rows(shop):
    X, y, _, train, rest = halves(shop)
    base = make_pipeline(RFMFeatures("price", remainder="drop"), Ridge())
    base.fit(X[train], y[train])
    before = base.predict(X)
    model = ConformalRegressor(FrozenEstimator(base)).fit(X[rest], y[rest])
    assert model.n_calibration_rows_ == rest.sum()
    assert_array_equal(model.predict(X), before)
    assert list(model.feature_names_in_) == list(base.feature_names_in_)


def test_search_over_parameters_of_the_estimator(shop):
    X, _, churn = shop
    base = make_pipeline(RFMFeatures("price", remainder="drop"), LogisticRegression())
    model = ConformalClassifier(base, random_state=0)
    grid = {"estimator__logisticregression__C": [0.1, 10.0]}
    search = GridSearchCV(model, grid, cv=2, scoring="roc_auc").fit(X, churn)
    assert 0.5 < search.best_score_ < 1
    assert search.best_estimator_.predict_set(X).shape == (len(X), 2)


@pytest.mark.parametrize("freeze", [False, True])
def test_quantiles_of_the_best_of_a_search(freeze):
    """A search has no `predict_quantiles`; its best estimator has."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = X.mean(axis=1)
    search = GridSearchCV(LowAndHigh(), {"reach": [1.0, 2.0]}, cv=2)
    inner = FrozenEstimator(search.fit(X, y)) if freeze else search
    model = ConformalRegressor(inner, conformity_score="cqr", random_state=0)
    interval = model.fit(X, y).predict_interval(X)
    half = 2.0 + model.threshold_  # 2.0 has the higher score
    assert_allclose(interval, np.column_stack([-half, half]) * np.ones((60, 1)))


@pytest.mark.parametrize(
    "conformal", [ConformalClassifier, ConformalRegressor], ids=["sets", "intervals"]
)
def test_the_seed_of_the_estimator_is_drawn(conformal):
    """With an int, results are the same in every fit, also if the estimator draws.

    The default estimator draws the columns of each split.
    """
    X = pd.DataFrame({"x": np.arange(60.0)})
    tree = (
        DecisionTreeClassifier
        if conformal is ConformalClassifier
        else DecisionTreeRegressor
    )
    inner = tree(splitter="random", max_depth=2)
    one, two = (
        conformal(inner, random_state=0).fit(X, np.arange(60) % 3) for _ in range(2)
    )
    assert one.estimator_.random_state == two.estimator_.random_state
    assert one.estimator_.random_state is not None
    assert one.threshold_ == two.threshold_


# Errors -------------------------------------------------------------------------------


def test_too_few_calibration_customers_are_unbounded():
    X, y = np.arange(20.0)[:, None], np.arange(20.0)
    model = ConformalRegressor(Ridge(), random_state=0)
    with pytest.warns(UserWarning, match=r"level=0\.9 needs 9 .* there are 4; raise"):
        model.fit(X, y)
    assert_array_equal(model.predict_interval(X[:1]), [[-np.inf, np.inf]])
    model.set_params(calibration_fraction=0.45).fit(X, y)
    assert np.isfinite(model.threshold_)


@pytest.mark.parametrize("conformal", [ConformalClassifier, ConformalRegressor])
def test_a_frozen_estimator_must_be_fitted(conformal):
    """For classifiers it was an AttributeError about `classes_`."""
    tree = DecisionTreeClassifier if conformal is ConformalClassifier else Ridge
    with pytest.raises(NotFittedError, match=f"{tree.__name__} instance is not fitted"):
        conformal(FrozenEstimator(tree())).fit(np.arange(8.0)[:, None], [0, 1] * 4)


def test_classifiers_of_several_labels_are_refused():
    X, labels = np.arange(8.0)[:, None], np.tile([[0, 1], [1, 0]], (4, 1))
    frozen = FrozenEstimator(DecisionTreeClassifier().fit(X, labels))
    with pytest.raises(ValueError, match=r"predicts 2 labels for each row"):
        ConformalClassifier(frozen).fit(X, labels[:, 0])


def test_classifiers_of_one_class_are_refused(shop):
    # Boosted trees give two columns of probabilities for one class.
    X, _, churn = shop
    trees = HistGradientBoostingClassifier(max_iter=1, categorical_features=None)
    model = ConformalClassifier(make_pipeline(RFMFeatures("price"), trees))
    with pytest.raises(ValueError, match=r"at least 2 classes .* one class, .*0"):
        model.fit(X[["history"]], 0 * churn)


def test_errors(shop):
    X, y, churn = shop
    base = make_pipeline(RFMFeatures("price", remainder="drop"), Ridge())
    one = X[X["customer_id"] == X["customer_id"].iloc[0]]
    with pytest.raises(ValueError, match=r"all rows belong to 1 customer"):
        ConformalRegressor(base).fit(one, y[one.index])
    of_shop = X.assign(shop=X["history"].iloc[np.zeros(len(X), int)].array)
    with pytest.raises(ValueError, match=r"1 customer .* in any of their 2 history"):
        ConformalRegressor(base).fit(of_shop, y)
    with pytest.raises(ValueError, match=r"(?s)cv must make one split.* makes 3"):
        ConformalRegressor(base, cv=GroupShuffleSplit(3)).fit(X, y)
    with pytest.raises(ValueError, match="makes 5"):  # and no warning of groups
        ConformalRegressor(base, cv=5).fit(X, y)
    first, none = np.arange(20), np.arange(0)
    for parts in ((first, first[15:]), (first, none), (none, first)):
        message = r"(?s)none in common; .* calibration rows, with (5|0) in common"
        with pytest.raises(ValueError, match=message):
            ConformalRegressor(base, cv=[parts]).fit(X, y)
    frozen = FrozenEstimator(clone(base).fit(X, y))
    with pytest.raises(ValueError, match=r"leave cv=None"):
        ConformalRegressor(frozen, cv=GroupShuffleSplit(1)).fit(X, y)
    with pytest.raises(
        TypeError, match=r"(?s)needs .* predict_quantiles.*\[0\.1, 0\.5, 0"
    ):
        ConformalRegressor(base, conformity_score="cqr", confidence_level=0.8).fit(X, y)
    with pytest.raises(TypeError, match=r"needs a classifier with predict_proba"):
        ConformalClassifier(RidgeClassifier()).fit(X, churn)
    with pytest.raises(ValueError, match=r"'conformity_score' parameter"):
        ConformalRegressor(base, conformity_score="lac").fit(X, y)


def test_default_estimators(shop):
    X, y, churn = shop
    few = slice(0, 300)
    model = ConformalClassifier(random_state=0).fit(X[few], churn[few])
    assert model.predict_set(X[few]).shape == (300, 2)
    numbers = ConformalRegressor(random_state=0).fit(X[few], y[few])
    assert numbers.threshold_ > 0
    trees = [type(one.estimator_[-1]).__name__ for one in (model, numbers)]
    assert trees == ["SmallTreesClassifier", "SmallTreesRegressor"]  # as in hybrids
