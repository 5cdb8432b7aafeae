"""Ragged sequences read with little padding, and sums within segments of flat arrays.

Rows of a batch have any length. They are read in segments of steps, the longest rows
first, and rows that have ended leave the batch (an `s` is a step)::

    row 1  s s s s|s s s|s s s s        3 segments of 4, 3 and 4 steps,
    row 2  s s s s|s s s|               of 4, 2 and 1 rows
    row 3  s s s .|                     . padding
    row 4  s . . .|
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from sklearn_seqcrm._recurrent.network import HistoryReader
from sklearn_seqcrm.event_model._cell_states import cell_states

# Segments of steps -------------------------------------------------------------------

# A call of the layers takes as long as this many padded steps.
_STEPS_OF_A_CALL = 256
# States (steps times units) that a CPU reads at once. With twice as many, an LSTM took
# half as much time again for each: malloc requests such arrays from the system each
# time.
_STATES_AT_ONCE = 2**18


class Segment(NamedTuple):
    """Steps from `first` up to `last` of the `n` longest sequences."""

    first: int
    last: int
    n: int


class StepStates(NamedTuple):
    """Outputs and states of a reader after the steps of B ragged sequences.

    All segments stand one after the other in tables, each by sequence and step. The
    first entry is that before any step. After step s - 1 of the k-th longest sequence
    the entry is ``offset[s] + k * stride[s]``.

    Parameters
    ----------
    outputs : Tensor of shape (n_entries, H)
        Outputs of the last layer.
    layers : list of tuple of Tensor of shape (n_entries, H)
        State of the cell of each layer; empty if they were not asked for.
    offset, stride : Tensor of shape (T + 1,), int64
        Where the entries stand.
    rank : Tensor of shape (B,), int64
        Rank k of each sequence by length, from 0 on.
    """

    outputs: torch.Tensor
    layers: list[tuple[torch.Tensor, ...]]
    offset: torch.Tensor
    stride: torch.Tensor
    rank: torch.Tensor

    def place(self, row: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the entries before some steps of sequences, shape (n,), int64."""
        return self.offset[step] + self.rank[row] * self.stride[step]


def read_in_segments(
    reader: HistoryReader,
    embed: Callable[[torch.Tensor, slice], torch.Tensor],
    lengths: torch.Tensor,
    start: torch.Tensor,
    with_layers: bool = False,
) -> StepStates:
    """Return outputs of a reader before any step and after each.

    Parameters
    ----------
    reader : HistoryReader
        Reads forwards.
    embed : callable
        Takes sequences, (n,), and a slice of steps, and returns the embedded steps,
        shape (n, n_steps, D).
    lengths : Tensor of shape (B,), int64
        Number of steps of each sequence.
    start : Tensor of shape (H,)
        Output before any step.
    with_layers : bool, default=False
        Whether to return the states of the cells as well.
    """
    device = lengths.device
    order = lengths.argsort(descending=True, stable=True)
    at_once = None
    if device.type == "cpu":
        at_once = _STATES_AT_ONCE // (len(start) * len(reader.layers))
    if with_layers and reader.bptt_steps is not None:
        at_once = 1  # a segment has one stretch, at whose ends gradients stop
    sorted_lengths = lengths[order].cpu().numpy()
    segments = cut_segments(sorted_lengths, reader.bptt_steps, at_once)
    offset, stride = np.zeros((2, int(sorted_lengths[0]) + 1), "int64")
    n_tables = len(reader.layers) * reader.cell.n_states if with_layers else 0
    tables = [[start.new_zeros(1, len(start))] for _ in range(n_tables)]
    outputs, state, at = [start[None]], None, 1
    for first, last, n in segments:
        rows = order[:n]
        steps = embed(rows, slice(first, last))
        if state is not None:
            state = state.take(slice(n))
            if reader.bptt_steps is not None:
                state = state.map(torch.Tensor.detach)
        traced: list[tuple[torch.Tensor, torch.Tensor]] = []
        before = state
        output, state = reader.read(steps, lengths[rows], state, traced)
        outputs.append(output.flatten(0, 1))  # (n, last - first, H) to rows of H
        if with_layers:
            found = cell_states(reader, traced, before)
            for table, one in zip(tables, found, strict=True):
                table.append(one.flatten(0, 1))
        offset[first + 1 : last + 1] = at + np.arange(last - first)
        stride[first + 1 : last + 1] = last - first
        at += n * (last - first)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    joined = [torch.cat(table) for table in tables]
    n_states = reader.cell.n_states
    return StepStates(
        torch.cat(outputs),
        [tuple(joined[i : i + n_states]) for i in range(0, n_tables, n_states)],
        torch.from_numpy(offset).to(device),
        torch.from_numpy(stride).to(device),
        rank,
    )


