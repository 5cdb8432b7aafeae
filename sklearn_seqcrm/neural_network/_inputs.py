"""The three forms of X that the estimators take, read into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, issparse
from scipy.sparse.csgraph import connected_components
from sklearn.utils.validation import validate_data

from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.events._encoded_log import EncodedLog
from sklearn_seqcrm.events._find import (
    history_columns,
    refuse_missing_histories,
    refuse_repeated_columns,
    static_columns,
)
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
    customers : callable
        Numbers the rows, shape (n,), int64: equal where they belong to one customer.
        Prediction does not ask.
    encoded : bool, default=True
        Whether an encoder made the codes. Otherwise nobody knows how many there are.
    """

    data: RowData
    specs: tuple[HistorySpec, ...]
    names: tuple[str, ...]
    customers: Callable[[], np.ndarray]
    encoded: bool = True

    def within(self, specs: Sequence[HistorySpec]) -> Inputs:
        """The same rows; codes that `specs` do not have become 0, unseen."""
        sources = tuple(
            replace(
                source, codes=np.where(source.codes < spec.n_levels, source.codes, 0)
            )
            for source, spec in zip(self.data.sources, specs, strict=True)
        )
        return self._replace(data=replace(self.data, sources=sources))


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
        if reset:
            _forget_columns(estimator)
        has_layout = getattr(X, "layout", None) is not None
        data, specs, names, customers = padded_inputs(X)
        return Inputs(data, specs, names, lambda: customers, encoded=has_layout)
    if has_histories(X):
        return _read_frame(estimator, as_frame(X), reset)
    if isinstance(X, pd.DataFrame):
        refuse_repeated_columns(X)
        _refuse_text(X, estimator)
    X = validate_data(estimator, X, dtype=np.float32, reset=reset)
    return Inputs(RowData((), X), (), (), partial(np.arange, len(X)))


def _read_frame(estimator: Any, X: pd.DataFrame, reset: bool) -> Inputs:
    if reset or hasattr(estimator, "n_features_in_"):  # padded tensors have no columns
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    if not len(X):
        raise ValueError("X has no rows; at least one is needed.")
    names = history_columns(X)
    arrays = [X[name].array for name in names]
    sources, specs, columns = [], [], []
    for name, array in zip(names, arrays, strict=True):
        log = _encoded_log(array, name, estimator)
        sources.append(history_source(array))
        specs.append(history_spec(log))
        columns.append(log.row_features(array.rows))
    # X[names] takes three times as long, a sixth of scoring a row.
    beside = static_columns(X)
    place = X.columns.get_indexer(beside)  # type: ignore[arg-type]  # a list will do
    statics = X.take(place, axis=1)
    _refuse_text(statics, estimator)
    columns.append(static_values(statics))
    return Inputs(
        RowData(tuple(sources), np.concatenate(columns, axis=1)),
        tuple(specs),
        tuple(names),
        partial(row_customers, arrays),
    )


def _forget_columns(estimator: Any) -> None:
    """Padded tensors have no columns; those of an earlier fit are out of date."""
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)


def row_customers(arrays: Sequence[HistoryArray]) -> np.ndarray:
    """Number the rows so that those with a customer in common have one number.

    Rows are joined through any of the history columns, which may be keyed by different
    things. A customer that a log does not know joins no rows: it has no event that
    could tell of another row.
    """
    n_rows = len(arrays[0])
    ends: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    n_nodes = n_rows
    for array in arrays:
        known = np.flatnonzero(array.rows.codes >= 0)
        found, place = np.unique(array.rows.codes[known], return_inverse=True)
        # A log that was stacked from several may know a customer twice.
        code, ids = pd.factorize(array.log.customers[found])
        rows.append(known)
        ends.append(n_nodes + code[place])
        n_nodes += len(ids)
    # Older versions of scipy search graphs of 32-bit numbers only.
    edges = (np.concatenate(rows).astype("int32"), np.concatenate(ends).astype("int32"))
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1][:n_rows].astype("int64")


def history_source(array: HistoryArray) -> HistorySource:
    """Channels, codes and times behind encoded histories."""
    rows, log = array.rows, array.log
    return HistorySource(
        log.channels,
        log.codes,
        log.timeline.times,
        np.maximum(rows.start, 0),
        np.maximum(rows.stop, 0),
        rows.cutoff,
        log.encoding.time_unit,
        log.encoding.gap_channel,
    )


def history_spec(log: EncodedLog) -> HistorySpec:
    """Shape of the events of an encoded log."""
    encoding = log.encoding
    half_lives = tuple(h / encoding.time_unit for h in encoding.half_lives)
    n_channels = len(encoding.channels)
    return HistorySpec(n_channels, encoding.n_levels, half_lives, encoding.digest)


def static_values(statics: pd.DataFrame) -> np.ndarray:
    """Numeric statics as float32, shape (n, S); not finite ones are an error."""
    values = statics.to_numpy(dtype="float64", na_value=np.nan)
    with np.errstate(over="ignore"):  # too large for float32 is infinite
        values = values.astype("float32")
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
    refuse_missing_histories(array, name)
    return array.log


def _refuse_text(statics: pd.DataFrame, estimator: Any) -> None:
    """Text, categories and datetimes are no numbers yet."""
    text = [
        f"{name!r} ({dtype})"
        for i, (name, dtype) in enumerate(statics.dtypes.items())
        if not (
            _holds_numbers(statics.iloc[:, i])
            if pd.api.types.is_object_dtype(dtype)
            else pd.api.types.is_numeric_dtype(dtype)
        )
    ]
    if text:
        line = _PIPELINE.format(estimator=type(estimator).__name__)
        raise TypeError(
            f"Columns that are no numbers: {', '.join(text)}. Write {line}, which "
            "encodes them, or drop or encode them before."
        )


def _holds_numbers(objects: pd.Series) -> bool:
    """Whether objects are numbers, as a ColumnTransformer makes beside histories."""
    kind = pd.api.types.infer_dtype(objects, skipna=True)
    return kind in {"floating", "integer", "mixed-integer-float", "boolean", "empty"}
