"""Append events to a log: from one table, or from one table per kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Column, Kinds, RawLog, Timeline, is_of_kinds
from sklearn_seqcrm.events._merge import (
    merge_events,
    observation_of_appended,
    refuse_keys_as_fields,
    with_kind,
)
from sklearn_seqcrm.events._read import (
    Events,
    chosen_among,
    field_names,
    read_events,
    read_table,
)
from sklearn_seqcrm.events._warnings import (
    NewEventChecks,
    repeated_events,
    warn_other_notation,
)

DUPLICATES = ("warn", "keep", "drop", "raise")


def append_events(
    log: RawLog, more: Any, observed_until: Any, duplicates: str, new_kinds: bool
) -> tuple[Events, Kinds | None]:
    """Return all events and all kinds of a log and more events; see `EventLog.append`.

    A log that `EventLog.concat` did not make has no kinds.
    """
    if duplicates not in DUPLICATES:
        raise ValueError(
            f"duplicates must be one of {list(DUPLICATES)}; got {duplicates!r}."
        )
    kinds: Kinds | None
    if isinstance(more, Mapping):
        parts, kinds = _read_tables_by_kind(log, more, new_kinds)
    else:
        parts, kinds = _read_one_table(log, more, new_kinds)
    is_table = not isinstance(more, Mapping | RawLog)
    observation = observation_of_appended(
        log, parts, kinds, observed_until, is_table=is_table
    )
    old = Events(replace(log.timeline, observation=observation), log.columns)
    if not parts:
        return old, kinds
    all_parts = {"the log": old, **parts}
    events, places, codes = merge_events(all_parts, observation)
    warn_other_notation(all_parts, codes, share_some=False)
    if duplicates != "keep":
        new = np.sort(np.concatenate([places[name] for name in parts]))
        events = _without_repeated(events, new, log.columns, duplicates)
    return events, kinds


def _read_tables_by_kind(
    log: RawLog, more: Mapping[str, Any], new_kinds: bool
) -> tuple[dict[str, Events], Kinds]:
    """Read tables by kind; each needs only the fields of its kind."""
    kinds = log.merged_from
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
    log: RawLog, more: Any, new_kinds: bool
) -> tuple[dict[str, Events], Kinds | None]:
    """Read one table of several kinds; fields that a kind lacks become missing."""
    source, kinds = _log_or_table(more, log, "more"), log.merged_from
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
    kinds = _kinds_of_table(part, kinds, new_kinds, available)
    columns = _set_foreign_fields_missing(part.columns, kinds)
    return {"more": Events(part.timeline, columns)}, kinds


def _kinds_of_table(
    part: Events, kinds: Kinds, new_kinds: bool, available: list[str]
) -> Kinds:
    """Return the kinds of the log and of a table; refuse those without their fields.

    `available` are all columns of the table, for errors.
    """
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
    return kinds


def _log_or_table(table: Any, log: RawLog, what: str) -> Any:
    """Return a log as it is, and anything else as a table."""
    if isinstance(table, RawLog) and not isinstance(table, type(log)):
        raise TypeError(
            f"{what} is a log that was read back with histories, which holds the "
            "events that those rows see, some of them several times; give the EventLog "
            "that they were attached from, or a table."
        )
    return table if isinstance(table, RawLog) else read_table(table, what)


def _fields_of(source: Any, log: RawLog) -> list[str]:
    """Return the names of all fields of a log, or of possible fields of a table."""
    if isinstance(source, RawLog):
        return source.fields
    return [name for name in source.columns if name not in log.names]


def _read_part(
    log: RawLog, source: Any, fields: Sequence[str], what: str
) -> Events | None:
    """Read some fields of a table or a log on the clock of the log; None if empty.

    A field that is categorical in the log is read as categories.
    """
    customer, time = log.names
    if isinstance(source, RawLog):
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
        # A list, even if empty: ids are checked only when the log is made.
        checks = NewEventChecks(categorical)
        checks.add(source, part)
        checks.warn_about_fields(part.timeline.clock)
    what = f"times in column {time!r} of {what}"
    return part._replace(timeline=part.timeline.on(log.timeline.clock, what))


def _has_levels(log: RawLog, field: str) -> bool:
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


def _without_repeated(
    events: Events, new: np.ndarray, known: Mapping[str, Column], duplicates: str
) -> Events:
    """Drop new events that the log contains already, warn of them, or raise."""
    repeated = repeated_events(events, new, known)
    if not len(repeated):
        return events
    timeline = events.timeline
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
    warn_user(f"{message}, without this warning.")
    return events


def _examples(timeline: Timeline, index: np.ndarray) -> str:
    """Return customer and time of the first few events, as text."""
    few = index[:3]
    who = timeline.customers[timeline.codes_of(few)]
    when = timeline.clock.as_index(timeline.times[few])
    shown = [f"{one!r} at {time}" for one, time in zip(who.tolist(), when, strict=True)]
    return ", ".join(shown) + (", ..." if len(index) > len(few) else "")
