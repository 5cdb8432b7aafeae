"""Merge logs of different kinds of events into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import sort_events
from sklearn_seqcrm._store import (
    Clock,
    Column,
    Kinds,
    ObservationWindow,
    Timeline,
    factorize,
    join_ids,
    refuse_taken,
    scatter,
)
from sklearn_seqcrm.events._read import Events
from sklearn_seqcrm.events._time_range import refuse_wide, warn_of_early_end

_UNITS = ("s", "ms", "us", "ns")


def merge_logs(
    logs: Mapping[str, Any], kind: str, observed_until: Any
) -> tuple[Events, Kinds]:
    """Sort the events of several logs together, with all their fields.

    Parameters
    ----------
    logs : mapping of str to EventLog
        At least one log, by the name of its kind.
    kind : str
        Name of the field that tells the kinds apart.
    observed_until : datetime, number or None
        The last moment that all of them have recorded; None: the earliest of theirs.

    Returns
    -------
    events : Events
        All events; those of an earlier log come first where customer and time are
        equal. The fields are the kind, then all fields.
    kinds : Kinds
        The fields of each log.
    """
    timelines = _on_one_clock(logs)
    clock = next(iter(timelines.values())).clock
    if observed_until is None:
        record = _earliest_record(timelines)
    else:
        times = np.concatenate([t.times for t in timelines.values()])
        record = ObservationWindow.of(clock, times, observed_until, early=True)
    parts = {
        name: Events(timelines[name], with_kind(log.columns, kind, name, len(log)))
        for name, log in logs.items()
    }
    events, _ = merge_events(parts, record)
    return events, Kinds(kind, {name: tuple(log.fields) for name, log in logs.items()})


def merge_events(
    parts: Mapping[str, Events], record: ObservationWindow
) -> tuple[Events, dict[str, np.ndarray]]:
    """Sort events of one clock together, with all their fields.

    Parameters
    ----------
    parts : mapping of str to Events
        Events by the name of where they come from, which errors show.
    record : ObservationWindow
        How far all of them have recorded.

    Returns
    -------
    events : Events
        All events; those of an earlier part come first where customer and time are
        equal. Each field is written once, straight into its place.
    places : dict of str to ndarray
        Where the events of each part went.
    """
    timelines = [part.timeline for part in parts.values()]
    ids = {name: part.timeline.customers for name, part in parts.items()}
    codes, customers = factorize(pd.Series(join_ids(ids, "customers")), "customer")
    counts = np.concatenate([timeline.counts for timeline in timelines])
    times = np.concatenate([timeline.times for timeline in timelines])
    order, offsets, times = sort_events(np.repeat(codes, counts), times, len(customers))
    timeline = Timeline(customers, offsets, times, timelines[0].clock, record)
    refuse_wide(timeline, f"times of {' and '.join(parts)}")
    place = np.empty(len(order), dtype=order.dtype)
    place[order] = np.arange(len(order), dtype=order.dtype)
    ends = np.cumsum([len(one.times) for one in timelines])
    places = dict(zip(parts, np.split(place, ends[:-1]), strict=True))
    columns = {}
    for field in dict.fromkeys(f for part in parts.values() for f in part.columns):
        having = {n: p.columns[field] for n, p in parts.items() if field in p.columns}
        columns[field] = scatter(having, places, len(order), field)
    return Events(timeline, columns), places


def with_kind(
    columns: Mapping[str, Column], kind: str, name: str, n_events: int
) -> dict[str, Column]:
    """The fields of events of one kind, after the field that says which."""
    return {kind: Column(np.zeros(n_events, "int32"), pd.Index([name])), **columns}


def check_mergeable(logs: Any, kind: str, log_type: type[Any]) -> None:
    """Refuse what cannot be merged, and say why.

    Parameters
    ----------
    logs : object
        What the user gave.
    kind : str
        Name of the field for the kinds.
    log_type : type
        `EventLog`.
    """
    if not isinstance(logs, Mapping) or not logs:
        raise TypeError(
            "logs must be a dict that names the kind of each log, for example "
            f"{{'order': orders, 'return': returns}}; got {type(logs).__name__}."
        )
    keys = getattr(next(iter(logs.values())), "names", ())
    for name, log in logs.items():
        if not isinstance(name, str):
            raise TypeError(f"The kinds of logs must be text; got {name!r}.")
        if not isinstance(log, log_type):
            raise TypeError(
                f"What is named {name!r} must be an EventLog; got "
                f"{type(log).__name__}. EventLog(table, customer, time) makes one."
            )
        refuse_keys_as_fields(log.fields, keys, name, "the first log")
        own = [*log.names, *log.fields]
        refuse_taken(kind, own, f"The log of kind {name!r}", "kind_field")


def refuse_keys_as_fields(
    fields: Iterable[str], keys: Any, kind: str, joined: str
) -> None:
    """Refuse fields of a log that are called like the keys of the log it joins."""
    repeated = [field for field in fields if field in keys]
    if repeated:
        raise ValueError(
            f"The log of kind {kind!r} has fields {repeated}, which is what the "
            f"customer or time column is called in {joined}; rename them."
        )


def _on_one_clock(logs: Mapping[str, Any]) -> dict[str, Timeline]:
    """The timelines of all logs on the finest clock of all."""
    clocks = {name: log.timeline.clock for name, log in logs.items()}
    first_name, first = next(iter(clocks.items()))
    for name, clock in clocks.items():
        if str(clock) != str(first):
            raise ValueError(
                f"The times of {name!r} are {clock}, those of {first_name!r} {first}; "
                "build both from the same kind of times."
            )
    if first.unit is None:
        dtype = (
            "float64" if any(c.dtype == "float64" for c in clocks.values()) else "int64"
        )
        clock = Clock(dtype)
    else:
        units = [c.unit for c in clocks.values()]
        clock = Clock("int64", max(units, key=_UNITS.index), first.aware)
    return {
        name: log.timeline.on(clock, f"times of {name!r}") for name, log in logs.items()
    }


def _earliest_record(timelines: dict[str, Timeline]) -> ObservationWindow:
    """The earliest end, so that what one kind did not record is never a zero."""
    ends = {name: timeline.end for name, timeline in timelines.items()}
    kind = min(ends, key=ends.__getitem__)
    earliest = timelines[kind]
    if len(set(ends.values())) == 1:
        return earliest.record
    # A record that goes on after its last event was given by someone who knows.
    if earliest.observed_until == earliest.times.max():
        warn_of_early_end(timelines, kind, stacklevel=4)
    return earliest.record._replace(limited_by=kind)
