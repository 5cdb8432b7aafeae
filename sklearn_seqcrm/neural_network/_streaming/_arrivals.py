"""Tables of new events, on the clock and with the fields that an encoder knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import EventEncoder, fitting_columns
from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    Clock,
    Column,
    factorize,
    ids_of,
    refuse_missing,
    to_series,
)
from sklearn_seqcrm.events import EventLog, read_table
from sklearn_seqcrm.neural_network._streaming._field_readers import reader_of
from sklearn_seqcrm.neural_network._streaming._moments import exact_tick_of


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
        """Read a table, a list of events, or the events of a log.

        Parameters
        ----------
        events : EventLog, table as EventLog takes it, or list of mappings
            At least one event.
        customer, time : str
            Names of the key columns of a table.
        encoder : EventEncoder
            What was learned of the history column.
        history : str
            Name of the history column, for errors.

        Raises
        ------
        KeyError
            If a column is missing.
        TypeError
            If a value is of a type that its field does not take.
        ValueError
            If customers or times are missing, or times are of another kind or finer
            than the encoder's, so that they would be rounded.
        """
        what = f"new events for {history!r}"
        if isinstance(events, EventLog):
            columns = dict(fitting_columns(events.columns, encoder.kinds, history))
            timeline = events.timeline
            moments = pd.Series(timeline.clock.as_index(timeline.times))
            times = _times_of(moments, encoder.clock, f"times of {what}")
            return cls(timeline.customers.tolist(), timeline.offsets, times, columns)
        names = [customer, time, *encoder.kinds]
        if isinstance(events, list | tuple):
            table = read_table(_table_of(events, names), what)
        else:
            table = read_table(events, what)
        lost = [name for name in names if name not in table.columns]
        if lost:
            raise KeyError(
                f"The table of {what} has no columns {lost}; it has {table.columns}."
            )
        ids, moments = ids_of(table[customer]), to_series(table[time])
        refuse_missing(ids, f"customer column {customer!r} of {what}")
        refuse_missing(moments, f"time column {time!r} of {what}")
        codes, customers = factorize(ids, customer, what)
        times = _times_of(moments, encoder.clock, f"times of {what}")
        order, offsets, times = sort_events(codes, times, len(customers))
        columns = {
            name: reader_of(encoder, name).read_column(table[name], what).take(order)
            for name in encoder.kinds
        }
        return cls(customers.tolist(), offsets, times, columns)

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


def _table_of(events: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    """A table of mappings, of Python objects as they are."""
    for i, event in enumerate(events):
        if not isinstance(event, Mapping):
            raise TypeError(
                f"A list of events must hold mappings; number {i} is a "
                f"{type(event).__name__}."
            )
        refuse_lost(event, names, f"Event {i} of the list")
    # Left to itself, pandas makes floats of large integers beside None.
    columns = {name: [event[name] for event in events] for name in names}
    return pd.DataFrame({name: _objects(values) for name, values in columns.items()})


def _objects(values: list[Any]) -> pd.Series:
    """A column of objects, lists among them."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return pd.Series(objects, dtype=object)


def refuse_lost(event: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raise a KeyError for an event without one of its columns."""
    lost = [name for name in names if name not in event]
    if lost:
        raise KeyError(f"{what} lacks {lost}; it has {list(event)}.")


def _times_of(moments: pd.Series, clock: Clock, what: str) -> np.ndarray:
    """Times on a clock, none of them rounded; text is read as `exact_tick_of` does."""
    if moments.dtype == object or pd.api.types.is_string_dtype(moments.dtype):
        ticks = [exact_tick_of(clock, one, what) for one in moments]
        return np.array(ticks, dtype=clock.dtype)
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
