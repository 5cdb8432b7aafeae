"""Poolings: by blocks, by whole sequences and event by event, against a loop."""

import functools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    HistorySource,
    HistorySpec,
    RowData,
    _rows,
)
from sklearn_seqcrm._recurrent.network import POOLINGS, HistoryReader
from sklearn_seqcrm._recurrent.network._poolings import make_poolings
from sklearn_seqcrm._recurrent.network._weighted_means import carry_over
from tests._recurrent.data.test_batches import gathered

HALF_LIVES = (0.5, 8.0)
SPEC = HistorySpec(2, (), HALF_LIVES)


def make_rows(lengths, seed=0, before_each=True):
    """Histories with bursts and long pauses, and rows that see some of their events."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    stop = np.cumsum(lengths)
    start = stop - lengths
    interarrival = np.exp(rng.normal(0, 3, lengths.sum()))
    times = np.cumsum(interarrival) + 1e6
    seen = [np.arange(n + 1) for n in lengths]
    if not before_each:  # no row ends at some events, and several end at others
        seen = [rng.integers(0, n + 1, 3 * n) for n in lengths]
    customer = np.repeat(np.arange(len(lengths)), [len(n) for n in seen])
    first, seen = start[customer], np.concatenate(seen)
    order = rng.permutation(len(seen))
    first, seen = first[order], seen[order]
    last = np.where(seen > 0, times[np.maximum(first + seen - 1, 0)], 1e6)
    source = HistorySource(
        rng.normal(size=(len(times), 2)).astype("float32"),
        np.zeros((len(times), 0), "int32"),
        times,
        first,
        first + seen,
        last + np.exp(rng.normal(0, 2, len(seen))),
        time_unit=1.5,
    )
    return RowData((source,), np.zeros((len(seen), 1), "float32"))


def read(reader, data):
    """Pooled histories with gradients, and the most blocks of a sequence."""
    result, n_blocks = [None] * len(data), 1
    for rows, part, _ in gathered(BatchIterator(data, 10_000)):
        history = part.histories[0]
        if history.blocks is not None:
            n_blocks = max(n_blocks, history.blocks.durations.shape[1])
        for row, pooled in zip(rows, reader(history), strict=True):
            result[row] = pooled
    return torch.stack(result), n_blocks


def loop(values, ages, scores):
    """Poolings of one row in float64, in the order of `POOLINGS` but for "max"."""
    size = values.shape[1]
    if not len(values):
        return np.zeros(size * (len(POOLINGS) + 1))
    shares = np.exp(scores - scores.max())
    faded = []
    for half_life in HALF_LIVES:
        weights = 0.5 ** (ages / half_life)
        faded.append(weights @ values / max(weights.sum(), 1))
    return np.concatenate(
        [
            values[-1],
            values.mean(axis=0),
            shares @ values / shares.sum(),
            *faded,
            values.max(axis=0),
        ]
    )


@pytest.mark.parametrize("before_each", [True, False])
@pytest.mark.parametrize("lengths", [(40, 33, 48), (5, 200, 1), (700,)])
@torch.no_grad()
def test_blocks_against_a_loop(lengths, before_each, monkeypatch):
    monkeypatch.setattr(_rows, "_least_for_blocks", lambda *_: 0)
    data = make_rows(lengths, before_each=before_each)
    reader = HistoryReader(SPEC, "gru", 3, 1, False, POOLINGS, 0.0)
    [source] = data.sources
    score = reader.poolings["attention"].score
    score.weight *= 30  # as sharp as training makes it
    found, n_blocks = read(reader, data)
    assert n_blocks == max(lengths) // 16 + 1
    outputs = {}
    for row in range(len(data)):
        first, stop = source.start[row], source.stop[row]
        if first not in outputs:
            whole = source.channels[first : first + max(lengths)]
            outputs[first] = reader.layers[0][0](torch.from_numpy(whole)[None])[0][0]
        values = outputs[first][: stop - first]
        ages = (source.cutoff[row] - source.times[first:stop]) / 1.5
        expected = loop(values.double().numpy(), ages, score(values)[:, 0].numpy())
        # Sums of outputs, which are at most 1, in float32.
        assert_allclose(found[row], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pooling", [*([name] for name in POOLINGS), POOLINGS])
@pytest.mark.parametrize("before_each", [True, False])
def test_blocks_and_whole_sequences_agree(pooling, before_each, monkeypatch):
    data = make_rows((70, 0, 64, 20), before_each=before_each)
    reader = HistoryReader(SPEC, "gru", 3, 1, False, pooling, 0.0)
    results = []
    for worth in (0, 10**9):
        monkeypatch.setattr(_rows, "_least_for_blocks", lambda *_, n=worth: n)
        reader.zero_grad()
        pooled, n_blocks = read(reader, data)
        assert (n_blocks == 1) == (worth > 0)
        weight = torch.linspace(-1, 1, pooled.numel()).view_as(pooled)
        (pooled * weight).sum().backward()
        gradients = [p.grad for p in reader.parameters()]
        results.append((pooled.detach(), gradients))
    (pooled, gradients), (expected, others) = results
    torch.testing.assert_close(pooled, expected, rtol=0, atol=2e-6)
    for one, other in zip(gradients, others, strict=True):
        # Of a gradient, too, float32 keeps what was added up.
        scale = other.abs().max().item() + 1
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("library", ["torch", "numpy"])
@torch.no_grad()
def test_event_by_event(pooling, library):
    """After each event, and a while later, a state reads what a batch pools."""
    data = make_rows((200,), seed=3)
    reader = HistoryReader(SPEC, "gru", 3, 1, False, [pooling], 0.0)
    expected, n_blocks = read(reader, data)
    assert n_blocks > 1
    [source] = data.sources
    steps = reader.embed(
        torch.from_numpy(source.channels)[None], torch.zeros(1, 200, 0)
    )
    outputs, _ = reader.run(steps, torch.tensor([200]))
    one, number = reader.poolings[pooling], np.float32
    if library == "numpy":
        one, outputs = one.to_numpy(), outputs.numpy()
    else:
        number = functools.partial(torch.tensor, dtype=torch.float32)
    state, n_events = one.start(3), 0
    if library == "torch":
        state = tuple(map(torch.from_numpy, state))
    sizes = {array.shape for array in state}
    times, last = source.times, outputs[0, 0] * 0
    for row in np.argsort(source.stop):
        if source.stop[row] > n_events:
            last = outputs[0, n_events]
            interarrival = (times[n_events] - times[max(n_events - 1, 0)]) / 1.5
            state = one.update(state, last, number(interarrival))
            n_events += 1
        assert source.stop[row] == n_events
        age = max(source.cutoff[row] - times[max(n_events - 1, 0)], 0) / 1.5
        found = one.read(state, last, number(age)).ravel()
        assert_allclose(found, expected[row], rtol=0, atol=5e-6)
    assert {array.shape for array in state} == sizes


@pytest.mark.parametrize("bidirectional", [False, True])
def test_vectors_of_a_pooling(bidirectional):
    poolings = make_poolings(
        POOLINGS, HALF_LIVES, 4, bidirectional, torch.Generator().manual_seed(0)
    )
    assert list(poolings) == list(POOLINGS)
    assert [one.n_vectors for one in poolings.values()] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("n_blocks", [1, 2, 31, 32, 33, 64, 65, 1100])
def test_states_are_carried_from_block_to_block(n_blocks):
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(2, 3, n_blocks, generator=generator)
    kept[0, 0] = 1
    kept[0, 1] = 0
    kept[1, 0, ::3] = 1e-30  # a long silence
    added = torch.randn(2, 3, n_blocks, 4, generator=generator, requires_grad=True)
    found = carry_over(kept, added)
    state, expected = torch.zeros(2, 3, 4, dtype=torch.float64), []
    for block in range(n_blocks):
        expected.append(state)
        state = state * kept[:, :, block, None].double() + added[:, :, block].double()
    expected = torch.stack(expected, dim=2)
    tolerance = 1e-6 * expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    found.sum().backward()
    assert added.grad[:, :, -1].count_nonzero() == 0
    if n_blocks > 1:
        assert (added.grad[0, 0, 0] == n_blocks - 1).all()
        assert (added.grad[0, 1, 0] == 1).all()


def test_memory_of_weights_is_linear_in_the_events():
    """Ten times the history has ten times the weights, a row before each event."""
    sizes = []
    for length in (300, 3000):
        [(_, part, _)] = gathered(BatchIterator(make_rows((length,)), 10_000))
        history = part.histories[0]
        sizes.append(history.ages.numel() + history.blocks.end_ages.numel())
    assert sizes[1] < 10.5 * sizes[0]
