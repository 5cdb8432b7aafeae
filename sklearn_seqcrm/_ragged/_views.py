"""What kernels ask of rows that view a log."""

from __future__ import annotations

from typing import Protocol

import numpy as np

NO_ROW = -1  # start and stop of a missing history


class Views(Protocol):
    """Four numbers of each of n rows."""

    @property
    def codes(self) -> np.ndarray:
        """Positions of the customers, -1 for an unknown one; shape (n,), int64."""

    @property
    def start(self) -> np.ndarray:
        """Row ``i`` sees the events ``start[i]:stop[i]``; shape (n,), int64."""

    @property
    def stop(self) -> np.ndarray:
        """See `start`; both are `NO_ROW` where the history is missing."""

    @property
    def cutoff(self) -> np.ndarray:
        """Cutoffs on the time axis of the events; shape (n,)."""
