"""Rates by exposure, alone and in hybrids."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import GammaRegressor, LinearRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_seqcrm._columns import store_horizon
from sklearn_seqcrm.ensemble import RateRegressor, make_hybrid
from sklearn_seqcrm.neural_network import LSTMRegressor
from sklearn_seqcrm.testing._small_data import make_table
from tests.small_networks import SMALL


class Keeps(RegressorMixin, BaseEstimator):
    """Predicts 2 for each row, and keeps the arguments of `fit`."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        return self

    def predict(self, X):
        return np.full(len(X), 2.0)


def table():
    return pd.DataFrame({"x": [0.0, 1, 2, 3], "days": [1.0, 2, 4, 1]})


def test_rates_and_weights():
    X = table().set_index(np.array([7, 3, 9, 1]))
    y = pd.Series([2.0, 2, 2, 0])  # another index: by position
    store_horizon(y, {"horizon": 2, "gap": 0})
    model = RateRegressor(Keeps(), "days").fit(X, y, sample_weight=[1, 1, 1, 3])
    inner = model.regressor_
    assert list(inner.X_) == ["x"]
    mean = 10 / 6  # exposure, with the weights
    assert_allclose(inner.y_, mean * np.array([2, 1, 0.5, 0]))
    assert inner.y_.attrs == y.attrs
    assert_allclose(inner.weight_, np.array([1, 2, 4, 3]) / mean)
    assert_allclose(model.predict(X), np.array([2, 4, 8, 2]) / mean)
    assert_allclose(model.predict(X.assign(days=90)), 180 / mean)


def test_after_transformers_that_return_polars():
    model = RateRegressor(Keeps(), "days").fit(pl.from_pandas(table()), [2.0, 2, 2, 0])
    assert_allclose(model.regressor_.y_, [4, 2, 1, 0])  # the mean exposure is 2
    assert_allclose(model.predict(pl.from_pandas(table())), [1, 2, 4, 1])


@pytest.mark.parametrize("days", [1000.0, 0.0, np.nan])
def test_rows_of_weight_zero_have_no_influence(days):
    X, y = table().assign(days=[days, 2, 4, 1]), pd.Series([9.0, 2, 2, 0])
    store_horizon(y, {"horizon": 2, "gap": 0})
    weight = np.array([0, 1, 1, 2])
    model = RateRegressor(Keeps(), "days")
    one = clone(model).fit(X, y, weight).regressor_
    other = clone(model).fit(X[1:], y[1:], weight[1:]).regressor_
    assert_allclose(one.weight_, other.weight_)
    assert_allclose(one.y_, other.y_)
    assert one.y_.attrs == y.attrs
    assert_allclose(one.X_, other.X_)
    # A weight of 2 is that of two equal rows.
    twice = clone(model).fit(X.iloc[[1, 2, 3, 3]], y[[1, 2, 3, 3]]).regressor_
    assert_allclose(twice.weight_[:2], one.weight_[:2])
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, y, np.zeros(4))


def test_units_of_exposures_stay_as_in_fit():
    X, y = table(), [1.0, 2, 3, 4]
    durations = X.assign(days=pd.to_timedelta(X["days"], "D"))
    numbers = RateRegressor(Keeps(), "days").fit(X, y)
    with pytest.raises(TypeError, match="'days' are durations, and were plain numbers"):
        numbers.predict(durations)
    days = RateRegressor(Keeps(), "days").fit(durations, y)
    assert_allclose(days.predict(X), days.predict(durations))  # numbers are days


