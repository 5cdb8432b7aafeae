"""Which rows belong to one customer, for all that keeps or counts customers whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupShuffleSplit

from sklearn_seqcrm._reading._table import Table, has_histories, one_history
from sklearn_seqcrm._store import hashed_ids
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
        Equal for rows with a customer in common; see `row_customers`.
    """
    if history is not None:
        return row_customers([one_history(X, history)])
    if has_histories(X):
        return row_customers(list(Table.of(X).histories.values()))
    return np.arange(X.shape[0] if hasattr(X, "shape") else len(X))


def row_customers(arrays: Sequence[HistoryArray]) -> np.ndarray:
    """Number the rows so that those with a customer in common have one number.

    Parameters
    ----------
    arrays : sequence of HistoryArray of shape (n,)
        The history columns, at least one. They may be keyed by different things: rows
        are joined through any of them.

    Returns
    -------
    ndarray of shape (n,), int64
        Numbers from 0 on, in the order in which customers first appear. So a split by
        them does not depend on which customers the log knows, as it would by numbers
        in the order of ids: a customer without events could change who is set aside.
        Customers are told apart by the ids that the histories were attached by, whether
        a log knows them or not. A missing history joins no rows.
    """
    if len(arrays) == 1:
        return pd.factorize(ranked_customers(arrays[0]))[0].astype("int64")
    n_rows = n_nodes = len(arrays[0])
    rows, ends = [], []
    for array in arrays:
        numbers = _customers_of_rows(array)
        rows.append(np.flatnonzero(numbers >= 0))
        ends.append(n_nodes + numbers[rows[-1]])
        n_nodes += numbers.max(initial=-1) + 1
    # Older versions of scipy search graphs of 32-bit numbers only.
    edges = (np.concatenate(rows).astype("int32"), np.concatenate(ends).astype("int32"))
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1][:n_rows].astype("int64")


def ranked_customers(array: HistoryArray) -> np.ndarray:
    """Number the customers of one column in the order of their ids, whatever the rows'.

    Parameters
    ----------
    array : HistoryArray of shape (n,)
        The column.

    Returns
    -------
    ndarray of shape (n,), int64
        Numbers from 0 on. Customers that the log does not know come behind those that
        it knows, in the order of the hashes of their ids. A missing history is a
        customer of its own, behind all others.
    """
    return _with_own_numbers(_customers_of_rows(array))


def split_customers(
    customers: np.ndarray, fraction: float, random_state: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Set a random part of the customers aside, each with all of its rows.

    Parameters
    ----------
    customers : ndarray of shape (n,), int64
        Number of the customer of each row, of two customers or more.
    fraction : float
        Share of the customers to set aside, rounded up.
    random_state : int, RandomState or None
        Source of the choice.

    Returns
    -------
    train, aside : ndarray of int64
        Positions of the rows of both parts.
    """
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=random_state)
    train, aside = next(splitter.split(customers, groups=customers))
    return train, aside


def _customers_of_rows(array: HistoryArray) -> np.ndarray:
    """Number of each row's customer in one column, -1 if unidentified; shape (n,)."""
    who, ids = array.rows.identities, array.log.customers
    known, unknown = who >= 0, who < -1
    found, place = np.unique(who[known], return_inverse=True)
    ids = ids[found]
    numbers = np.arange(len(ids))
    if not (ids.is_monotonic_increasing and ids.is_unique):
        # A log that was stacked from several may have a customer twice.
        numbers, ids = pd.factorize(ids, sort=True)
    result = np.full(len(who), -1)
    result[known] = numbers[place]
    if unknown.any():
        # One log of several may know a customer that another does not.
        others, place = np.unique(who[unknown], return_inverse=True)
        both = np.concatenate([hashed_ids(ids), others])
        result[unknown] = pd.factorize(both)[0][len(ids) :][place]
    return result


def _with_own_numbers(numbers: np.ndarray) -> np.ndarray:
    """Replace each -1 by a number that no other row has."""
    alone = numbers < 0
    first = numbers.max(initial=-1) + 1
    numbers[alone] = np.arange(first, first + alone.sum())
    return numbers
