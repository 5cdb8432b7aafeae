"""Interruptions and callbacks of the training on all rows, after the one forward."""

import re
from contextlib import nullcontext

import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from skorch.exceptions import SkorchException
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sklearn_seqcrm.neural_network import LSTMClassifier, _ensemble_training
from tests.neural_network.forward_rows import X, Y
from tests.neural_network.small_fits import Watcher
from tests.small_networks import SMALL

# Files that a Checkpoint would write into the working directory.
FILES = ("f_params", "f_optimizer", "f_criterion", "f_history")


class EndsSecond(Callback):
    """Raise the KeyboardInterrupt of a user in the training without validation rows.

    Within a step skorch raises it again. Between steps it ends the training.
    """

    def __init__(self, within):
        self.within = within

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.is_second = X[1] is None

    def on_batch_begin(self, net, **kwargs):
        if self.within and self.is_second:
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        if not self.within and self.is_second:
            raise KeyboardInterrupt


class EndsThird(Watcher):
    """Raise KeyboardInterrupt in the second of the trainings on all rows."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen.append(X)

    def on_batch_begin(self, net, **kwargs):
        if len(self.seen) == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("within", [False, True])
def test_the_first_network_is_kept_if_the_second_one_is_interrupted(
    within, monkeypatch
):
    monkeypatch.setattr(_ensemble_training, "best_n_epochs", lambda net: 2)
    first = LSTMClassifier(**SMALL, validation="forward", refit=False).fit(X, Y)
    model = LSTMClassifier(
        **SMALL, validation="forward", callbacks=[EndsSecond(within)]
    )
    with pytest.raises(KeyboardInterrupt) if within else nullcontext():
        model.fit(X, Y)
    assert_array_equal(model.predict_proba(X), first.predict_proba(X))
    assert model.n_iter_ == first.n_iter_ == 2
    assert model.validation_ == first.validation_


def test_networks_of_all_rows_stay_if_a_callback_of_skorch_ends_their_training(
    monkeypatch,
):
    """Networks with fewer epochs than the first training had chosen were discarded."""
    monkeypatch.setattr(_ensemble_training, "best_n_epochs", lambda net: 4)
    # A loss of two epochs is never lower by so much: it ends after two.
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)
    model = LSTMClassifier(**{**SMALL, "max_epochs": 4, "n_networks": 2})
    model.set_params(validation="forward", callbacks=[("es", stop)]).fit(X, Y)
    assert [len(net.history) for net in model.nets_] == [2, 2]
    assert model.validation_["n_epochs"] == 2
    assert all("valid_loss" not in net.history[-1] for net in model.nets_)


@pytest.mark.parametrize(
    ("callback", "error"),
    [
        (EarlyStopping(), KeyError),
        (Checkpoint(**dict.fromkeys(FILES)), SkorchException),
        (LRScheduler(ReduceLROnPlateau, monitor="valid_loss"), ValueError),
    ],
)
def test_callbacks_that_monitor_validation_rows_where_there_are_none(callback, error):
    model = LSTMClassifier(**SMALL, validation="forward", callbacks=[callback])
    with pytest.raises(error, match="valid") as caught:
        model.fit(X, Y)
    assert re.search("no validation rows.*refit=False", caught.value.__notes__[0])


def test_other_errors_of_callbacks_have_no_note():
    class Wrong(Callback):
        def on_epoch_end(self, net, **kwargs):
            {}["invalid"]

    with pytest.raises(KeyError) as caught:
        LSTMClassifier(**SMALL, early_stopping=False, callbacks=[Wrong()]).fit(X, Y)
    assert not hasattr(caught.value, "__notes__")


class Stop:
    """Callback of scikit-learn that ends training after some epoch of all trainings."""

    def __init__(self, last):
        self.last = last

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id == self.last


@pytest.mark.parametrize(
    ("last", "epochs"),
    [
        (4, [4]),  # in the second training, which is discarded
        (7, [4]),  # with its last epoch
        (9, [4]),  # in the third one
        (11, [4, 4]),
    ],
)
def test_a_callback_of_scikit_learn_ends_the_trainings(last, epochs, monkeypatch):
    """Three trainings have 4 epochs each: 0 to 3 forward, the others on all rows."""
    pytest.importorskip("sklearn.callback")  # scikit-learn 1.9
    monkeypatch.setattr(_ensemble_training, "best_n_epochs", lambda net: 4)
    model = LSTMClassifier(**{**SMALL, "max_epochs": 4, "n_networks": 2})
    model.set_params(validation="forward").set_callbacks(Stop(last)).fit(X, Y)
    assert [len(net.history) for net in model.nets_] == epochs
    assert model.validation_["n_epochs"] == (None if last == 4 else 4)
    assert ("valid_loss" in model.nets_[0].history[-1]) == (last == 4)


def test_networks_that_are_complete_stay_if_a_later_one_is_interrupted():
    """Networks of all rows replace the first one, which was trained on fewer."""
    one = LSTMClassifier(**SMALL, validation="forward").fit(X, Y)
    several = LSTMClassifier(**{**SMALL, "n_networks": 3}, validation="forward")
    model = several.set_params(callbacks=[EndsThird([])])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert len(model.nets_) == 1
    assert_array_equal(model.predict_proba(X), one.predict_proba(X))
    assert model.validation_ == one.validation_
