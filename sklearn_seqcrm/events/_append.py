"""Append events to a log: from one table, or from one table per kind.

The log and the new parts are merged and sorted together. Where customer and time are
equal, the events of the log come first: repeated events are found within runs of equal
times::

    time of a customer    3      3    3    3    7
    event                 a      b    a    c    a
    part                  log    log  new  new  new
    repeated                          ^ as the log has "a" at 3, but not at 7
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._store import (
    Column,
    Kinds,
    ObservationWindow,
    RawLog,
    Timeline,
    is_of_kinds,
)
from sklearn_seqcrm.events._concat import merge_events, refuse_keys_as_fields, with_kind
from sklearn_seqcrm.events._read import (
    Events,
    chosen_among,
    field_names,
    fields_of_other_zone,
    read_events,
    read_table,
    warn_other_zone,
)

DUPLICATES = ("warn", "keep", "drop", "raise")


def append_events(
    log: Any,
    kinds: Kinds | None,
    more: Any,
    observed_until: Any,
    duplicates: str,
    new_kinds: bool,
) -> tuple[Events, Kinds | None]:
    """Merge a log with more events, as `EventLog.append` describes it.

    Parameters
    ----------
    log : EventLog
        The log.
    kinds : Kinds or None
        Its kinds, if `EventLog.concat` made it.
    more, observed_until, duplicates, new_kinds : object
        Arguments of `EventLog.append`.

    Returns
    -------
    events : Events
        All events.
    kinds : Kinds or None
        All kinds.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(
            f"duplicates must be one of {list(DUPLICATES)}; got {duplicates!r}."
        )
    if isinstance(more, Mapping):
        parts, kinds = _read_tables_by_kind(log, kinds, more, new_kinds)
    else:
        parts, kinds = _read_one_table(log, kinds, more, new_kinds)
    timelines = [log.timeline, *(part.timeline for part in parts.values())]
    if observed_until is not None:
        observation = _given_observation(timelines, observed_until, kinds is not None)
    else:
        # An EventLog has its own end of observation, a table only a last event.
        one_table = not isinstance(more, Mapping | type(log))
        ends = _ends_of_kinds(log, parts, kinds, one_table=one_table)
        observation = _joint_observation(log.timeline.observation, ends)
    in_days = all(one.observation.in_days for one in timelines)
    observation = observation._replace(in_days=in_days)
    old = Events(replace(log.timeline, observation=observation), log.columns)
    if not parts:
        return old, kinds
    events, places = merge_events({"the log": old, **parts}, observation)
    if duplicates != "keep":
        new = np.sort(np.concatenate([places[name] for name in parts]))
        events = _without_repeated(events, new, duplicates, old.columns)
    return events, kinds


def _read_tables_by_kind(
    log: Any, kinds: Kinds | None, more: Mapping[str, Any], new_kinds: bool
) -> tuple[dict[str, Events], Kinds]:
    """Read tables by kind; each needs only the fields of its kind."""
    if kinds is None:
        raise TypeError(
            "more is a dict of tables by kind, but this log has no kinds, which "
            "EventLog.concat gives; append one table, or concat logs first."
        )
    # Part names appear in errors, so that a user sees which table is wrong.
    parts = {}
    for name, table in more.items():
        what = f"more[{name!r}]"
        source = _log_or_table(table, log, what)
        if name not in kinds.fields:
            _refuse_new(name, kinds, new_kinds)
            own = [f for f in _fields_of(source, log) if f != kinds.field]
            refuse_keys_as_fields(own, log.names, name, "the log")
            kinds = kinds.joined(Kinds(kinds.field, {name: tuple(own)}))
        part = _read_part(log, source, kinds.fields[name], what)
        if part is not None:
            columns = with_kind(
                part.columns, kinds.field, name, len(part.timeline.times)
            )
            parts[what] = Events(part.timeline, columns)
    return parts, kinds


