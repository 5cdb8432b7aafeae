"""How often a level of a field comes again, beside how often it has come."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._encoding import FIRST_LEVEL

# As if each level had come again so often more, as its counts say.
_PRIOR = 30.0


def repeat_weights(
    codes: np.ndarray, moment: np.ndarray, customer: np.ndarray, n_codes: int
) -> np.ndarray:
    """How much each code counts for what comes again.

    Customers come back to what they had, but to milk rather than to a lamp. Of all
    levels that come again at a later moment, each would have its share of what the
    customer had until then, if counts were all that mattered. How often it has, over
    how often it should have, is its weight.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        Codes of events, in order, customer by customer.
    moment : ndarray of shape (n,), int64
        Number of the moment of each, ascending; no two customers share one.
    customer : ndarray of shape (n,), int64
        Number of the customer of each, ascending.
    n_codes : int
        Number of codes.

    Returns
    -------
    ndarray of shape (n_codes,), float64
        About 1; 0 for codes of what is no level.
    """
    is_level = codes >= FIRST_LEVEL
    codes, moment, customer = codes[is_level], moment[is_level], customer[is_level]
    moment = np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    order = np.lexsort((codes, customer))  # events of a level stay in their order
    is_new = np.ones(len(codes), dtype=bool)
    is_new[1:] = (np.diff(codes[order]) != 0) | (np.diff(customer[order]) != 0)
    is_again = ~is_new
    is_again[1:] &= np.diff(moment[order]) != 0
    again = order[is_again]
    # By moment: how many came again, and how many the customer had before.
    begin = np.flatnonzero(np.diff(moment, prepend=-1))
    n_again = np.bincount(moment[again], minlength=len(begin))
    first = np.searchsorted(customer, customer[begin])
    share = n_again / np.maximum(begin - first, 1)
    # What each event should have of those that came again after it.
    after = share[::-1].cumsum()[::-1] - share
    last = np.searchsorted(customer[begin], customer[begin], side="right") - 1
    expected = np.bincount(codes, (after - after[last])[moment], n_codes)
    weights = (np.bincount(codes[again], minlength=n_codes) + _PRIOR) / (
        np.maximum(expected, 0) + _PRIOR
    )
    weights[:FIRST_LEVEL] = 0.0
    return weights
