"""Weights of rows, and targets of any size, scaled so that sums keep their digits.

Those of `fit` are relative to each other. Those of `partial_fit` are those of one long
table, and relative to the rows of the first call: to the exponent of its largest
weight while weights are multiplied, and to its mean weight in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_seqcrm._recurrent.data import Inputs, RowData
from sklearn_seqcrm._sklearn_compat import check_sample_weight

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


def has_weight(weight: np.ndarray) -> np.ndarray:
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


def read_weight(sample_weight: Any, data: RowData) -> np.ndarray | None:
    """Weights as they are given, shape (n,), float64, or None.

    Raises
    ------
    ValueError
        If they are not one for each row, negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    weight = check_sample_weight(sample_weight, data.static, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight is zero for all rows.")
    return weight.astype("float64")


def in_unit_of(
    weight: np.ndarray | None, exponent: int, n_rows: int
) -> np.ndarray | None:
    """Weights over a power of 2; those of no weights, which are 1, if it is not 1."""
    if weight is None and not exponent:
        return None
    return in_unit(np.ones(n_rows) if weight is None else weight, exponent)


def drop_weightless(inputs: Inputs) -> Inputs:
    """Leave out rows of weight 0, which nothing may depend on."""
    weight = inputs.data.weight
    if weight is None or (used := has_weight(weight)).all():
        return inputs
    return inputs.take(np.flatnonzero(used))


def mean_weight(data: RowData) -> float:
    """Mean weight of the rows, which is 1 if they have none."""
    return 1.0 if data.weight is None else data.weight.mean()


def scale_to_mean_weight(data: RowData, mean: float | None = None) -> RowData:
    """The same rows with weights as the loss of the net wants them.

    Parameters
    ----------
    data : RowData
        Rows with weights of any size, or none, which are 1.
    mean : float or None, default=None
        What to divide them by. None: their own mean, so that it becomes 1.
    """
    mean = mean_weight(data) if mean is None else mean
    if data.weight is None and mean == 1:
        return data
    weight = np.ones(len(data)) if data.weight is None else data.weight
    return replace(data, weight=over_mean(weight, mean))
