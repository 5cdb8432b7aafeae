"""The same rows over other events: what importances and attributions ask a model about.

All that changes are events. Statics, cutoffs and the order of rows stay, and no event
comes to lie after the cutoff of its row. Whatever a row is given was seen by some row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged import NO_ROW, ranges, visible_events
from sklearn_seqcrm._store import Column, RawLog, Timeline, earlier
from sklearn_seqcrm.events import HistoryArray


def last_events(array: HistoryArray, n_events: int) -> HistoryArray:
    """Let each row see its last events alone; none is copied."""
    rows = array.rows
    start = np.maximum(rows.start, rows.stop - n_events)
    return HistoryArray.of(rows._replace(start=start), array.dtype)


def last_time(array: HistoryArray, length: Any) -> HistoryArray:
    """Let each row see what came no longer than `length` before its cutoff."""
    rows, timeline = array.rows, array.log.timeline
    ticks = timeline.clock.duration(length, "last_time", positive=True)
    whole = rows.cutoff.dtype.kind == "i"
    since = earlier(rows.cutoff, int(ticks)) if whole else rows.cutoff - ticks
    start = timeline.positions(rows.codes, since)
    # Where nothing was that long ago, and of unknown customers, the row sees nothing.
    start = np.where(rows.codes >= 0, start, rows.start)
    start = np.clip(start, rows.start, rows.stop)
    return HistoryArray.of(rows._replace(start=start), array.dtype)


def with_field_shuffled(
    array: HistoryArray, field: str, rng: np.random.RandomState
) -> HistoryArray:
    """Exchange the values of a field among all events that some row sees.

    Rows go on sharing their events. Where a log has several kinds of events, values
    are exchanged within a kind: an event shall not get a field that its kind has not.
    """
    log, rows = array.log, array.rows
    seen = visible_events(rows)
    groups = np.zeros(len(seen), dtype="int64")
    if log.kind_field not in (None, field):
        groups = log.column(log.kind_field).values[seen]
    # Two random orders within the groups, one laid upon the other.
    to, of = (seen[np.lexsort((rng.random_sample(len(seen)), groups))] for _ in "ab")
    columns = log.columns
    columns[field] = _moved(columns[field], log.timeline, to, of)
    changed = log.with_events(log.timeline, columns)
    return HistoryArray.of(rows._replace(log=changed), array.dtype)


def _moved(
    column: Column, timeline: Timeline, to: np.ndarray, of: np.ndarray
) -> Column:
    """A column in which some events have the values of others.

    A datetime keeps its distance from its event.
    """
    values, unit = column.values.copy(), timeline.clock.unit
    if column.type.is_relative and unit is not None:
        # As lengths, since a far date has more ticks of a fine unit than int64 holds.
        shift = (timeline.times[to] - timeline.times[of]).view(f"m8[{unit}]")
        values[to] = values[of] + shift.astype(values.dtype.str.replace("M8", "m8"))
    else:
        values[to] = column.values[of]
    return Column(values, column.categories)


class OwnEvents(NamedTuple):
    """Events that rows have for themselves, whatever other rows of a customer see.

    Parameters
    ----------
    row : ndarray of shape (n_events,), int64
        Row of each event, ascending.
    event : ndarray of shape (n_events,), int64
        Position in the log of the event whose facts it has.
    times : ndarray of shape (n_events,)
        When it happens, ascending within a row, on the axis of the log.
    """

    row: np.ndarray
    event: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, array: HistoryArray) -> Self:
        """The events that each row sees."""
        event, _ = ranges(array.rows.start, array.rows.stop)
        row = np.repeat(np.arange(len(array)), array.lengths)
        return cls(row, event, array.log.timeline.times[event])

    def take(self, index: np.ndarray) -> OwnEvents:
        """Some of the events; `index` is a mask, or positions that keep the order."""
        return OwnEvents(self.row[index], self.event[index], self.times[index])

    def sorted(self) -> OwnEvents:
        """The events by row and time; where both are equal, in the order they had."""
        return self.take(np.lexsort((self.times, self.row)))

    def with_order_shuffled(self, rng: np.random.RandomState) -> OwnEvents:
        """Shuffle what happened within each row; when something did stays."""
        order = np.lexsort((rng.random_sample(len(self.row)), self.row))
        return self._replace(event=self.event[order])

    def exchanged(
        self, cutoff: np.ndarray, which: np.ndarray, to: np.ndarray
    ) -> OwnEvents:
        """Give some events of each row to another, as long before its cutoff.

        Parameters
        ----------
        cutoff : ndarray of shape (n,)
            Cutoffs of the rows.
        which : ndarray of shape (n_events,), bool
            The events to be given; the others stay.
        to : ndarray of shape (n,), int64
            Which row gets those of each row: a permutation.
        """
        given, kept = self.take(which), self.take(~which)
        row = to[given.row]
        times = cutoff[row] - (cutoff[given.row] - given.times)
        moved = OwnEvents(
            np.concatenate([kept.row, row]),
            np.concatenate([kept.event, given.event]),
            np.concatenate([kept.times, times]),
        )
        return moved.sorted()

    def seen_from(
        self, array: HistoryArray, columns: Mapping[str, Column] | None = None
    ) -> HistoryArray:
        """Histories of these events.

        Parameters
        ----------
        array : HistoryArray of shape (n,)
            Whose rows they are. Rows of customers that its log does not know have none.
        columns : mapping of str to Column, or None, default=None
            Fields of the events that are not those of the log at `event`.

        Returns
        -------
        HistoryArray of shape (n,)
            The same rows over a log of these events, in which each row is a customer.
        """
        rows, log = array.rows, array.log
        assert isinstance(log, RawLog)
        known = rows.codes >= 0
        counts = np.bincount(self.row, minlength=len(array))
        offsets = np.append(0, np.cumsum(counts[known]))
        old = log.timeline
        timeline = Timeline(
            old.customers[rows.codes[known]],
            offsets,
            self.times.astype(old.times.dtype, copy=False),
            old.clock,
            old.record,
        )
        other = {} if columns is None else columns
        taken = {
            name: other[name] if name in other else log.column(name).take(self.event)
            for name in log.fields
        }
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
