"""Which rows belong to one customer, for all that keeps or counts customers whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sklearn_seqcrm._reading._table import Table, has_histories, one_history
from sklearn_seqcrm.events import HistoryArray


def customers_of(X: Any, history: Any = None) -> np.ndarray:
    """Number the customers of the rows of X.

    Parameters
    ----------
    X : DataFrame with history columns, or anything of n rows
        Rows; without histories each is a customer of its own.
    history : str or None, default=None
        Name of the column whose customers count; None: all that hold histories.

    Returns
    -------
    ndarray of shape (n,), int64
        Equal for rows with a customer in common, as `row_customers` says.
    """
    if history is not None:
        return row_customers([one_history(X, history)])
    if has_histories(X):
        return row_customers(list(Table.of(X).histories.values()))
    return np.arange(X.shape[0] if hasattr(X, "shape") else len(X))


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
