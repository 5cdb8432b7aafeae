"""Merge logs of different kinds of events into one, and find how far it is observed.

Every field is written once, straight to the places of its events in the merged log::

    part "order"     customer, time, price            a 1 20,  a 9 5
    part "return"    customer, time, reason           a 6 "size"
    order            positions in the concatenation   [0, 2, 1]
    places           of "order": [0, 2], of "return": [1]
    price            [20, nan, 5]
    reason           [missing, "size", missing]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import inverse_permutation, sort_events
from sklearn_seqcrm._store import (
    Column,
    Kinds,
    ObservationWindow,
    RawLog,
    Timeline,
    check_name_free,
    joint_codes,
    scatter,
)
from sklearn_seqcrm.events._read import Events
from sklearn_seqcrm.events._warnings import warn_early_end, warn_other_notation


def merge_logs(
    logs: Mapping[str, Any], kind: str, observed_until: Any
) -> tuple[Events, Kinds]:
    """Sort the events of several logs together, with all their fields.

    `logs` go by the names of their kinds, for which `kind` is the field. Events of an
    earlier log come first where customer and time are equal. The field of the kinds is
    the first one.
    """
    timelines = _on_one_clock(logs)
    observation = observation_of_merged(timelines, observed_until)
    parts = {
        name: Events(timelines[name], with_kind(log.columns, kind, name, len(log)))
        for name, log in logs.items()
    }
    merged = merge_events(parts, observation)
    warn_other_notation(parts, merged.codes, share_some=True)
    return merged.events, Kinds(
        kind, {name: tuple(log.fields) for name, log in logs.items()}
    )


class Merged(NamedTuple):
    """Events of several parts, merged."""

    # All events; those of an earlier part come first where customer and time are equal.
    events: Events
    places: dict[str, np.ndarray]  # positions of the events of each part
    codes: dict[str, np.ndarray]  # codes of the customers of each part


def merge_events(parts: Mapping[str, Events], observation: ObservationWindow) -> Merged:
    """Sort events of one clock together, with all their fields.

    `parts` are the events by the name of their origin, for errors, and `observation` is
    how far all of them were observed.
    """
    timelines = [part.timeline for part in parts.values()]
    ids = {name: part.timeline.customers for name, part in parts.items()}
    # One code for each segment of each part; a customer of two parts has one code.
    codes, customers = joint_codes(ids, "customers", "customer")
    of_events = [
        np.repeat(own, timeline.counts)
        for own, timeline in zip(codes.values(), timelines, strict=True)
    ]
    times = np.concatenate([timeline.times for timeline in timelines])
    order, offsets, times = sort_events(
        np.concatenate(of_events), times, len(customers)
    )
    timeline = Timeline(customers, offsets, times, timelines[0].clock, observation)
    timeline.check_span(f"times of {' and '.join(parts)}")
    ends = np.cumsum([len(timeline.times) for timeline in timelines])
    split = np.split(inverse_permutation(order), ends[:-1])
    places = dict(zip(parts, split, strict=True))
    # Fields in the order of the parts; a field of several parts is one column.
    columns = {}
    for field in dict.fromkeys(f for part in parts.values() for f in part.columns):
        having = {n: p.columns[field] for n, p in parts.items() if field in p.columns}
        columns[field] = scatter(having, places, len(order), field)
    return Merged(Events(timeline, columns), places, codes)


def with_kind(
    columns: Mapping[str, Column], kind: str, name: str, n_events: int
) -> dict[str, Column]:
    """Return the fields of events of one kind, with the field of the kinds first."""
    return {kind: Column(np.zeros(n_events, "int32"), pd.Index([name])), **columns}


def check_mergeable(logs: Any, kind: str, log_type: type[Any]) -> None:
    """Raise an error if arguments of `concat` cannot be merged; see `merge_logs`."""
    if not isinstance(logs, Mapping) or not logs:
        given = "an empty one" if isinstance(logs, Mapping) else type(logs).__name__
        raise TypeError(
            "logs must be a dict that names the kind of each log, for example "
            f"{{'order': orders, 'return': returns}}; got {given}."
        )
    keys = getattr(next(iter(logs.values())), "names", ())
    for name, log in logs.items():
        if not isinstance(name, str):
            raise TypeError(f"The kinds of logs must be text; got {name!r}.")
        if not isinstance(log, log_type):
            raise TypeError(
                f"The log named {name!r} must be an EventLog; got "
                f"{type(log).__name__}. EventLog(table, customer, time) makes one."
            )
        refuse_keys_as_fields(log.fields, keys, name, "the first log")
        own = [*log.names, *log.fields]
        check_name_free(kind, own, f"The log of kind {name!r}", "kind_field")


def refuse_keys_as_fields(
    fields: Iterable[str], keys: Any, kind: str, joined: str
) -> None:
    """Raise a ValueError if fields have the names of the keys of the other log."""
    repeated = [field for field in fields if field in keys]
    if repeated:
        raise ValueError(
            f"The log of kind {kind!r} has fields {repeated}, which are names of the "
            f"customer or time column in {joined}; rename them."
        )


def _on_one_clock(logs: Mapping[str, Any]) -> dict[str, Timeline]:
    """Return the timelines of all logs on the finest clock among them."""
    clocks = {name: log.timeline.clock for name, log in logs.items()}
    first_name, first = next(iter(clocks.items()))
    for name, clock in clocks.items():
        if str(clock) != str(first):
            raise ValueError(
                f"The times of {name!r} are {clock}, those of {first_name!r} {first}; "
                "build both from times of the same type."
            )
    clock = max(clocks.values(), key=lambda one: one.fineness)
    return {
        name: log.timeline.on(clock, f"times of {name!r}") for name, log in logs.items()
    }


# End of observation -------------------------------------------------------------------
#
# Time in which one kind of events was not observed would count as time without events
# of that kind. Targets count any kind within one window. So the joint log ends with the
# kind whose observation ends first.


def observation_of_merged(
    timelines: Mapping[str, Timeline], observed_until: Any
) -> ObservationWindow:
    """Return the observation window of merged logs.

    `timelines` are those of the logs on one clock, by the name of their kind, and
    `observed_until` is the last time that all cover; None: the earliest end of
    observation.
    """
    if observed_until is not None:
        clock = next(iter(timelines.values())).clock
        times = np.concatenate([timeline.times for timeline in timelines.values()])
        # `early`: the common end may lie before the last event of some kinds.
        return ObservationWindow.of(clock, times, observed_until, early=True)
    ends = {name: timeline.end for name, timeline in timelines.items()}
    kind = min(ends, key=ends.__getitem__)
    earliest = timelines[kind]
    if len(set(ends.values())) == 1:
        return earliest.observation
    # If observation ends after the last event, the user has set observed_until.
    if earliest.observed_until == earliest.times.max():
        warn_early_end(timelines, kind)
    return earliest.observation._replace(limited_by=kind)


def observation_of_appended(
    log: RawLog,
    parts: Mapping[str, Events],
    kinds: Kinds | None,
    observed_until: Any,
    *,
    is_table: bool,
) -> ObservationWindow:
    """Return the observation window of a log with more events.

    `parts` are the new events, by the name of their origin, `kinds` those of all
    events, and `observed_until` the last time that the log and the parts cover, as the
    user gives it. `is_table` says whether the new events are one table, which has no
    end of observation, but only a last event of each kind. Raises a ValueError if
    `observed_until` is earlier than that of the log.
    """
    before, clock = log.timeline.observation, log.timeline.clock
    timelines = [log.timeline, *(part.timeline for part in parts.values())]
    if observed_until is None:
        ends = _ends_of_kinds(log, parts, kinds, is_table=is_table)
        window = _limited(before, ends)
    else:
        last = max(one.times.max() for one in timelines if len(one.times))
        early, times = kinds is not None, np.array([last])
        window = ObservationWindow.of(clock, times, observed_until, early=early)
        if window.until < before.until:
            raise ValueError(
                f"observed_until={observed_until} lies before "
                f"{clock.as_scalar(before.until)}, until which the log was observed "
                "already."
            )
    in_days = all(one.observation.in_days for one in timelines)
    return window._replace(in_days=in_days)


def _ends_of_kinds(
    log: RawLog, parts: Mapping[str, Events], kinds: Kinds | None, *, is_table: bool
) -> dict[str, Any]:
    """Return the end of observation of each kind of events, by its name.

    Without kinds, all events are of one kind, and each new part has an end.
    """
    if kinds is None:
        return {name: part.timeline.observed_until for name, part in parts.items()}
    ends: dict[str, Any] = {}
    for part in parts.values():
        last = _last_of_kinds(part.timeline, part.columns[kinds.field])
        # A single table of several kinds has no end for each: its last event counts.
        if not is_table:
            last = dict.fromkeys(last, part.timeline.observed_until)
        ends |= last
    absent = [name for name in kinds.fields if name not in ends]
    before = log.timeline.observation
    if absent and before.limited_by is not None:
        # Kinds other than the limiting one were observed for longer: at least until
        # their last event.
        last = _last_of_kinds(log.timeline, log.column(kinds.field))
        last.pop(before.limited_by, None)
        ends |= {n: max(before.until, last[n]) for n in absent if n in last}
    return {**dict.fromkeys(absent, before.until), **ends}


def _last_of_kinds(timeline: Timeline, column: Column) -> dict[str, Any]:
    """Return the time of the last event of each kind that has events."""
    assert column.categories is not None
    last = {}
    for code, name in enumerate(column.categories):
        times = timeline.times[column.values == code]
        if len(times):
            last[name] = times.max()
    return last


def _limited(before: ObservationWindow, ends: Mapping[str, Any]) -> ObservationWindow:
    """Return the window that ends with the first kind, but not earlier than before."""
    if not ends:
        return before
    limit = min(ends, key=ends.__getitem__)
    until = max(before.until, ends[limit])
    limited_by = limit if max(ends.values()) > until else None
    return before._replace(until=until, limited_by=limited_by)
