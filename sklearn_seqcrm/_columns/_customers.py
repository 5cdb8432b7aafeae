"""The customers of the rows of X, as numbers for splits, folds and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupShuffleSplit

from sklearn_seqcrm._columns._table import Table, has_histories, one_history
from sklearn_seqcrm._store import hashed_ids
from sklearn_seqcrm.events import HistoryArray


def customers_of(X: Any, history: Any = None) -> np.ndarray:
    """Number the customers of the rows of X, (n,), int64; see `row_customers`.

    Rows with a customer in common have equal numbers. Without histories, each row
    counts as one customer. `history` is the column whose customers count; None for all
    history columns.
    """
    if history is not None:
        return row_customers([one_history(X, history)])
    if has_histories(X):
        return row_customers(list(Table.of(X).histories.values()))
    return np.arange(X.shape[0] if hasattr(X, "shape") else len(X))


def connected_note(n_columns: int) -> str:
    """Return why there may be few customers, for errors; "" for one history column."""
    if n_columns < 2:
        return ""
    return (
        f": rows with a customer in common in any of their {n_columns} history columns "
        "count as rows of one customer"
    )


def n_history_columns(X: Any) -> int:
    """Return the number of history columns of rows, 0 for an array."""
    return len(Table.of(X).histories) if has_histories(X) else 0


def refuse_few_customers(
    customers: np.ndarray, n_folds: int, n_columns: int, way_out: str
) -> None:
    """Raise a ValueError if there are fewer customers than folds, called ``cv``.

    `customers` (n,) are numbers of the customers of rows with `n_columns` history
    columns. `way_out` is what to do, at the end of the error.
    """
    n_customers = len(np.unique(customers))
    if n_customers < n_folds:
        raise ValueError(
            f"cv={n_folds} folds need as many customers, and the rows have "
            f"{n_customers} (n_samples={len(customers)}){connected_note(n_columns)}; "
            f"{way_out}."
        )


def row_customers(arrays: Sequence[HistoryArray]) -> np.ndarray:
    """Number the rows so that rows with a customer in common have equal numbers.

    `arrays` are one history column (n,) or more. They may have different keys, such as
    customers and shops; rows are connected through any of them.

    Numbers (n,), int64, begin with 0, in the order in which customers first appear, so
    that a split by them does not depend on further customers in the log. Customers are
    identified by the ids that the histories were attached by, whether or not they are
    in the log. A missing history connects no rows.
    """
    if len(arrays) == 1:
        numbers = _apart(_customers_of_rows(arrays[0]))
        return pd.factorize(numbers)[0].astype("int64")
    # Connected components of a graph of rows and customers:
    #   nodes 0 ... n_rows - 1 are rows, further nodes the customers of each column
    #   an edge connects a row to its customer in each column
    n_rows = n_nodes = len(arrays[0])
    rows, ends = [], []
    for array in arrays:
        numbers = _customers_of_rows(array)
        rows.append(np.flatnonzero(numbers >= 0))
        ends.append(n_nodes + numbers[rows[-1]])
        n_nodes += numbers.max(initial=-1) + 1
    # Older versions of scipy accept only graphs with 32-bit indices.
    edges = (np.concatenate(rows).astype("int32"), np.concatenate(ends).astype("int32"))
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1][:n_rows].astype("int64")


def ranked_customers(array: HistoryArray) -> np.ndarray:
    """Number the customers of one column in the order of the hashes of their ids.

    Numbers (n,), int64, begin with 0. They are the same for any order of the rows, and
    whether or not a customer has events after the cutoffs. Each missing history counts
    as one customer, after all others.
    """
    hashes = customer_hashes(array)
    numbers = np.unique(hashes, return_inverse=True)[1]
    return _apart(np.where(hashes < 0, numbers, -1))


def customer_hashes(array: HistoryArray) -> np.ndarray:
    """Return a hash of the id of each row's customer, (n,), int64.

    Hashes are negative and depend on the id only, neither on the order of the rows nor
    on further customers in the log; 0 for unidentified ones.
    """
    who = array.rows.identities
    hashes = np.where(who < -1, who, 0)  # of customers who are not in the log
    found, place = np.unique(who[who >= 0], return_inverse=True)
    hashes[who >= 0] = hashed_ids(array.log.customers[found])[place]
    return hashes


def split_customers(
    customers: np.ndarray, parameter: str, fraction: float, random_state: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a random part of the customers, each with all rows.

    `customers` (n,) are numbers of two customers or more, of whom the share `fraction`,
    rounded up, is held out; errors name it `parameter`. Returns the positions of the
    rows to train on, and of those held out. Raises a ValueError if these were all
    customers.
    """
    n_customers = len(np.unique(customers))
    if math.ceil(fraction * n_customers) >= n_customers:
        raise ValueError(
            f"{parameter}={fraction:g} of {n_customers} customers leaves none to fit "
            "on; choose a smaller one."
        )
    # Rows of one customer are dependent: all are on one side.
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=random_state)
    train, aside = next(splitter.split(customers, groups=customers))
    return train, aside


def _apart(numbers: np.ndarray) -> np.ndarray:
    """Give each unidentified customer, -1, a number of its own after all others."""
    # A missing history must not join rows that share nothing but being unidentified.
    alone = numbers < 0
    first = numbers.max(initial=-1) + 1
    numbers[alone] = np.arange(first, first + alone.sum())
    return numbers


def _customers_of_rows(array: HistoryArray) -> np.ndarray:
    """Return the number of each row's customer, -1 if unidentified; shape (n,)."""
    # identities: the code of a customer in the log, -1 if unidentified, and below -1 a
    # hash of the id of a customer who is not in the log
    who, ids = array.rows.identities, array.log.customers
    known, unknown = who >= 0, who < -1
    found, place = np.unique(who[known], return_inverse=True)
    ids = ids[found]
    numbers = np.arange(len(ids))
    if not (ids.is_monotonic_increasing and ids.is_unique):
        # A log stacked from several may contain a customer twice.
        numbers, ids = pd.factorize(ids, sort=True)
    result = np.full(len(who), -1)
    result[known] = numbers[place]
    if unknown.any():
        # In a stack, a customer may be in one log and not in another: match by hash.
        others, place = np.unique(who[unknown], return_inverse=True)
        both = np.concatenate([hashed_ids(ids), others])
        result[unknown] = pd.factorize(both)[0][len(ids) :][place]
    return result
