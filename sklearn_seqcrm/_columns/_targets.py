"""Read labels and numbers of targets; keep their attrs, and warn of another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_seqcrm._durations import as_quantities, refuse_survival_targets
from sklearn_seqcrm._stacklevel import warn_user


def with_attrs_of(y: Any, values: np.ndarray) -> np.ndarray | pd.Series:
    """Return validated targets with the attrs of `y`, for estimators and splitters.

    A Series of the `values` (n,) with the index, the name and the attrs of `y` if it
    has attrs, `values` if not. Attrs hold for a target of this name, see
    `store_horizon`.
    """
    if not (isinstance(y, pd.Series | pd.DataFrame) and y.attrs):
        return values
    # The dtype is given, because pandas would infer another one for an array of text.
    name = y.name if isinstance(y, pd.Series) else y.columns[0]
    series = pd.Series(values, index=y.index, dtype=values.dtype, name=name)
    series.attrs = y.attrs
    return series


def refuse_not_finite(y: np.ndarray) -> None:
    """Raise a ValueError for targets, of any dtype, that are missing or infinite."""
    missing = pd.isna(y)
    infinite = np.isinf(y) if y.dtype.kind == "f" else np.zeros(y.shape, dtype=bool)
    bad = missing if missing.any() else infinite
    if bad.any():
        by_row = bad.reshape(len(y), -1)
        n_bad = int(by_row.any(axis=1).sum())
        of = f" in the columns {np.flatnonzero(by_row.any(axis=0)).tolist()}"
        raise ValueError(
            f"Input y contains {'NaN' if missing.any() else 'infinity'}: {n_bad} of "
            f"{len(y)} targets are {'missing' if missing.any() else 'infinite'}"
            f"{of if y.ndim > 1 else ''}; drop those rows from X and y."
        )


def refuse_classes_in_columns(y: np.ndarray) -> None:
    """Raise a ValueError if several columns of y have labels other than 0 and 1.

    Also if there are none, or some are missing or infinite.
    """
    _refuse_bad(y)
    # Not `np.unique`, which sorts: columns may be text and numbers.
    others = [one for one in pd.unique(y.ravel()).tolist() if one not in (0, 1)]
    if others:
        raise ValueError(
            f"y has the shape {y.shape}, and the labels of several columns must be the "
            f"numbers 0 or 1 each; got {others[:5]}. For columns of classes, fit a "
            "classifier for each: MultiOutputClassifier of scikit-learn does, if all "
            "columns have one dtype."
        )


def read_labels(y: Any) -> np.ndarray:
    """Return class labels of shape (n,), one for each row, none of them missing.

    Numbers or booleans may be objects, as they are in a column that once had missing
    values: scikit-learn refuses those as "unknown". Raises a TypeError if labels are
    text and others, which have no order, or other objects, and a ValueError if there
    are none, some are missing, or they are no labels of classes.
    """
    refuse_survival_targets(y)
    y = column_or_1d(y, warn=True)
    _refuse_bad(y)
    if y.dtype == object:
        inferred = pd.Series(y).infer_objects()
        if inferred.dtype.kind in "biuf":
            y = inferred.to_numpy()
        else:
            _refuse_objects(y)
    check_classification_targets(y)
    return y


def read_numbers(y: Any) -> np.ndarray:
    """Return numbers of shape (n,), one for each row, none missing or infinite.

    Raises a TypeError if they are durations, datetimes or text, and a ValueError if
    there are none, some are missing or infinite, or a row has several.
    """
    n_targets: tuple[int, ...] = () if issparse(y) else np.shape(y)[1:]
    if len(n_targets) == 1 and n_targets[0] > 1:
        raise ValueError(
            f"y has {n_targets[0]} targets for each row, and this estimator predicts "
            "one. Fit one for each target, as scikit-learn's MultiOutputRegressor does."
        )
    numbers = as_quantities(column_or_1d(y, warn=True))
    _refuse_bad(numbers)
    return numbers


def _refuse_objects(labels: np.ndarray) -> None:
    is_text = np.array([isinstance(one, str) for one in labels])
    if not is_text.any():
        types = dict.fromkeys(type(one).__name__ for one in labels)
        raise TypeError(
            "Labels of y must be text, booleans or numbers of up to 64 bits, of one "
            f"type; got {' and '.join(types)}, such as {labels[0]!r}. Make text of "
            "them: y.astype(str)."
        )
    if not is_text.all():
        raise TypeError(
            f"{is_text.sum()} of {len(labels)} labels of y are text, such as "
            f"{labels[is_text][0]!r}, and the others are not, such as "
            f"{labels[~is_text][0]!r}. Convert them to one type: y.astype(str)."
        )


def _refuse_bad(y: np.ndarray) -> None:
    if not len(y):
        raise ValueError("y has no targets (n_samples=0); fit on at least one row.")
    refuse_not_finite(y)


def has_keys(index: pd.Index, keys: pd.Index) -> bool:
    """Return whether an index has all keys of another, and as many levels."""
    return index.nlevels == keys.nlevels and bool(keys.isin(index).all())


def warn_other_order(X: Any, values: Any, name: str = "y", rows: str = "X") -> None:
    """Warn if a Series has the index of X in another order, which is ignored.

    A new Series has the index 0, 1, 2, ... whatever the rows of X were before; it warns
    only if it has the attrs of a target, and thus once had the index of X.

    `values` are targets or treatments, which the warning calls `name`, and the rows of
    X `rows`.
    """
    have_index = all(isinstance(one, pd.Series | pd.DataFrame) for one in (X, values))
    if not have_index or len(X) != len(values):
        return
    if X.index.equals(values.index):
        return
    if values.index.equals(pd.RangeIndex(len(X))) and not values.attrs:
        return
    # Last, as millions of texts take seconds.
    if X.index.is_unique and has_keys(values.index, X.index):
        warn_user(
            f"{name} has the index of {rows} in another order, and rows are matched by "
            f"position, as in scikit-learn. To match them by index, pass "
            f"{name}.loc[{rows}.index]; if positions are right, "
            f"{name}.set_axis({rows}.index)."
        )
