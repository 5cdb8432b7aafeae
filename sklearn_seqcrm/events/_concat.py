"""Merge logs of different kinds of events into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._clock import Clock
from sklearn_seqcrm.events._columns import Column, factorize, in_one_unit
from sklearn_seqcrm.events._reach import refuse_wide, warn_of_early_end
from sklearn_seqcrm.events._record import Record
from sklearn_seqcrm.events._timeline import Timeline, sort_events

_UNITS = ("s", "ms", "us", "ns")


def merge_logs(
    logs: Mapping[str, Any], kind: str, observed_until: Any
) -> tuple[Timeline, dict[str, Column]]:
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
    timeline : Timeline
        All events; those of an earlier log come first where customer and time are
        equal.
    columns : dict of str to Column
        The kind, then all fields. Each is written once, straight into its place.
    """
    timelines = _on_one_clock(logs)
    clock = next(iter(timelines.values())).clock
    times = np.concatenate([timeline.times for timeline in timelines.values()])
    codes, customers = _joint_customers(logs)
    order, offsets, times = sort_events(codes, times, len(customers))
    if observed_until is None:
        record = _earliest_record(timelines)
    else:
        record = Record.of(clock, times, observed_until, early=True)
    timeline = Timeline(customers, offsets, times, clock, record)
    refuse_wide(timeline, "times of logs")
    place = np.empty(len(order), dtype=order.dtype)
    place[order] = np.arange(len(order), dtype=order.dtype)
    ends = np.cumsum([len(log) for log in logs.values()])
    places = dict(zip(logs, np.split(place, ends[:-1]), strict=True))
    kinds = Column(np.empty(len(order), dtype="int32"), pd.Index(sorted(logs)))
    for code, name in enumerate(sorted(logs)):
        kinds.values[places[name]] = code
    columns = {kind: kinds}
    for field in dict.fromkeys(field for log in logs.values() for field in log.fields):
        parts = {n: log.column(field) for n, log in logs.items() if field in log.fields}
        columns[field] = _scatter(parts, places, len(order), field)
    return timeline, columns


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
        repeated = [field for field in log.fields if field in keys]
        if repeated:
            raise ValueError(
                f"The log of kind {name!r} has fields {repeated}, which is what the "
                f"customer or time column is called in the first log; rename them."
            )
        if kind in [*log.names, *log.fields]:
            raise ValueError(
                f"The log of kind {name!r} has a column {kind!r} already; choose "
                "another name with kind=..."
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


def _earliest_record(timelines: dict[str, Timeline]) -> Record:
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


def _joint_customers(logs: Mapping[str, Any]) -> tuple[np.ndarray, pd.Index]:
    """Code of the customer of each event of all logs, and the customers."""
    ids = [log.customers for log in logs.values()]
    numeric = [pd.api.types.is_numeric_dtype(i.dtype) for i in ids]
    if len(set(numeric)) > 1:
        types = {name: str(log.customers.dtype) for name, log in logs.items()}
        raise TypeError(
            f"The customers have the types {types}, so that none would be found in "
            "both; cast them with astype before building the logs."
        )
    joined = ids[0].append(ids[1:])
    codes, customers = factorize(pd.Series(joined), "customer")
    counts = np.concatenate([log.timeline.counts for log in logs.values()])
    return np.repeat(codes, counts), customers


def _scatter(
    parts: Mapping[str, Column],
    places: Mapping[str, np.ndarray],
    n_events: int,
    field: str,
) -> Column:
    """One field of the merged log; missing for kinds that do not have it."""
    kinds = {name: part.kind for name, part in parts.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            f"Field {field!r} has the types {kinds}; give it one type, or different "
            "names, before building the logs."
        )
    if "datetime" in kinds.values():
        alike = in_one_unit(list(parts.values()), field)
        parts = dict(zip(parts, alike, strict=True))
    dtypes: Sequence[Any] = [part.values.dtype for part in parts.values()]
    dtype = np.result_type(*dtypes)
    if next(iter(kinds.values())) != "categorical":
        missing = np.array("NaT", dtype) if dtype.kind == "M" else np.nan
        values = np.full(n_events, missing, dtype=dtype)
        for name, part in parts.items():
            values[places[name]] = part.values
        return Column(values)
    levels = [p.categories for p in parts.values() if p.categories is not None]
    _, union = factorize(pd.Series(levels[0].append(levels[1:])), field)
    codes = np.full(n_events, -1, dtype="int32")
    for (name, part), own in zip(parts.items(), levels, strict=True):
        table = np.append(union.get_indexer(own), -1).astype("int32")
        codes[places[name]] = table[part.values]
    return Column(codes, union)
