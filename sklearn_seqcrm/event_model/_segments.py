"""Recurrent layers over ragged sequences, and sums within segments of flat arrays.

Rows of a batch have any length. Layers run over segments of their steps, with little
padding: the longest rows come first, and rows that have ended leave the batch (an `s`
is a step)::

    row 1  s s s s|s s s|s s s s        3 segments of 4, 3 and 4 steps,
    row 2  s s s s|s s s|               of 4, 2 and 1 rows
    row 3  s s s .|                     . padding
    row 4  s . . .|
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    RecurrentState,
    layer_products,
)

# Takes the sequences, (n,), and the slice of steps of each segment. Returns embedded
# steps of each, shape (n, n_steps, D).
EmbedSegments = Callable[[list[tuple[Tensor, slice]]], Sequence[Tensor]]

# Segments of steps -------------------------------------------------------------------

# A call of the layers takes as long as this many padded steps.
_STEPS_OF_A_CALL = 128
# oneDNN prepares a kernel for each new shape, which takes as long as 200 steps. So ends
# of segments and numbers of sequences have three leading binary digits, and most shapes
# come again.
_DIGITS = 3
# States (steps times units) that a CPU reads at once. With twice as many, an LSTM took
# half as much time again for each: malloc requests such arrays from the system each
# time.
_STATES_AT_ONCE = 2**18


class Segment(NamedTuple):
    """Steps from `first` up to `last` of the `n` longest sequences.

    Some of the sequences may have ended before.
    """

    first: int
    last: int
    n: int


class StepStates(NamedTuple):
    """Outputs and states of a reader after the steps of B ragged sequences.

    All segments stand one after the other in tables, each by step and sequence. The
    first entry is that before any step. After step s - 1 of the k-th longest sequence
    the entry is ``offset[s] + k``.
    """

    outputs: Tensor  # (n_entries, H): outputs of the last layer
    # (n_entries, H): state of the cell of each layer; empty unless requested.
    layers: list[tuple[Tensor, ...]]
    offset: Tensor  # (T + 1,), int64: where the entries stand
    rank: Tensor  # (B,), int64: rank k of each sequence by length, from 0 on

    def place(self, row: Tensor, step: Tensor) -> Tensor:
        """Return the entries before some steps of sequences, shape (n,), int64."""
        # The rank before any step, of which there is one entry for all, is that of 0.
        return self.offset[step] + self.rank[row] * (step > 0)


def run_in_segments(
    reader: HistoryReader,
    embed: EmbedSegments,
    lengths: Tensor,
    start: Tensor,
    with_layers: bool = False,
) -> StepStates:
    """Return outputs of a reader before any step and after each.

    `lengths`, of shape (B,), are the numbers of steps of the sequences, and `start`, of
    shape (H,), is the output before any step. The states of the cells are returned as
    well if `with_layers`.
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
    offset = np.zeros(int(sorted_lengths[0]) + 1, "int64")
    n_tables = len(reader.layers) * reader.cell.n_states if with_layers else 0
    tables = [[start.new_zeros(1, len(start))] for _ in range(n_tables)]
    outputs, state, at = [start[None]], None, 1
    inputs = embed([(order[:n], slice(first, last)) for first, last, n in segments])
    for (first, last, n), steps in zip(segments, inputs, strict=True):
        if state is not None:
            state = state.take(slice(n))
            if reader.bptt_steps is not None:
                state = state.map(Tensor.detach)
        traced: list[tuple[Tensor, Tensor]] = []
        before = state
        output, state = reader.run(steps, lengths[order[:n]], state, traced)
        outputs.append(_by_step(output))
        if with_layers:
            found = cell_states(reader, traced, before)
            for table, one in zip(tables, found, strict=True):
                table.append(_by_step(one))
        offset[first + 1 : last + 1] = at + n * np.arange(last - first)
        at += n * (last - first)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    joined = [torch.cat(table) for table in tables]
    n_states = reader.cell.n_states
    return StepStates(
        torch.cat(outputs),
        [tuple(joined[i : i + n_states]) for i in range(0, n_tables, n_states)],
        torch.from_numpy(offset).to(device),
        rank,
    )


def _by_step(states: Tensor) -> Tensor:
    """Return states (n, n_steps, H) as a table by step and sequence, as layers do."""
    return states.transpose(0, 1).flatten(0, 1)


