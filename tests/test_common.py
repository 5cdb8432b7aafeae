"""scikit-learn's checks of all estimators, and ours of those that take histories."""

import re
from unittest import SkipTest

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_seqcrm._recurrent.network._poolings import POOLINGS
from sklearn_seqcrm.calibration import ConformalClassifier, ConformalRegressor
from sklearn_seqcrm.ensemble import DiscreteTimeSurvival, RateRegressor, make_hybrid
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftClassifier,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing import all_estimators, parametrize_with_history_checks
from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor

# Enough epochs for the scores that the checks demand, and all rows in each step.
TRAINED = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "dropout": 0.0,
    "learning_rate": 0.05,
    "max_epochs": 20,
    "random_state": 0,
    "n_networks": 1,
}
FLOAT32 = (
    "The check wants 7 digits in agreement, and a float32 net that adds up the same "
    "gradients in another order has 6 of each step, or by luck 7; test_weights.py and "
    "test_lstm_survival.py have the check to that precision."
)
ARMS = "A row that is repeated has another treatment, as these go by position."
OF_ARMS = {
    "check_sample_weight_equivalence_on_dense_data": ARMS,
    "check_sample_weight_equivalence_on_sparse_data": ARMS,
    "check_fit2d_1sample": "Its error is that all 1 rows have one treatment.",
}
CUSTOMERS = (
    "A row that is repeated is one customer more, and a row of twice the weight is "
    "none: the more customers are set aside, the further weights go from one half."
)
# Skipped: whether they fail depends on the processor, or on the rows set aside.
UNCERTAIN_CHECKS = {
    "HybridClassifier": {"check_sample_weight_equivalence_on_dense_data": CUSTOMERS},
    "HybridRegressor": {"check_sample_weight_equivalence_on_dense_data": CUSTOMERS},
    "HybridSurvival": {"check_sample_weight_equivalence_on_dense_data": CUSTOMERS},
    "LSTMClassifier": {"check_sample_weight_equivalence_on_dense_data": FLOAT32},
    "LSTMRegressor": {"check_sample_weight_equivalence_on_dense_data": FLOAT32},
    "LSTMSurvival": {"check_sample_weight_equivalence_on_dense_data": FLOAT32},
    "RandomisedClassifier": OF_ARMS,
    "RandomisedRegressor": OF_ARMS,
    "TreatedClassifier": OF_ARMS,
    "TreatedRegressor": OF_ARMS,
}


class Randomised:
    """Treatments by position, because the checks pass none."""

    def fit(self, X, y, sample_weight=None):
        arms = {"treatment": every_other(X), "sample_weight": sample_weight}
        return super().fit(X, self.outcomes(y), **arms)

    def partial_fit(self, X, y, sample_weight=None):
        arms = {"treatment": every_other(X), "sample_weight": sample_weight}
        return super().partial_fit(X, self.outcomes(y), **arms)

    def score(self, X, y, sample_weight=None):
        arms = {"treatment": every_other(X), "sample_weight": sample_weight}
        return super().score(X, self.outcomes(y), **arms)

    def outcomes(self, y):
        return y


