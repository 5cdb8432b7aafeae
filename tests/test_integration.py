"""Raw X, histories and all, through what scikit-learn does with a table."""

import copy

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_seqcrm.datasets import make_order_returns
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import SMALL

X = make_table()
Y = make_y(X, ["no", "yes"])
MODEL = make_history_pipeline(LSTMClassifier(**SMALL))


def baseline():
    return make_pipeline(
        RFMFeatures(remainder="drop"), SimpleImputer(), LogisticRegression()
    )


def assert_is_probability(shares):
    assert shares.shape == (len(X), 2)
    assert_allclose(shares.sum(axis=1), 1)
    assert np.ptp(shares[:, 0]) > 0


def test_train_test_split():
    train, test, y_train, y_test = train_test_split(X, Y, stratify=Y, random_state=0)
    assert isinstance(test["history"].dtype, HistoryDtype)
    assert test["history"].array.log is X["history"].array.log
    assert 0 <= clone(MODEL).fit(train, y_train).score(test, y_test) <= 1


def test_cross_val_score():
    scores = cross_val_score(
        MODEL,
        X,
        Y,
        groups=X["who"],
        cv=GroupKFold(3),
        scoring="roc_auc",
        error_score="raise",
    )
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_cross_val_predict_is_the_prediction_of_each_fold():
    shares = cross_val_predict(MODEL, X, Y, cv=3, method="predict_proba")
    assert_is_probability(shares)
    for train, test in StratifiedKFold(3).split(X, Y):
        fold = clone(MODEL).fit(X.iloc[train], Y[train])
        assert_allclose(
            fold.predict_proba(X.iloc[test]), shares[test], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search(n_jobs):
    grid = {
        "estimator__hidden_size": [3, 5],
        "encoder__max_categories": [1, 1000],
        "statics__category__onehotencoder__max_categories": [None],
    }
    search = GridSearchCV(
        MODEL, grid, cv=2, scoring="neg_log_loss", n_jobs=n_jobs, error_score="raise"
    )
    search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert_is_probability(search.predict_proba(X))
    if n_jobs:
        alone = clone(search).set_params(n_jobs=None).fit(X, Y)
        assert_allclose(
            search.cv_results_["mean_test_score"],
            alone.cv_results_["mean_test_score"],
            rtol=1e-5,
        )


def test_randomized_search():
    search = RandomizedSearchCV(
        MODEL,
        {
            "estimator__cell": ["lstm", "gru", "rnn"],
            "estimator__pooling": ["last", ("mean", "max")],
            "estimator__learning_rate": [0.001, 0.01],
        },
        n_iter=3,
        cv=2,
        random_state=0,
        error_score="raise",
    )
    assert_is_probability(search.fit(X, Y).predict_proba(X))
    assert set(search.predict(X)) <= {"no", "yes"}


@pytest.mark.parametrize("passthrough", [False, True])
def test_stacking(passthrough):
    final = LogisticRegression()
    if passthrough:
        # What passes through stands last, as objects, and is not for every model.
        numbers = FunctionTransformer(lambda table: table[:, :2].astype(float))
        final = make_pipeline(numbers, final)
    stack = StackingClassifier(
        [("lstm", MODEL), ("rfm", baseline())], final, cv=2, passthrough=passthrough
    )
    assert_is_probability(stack.fit(X, Y).predict_proba(X))


def test_voting():
    vote = VotingClassifier([("lstm", MODEL), ("rfm", baseline())], voting="soft")
    vote.fit(X, Y)
    assert_is_probability(vote.predict_proba(X))
    parts = [
        clone(model).fit(X, Y == "yes").predict_proba(X)
        for model in (MODEL, baseline())
    ]
    assert_allclose(vote.predict_proba(X), np.mean(parts, axis=0), rtol=1e-5)


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(ensemble):
    calibrated = CalibratedClassifierCV(MODEL, cv=2, ensemble=ensemble)
    assert_is_probability(calibrated.fit(X, Y).predict_proba(X))


def test_permutation_importance():
    y = np.array([len(history) > 2 for history in X["history"]])
    model = make_history_pipeline(
        LSTMClassifier(**{**SMALL, "max_epochs": 30, "learning_rate": 0.02})
    )
    model.fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    importance = dict(zip(X, found.importances_mean, strict=True))
    assert max(importance, key=importance.get) == "history"
    assert importance["history"] > 0.2
    # Keys are no features.
    assert importance["who"] == importance["at"] == 0


def test_clone_is_unfitted_and_copies_are_fitted():
    model = clone(MODEL).fit(X, Y)
    assert not hasattr(clone(model)[-1], "net_")
    assert_array_equal(copy.deepcopy(model).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib(compress, tmp_path):
    model = clone(MODEL).fit(X, Y)
    joblib.dump((model, X), tmp_path / "model.joblib", compress=compress)
    again, rows = joblib.load(tmp_path / "model.joblib")
    assert_array_equal(again.predict_proba(rows), model.predict_proba(X))


def test_joblib_with_memory_maps(tmp_path):
    model = clone(MODEL).fit(X, Y)
    joblib.dump((model, X), tmp_path / "model.joblib")
    again, rows = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert_array_equal(again.predict_proba(rows), model.predict_proba(X))
    expected = clone(MODEL).fit(X, Y).predict_proba(X)
    assert_array_equal(clone(again).fit(rows, Y).predict_proba(rows), expected)


# ColumnTransformer --------------------------------------------------------------------


def statics(**options):
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [
            ("events", "passthrough", ["history"]),
            ("numbers", scaled, ["age", "member"]),
        ],
        **options,
    )


def test_column_transformer_with_and_without_dataframes():
    model = LSTMClassifier(**SMALL)
    of_frames = make_pipeline(
        HistoryEncoder(), statics().set_output(transform="pandas"), model
    )
    of_objects = make_pipeline(HistoryEncoder(), statics(), clone(model))
    expected = of_frames.fit(X, Y).predict_proba(X)
    assert_array_equal(of_objects.fit(X, Y).predict_proba(X), expected)
    assert of_objects[:2].transform(X).dtype == object
    scores = [
        cross_val_score(one, X, Y, cv=2, error_score="raise")
        for one in (of_frames, of_objects)
    ]
    assert_array_equal(*scores)


TRANSFORMERS = {
    "rfm": RFMFeatures(amount="amount"),
    "rfm alone": RFMFeatures(amount="amount", remainder="drop"),
    "aggregator": HistoryAggregator(),
    "encoder": HistoryEncoder(),
    "event model": LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_column_transformer_of_all_columns(kind):
    """Columns seen in fit are all columns of X, keys and those left out included."""
    part = clone(TRANSFORMERS[kind])
    step = ColumnTransformer([("part", part, list(X))]).set_output(transform="pandas")
    out = step.fit(X).transform(X)
    names = clone(part).fit(X).get_feature_names_out(X.columns)
    assert out.columns.tolist() == [f"part__{name}" for name in names]
    assert step.get_feature_names_out().tolist() == out.columns.tolist()
    inner = step.named_transformers_["part"]
    assert inner.feature_names_in_.tolist() == list(X)
    assert inner.n_features_in_ == X.shape[1]
    # Keys may be elsewhere in rows to be scored, or not be there.
    there = inner.transform(X)
    other = inner.transform(X[X.columns[::-1]].drop(columns=["who", "at"]))
    assert list(other) == list(there)
    if kind != "encoder":
        assert_frame_equal(other, there)


def test_networks_see_all_columns():
    encoded = HistoryEncoder().fit_transform(X)[["age", "history"]].fillna(0)
    encoded.insert(1, "who", X["who"])
    for model in (LSTMClassifier(**SMALL), HistoryPadder()):
        model.fit(encoded, Y)
        assert model.feature_names_in_.tolist() == ["age", "who", "history"]
        assert model.n_features_in_ == 3


def test_stacking_with_pandas_output_and_histories_passed_through():
    last = make_pipeline(RFMFeatures(remainder="drop", amount=None), SimpleImputer())
    last = make_pipeline(last, LogisticRegression())
    stack = StackingClassifier(
        [("rfm", baseline())], last, cv=2, passthrough=True
    ).set_output(transform="pandas")
    stack.fit(X, Y)
    # scikit-learn shows the last step an array in fit.
    with pytest.warns(UserWarning, match="RFMFeatures was fitted without feature"):
        shares = stack.predict_proba(X)
    assert_is_probability(shares)
    table = stack.transform(X)
    assert list(table) == ["stackingclassifier_rfm", *X]
    array = table.to_numpy(dtype=object)
    assert_array_equal(stack.final_estimator_.predict_proba(array), shares)


def test_column_transformer_before_the_encoder():
    model = LSTMClassifier(**SMALL)
    of_frames = make_pipeline(
        statics().set_output(transform="pandas"), HistoryEncoder(), model
    )
    of_objects = make_pipeline(statics(), HistoryEncoder(), clone(model))
    expected = of_frames.fit(X, Y).predict_proba(X)
    assert_array_equal(of_objects.fit(X, Y).predict_proba(X), expected)
    one = of_objects.predict_proba(X.iloc[[3]])
    assert_allclose(one, expected[[3]], rtol=1e-5, atol=1e-5)


def test_encoder_within_a_column_transformer():
    model = make_pipeline(
        ColumnTransformer(
            [
                ("events", HistoryEncoder(), ["history"]),
                ("numbers", SimpleImputer(), ["age"]),
            ]
        ).set_output(transform="pandas"),
        LSTMClassifier(**SMALL),
    )
    assert_is_probability(model.fit(X, Y).predict_proba(X))
    assert list(model[:-1].get_feature_names_out()) == [
        "events__history",
        "numbers__age",
    ]


# Fit parameters and targets -----------------------------------------------------------


def test_sample_weight_through_the_pipeline():
    weight = np.arange(len(X)) % 3
    model = clone(MODEL).set_params(estimator__batch_size=1000, estimator__dropout=0)
    weighted = clone(model).fit(X, Y, estimator__sample_weight=weight)
    unweighted = clone(model).fit(X, Y)
    difference = weighted.predict_proba(X) - unweighted.predict_proba(X)
    assert np.abs(difference).max() > 1e-3


def test_regressor():
    y = np.arange(len(X)) ** 2.0
    model = make_history_pipeline(LSTMRegressor(**SMALL))
    assert np.isfinite(cross_val_score(model, X, y, cv=2, error_score="raise")).all()
    logs = TransformedTargetRegressor(model, func=np.log1p, inverse_func=np.expm1)
    assert logs.fit(X, y).predict(X).shape == (len(X),)


def test_return_forecast_without_leakage():
    """The network beats statics, and the truth only where it reads the future."""
    data = make_order_returns(1200, random_state=1)
    keys = ["customer_id", "timestamp"]
    time = data.rows["timestamp"]
    split = time.quantile(0.75)
    is_test = (time >= split).to_numpy()
    is_train = (time + data.return_window <= split).to_numpy()
    y = data.target

    def auc(model, X):
        model.fit(X[is_train], y[is_train])
        return roc_auc_score(y[is_test], model.predict_proba(X[is_test])[:, 1])

    def network_on(log, max_epochs=8):
        network = LSTMClassifier(
            hidden_size=24,
            learning_rate=0.005,
            batch_size=256,
            max_epochs=max_epochs,
            random_state=0,
            n_networks=1,
        )
        X = log.attach(data.rows, cutoff="timestamp", allow_exact_matches=True)
        return auc(make_history_pipeline(network), X)

    logs = {"order": data.orders, "outcome": data.outcomes}
    merged = EventLog.concat({name: EventLog(t, *keys) for name, t in logs.items()})
    text = ["category", "payment"]
    static = data.rows.drop(columns=keys).astype(dict.fromkeys(text, "category"))
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    ceiling = roc_auc_score(y[is_test], data.probability[is_test])
    fitted = network_on(merged)
    assert auc(trees, static) + 0.05 < fitted
    assert ceiling - 0.03 < fitted < ceiling + 0.005
    assert network_on(EventLog(data.leaky_orders, *keys), 2) > ceiling + 0.1


def test_search_over_everything():
    """Parameters of all steps by nested names, in two processes."""
    names = {
        "encoder__min_frequency": [1, 3],
        "encoder__max_categories": [2, 100],
        "encoder__half_lives": ["auto", ["30D", "365D"]],
        "statics__numeric__simpleimputer__strategy": ["mean", "median"],
        "statics__category__onehotencoder__max_categories": [2, 50],
        "estimator__cell": ["lstm", "gru"],
        "estimator__hidden_size": [2, 4],
        "estimator__pooling": ["last", ["mean", "decay"]],
        "estimator__dropout": [0.0, 0.5],
        "estimator__learning_rate": [0.001, 0.01],
        "estimator__head_sizes": [(), (4,)],
    }
    assert set(names) <= set(MODEL.get_params())
    search = RandomizedSearchCV(
        MODEL, names, n_iter=4, cv=2, n_jobs=2, random_state=0, scoring="roc_auc"
    ).fit(X, Y)
    assert set(search.best_params_) == set(names)
    best = clone(MODEL).set_params(**search.best_params_).fit(X, Y)
    assert_array_equal(search.predict_proba(X), best.predict_proba(X))


def test_metadata_routing():
    """Weights find their way through a pipeline to fit, and not to the scorer."""
    weight = np.where(Y == "yes", 1.0, 1e-6)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LSTMClassifier(**SMALL).set_fit_request(sample_weight=True)
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        model = make_history_pipeline(estimator)
        weighted = clone(model).fit(X, Y, sample_weight=weight)
        routed = cross_validate(
            model,
            X,
            Y,
            cv=2,
            scoring=scoring,
            params={"sample_weight": weight},
            return_estimator=True,
        )
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            make_history_pipeline(LSTMClassifier(**SMALL)).fit(
                X, Y, sample_weight=weight
            )
        estimator.set_partial_fit_request(classes=True)
    assert (weighted.predict(X) == "yes").all()
    assert all((fold.predict(X) == "yes").all() for fold in routed["estimator"])
    plain = clone(MODEL).fit(X, Y, estimator__sample_weight=weight)
    assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))


def test_set_output():
    for table in ("default", "pandas"):
        encoded = HistoryEncoder().set_output(transform=table).fit_transform(X)
        assert isinstance(encoded["history"].dtype, HistoryDtype)
        model = clone(MODEL).set_output(transform=table).fit(X, Y)
        assert_is_probability(model.predict_proba(X))
        padder = make_history_pipeline(HistoryPadder()).set_output(transform=table)
        assert padder.fit_transform(X)["values"].ndim == 3


def test_polars_has_no_histories():
    polars = pytest.importorskip("polars")
    message = "polars has no column for histories; use .*transform='pandas'"
    with pytest.raises(TypeError, match=message):
        HistoryEncoder().set_output(transform="polars").fit_transform(X)
    with pytest.raises(TypeError, match=message):
        clone(MODEL).set_output(transform="polars").fit(X, Y)
    with sklearn.config_context(transform_output="polars"):
        assert_is_probability(clone(MODEL).fit(X, Y).predict_proba(X))
        assert isinstance(RFMFeatures().fit_transform(X), polars.DataFrame)
        with pytest.raises(TypeError, match=message):
            HistoryEncoder().fit_transform(X)
