"""Treatments of rows: labels of any type, as codes of arms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype
from sklearn.utils.validation import check_consistent_length

# An error lists at most so many labels.
_MOST_SHOWN = 10


def read_treatments(
    treatment: Any, control: Any, X: Any = None, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the arms of an experiment or a campaign.

    `treatment` (n,) are the labels of rows, of any type, and `control` is that of rows
    that were not treated; None: 0 or False, where the labels are 0 and 1 or booleans.
    If there is an `X`, its number of rows is compared. Labels of rows of weight 0 do
    not count.

    Returns
    -------
    labels : ndarray of shape (n_arms,)
        The distinct labels: control, and the others sorted.
    codes : ndarray of shape (n,), int64
        Position of each row's label in `labels`; 0 for rows of weight 0.

    Raises
    ------
    ValueError
        If labels are missing, there is only one, or `control` is none of them, or is
        None and the labels do not show which one it is.
    TypeError
        If labels of several types have no order.
    """
    column = _column_of(treatment, X)
    if weight is None or weight.all():
        column = _without_missing(column)
        labels = _labels_of(column, control, "")
        return labels, encode_treatments(column, labels)
    used = _without_missing(column[weight > 0])
    lost = sorted(set(column.dropna()) - set(used), key=str)
    left_out = (
        f" Rows of weight 0 are left out, among them all rows with the labels {lost}."
        if lost
        else ""
    )
    labels = _labels_of(used, control, left_out)
    codes = np.zeros(len(column), dtype="int64")
    codes[weight > 0] = encode_treatments(used, labels)
    return labels, codes


def _labels_of(column: pd.Series, control: Any, left_out: str) -> np.ndarray:
    """Return the distinct labels, control first; errors end with `left_out`."""
    found = column.unique().tolist()
    if not found:
        raise ValueError(
            f"treatment has no labels (n_samples={len(column)}); give at least one row."
            f"{left_out}"
        )
    shown = str(found)
    if len(found) > _MOST_SHOWN:
        shown = f"{len(found)} such as {found[:3]}"
        if column.dtype.kind == "f":
            shown += " (are treatment and effect swapped?)"
    if control is None:
        if len(found) == 2 and not set(found) - {0, 1}:
            control = next(label for label in found if label == 0)
        elif not (len(found) == 1 and found[0] in (0, 1)):
            raise ValueError(
                "control must name the label of rows without treatment, because the "
                f"labels are not 0 and 1; pass control=..., one of {shown}.{left_out}"
            )
    elif control is pd.NA or control not in found:
        raise ValueError(
            f"control={control!r} is none of the labels of treatment, {shown}."
            f"{left_out}"
        )
    else:
        control = found[found.index(control)]  # of their type, not False for 0
    if len(found) < 2:
        raise ValueError(
            "treatment must have two labels or more, of treated and of untreated rows; "
            f"all {len(column)} rows have {found[0]!r} (n_samples={len(column)})."
            f"{left_out}"
        )
    try:
        others = sorted(label for label in found if label != control)
    except TypeError as error:
        raise TypeError(
            f"treatment has labels of several types, {found}; use one type."
        ) from error
    return pd.Series([control, *others]).to_numpy()


def encode_treatments(treatment: Any, labels: Any, X: Any = None) -> np.ndarray:
    """Return the arm of each row as the position of its label in `labels`, (n,), int64.

    If there is an `X`, its number of rows is compared. Labels that are missing or
    unknown raise a ValueError.
    """
    column = _without_missing(_column_of(treatment, X))
    known, own = pd.Index(labels), pd.Index(column)
    if is_bool_dtype(known.dtype) or is_bool_dtype(own.dtype):
        # As objects, of which True is 1: other indexes do not find booleans.
        known, own = known.astype(object), own.astype(object)
    codes = known.get_indexer(own)
    if (codes < 0).any():
        unknown = column[codes < 0].unique().tolist()
        raise ValueError(
            f"treatment has {(codes < 0).sum()} rows with the labels {unknown}, which "
            f"are not among the known ones, {pd.Index(labels).tolist()}."
        )
    return codes.astype("int64")


