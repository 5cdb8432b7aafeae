"""Trainings that are broken off and continued, in a group of one process."""

import os
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.training import HistoryNet
from sklearn_seqcrm.distributed import fit_rank
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._base import learn_events
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    _ensemble_training,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count
from tests.distributed.cases import snapshots
from tests.distributed.ranks import JOURNEYS, group_of_one, journeys

SMALL = {"hidden_size": 8, "max_epochs": 5, "batch_size": 128, "random_state": 0}
ONE = {**SMALL, "n_networks": 1}


class BrokenOffError(Exception):
    """The end of a process."""


@pytest.fixture
def group(tmp_path):
    with group_of_one(tmp_path):
        yield


def rows(n=300):
    """Return encoded rows and labels."""
    X, y = journeys()
    before = make_history_pipeline(LSTMClassifier())[:-1]
    return before.fit_transform(X)[:n], y[:n]


def break_off(monkeypatch, n_steps):
    """Let the step after so many raise an exception; return a list of their number."""
    count, step = [0], HistoryNet.train_step_single

    def counted(self, *args, **kwargs):
        count[0] += 1
        if count[0] > n_steps:
            raise BrokenOffError
        return step(self, *args, **kwargs)

    monkeypatch.setattr(HistoryNet, "train_step_single", counted)
    return count


def weights(model):
    return [
        tensor.numpy()
        for net in model.nets_
        for tensor in net.module_.state_dict().values()
    ]


@pytest.mark.parametrize("n_steps", [1, 5, 12])
def test_broken_training_continues_with_equal_results(
    group, tmp_path, monkeypatch, n_steps
):
    X, y = rows()
    networks = {"n_networks": 2, "max_epochs": 4, "n_iter_no_change": 2}
    expected = LSTMClassifier(**SMALL | networks).fit(X, y)
    path = tmp_path / "checkpoint"
    model = LSTMClassifier(**SMALL | networks)
    with monkeypatch.context() as patch:
        break_off(patch, n_steps)
        with pytest.raises(BrokenOffError):
            fit_rank(model, X, y, checkpoint=path)
    assert path.exists() == (n_steps > 1)  # two steps an epoch
    model = fit_rank(LSTMClassifier(**SMALL | networks), X, y, checkpoint=path)
    for found, wanted in zip(weights(model), weights(expected), strict=True):
        assert_array_equal(found, wanted)
    assert model.n_iter_ == expected.n_iter_
    losses = [net.history[:, "valid_loss"] for net in model.nets_]
    assert losses == [net.history[:, "valid_loss"] for net in expected.nets_]
    assert list(tmp_path.glob("checkpoint*")) == []


def test_the_number_of_epochs_is_found_after_a_restart(group, tmp_path, monkeypatch):
    """Losses of customers before the restart are kept."""
    X, _ = snapshots()
    y = future_count(X, horizon="30D")
    X = make_history_pipeline(LSTMRegressor())[:-1].fit_transform(X)
    params = ONE | {"loss": "poisson", "batch_size": 256, "validation": "forward"}
    params |= {"n_iter_no_change": 4, "max_epochs": 8}
    found = []
    monkeypatch.setattr(
        _ensemble_training,
        "best_n_epochs",
        lambda net: found.append(net.history[:, "is_as_good"]) or 2,
    )
    with monkeypatch.context() as patch:
        count = break_off(patch, np.inf)
        LSTMRegressor(**params, refit=False).fit(X, y)
    LSTMRegressor(**params).fit(X, y)
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, count[0] - 1)  # in the last epoch of the first training
        with pytest.raises(BrokenOffError):
            fit_rank(LSTMRegressor(**params), X, y, checkpoint=path)
    fit_rank(LSTMRegressor(**params), X, y, checkpoint=path)
    expected, again = found
    assert again == expected
    assert len(expected) > 4
    assert 0 < sum(expected) < len(expected)


def test_a_falling_rate_continues(group, tmp_path, monkeypatch):
    """It falls in the second half of the training on all rows."""
    X, _ = snapshots()
    y = future_count(X, horizon="30D")
    X = make_history_pipeline(LSTMRegressor())[:-1].fit_transform(X)
    params = ONE | {"loss": "poisson", "batch_size": 256}
    with monkeypatch.context() as patch:
        count = break_off(patch, np.inf)
        expected = LSTMRegressor(**params).fit(X, y)
    assert expected.validation_["n_epochs"] > 1
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, count[0] - 1)  # in the last epoch
        with pytest.raises(BrokenOffError):
            fit_rank(LSTMRegressor(**params), X, y, checkpoint=path)
    model = fit_rank(LSTMRegressor(**params), X, y, checkpoint=path)
    for found, wanted in zip(weights(model), weights(expected), strict=True):
        assert_array_equal(found, wanted)


