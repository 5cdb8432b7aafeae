"""Perturbed histories, for importances and attributions.

Only events change. Statics, cutoffs and the order of rows stay. An event before the
cutoff stays before the cutoff of its row, and an event at the cutoff, which is visible
with `allow_exact_matches`, stays at a cutoff. The events and values of perturbed rows
come from events that are visible in some row, never from others in the log. Only raw
histories can be perturbed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged import NO_ROW, ranges, segment_numbers, visible_events
from sklearn_seqcrm._store import Column, RawLog, Timeline, saturating_subtract
from sklearn_seqcrm.events import HistoryArray


def keep_last_events(array: HistoryArray, n_events: int) -> HistoryArray:
    """Return the last visible events of each row.

    These are views, unless one would begin between the events of a moment: aggregates
    of moments need a segment in which each moment is whole. Then they are copied.
    """
    rows, times = array.rows, array.log.timeline.times
    start = np.maximum(rows.start, rows.stop - n_events)
    views = HistoryArray.of(rows._replace(start=start), array.dtype)
    cut = start[start > rows.start]
    if (times[cut] == times[cut - 1]).any():
        return RowEvents.of(views).as_histories(views)
    return views


def keep_last_time(array: HistoryArray, length: Any) -> HistoryArray:
    """Return views of the visible events of each row from ``cutoff - length`` on.

    Events at the cutoff are included if they are visible (`allow_exact_matches`).
    """
    rows, timeline = array.rows, array.log.timeline
    ticks = timeline.clock.duration(length, "last_time", positive=True)
    start = timeline.positions(rows.codes, saturating_subtract(rows.cutoff, ticks))
    # Clipped: the lookback of the row may be shorter than `length`, or all its events
    # may be older. Customers that the log does not know have no positions in it.
    start = np.where(rows.codes >= 0, start, rows.start)
    start = np.clip(start, rows.start, rows.stop)
    return HistoryArray.of(rows._replace(start=start), array.dtype)


def permute_field(
    array: HistoryArray, field: str, rng: np.random.RandomState
) -> HistoryArray:
    """Permute the values of a field among all events visible in at least one row.

    Rows still share their events. In a log with several kinds of events, values are
    permuted within each kind: an event gets no field that its kind does not have.
    """
    log, rows = array.log, array.rows
    seen = visible_events(rows)
    kinds = np.zeros(len(seen), dtype="int64")
    if log.kind_field not in (None, field):
        kinds = log.column(log.kind_field).values[seen]
    # Two random orders, both sorted by kind: event i of the first gets the value of
    # event i of the second, which is of the same kind.
    targets, sources = (
        seen[np.lexsort((rng.random_sample(len(seen)), kinds))] for _ in range(2)
    )
    column, timeline = log.column(field), log.timeline
    values = column.values.copy()
    values[targets] = _at_times(column, timeline, sources, timeline.times[targets])
    permuted = {field: Column(values, column.categories)}
    changed = log.with_events(timeline, log.columns | permuted)
    return HistoryArray.of(rows._replace(log=changed), array.dtype)


def _at_times(
    column: Column, timeline: Timeline, events: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return the values of events that move to other times.

    A datetime keeps its distance from the time of its event: a due date 30 days after
    one purchase becomes a due date 30 days after another. A datetime that its unit
    could not represent then stays, such as `Timestamp.max` for "never expires".
    """
    values, unit = column.values[events], timeline.clock.unit
    if not column.type.is_relative or unit is None:
        return values
    # The duration is converted to the unit of the datetimes, and not these to that of
    # the log: in a fine unit, the ticks of a distant date exceed int64.
    shift = (times - timeline.times[events]).view(f"m8[{unit}]")
    shift = shift.astype(values.dtype.str.replace("M8", "m8")).view("int64")
    ticks = values.view("int64")
    moved = ticks + shift
    # An overflow of int64 has the opposite sign. Sums of datetimes that overflow are
    # errors in NumPy 2.5.
    is_valid = np.where(shift < 0, moved < ticks, moved >= ticks)
    is_valid &= ~np.isnat(values) & ~np.isnat(moved.view(values.dtype))
    return np.where(is_valid, moved, ticks).view(values.dtype)


