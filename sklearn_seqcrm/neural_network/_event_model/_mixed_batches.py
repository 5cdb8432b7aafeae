"""Training batches of rows of all lengths, read in parts of similar ones."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm.neural_network._batches import BatchIterator
from sklearn_seqcrm.neural_network._rows import RowData

_MOST_ROWS = 512
_STEPS_IN_EPOCH = 64
# However few rows there are, a step has 64, or as many as have 1,024 events, and 8 at
# least. Of 400 households with 100 events each, fifteen epochs of seven steps learned
# half a nat of an event less than fifteen of forty.
_FEWEST_ROWS, _FEWEST_EVENTS = (8, 64), 1024


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
            rows = rows[np.argsort(-longest[rows], kind="stable")]
            cuts = _cut_parts(longest[rows], self.steps_at_once, self.most_steps)
            plan.append(np.split(rows, cuts))
        return plan


def rows_in_mixed_batch(n_rows: int, n_events: int) -> int:
    """Rows of a step of training that suit so many rows and events: 8 to 512."""
    least, most = _FEWEST_ROWS
    enough = -(-_FEWEST_EVENTS * n_rows // max(n_events, 1))
    fewest = max(least, min(most, enough))
    return max(fewest, min(_MOST_ROWS, n_rows // _STEPS_IN_EPOCH))


def _cut_parts(lengths: np.ndarray, most_events: int, most_steps: int) -> list[int]:
    """Where to cut descending lengths, so that parts have no more than they may."""
    cuts: list[int] = []
    first = 0
    while True:
        own = lengths[first:]
        fits = np.cumsum(own) <= most_events
        fits &= own[0] * np.arange(1, len(own) + 1) <= most_steps
        fits[0] = True
        if fits.all():
            return cuts
        first += int(fits.argmin())
        cuts.append(first)


def _longest(data: RowData) -> np.ndarray:
    [source] = data.sources
    return source.stop - source.start
