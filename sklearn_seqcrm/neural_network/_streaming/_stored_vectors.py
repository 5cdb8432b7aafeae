"""In which type each vector of a state is stored.

A float16 has 11 bits: a sum of 2,048 no longer changes when 0.4 is added. So sums over
all events stay in float32. Rounding takes less than a thousandth of what is bounded or
fades. The fields of a record, for M networks with N vectors each, W of which add up::

    dtype      vectors                      totals
    float32    (M, N, H) float32            none
    float16    (M, N - W, H) float16        (M, W, H) float32

Version 0.1.0 stored all vectors in float16, (M, N, H), and had no totals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class StoredVectors:
    """Reads and writes the vectors of records.

    Parameters
    ----------
    dtype : {"float32", "float16"}
        Type of all vectors that do not add up.
    adds_up : sequence of N bool
        Which vectors are sums over all events.
    """

    def __init__(self, dtype: str, adds_up: Sequence[bool]) -> None:
        self._dtype = dtype
        wide = np.array(adds_up, dtype=bool) & (dtype == "float16")
        self._wide, self._narrow = np.flatnonzero(wide), np.flatnonzero(~wide)

    def fields(self, n_networks: int, size: int) -> list[Any]:
        """Fields of the type of a record."""
        shape = n_networks, len(self._narrow), size
        fields: list[Any] = [("vectors", self._dtype, shape)]
        if len(self._wide):
            shape = n_networks, len(self._wide), size
            fields.append(("totals", "float32", shape))
        return fields

    def load(self, records: Any, number: int) -> np.ndarray:
        """Vectors of a network, shape (..., N, H), float32.

        Parameters
        ----------
        records : structured array, or one record
            Records.
        number : int
            Which network.
        """
        narrow = records["vectors"][..., number, :, :]
        if not len(self._wide):
            return narrow.astype("float32", copy=False)
        wide = records["totals"][..., number, :, :]
        n_vectors = len(self._narrow) + len(self._wide)
        vectors = np.empty((*wide.shape[:-2], n_vectors, wide.shape[-1]), "float32")
        vectors[..., self._narrow, :] = narrow
        vectors[..., self._wide, :] = wide
        return vectors

    def store_narrow(self, records: np.ndarray, vectors: np.ndarray) -> None:
        """Write vectors that were all stored in float16, as version 0.1.0 did.

        Parameters
        ----------
        records : structured array of shape (B,)
            The records.
        vectors : ndarray of shape (B, M, N, H), float16
            The vectors.
        """
        for number in range(vectors.shape[1]):
            self.store(records, slice(None), number, vectors[:, number])

    def narrow_like(self, records: np.ndarray) -> np.ndarray:
        """Zeros of the shape and type that `store_narrow` takes."""
        n_records, n_networks, _, size = records["vectors"].shape
        shape = n_records, n_networks, len(self._narrow) + len(self._wide), size
        return np.zeros(shape, self._dtype)

    def store(
        self, records: np.ndarray, slots: Any, number: int, vectors: np.ndarray
    ) -> None:
        """Write vectors of a network.

        Parameters
        ----------
        records : structured array
            All records.
        slots : int, slice or ndarray of shape (B,)
            Which of them.
        number : int
            Which network.
        vectors : ndarray of shape (N, H) or (B, N, H)
            The vectors.
        """
        if not len(self._wide):
            records["vectors"][slots, number] = vectors
            return
        records["vectors"][slots, number] = vectors[..., self._narrow, :]
        records["totals"][slots, number] = vectors[..., self._wide, :]
