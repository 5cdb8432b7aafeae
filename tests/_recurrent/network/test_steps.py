"""One event at a time, in NumPy or torch, against layers that run whole sequences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from sklearn_seqcrm._recurrent.data import HistorySpec
from sklearn_seqcrm._recurrent.network import (
    CELLS,
    POOLINGS,
    HistoryReader,
    Pooling,
    RecurrentState,
    StepReader,
    layer_products,
)
from sklearn_seqcrm._recurrent.network._layers import multiply_sparse

SPEC = HistorySpec(n_channels=2, n_levels=(3,), half_lives=(0.5, 8.0))
# What is added up has a size of about 1, in float32.
EXACT = {"rtol": 0, "atol": 2e-6}


def make_reader(cell="lstm", num_layers=1, pooling=POOLINGS, bidirectional=False):
    reader = HistoryReader(SPEC, cell, 3, num_layers, bidirectional, pooling, 0.0)
    return reader.requires_grad_(False)


def some_events(n, n_events, seed):
    """Channels, codes and interarrival times, shapes (n_events, n, ...)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_events, n, 2)).astype("float32")
    codes = rng.integers(0, 3, (n_events, n, 1))
    return values, codes, rng.exponential(2, (n_events, n)).astype("float32")


def run(steps, state, events):
    """The state after all of some events, one at a time."""
    for event in zip(*events, strict=True):
        state = steps.update(state, *event)
    return state


@pytest.mark.parametrize("library", ["torch", "numpy"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_of_a_cell_are_those_of_a_layer(cell, num_layers, library):
    reader = make_reader(cell, num_layers)
    values, codes, _ = (one.swapaxes(0, 1) for one in some_events(4, 30, seed=1))
    inputs = reader.embed(torch.from_numpy(values), torch.from_numpy(codes))
    expected, end = reader.run(inputs, torch.full((4,), 30))
    state, outputs = reader.start(4), []
    cells = [reader.cell.of(layer[0]) for layer in reader.layers]
    if library == "torch":
        cells = [
            reader.cell(*(one.detach() for one in layer[0].parameters()))
            for layer in reader.layers
        ]
    else:
        inputs, state = inputs.numpy(), state.map(torch.Tensor.numpy)
    layers = list(state.cells)
    for step in range(30):
        output = inputs[:, step]
        for i, one in enumerate(cells):
            layers[i] = one.update(layers[i], output)
            output = layers[i][0]
        outputs.append(output)
    assert_allclose(np.stack(outputs, axis=1), expected, **EXACT)
    found, _ = RecurrentState(tuple(layers)).pack()
    assert_allclose(found, end.pack()[0], **EXACT)


@settings(max_examples=15)
@given(
    st.sampled_from(list(CELLS)),
    st.lists(st.sampled_from(POOLINGS), min_size=1, unique=True),
    st.integers(1, 2),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 10**6),
)
def test_packed_states_can_be_stored_and_updated(
    cell, pooling, num_layers, n_before, n_after, seed
):
    steps = StepReader(make_reader(cell, num_layers, pooling))
    start = steps.start.map(lambda one: np.stack([one] * 3))
    events = some_events(3, n_before + n_after, seed)
    before = run(steps, start, [one[:n_before] for one in events])
    rest = [one[n_before:] for one in events]
    expected, age = run(steps, before, rest), np.float32([0, 0.5, 30])
    # Through storage: the same numbers, so the same results.
    vectors, numbers = before.pack()
    assert vectors.dtype == numbers.dtype == "float32"
    again = steps.start.unpack(vectors, numbers)
    for one, other in zip(again.pack(), (vectors, numbers), strict=True):
        assert_array_equal(one, other)
    found = run(steps, again, rest)
    assert_array_equal(steps.read(found, age), steps.read(expected, age))
    # A single history, without an axis, and two of them in another order.
    alone = run(steps, before.take(1), [one[:, 1] for one in rest])
    pair = run(steps, before.take([2, 1]), [one[:, [2, 1]] for one in rest])
    assert_allclose(steps.read(alone, age[1]), steps.read(expected, age)[1], **EXACT)
    wanted = steps.read(expected, age)[[2, 1]]
    assert_allclose(steps.read(pair, age[[2, 1]]), wanted, **EXACT)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_before_the_first_event_poolings_are_0(pooling):
    steps = StepReader(make_reader(pooling=[pooling]))
    assert not steps.read(steps.start, np.float32(3)).any()


@pytest.mark.parametrize("cell", CELLS)
def test_a_call_continues_from_the_state_of_another(cell):
    reader = make_reader(cell, num_layers=2)
    steps, lengths = torch.randn(2, 9, 5), torch.tensor([9, 9])
    whole, end = reader.run(steps, lengths)
    head, state = reader.run(steps[:, :4], lengths - 5)
    tail, other = reader.run(steps[:, 4:], lengths - 4, state)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    torch.testing.assert_close(other.pack()[0], end.pack()[0])


@pytest.mark.parametrize("cell", CELLS)
def test_gates_are_named_and_change_the_memory(cell):
    kind, layer = CELLS[cell], make_reader(cell).layers[0][0]
    before = [torch.randn(4, 3) for _ in range(kind.n_states)]
    products = layer_products(layer, torch.randn(4, 5), before[0])
    gates = kind.gates(*products)
    assert len(gates) == len(kind.gate_names)
    if kind.n_states == 2:
        kept, added = kind.memory_terms(gates)
        after = kind.advance(before, *products)
        assert_allclose(kept * before[1] + added, after[1], **EXACT)
    assert kind.n_states <= 2


def test_a_bidirectional_reader_has_no_state():
    reader = make_reader(bidirectional=True, pooling=["last"])
    steps, lengths = torch.zeros(1, 2, 5), torch.tensor([2])
    _, state = reader.run(steps, lengths)
    with pytest.raises(ValueError, match="cannot go on from a state"):
        reader.run(steps, lengths, state)
    with pytest.raises(TypeError, match="BothEnds cannot be updated event by event"):
        StepReader(reader)


def test_a_pooling_without_a_state_raises():
    class Median(Pooling):
        pool_padded = None

    reader = make_reader()
    reader.poolings["median"] = Median()
    with pytest.raises(TypeError, match="Median cannot be updated event by event"):
        StepReader(reader)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_sparse_products_and_their_gradients(device):
    rng = np.random.default_rng(0)
    matrix = csr_matrix(rng.random((6, 5)) * (rng.random((6, 5)) > 0.6))
    parts = matrix.indptr.astype("int64"), matrix.indices, matrix.data.astype("float32")
    offsets, columns, weights = (torch.from_numpy(one).to(device) for one in parts)
    dense = torch.ones(5, 3, device=device).cumsum(0).requires_grad_()
    product = multiply_sparse(offsets, columns, weights, dense)
    assert product.shape == (6, 3)
    if device == "cpu":
        product.sum().backward()
        assert_allclose(product.detach(), matrix @ dense.detach().numpy(), **EXACT)
        expected = np.repeat(matrix.sum(axis=0).T, 3, axis=1)
        assert_allclose(dense.grad, expected, **EXACT)
        bags = torch.nn.functional.embedding_bag(
            columns.long(),
            dense,
            offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
        assert_allclose(bags.detach(), product.detach(), **EXACT)
