"""The three forms of X that the estimators take, read into one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from sklearn_seqcrm.events import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._encoded_log import EncodedLog
from sklearn_seqcrm.events._frames import as_frame, has_histories
from sklearn_seqcrm.neural_network._batches import HistorySource, RowData
from sklearn_seqcrm.neural_network._module import HistorySpec
from sklearn_seqcrm.neural_network._padded import padded_inputs

_PIPELINE = "make_history_pipeline({estimator}(...)).fit(X, y)"


class Inputs(NamedTuple):
    """What an estimator reads of X.

    Parameters
    ----------
    data : RowData
        Rows without targets.
    specs : tuple of HistorySpec
        Shape of each history column.
    names : tuple of str
        Names of the history columns.
    customers : ndarray of shape (n,), int64
        Rows with equal numbers belong to one customer.
    """

    data: RowData
    specs: tuple[HistorySpec, ...]
    names: tuple[str, ...]
    customers: np.ndarray


def read_inputs(estimator: Any, X: Any, *, reset: bool) -> Inputs:
    """Read X in any of its three forms.

    Parameters
    ----------
    estimator : estimator
        Whose `n_features_in_` and `feature_names_in_` are set or checked.
    X : DataFrame, padded tensors, or array of shape (n, n_columns)
        Encoded histories with numeric statics, the result of `HistoryPadder`, or
        statics alone.
    reset : bool
        True in `fit`.

    Returns
    -------
    Inputs
        Rows, shapes and customers.

    Raises
    ------
    TypeError
        If histories are raw, or a static is no number.
    ValueError
        If a static is not finite, or columns differ from those in `fit`.
    """
    if isinstance(X, dict) and not issparse(X):  # a dok_matrix is both
        data, specs, names, customers = padded_inputs(X)
        return Inputs(data, specs, names, customers)
    if has_histories(X):
        return _read_frame(estimator, as_frame(X), reset)
    if isinstance(X, pd.DataFrame):
        _refuse_text(X, estimator)
    X = validate_data(estimator, X, dtype=np.float32, reset=reset)
    return Inputs(RowData((), X), (), (), np.arange(len(X)))


def _read_frame(estimator: Any, X: pd.DataFrame, reset: bool) -> Inputs:
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if not len(X):
        raise ValueError("X has no rows; at least one is needed.")
    names = [name for name in X if isinstance(X[name].dtype, HistoryDtype)]
    sources, specs, columns = [], [], []
    for name in names:
        array = X[name].array
        log = _encoded_log(array, name, estimator)
        sources.append(history_source(array))
        specs.append(history_spec(log))
        columns.append(log.row_features(array.rows))
    statics = X.drop(columns=names)
    _refuse_text(statics, estimator)
    columns.append(static_values(statics))
    first = X[names[0]].array.rows
    # Customers that the log does not know have no event to share, only their row.
    customers = np.where(first.codes >= 0, first.codes, -1 - np.arange(len(X)))
    return Inputs(
        RowData(tuple(sources), np.concatenate(columns, axis=1)),
        tuple(specs),
        tuple(names),
        customers,
    )


def history_source(array: HistoryArray) -> HistorySource:
    """Channels, codes and times behind encoded histories."""
    rows, log = array.rows, array.log
    unit = log.encoding.time_unit
    # Times from the first one on, so that typical gaps keep their decimals.
    origin = log.timeline.times.min() if len(log) else 0
    return HistorySource(
        log.channels,
        log.codes,
        (log.timeline.times - origin) / unit,
        np.maximum(rows.start, 0),
        np.maximum(rows.stop, 0),
        (rows.cutoff - origin) / unit,
    )


def history_spec(log: EncodedLog) -> HistorySpec:
    """Shape of the events of an encoded log."""
    encoding = log.encoding
    half_lives = tuple(h / encoding.time_unit for h in encoding.half_lives)
    return HistorySpec(len(encoding.channels), encoding.n_levels, half_lives)


def static_values(statics: pd.DataFrame) -> np.ndarray:
    """Numeric statics as float32, shape (n, S); not finite ones are an error."""
    values = statics.to_numpy(dtype="float32", na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        counts = dict(zip(statics.columns, bad.sum(axis=0), strict=True))
        found = ", ".join(f"{name!r} ({n})" for name, n in counts.items() if n)
        raise ValueError(
            f"Columns have missing or infinite values (count): {found}. "
            "make_history_pipeline imputes them, or fill them before."
        )
    return values


def _encoded_log(array: HistoryArray, name: str, estimator: Any) -> EncodedLog:
    if not isinstance(array.log, EncodedLog):
        line = _PIPELINE.format(estimator=type(estimator).__name__)
        raise TypeError(
            f"The histories in {name!r} are raw events, and a network reads encoded "
            f"ones. Write {line}, or put HistoryEncoder() before it in your pipeline."
        )
    missing = int(array.isna().sum())
    if missing:
        raise ValueError(
            f"Column {name!r} has {missing} missing histories; a customer without "
            "events has an empty history, which EventLog.attach makes."
        )
    return array.log


def _refuse_text(statics: pd.DataFrame, estimator: Any) -> None:
    """Text, categories and datetimes are no numbers yet."""
    text = [
        f"{name!r} ({dtype})"
        for name, dtype in statics.dtypes.items()
        if not _is_number(statics[name])
    ]
    if text:
        line = _PIPELINE.format(estimator=type(estimator).__name__)
        raise TypeError(
            f"Columns that are no numbers: {', '.join(text)}. Write {line}, which "
            "encodes them, or drop or encode them before."
        )


def _is_number(column: pd.Series) -> bool:
    if not pd.api.types.is_object_dtype(column.dtype):
        return pd.api.types.is_numeric_dtype(column.dtype)
    # ColumnTransformer makes objects of numbers that stand beside histories.
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind in {"floating", "integer", "mixed-integer-float", "boolean", "empty"}
