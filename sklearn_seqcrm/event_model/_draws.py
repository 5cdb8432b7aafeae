"""Random numbers of simulated paths, each path with a generator of its own."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

# Constants of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
# Generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class PathDraws:
    """A generator for each path, whose numbers do not depend on other rows.

    A path advances its own generator alone, and only when it draws. So the numbers of
    a path follow from its key, whatever paths are simulated beside it.

    Parameters
    ----------
    state : ndarray of shape (n_all,), uint64
        State of each generator. It is advanced in place, in all selections by `take`.
    index : ndarray of shape (n,), int64, or None, default=None
        Which of the generators; None: all.
    row : ndarray of shape (n_all,), int64, or None, default=None
        Row of each path, ascending. If given, the paths of a row that draw together
        have one number from each of as many equal parts of [0, 1), in random order
        (Latin hypercube sampling: McKay, Beckman and Conover, Technometrics 21(2),
        1979, https://doi.org/10.2307/1268522). Each number is uniform, and means over
        the paths of a row vary less than those of independent numbers.

    References
    ----------
    G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195.
    """

    def __init__(
        self,
        state: np.ndarray,
        index: np.ndarray | None = None,
        row: np.ndarray | None = None,
    ) -> None:
        self._state = state
        self._index = np.arange(len(state)) if index is None else index
        self._row = row

    @classmethod
    def of_paths(
        cls, keys: np.ndarray, path: np.ndarray, row: np.ndarray | None = None
    ) -> Self:
        """Return the generators of some paths.

        Parameters
        ----------
        keys : ndarray of shape (n,), uint64
            Key of the row of each path.
        path : ndarray of shape (n,), int64
            Number of each path within its row.
        row : ndarray of shape (n,), int64, or None, default=None
            As above.
        """
        return cls(_mixed(keys + _mixed(path.astype("uint64") + _STEP)), row=row)

    @classmethod
    def of_seed(cls, seed: int, n: int) -> Self:
        """Return n generators that follow from a seed."""
        return cls.of_paths(np.full(n, seed, "uint64"), np.arange(n))

    def __len__(self) -> int:
        """Number of paths."""
        return len(self._index)

    def take(self, kept: Any) -> PathDraws:
        """Return the generators at some places, an array or tensor of int64."""
        if isinstance(kept, torch.Tensor):
            kept = kept.cpu().numpy()
        return PathDraws(self._state, self._index[kept], self._row)

    def and_those(self, more: PathDraws) -> PathDraws:
        """Return these generators of independent paths and others."""
        assert self._row is None
        assert more._row is None
        states = self._state[self._index], more._state[more._index]
        return PathDraws(np.concatenate(states))

    def uniform(self, like: torch.Tensor) -> torch.Tensor:
        """Draw a number from 0 on and below 1 for each path, shape (n,).

        Parameters
        ----------
        like : Tensor
            Has the type and the device of the numbers.
        """
        # As many digits as the type holds; a rounded number could be 1.
        digits = 53 if like.dtype == torch.float64 else 24
        numbers = (self._next() >> np.uint64(64 - digits)) * 2.0**-digits
        if self._row is not None:
            numbers = self._in_strata(numbers)
        drawn = torch.from_numpy(numbers).to(like.device, like.dtype)
        return drawn.clamp(max=1 - 2.0**-digits)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        """Draw a standard normal number for each path, shape (n,); see `uniform`."""
        drawn = self.uniform(like.new_zeros(0, dtype=torch.float64))
        # Never 0, whose quantile would be infinite.
        return torch.special.ndtri(drawn.clamp(min=2.0**-54)).to(like.dtype)

    def _next(self) -> np.ndarray:
        """The next 64 bits of each generator, shape (n,), uint64."""
        self._state[self._index] += _STEP
        return _mixed(self._state[self._index])

    def _in_strata(self, numbers: np.ndarray) -> np.ndarray:
        """Move the numbers of a row to different parts of [0, 1)."""
        assert self._row is not None
        if not len(numbers):
            return numbers
        row = self._row[self._index]
        first = np.flatnonzero(np.diff(row, prepend=-1))
        count = np.diff(first, append=len(row))
        # Other numbers of the same paths are in a random order.
        order = np.argsort(row + (self._next() >> np.uint64(11)) * 2.0**-53)
        place = np.empty(len(row), dtype="int64")
        place[order] = np.arange(len(row))
        return (place - first.repeat(count) + numbers) / count.repeat(count)


def keys_of(rows: np.ndarray, seed: int, count: bool) -> np.ndarray:
    """Keys of rows for `PathDraws.of_paths`.

    Parameters
    ----------
    rows : ndarray of shape (n,), uint64
        A hash of each row, equal for equal rows.
    seed : int
        Seed of all draws.
    count : bool
        Whether equal rows have different keys, by how many there are before.

    Returns
    -------
    ndarray of shape (n,), uint64
        Keys, which depend on the row, the seed and equal rows alone.
    """
    keys = _mixed(rows + _mixed(np.full(1, seed, "uint64") + _STEP))
    if not count:
        return keys
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    n_before = np.empty(len(rows), dtype="uint64")
    n_before[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return _mixed(keys + n_before * _FACTORS[0])


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Scramble the bits of numbers, shape (n,), uint64: the output of splitmix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FACTORS[0]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _FACTORS[1]
    return numbers ^ (numbers >> np.uint64(31))
