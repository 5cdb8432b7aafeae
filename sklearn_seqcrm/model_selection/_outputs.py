"""Outputs of a fitted estimator by name, and the rows in which two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sklearn_seqcrm._columns import as_history_array, holds_histories
from sklearn_seqcrm._encoding import EncodedLog
from sklearn_seqcrm._ragged import ranges

# Sums of float32 numbers in another order agree to about this share of their size.
_FLOAT32 = 1e-6
METHODS = (
    "transform",
    "predict_proba",
    "decision_function",
    "predict",
    "score_samples",
)


class Output(NamedTuple):
    """One named output, with any number of values for each row.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Values of all rows.
    row : ndarray of shape (n_values,), int64
        Row of each value, ascending.
    shape : tuple of int
        Shape of the values of one row, ``()`` for a single one or a ragged output.
    """

    values: np.ndarray
    row: np.ndarray
    shape: tuple[int, ...] = ()

    def take(self, rows: np.ndarray) -> Output:
        """Return the output of some rows, renumbered; `rows` is a boolean mask."""
        number = np.cumsum(rows) - 1
        own = rows[self.row]  # values of these rows
        return Output(self.values[own], number[self.row[own]], self.shape)


def outputs(fitted: Any, X: pd.DataFrame) -> dict[str, Output]:
    """Compute all outputs of a fitted estimator.

    Parameters
    ----------
    fitted : estimator
        An estimator with at least one of `METHODS`.
    X : DataFrame of shape (n, n_columns)
        Rows.

    Returns
    -------
    dict of str to Output
        Outputs by method, then by column or class. An encoded history has one output
        for each of its channels, codes and row features.
    """
    return {
        f"{method}{name}": output
        for method in METHODS
        if hasattr(fitted, method)
        for name, output in _named(
            getattr(fitted, method)(X), _column_names(fitted, method)
        )
    }


def changed_rows(one: Output, other: Output, n_rows: int, rtol: float) -> np.ndarray:
    """Return which rows differ in an output that was computed twice.

    Parameters
    ----------
    one, other : Output
        The same output, computed twice.
    n_rows : int
        Number of rows.
    rtol : float
        Tolerance; see `_tolerance`.

    Returns
    -------
    ndarray of shape (n_rows,), bool
        True where a value differs, or the number of values. Tensors may be padded to
        different lengths; see `_changed_steps`.
    """
    pairs = zip(one.shape, other.shape, strict=False)
    axes = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if len(one.shape) == len(other.shape) and len(axes) == 1:
        return _changed_steps(one, other, axes[0], n_rows, rtol)
    # Ragged outputs, such as events: another number of values is a change by itself.
    counts = [np.bincount(output.row, minlength=n_rows) for output in (one, other)]
    changed = counts[0] != counts[1]
    one, other = one.take(~changed), other.take(~changed)
    differ = ~_equal(one.values, other.values, rtol)
    changed[np.flatnonzero(~changed)[one.row[differ]]] = True
    return changed


def _changed_steps(
    one: Output, other: Output, axis: int, n_rows: int, rtol: float
) -> np.ndarray:
    """Return which rows differ in the common steps of two tensors.

    Their values of a row have different lengths on one axis, where they are padded to
    the longest of other rows, before or after their steps::

        short   a b c        post   a b c 0 0      pre   0 0 a b c
                                    common|rest          rest|common

    A row is unchanged if its common steps are equal and its rest has one value, in
    either place.
    """
    # (n_rows, steps, ...): the padded axis first.
    short, long = (
        np.moveaxis(output.values.reshape(n_rows, *output.shape), axis + 1, 1)
        for output in sorted((one, other), key=lambda output: output.shape[axis])
    )
    n_steps, n_long = short.shape[1], long.shape[1]
    changed = np.ones(n_rows, dtype=bool)
    for common, rest in (
        (slice(0, n_steps), slice(n_steps, n_long)),
        (slice(n_long - n_steps, n_long), slice(0, n_long - n_steps)),
    ):
        padding = long[:, rest].reshape(n_rows, -1)
        filled = (padding == padding[:, :1]) | (padding != padding)
        differ = changed_rows(_flat(short), _flat(long[:, common]), n_rows, rtol)
        changed &= differ | ~filled.all(axis=1)
    return changed


def _named(
    result: Any, names: Sequence[str] | None, prefix: str = ""
) -> Iterator[tuple[str, Output]]:
    """Yield each output in the result of a method, with its name."""
    if hasattr(result, "to_pandas"):  # polars
        result = result.to_pandas()
    if issparse(result):
        result = result.toarray()
    if isinstance(result, pd.DataFrame):
        for i, name in enumerate(result.columns):
            yield from _of_column(result.iloc[:, i], f"{prefix}, {name!r}")
    elif isinstance(result, dict):
        for key, values in result.items():
            yield from _named(values, None, f"{prefix}, {key!r}")
    elif isinstance(result, list):  # one array for each of several targets
        for i, values in enumerate(result):
            yield from _named(values, None, f"{prefix}, target {i}")
    elif np.ndim(result) == 0:
        raise TypeError(
            f"An output must have a value for each row; got {type(result).__name__}."
        )
    else:
        yield from _of_array(np.asarray(result), names, prefix)


def _of_array(
    values: np.ndarray, names: Sequence[str] | None, prefix: str
) -> Iterator[tuple[str, Output]]:
    if values.ndim != 2:
        yield prefix, _flat(values)
        return
    if names is None or len(names) != values.shape[1]:
        names = [f"column {i}" for i in range(values.shape[1])]
    for name, column in zip(names, values.T, strict=True):
        # An object array of numbers is compared as numbers, with a tolerance.
        yield from _of_column(pd.Series(column).infer_objects(), f"{prefix}, {name}")


def _of_column(column: pd.Series, name: str) -> Iterator[tuple[str, Output]]:
    if not holds_histories(column):
        yield name, _flat(column.to_numpy())
        return
    array = as_history_array(column)
    log, rows = array.log, array.rows
    # A ragged output for each field: the values of the events of all rows.
    index, offsets = ranges(rows.start, rows.stop)
    row = np.repeat(np.arange(len(array)), np.diff(offsets))
    events = log.frame_of(array.customers[row], index)
    for field in events.columns[1:]:
        yield f"{name}, field {field!r}", Output(events[field].to_numpy(), row)
    if isinstance(log, EncodedLog):
        features = log.row_features(rows).T
        for feature, values in zip(log.layout.row_features, features, strict=True):
            yield f"{name}, row feature {feature!r}", _flat(values)


def _flat(values: np.ndarray) -> Output:
    row = np.repeat(np.arange(len(values)), int(np.prod(values.shape[1:])))
    return Output(values.ravel(), row, values.shape[1:])


def _column_names(fitted: Any, method: str) -> list[str] | None:
    """Return names for the columns of an array, None where they are unknown."""
    if method == "transform":
        try:
            return [repr(name) for name in fitted.get_feature_names_out()]
        except (AttributeError, ValueError):  # a step of a pipeline has none
            return None
    classes = getattr(fitted, "classes_", None)
    if isinstance(classes, np.ndarray) and classes.ndim == 1 and method != "predict":
        return [f"class {label!r}" for label in classes.tolist()]
    return None


def _equal(one: np.ndarray, other: np.ndarray, rtol: float) -> np.ndarray:
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        if not len(one) or (_is_whole(one) and _is_whole(other)):
            return same
        one, other = one.astype("float64"), other.astype("float64")
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            return same | (np.abs(one - other) <= _tolerance(one, rtol))
    # Text, datetimes and mixed objects are equal or not; missing equals missing.
    missing, lost = pd.isna(one), pd.isna(other)
    one, other = one.astype(object), other.astype(object)
    one[missing], other[lost] = None, None
    pairs = zip(one, other, strict=True)
    same = np.array([np.array_equal(a, b) for a, b in pairs], dtype=bool)
    return (missing & lost) | same


def _is_whole(values: np.ndarray) -> bool:
    """Return whether all are whole numbers, whose sums do not depend on the order."""
    if values.dtype.kind != "f":
        return True
    finite = values[np.isfinite(values)]
    return bool((finite == np.floor(finite)).all())


def _tolerance(values: np.ndarray, rtol: float) -> np.ndarray:
    """Return the difference of each number that another order of addition explains.

    ``rtol * (|x - median| + q) + min(rtol, 1e-6) * |x|``, where ``q`` is the lower
    quartile of the positive distances ``|x - median|``. Distances from the median, so
    that a large constant does not hide the change of a small number; a quartile, so
    that a few huge numbers do not; and a millionth of ``|x|``, the precision of
    float32.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    distance = np.abs(values - np.median(finite))
    apart = distance[(distance > 0) & (distance < np.inf)]
    typical = np.quantile(apart, 0.25, method="lower") if len(apart) else 0.0
    share = min(rtol, _FLOAT32)
    return rtol * (distance + typical) + share * np.abs(values)
