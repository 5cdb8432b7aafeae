"""What metrics of values are given: numbers, one for each row, and weights."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning


class ScoredRows(NamedTuple):
    """Rows that count: targets, what was said of them, and weights above 0.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Amounts, counts, or 1 and 0.
    score : ndarray of shape (n,)
        Predictions, or anything that orders the rows.
    weight : ndarray of shape (n,)
        Weights.
    """

    y: np.ndarray
    score: np.ndarray
    weight: np.ndarray


def read_rows(
    y_true: Any,
    y_score: Any,
    sample_weight: Any,
    *,
    pos_label: Any = None,
    score_name: str = "y_pred",
) -> ScoredRows:
    """Read the arguments of a metric, and leave out the rows without weight.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        Targets and predictions.
    sample_weight : array-like of shape (n,) or None
        Weights; None: 1 for each row.
    pos_label : int, float, bool, str or None, default=None
        Label that counts as 1, all others as 0; None: targets are numbers.
    score_name : str, default="y_pred"
        How an error names the predictions.

    Returns
    -------
    ScoredRows
        Floats, finite.
    """
    if pos_label is not None:
        y_true = _is_label(pd.Series(flat(y_true, "y_true")), pos_label)
    y = numbers(y_true, "y_true")
    score = numbers(y_score, score_name)
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = numbers(sample_weight, "sample_weight")
    for name, values in ((score_name, score), ("sample_weight", weight)):
        if len(values) != len(y):
            raise ValueError(
                f"y_true has {len(y)} rows, but {name} has {len(values)}; there must "
                "be one value for each row."
            )
    n_negative = int((weight < 0).sum())
    if n_negative:
        raise ValueError(f"sample_weight has {n_negative} negative values.")
    if not len(y) or not weight.any():
        what = "has no row" if not len(y) else "has no row with a weight above 0"
        raise ValueError(f"y_true {what}, so that there is nothing to measure.")
    counts = weight > 0
    return ScoredRows(y[counts], score[counts], weight[counts])


def _is_label(labels: pd.Series, pos_label: Any) -> pd.Series:
    n_missing = int(labels.isna().sum())
    if n_missing:
        raise ValueError(
            f"y_true has {n_missing} missing labels among {len(labels)}; leave those "
            "rows out."
        )
    return labels == pos_label


def numbers(values: Any, name: str) -> np.ndarray:
    """One finite number for each row, as floats.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, 1)
        Numbers or booleans.
    name : str
        How an error names them.

    Returns
    -------
    ndarray of shape (n,)
        The numbers.
    """
    array = pd.Series(flat(values, name))
    if array.dtype == object:
        array = array.infer_objects()
    if array.dtype.kind not in "biuf":
        some = array.iloc[:2].tolist()
        raise TypeError(
            f"{name} must hold numbers; got {array.dtype}, such as {some}. Of labels, "
            "say which one counts: y_true == 'yes', or pos_label='yes' where a metric "
            "has that."
        )
    found = array.to_numpy(dtype="float64", na_value=np.nan)
    n_bad = int((~np.isfinite(found)).sum())
    if n_bad:
        raise ValueError(
            f"{name} has {n_bad} missing or infinite values among {len(found)}; leave "
            "those rows out, or say what they stand for."
        )
    return found


def flat(values: Any, name: str) -> Any:
    """Values as a Series or an array of one dimension."""
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have one value for each row; got the shape {array.shape}. Of "
            "the probabilities of two classes, take those of the second: [:, 1]."
        )
    return array


def warn_undefined(what: str) -> None:
    """Say that a metric is NaN, and why, as those of scikit-learn do."""
    warnings.warn(f"{what}; the result is NaN.", UndefinedMetricWarning, stacklevel=3)
