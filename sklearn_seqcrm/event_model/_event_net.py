"""The skorch net of an event model: its batches, and the states it reads up to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._recurrent.data import Batch, BatchIterator, BatchPart, RowData
from sklearn_seqcrm._recurrent.network import HistoryReader, RecurrentState
from sklearn_seqcrm._recurrent.training import HistoryNet
from sklearn_seqcrm.event_model._network import EventNetwork

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


class EventNet(HistoryNet):
    """A `HistoryNet` whose module returns the loss of each row.

    Parameters
    ----------
    events_in_row : float, default=1.0
        Events that a training row has on average. The loss of a batch is that of its
        rows over this number, so that the loss of an epoch is that of an event, and
        rows of many events have as many times more to say.
    **kwargs
        Parameters of `HistoryNet`.
    """

    def __init__(self, *args: Any, events_in_row: float = 1.0, **kwargs: Any) -> None:
        self.events_in_row = events_in_row
        super().__init__(*args, **kwargs)

    def get_iterator(
        self, dataset: RowData, training: bool = False
    ) -> Iterator[tuple[Batch, torch.Tensor]]:
        if not training:
            return super().get_iterator(dataset, training=False)
        return MixedBatches(  # type: ignore[return-value]
            dataset,
            self.batch_size,
            shuffle=True,
            share=False,
            seed=self.shuffle_seed,
            # As many as without gradients: layers are given stretches of them.
            **self._steps(training=False),
        )

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: torch.Tensor,
        X: Batch | BatchPart | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        return y_pred.mean() / self.events_in_row

    def steps_at_once(self) -> dict[str, int]:
        """How many padded steps the network reads at once, outside of training."""
        return self._steps(training=False)


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
    state: RecurrentState | None = None
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
    return flat(reader.start(n))


def flat(state: RecurrentState) -> FlatState:
    """The tensors of a state as one list."""
    return [numbers.float() for layer in state.cells for numbers in layer]


def shaped(reader: HistoryReader, tensors: FlatState) -> RecurrentState:
    """A state as the reader takes it."""
    each = [iter(tensors)] * reader.cell.n_states
    return RecurrentState(tuple(zip(*each, strict=True)))