@pytest.mark.parametrize("seconds", [1e-9, 86_400.0])
def test_boosted_trees_do_not_depend_on_the_unit(seconds):
    """They split no leaf of second derivatives below a constant."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=600), "days": rng.uniform(5, 50, 600)})
    y = rng.poisson(X["days"] * np.exp(X["x"] - 3))
    model = RateRegressor(exposure="days")
    expected = clone(model).fit(X, y).predict(X)
    assert np.corrcoef(expected, y)[0, 1] > 0.7
    other = X.assign(days=X["days"] * seconds)
    assert_allclose(clone(model).fit(other, y).predict(other), expected, rtol=1e-9)


def test_no_target_and_no_other_column():
    with pytest.raises(ValueError, match="requires y"):
        RateRegressor(Keeps(), "days").fit(table(), None)
    alone = table()[["days"]]
    with pytest.raises(ValueError, match=r"no column besides .*X.assign\(one=1\)"):
        RateRegressor(Keeps(), "days").fit(alone, [1, 2, 3, 4])
    model = RateRegressor(PoissonRegressor(alpha=0), "days")
    y = np.array([1.0, 2, 3, 4])
    found = model.fit(alone.assign(one=1), y).predict(alone.assign(one=1))
    assert_allclose(found, alone["days"] * 10 / 8, rtol=1e-4)


def test_it_is_a_poisson_regression_with_an_offset():
    """The score equations hold: residuals are orthogonal to the features."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=400), "days": rng.uniform(1, 50, 400)})
    y = rng.poisson(X["days"] * np.exp(0.5 * X["x"] - 2))
    model = RateRegressor(PoissonRegressor(alpha=0, tol=1e-10), "days").fit(X, y)
    residual = y - model.predict(X)
    assert_allclose([residual.sum(), residual @ X["x"]], 0, atol=1e-2)
    assert model.regressor_.coef_[0] == pytest.approx(0.5, abs=0.05)
    # Rates in another unit are the same model.
    hours = X.assign(days=pd.to_timedelta(X["days"], "D"))
    again = clone(model).fit(hours, y)
    assert_allclose(again.predict(hours), model.predict(X), rtol=1e-6)


def test_gamma_losses_do_not_depend_on_the_exposure():
    X, y = table(), [1.0, 2, 3, 4]
    gamma = RateRegressor(HistGradientBoostingRegressor(loss="gamma"), "days")
    mean_rate = (1 + 1 + 0.75 + 4) / 4
    assert_allclose(gamma.fit(X, y).predict(X) / X["days"], mean_rate, rtol=1e-6)
    linear = RateRegressor(make_pipeline(GammaRegressor(alpha=1e9)), "days")
    assert_allclose(linear.fit(X, y).predict(X) / X["days"], mean_rate, rtol=1e-3)
    # Squared errors are weighted: the mean rate is that of all days together.
    trees = RateRegressor(HistGradientBoostingRegressor(), "days")
    assert_allclose(trees.fit(X, y).predict(X) / X["days"], 10 / 8, rtol=1e-6)


def test_without_an_exposure_it_is_the_regressor():
    X, y = table(), [1.0, 2, 5, 4]
    plain = LinearRegression().fit(X, y).predict(X)
    assert_allclose(RateRegressor(LinearRegression()).fit(X, y).predict(X), plain)


@pytest.mark.parametrize(
    ("days", "kind", "message"),
    [
        ([1.0, 0, np.nan, 2], ValueError, "2 of 4 in 'days' are not, such as 0.0"),
        ([1.0, np.inf, 1, 2], ValueError, "and finite; 1 of 4"),
        (["a", "b", "c", "d"], TypeError, "The exposure 'days'"),
        (None, ValueError, "no column 'days' to be the exposure"),
    ],
)
def test_bad_exposures_are_refused(days, kind, message):
    X = table().drop(columns="days") if days is None else table().assign(days=days)
    with pytest.raises(kind, match=message):
        RateRegressor(Keeps(), "days").fit(X, [1, 2, 3, 4])
    fitted = RateRegressor(Keeps(), "days").fit(table(), [1, 2, 3, 4])
    with pytest.raises(kind, match=message):
        fitted.predict(X)


def test_arrays_have_no_exposure():
    with pytest.raises(TypeError, match="must be a DataFrame; got ndarray"):
        RateRegressor(Keeps(), "days").fit(np.ones((4, 2)), [1, 2, 3, 4])


def test_a_regressor_without_weights_is_refused():
    class NoWeights(Keeps):
        def fit(self, X, y):
            return self

    with pytest.raises(TypeError, match=r"takes none: NoW.* exposure of a RateR"):
        RateRegressor(NoWeights(), "days").fit(table(), [1, 2, 3, 4])


