"""skorch's callbacks, progress and the number of epochs."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    _ensemble_training,
)
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.neural_network import test_forward_validation as forward
from tests.neural_network.small_fits import COUNTS, Spy, X, Y, fit_and_see, make_frame
from tests.small_networks import SMALL


def test_callbacks_are_copied():
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)
    callbacks, before = [stop, ("named", Spy([]))], vars(stop).copy()
    model = LSTMClassifier(**{**SMALL, "max_epochs": 9}, callbacks=callbacks).fit(X, Y)
    assert model.n_iter_ == 2
    assert model.callbacks is callbacks
    assert callbacks == [stop, ("named", callbacks[1][1])]
    assert vars(stop) == before
    names = [name for name, _ in model.net_.callbacks_]
    assert {"EarlyStopping", "named"} <= set(names)
    assert clone(model).fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize(
    ("callbacks", "other"),
    [
        ([3], "3"),
        (("stop", EarlyStopping()), "'stop'"),  # not [("stop", EarlyStopping())]
        ([("stop", 3)], r"\('stop', 3\)"),
        ([()], r"\(\)"),
        ([EarlyStopping], "<class"),
    ],
)
def test_other_callbacks_are_refused(callbacks, other):
    with pytest.raises(TypeError, match=f"list of skorch callbacks.* is {other}"):
        LSTMClassifier(**SMALL, callbacks=callbacks).fit(X, Y)


def test_callbacks_see_the_epoch_that_stops_early(capsys):
    noise = np.random.default_rng(0).integers(0, 2, len(X))
    model = LSTMClassifier(**{**SMALL, "max_epochs": 30, "learning_rate": 0.1})
    model.set_params(early_stopping=True, n_iter_no_change=2)
    model, seen = fit_and_see(model, X, noise)
    assert model.n_iter_ < 30
    assert len(seen) == 1 + model.n_iter_
    # There is no message about restoring the best epoch.
    assert capsys.readouterr().out == ""


def test_scores_of_epochs():
    def accuracy(net, X, y):
        return (net.predict_proba(X).argmax(axis=1) == y).mean()

    scoring = EpochScoring(accuracy, name="accuracy", lower_is_better=False)
    on_train = EpochScoring(accuracy, name="train_accuracy", on_train=True)
    model = LSTMClassifier(**SMALL, early_stopping=True, callbacks=[scoring, on_train])
    model.fit(X, Y)
    scores = model.net_.history[:, ("accuracy", "train_accuracy")]
    assert all(0 <= score <= 1 for pair in scores for score in pair)


def test_scores_see_rows_in_the_order_of_their_predictions():
    """A score may use the weights and the targets of the rows."""

    def same(net, X, y):
        odds = np.exp(net.outputs(X).astype("float64"))
        seen.append((X.target, y, net.predict_proba(X), odds / odds.sum(1)[:, None]))
        return 0.0

    seen = []
    scoring = EpochScoring(same, name="same")
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.4)
    model.set_params(callbacks=[scoring]).fit(X, Y)
    assert len(seen) == 2
    for target, y, shares, expected in seen:
        assert_array_equal(target, y)
        # Rounding errors of probabilities are about 1e-7.
        assert_allclose(shares, expected, rtol=0, atol=1e-6)
        assert np.ptp(shares[:, 0]) > 1e-3


def test_learning_rate_schedule():
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    model = LSTMRegressor(**{**SMALL, "max_epochs": 3}, callbacks=[schedule])
    model.set_params(learning_rate=0.4).fit(X, Y)
    assert model.net_.history[:, "event_lr"] == [0.4, 0.2, 0.1]


@pytest.mark.parametrize(
    "schedule",
    [
        LRScheduler("StepLR", step_size=1, gamma=0.5),
        LRScheduler("StepLR", step_size=1, gamma=0.5, step_every="batch"),
        LRScheduler("LambdaLR", lr_lambda=lambda n_epochs: 0.5**n_epochs),
        LRScheduler("LambdaLR", lr_lambda=lambda n: 0.5**n, step_every="batch"),
    ],
)
def test_a_falling_rate_multiplies_that_of_a_schedule(schedule, monkeypatch):
    """It falls in a training on all rows; see `test_forward_validation`."""
    X = forward.X
    monkeypatch.setattr(_ensemble_training, "best_n_epochs", lambda net: 4)
    callbacks = [forward.Rates(seen := []), schedule]
    model = LSTMRegressor(**{**SMALL, "max_epochs": 4}, callbacks=callbacks)
    model.set_params(validation="forward", batch_size=len(X), learning_rate=0.01)
    model.fit(X, forward.COUNTS)
    assert_allclose(seen, 0.01 * np.array([1, 0.5, 0.75 / 4, 0.25 / 8]))


def test_checkpoints(tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path, f_pickle=None)
    model = LSTMClassifier(**SMALL, callbacks=[checkpoint]).fit(X, Y)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, tensor in model.net_.module_.state_dict().items():
        assert torch.equal(tensor, saved[name])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_progress(early_stopping, capsys):
    model = LSTMClassifier(**SMALL, early_stopping=early_stopping)
    model.fit(X, Y).predict(X)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=1).fit(X, Y)
    printed = capsys.readouterr().out
    assert "train_loss" in printed
    assert ("valid_loss" in printed) == early_stopping
    assert len(printed.splitlines()) >= 2 + model.n_iter_


@pytest.mark.parametrize(
    ("early_stopping", "max_epochs", "n_epochs"),
    [(True, "auto", 50), (False, "auto", 8), ("auto", "auto", 8), (False, 9, 9)],
)
def test_number_of_epochs(early_stopping, max_epochs, n_epochs):
    """Without early stopping, more epochs would overfit few rows."""
    model = LSTMRegressor(**{**SMALL, "max_epochs": max_epochs}, n_iter_no_change=99)
    model.set_params(early_stopping=early_stopping).fit(X, COUNTS)
    assert model.n_iter_ == n_epochs


class Interrupt(Callback):
    """Raise KeyboardInterrupt, as Ctrl-C does."""

    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_ctrl_c_is_not_caught_by_fit():
    model = LSTMClassifier(**SMALL, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    search = GridSearchCV(model, {"hidden_size": [2, 3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)


def test_epochs_are_counted_after_ctrl_c():
    model = LSTMRegressor(**SMALL).partial_fit(X, COUNTS)
    assert model.n_iter_ == 1
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Interrupt()]).partial_fit(X, COUNTS)
    assert model.n_iter_ == 2
    assert model.set_params(callbacks=None).partial_fit(X, COUNTS).n_iter_ == 3
    events = LSTMEventModel(hidden_size=4, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        events.fit(make_table())
    assert events.n_iter_ == 1


@pytest.mark.parametrize("scoring", ["roc_auc", "accuracy", "neg_log_loss"])
def test_scores_of_a_callback_are_those_of_the_validation_rows(scoring):
    frame, y = make_frame(40), make_y(make_frame(40))
    score = EpochScoring(scoring, name="score", lower_is_better=False)
    seen = []
    model = LSTMClassifier(**SMALL, early_stopping=True, validation_fraction=0.4)
    model.set_params(callbacks=[Spy(seen), score]).fit(frame, y)
    valid = seen[0][1]
    model.net_.module_.set_shift(None)  # learned after the last epoch
    odds = np.exp(model.net_.outputs(valid).astype("float64"))
    shares = odds / odds.sum(axis=1, keepdims=True)
    expected = {
        "roc_auc": lambda: roc_auc_score(valid.target, shares[:, 1]),
        "accuracy": lambda: (shares.argmax(axis=1) == valid.target).mean(),
        "neg_log_loss": lambda: -log_loss(valid.target, shares),
    }[scoring]()
    best = int(np.argmin([epoch["valid_loss"] for epoch in model.net_.history]))
    assert_allclose(model.net_.history[best]["score"], expected, atol=1e-5)
