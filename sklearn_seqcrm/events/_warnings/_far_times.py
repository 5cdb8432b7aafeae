"""Warnings about times that are far from those of a log: cutoffs, and kinds that end.

::

    first event        last event    end of observation    cutoff
    |----------- span -------|------------|---- late? ------|

All customers look inactive before a late cutoff, only because the log ends early. A
cutoff is late by more than a tenth of the span, and by a month. It is late by a week,
and twice the longest silence between days with events, if the log has many events; and
by a day, if the user has given the end of observation. A kind of events that ends long
before the others is another warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock, RawLog, Timeline, events_of_kinds

# Cutoffs may lie this share of the span after the end of observation without a warning.
# For datetimes, it is a month at least: a young log may be updated as rarely. Plain
# numbers may be days or mere steps: for them, it is the whole span.
_LATE, _LATE_DAYS = 0.1, 31
# One kind of events may end earlier than the others by this share of the span, or days.
_EARLY, _EARLY_DAYS = 0.1, 7
# The silences of a log with this many events are a scale for the one at its end.
_MANY = 100
_SILENCES, _SILENT_DAYS = 2, 7
# Days are marked in parts of this many events, to need no copy of all times.
_PART = 1_000_000
# A span of plain numbers this short, or of this few events, is too short to judge by.
_FEW = 20


def warn_late_cutoffs(log: RawLog, cutoff: np.ndarray) -> None:
    """Warn of cutoffs long after the end of observation.

    Features that count from the `cutoff` (n,) would show inactive customers, although
    nothing was observed.
    """
    timeline = log.timeline
    clock, (first, last) = timeline.clock, timeline.span
    latest, end = cutoff.max(initial=last), max(timeline.end, last)
    # Events at a single time, or few numbers, give no scale to judge by.
    if first == last or (clock.unit is None and len(timeline.times) <= _FEW):
        return
    is_given = timeline.observed_until > timeline.times.max()
    if latest - end <= _tolerance(timeline, end, is_given):
        _warn_late_for_kind(log, cutoff)
        return
    until = "observed_until" if is_given else "the last time that the log has recorded"
    warn_user(
        f"{_late(clock, cutoff, last, until)}, so that all customers look inactive in "
        "between. Bring the log up to date by log.append(...); or, if it was "
        "recorded for longer, EventLog(..., observed_until=...)."
    )


def _warn_late_for_kind(log: RawLog, cutoff: np.ndarray) -> None:
    """Warn of cutoffs long after the end of the kind that limits a merged log."""
    timeline, kinds = log.timeline, log.merged_from
    kind, per_day = timeline.observation.limited_by, timeline.clock.ticks_per_day()
    silence = cutoff.max(initial=timeline.end) - timeline.end
    if kinds is None or kind not in kinds.fields or per_day is None:
        return
    if silence <= _SILENT_DAYS * per_day:
        return
    times = timeline.times[events_of_kinds(log, [kind], kinds.field)]
    if silence <= _silence_by_events(times, per_day, np.inf):
        return
    until = f"until which events of kind {kind!r} were recorded"
    late = _late(timeline.clock, cutoff, timeline.observed_until, until)
    warn_user(
        f"{late}, so that all customers look as if they had none in between. Bring the "
        f"log up to date by log.append(...); or, if {kind!r} was recorded for longer, "
        "pass observed_until=... to EventLog.concat."
    )


def _late(clock: Clock, cutoff: np.ndarray, end: Any, what: str) -> str:
    """Return how many cutoffs lie after an end, `what` it is, and how late they are."""
    return (
        f"{int((cutoff > end).sum())} of {len(cutoff)} cutoffs lie after "
        f"{clock.as_scalar(end)}, {what}, up to {clock.as_scalar(cutoff.max())}"
    )


def _tolerance(timeline: Timeline, end: Any, is_given: bool) -> Any:
    """Return how long after the `end` of observation cutoffs may lie, in ticks."""
    usual = longest_silence(end - timeline.span[0], timeline.clock)
    per_day = timeline.clock.ticks_per_day()
    if per_day is None:
        return usual
    if is_given:
        # A date is given as the midnight before it, or as the one after it.
        return min(usual, per_day)
    return min(usual, _silence_by_events(timeline.times, per_day, usual))


def _silence_by_events(times: np.ndarray, per_day: float, otherwise: Any) -> Any:
    """Return the longest usual time without events, in ticks.

    It is `otherwise` if the `times` (n_events,) are too few to judge by.
    """
    if len(times) < _MANY:
        return otherwise
    first, last = times.min(), times.max()
    has_events = np.zeros(int((last - first) // per_day) + 1, dtype="bool")
    for start in range(0, len(times), _PART):
        days = (times[start : start + _PART] - first) // per_day
        has_events[days.astype("int64")] = True
    silent_days = np.diff(np.flatnonzero(has_events)).max(initial=0)
    return max(_SILENCES * silent_days, _SILENT_DAYS) * per_day


def longest_silence(span: Any, clock: Clock) -> Any:
    """Return the longest time without events that is usual after a span of events.

    `span` is the time from the first event to the last one, in ticks.
    """
    per_day = clock.ticks_per_day()
    if per_day is None:
        return np.maximum(span, _FEW)
    return np.maximum(_LATE * span, _LATE_DAYS * per_day)


def warn_early_cutoffs(timeline: Timeline, cutoffs: np.ndarray) -> None:
    """Warn if no cutoff lies after the first event, so that no history has any.

    `cutoffs` (n,) are ascending, and the log has events.
    """
    clock, first = timeline.clock, timeline.times.min()
    if cutoffs[-1] > first:
        return
    warn_user(
        f"No cutoff lies after the first event of the log, at {clock.as_scalar(first)},"
        f" so that there is no row; the last cutoff is {clock.as_scalar(cutoffs[-1])}."
    )


def warn_early_end(timelines: Mapping[str, Timeline], kind: str) -> None:
    """Warn of a kind of events that limits observation long before the others.

    `timelines` are those of all kinds, on one clock; `kind` is the one whose
    observation ends first.
    """
    clock, end = timelines[kind].clock, timelines[kind].observed_until
    spans = [one.span for one in timelines.values()]
    first, last = min(low for low, _ in spans), max(high for _, high in spans)
    per_day = clock.ticks_per_day()
    if per_day is None and sum(len(one.times) for one in timelines.values()) <= _FEW:
        return
    if last - end <= max(_EARLY * (last - first), _EARLY_DAYS * (per_day or 0)):
        return
    early, late = clock.as_scalar(end), clock.as_scalar(last)
    warn_user(
        f"The last event of kind {kind!r} is at {early}, and other kinds last until "
        f"{late}. Without a later observed_until of {kind!r}, the merged log is "
        f"observed until {early}: for targets, all windows after it are incomplete. If "
        f"all kinds were recorded until {late}, write "
        f"EventLog.concat(..., observed_until={as_code(late)}); if not, "
        f"observed_until={as_code(early)} confirms the end."
    )


def as_code(time: Any) -> str:
    """Return a time as the user would write it in code."""
    return repr(str(time)) if isinstance(time, pd.Timestamp) else repr(time)
