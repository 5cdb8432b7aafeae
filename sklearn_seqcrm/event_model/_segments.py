"""Training batches of random rows, and ragged sequences read with little padding.

Rows of a batch have any length. They are read in segments of steps, the longest rows
first, and rows that have ended leave the batch::

    row 1  e e e e|e e e|e e e e        3 segments of 4, 3 and 4 steps,
    row 2  e e e e|e e e|               of 4, 2 and 1 rows
    row 3  e e e .|                     . padding
    row 4  e . . .|
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._recurrent.data import BatchIterator
from sklearn_seqcrm._recurrent.network import HistoryReader

# Batches -----------------------------------------------------------------------------

_MOST_ROWS = 512
_STEPS_IN_EPOCH = 64
# However few rows there are, a step has 64, or as many as have 1,024 events, and at
# least 8. With 400 households of 100 events each, fifteen epochs of seven steps were
# half a nat an event worse than fifteen of forty.
_FEWEST_ROWS, _FEWEST_EVENTS = (8, 64), 1024


class MixedBatches(BatchIterator):
    """Batches of random rows, for a loss that is a sum over the events of a row.

    If a batch had rows of similar length, as in `BatchIterator`, such a loss would be
    many times as large in some batches as in others. Gradient clipping then takes
    weight from busy customers: on CDNOW, where most have bought once, those who had
    bought ten times had half as many simulated purchases as real ones.
    """

    def plan(self) -> list[list[np.ndarray]]:
        """Return the rows of each part of each batch."""
        if not self.shuffle:
            return super().plan()
        [source] = self.data.sources
        lengths = source.lengths
        order = self.rng.permutation(len(lengths))
        plan = []
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            rows = rows[np.argsort(-lengths[rows], kind="stable")]
            cuts = _cut_parts(lengths[rows], self.steps_at_once, self.most_steps)
            plan.append(np.split(rows, cuts))
        return plan


def mixed_batch_size(n_rows: int, n_events: int) -> int:
    """Return the rows of a training step for a number of rows and events, 8 to 512."""
    least, most = _FEWEST_ROWS
    enough = -(-_FEWEST_EVENTS * n_rows // max(n_events, 1))
    fewest = max(least, min(most, enough))
    return max(fewest, min(_MOST_ROWS, n_rows // _STEPS_IN_EPOCH))


def _cut_parts(lengths: np.ndarray, most_events: int, most_steps: int) -> list[int]:
    """Return where to cut rows of descending length into parts that memory allows."""
    cuts: list[int] = []
    first = 0
    while True:
        own = lengths[first:]
        fits = np.cumsum(own) <= most_events
        fits &= own[0] * np.arange(1, len(own) + 1) <= most_steps
        fits[0] = True  # a part has one row at least, whatever its length
        if fits.all():
            return cuts
        first += int(fits.argmin())
        cuts.append(first)


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


def read_in_segments(
    reader: HistoryReader,
    values: torch.Tensor,
    codes: torch.Tensor,
    lengths: torch.Tensor,
    start: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return outputs of a reader before each event and after the last ones.

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
        Output before any event.

    Returns
    -------
    outputs : Tensor of shape (n_events + B, H)
        Before each event, sequence by sequence; then after the last event of each
        sequence.
    row, step : Tensor of shape (n_events,), int64
        Sequence of each event, and its position there.
    """
    device = lengths.device
    order = lengths.argsort(descending=True, stable=True)
    at_once = None
    if device.type == "cpu":
        at_once = _STATES_AT_ONCE // (len(start) * len(reader.layers))
    segments = cut_segments(lengths[order].cpu().numpy(), reader.bptt_steps, at_once)
    # All outputs stand one after the other: `start`, then each segment by sequence and
    # step. The output after step s - 1 of the k-th longest sequence is the one at
    # ``offset[s] + k * stride[s]``.
    offset, stride = np.zeros((2, values.shape[1] + 1), "int64")
    outputs, state, at = [start[None]], None, 1
    for first, last, n in segments:
        rows = order[:n]
        steps = reader.embed(values[rows, first:last], codes[rows, first:last])
        if state is not None:
            state = state.take(slice(n))
            if reader.bptt_steps is not None:
                state = state.map(torch.Tensor.detach)
        output, state = reader.read(steps, lengths[rows], state)
        outputs.append(output.flatten(0, 1))  # (n, last - first, H) to rows of H
        offset[first + 1 : last + 1] = at + np.arange(last - first)
        stride[first + 1 : last + 1] = last - first
        at += n * (last - first)
    is_event = torch.arange(values.shape[1], device=device) < lengths[:, None]  # (B, T)
    row, step = is_event.nonzero(as_tuple=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    ends, ranks = torch.cat([step, lengths]), torch.cat([rank[row], rank])
    offsets, strides = (torch.from_numpy(a).to(device)[ends] for a in (offset, stride))
    # index_select does the same, but its backward pass takes twice the time.
    found = nn.functional.embedding(offsets + ranks * strides, torch.cat(outputs))
    return found, row, step


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


def sums_before(numbers: torch.Tensor, is_new: torch.Tensor) -> torch.Tensor:
    """Return sums of the numbers, shape (n, k), before each within its segment.

    Differences of cumulative sums would have the rounding of the largest of them.
    """
    kept = (~is_new[:, None]).to(numbers.dtype)
    return linear_recurrence(kept, kept * numbers.roll(1, dims=0))


def linear_recurrence(kept: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return S[i] = kept[i] S[i - 1] + added[i], shape (n, k); overwrites both.

    A parallel scan (Blelloch, "Prefix Sums and Their Applications", 1990): after the
    pass with a span, S[i] covers 2 * span terms. It ends when all segments have begun.
    """
    span = 1
    while kept.any():
        added[span:] += kept[span:] * added[:-span]
        kept[span:] = kept[span:] * kept[:-span]
        span *= 2
    return added


def starts_run(numbers: torch.Tensor) -> torch.Tensor:
    """Return where a run of equal numbers starts, shape (n,), bool."""
    is_new = torch.ones_like(numbers, dtype=torch.bool)
    is_new[1:] = numbers[1:] != numbers[:-1]
    return is_new
