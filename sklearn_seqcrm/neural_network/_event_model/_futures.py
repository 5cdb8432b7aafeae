"""Simulated events as a table, and as rows that targets can be asked of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock, Record, Timeline
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype
from sklearn_seqcrm.neural_network._event_model._simulate import SimulatedEvents


def table_of(
    events: SimulatedEvents, clock: Clock, time: str, n_paths: int, row: str, path: str
) -> pd.DataFrame:
    """Simulated events with their fields, sorted by row, path and time.

    Parameters
    ----------
    events : SimulatedEvents
        The events.
    clock : Clock
        What their times mean.
    time : str
        What the time column was called.
    n_paths : int
        Paths of each row.
    row, path : str
        Names of the columns of their numbers, which no column of the log has.
    """
    columns = {
        row: events.path // n_paths,
        path: events.path % n_paths,
        time: clock.as_index(events.times),
    }
    fields = {name: column.to_pandas() for name, column in events.columns.items()}
    return pd.DataFrame({**columns, **fields})


def rows_of_paths(
    events: SimulatedEvents,
    clock: Clock,
    names: tuple[str, str],
    cutoff: np.ndarray,
    end: np.ndarray,
    column: str,
) -> pd.DataFrame:
    """A row for each path, behind whose history are its simulated events.

    Parameters
    ----------
    events : SimulatedEvents
        Events of the paths, all at or after their cutoffs.
    clock : Clock
        What times mean.
    names : tuple of (str, str)
        What the customer and the time column were called.
    cutoff, end : ndarray of shape (n_all_paths,)
        Cutoff of each path, and the first moment that was not simulated.
    column : str
        Name of the history column.

    Returns
    -------
    DataFrame of shape (n_all_paths, 1)
        Empty histories in a log of what comes after them, recorded until the last
        `end`.
    """
    counts = np.bincount(events.path, minlength=len(cutoff))
    there = np.flatnonzero(counts)
    offsets = np.concatenate([[0], np.cumsum(counts[there])])
    last = end.max() - (1 if clock.dtype == "int64" else 0)
    timeline = Timeline(
        pd.Index(there), offsets, events.times, clock, Record(last, in_days=False)
    )
    log = EventLog.of(timeline, events.columns, names)
    codes = np.full(len(cutoff), -1)
    codes[there] = np.arange(len(there))
    start = np.where(codes >= 0, offsets[codes], 0)
    dtype = HistoryDtype(names[0], None)
    array = HistoryArray(log, codes, start, start, cutoff, dtype)
    return pd.DataFrame({column: array})
