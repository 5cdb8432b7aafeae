"""What looking into a trained network takes: a copy, rows one by one, derivatives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._batches import BatchIterator, BatchPart
from sklearn_seqcrm.neural_network._module import HistoryNetwork
from sklearn_seqcrm.neural_network._rows import HistorySource, RowData

# Step for derivatives of what is made of outputs, which is smooth, in float64.
_STEP = 1e-4
# Larger batches are slower: what a step of the path needs leaves the cache.
_ROWS_AT_ONCE, _STEPS_AT_ONCE = 256, 2**13


class Explained(Protocol):
    """What is explained: a number for each row."""

    def __call__(self, outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Take outputs of each network, (n, n_outputs), of some rows; return (n,)."""


def sequences_of_rows(
    data: RowData, device: str
) -> Iterator[tuple[np.ndarray, BatchPart]]:
    """Rows, each with a sequence of its own, as gradients are those of sequences."""
    batches = BatchIterator(
        data, _ROWS_AT_ONCE, share=False, steps_at_once=_STEPS_AT_ONCE
    )
    for batch, _ in batches:
        for rows, part in zip(batch.parts, batch, strict=True):
            yield rows, part.to(device)


def full_precision_copy(module: HistoryNetwork) -> HistoryNetwork:
    """A copy whose recurrent layers keep what gradients need, in full precision."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for reader in module.readers:
        reader.bptt_steps, reader.precision = None, "float32"
        for layer in reader.modules():
            if isinstance(layer, nn.RNNBase):
                layer.train()  # they have no dropout of their own
    return module


def n_visible(source: HistorySource) -> int:
    """Number of events that rows see, each row by itself."""
    return int((source.stop - source.start).sum())


def put_events(
    found: np.ndarray, numbers: np.ndarray, source: HistorySource, rows: np.ndarray
) -> None:
    """Write what was found of the sequences of some rows to the places of their events.

    Parameters
    ----------
    found : ndarray of shape (n_visible, ...)
        Row by row, the events that each sees.
    numbers : ndarray of shape (B, T, ...)
        Of padded sequences, one for each of these rows.
    source : HistorySource
        Where all rows start and stop.
    rows : ndarray of shape (B,)
        Which rows these are.
    """
    counts = source.stop - source.start
    first = (np.cumsum(counts) - counts)[rows][:, None]
    steps = np.arange(numbers.shape[1])
    seen = steps < counts[rows][:, None]
    found[(first + steps)[seen]] = numbers[seen]


def slopes_of(
    explained: Callable[[np.ndarray], np.ndarray], outputs: torch.Tensor
) -> torch.Tensor:
    """Derivatives of what is explained by each output, shape (n, n_outputs).

    By differences: what is made of outputs is in the hands of NumPy, and smooth.
    """
    values = as_float64(outputs)
    slopes = np.empty(values.shape)
    for k in range(values.shape[1]):
        step = np.zeros(values.shape[1])
        step[k] = _STEP
        rise = explained(values + step) - explained(values - step)
        slopes[:, k] = rise / (2 * _STEP)
    return torch.from_numpy(slopes).to(outputs)


def as_float64(numbers: torch.Tensor) -> np.ndarray:
    """Numbers of a tensor as an array."""
    return numbers.detach().cpu().numpy().astype("float64")
