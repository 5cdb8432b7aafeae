"""Customers that training sets aside, to see on them when to stop."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._reading import split_customers
from sklearn_seqcrm.neural_network._rows import RowData

# With fewer customers, or else rows, those set aside are too few to tell epochs apart.
_CUSTOMERS_TO_STOP_EARLY, _ROWS_TO_STOP_EARLY = 50, 1000
# What is set aside: 100 customers, but no less than the first share and no more than
# the second, as those who are left must be enough to learn from.
_CUSTOMERS_ASIDE = 100
_LEAST_SHARE, _LARGEST_SHARE = 0.1, 0.2


def set_customers_aside(
    data: RowData,
    customers: np.ndarray,
    wanted: bool | str,
    fraction: float | str,
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
        Whether to split at all. ``"auto"``: with 50 customers or more, or with 1,000
        rows of several customers.
    fraction : float or "auto"
        Share of the customers that are set aside. ``"auto"``: a tenth or, if that is
        less than 100 customers, up to a fifth.
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
        wanted = n_customers >= _CUSTOMERS_TO_STOP_EARLY or (
            len(data) >= _ROWS_TO_STOP_EARLY and n_customers > 1
        )
    if not wanted:
        return data, None
    if n_customers < 2:
        raise ValueError(
            "early_stopping=True sets customers aside for validation, but all "
            f"{len(data)} rows belong to one customer; use early_stopping=False."
        )
    if fraction == "auto":
        share = _CUSTOMERS_ASIDE / n_customers
        fraction = min(max(share, _LEAST_SHARE), _LARGEST_SHARE)
    train, valid = split_customers(customers, float(fraction), seed)
    return data.take(train), data.take(valid)
