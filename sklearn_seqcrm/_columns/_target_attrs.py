"""The `attrs` of targets, such as the horizon of those of `sklearn_seqcrm.targets`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def with_attrs_of(y: Any, values: np.ndarray) -> np.ndarray | pd.Series:
    """Return validated targets with the attrs of `y`, for estimators and splitters.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, 1)
        Targets before their validation.
    values : ndarray of shape (n,)
        The validated targets.

    Returns
    -------
    Series or ndarray of shape (n,)
        A Series with the index, the name and the attrs of `y` if it has attrs, `values`
        if not. Attrs hold for a target of this name, see `store_horizon`.
    """
    if not (isinstance(y, pd.Series | pd.DataFrame) and y.attrs):
        return values
    # The dtype is given, because pandas would infer another one for an array of text.
    name = y.name if isinstance(y, pd.Series) else y.columns[0]
    series = pd.Series(values, index=y.index, dtype=values.dtype, name=name)
    series.attrs = y.attrs
    return series
