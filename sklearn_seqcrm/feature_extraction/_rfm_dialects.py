"""The two definitions of recency, frequency, monetary value and tenure.

The formulas are in the Notes of `RFMFeatures`, with the same symbols as below.
"""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged import event_blocks, is_run_start
from sklearn_seqcrm._store import Rows


def marketing(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float
) -> dict[str, np.ndarray]:
    """Compute the features of marketing.

    Parameters
    ----------
    rows : Rows of n histories
        Views of a raw log.
    amount : ndarray of shape (n_events,) or None
        Amount of each event of the log; None leaves the monetary value out.
    time_unit : int or float
        Unit of recency and tenure, on the time axis of the log.
    period : int or float
        Not used: every event counts.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in order.
    """
    seen, first, last, cutoff = _moments(rows)
    features = {
        "recency": _spread((cutoff - last) / time_unit, seen),
        # An empty history has frequency 0, a missing one (start < 0) has none.
        "frequency": np.where(rows.start >= 0, rows.stop - rows.start, np.nan),
    }
    if amount is not None:
        features["monetary"] = _mean_amount(rows, amount)
    features["tenure"] = _spread((cutoff - first) / time_unit, seen)
    return features


def btyd(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float
) -> dict[str, np.ndarray]:
    """Compute the features of BTYD models.

    Parameters
    ----------
    rows : Rows of n histories
        Views of a raw log.
    amount : ndarray of shape (n_events,) or None
        Amount of each event of the log; None leaves the monetary value out.
    time_unit : int or float
        Unit of recency and tenure, on the time axis of the log.
    period : int or float
        Events of one period are one transaction; on the time axis of the log.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in order.
    """
    seen, *moments = _moments(rows)
    # d[1], d[m] and d(c). With whole periods, a recency of 0 means no repeat: the
    # models assume that recency > 0 if and only if frequency > 0.
    first, last, cutoff = (moment // period for moment in moments)
    frequency, monetary = _repeats(rows, amount, period)
    features = {
        "recency": _spread((last - first) * period / time_unit, seen),
        "frequency": frequency,
    }
    if amount is not None:
        features["monetary"] = monetary
    features["tenure"] = _spread((cutoff - first) * period / time_unit, seen)
    return features


def _moments(rows: Rows) -> tuple[np.ndarray, ...]:
    """Return which rows have events and, of these, t[1], t[n] and the cutoff."""
    seen = rows.stop > rows.start
    times = rows.log.timeline.times
    first, last = times[rows.start[seen]], times[rows.stop[seen] - 1]
    return seen, first, last, rows.cutoff[seen]


def _spread(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return a column with the values of the rows with events, missing elsewhere."""
    column = np.full(len(seen), np.nan)
    column[seen] = values
    return column


def _mean_amount(rows: Rows, amount: np.ndarray) -> np.ndarray:
    """Return the mean of the recorded amounts, NaN without one."""
    mean = np.full(len(rows.start), np.nan)
    # A block of rows at a time: `index` concatenates their events, and the events of
    # row i begin at first[i].
    for block, index, first in event_blocks(rows.start, rows.stop):
        amounts, recorded = _recorded(amount[index])
        mean[block] = _ratio(
            np.add.reduceat(amounts, first),
            np.add.reduceat(recorded, first, dtype="int64"),
        )
    return mean


def _repeats(
    rows: Rows, amount: np.ndarray | None, period: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number m - 1 of repeat transactions, and their mean amount."""
    times = rows.log.timeline.times
    frequency = np.where(rows.start >= 0, 0.0, np.nan)
    monetary = np.full(len(rows.start), np.nan)
    for block, index, first in event_blocks(rows.start, rows.stop):
        number = times[index] // period  # d(t), (n_events of the block,)
        # Where a transaction begins, among the events of the block.
        transaction = np.flatnonzero(is_run_start(number, first))
        # The first transaction of each row, by which the customer was acquired.
        acquired = np.searchsorted(transaction, first)
        n_repeats = np.diff(acquired, append=len(transaction)) - 1
        frequency[block] = n_repeats
        if amount is not None:
            mean = _mean_repeat(amount[index], transaction, acquired)
            monetary[block] = np.where(n_repeats > 0, mean, 0.0)
    return frequency, monetary


def _mean_repeat(
    amounts: np.ndarray, transaction: np.ndarray, acquired: np.ndarray
) -> np.ndarray:
    """Return the mean amount of all transactions of a row but the first.

    The amount of a transaction is the sum over its events. Transactions without a
    recorded amount are left out; NaN if none is left.
    """
    amounts, recorded = _recorded(amounts)
    total = np.add.reduceat(amounts, transaction)
    known = np.logical_or.reduceat(recorded, transaction)
    # Gamma-gamma models repeat purchases: the first transaction does not count.
    total[acquired], known[acquired] = 0.0, False
    return _ratio(
        np.add.reduceat(total, acquired),
        np.add.reduceat(known, acquired, dtype="int64"),
    )


def _recorded(amounts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts with 0 for missing and infinite ones, and which are finite."""
    recorded = np.isfinite(amounts)
    return np.where(recorded, amounts.astype("float64"), 0.0), recorded


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Divide; NaN where the count is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
