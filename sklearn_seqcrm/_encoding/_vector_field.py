"""Fields of vectors, which become a channel for each of their components."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._field_encoder import FieldEncoder, Training
from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._store import Column

# Spreads from the mean beyond which a component of a new vector is no longer told
# apart: those of embeddings have no heavy tails to fold in.
_MOST = 10.0


@dataclass(frozen=True, eq=False)
class VectorField(FieldEncoder):
    """A field of vectors, each component in units of its spread about its mean.

    Parameters
    ----------
    center, scale : ndarray of shape (n_components,), float32
        Mean and standard deviation among the training events. The deviation of a
        component that is constant there is 1.
    any_missing : bool
        Whether some of the training events lack a vector.
    """

    center: np.ndarray
    scale: np.ndarray
    any_missing: bool

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        size = column.values.shape[1]
        n = n_missing = 0
        total, squares = np.zeros((2, size))
        for vectors, n_lacking in _known(column, training):
            n, n_missing = n + len(vectors), n_missing + n_lacking
            total += vectors.sum(axis=0)
        center = total / max(n, 1)
        for vectors, _ in _known(column, training):
            squares += np.square(vectors - center).sum(axis=0)
        scale = np.sqrt(squares / max(n, 1))
        # Of what is constant, rounding is all there is.
        rounding = 4 * np.finfo("float32").eps * np.abs(center)
        scale = np.where(scale > rounding, scale, 1.0)
        center, scale = center.astype("float32"), scale.astype("float32")
        # Spreads too small for float32 would be 0 there.
        scale[scale == 0] = 1.0
        return cls(center, scale, n_missing > 0)

    @property
    def n_components(self) -> int:
        return len(self.center)

    @property
    def some_missing(self) -> bool:
        return self.any_missing

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        is_missing = ~column.is_present()
        with np.errstate(over="ignore"):  # what is infinite is clipped
            vectors = (column.values - self.center) / self.scale
        vectors = vectors.clip(-_MOST, _MOST, out=vectors)
        vectors[is_missing] = 0
        return vectors, is_missing

    def learned(self) -> tuple[Any, ...]:
        numbers = np.stack([self.center, self.scale])
        digest = hashlib.sha256(numbers.tobytes()).hexdigest()
        return self.n_components, self.any_missing, digest


def _known(column: Column, training: Training) -> Iterator[tuple[np.ndarray, int]]:
    """Training vectors that are there, in float64, and how many are not, in blocks."""
    for index, _ in training.blocks():
        for some in blocks(len(index), column.values.shape[1]):
            part = column.take(index[some])
            is_there = part.is_present()
            yield part.values[is_there].astype("float64"), int((~is_there).sum())
