"""Named outputs of a fitted estimator, and the rows in which they differ.

An output is computed twice, before and after a change of its input. `changed_rows`
compares both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sklearn_seqcrm._columns import as_history_array, as_pandas, holds_histories
from sklearn_seqcrm._encoding import EncodedLog

# Relative error of a sum of float32 numbers that are added in another order.
_FLOAT32_RTOL = 1e-6
METHODS = (
    "transform",
    "predict_proba",
    "decision_function",
    "predict",
    "score_samples",
)


class Output(NamedTuple):
    """One named output, with any number of values for each row."""

    values: np.ndarray  # (n_values,): values of all rows
    row: np.ndarray  # (n_values,), int64: row of each value, ascending
    # Shape of the values of one row, ``()`` for a single one or a ragged output.
    shape: tuple[int, ...] = ()

    def take(self, rows: np.ndarray) -> Output:
        """Return the values of the rows in a boolean mask; rows are numbered anew."""
        new_row = np.cumsum(rows) - 1
        is_taken = rows[self.row]  # (n_values,)
        return Output(self.values[is_taken], new_row[self.row[is_taken]], self.shape)


def compute_outputs(fitted: Any, X: pd.DataFrame) -> dict[str, Output]:
    """Compute all outputs of a fitted estimator that has at least one of `METHODS`.

    Their names are the method, then the column or class. Columns with the same name get
    their position, such as ``'a' (column 0)``. An encoded history has one output for
    each of its channels, codes and row features.
    """
    return {
        f"{method}{name}": output
        for method in METHODS
        if hasattr(fitted, method)
        for name, output in _named(
            getattr(fitted, method)(X), _column_names(fitted, method)
        )
    }


def changed_rows(
    before: Output,
    after: Output,
    n_rows: int,
    rtol: float,
    size: float = 0.0,
) -> np.ndarray:
    """Return which rows of an output differ between two calls, (n_rows,).

    They differ if a value or the number of values does, see `_tolerance`. Padding to
    another length is no difference, see `_changed_steps`. `size` is the typical size
    of the output in all rows, which numbers are rounded by.
    """
    pairs = zip(before.shape, after.shape, strict=False)
    axes = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if len(before.shape) == len(after.shape) and len(axes) == 1:
        return _changed_steps(before, after, axes[0], n_rows, rtol, size)
    return _changed_values(before, after, n_rows, rtol, size)


def _changed_values(
    before: Output, after: Output, n_rows: int, rtol: float, size: float
) -> np.ndarray:
    """Return which rows differ in a value or in their number of values."""
    counts = [np.bincount(output.row, minlength=n_rows) for output in (before, after)]
    # In ragged outputs, such as events, rows can differ in the number of values.
    changed = counts[0] != counts[1]
    before, after = before.take(~changed), after.take(~changed)
    differ = ~_equal(before.values, after.values, rtol, size)
    changed[np.flatnonzero(~changed)[before.row[differ]]] = True
    return changed


def _changed_steps(
    before: Output, after: Output, axis: int, n_rows: int, rtol: float, size: float
) -> np.ndarray:
    """Return which rows differ in the common steps of two padded tensors.

    Rows are padded to the longest row of the call. The second call may have fewer rows,
    without the longest one, so that its tensor is shorter on one axis. The padding
    comes after the steps or before them::

        short   a b c        post   a b c 0 0       pre   0 0 a b c
                                    common|padding        padding|common

    A row is unchanged if, in one of the two places, its common steps are equal and the
    remaining entries all have one value or are NaN.
    """
    # (n_rows, n_steps, ...): the padded axis first.
    short, long = (
        np.moveaxis(output.values.reshape(n_rows, *output.shape), axis + 1, 1)
        for output in sorted((before, after), key=lambda output: output.shape[axis])
    )
    n_steps, n_long = short.shape[1], long.shape[1]
    changed = np.ones(n_rows, dtype=bool)
    for common_slice, padding_slice in (
        (slice(0, n_steps), slice(n_steps, n_long)),
        (slice(n_long - n_steps, n_long), slice(0, n_long - n_steps)),
    ):
        rest = long[:, padding_slice].reshape(n_rows, -1)
        is_padding = (rest == rest[:, :1]) | (rest != rest)  # NaN != NaN
        common = _flat(long[:, common_slice])
        differ = _changed_values(_flat(short), common, n_rows, rtol, size)
        changed &= differ | ~is_padding.all(axis=1)
    return changed


def _named(
    result: Any, names: Sequence[str] | None, prefix: str = ""
) -> Iterator[tuple[str, Output]]:
    """Yield the outputs in the result of a method, with their names."""
    result = as_pandas(result)
    if issparse(result):
        result = result.toarray()
    if isinstance(result, pd.DataFrame):
        for i, name in enumerate(_distinct([repr(name) for name in result.columns])):
            yield from _of_column(result.iloc[:, i], f"{prefix}, {name}")
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
    """Yield the columns of a matrix, or a vector or tensor as one output."""
    if values.ndim != 2:
        yield prefix, _flat(values)
        return
    if names is None or len(names) != values.shape[1]:
        names = [f"column {i}" for i in range(values.shape[1])]
    for name, column in zip(_distinct(names), values.T, strict=True):
        # An object array of numbers is compared as numbers, with a tolerance.
        yield from _of_column(pd.Series(column).infer_objects(), f"{prefix}, {name}")


def _distinct(names: Sequence[str]) -> list[str]:
    """Add the position to names that occur more than once."""
    counts = Counter(names)
    return [
        f"{name} (column {i})" if counts[name] > 1 else name
        for i, name in enumerate(names)
    ]


def _of_column(column: pd.Series, name: str) -> Iterator[tuple[str, Output]]:
    """Yield a column as one output, or each field and row feature of its histories."""
    if not holds_histories(column):
        yield name, _flat(column.to_numpy())
        return
    array = as_history_array(column)
    # A ragged output for each field: the values of the events of all rows.
    events = array.to_frame()
    row = events.index.to_numpy()
    for field in events.columns[1:]:
        yield f"{name}, field {field!r}", Output(events[field].to_numpy(), row)
    log = array.log
    if isinstance(log, EncodedLog):
        features = log.row_features(array.rows).T
        for feature, values in zip(log.layout.row_features, features, strict=True):
            yield f"{name}, row feature {feature!r}", _flat(values)


def _flat(values: np.ndarray) -> Output:
    """Return an array of shape (n, ...) as an output."""
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


def _equal(
    before: np.ndarray, after: np.ndarray, rtol: float, size: float
) -> np.ndarray:
    """Return which values are equal: numbers within the tolerance, others exactly.

    A missing value equals a missing value.
    """
    if before.dtype.kind in "biuf" and after.dtype.kind in "biuf":
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        if not len(before) or (_is_whole(before) and _is_whole(after)):
            return same
        before, after = before.astype("float64"), after.astype("float64")
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            difference = np.abs(before - after)
            is_small = difference <= _tolerance(before, rtol, size)
            # The tolerance of infinity is infinite, and so is the way to any number.
            return same | (is_small & np.isfinite(difference))
    # Text, datetimes and mixed objects.
    missing_before, missing_after = pd.isna(before), pd.isna(after)
    before, after = before.astype(object), after.astype(object)
    before[missing_before], after[missing_after] = None, None
    pairs = zip(before, after, strict=True)
    same = np.array([np.array_equal(a, b) for a, b in pairs], dtype=bool)
    return (missing_before & missing_after) | same


def _is_whole(values: np.ndarray) -> bool:
    """Return whether all are whole: such sums do not depend on the order."""
    if values.dtype.kind != "f":
        return True
    finite = values[np.isfinite(values)]
    return bool((finite == np.floor(finite)).all())


def _median_and_distance(numbers: np.ndarray) -> tuple[float, float]:
    """Return the median of finite numbers, and a typical distance from it.

    That is the lower quartile of the positive distances; 0 and 0 without numbers.
    """
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return 0.0, 0.0
    median = float(np.median(finite))
    distance = np.abs(finite - median)
    positive = distance[distance > 0]
    q = np.quantile(positive, 0.25, method="lower") if len(positive) else 0.0
    return median, float(q)


def typical_size(output: Output) -> float:
    """Return the typical size of the numbers of an output, 0 if it has none."""
    values = output.values
    numbers = values if values.dtype.kind in "biuf" else values[:0]
    median, q = _median_and_distance(numbers.astype("float64"))
    return abs(median) + q


def _tolerance(values: np.ndarray, rtol: float, size: float) -> np.ndarray:
    """Return the tolerated difference of each number x.

    ``rtol * (|x - median| + q) + min(rtol, 1e-6) * max(|x|, size)``, where ``q`` is the
    lower quartile of the positive distances ``|x - median|``:

    - the distance from the median, since a share of ``|x|`` itself would hide changes
      of small numbers beside a large constant,
    - ``q``, since the tolerance of numbers at the median would be 0 otherwise; a
      quartile, which a few huge numbers do not raise,
    - a millionth of ``|x|``, the precision of float32, or of the typical `size` in all
      rows, if that is more: a network adds up numbers of this size, and a small sum of
      a row that is checked alone is no more precise.
    """
    median, q = _median_and_distance(values)
    distance = np.abs(values - median)
    rounding = min(rtol, _FLOAT32_RTOL) * np.maximum(np.abs(values), size)
    return rtol * (distance + q) + rounding
