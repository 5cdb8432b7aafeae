"""Rows of a history column: four numbers each, and the log that they view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm.events._columns import Column, is_of_kinds
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._log import Log, stack_logs
from sklearn_seqcrm.events._timeline import Timeline, ranges

NO_ROW = -1  # start and stop of a missing history


class Rows(NamedTuple):
    """Views of a log.

    Parameters
    ----------
    log : Log
        The log that holds the events.
    codes : ndarray of shape (n,), int64
        Positions of the customers in ``log.customers``, -1 for an unknown one.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``, `NO_ROW` if it is missing.
    cutoff : ndarray of shape (n,)
        Cutoffs on the time axis of the log.
    """

    log: Log
    codes: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray

    def select(self, of_column: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Apply one and the same selection to every column."""
        return Rows(self.log, *map(of_column, self[1:]))

    def moved(self, log: Log, code_shift: int) -> Rows:
        """The same views after their log became part of another."""
        known = self.codes >= 0
        n_before = int(log.timeline.offsets[code_shift])
        return Rows(
            log,
            np.where(known, self.codes + code_shift, -1),
            np.where(known, self.start + n_before, self.start),
            np.where(known, self.stop + n_before, self.stop),
            self.cutoff,
        )

    def compact(self) -> Rows:
        """The same views of a log without any other customer."""
        return _compact([self])[0]

    def within(self, log: Log, kept: np.ndarray) -> Rows:
        """The same views after their log became the subset of the customers `kept`."""
        known = self.codes >= 0
        codes = np.where(known, np.searchsorted(kept, self.codes), -1)
        shift = np.zeros(len(codes), dtype="int64")
        shift[known] = (
            log.timeline.offsets[codes[known]]
            - self.log.timeline.offsets[self.codes[known]]
        )
        return Rows(log, codes, self.start + shift, self.stop + shift, self.cutoff)


class Segments(NamedTuple):
    """What the rows of each customer see together.

    Parameters
    ----------
    codes : ndarray of shape (n_seen,), int64
        Customers with a row, ascending.
    first, last : ndarray of shape (n_seen,), int64
        From the first to the last event that one of the customer's rows sees, as
        ``first:last`` of the log; empty if all the rows are.
    rows : ndarray of shape (n_known,), int64
        Rows whose customer the log knows.
    of_row : ndarray of shape (n_known,), int64
        Position in `codes` of the customer of each of `rows`.
    """

    codes: np.ndarray
    first: np.ndarray
    last: np.ndarray
    rows: np.ndarray
    of_row: np.ndarray


def visible_segments(rows: Rows) -> Segments:
    """Find the stretch of the log that the rows of each customer see together."""
    known = np.flatnonzero(rows.codes >= 0)
    codes, of_row = np.unique(rows.codes[known], return_inverse=True)
    start, stop = rows.start[known], rows.stop[known]
    filled = stop > start
    last = np.zeros(len(codes), dtype="int64")
    np.maximum.at(last, of_row[filled], stop[filled])
    first = last.copy()
    np.minimum.at(first, of_row[filled], start[filled])
    return Segments(codes, first, last, known, of_row)


def starts_among(seen: Segments, rows: Rows, offsets: np.ndarray) -> np.ndarray:
    """Where rows start after their segments were put behind one another.

    Parameters
    ----------
    seen : Segments
        What `visible_segments` found for `rows`.
    rows : Rows of n
        The rows.
    offsets : ndarray of shape (n_seen + 1,), int64
        Segment ``i`` became ``offsets[i]:offsets[i + 1]``.

    Returns
    -------
    ndarray of shape (n,), int64
        New `start` of each row; `NO_ROW` if it is missing, 0 if the log does not know
        its customer.
    """
    start = np.where(rows.start == NO_ROW, NO_ROW, 0)
    skipped = rows.start[seen.rows] - seen.first[seen.of_row]
    filled = (rows.stop > rows.start)[seen.rows]
    start[seen.rows] = offsets[seen.of_row] + np.where(filled, skipped, 0)
    return start


