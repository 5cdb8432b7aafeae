"""Recency, frequency, monetary value and tenure, in marketing and for BTYD models.

BTYD: "buy till you die". The symbols are those of the Notes of `RFMFeatures`:

- t[1] <= ... <= t[n]: times of the events of a row, and c: its cutoff,
- d(t) = floor(t / period): number of the period of a time,
- d[1] < ... < d[m]: distinct period numbers of the events, one for each transaction.

All times are in ticks of the log. Arrays of shape (n,) have one entry for each row.
"""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._ragged import event_blocks, is_run_start
from sklearn_seqcrm._store import Rows


def marketing(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float
) -> dict[str, np.ndarray]:
    """Compute the features as defined in marketing.

    Parameters
    ----------
    rows : Rows of n histories
        Views of a raw log.
    amount : ndarray of shape (n_events,) or None
        Amount of each event of the log; None for no monetary value.
    time_unit : int or float
        Unit of recency and tenure, in ticks of the log.
    period : int or float
        Ignored: each event counts. `btyd` has the same signature.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in the order of the output columns.
    """
    has_events, first, last, cutoff = _first_last_cutoff(rows)
    features = {
        "recency": _fill_rows((cutoff - last) / time_unit, has_events),
        # The frequency of an empty history is 0, that of a missing one (start < 0) NaN.
        "frequency": np.where(rows.start >= 0, rows.stop - rows.start, np.nan),
    }
    if amount is not None:
        features["monetary"] = _mean_amount(rows, amount)
    features["tenure"] = _fill_rows((cutoff - first) / time_unit, has_events)
    return features


def btyd(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float
) -> dict[str, np.ndarray]:
    """Compute the features as defined for BTYD models.

    Parameters
    ----------
    rows : Rows of n histories
        Views of a raw log.
    amount : ndarray of shape (n_events,) or None
        Amount of each event of the log; None for no monetary value.
    time_unit : int or float
        Unit of recency and tenure, in ticks of the log.
    period : int or float
        Length of a period, in ticks of the log. The events of one period are one
        transaction.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in the order of the output columns.
    """
    has_events, *times = _first_last_cutoff(rows)
    # d[1], d[m] and d(c). Recency is computed from period numbers, not times: several
    # events in one period are one transaction, and BTYD models need recency > 0 if and
    # only if frequency > 0.
    first, last, cutoff = (time // period for time in times)
    frequency, monetary = _repeats(rows, amount, period)
    features = {
        "recency": _fill_rows((last - first) * period / time_unit, has_events),
        "frequency": frequency,
    }
    if amount is not None:
        features["monetary"] = monetary
    tenure = (cutoff - first) * period / time_unit
    features["tenure"] = _fill_rows(tenure, has_events)
    return features


def _first_last_cutoff(rows: Rows) -> tuple[np.ndarray, ...]:
    """Return which rows have events, (n,), and t[1], t[n] and c of these rows."""
    has_events = rows.stop > rows.start
    times = rows.log.timeline.times
    first, last = times[rows.start[has_events]], times[rows.stop[has_events] - 1]
    return has_events, first, last, rows.cutoff[has_events]


def _fill_rows(values: np.ndarray, has_events: np.ndarray) -> np.ndarray:
    """Return an array with the values of rows with events, and NaN for others, (n,)."""
    column = np.full(len(has_events), np.nan)
    column[has_events] = values
    return column


def _mean_amount(rows: Rows, amount: np.ndarray) -> np.ndarray:
    """Return the mean of the finite amounts of each row, NaN without any, (n,)."""
    mean_amount = np.full(len(rows.start), np.nan)
    # Rows in blocks, to bound memory. `index` has the events of all rows of the block
    # one after another, those of row i from first[i] on.
    for block, index, first in event_blocks(rows.start, rows.stop):
        amounts, recorded = _recorded(amount[index])
        mean_amount[block] = _ratio(
            np.add.reduceat(amounts, first),
            np.add.reduceat(recorded, first, dtype="int64"),
        )
    return mean_amount


def _repeats(
    rows: Rows, amount: np.ndarray | None, period: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number m - 1 of repeat transactions, and their mean amount, (n,)."""
    times = rows.log.timeline.times
    frequency = np.where(rows.start >= 0, 0.0, np.nan)
    monetary = np.full(len(rows.start), np.nan)
    for block, index, first in event_blocks(rows.start, rows.stop):
        period_number = times[index] // period  # d(t), (n_events of the block,)
        # Positions in the block at which a transaction starts: a new period or row.
        transaction_starts = np.flatnonzero(is_run_start(period_number, first))
        # The first transaction of each row, as a position in transaction_starts.
        first_transaction = np.searchsorted(transaction_starts, first)
        n_repeats = np.diff(first_transaction, append=len(transaction_starts)) - 1
        frequency[block] = n_repeats
        if amount is not None:
            mean_amount = _mean_repeat_amount(
                amount[index], transaction_starts, first_transaction
            )
            # 0 without a repeat, as in the package lifetimes.
            monetary[block] = np.where(n_repeats > 0, mean_amount, 0.0)
    return frequency, monetary


def _mean_repeat_amount(
    amounts: np.ndarray, transaction_starts: np.ndarray, first_transaction: np.ndarray
) -> np.ndarray:
    """Return the mean amount of the repeat transactions of each row of a block.

    The amount of a transaction is the sum over its events. Transactions without a
    finite amount are left out; NaN if none is left.
    """
    amounts, recorded = _recorded(amounts)
    total = np.add.reduceat(amounts, transaction_starts)
    known = np.logical_or.reduceat(recorded, transaction_starts)
    # The gamma-gamma model describes repeat purchases, so that the first transaction
    # is left out.
    total[first_transaction], known[first_transaction] = 0.0, False
    return _ratio(
        np.add.reduceat(total, first_transaction),
        np.add.reduceat(known, first_transaction, dtype="int64"),
    )


def _recorded(amounts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts, 0 instead of missing and infinite ones, and which are finite."""
    recorded = np.isfinite(amounts)
    return np.where(recorded, amounts.astype("float64"), 0.0), recorded


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
