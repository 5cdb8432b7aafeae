"""Cut histories from a log: for given rows, or at chosen moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._moments import Moments
from sklearn_seqcrm.events._read import (
    check_rows,
    column_of,
    one_cutoff,
    warn_unknown_customers,
)
from sklearn_seqcrm.events._time_range import refuse_wide, warn_of_silence


def histories_of_rows(
    log: RawLog,
    rows: pd.DataFrame,
    customer: str | None,
    cutoff: Any,
    lookback: Any,
    exact: bool,
    name: str,
) -> HistoryArray:
    """Histories of rows, as `EventLog.attach` describes them.

    Parameters
    ----------
    log : RawLog
        The log that holds the events.
    rows, customer, cutoff, lookback, name
        As `EventLog.attach` takes them.
    exact : bool
        Whether events at the cutoff belong to the history.

    Returns
    -------
    HistoryArray of shape (n,)
        The histories.
    """
    check_rows(rows, name)
    key = log.names[0] if customer is None else customer
    ids = column_of(rows, key, "customer")
    who = log.timeline.identities_of(ids, f"customers in column {key!r} of rows")
    warn_unknown_customers(ids, who, log.customers)
    by_column = isinstance(cutoff, str) and cutoff in rows.columns
    if cutoff is None:
        cutoff = max(log.observed_until, log.time_span[1])
        exact = True
    if by_column:
        moments = column_of(rows, cutoff, "cutoff")
        what = f"cutoffs in {cutoff!r}"
    else:
        moments, what = one_cutoff(cutoff, rows, log.timeline.clock), "cutoffs"
    dtype = HistoryDtype(key, cutoff if by_column else None)
    return _cut(log, who, moments, what, lookback, exact, dtype)


def refuse_equal_names(log: RawLog, name: str) -> None:
    """Raise a ValueError if customers, cutoffs and histories had not three names."""
    customer = log.names[0]
    if len({customer, "cutoff", name}) < 3:
        raise ValueError(
            f"The columns {customer!r}, 'cutoff' and {name!r} need three names; "
            "choose another with name=..., or rename the log's customer column."
        )


def histories_at(log: RawLog, moments: Moments, lookback: Any) -> HistoryArray:
    """Histories of customers at moments that were chosen for them.

    Parameters
    ----------
    log : RawLog
        The log that holds the events.
    moments : Moments of n
        Customers and cutoffs.
    lookback : Timedelta, str, number or None
        How far the histories reach back; None: to the first event.

    Returns
    -------
    HistoryArray of shape (n,)
        The histories.
    """
    timeline, clock = log.timeline, log.timeline.clock
    codes, cutoff, stop = moments
    warn_of_silence(timeline, cutoff, stacklevel=4)
    start = timeline.offsets[codes]
    if lookback is not None:
        since = clock.read(clock.as_index(cutoff), "cutoffs", back=lookback)
        start = timeline.positions(codes, since)
    dtype = HistoryDtype(log.names[0], "cutoff")
    return HistoryArray(log, codes, start, stop, cutoff, dtype)


def _cut(
    log: RawLog,
    identities: np.ndarray,
    moments: Any,
    what: str,
    lookback: Any,
    exact: bool,
    dtype: HistoryDtype,
) -> HistoryArray:
    """Histories of customers up to moments, one of each row or one of all.

    Parameters
    ----------
    log : RawLog
        The log that holds the events.
    identities : ndarray of shape (n,), int64
        The customers, as `Rows` numbers them.
    moments : Series of shape (n,), datetime or number
        Cutoffs.
    what : str
        How an error names the cutoffs.
    lookback : Timedelta, str, number or None
        How far the histories reach back; None: to the first event.
    exact : bool
        Whether events at the cutoff belong to the history.
    dtype : HistoryDtype
        Dtype of the array.

    Returns
    -------
    HistoryArray of shape (n,)
        The histories.
    """
    timeline, clock = log.timeline, log.timeline.clock
    ticks = clock.read(moments, what, up=not exact)
    refuse_wide(timeline, what, ticks)
    codes = np.maximum(identities, -1)
    cutoff = np.broadcast_to(ticks, len(codes)).copy()
    warn_of_silence(timeline, cutoff, stacklevel=4)
    stop = timeline.positions(codes, cutoff, after=exact)
    if lookback is None:
        start = np.where(codes >= 0, timeline.offsets[codes], 0)
    else:
        since = clock.read(moments, what, back=lookback)
        since = np.broadcast_to(since, len(codes))
        start = timeline.positions(codes, since)
    return HistoryArray(log, identities, start, stop, cutoff, dtype)
