"""Simulated events as a table, as rows on which targets can be computed, and summaries.

A target is computed for each path; `summarise_targets` returns mean, median and
interval over the paths of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import has_keys
from sklearn_seqcrm._ragged import inverse_permutation, ranges
from sklearn_seqcrm._store import NUMBER_OBJECTS, ObservationWindow, Timeline
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._simulate import SimulatedEvents
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype

# Names of the index of simulated targets.
_PATH_KEYS = ("row", "path")


def table_of(
    events: SimulatedEvents, learned: LearnedEvents, n_paths: int, row: str, path: str
) -> pd.DataFrame:
    """Return simulated events with their fields, sorted by row, path and time.

    `row` and `path` are the names of the columns of their numbers.
    """
    clock = learned.encoder.clock
    columns = {
        row: events.path // n_paths,
        path: events.path % n_paths,
        learned.names[1]: clock.as_index(events.times),
    }
    fields = {
        name: column.to_pandas(aware=clock.aware)
        for name, column in events.columns.items()
    }
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

    `cutoff` and `end`, of shape (n,), are the cutoff of each row and the first moment
    that was not simulated. Returns a DataFrame of n * n_paths rows if the target
    returns one, and otherwise an ndarray of shape (n, n_paths, ...).
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
    return np.concatenate(parts)[inverse_permutation(order)]


def _rows_of_paths(
    events: SimulatedEvents, learned: LearnedEvents, cutoff: np.ndarray, end: np.ndarray
) -> pd.DataFrame:
    """Return a row for each path, with an empty history behind which its events come.

    The log of all simulated events is recorded until the last `end`. `cutoff` and
    `end`, of shape (n_all_paths,), are as in `simulated_targets`.
    """
    clock, names = learned.encoder.clock, learned.names
    counts = np.bincount(events.path, minlength=len(cutoff))
    there = np.flatnonzero(counts)
    offsets = np.concatenate([[0], np.cumsum(counts[there])])
    # The last tick of the record; times as floats have none before the end.
    last = end.max() - (1 if clock.dtype == "int64" else 0)
    window = ObservationWindow(last, in_days=False, is_simulated=True)
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
    """Arrange the values of a target for the paths of rows; refuse other objects."""
    is_pandas = isinstance(found, pd.DataFrame | pd.Series)
    values: Any = None
    with suppress(ValueError):  # several arrays of different shapes
        values = found if is_pandas else np.asarray(found)
    wanted = f"target must return a value for each of the {len(paths)} simulated rows"
    name = type(found).__name__
    if values is None or not values.ndim:
        raise TypeError(f"{wanted}; got {name}.")
    if len(values) != len(paths):
        raise ValueError(
            f"{wanted}; got {len(values)}. Those of a window that ends after the "
            "simulation can be kept as missing (censored='nan'), or simulate for "
            "longer."
        )
    if 0 in values.shape[1:]:
        raise ValueError(
            f"{wanted}; got a {name} without columns, of shape {values.shape}."
        )
    # Values in another order are put in place by their index.
    if is_pandas and values.index.is_unique and has_keys(paths.index, values.index):
        values = values.reindex(paths.index)
    if isinstance(values, pd.DataFrame):
        keys: Any = [rows, range(n_paths)]
        return values.set_axis(pd.MultiIndex.from_product(keys, names=_PATH_KEYS))
    numbers = np.asarray(values)
    return numbers.reshape(len(rows), n_paths, *numbers.shape[1:])


def summary_of_paths(values: np.ndarray, interval: float) -> dict[str, np.ndarray]:
    """Return mean, median and two quantiles over paths, each of shape (n,).

    The quantile ``q`` of ``m`` paths is at the place ``q (m + 1)`` of the sorted paths,
    counted from 1, interpolated, and at least the first and at most the last one
    (``method="weibull"`` of `numpy.quantile`; definition 6 of Hyndman and Fan, "Sample
    Quantiles in Statistical Packages", The American Statistician 50(4), 1996,
    https://doi.org/10.2307/2684934). A further value that is drawn like the paths is
    equally likely in each of the ``m + 1`` ranges between them, so that the interval
    holds it with its nominal probability. Between the places ``1 + q (m - 1)``, the
    default of NumPy, intervals of 90% would hold 74% with 10 paths and 81% with 20.

    Paths with NaN are left out; a row in which all are NaN has NaN. `values`, of shape
    (n, n_paths), are those of the paths of each row, and `interval` is the probability
    between the quantiles.
    """
    ordered = np.sort(values, axis=1)  # NaN last
    n_valid = (~np.isnan(ordered)).sum(axis=1)
    last = np.maximum(n_valid - 1, 0)
    with np.errstate(invalid="ignore"):  # 0 / 0, and infinities of both signs
        found = {"mean": np.nansum(ordered, axis=1) / n_valid}
        tail = (1 - interval) / 2
        for name, share in (("median", 0.5), ("lower", tail), ("upper", 1 - tail)):
            place = np.clip(share * (n_valid + 1) - 1, 0, last)
            low = np.floor(place).astype("int64")
            high = np.minimum(low + 1, last)
            below, above = (
                np.take_along_axis(ordered, one[:, None], axis=1)[:, 0]
                for one in (low, high)
            )
            # Without a step where there is none: infinities would make it NaN.
            is_exact = (place == low) | (below == above)
            between = below + (place - low) * (above - below)
            found[name] = np.where(is_exact, below, between)
    return found


def summarise_targets(
    values: np.ndarray | pd.DataFrame, index: pd.Index, n_paths: int, interval: float
) -> pd.DataFrame:
    """Return mean, median and interval of simulated targets over the paths of each row.

    `values` are as `simulated_targets` returns them, and `index`, of length n, is that
    of the result. Its columns are ``mean``, ``median``, ``lower`` and ``upper``; of
    several targets, these four below each of them.
    """
    if isinstance(values, pd.DataFrame):
        columns = list(values.items())
    elif values.ndim > 2:
        columns = list(
            enumerate(np.moveaxis(values.reshape(*values.shape[:2], -1), 2, 0))
        )
    else:
        return _summary_table(values, index, n_paths, interval, "The target")
    tables = [
        _summary_table(one, index, n_paths, interval, f"Column {name!r}")
        for name, one in columns
    ]
    return pd.concat(tables, axis=1, keys=[name for name, _ in columns])


def _summary_table(
    values: Any, index: pd.Index, n_paths: int, interval: float, name: str
) -> pd.DataFrame:
    """Return the summary of one target, in its type if it has durations or times."""
    flat: Any = pd.Series(np.asarray(values).reshape(-1)).infer_objects()
    # Nullable booleans and integers with a missing value are objects, as Decimals are.
    if pd.api.types.infer_dtype(flat, skipna=True) in NUMBER_OBJECTS:
        flat = pd.Series(flat.to_numpy(dtype="float64", na_value=np.nan))
    if flat.dtype.kind in "mM":
        unit: Any = f"m8[{flat.dt.unit}]"
        # From the first one on: float64 holds such differences to the tick.
        first = flat.dropna().min()
        if first is pd.NaT:
            first = pd.Series([0]).astype(flat.dtype)[0]
        ticks = (flat - first).to_numpy(dtype=unit).reshape(-1, n_paths)
        numbers = np.where(np.isnat(ticks), np.nan, ticks.astype("float64"))
        found: dict[str, Any] = {
            key: first + pd.Series(_whole_ticks(one).view(unit))
            for key, one in summary_of_paths(numbers, interval).items()
        }
    elif flat.dtype.kind in "biuf":
        numbers = flat.to_numpy(dtype="float64").reshape(-1, n_paths)
        found = summary_of_paths(numbers, interval)
    else:
        raise TypeError(
            f"{name} must have numbers, durations or times to have a mean; got "
            f"{flat.dtype}. return_paths=True returns the values of all paths."
        )
    return pd.DataFrame(found).set_axis(index)


def _whole_ticks(numbers: np.ndarray) -> np.ndarray:
    """Return rounded numbers as int64, NaN as NaT."""
    is_missing = np.isnan(numbers)
    ticks = np.where(is_missing, 0.0, numbers).round().astype("int64")
    return np.where(is_missing, np.iinfo("int64").min, ticks)
