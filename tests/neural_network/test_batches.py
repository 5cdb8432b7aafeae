"""Batches: their parts, sizes, gradients and random order."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    _batches,
    automatic_batch_size,
    read_inputs,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.network import _reader
from sklearn_seqcrm._recurrent.training import _net
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder
from tests.neural_network.small_fits import COUNTS, Watcher, X, Y, fit_and_see
from tests.small_networks import EXACT, SMALL

# Parts of batches ---------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model", [LSTMClassifier(**EXACT), LSTMRegressor(**EXACT)])
def test_a_batch_in_parts_has_the_same_gradients(model, weighted, monkeypatch):
    weight = np.linspace(0, 3, len(X)) if weighted else None
    whole, seen = fit_and_see(model, X, Y, sample_weight=weight)
    # At most 20 steps of 4 units at once, even if that is one sequence.
    monkeypatch.setattr(_batches, "_STATES_TO_TRAIN", 80)
    monkeypatch.setattr(_batches, "_STATES_TO_PREDICT", 80)
    monkeypatch.setattr(_batches, "_MOST_STATES", 80)
    parts, seen_in_parts = fit_and_see(model, X, Y, sample_weight=weight)
    assert len(next(iter(parts.net_.get_iterator(seen_in_parts[0][0])))[0].parts) > 2
    for (_, one), (_, other) in zip(seen[1:], seen_in_parts[1:], strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5)
    losses = [net.net_.history[:, "train_loss"] for net in (whole, parts)]
    assert_allclose(*losses, rtol=1e-5)
    assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-4, atol=1e-5)


class Gradients(Watcher):
    """Record the gradients of each step: of readers, head and linear part."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        parts = {"readers": [], "head": [], "linear": []}
        for name, parameter in named_parameters:
            if parameter.grad is not None:
                parts[name.split(".")[0]].append(parameter.grad.flatten())
        self.seen.append([torch.cat(grads) for grads in parts.values()])


def test_gradients_of_readers_are_clipped(monkeypatch):
    def first(most):
        monkeypatch.setattr(_net, "_MOST_GRADIENT", most)
        seen = []
        LSTMRegressor(**SMALL, callbacks=[Gradients(seen)]).fit(X, 100 * COUNTS)
        return seen[0]

    whole, *others = first(1e9)
    assert whole.norm() > 0.01
    short, *same = first(0.01)
    torch.testing.assert_close(short, whole * 0.01 / whole.norm())
    torch.testing.assert_close(same, others)
    torch.testing.assert_close(first(whole.norm() * 1.01)[0], whole)


def test_bfloat16_is_refused_on_devices_without_it():
    """Depending on the processor, a fit trains in bfloat16 or raises an error."""
    plain = LSTMClassifier(**EXACT).fit(X, Y)
    model = LSTMClassifier(**EXACT, precision="bfloat16")
    if _reader.trains_in_bfloat16("cpu"):
        found = model.fit(X, Y).predict_proba(X)
        assert not np.array_equal(plain.predict_proba(X), found)
        assert_allclose(plain.predict_proba(X), found, atol=0.05)
        return
    message = r"precision='bfloat16' cannot be used here \(device 'cpu'.*='float32'\)"
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_number_of_states_in_memory_is_limited():
    def steps(training, **options):
        model = LSTMClassifier(**{**SMALL, "hidden_size": 64}, **options).fit(X, Y)
        return steps_of_parts(model.net_, training)

    assert steps(True) == {"steps_at_once": 4096, "most_steps": 2**18}
    assert steps(False) == {"steps_at_once": 16384, "most_steps": 2**18}
    assert steps(True, num_layers=2, bidirectional=True)["steps_at_once"] == 1024
    # Kernels of other cells are slow on few sequences.
    assert steps(True, cell="gru") == {"steps_at_once": 2**18, "most_steps": 2**18}


# Randomness ---------------------------------------------------------------------------


class Batches(Watcher):
    """Record the rows of each training batch."""

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.seen[-1].append(batch[0].rows.tolist())


def test_each_epoch_draws_its_own_batches():
    def epochs(seed):
        seen = []
        model = LSTMClassifier(**{**SMALL, "random_state": seed}, batch_size=7)
        model.set_params(callbacks=[Batches(seen)]).fit(X, Y)
        return seen

    first, second = epochs(0)
    assert first != second
    for epoch in (first, second):
        assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(len(X)))
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


def make_equal_rows(n_customers, n_rows):
    """Return rows of customers with one event each, in order of customers."""
    events = pd.DataFrame({"who": np.arange(n_customers), "t": 0})
    rows = pd.DataFrame({"who": np.arange(n_rows) * n_customers // n_rows})
    table = EventLog(events, "who", "t").attach(rows, cutoff=1)
    return HistoryEncoder().fit_transform(table[["history"]]), np.arange(n_rows) % 2


@pytest.mark.parametrize(
    ("n_customers", "n_rows", "n_ranks", "expected"),
    [
        (600, 600, 1, 128),
        (600, 600, 4, 128),
        (500, 10_000, 1, 156),  # a 64th
        (500, 10_000, 4, 156),
        (4000, 40_000, 1, 320),  # of 32 customers
        (4000, 40_000, 2, 625),  # a 64th
        (3400, 36_000, 1, 338),
        (20_000, 20_000, 1, 128),
        (20_000, 20_000, 2, 256),  # 128 for each rank
        (20_000, 20_000, 4, 312),
        (1, 270_000, 1, 4096),
    ],
)
def test_automatic_batch_sizes(n_customers, n_rows, n_ranks, expected):
    X, _ = make_equal_rows(n_customers, n_rows)
    data = read_inputs(LSTMClassifier(), X, reset=True).data
    assert automatic_batch_size(data, share=True, n_ranks=n_ranks) == expected
    batches = BatchIterator(data, expected).plan()
    # A customer with twenty rows or fewer is not split between batches.
    longest = max(sum(map(len, parts)) for parts in batches)
    assert expected - 20 < longest <= expected


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(60, 128), (199, 128), (200, 32), (4_000, 32), (8_000, 62), (20_000, 128)],
)
def test_automatic_batches_of_few_rows_are_small_if_training_stops_early(
    n_rows, expected
):
    X, _ = make_equal_rows(n_rows, n_rows)
    data = read_inputs(LSTMClassifier(), X, reset=True).data
    assert automatic_batch_size(data, share=True, stops_early=True) == expected
    assert automatic_batch_size(data, share=True) == 128


