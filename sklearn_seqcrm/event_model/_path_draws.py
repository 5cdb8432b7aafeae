"""Random numbers of simulated paths, and draws from categorical distributions."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import inverse_permutation

# Random numbers ----------------------------------------------------------------------

# Constants of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
# Generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class PathDraws:
    """One random number generator per path.

    A path advances only its own generator, and only when it draws. So the numbers of a
    path follow from its key, whatever paths are simulated beside it::

        customer, cutoff, events --hash--> row --seed--> key --path number--> state

    `state`, of shape (n_all,), uint64, has the state of each generator. It is advanced
    in place, also through selections that `take` returned: `index`, (n,), int64, are
    the positions of the selected ones; None: all.

    If `row`, (n_all,), int64, ascending, is given, the k paths of a row that draw
    together get one number from each of k equal parts of [0, 1), in random order (Latin
    hypercube sampling: McKay, Beckman and Conover, Technometrics 21(2), 1979,
    https://doi.org/10.2307/1268522). Each number is uniform, and means over the paths
    of a row vary less than those of independent numbers.
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
        """Return the generators of paths, by the keys (uint64) of their rows, (n,).

        `path`, of shape (n,), is the number of each within its row; `row` is as in the
        class.
        """
        return cls(_mix_bits(keys + _mix_bits(path.astype("uint64") + _STEP)), row=row)

    def take(self, kept: Any) -> PathDraws:
        """Return the generators at some positions, an array or tensor of int64."""
        if isinstance(kept, Tensor):
            kept = kept.cpu().numpy()
        return PathDraws(self._state, self._index[kept], self._row)

    def concat(self, more: PathDraws) -> PathDraws:
        """Return these generators, not stratified, followed by others."""
        assert self._row is None
        assert more._row is None
        states = self._state[self._index], more._state[more._index]
        return PathDraws(np.concatenate(states))

    def uniform(self, like: Tensor) -> Tensor:
        """Draw one number in [0, 1) per path, (n,), of dtype and device of `like`."""
        # As many digits as the dtype holds; a rounded number could be 1.
        digits = 53 if like.dtype == torch.float64 else 24
        numbers = (self._next() >> np.uint64(64 - digits)) * 2.0**-digits
        if self._row is not None:
            numbers = self._stratify(numbers)
        drawn = torch.from_numpy(numbers).to(like.device, like.dtype)
        return drawn.clamp(max=1 - 2.0**-digits)

    def normal(self, like: Tensor) -> Tensor:
        """Draw one standard normal number per path, shape (n,); see `uniform`."""
        drawn = self.uniform(like.new_zeros(0, dtype=torch.float64))
        # Never 0, whose quantile would be infinite.
        return torch.special.ndtri(drawn.clamp(min=2.0**-54)).to(like.dtype)

    def _next(self) -> np.ndarray:
        """Return the next 64 bits of each generator, shape (n,), uint64."""
        self._state[self._index] += _STEP
        return _mix_bits(self._state[self._index])

    def _stratify(self, numbers: np.ndarray) -> np.ndarray:
        """Move the k numbers of a row into k different parts of [0, 1)."""
        assert self._row is not None
        if not len(numbers):
            return numbers
        row = self._row[self._index]
        first = np.flatnonzero(np.diff(row, prepend=-1))
        count = np.diff(first, append=len(row))
        # A second number per path gives the random order of the parts within a row.
        order = np.argsort(row + (self._next() >> np.uint64(11)) * 2.0**-53)
        place = inverse_permutation(order)
        return (place - first.repeat(count) + numbers) / count.repeat(count)


def path_keys(rows: np.ndarray, seed: int, count: bool) -> np.ndarray:
    """Return keys of rows for `PathDraws.of_paths`, shape (n,), uint64.

    `rows`, of shape (n,), uint64, are hashes of the rows. Keys depend on them, on the
    seed and, with `count`, on the number of equal rows before.
    """
    keys = _mix_bits(rows + _mix_bits(np.full(1, seed, "uint64") + _STEP))
    if not count:
        return keys
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    n_before = np.empty(len(rows), dtype="uint64")
    n_before[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return _mix_bits(keys + n_before * _FACTORS[0])


def _mix_bits(numbers: np.ndarray) -> np.ndarray:
    """Return the splitmix64 output function of numbers, shape (n,), uint64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FACTORS[0]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _FACTORS[1]
    return numbers ^ (numbers >> np.uint64(31))


# Categorical distributions -----------------------------------------------------------

# Probabilities of all levels that are held at once: 32 MiB.
_PROBABILITIES_AT_ONCE = 2**23


def split_paths(
    n_paths: int, n_levels: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Return positions of paths in portions, as large as memory has room for."""
    at_once = max(1, _PROBABILITIES_AT_ONCE // n_levels)
    return torch.arange(n_paths, device=device).split(at_once)


def draw_logits(logits: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index from the softmax of each row of logits, shape (n,), int64."""
    return draw_categorical(torch.softmax(logits, dim=1), draws)


def draw_categorical(weights: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index in proportion to each row of weights, shape (n,), int64."""
    return quantile_index(weights, draws.uniform(weights))


def quantile_index(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the index at a quantile of each row of weights, shape (n,), int64.

    Inverse transform sampling: `uniform`, of shape (n,), are numbers in [0, 1).
    """
    cumulative = weights.cumsum(dim=1)
    at = uniform[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, at, right=True)[:, 0]
    # Rounding may take the quantile up to the end.
    return index.clamp(max=weights.shape[1] - 1)


def draw_shared(weights: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index for each path from weights of shape (K,), float64, for all."""
    cumulative = weights.cumsum(dim=0)
    at = draws.uniform(cumulative) * cumulative[-1]
    index = torch.searchsorted(cumulative, at, right=True)
    return index.clamp(max=len(weights) - 1)


def pick(numbers: Tensor, column: Tensor) -> Tensor:
    """Return the number in the given column of each row, shape (n,)."""
    return numbers.gather(1, column[:, None])[:, 0]
