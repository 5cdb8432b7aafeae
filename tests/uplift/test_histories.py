"""Meta-learners on histories: customers, time, weights, and what must not be seen."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_seqcrm._columns import refuse_shown_treatments, store_horizon
from sklearn_seqcrm.ensemble import HybridRegressor, make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit, check_no_leakage
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor
from sklearn_seqcrm.uplift._cross_fitting import (
    UpliftRows,
    customer_folds,
    customer_groups,
    read_splits,
)
from sklearn_seqcrm.uplift._models import counterpart
from tests.small_networks import SMALL

LEARNERS = ["s", "t", "x", "dr", "r"]


def journeys(n_customers=40, n_cutoffs=2, seed=0, **attach):
    """Rows at several cutoffs, treatments and outcomes."""
    rng = np.random.default_rng(seed)
    events = pd.DataFrame(
        {
            "who": rng.integers(0, n_customers, 8 * n_customers),
            "day": rng.integers(0, 100, 8 * n_customers),
            "amount": rng.exponential(size=8 * n_customers),
            "kind": rng.choice(["visit", "order"], 8 * n_customers),
        }
    )
    rows = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n_customers), n_cutoffs),
            "at": np.tile(50 + 20 * np.arange(n_cutoffs), n_customers),
            "age": rng.normal(40, 9, n_customers * n_cutoffs),
        }
    )
    X = EventLog(events, "who", "day").attach(rows, cutoff="at", **attach)
    treated = rng.integers(0, 2, len(X))
    return X, treated, rng.normal(size=len(X)) + 3 * treated


def network(kind=LSTMRegressor, **params):
    return make_history_pipeline(kind(**{**SMALL, **params}))


PIPELINES = {
    "network": network(LSTMClassifier),
    "boosting": make_pipeline(
        HistoryAggregator(), HistGradientBoostingClassifier(max_iter=5, random_state=0)
    ),
    "hybrid": make_hybrid(network(LSTMClassifier), random_state=0).set_params(
        boosting__estimator__max_iter=5
    ),
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_on_histories(name, learner):
    X, treated, y = journeys()
    model = UpliftClassifier(PIPELINES[name], learner=learner, cv=2, random_state=0)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model.fit(X, y > 1, treatment=treated, sample_weight=weight)
    found = model.predict(X)
    assert found.shape == (len(X),)
    assert np.isfinite(found).all()
    # Columns in another order, and other rows of the batch, change nothing.
    others = X[X.columns[::-1]].iloc[::-3]
    np.testing.assert_allclose(model.predict(others), found[::-3], atol=1e-5)
    check_no_leakage(model, X, n_cutoffs=2)


@pytest.mark.parametrize(
    "estimator",
    [
        network(LSTMClassifier, hidden_size=8, learning_rate=0.02, max_epochs=15),
        make_pipeline(HistoryAggregator(), HistGradientBoostingClassifier()),
        make_pipeline(RFMFeatures(), SimpleImputer(), LogisticRegression()),
    ],
)
@pytest.mark.parametrize("n_arms", [2, 3])
def test_one_model_reads_the_treatment(estimator, n_arms):
    """The S-learner finds effects of .8 and, of a second treatment, -.3 or so."""
    X, _, _ = journeys(150)
    rng = np.random.default_rng(0)
    arm = rng.integers(0, n_arms, len(X))
    bought = rng.random(len(X)) < np.array([0.3, 0.95, 0.02])[arm]
    model = UpliftClassifier(estimator, learner="s", control=0, random_state=0)
    found = model.fit(X, bought, treatment=arm).predict(X)
    mean = found.mean(axis=0)
    assert (mean if n_arms == 2 else mean[0]) > 0.2
    assert n_arms == 2 or mean[1] < -0.1


class Memory(RegressorMixin, BaseEstimator):
    """Predict 1 for training customers, and 0 for others."""

    def fit(self, X, y, sample_weight=None):
        self.known_ = set(X["who"])
        return self

    def predict(self, X):
        return X["who"].isin(self.known_).to_numpy(dtype="float64")


@pytest.mark.parametrize("cv", [3, CutoffSplit(2, horizon=5)])
def test_nuisances_never_saw_the_customer(cv):
    """Predicted outcomes of training customers would be 1."""

    class Effect(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            self.pseudo_ = np.asarray(y)
            return super().fit(X[["age"]], y)

        def predict(self, X):
            return super().predict(X[["age"]])

    X, treated, _ = journeys(30, 4)
    model = UpliftRegressor(
        Memory(),
        learner="dr",
        effect_estimator=Effect(),
        propensity="constant",
        cv=cv,
        calibrate=False,
    )
    model.fit(X, np.zeros(len(X)), treatment=treated)
    pseudo = model.learner_.effect[0].models[0].pseudo_
    np.testing.assert_array_equal(pseudo, 0)
    # Forward in time, rows at the first two of four cutoffs are in no test part.
    assert len(pseudo) == (len(X) if cv == 3 else len(X) // 2)


def uplift_rows(customers, arms, outcome):
    customers, arms = np.asarray(customers), np.asarray(arms)
    n = len(arms)
    return UpliftRows(
        np.zeros((n, 1)),
        np.asarray(outcome),
        np.asarray(outcome, dtype="float64"),
        arms,
        customers,
        np.ones(n),
        np.empty((n, 0)),
        np.arange(n),
    )


def test_folds_are_of_customers_and_stratified():
    rng = np.random.default_rng(0)
    customers = np.repeat(np.arange(300), 2)
    arms = np.repeat((np.arange(300) < 9).astype(int), 2)
    rows = uplift_rows(customers, arms, rng.integers(0, 2, 600))
    folds = customer_folds(rows, 3, 2, np.random.RandomState(0))
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(600))
    for train, test in folds:
        assert not set(customers[train]) & set(customers[test])
        assert abs(arms[test].sum() - 6) <= 2  # of 18 rows
        assert len(test) == 200


def test_folds_forward_in_time():
    """Labels of training rows are known at the test cutoff, customers are others."""
    X, treated, y = journeys(30, 4)
    rows = uplift_rows(X["who"].to_numpy(), treated, y)._replace(X=X)
    split = CutoffSplit(2, horizon=5)
    folds = customer_folds(rows, read_splits(split, rows), 2, np.random.RandomState(0))
    assert len(folds) == 6
    cutoff = X["at"].to_numpy()
    for train, test in folds:
        assert cutoff[train].max() + 5 <= cutoff[test].min()
        assert not set(rows.customers[train]) & set(rows.customers[test])


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_order_of_rows_changes_nothing(learner):
    """Folds and samples are drawn by the ids of customers."""
    X, treated, y = journeys()
    model = UpliftRegressor(
        make_pipeline(RFMFeatures(), SimpleImputer(), LinearRegression()),
        learner=learner,
        propensity="constant",
        n_bootstraps=2,
        random_state=0,
    ).fit(X, y, treatment=treated)
    order = np.random.default_rng(1).permutation(len(X))
    other = clone(model).fit(X.iloc[order], y[order], treatment=treated[order])
    for one in ("predict", "predict_interval"):
        expected = getattr(model, one)(X)
        np.testing.assert_allclose(getattr(other, one)(X), expected, atol=1e-6)


# The treatment that is being decided --------------------------------------------------


def campaign(delay, exact=False, n=60, logged=1.0, kind="mail"):
    """Rows whose contact is an event some days after the cutoff."""
    rng = np.random.default_rng(0)
    treated = rng.integers(0, 2, n)
    past = pd.DataFrame({"who": np.repeat(np.arange(n), 3), "kind": "visit"})
    past["day"] = rng.integers(0, 90, 3 * n)
    mailed = np.flatnonzero((treated == 1) & (rng.random(n) < logged))
    contacts = pd.DataFrame({"who": mailed, "kind": kind, "day": 100 + delay})
    log = EventLog(pd.concat([past, contacts]), "who", "day")
    rows = pd.DataFrame({"who": np.arange(n), "at": 100})
    X = log.attach(rows, cutoff="at", allow_exact_matches=exact)
    return X, treated, rng.normal(size=n)


BOOSTING = make_pipeline(
    HistoryAggregator(), HistGradientBoostingRegressor(max_iter=3, random_state=0)
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": 0, "exact": True}, "at the cutoff .True"),
        ({"delay": 0, "exact": True, "logged": 0.9}, "at the cutoff .True"),
        ({"delay": -1}, "ends with kind='mail'"),
        ({"delay": -1, "logged": 0.9}, "ends with kind='mail'"),
    ],
)
def test_the_decision_in_the_history_is_an_error(options, message):
    X, treated, y = campaign(**options)
    with pytest.raises(ValueError, match=message) as error:
        UpliftRegressor(BOOSTING).fit(X, y, treatment=treated)
    assert "have the treatment 1" in str(error.value)
    assert "allow_exact_matches=False" in str(error.value)


def test_the_decision_in_encoded_histories_is_an_error():
    """Within a pipeline, the meta-learner gets codes of levels, but times of events."""
    X, treated, y = campaign(0, exact=True)
    learner = UpliftClassifier(LSTMClassifier(**SMALL), learner="t")
    with pytest.raises(ValueError, match=r"at the cutoff .True"):
        make_history_pipeline(learner).fit(X, y > 0, estimator__treatment=treated)
    X, treated, y = campaign(0)
    make_history_pipeline(learner).fit(X, y > 0, estimator__treatment=treated)


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 0},  # not visible
        {"delay": 1, "exact": True},
        {"delay": 0, "exact": True, "n": 12},  # may be chance: .5 ** 6 or so
    ],
)
@pytest.mark.filterwarnings("ignore:.*learned propensity:UserWarning")
def test_histories_without_the_decision_are_taken(options):
    X, treated, y = campaign(**options)
    UpliftRegressor(BOOSTING, cv=2, random_state=0).fit(X, y, treatment=treated)


def test_a_column_of_the_treatment_is_an_error():
    X, treated, y = journeys()
    for column in (treated, treated == 0, np.where(treated, "mail", None)):
        with pytest.raises(ValueError, match="'arm' of X shows the treatment"):
            UpliftRegressor(BOOSTING).fit(X.assign(arm=column), y, treatment=treated)
    other = X.assign(arm=np.r_[1 - treated[0], treated[1:]])
    UpliftRegressor(BOOSTING, learner="t").fit(other, y, treatment=treated)


def test_a_column_with_one_value_of_an_arm_is_an_error():
    """A discount of 0, or a missing date of the contact, shows who was not treated."""
    X, treated, y = journeys()
    discount = np.where(treated, np.arange(len(X)) % 3 + 5, 0)
    sent = pd.to_datetime(pd.Series(discount, X.index), unit="D")
    for column, value in (discount, "0"), (sent.where(treated == 1), "NaT"):
        model = UpliftRegressor(BOOSTING, learner="t")
        with pytest.raises(ValueError, match=f"treatment 0, and .* value {value}"):
            model.fit(X.assign(sent=column), y, treatment=treated)
    # Each store is in one arm, as in an experiment on stores, but is not an arm.
    stores = X.assign(store=treated * 4 + np.arange(len(X)) % 4)
    UpliftRegressor(BOOSTING, learner="t").fit(stores, y, treatment=treated)
    # One customer was treated, and has an id.
    one = np.arange(len(X)) == 3
    ids = X[["history"]].assign(number=np.arange(len(X)))
    rows, arms = np.arange(len(X)), np.array([0, 1])
    refuse_shown_treatments(ids, one.astype(int), arms, rows)
    # Two of 40 customers were treated, who live in one town, by chance.
    who = np.repeat(np.arange(40), 12)
    few = np.isin(who, [3, 4]).astype(int)
    towns = pd.DataFrame({"town": np.where(few, "A", who % 3)})
    refuse_shown_treatments(towns, few, arms, who)
    with pytest.raises(ValueError, match="'town' of X shows the treatment"):
        refuse_shown_treatments(towns, few, arms, np.arange(len(who)))


def test_columns_of_lists_are_taken():
    """Such as words, which a step of the model reads."""
    X, treated, y = journeys()
    words = X.assign(words=[*[None] * 40, *[["a", "b"]] * 40])
    taken = make_pipeline(FunctionTransformer(lambda X: X[["age"]]), Ridge())
    UpliftRegressor(taken, learner="t").fit(words, y, treatment=treated)


def test_events_at_the_cutoff_of_both_arms_are_taken():
    """The basket that is being judged, for example."""
    X, treated, y = journeys(allow_exact_matches=True)
    UpliftRegressor(BOOSTING, random_state=0).fit(X, y, treatment=treated)


@pytest.mark.parametrize("learner", LEARNERS)
def test_effects_do_not_depend_on_the_contact(learner):
    """The log holds the contact, at the cutoff; histories end before it."""
    (X, treated, y), (X_without, _, _) = campaign(0), campaign(900)
    model = UpliftRegressor(BOOSTING, learner=learner, random_state=0)
    with np.errstate(all="raise"):
        found = clone(model).fit(X, y, treatment=treated).predict(X)
    expected = clone(model).fit(X_without, y, treatment=treated).predict(X_without)
    np.testing.assert_array_equal(found, expected)


# Defaults and weights -----------------------------------------------------------------


def test_models_of_treatments_know_the_horizon():
    """Networks that validate forward in time need the horizon of the target."""
    X, treated, _ = journeys(300, 4)
    y = pd.Series(treated + np.arange(len(X)) % 3, name="spend")
    store_horizon(y, {"horizon": 10})
    pipeline = network(
        early_stopping=True, validation="forward", refit=False, max_epochs=1
    )
    model = UpliftRegressor(pipeline, learner="dr", random_state=0, cv=2)
    model.fit(X, y, treatment=treated)
    effects = model.learner_.effect[0].models
    for one in (model.learner_.propensity._models, effects):
        assert one[0][-1].validation_["by"] == "forward"


def test_counterparts_have_the_steps_and_parameters():
    pipeline = network(loss="poisson", hidden_size=3, cell="gru")
    effect = counterpart(pipeline, "Regressor", "effect_estimator")
    assert isinstance(effect[-1], LSTMRegressor)
    params = effect[-1].get_params()
    assert (params["loss"], params["hidden_size"]) == ("squared_error", 3)
    propensity = counterpart(pipeline, "Classifier", "propensity_estimator")
    assert isinstance(propensity[-1], LSTMClassifier)
    assert propensity[-1].cell == "gru"
    assert [name for name, _ in propensity.steps] == [name for name, _ in effect.steps]
    assert pipeline[-1].loss == "poisson"  # untouched


def test_other_steps_follow_the_counterpart():
    """Levels are encoded by its target, and what was an exposure is a static."""
    X, treated, _ = journeys(120)
    X["shop"] = (np.arange(len(X)) % 60).astype(str)
    pipeline = make_history_pipeline(LSTMClassifier(**SMALL), many_levels="target")
    y = np.arange(len(X)) // 2 % 2
    for learner in ("x", "dr"):
        model = UpliftClassifier(pipeline, learner=learner, cv=2, random_state=0)
        assert np.isfinite(model.fit(X, y, treatment=treated).predict(X)).all()
    rates = network(loss="poisson", exposure="age")
    effect = counterpart(rates, "Regressor", "effect_estimator")
    names = [name for name, *_ in effect["statics"].transformers]
    assert "exposure" not in names
    age = effect.fit(X.drop(columns="shop"), y)[:-1].transform(X)["age"]
    np.testing.assert_allclose(age.std(ddof=0), 1, rtol=1e-6)


def test_counterparts_of_ensembles():
    hybrid = make_hybrid(network(LSTMClassifier), cv=2)
    effect = counterpart(hybrid, "Regressor", "effect_estimator")
    assert isinstance(effect, HybridRegressor)
    assert isinstance(effect.lstm[-1], LSTMRegressor)
    assert effect.cv == 2


@pytest.mark.parametrize("learner", ["x", "dr", "r"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: make_pipeline(StandardScaler(), model),
        lambda model: GridSearchCV(model, {"regressor__alpha": [0.1, 1.0]}),
    ],
)
def test_effects_are_not_transformed_as_outcomes(wrap, learner):
    """A treatment adds 3 to outcomes of 100 to 200; a mean of logarithms would not."""
    rng = np.random.default_rng(0)
    Z, treated = rng.uniform(100, 200, (2000, 1)), rng.integers(0, 2, 2000)
    spend = Z[:, 0] + rng.normal(size=2000) + 3 * treated
    transformed = TransformedTargetRegressor(
        Ridge(), func=np.log1p, inverse_func=np.expm1, check_inverse=False
    )
    model = UpliftRegressor(
        wrap(transformed), learner=learner, propensity="constant", random_state=0
    )
    found = model.fit(Z, spend, treatment=treated).predict(Z)
    np.testing.assert_allclose(found.mean(), 3, atol=0.8)


def test_counterparts_of_searches_and_votes():
    X, treated, y = journeys()
    Z = X[["age"]].to_numpy()
    parts = [("trees", HistGradientBoostingRegressor(max_iter=3, loss="poisson"))]
    for estimator, propensity in (
        (GridSearchCV(parts[0][1], {"max_depth": [1, 2]}), "learned"),
        (VotingRegressor(parts), "constant"),
    ):
        model = UpliftRegressor(estimator, propensity=propensity, random_state=0)
        found = model.fit(Z, np.exp(y), treatment=treated).predict(Z)
        assert np.isfinite(found).all()
    vote = counterpart(VotingRegressor(parts), "Regressor", "effect_estimator")
    assert vote.estimators[0][1].loss == "squared_error"
    # VotingClassifier has no probabilities by default.
    with pytest.raises(ValueError, match="not known for VotingRegressor; pass prop"):
        counterpart(VotingRegressor(parts), "Classifier", "propensity_estimator")
    # Names and values that belong to the target mean nothing for another one.
    for grid in ({"loss": ["poisson"]}, [{"quantile": [0.1]}]):
        search = GridSearchCV(HistGradientBoostingRegressor(), grid, scoring="r2")
        with pytest.raises(ValueError, match=r"a search over .*; pass propensity_est"):
            counterpart(search, "Classifier", "propensity_estimator")


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("requested", [False, True])
def test_weights_reach_the_last_step(routing, requested):
    """With or without metadata routing, and with or without a request."""
    seen = []

    class Spy(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    X, treated, y = journeys()
    with sklearn.config_context(enable_metadata_routing=routing):
        spy, scorer = Spy(), make_scorer(r2_score)
        if routing:
            scorer.set_score_request(sample_weight=False)
        if requested and routing:
            spy.set_fit_request(sample_weight=True)
        model = UpliftRegressor(
            make_pipeline(RFMFeatures(), SimpleImputer(), LinearRegression()),
            learner="r",
            effect_estimator=GridSearchCV(
                make_pipeline(RFMFeatures(), SimpleImputer(), spy),
                {"rfmfeatures__amount": [None]},
                scoring=scorer,
            ),
            propensity="constant",
            random_state=0,
        )
        model.fit(X, y, treatment=treated)
    assert seen
    assert all(weight is not None and (weight > 0).all() for weight in seen)


@pytest.mark.parametrize("cv", [2, 3, 5, CutoffSplit(2, horizon=5)])
def test_groups_of_the_calibration_are_of_customers(cv):
    """There are at most three groups, and both arms outside of each."""
    X, treated, _ = journeys(60, 4)
    customers = X["who"].to_numpy()
    rows = UpliftRows(
        X,
        np.zeros(len(X)),
        np.arange(len(X)) % 2.0,
        np.asarray(treated, dtype="int64"),
        pd.factorize(customers)[0],
        np.ones(len(X)),
        np.empty((len(X), 0)),
        np.arange(len(X)),
    )
    splits = cv if isinstance(cv, int) else read_splits(cv, rows)
    folds = customer_folds(rows, splits, 2, np.random.RandomState(0))
    group = customer_groups(rows, folds)
    assert (pd.Series(group).groupby(customers).nunique() == 1).all()
    assert len(np.unique(group)) == (2 if cv == 2 else 3)
    if cv == 3:
        for number, (_, test) in enumerate(folds):
            np.testing.assert_array_equal(group[test], number)
    assert np.bincount(group).min() >= len(X) // 10


def test_customers_who_are_connected_by_another_column():
    """All rows are of one shop, which has a history of its own."""
    X, treated, y = journeys()[:3]
    X = X.assign(shop=X["history"].iloc[np.zeros(len(X), int)].array)
    model = UpliftRegressor(
        make_pipeline(HistoryAggregator(), HistGradientBoostingRegressor(max_iter=2))
    )
    with pytest.raises(ValueError, match=r"rows have 1 .* any of their 2 .*'s' or 't'"):
        model.fit(X, y, treatment=treated)
    halves = [(np.arange(40), np.arange(40, 80))]
    with pytest.raises(ValueError, match=r"none has .* any of their 2 .*'s' or 't'"):
        model.set_params(cv=halves).fit(X, y, treatment=treated)
    model.set_params(learner="t", cv=3).fit(X, y, treatment=treated)
