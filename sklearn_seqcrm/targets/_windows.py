"""The window after each row's cutoff: which events fall into it, and is it complete."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._find import check_raw, one_history


class Windows(NamedTuple):
    """Windows ``[cutoff + gap, cutoff + gap + horizon)`` of n rows.

    Parameters
    ----------
    index : Index of shape (n,)
        Index of the rows.
    first, last : ndarray of shape (n,), int64
        The events in the window that the row could not see are ``first:last`` of the
        log.
    censored : ndarray of shape (n,), bool
        Whether the window runs past the end of what the log has recorded.
    latest : Timestamp or number
        The latest cutoff whose window is complete.
    """

    index: pd.Index
    first: np.ndarray
    last: np.ndarray
    censored: np.ndarray
    latest: object


def windows_after(X, horizon, gap, history):
    """Find the window of each row.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories.
    horizon, gap : Timedelta, str or number
        Length of the window, and of the pause before it.
    history : str or None
        Name of the history column.

    Returns
    -------
    Windows
        Positions of the events in the windows, and which windows are complete.

    Notes
    -----
    A window must not count what its row has seen: with ``allow_exact_matches=True``
    the events *at* the cutoff lie in ``[cutoff, ...)`` and in the history.
    """
    array = check_raw(one_history(X, history), "A target")
    log, codes, _, stop, cutoff = array.rows
    timeline = log.timeline
    if not timeline.customers.is_unique:
        raise ValueError(
            "These histories were joined from several logs, each of which may end at "
            "another time; compute the target of each part, then join the parts."
        )
    pause = timeline.clock.duration(gap, "gap")
    length = timeline.clock.duration(horizon, "horizon")
    if not length > 0:
        raise ValueError(f"horizon must be longer than 0; got {horizon!r}.")
    begin = cutoff + pause
    end = begin + length
    first = np.maximum(timeline.positions(codes, begin), stop)
    last = np.maximum(timeline.positions(codes, end), first)
    recorded = _end_of_record(timeline)
    latest = recorded - pause - length
    index = X.index if hasattr(X, "index") else pd.RangeIndex(len(array))
    return Windows(index, first, last, end > recorded, timeline.clock.as_scalar(latest))


def to_target(values, windows, censored, name):
    """Make a Series of the targets, and treat the incomplete windows.

    Parameters
    ----------
    values : ndarray of shape (n,), int
        Target of each row, from what has been recorded.
    windows : Windows of n rows
        Their windows.
    censored : {"raise", "drop", "nan"}
        What to do with incomplete windows.
    name : str
        Name of the Series.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Integers, or floats for ``censored="nan"``.
    """
    target = pd.Series(values, index=windows.index, name=name)
    cut = windows.censored
    if censored == "nan":
        return target.astype("float64").mask(cut)
    if censored == "raise" and cut.any():
        rows = ", ".join(str(label) for label in windows.index[cut][:5])
        raise ValueError(
            f"The windows of {cut.sum()} of {len(cut)} rows run past the end of the "
            f"log, the first in the rows {rows}. Use cutoffs up to {windows.latest}, a "
            "shorter horizon, censored='drop' or 'nan'; or, if the log was recorded "
            "for longer than until its last event, EventLog(..., observed_until=...)."
        )
    if censored == "drop" and not windows.index.is_unique:
        raise ValueError(
            "censored='drop' needs an index without repeated labels, so that "
            "X.loc[y.index] finds the rows that are left; X.reset_index(drop=True) "
            "makes one."
        )
    return target[~cut]


def _end_of_record(timeline):
    """First moment that a log has not recorded.

    A log of days knows the whole of its last day, although the time of that day's
    events is the midnight at which it begins. So where all times are whole days, or
    whole numbers, the record ends one day, or one, after `observed_until`. Any other
    log ends right after `observed_until` itself.
    """
    step = int(timeline.clock.ticks_per_day() or 1)
    until = timeline.observed_until
    if until % step == 0 and not (timeline.times % step).any():
        return until + step
    return until + (timeline.clock.dtype == "int64")
