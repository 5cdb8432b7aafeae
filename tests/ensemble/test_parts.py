"""The default boosted trees of hybrids of a network with a given loss."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm._recurrent.objectives import LOSSES, LOSSES_OF_MEANS
from sklearn_seqcrm.ensemble import (
    DiscreteTimeSurvival,
    HybridRegressor,
    RateRegressor,
    make_hybrid,
)
from sklearn_seqcrm.ensemble._losses import common_quantile, predicted_quantile
from sklearn_seqcrm.ensemble._parts import with_loss_of
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table
from tests.small_networks import SMALL

X = make_table(40)[["history"]]
# Most customers spend nothing, and one in twenty spends a thousand times as much.
SPEND = np.random.default_rng(0).choice([0.0, 1.0, 1000.0], len(X), p=[0.7, 0.25, 0.05])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"loss": "squared_error"}, ("squared_error", None)),
        ({"loss": "poisson"}, ("poisson", None)),
        ({"loss": "gamma"}, ("gamma", None)),
        ({"loss": "zero_inflated_lognormal"}, ("poisson", None)),
        ({"loss": "absolute_error"}, ("absolute_error", None)),
        ({"loss": "quantile", "quantile": 0.9}, ("quantile", 0.9)),
        ({"loss": "quantile", "quantile": [0.1, 0.4, 0.95]}, ("quantile", 0.4)),
    ],
)
def test_default_trees_have_the_loss_of_the_network(loss, expected):
    network = LSTMRegressor(**SMALL, **loss)
    pipeline = make_history_pipeline(network)
    search = GridSearchCV(pipeline, {"estimator__dropout": [0.1]})
    for lstm in (network, pipeline, search):
        trees = with_loss_of(lstm, make_hybrid(lstm).boosting)[-1]
        assert (trees.loss, trees.quantile) == expected
    # Whose loss is that of other numbers, of which only quantiles are those of y.
    transformed = TransformedTargetRegressor(
        pipeline, func=np.log1p, inverse_func=np.expm1
    )
    trees = with_loss_of(transformed, make_hybrid(transformed).boosting)[-1]
    is_quantile = expected[0] in ("quantile", "absolute_error")
    kept = expected if is_quantile else ("squared_error", None)
    assert (trees.loss, trees.quantile) == kept
    HybridRegressor(transformed, lstm_weight=0.5).fit(X, SPEND + 1)
    fitted = HybridRegressor(pipeline, lstm_weight=0.5).fit(X, SPEND + 1)
    trees = fitted.boosting_[-1]
    assert (trees.loss, trees.quantile) == expected


@pytest.mark.parametrize("loss", LOSSES)
def test_parts_predict_the_same_quantity(loss):
    network = LSTMRegressor(loss=loss)
    trees = with_loss_of(network, make_hybrid(network).boosting)
    assert trees[-1].loss == LOSSES[loss].boosting_loss
    parts = {"lstm": network, "boosting": trees}
    assert common_quantile(parts) == (None if loss in LOSSES_OF_MEANS else 0.5)


def test_default_trees_have_a_loss_that_was_set_later():
    """As by a search over the losses of the network."""
    for hybrid in (
        make_hybrid(LSTMRegressor(**SMALL), lstm_weight=0.5),
        HybridRegressor(make_history_pipeline(LSTMRegressor(**SMALL)), lstm_weight=0.5),
    ):
        hybrid.set_params(lstm__estimator__loss="quantile")
        hybrid.set_params(lstm__estimator__quantile=0.9).fit(X, SPEND + 1)
        trees = hybrid.boosting_[-1]
        assert (trees.loss, trees.quantile, hybrid.quantile_) == ("quantile", 0.9, 0.9)
    hybrid = make_hybrid(LSTMRegressor(**SMALL), random_state=0)
    losses = ["poisson", "squared_error", "gamma"]
    search = GridSearchCV(hybrid, {"lstm__estimator__loss": losses}, cv=2)
    best = search.set_params(error_score="raise").fit(X, SPEND + 1).best_estimator_
    assert best.boosting_[-1].loss == best.lstm_[-1].loss
    # A loss of the trees themselves stays, and the parameters do.
    hybrid.set_params(boosting__estimator__loss="gamma", lstm_weight=0.5)
    assert hybrid.fit(X, SPEND + 1).boosting_[-1].loss == "gamma"
    hybrid.set_params(boosting__estimator__loss="auto").fit(X, SPEND + 1)
    assert hybrid.boosting[-1].loss == "auto"
    assert hybrid.boosting_[-1].loss == "squared_error"


def test_default_trees_alone_have_squared_errors():
    parts = [make_hybrid(LSTMRegressor(loss="poisson")).boosting for _ in range(2)]
    parts[1].set_params(estimator__loss="squared_error")
    one, other = (
        part.set_params(estimator__random_state=0).fit(X, SPEND).predict(X)
        for part in parts
    )
    assert_array_equal(one, other)


def test_default_trees_of_spend_are_never_negative():
    """Trees with squared errors predicted a spend of less than 0."""
    network = LSTMRegressor(**SMALL, loss="zero_inflated_lognormal")
    hybrid = make_hybrid(network, lstm_weight=0.5, random_state=0).fit(X, SPEND)
    assert hybrid.boosting_.predict(X).min() > 0
    hybrid.boosting.set_params(estimator__loss="squared_error")
    assert hybrid.fit(X, SPEND).boosting_.predict(X).min() < 0


@pytest.mark.parametrize("loss", ["poisson", "zero_inflated_lognormal"])
def test_default_trees_accept_counts_of_zero_alone(loss):
    """As in a fold without the rare product, on which a network can be trained."""
    hybrid = make_hybrid(LSTMRegressor(**SMALL, loss=loss), random_state=0)
    hybrid.fit(X, np.zeros(len(X)))
    assert_array_equal(hybrid.boosting_.predict(X), 0)
    assert hybrid.boosting_[-1].loss == "poisson"
    assert hybrid.predict(X).max() < 0.1


class XGBoost(RegressorMixin, BaseEstimator):
    """The parameters that XGBoost has for its loss."""

    def __init__(self, objective=None, quantile_alpha=None):
        self.objective = objective
        self.quantile_alpha = quantile_alpha


class LightGBM(RegressorMixin, BaseEstimator):
    """The parameter that LightGBM has for its loss; `alpha` is 0.9 unless given."""

    def __init__(self, objective=None):
        self.objective = objective


class CatBoost(RegressorMixin, BaseEstimator):
    """The parameter that CatBoost has for its loss; `alpha` is 0.5 unless given."""

    def __init__(self, loss_function=None):
        self.loss_function = loss_function


@pytest.mark.parametrize(
    ("part", "quantile"),
    [
        (LightGBM("quantile"), 0.9),
        (LightGBM("mean_absolute_error"), 0.5),  # an alias of "l1"
        (LightGBM("regression_l1"), 0.5),
        (CatBoost("Quantile"), 0.5),
        (CatBoost("Quantile:alpha=0.9"), 0.9),
        (CatBoost("Quantile:alpha=0.9;delta=0.001"), 0.9),
        (CatBoost("Quantile:delta=0.001"), 0.5),
        (CatBoost("MAE"), 0.5),
        (CatBoost("RMSE"), "mean"),
        (CatBoost("Tweedie:variance_power=1.5"), "mean"),
        (XGBoost("reg:quantileerror", 0.9), 0.9),
        (XGBoost("reg:quantileerror", [0.9]), 0.9),
    ],
)
def test_quantiles_of_other_libraries(part, quantile):
    assert predicted_quantile(part) == quantile


@pytest.mark.parametrize(
    ("trees", "what"),
    [
        (CatBoost("MAPE"), "the median of MAPE"),
        (LightGBM("mape"), "the median of MAPE"),
        (CatBoost("MultiQuantile:alpha=0.1,0.5,0.9"), "several quantiles"),
        (XGBoost("reg:quantileerror", [0.1, 0.9]), "several quantiles"),
        (CatBoost("Expectile:alpha=0.9"), "an expectile"),
    ],
)
@pytest.mark.parametrize("loss", ["squared_error", "quantile"])
def test_losses_of_other_quantities_are_refused(trees, what, loss):
    network = LSTMRegressor(**SMALL, loss=loss)
    match = f"lstm predicts the .* and boosting predicts {what}. Give both the same"
    with pytest.raises(ValueError, match=match):
        make_hybrid(network, trees).fit(X, SPEND)
    # There is no blend of two of them either.
    with pytest.raises(ValueError, match=f"lstm predicts {what} and"):
        HybridRegressor(make_hybrid(network, trees).boosting, trees).fit(X, SPEND)


@pytest.mark.parametrize("begins", [True, False])
def test_models_around_pipelines_of_histories_are_used_as_they_are(begins):
    """Those around a pipeline of tables come behind `HistoryAggregator`."""
    first = HistoryAggregator() if begins else StandardScaler()
    survival = DiscreteTimeSurvival(make_pipeline(first, LogisticRegression()))
    pipeline = make_pipeline(first, HistGradientBoostingRegressor(max_iter=2))
    target = TransformedTargetRegressor(pipeline)
    for network, trees in (
        (LSTMSurvival(), survival),
        (LSTMRegressor(), RateRegressor(pipeline, "days")),
        (LSTMRegressor(), target),
        (LSTMRegressor(), VotingRegressor([("one", pipeline)])),
        (LSTMRegressor(), StackingRegressor([("one", pipeline)])),
    ):
        part = make_hybrid(network, trees).boosting
        assert (part if begins else part["estimator"]) is trees
    if begins:
        stack = StackingRegressor([("one", pipeline), ("two", target)], cv=2)
        for trees in (target, stack):
            hybrid = make_hybrid(LSTMRegressor(**SMALL), trees, random_state=0)
            assert np.isfinite(hybrid.fit(X, SPEND).predict(X)).all()


class Times(RegressorMixin, BaseEstimator):
    """Predicts so many times the mean of the target."""

    def __init__(self, factor=1.0, loss="poisson", quantile=0.9):
        self.factor = factor
        self.loss = loss
        self.quantile = quantile

    def fit(self, X, y, sample_weight=None):
        self.value_ = self.factor * np.average(y, weights=sample_weight)
        return self

    def predict(self, X):
        return np.full(len(X), self.value_)


def hybrid_of(factor, loss="poisson", **options):
    network = LSTMRegressor(**SMALL, loss="poisson", **options)
    trees = make_pipeline(HistoryAggregator(), Times(factor, loss))
    return HybridRegressor(make_history_pipeline(network), trees, lstm_weight=0.5)


@pytest.mark.parametrize("exposure", [None, "days"])
def test_training_that_diverged_is_a_warning(exposure):
    """As of boosted trees of scikit-learn with a Poisson loss on heavy tails."""
    rows = X.assign(days=np.where(np.arange(len(X)) % 2, 2.0, 50.0))
    weight = np.arange(len(X)) % 3
    target = SPEND.copy()
    target[::3] = 1e9  # rows without weight do not count
    hybrid_of(1.5, exposure=exposure).fit(rows, target, weight)
    mean = np.average(SPEND, weights=weight)
    message = (
        f"prediction of boosting is {2.5 * mean:,.3g} for training rows whose mean "
        f"target is {mean:,.3g}. .* or boosting=None"
    )
    with pytest.warns(UserWarning, match=message):
        hybrid_of(2.5, exposure=exposure).fit(rows, target, weight)


def test_few_large_targets_are_no_divergence(monkeypatch):
    """Also if the rows that are checked have only small ones, or zeros."""
    target = np.zeros(len(X))
    target[1] = 1e5
    monkeypatch.setattr("sklearn_seqcrm.ensemble._hybrid_regressor._MOST_CHECKED", 5)
    hybrid_of(1.0).fit(X, target)
    with pytest.warns(UserWarning, match="may have diverged"):
        hybrid_of(2.5).fit(X, target)


def test_trees_are_compared_with_what_they_were_fitted_on():
    """Not with held-out rows, nor with weights that they do not get."""
    rows = np.argsort(SPEND)
    split = [(rows[len(X) // 2 :], rows[: len(X) // 2])]
    hybrid = hybrid_of(1.5).set_params(lstm_weight=None, cv=split, refit=False)
    hybrid.fit(X, SPEND)
    with config_context(enable_metadata_routing=True):
        hybrid = hybrid_of(1.0)
        hybrid.lstm[-1].set_fit_request(sample_weight=True)
        hybrid.boosting[-1].set_fit_request(sample_weight=False)
        hybrid.fit(X, SPEND, sample_weight=1 / (1 + SPEND))


def test_other_losses_are_not_checked():
    """The mean may be far below a quantile, and totals of rates with a gamma loss."""
    hybrid_of(9.0, "gamma").fit(X, SPEND + 1)
    hybrid = hybrid_of(9.0, "quantile")
    hybrid.lstm[-1].set_params(loss="quantile", quantile=0.9)
    hybrid.fit(X, SPEND)
