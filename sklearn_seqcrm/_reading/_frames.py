"""Turn what scikit-learn makes of a DataFrame with histories back into one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._reading._find import (
    as_history_array,
    names_of_histories,
    refuse_repeated_columns,
)


def has_histories(X: Any) -> bool:
    """Tell whether one of the columns of X holds histories.

    Parameters
    ----------
    X : object
        Anything. A DataFrame, or an object array of shape (n, n_columns), can.

    Returns
    -------
    bool
        True if a column is a history column, or an object column of histories.
    """
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        X = pd.DataFrame(X)
    return isinstance(X, pd.DataFrame) and bool(names_of_histories(X))


def as_frame(X: Any) -> pd.DataFrame:
    """Return X as a DataFrame whose histories are history columns.

    Parameters
    ----------
    X : DataFrame, or object array of shape (n, n_columns)
        An object array is what ColumnTransformer makes of a DataFrame with histories
        unless it was told to ``set_output(transform="pandas")``.

    Returns
    -------
    DataFrame of shape (n, n_columns)
        `X` itself if nothing had to be converted. The columns of an array are named
        ``"x0"``, ``"x1"``, ...

    Raises
    ------
    TypeError
        If `X` is neither.
    """
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 2:
        names = [f"x{i}" for i in range(X.shape[1])]
        X = pd.DataFrame(X, columns=names).infer_objects()
    if not isinstance(X, pd.DataFrame):
        raise TypeError(
            "X must be a pandas DataFrame with a history column, which EventLog.attach "
            f"adds; got {type(X).__module__}.{type(X).__name__}."
        )
    refuse_repeated_columns(X)
    objects = {
        name: as_history_array(X[name])
        for name in names_of_histories(X)
        if X[name].dtype == object
    }
    if objects:
        X = X.copy(deep=False)
    for name, array in objects.items():
        X[name] = array
    return X
