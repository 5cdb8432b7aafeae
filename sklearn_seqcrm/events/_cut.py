"""Cut histories from a log: for the rows of a table, or at chosen times.

A history is a view of the segment of its customer, found by binary search::

    segment       [ e0   e1       e2   e3   e4 )     times ascend
    time            |    |        |    |  x |        x: the cutoff
    start:stop    [ e0   e1       e2   e3 )          strictly before the cutoff
    lookback                   |<-------->x
    start:stop                  [ e2   e3 )          in [cutoff - lookback, cutoff)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    Clock,
    RawLog,
    Timeline,
    check_flag,
    check_name_free,
    check_none_missing,
    plain_text,
    refuse_values,
    to_series,
)
from sklearn_seqcrm.events._history_array import HistoryArray, HistoryDtype
from sklearn_seqcrm.events._read import index_advice, read_table
from sklearn_seqcrm.events._snapshots import (
    Snapshots,
    minimal_history,
    snapshots_at_cutoffs,
)


def histories_of_rows(
    log: RawLog,
    rows: pd.DataFrame,
    customer: str | None,
    cutoff: Any,
    lookback: Any,
    exact: bool,
    name: str,
) -> HistoryArray:
    """Cut the history of each row, without the warnings of `EventLog.attach`.

    Arguments are as there; with `exact`, events at the cutoff belong to the history.
    """
    customer, cutoff = plain_text(customer), plain_text(cutoff)
    check_name_free(plain_text(name), rows.columns, "rows", "name")
    check_flag(exact, "allow_exact_matches")
    timeline, clock = log.timeline, log.timeline.clock
    key = log.names[0] if customer is None else customer
    ids = _column_of(rows, key, "customer")
    identities = timeline.identities_of(ids, f"customers in column {key!r} of rows")
    by_column = isinstance(cutoff, str) and cutoff in rows.columns
    if cutoff is None:
        # With kinds, the last event may lie after the end of observation.
        cutoff = max(log.observed_until, log.time_span[1])
        exact = True
    if by_column:
        times, what = _column_of(rows, cutoff, "cutoff"), f"cutoffs in {cutoff!r}"
    else:
        times, what = _one_cutoff(cutoff, rows, clock), "cutoffs"
    # Down for histories that include their cutoff, so that no event after it is seen.
    ticks = clock.read(times, what, up=not exact)  # (n,), or (1,) for all rows
    timeline.check_span(what, ticks)
    # Unknown customers keep their identities, but have no segment to search.
    codes = np.maximum(identities, -1)
    cutoffs = np.broadcast_to(ticks, len(codes)).copy()
    start = _starts(timeline, codes, times, what, lookback)
    stop = timeline.positions(codes, cutoffs, after=exact)
    dtype = HistoryDtype(key, cutoff if by_column else None)
    return HistoryArray(log, identities, start, stop, cutoffs, dtype)


def rows_of_snapshots(
    log: RawLog, snapshots: Snapshots, lookback: Any, name: str
) -> pd.DataFrame:
    """Return customers, cutoffs and histories at chosen times.

    The `lookback` is the length of the histories before the cutoff; None: from the
    first event on. `name` is that of the history column, the last of three.
    """
    timeline = log.timeline
    # The search in the timeline has found the end of each history.
    codes, cutoff, stop = snapshots
    times = timeline.clock.as_index(cutoff)
    start = _starts(timeline, codes, times, "cutoffs", lookback)
    dtype = HistoryDtype(log.names[0], "cutoff")
    array = HistoryArray(log, codes, start, stop, cutoff, dtype)
    # The columns are new, so that the frame need not copy them. Only the cutoffs are
    # shared with the array of histories.
    columns = {
        log.names[0]: log.customers[codes],
        "cutoff": timeline.clock.as_index(cutoff.copy()),
    }
    return pd.DataFrame({**columns, name: array}, copy=False)


def rows_at_cutoffs(
    log: RawLog,
    cutoffs: np.ndarray,
    min_events: Any,
    active_within: Any,
    lookback: Any,
    name: str,
    kinds: Any,
    kind_field: str,
) -> pd.DataFrame:
    """Return the rows of `EventLog.snapshots`, without its warnings.

    `cutoffs` (n_cutoffs,) are ascending ticks, from `parse_cutoffs`, and other
    arguments are as there.
    """
    known = minimal_history(log, name, min_events, active_within, kinds, kind_field)
    snapshots = snapshots_at_cutoffs(log.timeline, cutoffs, known)
    return rows_of_snapshots(log, snapshots, lookback, name)


def _starts(
    timeline: Timeline, codes: np.ndarray, times: Any, what: str, lookback: Any
) -> np.ndarray:
    """Return the first visible event of each customer, shape (n,)."""
    if lookback is None:
        return np.where(codes >= 0, timeline.offsets[codes], 0)
    # Subtracted before rounding: `cutoff - lookback` may lie between two ticks.
    since = timeline.clock.read(times, what, back=lookback)
    return timeline.positions(codes, np.broadcast_to(since, len(codes)))


# The rows of a user -----------------------------------------------------------------


def read_rows(rows: Any, what: str = "rows") -> pd.DataFrame:
    """Convert rows of any table to a pandas DataFrame, which can hold histories.

    It is `rows` itself if that is one. Integers beside missing values stay exact. An
    error names the table, any of `read_table`, `what`.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    table = read_table(rows, what)
    return pd.DataFrame({name: to_series(table[name]) for name in table.columns})


def _column_of(rows: pd.DataFrame, name: str, role: str) -> pd.Series:
    """Return a column of the rows; refuse missing values."""
    refuse_values(name, role, "rows")
    if name not in rows.columns:
        raise KeyError(
            f"rows has no {role} column {name!r}; it has {list(rows.columns)}."
            f"{index_advice(rows.index, name)}"
        )
    column = rows[name]
    if column.ndim > 1:
        raise ValueError(
            f"rows has {column.shape[1]} columns {name!r}, so that it is not clear "
            f"which holds the {role}; rename them."
        )
    check_none_missing(column, f"{role} column {name!r} of rows")
    return column


def _one_cutoff(cutoff: Any, rows: pd.DataFrame, clock: Clock) -> Any:
    """Return one cutoff for all rows; raise if it is neither a time nor a column."""
    if np.ndim(cutoff):
        raise TypeError(
            "cutoff must be a column of rows or one time for all of them; got "
            f"{type(cutoff).__name__}. rows.assign(cutoff=...) and cutoff='cutoff' "
            "give each row its own."
        )
    if pd.isna(cutoff):
        raise ValueError("cutoff is missing; None means everything known.")
    if isinstance(cutoff, str) and not _is_date(cutoff, clock):
        raise KeyError(
            f"cutoff={cutoff!r} is neither a column of rows, which has "
            f"{list(rows.columns)}, nor a time like those of the log."
            f"{index_advice(rows.index, cutoff)}"
        )
    return cutoff


def _is_date(text: str, clock: Clock) -> bool:
    """Return whether text can be a time of the log, apart from its time zone."""
    try:
        return clock.unit is not None and pd.Timestamp(text) is not pd.NaT
    except ValueError:
        return False
