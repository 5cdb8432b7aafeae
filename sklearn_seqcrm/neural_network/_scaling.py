"""Weights and targets of any size, brought to where sums keep their digits."""

from __future__ import annotations

import numpy as np

# Share of the largest weight below which a row has none: float32 does not know it.
_NO_WEIGHT = float(np.finfo("float32").smallest_subnormal)


def exponent_of(numbers: np.ndarray) -> int:
    """Exponent of the power of 2 that is just larger than all numbers.

    Divided by it with `np.ldexp` numbers lie between -1 and 1, and lose no digit.

    Parameters
    ----------
    numbers : ndarray of shape (n,), float64
        Finite numbers.

    Returns
    -------
    int
        0 if all are 0, or there are none.
    """
    return int(np.frexp(np.abs(numbers).max(initial=0.0))[1])


def of_any_weight(weight: np.ndarray) -> np.ndarray:
    """Whether each row has a weight, and not 0 or as good as 0 beside the others."""
    return weight > _NO_WEIGHT * weight.max()


def in_unit(weight: np.ndarray, exponent: int) -> np.ndarray:
    """Weights over a power of 2, which is that of an earlier call or their own."""
    with np.errstate(over="ignore"):
        return _refuse_infinite(np.ldexp(weight, -exponent))


def over_mean(weight: np.ndarray, mean: float) -> np.ndarray:
    """Weights over their mean, or that of an earlier call, as float32."""
    with np.errstate(over="ignore"):
        return _refuse_infinite((weight / mean).astype("float32"))


def _refuse_infinite(weight: np.ndarray) -> np.ndarray:
    """Raise a ValueError for weights that have become too large, or return them."""
    n_infinite = int(np.isinf(weight).sum())
    if n_infinite:
        raise ValueError(
            f"{n_infinite} of {len(weight)} weights are more than 1e38 times as large "
            "as the mean of those in the first call, beside which they count. Give all "
            "calls weights on one scale, or fit from the start."
        )
    return weight