def refuse_no_treatment(treatment: Any, caller: str) -> None:
    """Raise a ValueError that names the ways to pass treatments, if there are none."""
    if treatment is None:
        raise ValueError(
            f"{caller} needs treatment=..., the label of the treatment of each row. "
            "Pipelines pass it as fit(X, y, estimator__treatment=...), by the name of "
            "the step; searches and cross_validate with params={'treatment': ...}, "
            "after sklearn.set_config(enable_metadata_routing=True)."
        )


def label_array(labels: Any) -> np.ndarray:
    """Return labels or ids as an array; those of a list keep their types.

    NumPy alone would convert the numbers of a list that also has text, or integers
    beyond int64, and divide tuples into columns.
    """
    if hasattr(labels, "dtype") or hasattr(labels, "__array__"):
        found = np.asarray(labels)
        # pandas has no algorithms for NumPy's bytes of fixed length.
        return found.astype(object) if found.dtype.kind == "S" else found
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        return np.asarray(labels, dtype=object)  # of no dimension
    labels = list(labels)
    if labels and isinstance(labels[0], tuple):
        return pd.Series(labels, dtype=object).to_numpy()
    return np.asarray(labels, dtype=object)


def in_order_of_arms(values: Any, labels: Any, name: str) -> Any:
    """Return values of arms in the order of the labels (n_arms,).

    `values` is a DataFrame, also of polars or pyarrow, with a column for each arm, or a
    Series with a value for each. Anything else is returned unchanged, as it has no
    names. Values with the names 0, 1, 2, ... that pandas gives, or column_0, column_1,
    ... of polars, keep their order, as an array does. Other names than these and the
    labels raise a ValueError, in which `name` stands for the values.
    """
    is_polars = hasattr(values, "to_pandas")
    if is_polars:  # their columns have text as names
        values, labels = values.to_pandas(), [_as_text(label) for label in labels]
    if not isinstance(values, pd.DataFrame | pd.Series):
        return values
    names = values.columns if isinstance(values, pd.DataFrame) else values.index
    given, wanted = names.tolist(), np.asarray(labels, dtype=object).tolist()
    # A single column cannot be in a wrong place; callers refuse wrong numbers of them.
    if len(given) < 2 or len(given) != len(wanted):
        return values
    numbers = range(len(given))
    counted = [f"column_{i}" for i in numbers] if is_polars else list(numbers)
    is_counted = given == counted
    if is_counted and isinstance(names, pd.RangeIndex):
        return values
    if set(given) == set(wanted):
        places = [given.index(label) for label in wanted]
        return values.take(places, axis=1) if values.ndim == 2 else values.take(places)
    if is_counted:
        return values
    raise ValueError(
        f"{name} has the names {given}, which are not the labels of the arms, "
        f"{wanted}; name its columns by the labels, or pass an array in their order."
    )


def _as_text(label: Any) -> str:
    """Return a label as the name of a column: 1.0 is "1"."""
    is_whole = isinstance(label, float | np.floating) and float(label).is_integer()
    return str(int(label) if is_whole else label)


def _column_of(treatment: Any, X: Any) -> pd.Series:
    """Return labels as a column of plain values."""
    if isinstance(treatment, str) or np.ndim(treatment) == 0:
        raise TypeError(
            f"treatment must be an array with a label for each row; got {treatment!r}. "
            "If it is a column of X, pass X[name], and X without this column."
        )
    values = label_array(treatment)  # of a categorical, its labels
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"treatment must have one label for each row; its shape is {values.shape}."
        )
    if X is not None:
        check_consistent_length(X, values)
    return pd.Series(values).infer_objects()


def _without_missing(column: pd.Series) -> pd.Series:
    """Return the labels; a ValueError if some are missing."""
    if n_missing := int(column.isna().sum()):
        raise ValueError(
            f"treatment is missing in {n_missing} of {len(column)} rows; drop these "
            "rows, or, if it means no contact, label them: "
            "pd.Series(treatment).astype(object).fillna('none'), with control='none'."
        )
    return column
