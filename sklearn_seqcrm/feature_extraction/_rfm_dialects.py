"""Recency, frequency, monetary value and tenure, in marketing and for BTYD models.

BTYD: "buy till you die". The symbols are those of the Notes of `RFMFeatures`:

- t[1] <= ... <= t[n]: times of the events of a row, and c: its cutoff,
- d(t) = floor(t / p): number of the period of a time; the time itself for p = 0,
- d[1] < ... < d[m]: distinct periods of the events, one for each purchase. In the
  literature on BTYD models a purchase is a transaction.

Both definitions take the rows, views of a raw log; the amount of each event of the log,
shape (n_events,), or None; and lengths in ticks of the log. They return `FEATURES`, of
shape (n,), float64; without amounts, the monetary value is NaN.
"""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._columns import bounded
from sklearn_seqcrm._ragged import event_blocks, is_run_start
from sklearn_seqcrm._store import Rows

FEATURES = ("recency", "frequency", "monetary", "tenure")


def marketing(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float | None
) -> dict[str, np.ndarray]:
    """Compute the features as defined in marketing.

    The events of one period are one purchase; 0 for events at the same time, None for
    single events.
    """
    has_events, first, last, cutoff = _first_last_cutoff(rows)
    n_purchases, mean_amount = _count_purchases(rows, amount, period)
    return {
        "recency": _fill_rows((cutoff - last) / time_unit, has_events),
        "frequency": n_purchases,
        "monetary": mean_amount,
        "tenure": _fill_rows((cutoff - first) / time_unit, has_events),
    }


def btyd(
    rows: Rows, amount: np.ndarray | None, time_unit: float, period: float
) -> dict[str, np.ndarray]:
    """Compute the features as defined for BTYD models.

    The events of one period are one purchase.
    """
    has_events, *times = _first_last_cutoff(rows)
    # d[1], d[m] and d(c). Recency is computed from period numbers, not times: several
    # events in one period are one purchase, and BTYD models need recency > 0 if and
    # only if frequency > 0.
    first, last, cutoff = (time // period for time in times)
    # The gamma-gamma model describes repeat purchases: the first one is left out.
    n_repeats, mean_amount = _count_purchases(rows, amount, period, repeats_only=True)
    # 0 without a repeat, as in the package lifetimes.
    no_repeat = has_events & (n_repeats == 0)
    return {
        "recency": _fill_rows((last - first) * period / time_unit, has_events),
        "frequency": n_repeats,
        "monetary": np.where(no_repeat, 0.0, mean_amount),
        "tenure": _fill_rows((cutoff - first) * period / time_unit, has_events),
    }


def purchase_starts(
    times: np.ndarray, segments: np.ndarray, period: float | None
) -> np.ndarray:
    """Return the first event of each purchase, (n_purchases,), int64.

    `times` are those of events, (n_events,), ascending within each of the `segments`,
    which are given by their first event. The `period` is as in `marketing`.
    """
    if period is None:
        return np.arange(len(times))
    numbers = times // period if period else times  # d(t)
    return np.flatnonzero(is_run_start(numbers, segments))


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


def _count_purchases(
    rows: Rows,
    amount: np.ndarray | None,
    period: float | None,
    repeats_only: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of purchases, or of repeats, and their mean amount, (n,).

    A block of two rows, p = 1::

        time       3 3 5 | 5 6 6 6     `row_starts` = 0, 3
        purchase   0 . 2 | 3 4 . .     `starts` = 0, 2, 3, 4
        row        0     | 2           `first` = 0, 2: positions in `starts`
    """
    times = rows.log.timeline.times
    # The frequency of an empty history is 0, that of a missing one (start < 0) NaN.
    frequency = np.where(rows.start >= 0, 0.0, np.nan)
    monetary = np.full(len(rows.start), np.nan)
    for block, index, row_starts in event_blocks(rows.start, rows.stop):
        starts = purchase_starts(times[index], row_starts, period)
        first = np.searchsorted(starts, row_starts)
        frequency[block] = np.diff(first, append=len(starts)) - repeats_only
        if amount is not None:
            amounts = amount[index]
            monetary[block] = _mean_amount(amounts, starts, first, repeats_only)
    return frequency, monetary


def _mean_amount(
    amounts: np.ndarray, starts: np.ndarray, first: np.ndarray, repeats_only: bool
) -> np.ndarray:
    """Return the mean amount of the purchases of each row of a block.

    The amount of a purchase is the sum over its events. Purchases without a finite
    amount are left out; NaN if none is left.
    """
    amounts = bounded(amounts.astype("float64"))
    recorded = np.isfinite(amounts)
    amounts = np.where(recorded, amounts, 0.0)
    total = np.add.reduceat(amounts, starts)  # (n_purchases,)
    known = np.logical_or.reduceat(recorded, starts)
    if repeats_only:
        total[first], known[first] = 0.0, False
    total = np.add.reduceat(total, first)  # (n_block,)
    n_known = np.add.reduceat(known, first, dtype="int64")
    none = np.full(len(total), np.nan)
    return np.divide(total, n_known, out=none, where=n_known > 0)
