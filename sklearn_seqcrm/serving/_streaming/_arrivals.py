"""New events from a table, a list or a log, on the clock of a fitted encoder.

Usual values take a fast path here. `Clock.read` reads or refuses all others.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import columns_as_in_fit
from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    TICKS_PER_SECOND,
    Clock,
    Column,
    check_none_missing,
    check_unicode,
    factorize,
    ids_of,
    joint_codes,
    stack_columns,
    to_series,
)
from sklearn_seqcrm.events import EventLog, read_table
from sklearn_seqcrm.serving._streaming._event_fields import EventFields, require_key
from sklearn_seqcrm.serving._streaming._field_readers import error_at


def tick_of(clock: Clock, value: Any, what: str, *, up: bool = True) -> Any:
    """Return a time, a datetime, number or text, in ticks of a clock.

    The result is an int, or a float where the clock has floats. A time between two
    ticks is rounded up, or with ``up=False`` down. An error names the time by `what`.
    """
    found = _split(clock, value)
    if found is None:
        if np.ndim(value):
            raise TypeError(f"{what} must be one time; got {type(value).__name__}.")
        return clock.read(value, what, up=up)[0].item()
    ticks, rest = found
    return ticks + (up and rest > 0)


def exact_tick_of(clock: Clock, value: Any, what: str) -> Any:
    """Return the time of an event in ticks, as `tick_of`; refuse to round it."""
    # Rounding down and up agree only for a whole tick.
    tick = tick_of(clock, value, what, up=False)
    if tick != tick_of(clock, value, what):
        raise ValueError(
            f"{what} is {value!r}, which is finer than the unit "
            f"{clock.unit or 'integer'} of the training events, so that it would be "
            "rounded; round it before."
        )
    return tick


def _split(clock: Clock, value: Any) -> tuple[Any, int] | None:
    """Return whole ticks, rounded down, and the remainder; None for other values."""
    if clock.unit is None:
        if clock.dtype == "int64":
            # Far from the ends of int64, so that differences of times do not overflow.
            is_tick = type(value) is int and abs(value) < 2**62
        else:
            is_tick = type(value) is float and abs(value) < np.inf
        return (value, 0) if is_tick else None
    if not isinstance(value, datetime.datetime | np.datetime64):
        return None
    timestamp = pd.Timestamp(value)
    if timestamp is pd.NaT or (timestamp.tzinfo is not None) != clock.aware:
        return None
    # An aware datetime becomes UTC.
    number = timestamp.asm8.view("int64").item()
    parts = TICKS_PER_SECOND[timestamp.unit]
    return divmod(number * TICKS_PER_SECOND[clock.unit], parts)


class Arrivals(NamedTuple):
    """New events, sorted by customer and time."""

    customers: list[Any]  # n distinct customers
    # (n + 1,), int64: the events of customer ``i`` are ``offsets[i]:offsets[i + 1]``.
    offsets: np.ndarray
    times: np.ndarray  # (n_events,): on the clock of the encoder
    columns: Mapping[str, Column]  # fields of the events

    @classmethod
    def of(cls, events: Any, fields: EventFields, history: str) -> Self:
        """Read the events of `StreamingScorer.update`, and raise its errors.

        `fields` reads the fields; `history` is the name of the history column, for
        errors.
        """
        what = f"new events for {history!r}"
        sources = {what: (events, None)}
        if isinstance(events, Mapping):
            if fields.kind_field is None:
                raise TypeError(
                    "events is a dict of tables by kind, but the log that the pipeline "
                    "was fitted on has no kinds, which EventLog.concat gives; give one "
                    "table, or a list for a single event: update([event])."
                )
            sources = {f"{kind!r} of {what}": (t, kind) for kind, t in events.items()}
        parts = {}
        for name, (source, kind) in sources.items():
            # No events, so that there may be no columns, either.
            if hasattr(source, "__len__") and not len(source):
                continue
            part = _read(source, fields, name, kind)
            if len(part.times):
                parts[name] = part
        if not parts:
            nothing = np.zeros(0, fields.encoder.clock.dtype)
            return cls([], np.zeros(1, "int64"), nothing, {})
        if isinstance(events, EventLog):  # sorted already
            offsets = events.timeline.offsets
            return cls(events.customers.tolist(), offsets, *parts[what][2:])
        return cls._sorted(parts, fields.keys[0])

    @classmethod
    def _sorted(cls, parts: Mapping[str, _Part], customer: str) -> Self:
        """Sort the events of all parts; equal times keep the order of the parts."""
        ids = {name: part.customers for name, part in parts.items()}
        #   parts       codes into their own customers      joint customers
        #   "order"     0 1 1    ["ann", "bob"]             ["ann", "bob", "cid"]
        #   "return"    0        ["cid"]
        places, customers = joint_codes(ids, "customers of new events", customer)
        codes = [places[name][part.codes] for name, part in parts.items()]
        times = np.concatenate([part.times for part in parts.values()])
        order, offsets, times = sort_events(
            np.concatenate(codes), times, len(customers)
        )
        columns = stack_columns(
            [part.columns for part in parts.values()],
            [len(part.times) for part in parts.values()],
        )
        columns = {name: column.take(order) for name, column in columns.items()}
        return cls(customers.tolist(), offsets, times, columns)

    def of_customers(self, some: slice) -> Arrivals:
        """Return the events of some adjacent customers."""
        offsets = self.offsets[some.start : some.stop + 1]
        own = slice(offsets[0], offsets[-1])
        columns = {name: column.take(own) for name, column in self.columns.items()}
        times = self.times[own]
        return Arrivals(self.customers[some], offsets - offsets[0], times, columns)

    def only(self, kept: np.ndarray) -> Arrivals:
        """Return the events that are `kept` (n_events,), and their customers."""
        # Kept events before each customer, (n + 1,), and customers who have any.
        n_before = np.append(0, np.cumsum(kept))[self.offsets]
        filled = np.flatnonzero(np.diff(n_before))
        index = np.flatnonzero(kept)
        return Arrivals(
            [self.customers[i] for i in filled.tolist()],
            np.append(n_before[filled], n_before[-1]),
            self.times[index],
            {name: column.take(index) for name, column in self.columns.items()},
        )


class _Part(NamedTuple):
    """Events of one source, in the order in which they came."""

    codes: np.ndarray  # (n_events,): positions of their customers in `customers`
    customers: pd.Index  # distinct customers, in the form of `exact_ids`
    times: np.ndarray  # (n_events,): on the clock of the encoder
    columns: Mapping[str, Column]  # fields of the events


def _read(events: Any, fields: EventFields, what: str, kind: str | None) -> _Part:
    """Read events of a log, a list or a table; `kind`, if any, is that of each."""
    keys, encoder = fields.keys, fields.encoder
    if isinstance(events, EventLog):
        timeline = events.timeline
        columns = fields.complete(events.columns, len(events), what, kind)
        columns = dict(columns_as_in_fit(columns, encoder.schema, what))
        codes = events.customer_index()
        times = timeline.times
        if timeline.clock != encoder.clock:
            when = pd.Series(timeline.clock.as_index(times))
            times = _times_of(when, encoder.clock, f"times of {what}")
        return _Part(codes, timeline.customers, times, columns)
    if isinstance(events, list | tuple):
        # The kind of a whole list is written into each of its events.
        own = {} if kind is None else {str(fields.kind_field): kind}
        columns = fields.join(
            [_read_event(i, one, own, fields) for i, one in enumerate(events)]
        )
        # As objects: pandas would make floats of integers beside None.
        ids, when = (
            pd.Series([event[key] for event in events], dtype=object) for key in keys
        )
    else:
        table = read_table(events, what)
        _require_keys(table.columns, keys, f"The table of {what}")
        columns = fields.read_table(table, what, kind)
        ids, when = ids_of(table[keys[0]]), to_series(table[keys[1]])
    check_none_missing(ids, f"customer column {keys[0]!r} of {what}")
    check_none_missing(when, f"time column {keys[1]!r} of {what}")
    codes, customers = factorize(ids, keys[0], what)
    times = _times_of(when, encoder.clock, f"times of {what}")
    return _Part(codes, customers, times, columns)


def _require_keys(given: Collection[str], keys: tuple[str, str], what: str) -> None:
    for name, role in zip(keys, ("customer", "time"), strict=True):
        require_key(given, name, role, what)


def _read_event(
    i: int, event: Any, own: Mapping[str, Any], fields: EventFields
) -> dict[str, Any]:
    """Read the fields of event `i` of a list, with `own` fields added."""
    name, keys = f"Event {i} of the list", fields.keys
    if not isinstance(event, Mapping):
        raise TypeError(f"{name} must be a mapping; got {type(event).__name__}.")
    _require_keys(event, keys, name)
    if isinstance(event[keys[0]], str):
        check_unicode([event[keys[0]]], f"customers of {name}")
    try:
        return fields.read({**event, **own}, name)
    except (TypeError, ValueError) as error:
        raise error_at(name, error) from error


def _times_of(when: pd.Series, clock: Clock, what: str) -> np.ndarray:
    """Return times in ticks, as `exact_tick_of`; refuse to round them."""
    if when.dtype == object or pd.api.types.is_string_dtype(when.dtype):
        ticks = [exact_tick_of(clock, one, what) for one in when]
        return np.array(ticks, dtype=clock.dtype)
    times = clock.read(when, what, up=False)
    finer = int((times != clock.read(when, what)).sum())
    if finer:
        unit = clock.unit or "integer"
        raise ValueError(
            f"{finer} of {len(times)} {what} are finer than the unit {unit} of the "
            "training events, so that they would be rounded. Round them before, for "
            f"example by .dt.floor({unit!r})."
        )
    return times
