"""Recency, frequency, monetary value and tenure, in marketing and for BTYD models.

BTYD: "buy till you die". The symbols are those of the Notes of `RFMFeatures`:

- t[1] <= ... <= t[n]: times of the events of a row, and c: its cutoff,
- d(t) = floor(t / p): number of the period of a time; the time itself for p = 0,
- d[1] < ... < d[m]: distinct periods of the events, one for each purchase. In the
  literature on BTYD models a purchase is a transaction.

A block of two rows, p = 1::

    t            3 3 5 | 5 6 6 6        events of both rows, `first` = 0, 3
    purchase     0 . 2 | 3 4 . .        `starts` = 0, 2, 3, 4
    row          0     | 2              `first_purchase`, as a position in `starts`

All times are in ticks of the log. Arrays of shape (n,) have one entry for each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sklearn_seqcrm._ragged import event_blocks, is_run_start
from sklearn_seqcrm._store import Rows


def marketing(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float | None
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
    period : int, float or None
        Length of a period, in ticks of the log. The events of one period are one
        purchase; 0 for events at the same time, None for single events.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in the order of the output columns.
    """
    has_events, first, last, cutoff = _first_last_cutoff(rows)
    n_purchases, mean_amount = _count_purchases(rows, amount, period)
    features = {
        "recency": _fill_rows((cutoff - last) / time_unit, has_events),
        "frequency": n_purchases,
    }
    if amount is not None:
        features["monetary"] = mean_amount
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
        purchase.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        The features, in the order of the output columns.
    """
    has_events, *times = _first_last_cutoff(rows)
    # d[1], d[m] and d(c). Recency is computed from period numbers, not times: several
    # events in one period are one purchase, and BTYD models need recency > 0 if and
    # only if frequency > 0.
    first, last, cutoff = (time // period for time in times)
    # The gamma-gamma model describes repeat purchases: the first one is left out.
    n_repeats, mean_amount = _count_purchases(rows, amount, period, repeats_only=True)
    features = {
        "recency": _fill_rows((last - first) * period / time_unit, has_events),
        "frequency": n_repeats,
    }
    if amount is not None:
        # 0 without a repeat, as in the package lifetimes.
        features["monetary"] = np.where(n_repeats == 0, 0.0, mean_amount)
        features["monetary"][~has_events] = np.nan
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


@dataclass(frozen=True)
class _Purchases:
    """Purchases of a block of rows, see the drawing above.

    Parameters
    ----------
    block : slice or ndarray of shape (n_block,), int64
        Rows with events.
    index : ndarray of shape (n_block_events,), int64
        Positions of their events in the log, row by row.
    starts : ndarray of shape (n_purchases,), int64
        Positions in `index` at which a purchase starts.
    first : ndarray of shape (n_block,), int64
        The first purchase of each row, as a position in `starts`.
    """

    block: slice | np.ndarray
    index: np.ndarray
    starts: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, rows: Rows, period: float | None) -> Iterator[_Purchases]:
        """Yield the purchases of all rows, in blocks to bound memory."""
        times = rows.log.timeline.times
        for block, index, first in event_blocks(rows.start, rows.stop):
            if period is None:
                starts = np.arange(len(index))
            else:
                numbers = times[index] // period if period else times[index]  # d(t)
                starts = np.flatnonzero(is_run_start(numbers, first))
            yield cls(block, index, starts, np.searchsorted(starts, first))

    def mean_amount(self, amounts: np.ndarray, repeats_only: bool) -> np.ndarray:
        """Return the mean amount of the purchases of each row, shape (n_block,).

        The amount of a purchase is the sum over its events. Purchases without a finite
        amount are left out; NaN if none is left.
        """
        amounts, recorded = _recorded(amounts)
        total = np.add.reduceat(amounts, self.starts)  # (n_purchases,)
        known = np.logical_or.reduceat(recorded, self.starts)
        if repeats_only:
            total[self.first], known[self.first] = 0.0, False
        return _ratio(
            np.add.reduceat(total, self.first),
            np.add.reduceat(known, self.first, dtype="int64"),
        )


def _count_purchases(
    rows: Rows,
    amount: np.ndarray | None,
    period: float | None,
    repeats_only: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of purchases, or of repeats, and their mean amount, (n,)."""
    # The frequency of an empty history is 0, that of a missing one (start < 0) NaN.
    frequency = np.where(rows.start >= 0, 0.0, np.nan)
    monetary = np.full(len(rows.start), np.nan)
    for some in _Purchases.of(rows, period):
        n_purchases = np.diff(some.first, append=len(some.starts))
        frequency[some.block] = n_purchases - repeats_only
        if amount is not None:
            amounts = amount[some.index]
            monetary[some.block] = some.mean_amount(amounts, repeats_only)
    return frequency, monetary


def _recorded(amounts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts, 0 instead of missing and infinite ones, and which are finite."""
    recorded = np.isfinite(amounts)
    return np.where(recorded, amounts.astype("float64"), 0.0), recorded


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
