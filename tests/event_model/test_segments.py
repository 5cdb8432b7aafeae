"""Segments: outputs and gradients as if each sequence were read alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.data._sources import HistorySpec
from sklearn_seqcrm._recurrent.network import CELLS, HistoryReader
from sklearn_seqcrm.event_model._segments import (
    cut_segments,
    gather_segments,
    run_in_segments,
)


@pytest.mark.parametrize("is_padded", [True, False])
@pytest.mark.parametrize("bptt_steps", [None, 7])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients_are_those_of_each_alone(cell, bptt_steps, is_padded):
    rng = np.random.default_rng(0)
    lengths = torch.tensor([0, 45, 3, 20, 1, 3, 0, 80, *rng.integers(1, 9, 60), 0])
    values = torch.tensor(rng.normal(size=(len(lengths), 80, 2)).astype("float32"))
    codes = torch.zeros(len(lengths), 80, 0, dtype=torch.int64)
    reader = HistoryReader(HistorySpec(2, (), ()), cell, 5, 2, False, ("last",), 0.0)
    reader.bptt_steps = bptt_steps
    start = torch.full((5,), 0.3, requires_grad=True)
    row, step = (torch.arange(80) < lengths[:, None]).nonzero(as_tuple=True)
    begin = lengths.cumsum(dim=0) - lengths

    def embed(segments):
        if is_padded:
            return [reader.embed(values[at], codes[at]) for at in segments]
        return gather_segments(values[row, step], begin, lengths, segments)

    states = run_in_segments(reader, embed, lengths, start)
    rows = torch.cat([row, torch.arange(len(lengths))])
    found = states.outputs[states.place(rows, torch.cat([step, lengths]))]
    of_each = []
    for sequence, length in zip(values, lengths, strict=True):
        outputs = [start[None]]
        if length:
            own, _ = reader.run(sequence[None, :length], length[None])
            outputs.append(own[0])
        of_each.append(torch.cat(outputs))
    before = torch.cat([one[:-1] for one in of_each])
    last = torch.stack([one[-1] for one in of_each])
    expected = torch.cat([before, last])
    assert_allclose(found.detach(), expected.detach(), atol=1e-5)
    weights = [start, *reader.parameters()]
    pairs = zip(
        torch.autograd.grad(found.square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
        strict=True,
    )
    for gradient, of_loop in pairs:
        assert_allclose(gradient, of_loop, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cell", CELLS)
def test_states_after_each_step_are_those_of_shorter_sequences(cell):
    """A layer returns its last state: of sequences cut after each step, all of them."""
    lengths = torch.tensor([3, 7, 0, 5])
    values = torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(0))
    codes = torch.zeros(4, 7, 0, dtype=torch.int64)
    reader = HistoryReader(HistorySpec(2, (), ()), cell, 5, 2, False, ("last",), 0.0)

    def embed(segments):
        return [reader.embed(values[at], codes[at]) for at in segments]

    found = run_in_segments(reader, embed, lengths, torch.zeros(5), with_layers=True)
    weights = list(reader.parameters())
    for row, length in enumerate(lengths.tolist()):
        for step in range(1, length + 1):
            place = found.place(torch.tensor(row), torch.tensor(step))
            cut = values[row : row + 1, :step]
            _, state = reader.run(cut, torch.tensor([step]))
            own = torch.cat([one[place] for layer in found.layers for one in layer])
            expected = torch.cat([one[0] for layer in state.cells for one in layer])
            assert_allclose(own.detach(), expected.detach(), atol=1e-6)
            if step == length:
                pairs = zip(
                    torch.autograd.grad(own.sum(), weights, retain_graph=True),
                    torch.autograd.grad(expected.sum(), weights),
                    strict=True,
                )
                for gradient, other in pairs:
                    assert_allclose(gradient, other, rtol=1e-4, atol=1e-5)


def test_segments_pad_little_and_are_few():
    rng = np.random.default_rng(0)
    lengths = -np.sort(-np.exp(rng.normal(3, 1, 300)).astype(int))
    found = cut_segments(lengths, None, 4096)
    assert found[0].first == 0
    assert found[-1].last == lengths[0]
    assert all(a.last == b.first for a, b in pairwise(found))
    for first, last, n in found:
        n_left = (lengths > first).sum()
        assert n_left <= n <= min(300, 1.34 * n_left)
        assert n * (last - first) <= 4096
    assert sum(n * (last - first) for first, last, n in found) < 1.3 * lengths.sum()
    assert len(found) < 20
    # Few shapes in all, as each new one costs time.
    shapes = {
        (last - first, n)
        for _ in range(50)
        for first, last, n in cut_segments(
            -np.sort(-np.exp(rng.normal(3, 1, 300)).astype(int)), None, 4096
        )[:-1]
    }
    assert len(shapes) < 200
    assert cut_segments(np.zeros(3, "int64"), None, 4096) == []
    assert {one.last % 10 for one in cut_segments(lengths, 10, 40)[:-1]} == {0}


def test_empty_sequences_have_no_segments():
    reader = HistoryReader(HistorySpec(2, (), ()), "lstm", 5, 1, False, ("last",), 0.0)
    none, start = torch.zeros(3, dtype=torch.int64), torch.full((5,), 0.3)

    def embed(segments):
        return gather_segments(torch.zeros(0, 2), none, none, segments)

    found = run_in_segments(reader, embed, none, start)
    assert torch.equal(
        found.outputs[found.place(torch.arange(3), none)], start.expand(3, 5)
    )
