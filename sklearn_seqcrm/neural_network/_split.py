"""Customers that training sets aside, to see on them when to stop."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from sklearn_seqcrm.neural_network._rows import RowData

# With fewer rows a validation part is too small to tell epochs apart.
_ROWS_TO_STOP_EARLY = 1000


def set_customers_aside(
    data: RowData,
    customers: np.ndarray,
    wanted: bool | str,
    fraction: float,
    seed: int,
) -> tuple[RowData, RowData | None]:
    """Split rows for early stopping, all rows of a customer on one side.

    Parameters
    ----------
    data : RowData
        Rows to be split.
    customers : ndarray of shape (n,), int64
        Number of the customer of each row.
    wanted : bool or "auto"
        Whether to split at all. ``"auto"``: with 1,000 rows or more of several
        customers.
    fraction : float
        Share of the customers that are set aside.
    seed : int
        Seed of the choice.

    Returns
    -------
    train : RowData
        Rows to learn from.
    valid : RowData or None
        Rows set aside, if any.

    Raises
    ------
    ValueError
        If a split is wanted, and all rows belong to one customer.
    """
    n_customers = len(np.unique(customers))
    if wanted == "auto":
        wanted = len(data) >= _ROWS_TO_STOP_EARLY and n_customers > 1
    if not wanted:
        return data, None
    if n_customers < 2:
        raise ValueError(
            "early_stopping=True sets customers aside for validation, but all "
            f"{len(data)} rows belong to one customer; use early_stopping=False."
        )
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    train, valid = next(splitter.split(data.static, groups=customers))
    return data.take(train), data.take(valid)
