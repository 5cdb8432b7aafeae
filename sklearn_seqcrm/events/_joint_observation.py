"""The end of observation of a log that is merged from several, or appended to.

Time in which one kind of events was not observed would count as time without events of
that kind. Targets count any kind within one window. So the joint log ends with the kind
whose observation ends first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_seqcrm._store import Column, Kinds, ObservationWindow, RawLog, Timeline
from sklearn_seqcrm.events._read import Events
from sklearn_seqcrm.events._time_range import warn_early_end


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