def cut_segments(
    lengths: np.ndarray, bptt_steps: int | None, steps_at_once: int | None
) -> list[Segment]:
    """Cut steps where sequences end, if that saves more padding than a call costs.

    Parameters
    ----------
    lengths : ndarray of shape (B,), int64
        Lengths of sequences, descending.
    bptt_steps : int or None
        Steps through which gradients flow; segments end at multiples of them.
    steps_at_once : int or None
        Most padded steps of a segment, unless it has a single step of each sequence.

    Returns
    -------
    list of Segment
        In order; empty without any event.
    """
    unit = bptt_steps or 1
    longest = int(lengths[0])
    ends = {
        min(-(-end // unit) * unit, longest) for end in _worth_cutting(lengths[::-1])
    }
    segments = []
    for first, last in pairwise(sorted({0, *ends})):
        n = int(np.count_nonzero(lengths > first))
        most = last - first
        if steps_at_once is not None:
            most = max(1, steps_at_once // (n * unit)) * unit
        segments += [
            Segment(at, min(at + most, last), n) for at in range(first, last, most)
        ]
    return segments


def _worth_cutting(lengths: np.ndarray) -> list[int]:
    """Return ends among ascending lengths where a cut saves more than a call costs."""
    ends = []
    # Sequences that end within a segment; all after them continue.
    uncut = [(0, len(lengths))]
    while uncut:
        first, last = uncut.pop()
        ends.append(int(lengths[last - 1]))
        own = lengths[first:last]
        # Padding saved if the sequences up to each position end in a segment of theirs.
        saved = np.arange(1, len(own) + 1) * (own[-1] - own)
        best = int(saved.argmax())
        if saved[best] >= _STEPS_OF_A_CALL:
            uncut += [(first, first + best + 1), (first + best + 1, last)]
    return ends


# Sums within segments of a flat array -------------------------------------------------


def sums_before(
    numbers: torch.Tensor, is_new: torch.Tensor, factor: float = 1.0
) -> torch.Tensor:
    """Return sums of the numbers, shape (n, k), before each within its segment.

    From number to number, earlier ones are multiplied by `factor`. Differences of
    cumulative sums would have the rounding of the largest of them.
    """
    kept = (~is_new[:, None]).to(numbers.dtype)
    return linear_recurrence(factor * kept, kept * numbers.roll(1, dims=0))


def linear_recurrence(kept: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return S[i] = kept[i] S[i - 1] + added[i], shape (n, k); overwrites both.

    `kept` has k columns or one; where its last column is 0, the others are 0 as well.

    A parallel scan (Blelloch, "Prefix Sums and Their Applications", 1990): after the
    pass with a span, S[i] covers 2 * span terms. It ends when all segments have begun.
    """
    span = 1
    while kept[:, -1].any():
        added[span:] += kept[span:] * added[:-span]
        kept[span:] = kept[span:] * kept[:-span]
        span *= 2
    return added


def starts_run(numbers: torch.Tensor) -> torch.Tensor:
    """Return where a run of equal numbers starts, shape (n,), bool."""
    is_new = torch.ones_like(numbers, dtype=torch.bool)
    is_new[1:] = numbers[1:] != numbers[:-1]
    return is_new
