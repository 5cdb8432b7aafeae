"""Times that lie too far from those of a log to be told apart, or to be meant."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import LONGEST, Clock, Timeline

# How far past its record a log may be read without a word, as a share of what it spans.
# Datetimes get a month at least, which is how seldom a young log may be brought up to
# date. Numbers may be days or mere steps: only as far again is far.
_LATE, _LATE_DAYS = 0.1, 31
# How much earlier than the others one kind of events may end.
_EARLY, _EARLY_DAYS = 0.1, 7
# A span of so few numbers, or of numbers of so few events, says nothing.
_FEW = 20


def refuse_wide(timeline: Timeline, what: str, times: np.ndarray | None = None) -> None:
    """Raise a ValueError if times lie further apart than numbers of the axis can tell.

    All that is made of times, such as the age of an event, are differences. Those of
    int64 would come round and make the oldest event the latest; those of floats would
    be infinite.

    Parameters
    ----------
    timeline : Timeline
        Events and record of a log.
    what : str
        How an error names the times.
    times : ndarray of shape (n,) or None, default=None
        Times on the axis of the log, to be looked at beside its own.
    """
    low, high = timeline.span
    clock = timeline.clock
    if times is not None and len(times):
        low, high = min(low, times.min().item()), max(high, times.max().item())
    if clock.dtype == "float64":
        fits = math.isfinite(high - low)
    else:
        fits = high - low <= LONGEST
    if not fits:
        raise ValueError(
            f"{what} make the log span from {clock.as_scalar(low)} to "
            f"{clock.as_scalar(high)}, which is more than {_room(clock)}. Leave out "
            "times that stand for 'never' or 'unknown', or use a coarser unit."
        )


def _room(clock: Clock) -> str:
    if clock.dtype == "float64":
        return "floats can be apart"
    if clock.unit is None:
        return "integers of 64 bits can be apart"
    years = LONGEST // (int(clock.ticks_per_day() or 1) * 366)
    return f"the {years:,} years that times of its unit {clock.unit} can be apart"


def warn_of_silence(timeline: Timeline, cutoff: np.ndarray, stacklevel: int) -> None:
    """Warn of cutoffs a long way past everything that the log has recorded.

    To all that is counted from the cutoff, customers were silent since the last event,
    although nobody looked.

    Parameters
    ----------
    timeline : Timeline
        Events and record of a log.
    cutoff : ndarray of shape (n,)
        Cutoffs on its axis.
    stacklevel : int
        That of `warnings.warn` for the caller.
    """
    clock, (first, last) = timeline.clock, timeline.span
    latest, end = cutoff.max(initial=last), max(timeline.end, last)
    per_day = clock.ticks_per_day()
    if per_day is not None:
        patience = max(_LATE * (end - first), _LATE_DAYS * per_day)
    else:
        patience = max(end - first, _FEW)
    # What happened at one moment alone has no pace that silence could be told from.
    tells = first < last and (per_day is not None or len(timeline.times) > _FEW)
    if not tells or latest - end <= patience:
        return
    n_late = int((cutoff > last).sum())
    warnings.warn(
        f"{n_late} of {len(cutoff)} cutoffs lie after {clock.as_scalar(last)}, the "
        f"last moment that the log has recorded, up to {clock.as_scalar(latest)}, so "
        "that all customers look silent in between. Bring the log up to date by "
        "log.append(...); or, if it was recorded for longer than until its last "
        "event, EventLog(..., observed_until=...).",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def warn_of_early_end(
    timelines: dict[str, Timeline], kind: str, stacklevel: int
) -> None:
    """Warn of a kind of events that ends the record of a log long before the others.

    Parameters
    ----------
    timelines : dict of str to Timeline
        The kinds, on one clock.
    kind : str
        The one whose record ends first.
    stacklevel : int
        That of `warnings.warn` for the caller.
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
    warnings.warn(
        f"The last event of kind {kind!r} is at {early}, and other kinds go on until "
        f"{late}. As nothing says that {kind!r} was recorded for longer, the record "
        f"of the merged log ends with it: targets take all windows beyond {early} for "
        f"incomplete. If all kinds were recorded until {late}, write "
        f"EventLog.concat(..., observed_until={_written(late)}); if not, "
        f"observed_until={_written(early)} says so.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def _written(time: Any) -> str:
    """A time as a user writes it."""
    return repr(str(time)) if isinstance(time, pd.Timestamp) else repr(time)
