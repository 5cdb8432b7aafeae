"""The network against loops over single rows, and against torch's own packed LSTM."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sklearn_seqcrm._recurrent.data import (
    BatchIterator,
    HistorySource,
    HistorySpec,
    RowData,
)
from sklearn_seqcrm._recurrent.data._moments import MomentChannels
from sklearn_seqcrm._recurrent.network import (
    CELLS,
    POOLINGS,
    Dropout,
    HistoryNetwork,
    HistoryReader,
    _module,
    _reader,
    run_both_ways,
    trains_in_bfloat16,
)
from sklearn_seqcrm._recurrent.network._reader import run_one_way
from tests._recurrent.data.test_batches import gathered, make_data

SPEC = HistorySpec(n_channels=3, n_levels=(5, 5), half_lives=(1.0, 4.0))


def make_reader(spec=SPEC, cell="lstm", num_layers=1, bidirectional=False, **options):
    pooling = options.get("pooling", POOLINGS)
    return HistoryReader(spec, cell, 4, num_layers, bidirectional, pooling, 0.0)


def read_all(reader, data, share, batch_size=10_000):
    """Pooled histories, in the order of the rows."""
    result = torch.empty(len(data), reader.output_size)
    with torch.no_grad():
        for rows, part, _ in gathered(BatchIterator(data, batch_size, share=share)):
            result[rows] = reader(part.histories[0])
    return result


def outputs_of_row(reader, source, row):
    """Outputs of the last layer for the events of one row alone, without padding."""
    events = slice(source.start[row], source.stop[row])
    codes = torch.from_numpy(source.codes[events]).long()
    steps = torch.cat(
        [
            torch.from_numpy(source.channels[events]),
            *(embedding(codes[:, i]) for i, embedding in enumerate(reader.embeddings)),
        ],
        dim=1,
    )
    for layer in reader.layers:
        both = [layer[0](steps[None])[0][0]]
        if len(layer) == 2:
            both.append(layer[1](steps.flip(0)[None])[0][0].flip(0))
        steps = torch.cat(both, dim=1)
    return steps


def pooled_slowly(reader, source, row):
    """Every pooling by its definition, in the order of the reader."""
    n_events = source.stop[row] - source.start[row]
    if not n_events:
        return torch.zeros(reader.output_size)
    steps = outputs_of_row(reader, source, row)
    ages = source.cutoff[row] - source.times[source.start[row] : source.stop[row]]
    ages = ages / source.time_unit
    weighted = {}
    if "mean" in reader.poolings:
        weighted["mean"] = [sum(steps) / n_events]
    if "attention" in reader.poolings:
        scores = [reader.poolings["attention"].score(step).exp() for step in steps]
        total = sum(scores)
        weighted["attention"] = [
            sum(s / total * step for s, step in zip(scores, steps, strict=True))
        ]
    if "decay" in reader.poolings:
        weighted["decay"] = []
        for half_life in SPEC.half_lives:
            shares = [0.5 ** (age / half_life) for age in ages]
            pool = sum(w * step for w, step in zip(shares, steps, strict=True))
            weighted["decay"].append(pool / max(sum(shares), 1))
    parts = []
    if "last" in reader.poolings:
        half = steps.shape[1] // len(reader.layers[0])
        # The output of each direction after all of its steps.
        parts += [steps[-1, :half], steps[0, half:]]
    parts += [part for name in reader.poolings for part in weighted.get(name, [])]
    if "max" in reader.poolings:
        parts.append(steps.max(dim=0).values)
    return torch.cat(parts)


@pytest.mark.parametrize("pooling", [*([name] for name in POOLINGS), POOLINGS])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "num_layers"), [("lstm", 1), ("gru", 2), ("rnn", 1)])
@torch.no_grad()
def test_pooling(pooling, bidirectional, cell, num_layers):
    reader = make_reader(SPEC, cell, num_layers, bidirectional, pooling=pooling)
    data = make_data()
    [source] = data.sources
    assert ((source.stop - source.start) == 0).any()
    actual = read_all(reader, data, share=not bidirectional)
    for row in range(len(data)):
        expected = pooled_slowly(reader, source, row)
        torch.testing.assert_close(actual[row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_both_directions_equal_a_packed_network(cell):
    torch.manual_seed(0)
    packed = CELLS[cell].layer(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    layers = []
    for depth in range(2):
        size = 3 if depth == 0 else 8
        pair = [CELLS[cell].layer(size, 4, batch_first=True) for _ in range(2)]
        for direction, suffix in zip(pair, ("", "_reverse"), strict=True):
            for name, parameter in direction.named_parameters():
                name = name.replace("_l0", f"_l{depth}{suffix}")
                parameter.copy_(packed.get_parameter(name))
        layers.append(pair)
    lengths = torch.tensor([3, 1, 7, 5])
    steps = torch.randn(4, 7, 3)
    inputs = pack_padded_sequence(
        steps, lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = pad_packed_sequence(packed(inputs)[0], batch_first=True)
    for pair in layers:
        steps, _ = run_both_ways(pair, steps, lengths)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(
            steps[i, :length], expected[i, :length], rtol=1e-5, atol=1e-6
        )


def make_network(n_outputs=2, n_histories=1, pooling=POOLINGS, num_layers=1):
    return HistoryNetwork(
        [SPEC] * n_histories,
        2,
        n_outputs,
        [3],
        0.0,
        cell="lstm",
        hidden_size=4,
        num_layers=num_layers,
        bidirectional=False,
        pooling=pooling,
    )


def loss_and_gradients(network, batches):
    """Sum of the losses of all rows, and its gradients."""
    network.zero_grad()
    loss = sum(
        nn.functional.cross_entropy(network(part), target, reduction="sum")
        for _, part, target in gathered(batches)
    )
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("n_histories", [1, 2])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_shared_sequences_have_the_loss_and_gradients_of_single_rows(
    batch_size, num_layers, n_histories
):
    data = make_data(n_sources=n_histories)
    network = make_network(n_histories=n_histories, num_layers=num_layers)
    alone = loss_and_gradients(network, BatchIterator(data, 1, share=False))
    shared = loss_and_gradients(network, BatchIterator(data, batch_size, share=True))
    torch.testing.assert_close(shared[0], alone[0], rtol=1e-5, atol=1e-5)
    assert any(gradient.abs().max() > 0.1 for gradient in alone[1])
    for one, other in zip(shared[1], alone[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("places", [0, 1000])
def test_the_head_adds_up_products_of_its_inputs(places, monkeypatch):
    monkeypatch.setattr(_module, "_PLACES_TO_MULTIPLY", places)
    network, batches = (
        make_network(n_histories=2),
        BatchIterator(make_data(n_sources=2), 1000),
    )
    for _, part, _ in gathered(batches):
        parts = [r(h) for r, h in zip(network.readers, part.histories, strict=True)]
        expected = network.head(torch.cat([*parts, part.static], dim=1))
        torch.testing.assert_close(network(part), expected, rtol=0, atol=1e-6)


def test_empty_histories_give_the_reader_no_gradient():
    data = make_data()
    [source] = data.sources
    empty = np.flatnonzero(source.stop == source.start)
    network = make_network()
    loss_and_gradients(network, BatchIterator(data.take(empty), 1000))
    for parameter in network.readers.parameters():
        assert parameter.grad is None or not parameter.grad.any()


def test_unseen_levels_and_padding_are_embedded_as_0():
    reader = make_reader()
    for embedding in reader.embeddings:
        assert not embedding.weight[0].any()
        assert embedding.weight[1:].abs().sum(dim=1).min() > 0
    data = make_data()
    data.sources[0].codes[:] = 0
    network = make_network()
    loss_and_gradients(network, BatchIterator(data, 1000))
    for embedding in network.readers[0].embeddings:
        assert not embedding.weight.grad.any()


def lengths_of_vectors(n_levels, moments):
    """Mean lengths of the first vectors of the levels of some fields."""
    spec = HistorySpec(3, n_levels, (1.0,), moments=moments)
    network = HistoryNetwork(
        [spec],
        n_static=0,
        n_outputs=1,
        head_sizes=(),
        dropout=0.0,
        cell="lstm",
        hidden_size=4,
        num_layers=1,
        bidirectional=False,
        pooling=["last"],
    )
    vectors = [one.weight[1:].detach() for one in network.readers[0].embeddings]
    return [float(one.norm(dim=1).mean()) for one in vectors]


def test_vectors_of_moments_start_short():
    """But not those of few levels, such as whether an invoice is cancelled."""
    usual = lengths_of_vectors((5, 16, 17, 100, 1600), moments=None)
    few, sixteen, seventeen, some, many = usual
    assert 1 < few < 3
    assert 1.5 < sixteen < 2.5
    assert 1.5 < seventeen < 2.5
    assert 0.6 < some < 1  # 2 * sqrt(16 / 100)
    assert 0.15 < many < 0.25
    in_moments = lengths_of_vectors((5, 16, 17, 100, 1600), MomentChannels(1, 1, 3))
    short = [length * (n / 1000) ** 0.5 for n, length in ((17, seventeen), (100, some))]
    assert in_moments == pytest.approx([few, sixteen, *short, many])


def test_forget_gates_start_open():
    reader = make_reader(num_layers=2, bidirectional=True)
    for layer in reader.layers:
        for direction in layer:
            bias = direction.bias_hh_l0.detach()
            assert bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8


def test_neither_channels_nor_codes():
    spec = HistorySpec(0, (), (1.0,))
    reader = make_reader(spec, pooling=["last", "mean"])
    rng = np.random.default_rng(0)
    source = HistorySource(
        np.zeros((5, 0), "float32"),
        np.zeros((5, 0), "int32"),
        rng.random(5),
        np.array([0, 0, 3]),
        np.array([2, 3, 3]),
        np.ones(3),
    )
    data = RowData((source,), np.zeros((3, 1), "float32"))
    there = read_all(reader, data, share=True)
    assert torch.isfinite(there).all()
    assert not there[2].any()


def test_output_size():
    for pooling in ([name] for name in POOLINGS):
        reader = make_reader(pooling=pooling, bidirectional=True)
        n_pools = len(SPEC.half_lives) if pooling == ["decay"] else 1
        assert reader.output_size == n_pools * 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.9])
def test_dropout(p, dtype):
    dropout, ones = Dropout(p), torch.ones(100_000, dtype=dtype, requires_grad=True)
    dropout.generator = torch.Generator().manual_seed(0)
    dropped = dropout(ones)
    share = (dropped == 0).float().mean().item()
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / len(ones)) + 1e-9
    scale = torch.tensor([1 / (1 - p)], dtype=dtype)
    torch.testing.assert_close(dropped[dropped != 0].unique(), scale)
    dropped.sum().backward()
    torch.testing.assert_close(ones.grad, dropped.detach())
    assert dropout.eval()(ones) is ones


def test_dropout_is_between_layers_and_in_the_head():
    network = HistoryNetwork(
        [SPEC],
        2,
        1,
        (64,),
        0.5,
        cell="lstm",
        hidden_size=64,
        num_layers=2,
        bidirectional=False,
        pooling=("last",),
    )
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = torch.Generator().manual_seed(0)
    ((_, part, _),) = gathered(BatchIterator(make_data(), 10_000))
    seen = []
    reader = network.readers[0]
    for layer in (reader.layers[1][0], network.head[-1]):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(part)
    network.eval()(part)
    shares = [(numbers == 0).float().mean().item() for numbers in seen]
    # ReLU makes zeros of about a half as well.
    assert 0.4 < shares[0] < 0.6
    assert shares[1] > shares[3] + 0.1
    assert shares[2] < 0.01


def test_category_dropout():
    reader = HistoryReader(
        SPEC, "lstm", 4, 1, False, ("last",), dropout=0.0, category_dropout=0.3
    )
    reader.category_dropout.generator = torch.Generator().manual_seed(0)
    codes = np.random.default_rng(0).integers(1, 5, (50, 400, 2))
    inputs = torch.ones(50, 400, 3), torch.from_numpy(codes)
    steps = reader.embed(*inputs).split([3, 5, 5], dim=2)
    whole = reader.eval().embed(*inputs).split([3, 5, 5], dim=2)
    torch.testing.assert_close(steps[0], whole[0], rtol=0, atol=0)
    dropped = [(vectors == 0).all(dim=2) for vectors in steps[1:]]
    for vectors, all_vectors, gone in zip(steps[1:], whole[1:], dropped, strict=True):
        assert abs(gone.float().mean().item() - 0.3) < 0.013  # four standard errors
        torch.testing.assert_close(vectors[~gone], all_vectors[~gone] / 0.7)
    # Each field is dropped independently of the other.
    assert abs((dropped[0] & dropped[1]).float().mean().item() - 0.09) < 0.01


def test_decay_fades_with_time():
    """The pooled vector is the mean at the events, and near 0 long afterwards."""
    reader = make_reader(pooling=["decay"])
    source = HistorySource(
        np.ones((4, 3), "float32"),
        np.ones((4, 2), "int32"),
        np.zeros(4),
        np.zeros(2, "int64"),
        np.array([4, 4]),
        np.array([0.0, 40.0]),
    )
    data = RowData((source,), np.zeros((2, 1), "float32"))
    now, late = read_all(reader, data, share=True).unflatten(1, (2, 4))
    steps = outputs_of_row(reader, source, 0)
    torch.testing.assert_close(now[0], steps.mean(dim=0))
    faded = 4 * math.exp(-40 * math.log(2) / SPEC.half_lives[1])
    torch.testing.assert_close(late[1], faded * steps.mean(dim=0))


# Long histories and short numbers -----------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_truncated_at_bptt_steps(cell):
    """Gradients equal those of a loop over stretches with a constant first state."""
    torch.manual_seed(0)
    layer = CELLS[cell].layer(3, 4, batch_first=True)
    steps = torch.randn(2, 10, 3)
    weight = torch.randn(2, 10, 4)

    def gradients(outputs):
        layer.zero_grad()
        (outputs * weight).sum().backward()
        return [parameter.grad.clone() for parameter in layer.parameters()]

    outputs, _ = run_one_way(layer, steps, 4)  # of 10 steps: 4 + 4 + 2
    whole = layer(steps)[0]
    torch.testing.assert_close(outputs, whole)
    found = gradients(outputs)
    state, by_hand = None, []
    for stretch in (steps[:, :4], steps[:, 4:8], steps[:, 8:]):
        if isinstance(state, tuple):
            state = tuple(tensor.data for tensor in state)
        elif state is not None:
            state = state.data
        output, state = layer(stretch, state)
        by_hand.append(output)
    for one, other in zip(found, gradients(torch.cat(by_hand, 1)), strict=True):
        torch.testing.assert_close(one, other)
    in_full = gradients(layer(steps)[0])
    assert not all(map(torch.allclose, found, in_full))


def test_gradients_end_at_the_same_steps_in_any_batch():
    torch.manual_seed(0)
    layer = CELLS["lstm"].layer(1, 4, batch_first=True)
    steps = torch.randn(2, 11, 1, requires_grad=True)
    outputs, _ = run_one_way(layer, steps, 5)
    (outputs[0, 4] + outputs[1, 8]).sum().backward()
    assert steps.grad[0, :, 0].ne(0).tolist() == [True] * 5 + [False] * 6
    assert steps.grad[1, :, 0].ne(0).tolist() == [False] * 5 + [True] * 4 + [False] * 2


def test_memory_of_stretches():
    """Outputs are kept for the gradients, and not the gates of every event."""
    layer, steps = CELLS["lstm"].layer(8, 64, batch_first=True), torch.randn(1, 2000, 8)

    def kept(bptt_steps):
        sizes = {}

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs, _ = run_one_way(layer, steps, bptt_steps)
        assert outputs.requires_grad
        return sum(sizes.values())

    assert kept(100) < kept(None) / 3


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_short_histories_are_in_one_stretch(num_layers, bidirectional):
    data = make_data(n_customers=6)
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    plain, with_stretches = make_reader(**options), make_reader(**options)
    with_stretches.bptt_steps = 8
    results = []
    for reader in (plain, with_stretches):
        for _, part, _ in gathered(BatchIterator(data, 1000, share=False)):
            reader(part.histories[0]).square().sum().backward()
        results.append([parameter.grad for parameter in reader.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def make_bfloat16(monkeypatch, available, **options):
    """A reader in bfloat16, on a device that is declared to train in it or not."""
    monkeypatch.setattr(_reader, "trains_in_bfloat16", lambda _: available)
    reader = make_reader(**options)
    reader.precision = "bfloat16"
    return reader


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bptt_steps", [None, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16(cell, bptt_steps, bidirectional, monkeypatch):
    """Outputs agree with float32 to 8 bits, and their dtypes are float32."""
    if cell == "lstm" and not trains_in_bfloat16("cpu"):
        pytest.skip("The processor has no LSTM in bfloat16.")
    data = make_data(n_customers=30)
    options = {"cell": cell, "num_layers": 2, "bidirectional": bidirectional}
    expected = read_all(make_reader(**options), data, share=not bidirectional)
    reader = make_bfloat16(monkeypatch, True, **options)
    reader.bptt_steps = bptt_steps
    found = read_all(reader, data, share=not bidirectional)
    assert found.dtype == torch.float32
    error = (found - expected).abs().max()
    assert 1e-5 < error < 2e-2
    for _, part, _ in gathered(BatchIterator(data, 1000, share=not bidirectional)):
        reader(part.histories[0]).square().sum().backward()
    assert {p.grad.dtype for p in reader.parameters()} == {torch.float32}


@pytest.mark.parametrize("cell", CELLS)
def test_float32_on_a_device_without_bfloat16(cell, monkeypatch):
    data = make_data(n_customers=30)
    expected = read_all(make_reader(cell=cell), data, share=True)
    found = read_all(make_bfloat16(monkeypatch, False, cell=cell), data, share=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "where", [torch.enable_grad, torch.no_grad, torch.inference_mode]
)
def test_whether_a_device_trains_in_bfloat16(where, monkeypatch):
    """The result depends on the device, and not on the mode of gradients."""
    monkeypatch.setattr(nn, "LSTM", nn.GRU)  # which all processors have
    state = torch.get_rng_state()
    ask = trains_in_bfloat16.__wrapped__
    with where():
        assert ask("cpu") is True
        assert ask("meta") is False
    torch.testing.assert_close(torch.get_rng_state(), state)
