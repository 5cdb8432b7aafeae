"""Batches that a thread gathers ahead of the computation."""

import threading
import time
from contextlib import closing, nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sklearn_seqcrm._recurrent.data import Batch, BatchIterator, BatchPart, RowData
from sklearn_seqcrm._recurrent.training import _net
from sklearn_seqcrm._recurrent.training._prefetch import (
    CudaTransfer,
    prefetch,
    prefetched,
)
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import SMALL

TABLE = make_table(30)
X = HistoryEncoder().fit_transform(TABLE)[["history"]]
Y = make_y(X)


class OnCPU:
    """A transfer that leaves everything where it is, and counts."""

    def __init__(self):
        self.n_sent = self.n_received = 0

    def send(self, tensors):
        self.n_sent += isinstance(tensors, BatchPart)
        return tensors

    def receive(self, sent):
        self.n_received += isinstance(sent, BatchPart)
        return sent


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def rows_of(n=50):
    numbers = np.arange(n, dtype="float32")
    return RowData([], numbers[:, None], target=numbers, weight=np.ones(n, "float32"))


def batches_of(n=50, size=8, parts=2):
    """Return batches whose rows are cut into parts."""
    data = rows_of(n)
    found = []
    for rows in np.split(np.arange(n), np.arange(size, n, size)):
        batch = Batch(data, np.array_split(rows, parts), share=True)
        found.append((batch, batch.target))
    return found


def wait_for(condition):
    """Wait up to ten seconds until a condition holds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def numbers_of(batches):
    """Return the statics of all parts of each batch, and its targets."""
    return [
        ([part.static[:, 0].tolist() for part in batch], target.tolist())
        for batch, target in batches
    ]


def read_all(batches, function):
    """Call a function with each part of some batches."""
    for batch, _ in batches:
        for part in batch:
            function(part)


def test_the_order_of_batches_and_parts_stays():
    batches = batches_of()
    assert numbers_of(prefetch(batches, OnCPU())) == numbers_of(batches)


def test_a_prefetched_batch_has_what_a_batch_has():
    batches = batches_of(8)
    [(found, _)] = prefetch(batches, OnCPU())
    [(batch, _)] = batches
    assert len(found) == len(batch) == 8
    assert_array_equal(found.rows, batch.rows)
    assert [len(rows) for rows in found.parts] == [4, 4]
    assert_array_equal(found.weight, batch.weight)


def test_parts_can_be_read_again():
    for batch, _ in prefetch(batches_of(), OnCPU()):
        first, second = (
            [part.static[:, 0].tolist() for part in batch] for _ in range(2)
        )
        assert first == second


@pytest.mark.parametrize("n_read", [0, 1])
def test_parts_that_are_not_read_are_skipped(n_read):
    for number, (batch, target) in enumerate(prefetch(batches_of(), OnCPU())):
        for _, part in zip(range(n_read), batch, strict=False):
            assert part.static[0, 0] == target[0] == 8 * number


def test_the_thread_is_one_part_ahead():
    transfer = OnCPU()
    with closing(prefetch(batches_of(), transfer)) as found:
        batch, _ = next(found)
        parts = iter(batch)
        wait_for(lambda: transfer.n_sent == 1)
        next(parts)
        wait_for(lambda: transfer.n_sent == 2)  # while the first one is computed
        time.sleep(0.05)
        assert (transfer.n_sent, transfer.n_received) == (2, 1)


@pytest.mark.parametrize("error", [ValueError("a file is gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("n_before", [0, 2])
def test_errors_of_the_thread_reach_the_caller(error, n_before):
    def failing():
        yield from batches_of()[:n_before]
        raise error

    seen = []
    with pytest.raises(type(error)) as raised:
        seen += (len(list(batch)) for batch, _ in prefetch(failing(), OnCPU()))
    assert raised.value is error


def test_an_error_within_a_batch_reaches_the_caller():
    [(batch, target)] = batches_of(8)
    batch.parts[1] = np.array([99])  # no such row
    read = []
    with pytest.raises(IndexError):
        read_all(prefetch([(batch, target)], OnCPU()), read.append)
    assert len(read) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_consumer_ends_the_thread(error):
    """Also while the traceback, which keeps the iterator alive, is still there."""
    before = threading.active_count()

    def fail(part):
        raise error

    with (
        pytest.raises(error) as raised,
        closing(prefetch(batches_of(), OnCPU())) as found,
    ):
        read_all(found, fail)
    assert raised.tb is not None
    assert threading.active_count() == before


def test_no_batches():
    assert list(prefetch([], OnCPU())) == []


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "meta", "mps"])
def test_only_cuda_prefetches(device):
    batches = batches_of()
    with prefetched(batches, device) as found:
        assert found is batches


def test_default_devices_of_torch_do_not_matter():
    with torch.device("meta"):
        [(batch, _)] = prefetch(BatchIterator(rows_of(8), 8), OnCPU())
        assert [part.static.device.type for part in batch] == ["cpu"]


class Recorder:
    """A stream or event of CUDA that records its calls."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def record_event(self):
        self.log.append(f"{self.name}: record")
        return "event"

    def wait_event(self, event):
        self.log.append(f"{self.name}: wait for {event}")


def test_calls_of_cuda(monkeypatch):
    """The copy is on a stream of its own, for which the computation waits."""
    log = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Recorder(log, "copies"))
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda device: Recorder(log, "network")
    )

    def stream(one):
        log.append(f"on {one.name}")
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda one: log.append("pin") or one
    )
    monkeypatch.setattr(
        torch.Tensor,
        "to",
        lambda one, device, non_blocking: log.append(f"to {device}") or one,
    )
    monkeypatch.setattr(
        torch.Tensor,
        "record_stream",
        lambda one, stream: log.append(f"keep for {stream.name}"),
    )
    transfer = CudaTransfer("cuda:1")
    numbers = torch.arange(3)
    sent = transfer.send(numbers)
    assert transfer.receive(sent) is numbers
    assert log == [
        "on copies",
        "pin",
        "to cuda:1",
        "copies: record",
        "network: wait for event",
        "keep for network",
    ]
    part = BatchPart([], numbers[:, None], weight=numbers)
    copies, _ = transfer.send(part)
    assert_array_equal(copies.weight, numbers)
    assert copies.sums is None


@pytest.mark.parametrize(
    "model", [LSTMClassifier(**SMALL), LSTMEventModel(hidden_size=4, max_epochs=2)]
)
def test_prefetched_batches_train_the_same_network(model, monkeypatch):
    model = clone(model).set_params(random_state=0, early_stopping=True)
    data = (X, Y) if isinstance(model, LSTMClassifier) else (TABLE,)
    ask = "predict_proba" if isinstance(model, LSTMClassifier) else "score_samples"
    expected = getattr(clone(model).fit(*data), ask)(data[0])
    n_prefetched = []

    def on_the_cpu(batches, device):
        n_prefetched.append(device)
        return closing(prefetch(batches, OnCPU()))

    monkeypatch.setattr(_net, "prefetched", on_the_cpu)
    found = getattr(model.fit(*data), ask)(data[0])
    assert_array_equal(found, expected)
    assert len(n_prefetched) >= 5  # two epochs with validation, and predictions


def test_an_interrupted_fit_ends_the_thread(monkeypatch):
    monkeypatch.setattr(
        _net, "prefetched", lambda batches, _: closing(prefetch(batches, OnCPU()))
    )

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    before = threading.active_count()
    monkeypatch.setattr(_net.HistoryNet, "train_step_single", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        LSTMClassifier(**SMALL).fit(X, Y)
    assert raised.tb is not None
    assert threading.active_count() == before
