"""Tables of new events, on the clock and with the fields that an encoder knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._encoding import (
    EventEncoder,
    fitting_columns,
    has_levels,
)
from sklearn_seqcrm._store import Clock, Column, Timeline
from sklearn_seqcrm.events import EventLog


class Arrivals(NamedTuple):
    """New events, sorted by customer and time.

    Parameters
    ----------
    customers : list of n hashables
        Different customers.
    offsets : ndarray of shape (n + 1,), int64
        The events of customer ``i`` are ``offsets[i]:offsets[i + 1]``.
    times : ndarray of shape (n_events,)
        Times on the clock of the encoder.
    columns : dict of str to Column
        Fields of the events.
    """

    customers: list[Any]
    offsets: np.ndarray
    times: np.ndarray
    columns: Mapping[str, Column]

    @classmethod
    def of(
        cls, events: Any, customer: str, time: str, encoder: EventEncoder, history: str
    ) -> Self:
        """Read a table, or the events of a log.

        Parameters
        ----------
        events : EventLog, or table as EventLog takes it
            At least one event.
        customer, time : str
            Names of the key columns of a table.
        encoder : EventEncoder
            What was learned of the history column.
        history : str
            Name of the history column, for errors.

        Raises
        ------
        ValueError
            If fields are missing or of another type, or times of another kind or finer
            than the encoder's, so that they would be rounded.
        """
        if not isinstance(events, EventLog):
            levels = [n for n, kind in encoder.kinds.items() if has_levels(kind)]
            events = EventLog(
                events, customer, time, list(encoder.kinds), categorical=levels
            )
        columns = dict(fitting_columns(events.columns, encoder.kinds, history))
        what = f"times of new events for {history!r}"
        timeline = events.timeline
        times = _times_on(encoder.clock, timeline, what)
        return cls(timeline.customers.tolist(), timeline.offsets, times, columns)

    def only(self, kept: np.ndarray) -> Arrivals:
        """Some of the events, and the customers who have one of them.

        Parameters
        ----------
        kept : ndarray of shape (n_events,), bool
            Events to keep.
        """
        n_before = np.append(0, np.cumsum(kept))[self.offsets]
        filled = np.flatnonzero(np.diff(n_before))
        index = np.flatnonzero(kept)
        return Arrivals(
            [self.customers[i] for i in filled.tolist()],
            np.append(n_before[filled], n_before[-1]),
            self.times[index],
            {name: column.take(index) for name, column in self.columns.items()},
        )


def _times_on(clock: Clock, timeline: Timeline, what: str) -> np.ndarray:
    """Times on a clock, none of them rounded."""
    if timeline.clock == clock:
        return timeline.times
    moments = timeline.clock.as_index(timeline.times)
    times = clock.read(moments, what, up=False)
    finer = int((times != clock.read(moments, what)).sum())
    if finer:
        unit = clock.unit or "integer"
        raise ValueError(
            f"{finer} of {len(times)} {what} are finer than the unit {unit} of the "
            "events that the encoder has learned from, so that they would be rounded. "
            f"Round them before, for example by .dt.floor({unit!r})."
        )
    return times
