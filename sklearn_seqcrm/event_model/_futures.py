"""Simulated events as a table, and as rows on which targets can be computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._store import ObservationWindow, Timeline
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._simulate import SimulatedEvents
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype

# Levels of the index of simulated targets.
_PATH_KEYS = ("row", "path")


def table_of(
    events: SimulatedEvents, learned: LearnedEvents, n_paths: int, row: str, path: str
) -> pd.DataFrame:
    """Return simulated events with their fields, sorted by row, path and time.

    Parameters
    ----------
    events : SimulatedEvents
        The events.
    learned : LearnedEvents
        Clock and names of the log.
    n_paths : int
        Paths of each row.
    row, path : str
        Names of the columns of their numbers, which no column of the log has.
    """
    columns = {
        row: events.path // n_paths,
        path: events.path % n_paths,
        learned.names[1]: learned.encoder.clock.as_index(events.times),
    }
    fields = {name: column.to_pandas() for name, column in events.columns.items()}
    return pd.DataFrame({**columns, **fields})


def simulated_targets(
    target: Callable[[pd.DataFrame], Any],
    events: SimulatedEvents,
    learned: LearnedEvents,
    cutoff: np.ndarray,
    end: np.ndarray,
    n_paths: int,
) -> np.ndarray | pd.DataFrame:
    """Call a target on the paths of rows, and arrange its values by row and path.

    A log has one end of its record, and a window that ends later is incomplete. So the
    target is called once for all rows whose simulations end together.

    Parameters
    ----------
    target : callable
        Takes rows, and returns one value or several for each.
    events : SimulatedEvents
        Events of the paths of n rows.
    learned : LearnedEvents
        Clock and names of the log.
    cutoff, end : ndarray of shape (n,)
        Cutoff of each row, and the first moment that was not simulated.
    n_paths : int
        Paths of each row.

    Returns
    -------
    DataFrame of n * n_paths rows, or ndarray of shape (n, n_paths, ...)
        A DataFrame if the target returns one.
    """
    _, group = np.unique(end, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(events.path, np.arange(len(end) + 1) * n_paths)
    parts: list[Any] = []
    for rows in np.split(order, np.cumsum(np.bincount(group))[:-1]):
        index, offsets = ranges(first[rows], first[rows + 1])
        # Number the paths of these rows from 0 on.
        moved = (np.arange(len(rows)) - rows) * n_paths
        own = SimulatedEvents(
            events.path[index] + moved.repeat(np.diff(offsets)),
            events.times[index],
            {name: one.take(index) for name, one in events.columns.items()},
            n_cut=0,
        )
        paths = _rows_of_paths(
            own, learned, cutoff[rows].repeat(n_paths), end[rows].repeat(n_paths)
        )
        parts.append(_by_path(target(paths), paths, rows, n_paths))
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.DataFrame):
        return pd.concat(parts).sort_index()
    return np.concatenate(parts)[np.argsort(order)]


def _rows_of_paths(
    events: SimulatedEvents,
    learned: LearnedEvents,
    cutoff: np.ndarray,
    end: np.ndarray,
) -> pd.DataFrame:
    """Return a row for each path, with an empty history behind which its events come.

    Parameters
    ----------
    events : SimulatedEvents
        Events of the paths, all at or after their cutoffs.
    learned : LearnedEvents
        Clock and names of the log.
    cutoff, end : ndarray of shape (n_all_paths,)
        Cutoff of each path, and the first moment that was not simulated.

    Returns
    -------
    DataFrame of shape (n_all_paths, 1)
        Histories in a log of all simulated events, recorded until the last `end`.
    """
    clock, names = learned.encoder.clock, learned.names
    counts = np.bincount(events.path, minlength=len(cutoff))
    there = np.flatnonzero(counts)
    offsets = np.concatenate([[0], np.cumsum(counts[there])])
    # The last tick of the record; times as floats have none before the end.
    last = end.max() - (1 if clock.dtype == "int64" else 0)
    window = ObservationWindow(last, in_days=False)
    timeline = Timeline(pd.Index(there), offsets, events.times, clock, window)
    log = EventLog.of(timeline, events.columns, names)
    # Paths without events are customers that the log does not have: -1.
    codes = np.full(len(cutoff), -1)
    codes[there] = np.arange(len(there))
    start = np.where(codes >= 0, offsets[codes], 0)
    dtype = HistoryDtype(names[0], None)
    array = HistoryArray(log, codes, start, start, cutoff, dtype)
    return pd.DataFrame({learned.roles.histories[0]: array})


def _by_path(
    found: Any, paths: pd.DataFrame, rows: np.ndarray, n_paths: int
) -> np.ndarray | pd.DataFrame:
    """Arrange what a target returned for the paths of some rows of X.

    Raises
    ------
    TypeError
        If the target returned a single object.
    ValueError
        If it returned another number of values.
    """
    is_pandas = isinstance(found, pd.DataFrame | pd.Series)
    values: Any = None
    with suppress(ValueError):  # several arrays of different shapes
        values = found if is_pandas else np.asarray(found)
    if values is None or not values.ndim:
        raise TypeError(
            f"target must return a value for each of the {len(paths)} simulated rows; "
            f"got {type(found).__name__}."
        )
    if len(values) != len(paths):
        raise ValueError(
            f"target must return a value for each of the {len(paths)} simulated rows; "
            f"got {len(values)}. Those of a window that ends after the simulation can "
            "be kept as missing (censored='nan'), or simulate for longer."
        )
    # Values in another order are put in place by their index.
    if is_pandas and values.index.is_unique and values.index.isin(paths.index).all():
        values = values.reindex(paths.index)
    if isinstance(values, pd.DataFrame):
        levels: Any = [rows, range(n_paths)]
        return values.set_axis(pd.MultiIndex.from_product(levels, names=_PATH_KEYS))
    numbers = np.asarray(values)
    return numbers.reshape(len(rows), n_paths, *numbers.shape[1:])
