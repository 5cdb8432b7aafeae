"""The skorch net that trains an event model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from sklearn_seqcrm.neural_network._batches import Batch, BatchPart
from sklearn_seqcrm.neural_network._event_model._mixed_batches import MixedBatches
from sklearn_seqcrm.neural_network._net import HistoryNet
from sklearn_seqcrm.neural_network._rows import RowData


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