class RandomisedClassifier(Randomised, LSTMUpliftClassifier):
    """Two classes, because targets of estimators that are no classifiers have many."""

    def outcomes(self, y):
        if y is None or pd.isna(np.asarray(y)).any():
            return y
        kinds = np.unique(np.asarray(y))
        return y if len(kinds) < 3 else np.asarray(y) > kinds[len(kinds) // 2]


class RandomisedRegressor(Randomised, LSTMUpliftRegressor):
    pass


class Treated(Randomised):
    """Meta-learners have no partial_fit."""

    partial_fit = property()


class TreatedClassifier(Treated, UpliftClassifier):
    outcomes = RandomisedClassifier.outcomes


class TreatedRegressor(Treated, UpliftRegressor):
    pass


def every_other(X):
    n_rows = X.shape[0] if hasattr(X, "shape") else len(np.asarray(X))
    return np.arange(n_rows) % 2


# For estimators whose fit needs more than X and y.
STAND_INS = {
    "LSTMUpliftClassifier": RandomisedClassifier,
    "LSTMUpliftRegressor": RandomisedRegressor,
    "UpliftClassifier": TreatedClassifier,
    "UpliftRegressor": TreatedRegressor,
}


# Half of the rows, of which the checks have few, are calibration rows.
FEW_ROWS = {"confidence_level": 0.5, "calibration_fraction": 0.5, "random_state": 0}

FEW_FITS = {"propensity": "constant", "cv": 2, "random_state": 0}

# Parts of hybrids are fitted several times.
FEW_TREES = {"max_iter": 10, "min_samples_leaf": 5, "random_state": 0}

# Parameters for scikit-learn's checks; a new estimator is checked with its defaults.
# Hybrids take the input of their parts, which is arrays here.
SETTINGS = {
    "ConformalClassifier": {"estimator": LogisticRegression(), **FEW_ROWS},
    "ConformalRegressor": {"estimator": Ridge(), **FEW_ROWS},
    "DiscreteTimeSurvival": {"classifier": LogisticRegression()},
    "HybridClassifier": {
        "lstm": LogisticRegression(),
        "boosting": HistGradientBoostingClassifier(**FEW_TREES),
        "random_state": 0,
    },
    "HybridRegressor": {
        "lstm": Ridge(),
        "boosting": HistGradientBoostingRegressor(**FEW_TREES),
        "random_state": 0,
    },
    "HybridSurvival": {
        "lstm": DiscreteTimeSurvival(LogisticRegression()),
        "boosting": DiscreteTimeSurvival(HistGradientBoostingClassifier(**FEW_TREES)),
        "random_state": 0,
    },
    "RateRegressor": {"regressor": Ridge()},
    "LSTMClassifier": TRAINED,
    "LSTMRegressor": TRAINED,
    # All times end with the event: the checks have no other target.
    "LSTMSurvival": TRAINED,
    "LSTMUpliftClassifier": TRAINED,
    "LSTMUpliftRegressor": TRAINED,
    "UpliftClassifier": {
        "estimator": LogisticRegression(),
        "effect_estimator": Ridge(),
        **FEW_FITS,
    },
    "UpliftRegressor": {"estimator": Ridge(), **FEW_FITS},
}


# Gamma targets are positive, unlike those of the checks.
OF_OTHER_LOSSES = [
    LSTMRegressor(**TRAINED, loss="quantile", quantile=[0.25, 0.5, 0.75]),
]


@parametrize_with_checks(
    [
        *(
            STAND_INS.get(name, kind)(**SETTINGS.get(name, {}))
            for name, kind in all_estimators()
        ),
        *OF_OTHER_LOSSES,
    ]
)
def test_scikit_learn_checks(estimator, check):
    reasons = UNCERTAIN_CHECKS.get(type(estimator).__name__, {})
    if check.func.__name__ in reasons:
        pytest.skip(reasons[check.func.__name__])
    check(estimator)


def lstm(kind, **params):
    small = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
    return make_history_pipeline(kind(**{**small, "n_networks": 1, **params}))


def with_moments(pipeline, period=True):
    return pipeline.set_params(encoder__moments=period)


def with_days(X):
    """Rows with an exposure of one, two or three days."""
    X = (
        X
        if isinstance(X, pd.DataFrame)
        else pd.DataFrame(X, columns=["history", "age"])
    )
    return X.assign(days=1 + X["age"].astype(float).fillna(0) // 1 % 3)


def hybrid(network, **params):
    return make_hybrid(network, random_state=0, **params).set_params(
        boosting__estimator__max_iter=10
    )


def by_exposure(pipeline):
    return Pipeline([("days", FunctionTransformer(with_days)), *pipeline.steps])


def one_more(y):
    return y + 1


def one_less(y):
    return y - 1


SMALL = {"hidden_size": 4, "max_epochs": 2, "random_state": 0}
ONE_SEQUENCE = (
    "It models one sequence of events, and needs logs that EventLog.concat merged."
)
ESTIMATORS = [
    HistoryEncoder(),
    HistoryEncoder(max_categories=1, half_lives=["7D"], moments=True),
    RFMFeatures(),
    RFMFeatures("amount", dialect="btyd", kinds="order", kind_field="kind"),
    HistoryAggregator(),
    HistoryAggregator(["60D", "7D"], half_lives=["30D"], max_levels=1, max_features=45),
    make_pipeline(RFMFeatures(), HistGradientBoostingClassifier(random_state=0)),
    make_history_pipeline(HistoryPadder()),
    make_history_pipeline(HistoryPadder(max_length=3, padding="pre")),
    with_moments(make_history_pipeline(HistoryPadder()), "90D"),
    with_moments(lstm(LSTMClassifier, pooling=POOLINGS)),
    with_moments(lstm(LSTMRegressor, cell="gru", num_layers=2), "90D"),
    with_moments(lstm(LSTMSurvival, bins=[1.0, 2.0, 6.0], bidirectional=True), "30D"),
    lstm(LSTMClassifier),
    lstm(LSTMClassifier, cell="gru", num_layers=2),
    lstm(LSTMClassifier, cell="rnn", head_sizes=()),
    lstm(LSTMClassifier, bptt_steps=3),
    lstm(LSTMClassifier, bidirectional=True, pooling=POOLINGS),
    lstm(LSTMClassifier, cell="gru", bidirectional=True, num_layers=2, pooling="last"),
    lstm(LSTMRegressor, loss="zero_inflated_lognormal", pooling="attention"),
    lstm(
        LSTMRegressor,
        loss="quantile",
        quantile=[0.1, 0.5, 0.9],
        num_layers=2,
        pooling=POOLINGS,
        batch_size=7,
    ),
    lstm(LSTMRegressor, loss="poisson", early_stopping=True),
    by_exposure(lstm(LSTMRegressor, loss="poisson", exposure="days")),
    # Gamma targets are larger than 0.
    TransformedTargetRegressor(
        lstm(LSTMRegressor, loss="gamma"), func=one_more, inverse_func=one_less
    ),
    ConformalClassifier(
        make_pipeline(
            RFMFeatures(),
            HistGradientBoostingClassifier(min_samples_leaf=3, random_state=0),
        ),
        **FEW_ROWS,
    ),
    ConformalRegressor(
        lstm(LSTMRegressor, loss="quantile", quantile=[0.25, 0.5, 0.75]),
        conformity_score="cqr",
        **FEW_ROWS,
    ),
    hybrid(lstm(LSTMClassifier)),
    hybrid(lstm(LSTMRegressor), cv=2),
    make_hybrid(lstm(LSTMSurvival, bins=[1.0, 2.0, 6.0]), random_state=0),
    make_pipeline(
        HistoryAggregator(), DiscreteTimeSurvival(bins=[1.0, 2.0, 6.0], random_state=0)
    ),
    by_exposure(make_pipeline(HistoryAggregator(), RateRegressor(exposure="days"))),
    lstm(LSTMSurvival, bins=[1.0, 2.0, 6.0]),
    UpliftClassifier(lstm(LSTMClassifier), learner="t", **FEW_FITS),
    UpliftRegressor(lstm(LSTMRegressor), learner="s", **FEW_FITS),
    UpliftRegressor(lstm(LSTMRegressor), learner="r", **FEW_FITS),
    lstm(RandomisedClassifier, pooling=POOLINGS),
    lstm(RandomisedRegressor, n_networks=2),
    lstm(RandomisedRegressor, loss="poisson", bidirectional=True),
    LSTMEventModel(**SMALL),
    LSTMEventModel(
        **{**SMALL, "max_epochs": 1},  # a history of 1,000 events is 334 chunks
        cell="gru",
        num_layers=2,
        bptt_steps=3,
        max_categories=1,
    ),
]


def steps_of(estimator):
    """The estimator itself, or the steps of a pipeline."""
    return [step for _, step in getattr(estimator, "steps", [(None, estimator)])]


def expected_failures(estimator):
    if isinstance(estimator, LSTMEventModel):
        return {"check_several_histories": ONE_SEQUENCE}
    return {}


@parametrize_with_history_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_history_checks(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        pytest.fail(f"None may be skipped: {skipped}")


def test_no_estimator_is_forgotten():
    """Every public estimator is in one of the checks above."""
    kinds = {type(step) for one in ESTIMATORS for step in steps_of(one)}
    for name, kind in all_estimators():
        assert kinds & {kind, STAND_INS.get(name)}


@pytest.mark.parametrize(
    "kind", [HistoryAggregator, HistoryEncoder, HistoryPadder, RFMFeatures]
)
def test_tags_of_transformers_of_histories(kind):
    """DataFrames with categories, text and missing values, not arrays."""
    tags = get_tags(kind())
    takes = tags.input_tags
    assert (takes.two_d_array, takes.sparse, takes.pairwise) == (False, False, False)
    assert takes.categorical
    assert takes.string
    assert takes.allow_nan
    assert tags.transformer_tags.preserves_dtype == []
    assert not tags.target_tags.required


# Checks of scikit-learn that pass no data. It skips them for estimators that take no
# plain arrays.
DATA_FREE_CHECKS = [
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]


OF_NO_ARRAYS = [
    kind for _, kind in all_estimators() if not get_tags(kind()).input_tags.two_d_array
]


@pytest.mark.parametrize("check", DATA_FREE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", OF_NO_ARRAYS)
def test_scikit_learn_checks_without_data(kind, check):
    check(kind.__name__, kind())


@pytest.mark.parametrize(("name", "kind"), all_estimators())
def test_html_links_to_the_page_of_the_estimator(name, kind):
    """The page has the name that autosummary gives it."""
    package = kind.__module__.rpartition(".")[0]
    page = re.search(r'href="([^"]*readthedocs[^"]*)"', kind()._repr_html_())[1]
    assert page.endswith(f"/generated/{package}.{name}.html")


@pytest.mark.parametrize(("name", "kind"), all_estimators())
def test_attributes_can_be_listed_before_fit(name, kind):
    # As `dir` of scikit-learn 1.9 does, by which editors complete names.
    model = kind()
    names = [name for name in object.__dir__(model) if hasattr(model, name)]
    assert "fit" in names
