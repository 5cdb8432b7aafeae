"""The network: a recurrent reader per history column, a head, and a linear part.

Inputs of the head, and terms that are added to its outputs::

    history column 0 -> HistoryReader -> pooled --.
    history column 1 -> HistoryReader -> pooled --+-> head -> outputs
    row features, statics, pieces of statics -----'             +
    row features, statics, sums -> LinearPart ----------------> +
    offset (log exposure) times slope ------------------------> +
    shift, in predictions only -------------------------------> +
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import BatchPart, FieldInputs, HistorySpec
from sklearn_seqcrm._recurrent.network._layers import (
    Dropout,
    float32_tensor,
    new_generator,
    new_linear,
)
from sklearn_seqcrm._recurrent.network._linear_part import LinearPart
from sklearn_seqcrm._recurrent.network._reader import HistoryReader
from sklearn_seqcrm._recurrent.network._static_pieces import Pieces, StaticPieces

# Up to this many slots per row, all slots enter the head. With more, products for slots
# without a row take longer than gathering the rows first.
_PLACES_TO_MULTIPLY = 1.25


class ColumnsOfField(NamedTuple):
    """Columns of inputs that are made of one field."""

    steps: list[int]  # of embedded steps of its history column
    static: list[int]  # of `BatchPart.static`
    sums: list[int]  # of `BatchPart.sums`
    linear: list[int]  # of the inputs of the linear part


class HistoryNetwork(nn.Module):
    """Readers of all history columns, a head, and terms added to its outputs.

    `n_static` is the number of row features and statics, and `n_linear` that of inputs
    of the linear part: these and the sums of the histories, which enter by their
    logarithms with `takes_logs`. 0: there is no such part.
    The offset of a row is added to the outputs at `offset_outputs`, times their
    `slope`, which is 1 until an estimator sets it; without any, rows have no offset.
    `pieces` of statics are further inputs of the first layer of the head. The `seed` is
    that of the initial weights, which are the same on any device. Other options are
    those of `HistoryReader`.
    """

    linear: LinearPart | None
    pieces: StaticPieces | None
    slope: Tensor | None
    shift: Tensor | None

    def __init__(
        self,
        specs: Sequence[HistorySpec],
        n_static: int,
        n_outputs: int,
        head_sizes: Sequence[int],
        dropout: float,
        seed: int = 0,
        offset_outputs: Sequence[int] = (),
        n_linear: int = 0,
        takes_logs: bool = False,
        pieces: Pieces | None = None,
        **reader_options: Any,
    ) -> None:
        super().__init__()
        # Slopes of the outputs over the offset. A buffer: training does not change it.
        slope = float32_tensor(np.zeros(n_outputs))
        slope[list(offset_outputs)] = 1.0
        self.register_buffer("slope", slope if len(offset_outputs) else None)
        # Not in the state dict: it belongs to the final weights, while callbacks store
        # those of other epochs.
        self.register_buffer("shift", None, persistent=False)
        self.n_static = n_static
        n_logs = n_linear - n_static if takes_logs else 0
        self.linear = LinearPart(n_linear, n_outputs, n_logs) if n_linear else None
        generator = new_generator(seed)
        self.readers = nn.ModuleList(
            HistoryReader(
                spec,
                dropout=dropout,
                generator=generator,
                short_vectors=spec.moments is not None,
                **reader_options,
            )
            for spec in specs
        )
        size = sum(reader.output_size for reader in self.readers) + n_static
        self.pieces = None
        if pieces is not None and len(pieces.column):
            self.pieces = StaticPieces(pieces, [*head_sizes, n_outputs][0])
        layers: list[nn.Module] = []
        for width in head_sizes:
            layers += [new_linear(size, width, generator), nn.ReLU(), Dropout(dropout)]
            size = width
        self.head = nn.Sequential(*layers, new_linear(size, n_outputs, generator))

    def columns_of(self, i: int, own: FieldInputs) -> ColumnsOfField:
        """Return the columns of inputs from history column `i`."""
        before = [reader.spec for reader in self.readers[:i]]
        reader = self.readers[i]
        first = sum(spec.n_row_features for spec in before)
        first_sum = sum(
            len(one.sums) for spec in before for one in spec.fields.values()
        )
        static = [first + column for column in own.row_features]
        sums = [first_sum + column for column in own.sums]
        linear = [*static, *(self.n_static + column for column in sums)]
        return ColumnsOfField(reader.columns_of(own), static, sums, linear)

    def weights_of(
        self, i: int, own: FieldInputs
    ) -> Iterator[tuple[Tensor, list[int]]]:
        """Yield weights, and their columns for inputs from history column `i`."""
        columns = self.columns_of(i, own)
        for direction in self.readers[i].layers[0]:
            yield direction.weight_ih_l0, columns.steps
        first = sum(reader.output_size for reader in self.readers)
        yield self.head[0].weight, [first + column for column in columns.static]
        if self.linear is not None:
            yield self.linear.weights.weight, columns.linear

    def set_shift(self, shift: np.ndarray | None) -> None:
        """Set what is added to the outputs in predictions, (n_outputs,); None: 0."""
        if shift is not None:
            shift = float32_tensor(shift).to(self.head[-1].weight.device)
        self.shift = shift

    def forward(
        self, batch: BatchPart, steps: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return the outputs of some rows, shape (n, n_outputs).

        `steps` are embedded events of each history column, in place of the computed
        ones.
        """
        if not self.readers:
            batch = replace(batch, static=self._in_float64_if_possible(batch.static))
            numbers = self.head[0](batch.static)
        else:
            events = steps or [None] * len(self.readers)
            numbers = self._enter_head(batch, events)
        return self._leave_head(numbers, batch)

    def outputs_of_pooled(self, pooled: Sequence[Tensor], rows: BatchPart) -> Tensor:
        """Return the outputs of rows, (n, n_outputs), given their pooled histories.

        `pooled` has the vectors of each history column, (n, output_size), and `rows`
        everything else.
        """
        numbers = self.head[0](torch.cat([*pooled, rows.static], dim=1))
        return self._leave_head(numbers, rows)

    def _leave_head(self, outputs: Tensor, rows: BatchPart) -> Tensor:
        """Add pieces to the first layer, run the others, and add all else."""
        if self.pieces is not None:
            outputs = outputs + self.pieces(rows.static)
        for layer in list(self.head)[1:]:
            outputs = layer(outputs)
        if self.slope is not None:
            assert rows.offset is not None
            offset = rows.offset[:, None].to(outputs.dtype)  # (n, 1)
            outputs = outputs + offset * self.slope
        if self.linear is not None:
            outputs = outputs + self.linear(rows.linear_inputs)
        if self.shift is not None and not self.training:
            outputs = outputs + self.shift
        return outputs

    def _enter_head(self, batch: BatchPart, steps: Sequence[Tensor | None]) -> Tensor:
        """Return the outputs of the first layer of the head, shape (n, width).

        The columns of its weights that belong to each reader and to the statics are
        applied one by one. Joining the inputs first, some 400 numbers a row to copy
        here and in the backward pass, and gathering rows before the product took a
        seventh of the training time with a row before each event.
        """
        first = self.head[0]
        sizes = [reader.output_size for reader in self.readers]
        *weights, last = first.weight.split([*sizes, batch.static.shape[1]], dim=1)
        numbers = nn.functional.linear(batch.static, last, first.bias)  # (n, width)
        for reader, history, events, weight in zip(
            self.readers, batch.histories, steps, weights, strict=True
        ):
            pooled = reader.pool_places(history, events)  # (C * R, output_size)
            if len(pooled) > _PLACES_TO_MULTIPLY * len(numbers):
                pooled = history.take_rows(pooled)
                numbers = numbers + nn.functional.linear(pooled, weight)
            else:
                product = nn.functional.linear(pooled, weight)  # (C * R, width)
                numbers = numbers + history.take_rows(product)
        return numbers

    def _in_float64_if_possible(self, static: Tensor) -> Tensor:
        """Return the statics of rows without histories, in float64 where possible.

        The order of the sums in a product depends on the number of rows. In float64
        that does not show after rounding: rows without histories have the same outputs
        in any batch. Pooled histories are float32 and depend on the batch anyway; a
        head in float64 took up to 17 % more time and changed nothing.
        """
        # GPUs of Apple have no float64.
        if self.training or static.device.type == "mps":
            return static
        return static.double()
