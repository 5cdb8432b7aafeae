"""The network: a recurrent reader for each history column, and a head over all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._batches import BatchPart
from sklearn_seqcrm.neural_network._layers import (
    Dropout,
    has_float64,
    new_generator,
    new_linear,
)
from sklearn_seqcrm.neural_network._linear_part import LinearPart
from sklearn_seqcrm.neural_network._reader import HistoryReader, HistorySpec

# Places of rows, for each row, up to which all places enter the head. Beyond, products
# for places without a row take longer than taking all numbers of rows out of theirs.
_PLACES_TO_MULTIPLY = 1.25


class HistoryNetwork(nn.Module):
    """All history columns, row features and statics, to outputs.

    Parameters
    ----------
    specs : sequence of HistorySpec
        One for each history column.
    n_static : int
        Number of row features and statics that the head reads.
    n_outputs : int
        Number of outputs.
    cell, hidden_size, num_layers, bidirectional, pooling, dropout
        As in `HistoryReader`.
    head_sizes : sequence of int
        Sizes of the hidden layers of the head.
    bptt_steps, precision, level_dropout
        As in `HistoryReader`.
    seed : int, default=0
        Seed of the first weights, which are the same on any device.
    exposed : tuple of int, default=()
        Outputs to which the static after those is added, times a slope that is 1 until
        `steepen` changes it. Empty: there is none.
    n_sums : int, default=0
        How many of the statics, the last ones, are for the linear part alone.
    is_linear : bool, default=False
        Whether there is a linear part.
    """

    linear: LinearPart | None
    slope: torch.Tensor | None

    def __init__(
        self,
        specs: Sequence[HistorySpec],
        n_static: int,
        n_outputs: int,
        cell: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: Sequence[str],
        dropout: float,
        head_sizes: Sequence[int],
        bptt_steps: int | None = None,
        precision: str = "float32",
        level_dropout: float = 0.0,
        seed: int = 0,
        exposed: Sequence[int] = (),
        n_sums: int = 0,
        is_linear: bool = False,
    ) -> None:
        super().__init__()
        self._first_slope = np.zeros(n_outputs, dtype="float32")
        self._first_slope[list(exposed)] = 1.0
        # Of outputs over the exposure. No step of training changes it.
        slope = torch.from_numpy(self._first_slope.copy()) if len(exposed) else None
        self.register_buffer("slope", slope)
        self._n_static = n_static
        n_linear = (n_static + n_sums) if is_linear else 0
        self.linear = LinearPart(n_linear, n_outputs) if n_linear else None
        generator = new_generator(seed)
        self.readers = nn.ModuleList(
            HistoryReader(
                spec,
                cell,
                hidden_size,
                num_layers,
                bidirectional,
                pooling,
                dropout,
                bptt_steps,
                precision,
                level_dropout,
                generator,
            )
            for spec in specs
        )
        size = sum(reader.output_size for reader in self.readers) + n_static
        layers: list[nn.Module] = []
        for width in head_sizes:
            layers += [new_linear(size, width, generator), nn.ReLU(), Dropout(dropout)]
            size = width
        self.head = nn.Sequential(*layers, new_linear(size, n_outputs, generator))

    def beyond(self) -> np.ndarray:
        """How far slopes over the exposure are from where they start, (n_outputs,)."""
        assert self.slope is not None
        return self.slope.cpu().numpy() - self._first_slope

    def steepen(self, beyond: np.ndarray) -> None:
        """Set the slopes to so much more than where they start, shape (n_outputs,)."""
        assert self.slope is not None
        slope = torch.from_numpy((self._first_slope + beyond).astype("float32"))
        self.slope.copy_(slope)

    def forward(
        self, batch: BatchPart, steps: Sequence[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return the outputs of some rows, shape (n, n_outputs).

        Parameters
        ----------
        batch : BatchPart
            The rows.
        steps : sequence of Tensor or None, default=None
            What stands in for the embedded events of each history column.
        """
        static = batch.static
        if not self.readers:
            static = self._as_precise_as_needed(static)
            numbers = self.head(static[:, : self._n_static])
        else:
            events = steps or [None] * len(self.readers)
            numbers = self._enter_head(batch, static[:, : self._n_static], events)
            for layer in list(self.head)[1:]:
                numbers = layer(numbers)
        return self._add_what_is_beside(numbers, static)

    def read_pooled(
        self, pooled: Sequence[torch.Tensor], static: torch.Tensor
    ) -> torch.Tensor:
        """Outputs of rows whose histories have been pooled, shape (n, n_outputs).

        Parameters
        ----------
        pooled : sequence of Tensor of shape (n, output_size)
            What the reader of each history column made of its histories.
        static : Tensor of shape (n, S), float32
            Row features and statics, and whatever goes beside the head.
        """
        of_head = static[:, : self._n_static]
        numbers = self.head(torch.cat([*pooled, of_head], dim=1))
        return self._add_what_is_beside(numbers, static)

    def _add_what_is_beside(
        self, outputs: torch.Tensor, static: torch.Tensor
    ) -> torch.Tensor:
        """Add the logarithm of the exposure, and the linear part."""
        if self.slope is not None:
            outputs = outputs + static[:, -1:].to(outputs.dtype) * self.slope
        if self.linear is not None:
            outputs = outputs + self.linear(static)
        return outputs

    def _enter_head(
        self,
        batch: BatchPart,
        static: torch.Tensor,
        steps: Sequence[torch.Tensor | None],
    ) -> torch.Tensor:
        """Outputs of the first layer of the head, shape (n, width).

        The columns for each reader and for the statics are applied one by one. To join
        those first, some 400 numbers a row to copy here and back, and to take rows out
        of their places before the product took a seventh of training on rows before
        all events.
        """
        first = self.head[0]
        sizes = [reader.output_size for reader in self.readers]
        *weights, last = first.weight.split([*sizes, static.shape[1]], dim=1)
        numbers = nn.functional.linear(static, last, first.bias)
        for reader, history, events, weight in zip(
            self.readers, batch.histories, steps, weights, strict=True
        ):
            pooled = reader.pool_places(history, events)  # (C * R, output_size)
            if len(pooled) > _PLACES_TO_MULTIPLY * len(numbers):
                pooled = history.take_rows(pooled)
                numbers = numbers + nn.functional.linear(pooled, weight)
            else:
                product = nn.functional.linear(pooled, weight)
                numbers = numbers + history.take_rows(product)
        return numbers

    def _as_precise_as_needed(self, static: torch.Tensor) -> torch.Tensor:
        """Statics of rows without histories, in float64 where that can be had.

        The order in which a product adds up depends on the number of rows. In float64
        that does not show: rows of statics alone are the same in any batch. What is
        read of histories is float32, and not the same; a head in float64 over it took
        up to 17 % more time for nothing.
        """
        if self.training or not has_float64(static.device):
            return static
        return static.double()