def _read_one_table(
    log: Any, kinds: Kinds | None, more: Any, new_kinds: bool
) -> tuple[dict[str, Events], Kinds | None]:
    """Read one table of several kinds; fields that a kind lacks become missing."""
    source = _log_or_table(more, log, "more")
    if kinds is None:
        part = _read_part(log, source, log.fields, "more")
        return ({} if part is None else {"more": part}), None
    available = _fields_of(source, log)
    if kinds.field not in available:
        raise KeyError(
            f"more has no column {kinds.field!r}, which holds the kinds of this log; "
            f"it has {available}. Or give a dict of a table for each kind: "
            f"{{{next(iter(kinds.fields), 'kind')!r}: table}}."
        )
    part = _read_part(log, source, [f for f in log.fields if f in available], "more")
    if part is None:
        return {}, kinds
    column = part.columns[kinds.field]
    n_without = int((column.values < 0).sum())
    if n_without:
        raise ValueError(
            f"more has {n_without} events without a kind in column {kinds.field!r}; "
            "drop or fill them."
        )
    assert column.categories is not None
    # A category without events is not a kind of this table.
    for name in column.categories[np.unique(column.values)]:
        if name not in kinds.fields:
            _refuse_new(name, kinds, new_kinds)
            own = tuple(field for field in part.columns if field != kinds.field)
            kinds = kinds.joined(Kinds(kinds.field, {name: own}))
        lost = [field for field in kinds.fields[name] if field not in part.columns]
        if lost:
            raise KeyError(
                f"more has events of the kind {name!r}, but no columns {lost}, which "
                f"that kind has in the log; it has {available}."
            )
    return {
        "more": Events(part.timeline, _set_foreign_fields_missing(part.columns, kinds))
    }, kinds


def _log_or_table(table: Any, log: Any, what: str) -> Any:
    """Return a log as it is, and anything else as a table."""
    if isinstance(table, RawLog) and not isinstance(table, type(log)):
        raise TypeError(
            f"{what} is a log that was read back with histories, which holds the "
            "events that those rows see, some of them several times; give the EventLog "
            "that they were attached from, or a table."
        )
    return table if isinstance(table, type(log)) else read_table(table, what)


def _fields_of(source: Any, log: Any) -> list[str]:
    """Return the names of all fields of a log, or of possible fields of a table."""
    if isinstance(source, type(log)):
        return source.fields
    return [name for name in source.columns if name not in log.names]


def _read_part(
    log: Any, source: Any, fields: Sequence[str], what: str
) -> Events | None:
    """Read some fields of a table or a log on the clock of the log; None if empty.

    A field that is categorical in the log is read as categories.
    """
    customer, time = log.names
    if isinstance(source, type(log)):
        chosen = chosen_among(fields, source.fields, what, "fields")
        part = Events(source.timeline, {name: source.column(name) for name in chosen})
    else:
        chosen = field_names(source.columns, customer, time, fields, what)
        if not len(source):
            return None
        categorical = [f for f in chosen if f in log.fields and _has_levels(log, f)]
        part = read_events(
            source, customer, time, chosen, categorical=categorical, what=what
        )
        zones = fields_of_other_zone(source, part)
        warn_other_zone(zones, part.timeline.clock)
    what = f"times in column {time!r} of {what}"
    return part._replace(timeline=part.timeline.on(log.timeline.clock, what))


def _has_levels(log: Any, field: str) -> bool:
    """Return whether a field is categorical, and with levels of a known type."""
    levels = log.column(field).categories
    # A field of only None is categorical without a level: any type may follow.
    return levels is not None and (len(levels) > 0 or levels.dtype != object)


def _refuse_new(name: Any, kinds: Kinds, new_kinds: bool) -> None:
    """Raise an error for a kind that the log lacks, unless new kinds are allowed."""
    if not isinstance(name, str):
        raise TypeError(f"The kinds of events must be text; got {name!r}.")
    if not new_kinds:
        raise ValueError(
            f"The log has no events of the kind {name!r}; field {kinds.field!r} has "
            f"{list(kinds.fields)}. new_kinds=True adds the kind."
        )


def _set_foreign_fields_missing(
    columns: dict[str, Column], kinds: Kinds
) -> dict[str, Column]:
    """Set fields to missing in the events whose kind lacks them."""
    blanked = dict(columns)
    for field, column in columns.items():
        lacking = kinds.lacking(field)
        if field == kinds.field or not lacking:
            continue
        foreign = is_of_kinds(columns[kinds.field], lacking)
        # No event may have a level that only blanked values had: trim it.
        blanked[field] = column.missing_where(foreign).trimmed()
    return blanked


