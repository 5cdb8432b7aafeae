"""Read sequences of all lengths at once, in stretches that pad little."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._reader import HistoryReader, ReaderState

# A call of the layers costs as much time as so many padded steps.
_STEPS_OF_A_CALL = 256
# States (steps times units) that a CPU reads at once. With twice as many, an LSTM took
# half as much time again for each: malloc takes such arrays from the system anew.
_STATES_AT_ONCE = 2**18


class Stretch(NamedTuple):
    """Steps from `first` up to `last` of the `n` longest sequences."""

    first: int
    last: int
    n: int


def read_in_stretches(
    reader: HistoryReader,
    values: torch.Tensor,
    codes: torch.Tensor,
    lengths: torch.Tensor,
    start: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs of a reader before each event and after the last ones, without padding.

    Short sequences end early, and longer ones go on without them from where they are,
    so that sequences of all lengths are padded no more than those of one.

    Parameters
    ----------
    reader : HistoryReader
        Reads forwards.
    values : Tensor of shape (B, T, F)
        Channels.
    codes : Tensor of shape (B, T, C), int64
        Codes.
    lengths : Tensor of shape (B,), int64
        Number of events of each sequence.
    start : Tensor of shape (H,)
        What stands for the output before any event.

    Returns
    -------
    outputs : Tensor of shape (n_events + B, H)
        Before each event, sequence by sequence; then after the last event of each
        sequence.
    row, step : Tensor of shape (n_events,), int64
        Sequence of each event, and its place there.
    """
    device = lengths.device
    order = lengths.argsort(descending=True, stable=True)
    at_once = None
    if device.type == "cpu":
        at_once = _STATES_AT_ONCE // (len(start) * len(reader.layers))
    stretches = cut_stretches(lengths[order].cpu().numpy(), reader.bptt_steps, at_once)
    # The output after step s - 1 of the k-th longest sequence stands at
    # ``offset[s] + k * stride[s]`` among all outputs, and `start` before them.
    offset, stride = np.zeros((2, values.shape[1] + 1), "int64")
    outputs, state, at = [start[None]], None, 1
    for first, last, n in stretches:
        rows = order[:n]
        steps = reader.embed(values[rows, first:last], codes[rows, first:last])
        if state is not None:
            state = _of_first(state, n, detached=reader.bptt_steps is not None)
        output, state = reader.read(steps, lengths[rows], state)
        outputs.append(output.flatten(0, 1))
        offset[first + 1 : last + 1] = at + np.arange(last - first)
        stride[first + 1 : last + 1] = last - first
        at += n * (last - first)
    is_event = torch.arange(values.shape[1], device=device) < lengths[:, None]
    row, step = is_event.nonzero(as_tuple=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    ends, ranks = torch.cat([step, lengths]), torch.cat([rank[row], rank])
    offsets, strides = (torch.from_numpy(a).to(device)[ends] for a in (offset, stride))
    # As index_select does, whose backward takes twice the time.
    found = nn.functional.embedding(offsets + ranks * strides, torch.cat(outputs))
    return found, row, step


def cut_stretches(
    lengths: np.ndarray, bptt_steps: int | None, steps_at_once: int | None
) -> list[Stretch]:
    """Cut steps where sequences end, if that saves more padding than a call costs.

    Parameters
    ----------
    lengths : ndarray of shape (B,), int64
        Lengths of sequences, descending.
    bptt_steps : int or None
        Gradients reach no further than this; stretches end where they do.
    steps_at_once : int or None
        Padded steps that a stretch has at most, if it has several steps of a sequence.

    Returns
    -------
    list of Stretch
        In order; none without any event.
    """
    unit = bptt_steps or 1
    longest = int(lengths[0])
    ends = {
        min(-(-end // unit) * unit, longest) for end in _worth_cutting(lengths[::-1])
    }
    stretches = []
    for first, last in pairwise(sorted({0, *ends})):
        n = int(np.count_nonzero(lengths > first))
        most = last - first
        if steps_at_once is not None:
            most = max(1, steps_at_once // (n * unit)) * unit
        stretches += [
            Stretch(at, min(at + most, last), n) for at in range(first, last, most)
        ]
    return stretches


def _worth_cutting(lengths: np.ndarray) -> list[int]:
    """Ends among ascending lengths, where cuts save more padding than calls cost."""
    ends = []
    # Sequences that end within a stretch; all after them go on.
    uncut = [(0, len(lengths))]
    while uncut:
        first, last = uncut.pop()
        ends.append(int(lengths[last - 1]))
        own = lengths[first:last]
        # Saved if the sequences up to each place are not padded to the end.
        saved = np.arange(1, len(own) + 1) * (own[-1] - own)
        best = int(saved.argmax())
        if saved[best] >= _STEPS_OF_A_CALL:
            uncut += [(first, first + best + 1), (first + best + 1, last)]
    return ends


def _of_first(state: ReaderState, n: int, detached: bool) -> ReaderState:
    """The state of the first sequences, shape (1, n, H) in each of its tensors."""

    def of_first(numbers: torch.Tensor) -> torch.Tensor:
        kept = numbers[:, :n]
        return kept.detach() if detached else kept

    return [
        [
            of_first(one)
            if isinstance(one, torch.Tensor)
            else (of_first(one[0]), of_first(one[1]))
            for one in layer
        ]
        for layer in state
    ]