def test_seed_of_the_start_is_kept(group, tmp_path, monkeypatch):
    X, y = rows()
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            fit_rank(
                LSTMClassifier(**ONE | {"random_state": None}), X, y, checkpoint=path
            )
    before = torch.load(path, weights_only=False)
    model = fit_rank(
        LSTMClassifier(**ONE | {"random_state": None}), X, y, checkpoint=path
    )
    [seeds] = before["values"][0]
    assert model.net_.shuffle_seed == seeds.batches
    assert before["current"]["n_epochs"] == 2


def test_event_model_continues(group, tmp_path, monkeypatch):
    X, _ = journeys()
    params = SMALL | {"max_epochs": 2, "batch_size": 64}
    expected = LSTMEventModel(**params).fit(X)
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            fit_rank(LSTMEventModel(**params), X, checkpoint=path)
    assert path.exists()
    model = fit_rank(LSTMEventModel(**params), X, checkpoint=path)
    assert_array_equal(model.score_samples(X), expected.score_samples(X))


def test_other_checkpoints_are_refused(group, tmp_path, monkeypatch):
    X, y = rows()
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=path)
    whole = path.read_bytes()
    for model, labels in (
        (LSTMClassifier(**ONE | {"hidden_size": 9}), y),
        (LSTMClassifier(**ONE), 1 - y),
    ):
        with pytest.raises(ValueError, match="is the checkpoint of another training"):
            fit_rank(model, X, labels, checkpoint=path)
    for content in (whole[: len(whole) // 2], b"", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no checkpoint that can be read"):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=path)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_checkpoint_of_other_rows_or_steps(group, tmp_path, monkeypatch, where):
    events, table = JOURNEYS.events, JOURNEYS.rows.assign(points=np.arange(300) % 9)
    dearer = events.assign(amount=2 * events["amount"])
    labels = np.asarray(JOURNEYS.target)

    def read(events, rows):
        log = EventLog(events, customer="customer_id", time="timestamp")
        if where == "disk":
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
            log.to_disk(path)
            log = EventLog.open(path)
        return log.attach(rows, cutoff="cutoff")

    def pipeline(n_seen=300):
        model = make_history_pipeline(LSTMClassifier(**ONE))
        model[:-1].fit(read(events, table)[:n_seen])
        return model

    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            fit_rank(pipeline(), read(events, table), labels, checkpoint=path)
    for model, X in (
        (pipeline(20), read(events, table)),
        (pipeline(), read(dearer, table)),
        (pipeline(), read(events, table.assign(points=1.0))),
    ):
        with pytest.raises(ValueError, match="is the checkpoint of another training"):
            fit_rank(model, X, labels, checkpoint=path)
    fit_rank(pipeline(), read(events, table), labels, checkpoint=path)
    assert not path.exists()


def test_checkpoint_that_cannot_be_written(group, tmp_path):
    X, y = rows(100)
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "checkpoint")
    os.mkfifo(tmp_path / "pipe")
    names = ".", "absent/checkpoint", "link", "pipe"
    for path in (tmp_path / name for name in names):
        with pytest.raises(ValueError, match="must be a file in a folder that exists"):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=path)
    for path in (3, b"checkpoint"):
        with pytest.raises(TypeError, match="checkpoint must be the path of a file"):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=path)


def test_a_link_to_a_checkpoint_stays(group, tmp_path, monkeypatch):
    X, y = rows()
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    with monkeypatch.context() as patch:
        break_off(patch, 5)
        with pytest.raises(BrokenOffError):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=link)
    assert link.is_symlink()
    assert file.exists()
    fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=link)
    assert link.is_symlink()
    assert not file.exists()


def test_half_written_file_is_not_left(group, tmp_path, monkeypatch):
    X, y = rows()
    path = tmp_path / "checkpoint"

    def fail(file):
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk is full"):
            fit_rank(LSTMClassifier(**ONE), X, y, checkpoint=path)
    assert list(tmp_path.glob("checkpoint*")) == []


