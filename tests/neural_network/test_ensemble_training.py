"""The networks of an ensemble are trained and predict at the same time."""

import _thread
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.training._net import HistoryNet
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import churned, future_count, time_to_next
from tests.logs import log_of_table
from tests.neural_network.small_fits import Watcher
from tests.small_networks import SMALL


def make_table(n_customers=300):
    rng = np.random.default_rng(0)
    n_events = rng.poisson(8, n_customers) + 1
    who = np.repeat(np.arange(n_customers), n_events)
    return pd.DataFrame({"who": who, "day": rng.integers(0, 100, len(who))})


RAW = log_of_table(make_table()).snapshots([20, 40, 60, 80])
X = HistoryEncoder().fit_transform(RAW)[["history"]]
Y = churned(RAW, 10)
SEVERAL = {**SMALL, "n_networks": 3, "dropout": 0.5, "batch_size": 64}


@pytest.fixture
def threads_of(monkeypatch):
    """Return a function that calls another with a limit of threads.

    It returns the result, and the threads that computed with networks.
    """
    seen, before = set(), torch.get_num_threads()
    outputs_of = HistoryNet._outputs_of

    def watched(net, part):
        seen.add(threading.current_thread())
        return outputs_of(net, part)

    monkeypatch.setattr(HistoryNet, "_outputs_of", watched)

    def call(limit, function, *args):
        seen.clear()
        torch.set_num_threads(limit)
        return function(*args), seen - {threading.main_thread()}

    yield call
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "options", "target"),
    [
        (LSTMClassifier, {"validation": "forward"}, Y),
        (LSTMClassifier, {"validation": "customers"}, Y),
        (LSTMClassifier, {"early_stopping": False}, Y),
        (LSTMRegressor, {"loss": "poisson"}, future_count(RAW, 10)),
        (LSTMRegressor, {}, future_count(RAW, 10)),
        (LSTMSurvival, {}, time_to_next(RAW, 15)),
    ],
)
def test_networks_in_threads_equal_those_one_after_the_other(
    kind, options, target, threads_of
):
    models, predictions = [], []
    for limit in (1, 2):
        model = kind(**SEVERAL, **options)
        _, threads = threads_of(limit, model.fit, X, target)
        assert bool(threads) == (limit > 1)
        found, threads = threads_of(limit, model.predict, X)
        assert bool(threads) == (limit > 1)
        assert len(model.nets_) == 3
        models.append(model)
        predictions.append(found)
    assert_array_equal(*predictions)
    one, other = models
    assert other.validation_ == one.validation_
    assert other.n_iter_ == one.n_iter_
    for net, expected in zip(other.nets_, one.nets_, strict=True):
        assert net.history[:, "train_loss"] == expected.history[:, "train_loss"]


def test_continued_trainings_in_threads_equal_those_one_after_the_other(threads_of):
    found = []
    for limit in (1, 3):
        model = LSTMClassifier(**SEVERAL, warm_start=True)

        def fit(model=model):
            return model.fit(X, Y).fit(X, Y).partial_fit(X, Y).predict_proba(X)

        one, threads = threads_of(limit, fit)
        assert bool(threads) == (limit > 1)
        assert model.n_iter_ == 5
        found.append(one)
    assert_array_equal(*found)


def test_networks_may_have_other_batch_sizes(threads_of):
    """After a fit with `warm_start` that was interrupted."""
    model = LSTMClassifier(**SEVERAL).fit(X, Y)
    many = pd.concat([X, X], ignore_index=True)
    expected = model.predict_proba(many)
    model.nets_[0].batch_size = 1500
    for limit in (1, 2):
        found, _ = threads_of(limit, model.predict_proba, many)
        assert_allclose(found, expected, rtol=1e-6)


def test_loaded_models_predict_in_threads(threads_of):
    model = pickle.loads(pickle.dumps(LSTMClassifier(**SEVERAL).fit(X, Y)))
    _, threads = threads_of(2, model.predict_proba, X)
    assert threads


def test_few_rows_are_predicted_without_threads(threads_of):
    model = LSTMClassifier(**SEVERAL).fit(X, Y)
    found, threads = threads_of(3, model.predict_proba, X.iloc[:20])
    assert not threads
    assert_allclose(found, model.predict_proba(X)[:20], rtol=1e-6)


@pytest.mark.parametrize("options", [{"verbose": 1}, {"callbacks": [Watcher([])]}])
def test_observed_networks_are_trained_one_after_the_other(options, threads_of):
    for train in ("fit", "partial_fit"):
        model = LSTMRegressor(**SEVERAL, **options)
        _, threads = threads_of(3, getattr(model, train), X, Y)
        assert not threads


@pytest.mark.parametrize(("hidden_size", "n_threads"), [(128, 1), (129, 2)])
@pytest.mark.parametrize("options", [{}, {"verbose": 1}])
def test_kernels_of_usual_networks_use_one_thread(
    hidden_size, n_threads, options, monkeypatch, threads_of
):
    seen = set()
    forward = HistoryNet.get_loss

    def watched(net, *args, **kwargs):
        seen.add(torch.get_num_threads())
        return forward(net, *args, **kwargs)

    monkeypatch.setattr(HistoryNet, "get_loss", watched)
    few = {**SMALL, "hidden_size": hidden_size, "max_epochs": 1, "n_networks": 1}
    threads_of(2, LSTMClassifier(**few, **options).fit, X, Y)
    assert seen == {n_threads}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("validation", ["forward", "customers"])
def test_an_interrupted_fit_leaves_a_usable_model(validation, threads_of, monkeypatch):
    train = HistoryNet.train_step_single
    seen = set()

    def interrupted(net, *args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            if net not in seen and len(seen) == 1:
                _thread.interrupt_main()
            seen.add(net)
        return train(net, *args, **kwargs)

    monkeypatch.setattr(HistoryNet, "train_step_single", interrupted)
    options = {**SEVERAL, "max_epochs": 500, "n_iter_no_change": 500}
    if validation == "forward":  # the first training is that of one network
        options |= {"max_epochs": 2}
        monkeypatch.setattr(
            "sklearn_seqcrm.neural_network._ensemble_training.best_n_epochs",
            lambda net: 500,
        )
    model = LSTMClassifier(**options, validation=validation)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        threads_of(2, model.fit, X, Y)
    # Of the networks of all rows none is complete: the first one stays.
    assert len(model.nets_) == (1 if validation == "forward" else 2)
    assert np.isfinite(model.predict_proba(X)).all()
    assert set(threading.enumerate()) <= before


def test_networks_that_diverge_in_threads_are_deleted(threads_of):
    model = LSTMRegressor(**{**SEVERAL, "learning_rate": 1e30, "dropout": 0.0})
    with pytest.raises(ValueError, match="Lower learning_rate"):
        threads_of(3, model.fit, X, future_count(RAW, 10).astype(float))
    assert not hasattr(model, "nets_")
