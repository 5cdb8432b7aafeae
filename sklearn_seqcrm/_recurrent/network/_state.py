"""The state of a reader after some events: what another event changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sklearn_seqcrm._recurrent.network._cells import Array, State, array_namespace


class RecurrentState(NamedTuple):
    """State of the cells and poolings of a reader, for any number of histories.

    Its size does not depend on the number of events. Arrays have the histories as
    leading axes; without any they are those of one history.

    Parameters
    ----------
    cells : tuple of tuple of arrays of shape (..., H)
        For each layer, the vectors of its cell, the hidden state first.
    poolings : tuple of tuple of arrays, default=()
        For each pooling, its vectors (..., P, H), then its numbers (..., P), if it has
        a state.

    Notes
    -----
    A packed state has two arrays, for storage::

        vectors (..., V, H)   layer 0: hidden [, memory] | layer 1 ... | pooling 0 | ...
        numbers (..., W)      pooling 0: sums of weights [, largest score] | ...
    """

    cells: tuple[State, ...]
    poolings: tuple[State, ...] = ()

    @property
    def output(self) -> Array:
        """Output of the reader for the last event, shape (..., H); 0 before any."""
        return self.cells[-1][0]

    def map(self, function: Callable[[Array], Array]) -> RecurrentState:
        """Apply a function to each array."""
        return RecurrentState(
            *(tuple(tuple(map(function, one)) for one in part) for part in self)
        )

    def take(self, rows: Array) -> RecurrentState:
        """Take some of the histories: an index, a slice or a mask of the first axis."""
        return self.map(lambda array: array[rows])

    def pack(self) -> tuple[Array, Array]:
        """Return the two arrays of the packed state."""
        xp = array_namespace(self.output)
        vectors = [one[..., None, :] for layer in self.cells for one in layer]
        vectors += [own[0] for own in self.poolings if own]
        packed = xp.concatenate(vectors, axis=-2)  # (..., V, H)
        numbers = [one for own in self.poolings for one in own[1:]]
        if not numbers:
            return packed, packed[..., 0, :0]  # (..., 0)
        return packed, xp.concatenate(numbers, axis=-1)  # (..., W)

    def unpack(self, vectors: Array, numbers: Array) -> RecurrentState:
        """Return the packed state that has the structure of this one.

        Parameters
        ----------
        vectors : array of shape (..., V, H)
            Vectors, as `pack` returns them.
        numbers : array of shape (..., W)
            The other numbers.

        Returns
        -------
        RecurrentState
            Views of the arrays.
        """
        cells, poolings, at, at_number = [], [], 0, 0
        for layer in self.cells:
            cells.append(tuple(vectors[..., at + i, :] for i in range(len(layer))))
            at += len(layer)
        for like in self.poolings:
            own = []
            if like:
                n = like[0].shape[-2]
                own.append(vectors[..., at : at + n, :])
                at += n
            for one in like[1:]:
                n = one.shape[-1]
                own.append(numbers[..., at_number : at_number + n])
                at_number += n
            poolings.append(tuple(own))
        return RecurrentState(tuple(cells), tuple(poolings))
