"""Merge the events of a customer within a period or a session into one.

    events      x    x  x      |        x          |   x   x
    merged                     X                   X             period: at its end
                period 1       |     period 2      |   period 3

    events      x  x x            x x
    merged             X              X            session: `timeout` after its last
                     |-|            |-|            event

The time of a merged event is the last one at which another event could still join it,
its limit. So a later cutoff sees it complete, and an earlier one does not see it at
all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_seqcrm._ragged import (
    RUN_SUMMARIES,
    starts_of_nonempty,
    starts_of_nonmissing_runs,
)
from sklearn_seqcrm._store import (
    Clock,
    Column,
    Kinds,
    RawLog,
    Timeline,
    check_name_free,
    is_of_kinds,
    saturating_add,
)
from sklearn_seqcrm.events._merge import merge_events
from sklearn_seqcrm.events._read import Events, chosen_among


def resample_events(
    log: RawLog, period: Any, timeout: Any, offset: Any, how: Any, count_field: str
) -> tuple[Events, Kinds | None]:
    """Merge events as `EventLog.resample` does, whose parameters most arguments are.

    The kinds of the log, if it has kinds, are returned with the new field
    `count_field`, the number of merged events.
    """
    timeline, kinds = log.timeline, log.merged_from
    summaries = _summaries(log, how, count_field)
    limits = _limits(timeline, period, timeout, offset)
    timeline.check_span("merged events", limits)
    if kinds is None:
        events = Events(timeline, log.columns)
        return _merged(events, limits, summaries, count_field), None
    # Kinds are merged separately: the amounts of orders and returns have no sum.
    parts = {}
    for name in kinds.fields:
        index = np.flatnonzero(is_of_kinds(log.column(kinds.field), name))
        if len(index):
            own = {field: column.take(index) for field, column in log.columns.items()}
            events = Events(timeline.at(index), own)
            parts[name] = _merged(events, limits[index], summaries, count_field)
    fields = {name: (*own, count_field) for name, own in kinds.fields.items()}
    events = merge_events(parts, timeline.observation).events
    return events, kinds._replace(fields=fields)


def _merged(
    events: Events, limits: np.ndarray, summaries: Mapping[str, str], count_field: str
) -> Events:
    """Merge each run of events into one, at the limit of its last event.

    An event continues a run if it is not later than the limit of the one before;
    `limits`, of shape (n_events,), are not before the events' own times.
    """
    timeline, n_events = events.timeline, len(limits)
    # A run begins after the limit of the previous event, and with each customer.
    begins = np.ones(n_events, dtype=bool)
    begins[1:] = timeline.times[1:] > limits[:-1]
    begins[starts_of_nonempty(timeline.offsets)] = True
    first = np.flatnonzero(begins)
    n_merged = np.diff(first, append=n_events)
    columns = {
        name: _summarized(events.columns[name], first, summary)
        for name, summary in summaries.items()
    }
    columns[count_field] = Column(n_merged.astype("float64"))
    # Events before a customer become runs before a customer.
    offsets = np.searchsorted(first, timeline.offsets)
    times = limits[first + n_merged - 1]
    return Events(replace(timeline, offsets=offsets, times=times), columns)


def _summarized(column: Column, first: np.ndarray, summary: str) -> Column:
    """Return one value of a field for each run, missing if all values of it are.

    `first` holds the positions where runs start, and `summary` is one of
    `RUN_SUMMARIES`. A count is numeric, other results have the type of the field.
    """
    values, present = column.values, column.is_present()
    filled: np.ndarray | slice = slice(None)
    starts = first
    if not present.all():
        # Only runs with a value, and where they start among the values.
        filled, starts = starts_of_nonmissing_runs(first, present)
        values = values[present]
    like = column
    if summary == "count_distinct":
        like = Column(np.empty(0, dtype="float64"))
    result = like.without_values(len(first))
    with np.errstate(over="ignore"):  # a sum of float32 may become infinite
        result.values[filled] = RUN_SUMMARIES[summary](values, starts)
    return result


def _summaries(log: RawLog, how: Any, count_field: Any) -> dict[str, str]:
    """Return the summary of each field, the chosen or the default one, or refuse it."""
    if how is not None and not isinstance(how, Mapping):
        raise TypeError(
            "how must be a dict of the summary of each field, for example "
            f"{{'amount': 'mean'}}; got {how!r}."
        )
    check_name_free(count_field, [*log.names, *log.fields], "The log", "count_field")
    chosen = dict(how or {})
    chosen_among(list(chosen), log.fields, "the log", "how")
    summaries = {}
    for name in log.fields:
        its_type = log.column(name).type
        allowed = its_type.resampling
        summaries[name] = chosen.get(name, allowed[0])
        if name == log.kind_field and name in chosen:
            raise ValueError(
                f"how has the field {name!r}, which holds the kinds of events; they "
                "are merged within a kind only, so leave it out."
            )
        if summaries[name] not in allowed:
            raise ValueError(
                f"how={{{name!r}: {summaries[name]!r}}} is not possible: the field is "
                f"{its_type}, for which how is one of {list(allowed)}."
            )
    return summaries


def _limits(timeline: Timeline, period: Any, timeout: Any, offset: Any) -> np.ndarray:
    """Return the last time at which another event joins each, shape (n_events,).

    It depends only on the event's own time, and is not before it. Therefore no later
    event can change what has been merged by then.
    """
    clock, times, tick = timeline.clock, timeline.times, _tick(timeline)
    if (period is None) == (timeout is None):
        raise ValueError(
            "resample needs either a period, such as '1D', or the timeout after which "
            "a session is over, such as timeout='30min' (numbers in a log of numbers); "
            f"got {'neither' if period is None else 'both'}."
        )
    if period is None:
        if offset is not None:
            raise ValueError(
                f"offset={offset!r} shifts periods, but sessions begin with their "
                "first event; leave it out."
            )
        length = clock.duration(timeout, "timeout")
        if clock.dtype == "int64":
            length = math.floor(length)
        limits = saturating_add(times, length)
    else:
        last_of_period = _last_ticks if clock.dtype == "int64" else _last_floats
        limits = last_of_period(times, *_period_and_offset(clock, period, offset))
    # Down to a possible time: in a log of days, to the midnight before.
    return limits if tick is None else limits // tick * tick


def _tick(timeline: Timeline) -> int | None:
    """Return the distance of possible times of events; None for floats.

    In a log of days, all events of a day are at its midnight.
    """
    step = timeline.clock.whole_step
    # The window of several kinds is that of one; other kinds may have finer times.
    if timeline.observation.in_days and not (timeline.times % step).any():
        return step
    return 1 if timeline.clock.dtype == "int64" else None


def _period_and_offset(clock: Clock, period: Any, offset: Any) -> tuple[Any, Any]:
    """Return period and offset in ticks, whole ones on an axis of integers."""
    if clock.calendar_name(period) is not None:
        raise ValueError(
            f"period={period!r} is a calendar period, whose length varies; choose a "
            "fixed length, such as '30D', or group the table before it becomes a log, "
            "with each event at the end of its period."
        )
    between = "periods would begin"
    length = clock.whole_duration(period, "period", between, positive=True)
    shift = 0 if offset is None else offset
    return length, clock.whole_duration(shift, "offset", between)


def _last_ticks(times: np.ndarray, period: int, offset: int) -> np.ndarray:
    """Return the last whole number in the period of each time."""
    # Remainders first, as the difference of a time and an offset could overflow.
    since = (times % period - offset % period) % period
    return saturating_add(times, period - 1 - since)


def _last_floats(times: np.ndarray, period: float, offset: float) -> np.ndarray:
    """Return the last float in the period of each time."""
    # Period k is [offset + k period, offset + (k + 1) period).
    number = np.floor((times - offset) / period)
    # The quotient is rounded, and may be that of a neighbouring period.
    number -= offset + number * period > times
    number += offset + (number + 1) * period <= times
    end = offset + (number + 1) * period
    # A period shorter than the distance of floats ends with the time itself.
    return np.maximum(np.nextafter(end, -np.inf), times)