@pytest.mark.parametrize(
    ("n_customers", "n_rows", "expected", "of_two_ranks", "of_single_rows"),
    [
        (60, 180, 128, 128, 128),
        (60, 200, 64, 64, 32),
        (151, 300, 32, 32, 32),  # less than two
        (150, 300, 64, 64, 32),
        (2_000, 3_000, 46, 46, 32),
        (1_000, 4_000, 64, 64, 32),
        (600, 6_000, 93, 93, 46),  # a 64th
        (3_000, 9_000, 96, 140, 70),  # of 32 customers
        (5_500, 16_500, 128, 256, 128),
        (500, 10_000, 156, 156, 78),  # a 64th
    ],
)
def test_automatic_batches_of_a_few_rows_of_each_customer(
    n_customers, n_rows, expected, of_two_ranks, of_single_rows
):
    X, _ = make_equal_rows(n_customers, n_rows)
    data = read_inputs(LSTMClassifier(), X, reset=True).data
    stops = {"stops_early": True}
    assert automatic_batch_size(data, share=True, **stops) == expected
    assert automatic_batch_size(data, share=True) == max(expected, 128)
    assert automatic_batch_size(data, share=True, n_ranks=2, **stops) == of_two_ranks
    assert automatic_batch_size(data, share=False, **stops) == of_single_rows


@pytest.mark.parametrize(
    ("early_stopping", "n_customers", "expected"),
    [
        ("auto", 300, 32),
        ("auto", 40, 128),  # too few customers to stop early
        (True, 40, 64),  # several rows of each customer
        ("auto", 100, 64),
        (False, 300, 128),
    ],
)
def test_batch_size_depends_on_early_stopping(early_stopping, n_customers, expected):
    X, _ = make_equal_rows(n_customers, 300)
    model = LSTMClassifier(hidden_size=1, max_epochs=1, early_stopping=early_stopping)
    assert model.fit(X, np.arange(300) % 2).batch_size_ == expected
    assert model.partial_fit(X, np.arange(300) % 2).batch_size_ == 128


def test_automatic_batches_have_the_rows_of_32_customers():
    kind = LSTMRegressor
    model = kind(hidden_size=1, max_epochs=1, early_stopping=False)
    X, y = make_equal_rows(4000, 40_000)
    # 30,000 rows of 3,000 customers have a weight, then 21,000 rows of 3,000.
    assert model.fit(X, y, np.arange(40_000) < 30_000).batch_size_ == 320
    uneven = (np.arange(40_000) < 30_000) & (np.arange(40_000) % 10 < 7)
    assert model.fit(X, y, uneven).batch_size_ == 224
    assert model.fit(X, y).batch_size_ == 320
    assert model.partial_fit(X[:7000], y[:7000]).batch_size_ == 128
    assert model.partial_fit(X[:24_000], y[:24_000]).batch_size_ == 320
    # Each row has its own sequence.
    assert model.set_params(bidirectional=True).fit(X, y).batch_size_ == 128
    statics = np.zeros((40_000, 2))
    assert kind(max_epochs=1).fit(statics, y).batch_size_ == 128


def test_batch_size_of_a_failed_fit_is_not_that_of_the_network():
    model = LSTMClassifier(**SMALL, batch_size=np.int64(5), warm_start=True).fit(X, Y)
    assert type(model.batch_size_) is int
    model.set_params(batch_size=3, early_stopping=True)
    one = X["number"] == 0
    with pytest.raises(ValueError, match="one customer"):
        model.fit(X[one], Y[one])
    assert model.batch_size_ == model.net_.batch_size == 5
    model.set_params(early_stopping=False).fit(X, Y)
    assert model.batch_size_ == model.net_.batch_size == 3


@pytest.mark.parametrize("batch_size", [7, 256])
def test_random_state_repeats_batches_dropout_and_split(batch_size):
    model = LSTMClassifier(**{**SMALL, "dropout": 0.5}, early_stopping=True)
    model.set_params(batch_size=batch_size)
    first = clone(model).fit(X, Y).predict_proba(X)
    assert_array_equal(clone(model).fit(X, Y).predict_proba(X), first)
    other = clone(model).set_params(random_state=1).fit(X, Y)
    assert np.abs(other.predict_proba(X) - first).max() > 1e-3


def test_random_state_may_be_a_generator():
    def fit(state):
        return LSTMClassifier(**{**SMALL, "random_state": state}).fit(X, Y)

    state = np.random.RandomState(0)
    first, second = fit(state).predict_proba(X), fit(state).predict_proba(X)
    assert_array_equal(first, fit(0).predict_proba(X))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("share", [True, False])
def test_batch_size_of_predictions_does_not_matter(share):
    model = LSTMClassifier(**SMALL, bidirectional=not share).fit(X, Y)
    expected = model.predict_proba(X)
    parts = np.concatenate(
        [model.predict_proba(X.iloc[i : i + 5]) for i in range(0, 48, 5)]
    )
    assert_allclose(parts, expected, rtol=1e-5, atol=1e-5)
