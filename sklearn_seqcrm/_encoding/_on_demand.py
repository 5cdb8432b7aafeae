"""Numbers of the events of a log that are computed when they are indexed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_seqcrm._ragged import blocks

_WIDTH = 4  # numbers of an event that are processed at a time, see `blocks`


class OnDemandNumbers:
    """Numbers of all events of a log, which are encoded when they are indexed.

    A stand-in for an array of shape (n_events, width).

    `write` takes positions of n events and an array of shape (n, width), and writes
    their numbers into it.
    """

    def __init__(
        self,
        n_events: int,
        width: int,
        dtype: str,
        write: Callable[[np.ndarray, np.ndarray], None],
    ) -> None:
        self.shape = n_events, width
        self.dtype = np.dtype(dtype)
        self._write = write

    def __len__(self) -> int:
        """Number of events."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the numbers of events at positions of any shape, or of a slice."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        flat = np.asarray(index).ravel()
        numbers = np.empty((len(flat), self.shape[1]), self.dtype)
        for some in blocks(len(flat), _WIDTH):
            self._write(flat[some], numbers[some])
        return numbers.reshape(*np.shape(index), self.shape[1])