def gather_segments(
    steps: Tensor, begin: Tensor, lengths: Tensor, segments: list[tuple[Tensor, slice]]
) -> list[Tensor]:
    """Return the steps of segments, each of shape (n, n_steps, D); see `EmbedSegments`.

    `steps`, of shape (n_steps, D), are those of one sequence after the other, which
    have `lengths` and begin at `begin`, both of shape (B,). Beyond its end, the last
    step of a sequence is repeated.
    """
    if not segments:  # all sequences are empty
        return []
    index = []
    for rows, some in segments:
        step = torch.arange(some.start, some.stop, device=steps.device)[:, None]
        last = lengths[rows].clamp(min=1) - 1
        # An empty sequence behind the last step has none of its own to repeat.
        place = (begin[rows] + torch.minimum(step, last)).clamp(max=len(steps) - 1)
        index.append(place)
    # All at once: the gradient of each gathering has the size of all steps.
    every = torch.cat([one.flatten() for one in index])
    parts = nn.functional.embedding(every, steps).split([one.numel() for one in index])
    # Layers take in steps by step and sequence, so that these are not copied.
    return [
        part.view(*one.shape, -1).transpose(0, 1)
        for part, one in zip(parts, index, strict=True)
    ]


def cut_segments(
    lengths: np.ndarray, bptt_steps: int | None, steps_at_once: int | None
) -> list[Segment]:
    """Cut steps where sequences end, if that saves more padding than a call costs.

    `lengths`, of shape (B,), int64, are those of sequences, descending. Segments are in
    order, and end at multiples of `bptt_steps`, through which gradients flow. They have
    at most `steps_at_once` padded steps, unless a single step of each sequence has
    more. Without any event there is no segment.
    """
    unit = int(bptt_steps or 1)
    longest = int(lengths[0])
    ends = _worth_cutting(_round_up(lengths[::-1]))
    ends = [min(-(-end // unit) * unit, longest) for end in ends]
    segments = []
    for first, last in pairwise(sorted({0, *ends})):
        n = int(_round_up(np.count_nonzero(lengths > first)))
        n, most = min(n, len(lengths)), last - first
        if steps_at_once is not None:
            most = max(1, steps_at_once // (n * unit)) * unit
        segments += [
            Segment(at, min(at + most, last), n) for at in range(first, last, most)
        ]
    return segments


def _round_up(numbers: Any) -> Any:
    """Return the next integers of `_DIGITS` leading binary digits, from 0 on."""
    exponent = np.maximum(np.frexp(np.maximum(numbers, 1))[1] - _DIGITS, 0)
    return -(-numbers >> exponent) << exponent


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


# States of cells ----------------------------------------------------------------------

# torch returns only the last state of a layer. The output of a cell is its hidden
# state. An LSTM has a memory as well, which follows from the inputs and outputs of the
# layer by `Cell.memory_terms`: its gates at all steps are one product, and then
# ``c' = f c + i g``.


def cell_states(
    reader: HistoryReader,
    layers: list[tuple[Tensor, Tensor]],
    before: RecurrentState | None,
) -> list[Tensor]:
    """Return the vectors of the cells after each step, each of shape (n, T, H).

    `layers` are inputs (n, T, D) and outputs (n, T, H) of each layer; `before` is the
    state before the first step, if there is one.
    """
    found = []
    for depth, (inputs, outputs) in enumerate(layers):
        hidden = outputs.float()
        found.append(hidden)
        if reader.cell.n_states == 1:
            continue
        if before is None:
            start = last = torch.zeros_like(hidden[:, 0])
        else:
            start, last = (one.float() for one in before.cells[depth])
        earlier = torch.cat([start[:, None], hidden[:, :-1]], dim=1)
        new, old = layer_products(reader.layers[depth][0], inputs.float(), earlier)
        terms = reader.cell.memory_terms(reader.cell.gates(new, old))
        memory = []
        for kept, added in zip(*(one.unbind(1) for one in terms), strict=True):
            last = torch.addcmul(added, kept, last)
            memory.append(last)
        found.append(torch.stack(memory, dim=1))
    return found


# Sums within segments of a flat array -------------------------------------------------


def sums_before(numbers: Tensor, is_new: Tensor, factor: float = 1.0) -> Tensor:
    """Return sums of the numbers, shape (n, k), before each within its segment.

    From number to number, earlier ones are multiplied by `factor`. Differences of
    cumulative sums would have the rounding of the largest of them.
    """
    kept = (~is_new[:, None]).to(numbers.dtype)
    return linear_recurrence(factor * kept, kept * numbers.roll(1, dims=0))


def linear_recurrence(kept: Tensor, added: Tensor) -> Tensor:
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


def starts_run(numbers: Tensor) -> Tensor:
    """Return where a run of equal numbers starts, shape (n,), bool."""
    is_new = torch.ones_like(numbers, dtype=torch.bool)
    is_new[1:] = numbers[1:] != numbers[:-1]
    return is_new


def run_starts(is_start: Tensor) -> Tensor:
    """Return the position at which the run of each element starts, shape (n,)."""
    number = is_start.cumsum(dim=0) - 1
    return is_start.nonzero()[:, 0][number]
