"""The state of a reader at the end of each sequence, from which it can go on."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sklearn_seqcrm.neural_network._batches import BatchPart
from sklearn_seqcrm.neural_network._event_model._network import EventNetwork
from sklearn_seqcrm.neural_network._reader import HistoryReader, ReaderState

# Tensors of a state, each of shape (n, H): of each layer, one or two of an LSTM.
FlatState = list[torch.Tensor]


def read_to_ends(module: EventNetwork, part: BatchPart) -> FlatState:
    """Read sequences, each to its own end.

    Parameters
    ----------
    module : EventNetwork
        The network.
    part : BatchPart
        Rows, each with a sequence of its own.

    Returns
    -------
    list of Tensor of shape (n, H)
        The state after the last event of each row; 0 for an empty history.

    Notes
    -----
    A padded layer returns the state after the padding. So sequences are read in
    stretches, from where one ends to where the next longer one does; those of a batch
    are of similar length, so that nearly all is one long stretch.
    """
    [history] = part.histories
    reader, lengths = module.reader, history.lengths
    steps = reader.embed(history.values[:, :, : module.n_channels], history.codes)
    order = lengths.argsort(descending=True)
    sorted_lengths = lengths[order]
    final = [numbers.clone() for numbers in state_at_first(reader, len(lengths))]
    state: ReaderState | None = None
    at = 0
    for end in lengths.unique().tolist():
        if end == 0:
            continue
        n = int((sorted_lengths >= end).sum())
        if state is not None:
            state = shaped(reader, [numbers[:n] for numbers in flat(state)])
        stretch = steps[order[:n], at:end]
        _, state = reader.read(stretch, sorted_lengths[:n], state)
        ended = sorted_lengths[:n] == end
        for whole, numbers in zip(final, flat(state), strict=True):
            whole[order[:n][ended]] = numbers[ended]
        at = end
    return final


def go_on(
    module: EventNetwork, values: torch.Tensor, codes: torch.Tensor, state: FlatState
) -> tuple[torch.Tensor, FlatState]:
    """Read one more event of each sequence.

    Parameters
    ----------
    module : EventNetwork
        The network.
    values : Tensor of shape (n, F)
        Channels of the events.
    codes : Tensor of shape (n, C)
        Their codes.
    state : list of Tensor of shape (n, H)
        State before them.

    Returns
    -------
    output : Tensor of shape (n, H)
        What the reader returns for the events.
    state : list of Tensor of shape (n, H)
        State after them.
    """
    reader = module.reader
    steps = reader.embed(values[:, None], codes[:, None])
    ones = torch.ones(len(steps), dtype=torch.int64, device=steps.device)
    outputs, after = reader.read(steps, ones, shaped(reader, state))
    return outputs[:, 0], flat(after)


def state_at_first(reader: HistoryReader, n: int) -> FlatState:
    """The state before any event, which is 0."""
    sizes = [(layer[0].hidden_size, layer[0].mode) for layer in reader.layers]
    device = next(reader.parameters()).device
    return [
        torch.zeros(n, size, dtype=torch.float32, device=device)
        for size, mode in sizes
        for _ in range(1 + (mode == "LSTM"))
    ]


def flat(state: ReaderState) -> FlatState:
    """The tensors of a state as one list."""
    return [numbers[0].float() for layer in state for numbers in _tensors(layer[0])]


def shaped(reader: HistoryReader, tensors: FlatState) -> ReaderState:
    """A state as the reader takes it."""
    left = iter(numbers[None].contiguous() for numbers in tensors)
    return [
        [(next(left), next(left)) if layer[0].mode == "LSTM" else next(left)]
        for layer in reader.layers
    ]


def _tensors(state: torch.Tensor | tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    else:
        yield from state