class RowEvents(NamedTuple):
    """Events of rows, where each row has its own copies of its events.

    Rows of one customer share events in a log. Here an event that is visible in k rows
    occurs k times, so that it can be changed in one row only.
    """

    row: np.ndarray  # (n_events,), int64: row of each event, ascending
    # (n_events,), int64: position in the log of the event whose fields it has.
    event: np.ndarray
    times: np.ndarray  # (n_events,): in ticks of the log, ascending within a row

    @classmethod
    def of(cls, array: HistoryArray) -> Self:
        """Copy the visible events of each row."""
        event, offsets = ranges(array.rows.start, array.rows.stop)
        return cls(segment_numbers(offsets), event, array.log.timeline.times[event])

    def take(self, index: np.ndarray) -> RowEvents:
        """Return some of the events; `index` is a mask, or ascending positions."""
        return RowEvents(self.row[index], self.event[index], self.times[index])

    def with_order_shuffled(self, rng: np.random.RandomState) -> RowEvents:
        """Permute the fields of the events within each row; the times stay."""
        order = np.lexsort((rng.random_sample(len(self.row)), self.row))
        return self._replace(event=self.event[order])

    def with_events_moved(
        self, cutoff: np.ndarray, is_moved: np.ndarray, target_row: np.ndarray
    ) -> RowEvents:
        """Move some events to other rows, at the same distance from the cutoff.

        `cutoff` (n,) has the cutoffs of the rows, `is_moved` (n_events,) marks the
        events, and `target_row` (n,), a permutation, is the row that gets those of each
        row.
        """
        moved, kept = self.take(is_moved), self.take(~is_moved)
        row = target_row[moved.row]
        times = cutoff[row] - (cutoff[moved.row] - moved.times)
        both = RowEvents(
            np.concatenate([kept.row, row]),
            np.concatenate([kept.event, moved.event]),
            np.concatenate([kept.times, times]),
        )
        # A stable sort: events at one time keep their order.
        return both.take(np.lexsort((both.times, both.row)))

    def as_histories(
        self, array: HistoryArray, columns: Mapping[str, Column] | None = None
    ) -> HistoryArray:
        """Build histories of these events: each row has a segment of a new log.

        `array` has the raw histories that the events were copied from, (n,); rows of
        customers that the log does not know stay empty. `columns` are changed fields,
        with a value for each event; others are those of the log at `event`, where
        datetimes keep their distance from the event.
        """
        rows, log = array.rows, array.log
        assert isinstance(log, RawLog)  # callers refuse encoded histories
        # New log: the i-th of the rows with a known customer has the segment
        # offsets[i]:offsets[i + 1]. Rows of one customer repeat its id over segments:
        # views find events by position, not by id.
        known = rows.codes >= 0
        counts = np.bincount(self.row, minlength=len(array))
        offsets = np.append(0, np.cumsum(counts[known]))
        old = log.timeline
        customers = old.customers[rows.codes[known]]
        times = self.times.astype(old.times.dtype, copy=False)
        timeline = replace(old, customers=customers, offsets=offsets, times=times)
        new_columns = {
            name: Column(_at_times(own, old, self.event, self.times), own.categories)
            for name, own in log.columns.items()
        }
        new_columns |= columns or {}
        # Unknown customers keep their identity: a negative hash of the id, instead of
        # the position of a segment.
        identities = np.where(known, np.cumsum(known) - 1, rows.identities)
        start = np.where(rows.start == NO_ROW, NO_ROW, 0)
        start[known] = offsets[:-1]
        return HistoryArray(
            log.with_events(timeline, new_columns),
            identities,
            start,
            start + counts,
            rows.cutoff,
            array.dtype,
        )


class RowCopies(NamedTuple):
    """Copies of rows whose events are to be perturbed."""

    array: HistoryArray  # (n_copies,): histories of the copies as they are
    events: RowEvents  # their events
    # (n_events,), int64: position of each event among those of all rows.
    place: np.ndarray
    # (n_events,), int64: number of its copy among the copies of all blocks.
    number: np.ndarray
