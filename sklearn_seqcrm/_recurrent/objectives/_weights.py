"""Sample weights: validated, scaled, and dropped where they are 0.

Sample weights are scaled by powers of 2, so that sums and products keep their digits.
In `fit`, only ratios of weights matter. Calls of `partial_fit` are parts of one long
table, whose weights are relative to the first call: to the exponent of its largest
weight while weights are multiplied, and to its mean weight in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_seqcrm._recurrent.data import Inputs, Ranks, RowData
from sklearn_seqcrm._sklearn_compat import check_sample_weight

# Weights below this share of the largest one are 0 in float32.
_NO_WEIGHT = float(np.finfo("float32").smallest_subnormal)


def exponent_of(numbers: np.ndarray) -> int:
    """Return the exponent of the smallest power of 2 larger than all numbers.

    Finite numbers over it (`np.ldexp`) lie between -1 and 1 and lose no digit. The
    exponent is 0 if all numbers are 0, or there are none.
    """
    return int(np.frexp(np.abs(numbers).max(initial=0.0))[1])


def has_weight(weight: np.ndarray) -> np.ndarray:
    """Return whether the weight of each row is positive in float32."""
    return weight > _NO_WEIGHT * weight.max()


def with_weight(
    y: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the targets and weights of the rows that have a weight."""
    if weight is None:
        return y, None
    used = has_weight(weight)
    return y[used], weight[used]


def smoothed_share(is_one: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the share of ones in each column of (n, k), never 0 or 1, shape (k,).

    Half a row with and half a row without a one are added (Krichevsky and Trofimov,
    1981, https://doi.org/10.1109/TIT.1981.1056331).
    """
    share = np.average(is_one, axis=0, weights=weight)
    return (share * len(is_one) + 0.5) / (len(is_one) + 1)


def _refuse_infinite(weight: np.ndarray) -> np.ndarray:
    """Return the weights; raise a ValueError if scaling made one infinite."""
    n_infinite = int(np.isinf(weight).sum())
    if n_infinite:
        raise ValueError(
            f"{n_infinite} of {len(weight)} weights are more than 1e38 times as large "
            "as the mean weight of the first call, to which they are relative. Give "
            "all calls weights on one scale, or fit from the start."
        )
    return weight


def read_weight(sample_weight: Any, data: RowData, ranks: Ranks) -> np.ndarray | None:
    """Return validated weights of the rows of all ranks, float64, or None.

    A ValueError is raised if there is not one for each row, or if weights are negative,
    not finite, or all zero.
    """
    if sample_weight is None:
        return None

    def read() -> np.ndarray:
        # scikit-learn may refuse weights of zero, and rows of other ranks have others.
        if ranks.size > 1 and _is_zero(sample_weight, len(data)):
            return np.zeros(len(data))
        return check_sample_weight(sample_weight, data.static, ensure_non_negative=True)

    weight = ranks.concatenate(ranks.attempt(read))
    if not weight.any():
        raise ValueError("sample_weight is zero for all rows.")
    return weight.astype("float64")


def _is_zero(sample_weight: Any, n_rows: int) -> bool:
    """Return whether weights are zero for all rows."""
    weight = np.asarray(sample_weight)
    return (
        weight.shape == (n_rows,) and weight.dtype.kind in "biuf" and not weight.any()
    )


def in_unit_of(
    weight: np.ndarray | None, exponent: int, n_rows: int
) -> np.ndarray | None:
    """Return weights over a power of 2; None means weights of 1."""
    if weight is None and not exponent:
        return None
    weight = np.ones(n_rows) if weight is None else weight
    with np.errstate(over="ignore"):
        return _refuse_infinite(np.ldexp(weight, -exponent))


def drop_weightless(inputs: Inputs) -> Inputs:
    """Drop rows of weight 0, on which no result may depend."""
    weight = inputs.data.weight
    if weight is None or (used := has_weight(weight)).all():
        return inputs
    return inputs.take(np.flatnonzero(used))


def mean_weight(data: RowData) -> float:
    """Return the mean weight of the rows, 1 without weights."""
    return 1.0 if data.weight is None else data.weight.mean()


def scale_to_mean_weight(data: RowData, mean: float | None = None) -> RowData:
    """Return the rows with weights divided by a mean weight.

    None: their own mean, so that the mean becomes 1. Rows without weights have weights
    of 1.
    """
    mean = mean_weight(data) if mean is None else mean
    if data.weight is None and mean == 1:
        return data
    weight = np.ones(len(data)) if data.weight is None else data.weight
    with np.errstate(over="ignore"):
        scaled = _refuse_infinite((weight / mean).astype("float32"))
    return replace(data, weight=scaled)