def test_weights_reach_the_last_step_also_where_metadata_are_routed():
    X, y = table(), [1.0, 2, 3, 4]
    plain = RateRegressor(make_pipeline(Keeps()), "days").fit(X, y)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = make_pipeline(Keeps().set_fit_request(sample_weight=True))
        routed = RateRegressor(inner, "days").fit(X, y)
        without_request = RateRegressor(make_pipeline(Keeps()), "days").fit(X, y)
    assert_allclose(plain.regressor_[-1].weight_, X["days"] / 2)
    assert_allclose(routed.regressor_[-1].weight_, X["days"] / 2)
    assert_allclose(without_request.regressor_[-1].weight_, X["days"] / 2)


# In hybrids ---------------------------------------------------------------------------


def counted(n_customers=40):
    """Return rows with exposures, and counts with a rate of .1 a day."""
    X = make_table(n_customers=n_customers)
    days = np.random.default_rng(0).integers(1, 60, len(X))
    y = np.random.default_rng(1).poisson(0.1 * days)
    return X.assign(days=days), y.astype(float)


def test_trees_of_a_hybrid_get_the_exposure_of_the_network():
    X, y = counted()
    lstm = LSTMRegressor(**SMALL, loss="poisson", exposure="days")
    trees = HistGradientBoostingRegressor(loss="poisson", max_iter=5, random_state=0)
    model = make_hybrid(lstm, trees, random_state=0).fit(X, y)
    assert model.boosting_.exposure == "days"
    assert "days" not in model.boosting_.regressor_.feature_names_in_
    by_hand = clone(model.boosting).fit(
        X.drop(columns="days"),
        y / X["days"],
        estimator__sample_weight=X["days"] / X["days"].mean(),
    )
    expected = by_hand.predict(X.drop(columns="days")) * X["days"]
    # Gradients of trees are float32.
    assert_allclose(model.boosting_.predict(X), expected, rtol=1e-6)
    weight = model.weights_["lstm"]
    blend = weight * model.lstm_.predict(X) + (1 - weight) * expected
    assert_allclose(model.predict(X), blend, rtol=1e-6)
    # Parameters keep their names, and the hybrid is unchanged.
    assert isinstance(model.boosting, Pipeline)
    assert model.get_params()["boosting__estimator__max_iter"] == 5
    later = model.predict(X.assign(days=90)).mean()
    assert 5 < later < 16  # .1 a day


def test_weights_of_a_hybrid_with_an_exposure():
    X, y = counted(20)
    weight = np.arange(len(X)) % 3
    lstm = LSTMRegressor(**SMALL, loss="poisson", exposure="days")
    model = make_hybrid(lstm, lstm_weight=0.5, random_state=0)
    model.set_params(boosting__estimator__max_iter=5)
    used = np.flatnonzero(weight)
    fitted = clone(model).fit(X, y, sample_weight=weight).boosting_.predict(X)
    other = clone(model).fit(X.iloc[used], y[used], sample_weight=weight[used])
    assert_allclose(fitted, other.boosting_.predict(X), rtol=1e-9)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_hybrid(task="regression", lstm_weight=0.5, random_state=0)
        routed.set_params(
            **{f"lstm__estimator__{name}": value for name, value in SMALL.items()},
            boosting__estimator__max_iter=5,
            boosting__estimator__loss="poisson",
        )
        lstm = routed.lstm[-1].set_params(loss="poisson", exposure="days")
        routed.set_params(lstm__statics=make_hybrid(lstm).lstm[1])
        routed.set_fit_request(sample_weight=True).fit(X, y, sample_weight=weight)
        assert_allclose(routed.boosting_.predict(X), fitted, rtol=1e-9)


def test_trees_with_an_exposure_of_their_own_stay_as_they_are():
    X, y = counted(20)
    lstm = LSTMRegressor(**SMALL, loss="poisson", exposure="days")
    own = RateRegressor(make_hybrid(task="regression").boosting, "days")
    model = make_hybrid(lstm, Pipeline([("rates", own)]), lstm_weight=0.5)
    assert isinstance(model.fit(X, y).boosting_, Pipeline)
    # The exposure of a network in a search is found, too.
    grid = {"estimator__hidden_size": [3]}
    search = GridSearchCV(make_hybrid(lstm).lstm, grid, cv=2)
    model = make_hybrid(search, lstm_weight=0.5, random_state=0).fit(X, y)
    assert model.boosting_.exposure == "days"
