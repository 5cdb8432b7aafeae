"""Weights of rows: read, and brought to a mean of 1.

Those of `fit` are relative to each other. Those of `partial_fit` are those of one long
table, and relative to the rows of the first call: to the exponent of its largest
weight while weights are multiplied, and to its mean weight in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_seqcrm._sklearn_compat import check_sample_weight
from sklearn_seqcrm.neural_network._inputs import Inputs
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._scaling import in_unit, of_any_weight, over_mean


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


def leave_out_weightless(inputs: Inputs) -> Inputs:
    """Leave out rows of weight 0, which nothing may depend on."""
    weight = inputs.data.weight
    if weight is None or (used := of_any_weight(weight)).all():
        return inputs
    return inputs.take(np.flatnonzero(used))


def mean_weight(data: RowData) -> float:
    """Mean weight of the rows, which is 1 if they have none."""
    return 1.0 if data.weight is None else data.weight.mean()


def over_mean_weight(data: RowData, mean: float | None = None) -> RowData:
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