def test_fitted_estimator_is_an_ordinary_one(group):
    X, y = rows()
    model = fit_rank(LSTMClassifier(**ONE), X, y)
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert "_ranks" not in vars(model)
    assert "ranks" not in vars(model.net_)
    model.partial_fit(X, y)  # alone


def test_a_fit_beside_a_group_is_not_synchronised(group):
    X, y = rows()
    inside = LSTMClassifier(**ONE).fit(X, y)
    assert inside.net_.ranks.size == 1
    assert type(inside.net_.ranks).__name__ == "Ranks"


def test_arguments_that_ranks_cannot_take(group):
    X, y = rows(100)
    with pytest.raises(TypeError, match="LogisticRegression is no recurrent network"):
        fit_rank(LogisticRegression(), np.zeros((4, 1)), [0, 1, 0, 1])
    with pytest.raises(TypeError, match="is the class LSTMClassifier; pass an"):
        fit_rank(LSTMClassifier, X, y)
    with pytest.raises(ValueError, match="LSTMClassifier has callbacks"):
        fit_rank(LSTMClassifier(callbacks=[Callback()]), X, y)
    raw, labels = journeys()
    with pytest.raises(ValueError, match="The steps before LSTMClassifier must be"):
        fit_rank(make_history_pipeline(LSTMClassifier()), raw, labels)
    with pytest.raises(ValueError, match="requires y to be passed"):
        fit_rank(LSTMClassifier(), X)


def test_statics_that_are_encoded_by_the_target(group):
    raw, labels = journeys()
    raw = raw.assign(shop=[f"shop {i % 60}" for i in range(len(raw))])
    model = make_history_pipeline(LSTMClassifier(), many_levels="target")
    model[:-1].fit(raw, labels)
    with pytest.raises(ValueError, match="Statics are encoded by the target"):
        fit_rank(model, raw, labels)


def test_callbacks_of_scikit_learn(group):
    callbacks = pytest.importorskip("sklearn.callback")
    X, y = rows(100)
    model = LSTMClassifier().set_callbacks(callbacks.ScoringMonitor(scoring="accuracy"))
    with pytest.raises(ValueError, match="has callbacks of scikit-learn"):
        fit_rank(model, X, y)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_event_model_learns_from_a_sample_of_customers(
    group, tmp_path, monkeypatch, where
):
    log = EventLog(JOURNEYS.events, customer="customer_id", time="timestamp")
    if where == "disk":
        log.to_disk(tmp_path / "log")
        log = EventLog.open(tmp_path / "log")
    X = log.attach(JOURNEYS.rows, cutoff="cutoff")
    seen = []

    def learned(table, *args):
        [array] = table.histories.values()
        assert not array.log.is_on_disk  # a path would mean nothing to other machines
        seen.append(int(array.lengths.sum()))
        return learn_events(table, *args)

    monkeypatch.setattr("sklearn_seqcrm.event_model._base.learn_events", learned)
    small = SMALL | {"max_epochs": 1}
    whole = fit_rank(LSTMEventModel(**small), X)
    raw, _ = journeys()
    assert_array_equal(
        whole.score_samples(X), fit_rank(LSTMEventModel(**small), raw).score_samples(X)
    )
    monkeypatch.setattr(
        "sklearn_seqcrm.distributed._process_ranks._EVENTS_TO_LEARN", 500
    )
    model = fit_rank(LSTMEventModel(**small), X)
    assert 400 < seen[-1] < 700 < seen[0]
    assert np.isfinite(model.score_samples(X)).all()


def test_moments_on_the_disk_are_those_in_memory(group, tmp_path):
    n = 3 * len(JOURNEYS.events)
    lines = JOURNEYS.events.loc[JOURNEYS.events.index.repeat(3)]
    lines = lines.assign(
        product=np.tile(["cup", "plate", "bowl", "jug"], n // 4 + 1)[:n]
    )
    log = EventLog(lines, customer="customer_id", time="timestamp")
    log.to_disk(tmp_path / "log")
    outputs = []
    for one in (log, EventLog.open(tmp_path / "log")):
        X = one.attach(JOURNEYS.rows, cutoff="cutoff")
        encoded = make_history_pipeline(LSTMClassifier())[:-1].fit_transform(X)
        assert encoded["history"].array.log.layout.moments == 0
        model = fit_rank(LSTMClassifier(**ONE), encoded, JOURNEYS.target)
        outputs.append(model.predict_proba(encoded))
    assert_array_equal(*outputs)