def rows_of_kinds(rows: Rows, column: Column, kinds: Any) -> Rows:
    """The same views of a log in which events of other kinds do not exist.

    Parameters
    ----------
    rows : Rows of n
        Rows.
    column : Column
        The field of their log that holds the kinds.
    kinds : level of the field, or sequence of levels
        Kinds to keep.

    Returns
    -------
    Rows of n
        Views of a log of those events that a row sees.
    """
    seen, timeline = visible_segments(rows), rows.log.timeline
    index, offsets = ranges(seen.first, seen.last)
    kept = is_of_kinds(column.take(index), kinds)
    n_before = np.concatenate([[0], np.cumsum(kept)])
    start = starts_among(seen, rows, offsets)
    stop = start + (rows.stop - rows.start)
    known = start != NO_ROW
    start[known], stop[known] = n_before[start[known]], n_before[stop[known]]
    codes = np.full(len(rows.codes), -1)
    codes[seen.rows] = seen.of_row
    index = index[kept]
    log = rows.log._take(
        Timeline(
            timeline.customers[seen.codes],
            n_before[offsets],
            timeline.times[index],
            timeline.clock,
            timeline.record,
        ),
        index,
    )
    return Rows(log, codes, start, stop, rows.cutoff)


def visible_events(rows: Rows) -> np.ndarray:
    """Find the events that at least one row sees, ascending; shape (n_visible,)."""
    steps = np.zeros(len(rows.log) + 1, dtype="int32")
    filled = rows.stop > rows.start
    np.add.at(steps, rows.start[filled], 1)
    np.add.at(steps, rows.stop[filled], -1)
    return np.flatnonzero(np.cumsum(steps[:-1]))


def missing_rows(log: Log, n_rows: int) -> Rows:
    """Rows without a history."""
    cutoff = np.zeros(n_rows, dtype=log.timeline.clock.dtype)
    none = np.full(n_rows, NO_ROW)
    return Rows(log, none, none, none, cutoff)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Put rows behind one another; the events of different logs are copied once."""
    logs = _viewed_logs(parts)
    if len(logs) > 1:
        parts = _compact(parts)
        logs = _viewed_logs(parts)
    log, shifts = stack_logs(logs)
    shift_of = {
        id(one): int(shift) for one, shift in zip(logs, shifts[:-1], strict=True)
    }
    moved = [part.moved(log, shift_of.get(id(part.log), 0)) for part in parts]
    # Cutoffs first: with the zeros of missing histories of a log of floats among them,
    # NumPy would make floats of large integers.
    dtype = log.timeline.clock.dtype
    moved = [part._replace(cutoff=part.cutoff.astype(dtype)) for part in moved]
    columns = zip(*(part[1:] for part in moved), strict=True)
    return Rows(log, *(np.concatenate(column) for column in columns))


def rows_from_scalars(scalars: Sequence[History | None]) -> Rows:
    """Rows from single histories, None for a missing one."""
    parts, places = [], []
    present = [i for i, one in enumerate(scalars) if one is not None]
    places_of = by_log(scalars[i]._log for i in present)  # type: ignore[union-attr]
    for log, numbers in places_of.items():
        own = [present[number] for number in numbers]
        keys = zip(*(scalars[i]._key() for i in own), strict=True)  # type: ignore[union-attr]
        codes, start, stop, cutoff = (np.array(column) for column in keys)
        ticks = cutoff.astype(log.timeline.clock.dtype)
        parts.append(Rows(log, codes, start, stop, ticks))
        places.append(own)
    absent = [i for i, one in enumerate(scalars) if one is None]
    if absent:
        parts.append(missing_rows(parts[0].log, len(absent)))
        places.append(absent)
    back = np.argsort(np.concatenate(places))
    return join_rows(parts).select(lambda column: column[back])


def by_log(logs: Iterable[Log]) -> dict[Log, list[int]]:
    """The places of each different log, in order of appearance."""
    places: dict[Log, list[int]] = {}
    for i, log in enumerate(logs):
        places.setdefault(log, []).append(i)
    return places


def _viewed_logs(parts: Sequence[Rows]) -> list[Log]:
    """The logs that a row views; missing histories view none, so they fit any log."""
    viewing = [part for part in parts if (part.start != NO_ROW).any()]
    return list(by_log(part.log for part in viewing or parts[:1]))


def _compact(parts: Sequence[Rows]) -> list[Rows]:
    """The same views of logs without the customers that no part needs."""
    compacted = list(parts)
    for log, own in by_log(part.log for part in parts).items():
        codes = np.unique(np.concatenate([parts[i].codes for i in own]))
        kept = codes[codes >= 0]
        if len(kept) == log.n_customers:
            continue
        subset = log.subset(kept)
        for i in own:
            compacted[i] = parts[i].within(subset, kept)
    return compacted
