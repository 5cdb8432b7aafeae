"""Training batches of rows of all lengths, read in parts of similar ones."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm.neural_network._batches import BatchIterator
from sklearn_seqcrm.neural_network._rows import RowData

# A part of its own costs as much time as so many padded steps.
_STEPS_OF_A_PART = 2048
_FEWEST_ROWS, _MOST_ROWS = 64, 512
_STEPS_IN_EPOCH = 64


class MixedBatches(BatchIterator):
    """Batches of random rows, for a loss that is a sum over the events of a row.

    Where rows of similar length are a batch, as in `BatchIterator`, such a loss is many
    times as large in some batches as in others. As long gradients are shortened, busy
    customers then have too little say: on CDNOW, where most have bought once, the
    simulated purchases of those who had bought ten times were half of the real ones.
    """

    def plan(self) -> list[list[np.ndarray]]:
        """Choose the rows of each part of each batch."""
        if not self.shuffle:
            return super().plan()
        longest = _longest(self.data)
        order = self.rng.permutation(len(longest))
        plan = []
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            rows = rows[np.argsort(longest[rows], kind="stable")]
            lengths = longest[rows]
            cuts = {*_worth_cutting(lengths), *self._cut_parts(rows, lengths)}
            plan.append(np.split(rows, sorted(cuts)))
        return plan


def rows_in_mixed_batch(n_rows: int) -> int:
    """Rows of a step of training that suit so many rows: 64 to 512."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, n_rows // _STEPS_IN_EPOCH))


def _worth_cutting(lengths: np.ndarray) -> list[int]:
    """Where to cut ascending lengths, so that padding costs less than parts do."""
    cuts: list[int] = []
    last = len(lengths)
    while last > 1:
        # What is saved if the rows before each place are not padded to the longest.
        saved = np.arange(1, last) * (lengths[last - 1] - lengths[: last - 1])
        best = int(saved.argmax())
        if saved[best] < _STEPS_OF_A_PART:
            break
        last = best + 1
        cuts.append(last)
    return cuts


def _longest(data: RowData) -> np.ndarray:
    [source] = data.sources
    return source.stop - source.start