def _ends_of_kinds(
    log: Any, parts: Mapping[str, Events], kinds: Kinds | None, *, one_table: bool
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
        if not one_table:
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


def _joint_observation(
    before: ObservationWindow, ends: Mapping[str, Any]
) -> ObservationWindow:
    """Return the joint observation window, which ends with that of the first kind.

    As in `EventLog.concat`: time in which one kind was not observed would count as
    time without events of that kind.
    """
    if not ends:
        return before
    # Targets count any kind within one window, which must be observed for all kinds.
    limit = min(ends, key=ends.__getitem__)
    until = max(before.until, ends[limit])
    limited_by = limit if max(ends.values()) > until else None
    return before._replace(until=until, limited_by=limited_by)


def _given_observation(
    timelines: Sequence[Timeline], observed_until: Any, early: bool
) -> ObservationWindow:
    """Return the observation that the user gives; refuse an earlier end."""
    clock, before = timelines[0].clock, timelines[0].observed_until
    last = max(timeline.times.max() for timeline in timelines if len(timeline.times))
    given = ObservationWindow.of(clock, np.array([last]), observed_until, early=early)
    if given.until < before:
        raise ValueError(
            f"observed_until={observed_until} lies before {clock.as_scalar(before)}, "
            "until which the log was observed already."
        )
    return given


def _without_repeated(
    events: Events, new: np.ndarray, duplicates: str, known: Mapping[str, Column]
) -> Events:
    """Drop new events that the log contains already, warn of them, or raise.

    Only events at the same time of the same customer are compared, so that the cost
    follows the new events, not the log. Numbers are compared in the dtype that the log
    has: 0.1 as float64 is not the 0.1 of a float32.
    """
    timeline = events.timeline
    times = timeline.times
    # The events at one time are a run, in which those of the log come first: a new
    # event can be repeated only if the event before it has the same time.
    suspect = new[(new > 0) & (times[new] == times[new - 1])]
    first = timeline.positions(timeline.codes_of(suspect), times[suspect])
    # Old events of a run lie from its first event to its first suspect.
    runs, first_suspect = np.unique(first, return_index=True)
    index, offsets = ranges(runs, suspect[first_suspect])
    is_old = np.ones(len(times), dtype=bool)
    is_old[new] = False
    is_old = is_old[index]
    old, run_of_old = index[is_old], np.repeat(runs, np.diff(offsets))[is_old]
    if not len(old):
        return events
    # One number for each distinct (run, field, field, ...), of old and suspect events.
    key, _ = pd.factorize(np.append(run_of_old, first))
    index = np.append(old, suspect)
    for name, column in events.columns.items():
        some = column.take(index)
        if name in known and known[name].values.dtype == np.float32:
            with np.errstate(over="ignore"):  # the log would hold infinity, too
                some = some._replace(values=some.values.astype("float32"))
        codes = some.distinct()
        # Renumbered after each field: products of many levels would overflow.
        key, _ = pd.factorize(key * (codes.max() + 1) + codes)
    # Keys of old events, then of suspects: compared with the former only, so that a
    # repetition within the new events is kept.
    repeated = suspect[np.isin(key[len(old) :], key[: len(old)])]
    if not len(repeated):
        return events
    if duplicates == "drop":
        kept = np.delete(np.arange(len(timeline.times)), repeated)
        columns = {name: one.take(kept) for name, one in events.columns.items()}
        return Events(timeline.at(kept), columns)
    message = (
        f"{len(repeated)} of the {len(new)} appended events are in the log already, "
        f"with the same customer, time and fields: {_examples(timeline, repeated)}. "
        "duplicates='drop' leaves them out, duplicates='keep' keeps them"
    )
    if duplicates == "raise":
        raise ValueError(f"{message}.")
    warnings.warn(f"{message}, without this warning.", UserWarning, stacklevel=4)
    return events


def _examples(timeline: Timeline, index: np.ndarray) -> str:
    """Return customer and time of the first few events, as text."""
    few = index[:3]
    who = timeline.customers[timeline.codes_of(few)]
    when = timeline.clock.as_index(timeline.times[few])
    shown = [f"{one!r} at {time}" for one, time in zip(who.tolist(), when, strict=True)]
    return ", ".join(shown) + (", ..." if len(index) > len(few) else "")
