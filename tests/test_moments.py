"""Pipelines whose networks read moments, through what users do with pipelines."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.calibration import ConformalRegressor
from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import check_no_leakage, compare_models
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_rows
from tests.small_networks import SMALL

LINES = make_events(12)
LINES["when"] = LINES["when"].dt.floor("120D") + pd.Timedelta("9h")
ROWS = make_rows(12)
X = EventLog(LINES, "who", "when").attach(ROWS, cutoff="at")
PERMUTED = EventLog(LINES.sample(frac=1, random_state=0), "who", "when").attach(
    ROWS, cutoff="at"
)
Y = np.random.default_rng(0).random(len(X)) < 0.4
NUMBERS = 1.0 + np.arange(len(X)) % 7


def pipeline(estimator=LSTMClassifier, moments=True, **options):
    network = estimator(**{**SMALL, **options})
    return make_history_pipeline(network).set_params(encoder__moments=moments)


@pytest.fixture(scope="module")
def model():
    return pipeline().fit(X, Y)


def test_copies(model, tmp_path):
    expected = model.predict_proba(X)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        joblib.load(tmp_path / "model.joblib"),
        clone(model).fit(X, Y),
    ):
        assert_array_equal(other.predict_proba(X), expected)
    encoded = model[:-1].transform(X)
    some = pickle.loads(pickle.dumps(encoded.iloc[::3]))
    assert_allclose(model[-1].predict_proba(some), expected[::3], atol=1e-6)
    mixed = pd.concat([encoded.iloc[7:], encoded.iloc[:7]])
    found = model[-1].predict_proba(mixed)
    assert_allclose(found, np.roll(expected, -7, axis=0), atol=1e-6)


def test_threads(model):
    calls = (joblib.delayed(model.predict_proba)(X.iloc[i::2]) for i in range(2))
    workers = joblib.Parallel(n_jobs=2, backend="threading")
    for i, found in enumerate(workers(calls)):
        assert_allclose(found, model.predict_proba(X)[i::2], atol=1e-6)


def test_no_leakage(model):
    check_no_leakage(model, X, n_cutoffs=3)


def test_search_over_moments():
    grid = {"encoder__moments": [False, True, "400D", "auto"]}
    search = GridSearchCV(pipeline(), grid, cv=GroupKFold(2), scoring="neg_log_loss")
    search.fit(X, Y, groups=X["who"])
    by_event, at_once, in_periods, auto = search.cv_results_["mean_test_score"]
    assert len({by_event, at_once, in_periods}) == 3
    assert auto == at_once


def test_comparison_of_models():
    models = {"moments": pipeline(), "events": pipeline(moments=False)}
    options = {"cv": GroupKFold(2), "groups": X["who"], "scoring": "neg_log_loss"}
    found = compare_models(models, X, Y, **options)
    other = compare_models(models, PERMUTED, Y, **options)
    scores, permuted = (
        one.summary.set_index("model")["score"] for one in (found, other)
    )
    assert scores["moments"] == permuted["moments"]
    assert scores["events"] != permuted["events"]


@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor])
def test_hybrids(estimator):
    y = Y if estimator is LSTMClassifier else NUMBERS
    hybrid = make_hybrid(pipeline(estimator), cv=2, random_state=0).fit(X, y)
    assert hybrid.lstm_[0].layouts_["history"].moments == 0
    expected = hybrid.predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(hybrid)).predict(X), expected)


def test_intervals():
    network = pipeline(LSTMRegressor, loss="quantile", quantile=[0.25, 0.5, 0.75])
    few = {"confidence_level": 0.5, "calibration_fraction": 0.5, "random_state": 0}
    conformal = ConformalRegressor(network, conformity_score="cqr", **few)
    conformal.fit(X, NUMBERS)
    expected = conformal.predict_interval(X)
    assert np.isfinite(expected).all()
    assert_array_equal(conformal.predict_interval(PERMUTED), expected)


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (LSTMRegressor, {"n_networks": 2}),
        (LSTMRegressor, {"loss": "zero_inflated_lognormal", "early_stopping": True}),
        (LSTMSurvival, {"bins": [1.0, 3.0], "n_networks": 2}),
        (LSTMClassifier, {"n_networks": 2, "category_dropout": 0.5}),
    ],
)
def test_estimators_that_are_trained_on_other_orders(estimator, options):
    y = {LSTMClassifier: Y, LSTMRegressor: NUMBERS - 1}.get(estimator)
    if y is None:
        y = pd.DataFrame({"event": Y, "time": NUMBERS})
    model = pipeline(estimator, **options).fit(X, y)
    other = pipeline(estimator, **options).fit(PERMUTED, y)
    assert_array_equal(other.predict(X), model.predict(X))


def test_warm_start_needs_the_same_steps():
    model = pipeline(warm_start=True).fit(X, Y)
    once = model.predict_proba(X)
    assert (model.fit(X, Y).predict_proba(X) != once).any()
    for moments in (False, "400D"):
        model.set_params(encoder__moments=moments)
        with pytest.raises(ValueError, match="Use the encoder that was fitted with it"):
            model.fit(X, Y)


@pytest.mark.parametrize(("moments", "step"), [(False, None), (True, 0.0)])
def test_pretrained_models_keep_their_steps(moments, step):
    """Weights of a step of one event mean nothing to moments, and the reverse."""
    event_model = LSTMEventModel(
        hidden_size=4, max_epochs=1, moments=moments, random_state=0
    ).fit(X)
    network = LSTMClassifier(**SMALL, pretrained=event_model)
    for other in (False, True):
        model = make_history_pipeline(network).set_params(encoder__moments=other)
        model.fit(X, Y)
        assert model[0].layouts_["history"].moments == step
    model.set_params(encoder__pretrained=None, encoder__moments=not moments)
    with pytest.raises(ValueError, match="is encoded as the events that pretrained"):
        model.fit(X, Y)


def test_pretrained_encoders_keep_their_steps():
    for moments, step in ((False, None), (True, 0.0)):
        encoder = HistoryEncoder(moments=moments).fit(X)
        other = HistoryEncoder(pretrained=encoder).fit(X)
        assert other.layouts_["history"].moments == step


def test_padded_tensors_in_a_pipeline_and_a_search():
    encoder, padder = HistoryEncoder(moments=True), HistoryPadder()
    cut = make_pipeline(
        encoder, HistoryPadder(max_length=4), LSTMClassifier(**SMALL)
    ).fit(X[["history"]], Y)
    assert cut.predict_proba(X).shape == (len(X), 2)
    tensors = padder.fit_transform(encoder.fit_transform(X[["history"]]))
    search = GridSearchCV(LSTMClassifier(**SMALL), {"cell": ["gru", "lstm"]}, cv=2)
    search.fit(tensors, Y)
    found = search.predict_proba(pickle.loads(pickle.dumps(tensors)))
    expected = search.predict_proba(encoder.transform(X[["history"]]))
    assert_allclose(found, expected, atol=1e-6)


def test_plain_tensors_have_no_moments():
    # Without numbers, moments have as many channels as padded events with their age.
    log = EventLog(LINES[["who", "when", "kind"]], "who", "when")
    encoded = HistoryEncoder(moments=True).fit_transform(
        log.attach(ROWS[["who", "at"]], cutoff="at")
    )
    tensors = HistoryPadder().fit_transform(encoded)
    model = LSTMClassifier(**SMALL).fit(tensors, Y)
    with pytest.raises(ValueError, match=r"\[\(6, 1\)\] .* on \[\(6, 1, 'moments'\)\]"):
        model.predict(dict(tensors))


@pytest.mark.filterwarnings("ignore:None of the:UserWarning")
@pytest.mark.filterwarnings("ignore:All .* histories:UserWarning")
@pytest.mark.parametrize("moments", [True, "1D", "auto"])
def test_histories_that_are_all_empty(moments):
    nobody = EventLog(LINES.assign(who="nobody"), "who", "when").attach(
        ROWS, cutoff="at"
    )
    for rows in (X, nobody):
        model = pipeline(moments=moments).fit(rows, Y)
        assert np.isfinite(model.predict_proba(nobody)).all()
        assert np.isfinite(model.predict_proba(X)).all()
