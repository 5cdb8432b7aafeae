"""Codes of categories, where -1 is a missing value."""

from __future__ import annotations

from typing import Any

import numpy as np


def look_up(table: np.ndarray, codes: np.ndarray, missing: Any = -1) -> np.ndarray:
    """What a table says of codes, and of the missing ones.

    Parameters
    ----------
    table : ndarray of shape (n_levels,)
        One entry for each code.
    codes : ndarray of shape (n,), int
        Codes, -1 where a value is missing.
    missing : object, default=-1
        Entry of a missing value, of the type of the others.

    Returns
    -------
    ndarray of shape (n,)
        The entries, in the type of the table.

    Examples
    --------
    >>> import numpy as np
    >>> look_up(np.array([10, 20]), np.array([1, -1, 0]))
    array([20, -1, 10])
    """
    # One more entry, where the code -1 finds itself.
    longer = np.empty(len(table) + 1, dtype=table.dtype)
    longer[:-1], longer[-1] = table, missing
    return longer[codes]
