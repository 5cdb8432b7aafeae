"""Weights averaged over steps."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from torch.nn.utils import parameters_to_vector

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "random_state": 0,
    "batch_size": 8,
    "n_networks": 1,
}
X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)


def weights_of(net):
    return parameters_to_vector(net.module_.parameters()).detach().numpy().copy()


class Watch(Callback):
    """Note the weights after steps and epochs, and losses of epochs."""

    def __init__(self):
        self.steps, self.epochs, self.losses = [], [], []

    def __deepcopy__(self, memo):
        return self

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.steps.append(weights_of(net))

    def on_epoch_end(self, net, dataset_valid, **kwargs):
        self.epochs.append(weights_of(net))
        if dataset_valid is not None:
            odds = np.exp(net.outputs(dataset_valid).astype(float))
            odds /= odds.sum(axis=1, keepdims=True)
            chosen = odds[np.arange(len(odds)), dataset_valid.target]
            self.losses.append(-np.log(chosen).mean())


def fit(averaged_steps, watch, **params):
    params = {"early_stopping": False, "max_epochs": 3, **SMALL, **params}
    model = LSTMClassifier(**params, averaged_steps=averaged_steps, callbacks=[watch])
    return model.fit(X, Y)


def running_mean(steps, n_steps):
    """The definition: a share for the newest that falls to one of n_steps."""
    mean = np.zeros_like(steps[0], dtype=float)
    for i, weights in enumerate(steps):
        share = max(1 / n_steps, 10 / (10 + i))
        mean = (1 - share) * mean + share * weights
    return mean


@pytest.mark.parametrize("n_steps", [1, 2, 1000])
def test_epochs_end_with_averaged_weights_and_continue_from_the_last(n_steps):
    plain, watch = Watch(), Watch()
    fit(1, plain)
    model = fit(n_steps, watch)
    assert_array_equal(watch.steps, plain.steps)
    n = len(watch.steps) // 3
    expected = [running_mean(watch.steps[: n * k], n_steps) for k in (1, 2, 3)]
    assert_allclose(watch.epochs, expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(weights_of(model.net_), watch.epochs[-1])
    assert np.isclose(expected, plain.epochs, 1e-5, 1e-6).all() == (n_steps == 1)


def test_early_stopping_evaluates_and_keeps_averaged_weights():
    watch = Watch()
    params = {"max_epochs": 40, "learning_rate": 0.05, "early_stopping": True}
    model = fit(20, watch, **params, n_iter_no_change=2)
    losses = model.net_.history[:, "valid_loss"]
    assert 2 < len(losses) < 40
    assert_allclose(losses, watch.losses, rtol=1e-5)
    assert_array_equal(weights_of(model.net_), watch.epochs[np.argmin(losses)])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interrupted_training_leaves_averaged_weights(early_stopping):
    class Impatient(Watch):
        def on_batch_end(self, net, training, **kwargs):
            super().on_batch_end(net, training)
            if len(self.steps) == 5:
                raise KeyboardInterrupt

    watch, model = Impatient(), LSTMClassifier(**SMALL, early_stopping=early_stopping)
    model.set_params(averaged_steps=100, callbacks=[watch])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    expected = running_mean(watch.steps, 100)
    assert_allclose(weights_of(model.net_), expected, rtol=0, atol=1e-6)


def test_training_interrupted_before_an_epoch_leaves_averaged_weights():
    """skorch takes an interruption outside of epochs for their end."""

    class Done(Watch):
        def on_epoch_begin(self, net, **kwargs):
            if len(self.epochs) == 2:
                raise KeyboardInterrupt

    watch = Done()
    model = fit(100, watch)
    assert len(watch.epochs) == 2
    expected = running_mean(watch.steps, 100)
    assert_allclose(weights_of(model.net_), expected, rtol=0, atol=1e-6)


def test_one_step_is_its_own_mean():
    one = {**SMALL, "batch_size": 1000, "callbacks": None}
    averaged, plain = (
        LSTMClassifier(**one, averaged_steps=n).partial_fit(X, Y, classes=[0, 1])
        for n in (200, 1)
    )
    assert_array_equal(weights_of(averaged.net_), weights_of(plain.net_))


def test_continued_calls_equal_one_training():
    watch = Watch()
    model = fit(20, watch, warm_start=True)
    model = pickle.loads(pickle.dumps(model)).set_params(callbacks=[watch])
    model.fit(X, Y).partial_fit(X, Y)
    expected = running_mean(watch.steps, 20)
    assert_allclose(weights_of(model.net_), expected, rtol=1e-5, atol=1e-6)
    for before, after in pairwise(watch.steps):
        assert np.abs(after - before).max() < 0.01  # five times the learning rate


def test_training_continues_from_the_best_epoch():
    watch = Watch()
    params = {"warm_start": True, "max_epochs": 40, "learning_rate": 0.05}
    model = fit(20, watch, **params, early_stopping=True, n_iter_no_change=2)
    best = weights_of(model.net_)
    model.set_params(learning_rate=1e-9, max_epochs=1).fit(X, Y)
    assert_allclose(weights_of(model.net_), best, atol=1e-6)


def test_no_second_copy_of_the_weights_is_kept():
    big = {"hidden_size": 64, "callbacks": None}
    averaged, plain = (
        LSTMClassifier(**{**SMALL, **big}, max_epochs=1, averaged_steps=n).fit(X, Y)
        for n in (200, 1)
    )
    assert abs(len(pickle.dumps(averaged)) - len(pickle.dumps(plain))) < 200
