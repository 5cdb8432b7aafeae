"""Simulated events as a table, and as rows that targets can be asked of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._store import Clock, ObservationWindow, Timeline
from sklearn_seqcrm.event_model._simulate import SimulatedEvents
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype

# What tells paths apart in tables of simulations.
_PATH_KEYS = ("row", "path")


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
        pd.Index(there),
        offsets,
        events.times,
        clock,
        ObservationWindow(last, in_days=False),
    )
    log = EventLog.of(timeline, events.columns, names)
    codes = np.full(len(cutoff), -1)
    codes[there] = np.arange(len(there))
    start = np.where(codes >= 0, offsets[codes], 0)
    dtype = HistoryDtype(names[0], None)
    array = HistoryArray(log, codes, start, start, cutoff, dtype)
    return pd.DataFrame({column: array})


def simulated_targets(
    target: Callable[[pd.DataFrame], Any],
    events: SimulatedEvents,
    clock: Clock,
    names: tuple[str, str],
    cutoff: np.ndarray,
    end: np.ndarray,
    n_paths: int,
    column: str,
) -> np.ndarray | pd.DataFrame:
    """Call a target on the paths of rows, and arrange its values by row and path.

    A log has one end of its record, and a window that ends later is incomplete. So the
    target is called once for all rows whose simulations end together.

    Parameters
    ----------
    target : callable
        Takes the rows that `rows_of_paths` makes, and returns one value or several for
        each.
    events, clock, names, column
        As for `rows_of_paths`.
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
        moved = (np.arange(len(rows)) - rows) * n_paths
        own = SimulatedEvents(
            events.path[index] + moved.repeat(np.diff(offsets)),
            events.times[index],
            {name: one.take(index) for name, one in events.columns.items()},
            n_cut=0,
        )
        paths = rows_of_paths(
            own,
            clock,
            names,
            cutoff[rows].repeat(n_paths),
            end[rows].repeat(n_paths),
            column,
        )
        parts.append(_by_path(target(paths), paths, rows, n_paths))
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.DataFrame):
        return pd.concat(parts).sort_index()
    return np.concatenate(parts)[np.argsort(order)]


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
    with suppress(ValueError):  # several things of different shapes
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
    if is_pandas and values.index.is_unique and values.index.isin(paths.index).all():
        values = values.reindex(paths.index)
    if isinstance(values, pd.DataFrame):
        levels: Any = [rows, range(n_paths)]
        return values.set_axis(pd.MultiIndex.from_product(levels, names=_PATH_KEYS))
    numbers = np.asarray(values)
    return numbers.reshape(len(rows), n_paths, *numbers.shape[1:])
