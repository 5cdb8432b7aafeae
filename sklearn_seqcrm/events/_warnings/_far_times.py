"""Warnings about times that are far from those of a log: cutoffs, and kinds that end.

::

    first event        last event    end of observation    cutoff
    |----------- span -------|------------|---- late? ------|

A cutoff that is late by more than a tenth of the span, and by a month, is a warning:
all customers look inactive only because the log ends early. So is a kind of events that
ends long before the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock, Timeline

# Cutoffs may lie this share of the span after the end of observation without a warning.
# For datetimes, it is a month at least: a young log may be updated as rarely. Plain
# numbers may be days or mere steps: for them, it is the whole span.
_LATE, _LATE_DAYS = 0.1, 31
# One kind of events may end earlier than the others by this share of the span, or days.
_EARLY, _EARLY_DAYS = 0.1, 7
# A span of plain numbers this short, or of this few events, is too short to judge by.
_FEW = 20


def warn_late_cutoffs(timeline: Timeline, cutoff: np.ndarray) -> None:
    """Warn of cutoffs long after the end of observation.

    Features that count from the `cutoff` (n,) would show inactive customers, although
    nothing was observed.
    """
    clock, (first, last) = timeline.clock, timeline.span
    latest, end = cutoff.max(initial=last), max(timeline.end, last)
    # Events at a single time, or few numbers, give no scale to judge by.
    has_scale = first < last and (clock.unit is not None or len(timeline.times) > _FEW)
    if not has_scale or latest - end <= longest_silence(end - first, clock):
        return
    n_late = int((cutoff > last).sum())
    warn_user(
        f"{n_late} of {len(cutoff)} cutoffs lie after {clock.as_scalar(last)}, the "
        f"last time that the log has recorded, up to {clock.as_scalar(latest)}, so "
        "that all customers look inactive in between. Bring the log up to date by "
        "log.append(...); or, if it was recorded for longer than until its last "
        "event, EventLog(..., observed_until=...)."
    )


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
