"""What a fitted estimator says of each row, by name, and which rows of it changed."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from sklearn_seqcrm.events._encoded_log import EncodedLog
from sklearn_seqcrm.events._find import as_history_array, holds_histories
from sklearn_seqcrm.events._timeline import ranges

METHODS = ("transform", "predict_proba", "decision_function", "predict")


class Output(NamedTuple):
    """One output: any number of values for each row.

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
    shape: tuple = ()

    def take(self, rows):
        """Return the output of some rows; `rows` is a boolean mask."""
        number = np.cumsum(rows) - 1
        own = rows[self.row]
        return Output(self.values[own], number[self.row[own]], self.shape)


def outputs(fitted, X):
    """Call everything that a fitted estimator has to say of rows.

    Parameters
    ----------
    fitted : estimator
        With at least one of `METHODS`.
    X : DataFrame of shape (n, n_columns)
        Rows.

    Returns
    -------
    dict of str to Output
        Named by the method, then by the column or class. An encoded history has one
        output for each of its channels, codes and row features.
    """
    found = {}
    for method in METHODS:
        if hasattr(fitted, method):
            result = getattr(fitted, method)(X)
            for name, output in _named(result, _column_names(fitted, method)):
                found[f"{method}{name}"] = output
    return found


def changed_rows(one, other, n_rows, rtol):
    """Tell which rows have other values.

    Parameters
    ----------
    one, other : Output
        The same output, computed twice.
    n_rows : int
        Number of rows.
    rtol : float
        Difference of two numbers that counts as none, as a share of their size or of
        the mean size in `one`, whichever is more.

    Returns
    -------
    ndarray of shape (n_rows,), bool
        True where a value differs, or there are more or fewer.
    """
    counts = [np.bincount(output.row, minlength=n_rows) for output in (one, other)]
    changed = counts[0] != counts[1]
    one, other = one.take(~changed), other.take(~changed)
    differ = ~_equal(one.values, other.values, rtol)
    changed[np.flatnonzero(~changed)[one.row[differ]]] = True
    return changed


def _named(result, names, prefix=""):
    """Yield the outputs in what a method returned, each with its name."""
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
    else:
        yield from _of_array(np.asarray(result), names, prefix)


def _of_array(values, names, prefix):
    if values.ndim != 2:
        yield prefix, _flat(values)
        return
    if names is None or len(names) != values.shape[1]:
        names = [f"column {i}" for i in range(values.shape[1])]
    for name, column in zip(names, values.T, strict=True):
        yield from _of_column(pd.Series(column).infer_objects(), f"{prefix}, {name}")


def _of_column(column, name):
    if not holds_histories(column):
        yield name, _flat(column.to_numpy())
        return
    array = as_history_array(column)
    log, rows = array.log, array.rows
    index, offsets = ranges(rows.start, rows.stop)
    row = np.repeat(np.arange(len(array)), np.diff(offsets))
    events = log.frame_of(array.customers[row], index)
    for field in events.columns[1:]:
        yield f"{name}, field {field!r}", Output(events[field].to_numpy(), row)
    if isinstance(log, EncodedLog):
        features = log.row_features(rows).T
        for feature, values in zip(log.encoding.row_features, features, strict=True):
            yield f"{name}, row feature {feature!r}", _flat(values)


def _flat(values):
    row = np.repeat(np.arange(len(values)), int(np.prod(values.shape[1:])))
    return Output(values.ravel(), row, values.shape[1:])


def _column_names(fitted, method):
    """Names for the columns of an array, None where nobody knows them."""
    if method == "transform":
        try:
            return [repr(name) for name in fitted.get_feature_names_out()]
        except (AttributeError, ValueError):  # a step of a pipeline has none
            return None
    classes = getattr(fitted, "classes_", None)
    if isinstance(classes, np.ndarray) and method != "predict":
        return [f"class {label!r}" for label in classes.tolist()]
    return None


def _equal(one, other, rtol):
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        one, other = one.astype("float64"), other.astype("float64")
        finite = np.abs(one[np.isfinite(one)])
        scale = finite.mean() if len(finite) else 0.0
        return np.isclose(other, one, rtol=rtol, atol=rtol * scale, equal_nan=True)
    missing, lost = pd.isna(one), pd.isna(other)
    one, other = one.astype(object), other.astype(object)
    one[missing], other[lost] = None, None
    return (missing & lost) | (one == other).astype(bool)
