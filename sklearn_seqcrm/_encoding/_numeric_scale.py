"""The scale of a numeric field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import Repeated, ranked

_HUGE = 1e150  # beyond this even the spread of numbers overflows
_FAR = 1e38  # spreads from the center that float32 holds


class NumericScale(NamedTuple):
    """Center, spread, and whether some of the training events lack a value."""

    center: float
    scale: float
    some_missing: bool

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> NumericScale:
        """Learn from the values of the training events.

        Parameters
        ----------
        blocks : iterable of ndarray of shape (n,)
            The values, some at a time, gone through several times.
        """
        n_all = n_known = 0
        eps = largest = 0.0
        for values in blocks:
            known = np.isfinite(values)
            n_all, n_known = n_all + len(values), n_known + int(known.sum())
            eps = np.finfo(values.dtype).eps
            largest = max(largest, float(np.abs(values).max(where=known, initial=0)))
        if not n_known:
            return cls(0.0, 1.0, n_all > 0)
        numbers = Repeated(lambda: map(_numbers_of, blocks))
        place = np.array([0.25, 0.5, 0.75]) * (n_known - 1)
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        below, above = ranked(numbers, n_known, [*below, *above]).reshape(2, 3)
        low, center, high = below + place % 1 * (above - below)
        # Where half of the values are one and the same but for rounding, which is that
        # of the type in which they are stored, quartiles say nothing.
        rounding = 4 * float(eps)
        scale = (high - low) / 1.349
        if scale <= rounding * max(abs(low), abs(high)):
            mean = sum(block.sum() for block in numbers) / n_known
            squares = sum(((block - mean) ** 2).sum() for block in numbers)
            scale = np.sqrt(squares / n_known)
        if scale <= rounding * min(largest, _HUGE):
            scale = 1.0
        return cls(float(center), float(scale), n_known < n_all)

    def fold(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale values and fold their tails in.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Numbers.

        Returns
        -------
        folded : ndarray of shape (n,), float32
            0 for what is not finite.
        is_missing : ndarray of shape (n,), bool
            Values that are not.
        """
        is_known = np.isfinite(values)
        z = np.where(is_known, values, self.center).astype("float64", copy=False)
        z.clip(-_HUGE, _HUGE, out=z)
        z -= self.center
        z /= self.scale
        z = z.clip(-_FAR, _FAR, out=z).astype("float32")
        # In float32 a logarithm takes a tenth of the time, but log1p a third.
        return np.copysign(np.log(1 + np.abs(z)), z), ~is_known


def _numbers_of(values: np.ndarray) -> np.ndarray:
    """Finite values in float64, whose spread can be computed."""
    return values[np.isfinite(values)].astype("float64").clip(-_HUGE, _HUGE)
