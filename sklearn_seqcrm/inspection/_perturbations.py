"""Perturbed histories, for importances and attributions.

Only events change. Statics, cutoffs and the order of rows stay, and no event moves to
or after the cutoff of its row. Every event and value that a perturbed row gets occurs
in some row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged import NO_ROW, ranges, segment_numbers, visible_events
from sklearn_seqcrm._store import Column, RawLog, Timeline, saturating_subtract
from sklearn_seqcrm.events import HistoryArray


def keep_last_events(array: HistoryArray, n_events: int) -> HistoryArray:
    """Return views of the last events of each row; no event is copied."""
    rows = array.rows
    start = np.maximum(rows.start, rows.stop - n_events)
    return HistoryArray.of(rows._replace(start=start), array.dtype)


def keep_last_time(array: HistoryArray, length: Any) -> HistoryArray:
    """Return views of the events in ``[cutoff - length, cutoff)`` of each row."""
    rows, timeline = array.rows, array.log.timeline
    ticks = timeline.clock.duration(length, "last_time", positive=True)
    is_whole = rows.cutoff.dtype.kind == "i"
    since = (
        saturating_subtract(rows.cutoff, int(ticks))
        if is_whole
        else rows.cutoff - ticks
    )
    start = timeline.positions(rows.codes, since)
    # Clipped: a lookback may be shorter, and all events older. Unknown customers have
    # no events in the log, whose positions would be arbitrary.
    start = np.where(rows.codes >= 0, start, rows.start)
    start = np.clip(start, rows.start, rows.stop)
    return HistoryArray.of(rows._replace(start=start), array.dtype)


def permute_field(
    array: HistoryArray, field: str, rng: np.random.RandomState
) -> HistoryArray:
    """Permute the values of a field among all events that some row shows.

    Rows still share their events. In a log with several kinds of events, values are
    permuted within each kind: an event gets no field that its kind does not have.
    """
    log, rows = array.log, array.rows
    shown = visible_events(rows)
    kinds = np.zeros(len(shown), dtype="int64")
    if log.kind_field not in (None, field):
        kinds = log.column(log.kind_field).values[shown]
    # Two random orders, each sorted by kind: event i of the first gets the value of
    # event i of the second, which is of the same kind.
    to, source = (
        shown[np.lexsort((rng.random_sample(len(shown)), kinds))] for _ in "ab"
    )
    columns = log.columns
    columns[field] = _with_values_of(columns[field], log.timeline, to, source)
    changed = log.with_events(log.timeline, columns)
    return HistoryArray.of(rows._replace(log=changed), array.dtype)


def _with_values_of(
    column: Column, timeline: Timeline, to: np.ndarray, source: np.ndarray
) -> Column:
    """Return a column in which events `to` have the values of events `source`.

    A datetime keeps its distance from its event: a due date 30 days after one purchase
    becomes one 30 days after another.
    """
    values, unit = column.values.copy(), timeline.clock.unit
    if column.type.is_relative and unit is not None:
        # Shifted by a duration: ticks of a distant date may exceed int64 in a fine
        # unit.
        shift = (timeline.times[to] - timeline.times[source]).view(f"m8[{unit}]")
        values[to] = values[source] + shift.astype(values.dtype.str.replace("M8", "m8"))
    else:
        values[to] = column.values[source]
    return Column(values, column.categories)


class RowEvents(NamedTuple):
    """Events of rows, each of which has copies of its own.

    Rows of one customer share events in a log. Here an event that k rows show stands k
    times, so that it can be changed in one row alone.

    Parameters
    ----------
    row : ndarray of shape (n_events,), int64
        Row of each event, ascending.
    event : ndarray of shape (n_events,), int64
        Position in the log of the event whose fields it has.
    times : ndarray of shape (n_events,)
        Its time on the axis of the log, ascending within a row.
    """

    row: np.ndarray
    event: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, array: HistoryArray) -> Self:
        """Copy the events that each row shows."""
        event, offsets = ranges(array.rows.start, array.rows.stop)
        return cls(segment_numbers(offsets), event, array.log.timeline.times[event])

    def take(self, index: np.ndarray) -> RowEvents:
        """Return some of the events; `index` is a mask, or ascending positions."""
        return RowEvents(self.row[index], self.event[index], self.times[index])

    def with_order_shuffled(self, rng: np.random.RandomState) -> RowEvents:
        """Permute the fields of the events within each row; the times stay."""
        order = np.lexsort((rng.random_sample(len(self.row)), self.row))
        return self._replace(event=self.event[order])

    def moved_to_rows(
        self, cutoff: np.ndarray, which: np.ndarray, to: np.ndarray
    ) -> RowEvents:
        """Move some events to other rows, at an equal time before the cutoff.

        Parameters
        ----------
        cutoff : ndarray of shape (n,)
            Cutoffs of the rows.
        which : ndarray of shape (n_events,), bool
            Events to move; the others stay.
        to : ndarray of shape (n,), int64
            Row that gets the events of each row: a permutation.
        """
        moved, kept = self.take(which), self.take(~which)
        row = to[moved.row]
        times = cutoff[row] - (cutoff[moved.row] - moved.times)
        both = RowEvents(
            np.concatenate([kept.row, row]),
            np.concatenate([kept.event, moved.event]),
            np.concatenate([kept.times, times]),
        )
        # Stable: ties in time keep their order.
        return both.take(np.lexsort((both.times, both.row)))

    def as_histories(
        self, array: HistoryArray, columns: Mapping[str, Column] | None = None
    ) -> HistoryArray:
        """Build histories of these events.

        Parameters
        ----------
        array : HistoryArray of shape (n,)
            The rows. Rows of customers that its log does not know stay empty.
        columns : mapping of str to Column, or None, default=None
            Changed fields of the events; the others are those of the log at `event`.

        Returns
        -------
        HistoryArray of shape (n,)
            The same rows over a new log, in which each row is a customer.
        """
        rows, log = array.rows, array.log
        assert isinstance(log, RawLog)
        # New log: row i of the k known rows is customer i, with the events
        # offsets[i]:offsets[i + 1].
        known = rows.codes >= 0
        counts = np.bincount(self.row, minlength=len(array))
        offsets = np.append(0, np.cumsum(counts[known]))
        old = log.timeline
        timeline = Timeline(
            old.customers[rows.codes[known]],
            offsets,
            self.times.astype(old.times.dtype, copy=False),
            old.clock,
            old.observation,
        )
        changed = columns or {}
        taken = {
            name: changed.get(name) or log.column(name).take(self.event)
            for name in log.fields
        }
        # Unknown customers keep their identity: a hash below 0 instead of a position.
        identities = np.where(known, np.cumsum(known) - 1, rows.identities)
        start = np.where(rows.start == NO_ROW, NO_ROW, 0)
        start[known] = offsets[:-1]
        return HistoryArray(
            log.with_events(timeline, taken),
            identities,
            start,
            start + counts,
            rows.cutoff,
            array.dtype,
        )
