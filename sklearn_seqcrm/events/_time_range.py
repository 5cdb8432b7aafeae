"""Times that are too far from those of a log: errors of arithmetic, and warnings.

::

    first event        last event    end of observation    cutoff
    |----------- span -------|------------|---- late? ------|

A cutoff that is late by more than a tenth of the span, and by a month, is a warning:
all customers look inactive only because the log ends early. So is an event that late
after all others: the log then counts as observed until its wrong date. And so are
events years before all others.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import MAX_TICK, Clock, Timeline

# Cutoffs may lie this share of the span after the end of observation without a warning.
# For datetimes, it is a month at least: a young log may be updated as rarely. Plain
# numbers may be days or mere steps: for them, it is the whole span.
_LATE, _LATE_DAYS = 0.1, 31
# One kind of events may end earlier than the others by this share of the span, or days.
_EARLY, _EARLY_DAYS = 0.1, 7
# Late events, of a wrong date, are at most this share of all, or one of this many. The
# last event of fewer is no scale for the end of observation, either.
_ISOLATED, _MANY = 0.001, 100
# No earlier silence of the log may be longer than this share of the one before them: a
# shop of one season is silent each year.
_LONGEST_SILENCE = 0.1
# An end of observation this long after the last event, and after a longer time than all
# events span, is a wrong date. Rare kinds of events often end a year before it. So are
# events this long before all others, and for a longer time than those span.
_FAR_DAYS = 3 * 365
_FAR_SHARE = 0.2  # at most, of events this early
# Early events on more days than this, unless they are very few, are right: births, or
# the orders that an archive kept.
_FAR_DATES = 10
# Times from which the bulk of the times is estimated.
_SOME_TIMES = 100_000
# A span of plain numbers this short, or of this few events, is too short to judge by.
_FEW = 20


def check_time_range(
    timeline: Timeline, what: str, times: np.ndarray | None = None
) -> None:
    """Raise a ValueError if differences of times overflow.

    Everything computed from times, such as the age of an event, is a difference. In
    int64 an overflow would turn the oldest event into the latest one; floats would be
    infinite.

    Parameters
    ----------
    timeline : Timeline
        Times and observation window of a log.
    what : str
        How an error names the times.
    times : ndarray of shape (n,) or None, default=None
        Further times on the axis of the log.
    """
    low, high = timeline.span
    clock = timeline.clock
    if times is not None and len(times):
        low, high = min(low, times.min().item()), max(high, times.max().item())
    if clock.dtype == "float64":
        fits = math.isfinite(high - low)
    else:
        fits = high - low <= MAX_TICK
    if not fits:
        raise ValueError(
            f"{what} make the log span from {clock.as_scalar(low)} to "
            f"{clock.as_scalar(high)}, which is more than {_longest_span(clock)}. "
            "Leave out times that mean 'never' or 'unknown', or use a coarser unit."
        )


def _longest_span(clock: Clock) -> str:
    """Describe the largest difference on an axis."""
    if clock.dtype == "float64":
        return "floats can be apart"
    if clock.unit is None:
        return "integers of 64 bits can be apart"
    years = MAX_TICK // (clock.whole_step * 366)
    return f"the {years:,} years that times of its unit {clock.unit} can be apart"


def warn_late_cutoffs(timeline: Timeline, cutoff: np.ndarray) -> None:
    """Warn of cutoffs long after the end of observation.

    Features that count from the cutoff would show inactive customers, although nothing
    was observed.

    Parameters
    ----------
    timeline : Timeline
        Times and observation window of a log.
    cutoff : ndarray of shape (n,)
        Cutoffs on its axis.
    """
    clock, (first, last) = timeline.clock, timeline.span
    latest, end = cutoff.max(initial=last), max(timeline.end, last)
    per_day = clock.ticks_per_day()
    if per_day is not None:
        patience = max(_LATE * (end - first), _LATE_DAYS * per_day)
    else:
        patience = max(end - first, _FEW)
    # Events at a single time, or few numbers, give no scale to judge by.
    has_scale = first < last and (per_day is not None or len(timeline.times) > _FEW)
    if not has_scale or latest - end <= patience:
        return
    n_late = int((cutoff > last).sum())
    warnings.warn(
        f"{n_late} of {len(cutoff)} cutoffs lie after {clock.as_scalar(last)}, the "
        f"last time that the log has recorded, up to {clock.as_scalar(latest)}, so "
        "that all customers look inactive in between. Bring the log up to date by "
        "log.append(...); or, if it was recorded for longer than until its last "
        "event, EventLog(..., observed_until=...).",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def warn_early_cutoffs(timeline: Timeline, cutoffs: np.ndarray) -> None:
    """Warn if no cutoff lies after the first event, so that no history has any.

    Parameters
    ----------
    timeline : Timeline
        Times of a log with events.
    cutoffs : ndarray of shape (n,)
        Ascending cutoffs on its axis.
    """
    clock, first = timeline.clock, timeline.times.min()
    if cutoffs[-1] > first:
        return
    warnings.warn(
        f"No cutoff lies after the first event of the log, at {clock.as_scalar(first)},"
        f" so that there is no row; the last cutoff is {clock.as_scalar(cutoffs[-1])}.",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def warn_early_end(timelines: dict[str, Timeline], kind: str) -> None:
    """Warn of a kind of events that limits observation long before the others.

    Parameters
    ----------
    timelines : dict of str to Timeline
        The kinds, on one clock.
    kind : str
        The kind whose observation ends first.
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
        f"The last event of kind {kind!r} is at {early}, and other kinds last until "
        f"{late}. Without a later observed_until of {kind!r}, the merged log is "
        f"observed until {early}: for targets, all windows after it are incomplete. If "
        f"all kinds were recorded until {late}, write "
        f"EventLog.concat(..., observed_until={_as_code(late)}); if not, "
        f"observed_until={_as_code(early)} confirms the end.",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def _as_code(time: Any) -> str:
    """Return a time as the user would write it in code."""
    return repr(str(time)) if isinstance(time, pd.Timestamp) else repr(time)


def warn_isolated_events(timeline: Timeline, time: str, since: Any = None) -> None:
    """Warn of one or a few events long after all others, which may have a wrong date.

    For logs without a given end of observation: if the user gives it, events after it
    are an error already.

    ::

        first of the bulk            last of the bulk         isolated
        |-|--|-|||--|-||-|--|-||---|-|----------- silence -------|

    Parameters
    ----------
    timeline : Timeline
        Times of a log.
    time : str
        Name of their column.
    since : int, float or None, default=None
        Warn only if the events are later than this time; None: always.
    """
    if timeline.observed_until > timeline.times.max():  # of an appended log
        return
    times, clock = timeline.times, timeline.clock
    late = _first_isolated(times, clock)
    if late is None or (since is not None and late <= since):
        return
    where = np.flatnonzero(times >= late)
    bulk = times[times < late].max()
    code = timeline.codes_of(where[[np.argmin(times[where])]])
    (one,) = timeline.customers[code].tolist()
    share = f"{len(where)} of {len(times):,}"
    text = _about_isolated(clock, late, bulk, time, share, f", of customer {one!r}")
    warnings.warn(text, UserWarning, stacklevel=user_stacklevel())


def warn_isolated_times(
    clock: Clock, times: np.ndarray, counts: np.ndarray, time: str
) -> None:
    """Warn as `warn_isolated_events` does, of distinct times and their counts.

    Parameters
    ----------
    clock : Clock
        The axis of the times.
    times : ndarray of shape (n,)
        Ascending times.
    counts : ndarray of shape (n,), int64
        Number of events at each.
    time : str
        Name of the column of times.
    """
    n_events = int(counts.sum())
    # Rounded up: a rare time stays one of the times.
    share = min(1.0, _SOME_TIMES / n_events)
    repeats = np.ceil(counts * share).astype("int64")
    late = _first_isolated(np.repeat(times, repeats), clock)
    if late is None:
        return
    place = int(np.searchsorted(times, late))
    share_of = f"{int(counts[place:].sum())} of {n_events:,}"
    text = _about_isolated(clock, late, times[place - 1], time, share_of)
    warnings.warn(text, UserWarning, stacklevel=user_stacklevel())


def _about_isolated(
    clock: Clock, late: Any, bulk: Any, time: str, share: str, customer: str = ""
) -> str:
    """Return the text of the warning about isolated events."""
    return (
        f"{share} events are long after all others, the first of them at "
        f"{clock.as_scalar(late)}{customer}; the others end at "
        f"{clock.as_scalar(bulk)}. The log counts as observed until the last event, so "
        "that no target before it is censored. If dates are wrong, correct or drop the "
        f"rows with events[{time!r}] >= {_as_code(clock.as_scalar(late))}. If they are "
        "right, confirm them by observed_until=..., the last time that the events "
        "cover."
    )


def _first_isolated(times: np.ndarray, clock: Clock) -> Any:
    """Return the time of the first isolated event, None if there is none."""
    per_day = clock.ticks_per_day()
    n = len(times)
    if n < _MANY:
        return None
    # A sample decides about most logs, without a sort.
    some = np.sort(times[:: n // _SOME_TIMES + 1])
    margin = int(_ISOLATED * len(some)) + 1
    low, high = some[margin], some[-1 - margin]
    if low == high:
        return None
    # The last events of the bulk, and those after it.
    tail = np.append(high, np.sort(times[times > high]))
    silence = np.diff(tail)
    span = tail[:-1] - low
    if per_day is None:
        is_long = silence > np.maximum(span, _FEW)
    else:
        is_long = silence > np.maximum(_LATE * span, _LATE_DAYS * per_day)
    if not is_long.any():
        return None
    first = int(np.argmax(is_long))
    bulk = np.sort(times[(times >= low) & (times <= tail[first])])
    if np.diff(bulk).max() > _LONGEST_SILENCE * silence[first]:
        return None
    return tail[first + 1]


def warn_far_beginning(
    clock: Clock, times: np.ndarray, time: str, counts: np.ndarray | None = None
) -> None:
    """Warn of events many years before all others, whose date often means "unknown".

    ::

        1900                               first of the bulk    last of the bulk
        |----------- silence --------------|-|--|-|||--|-||-|--|-||---|

    Parameters
    ----------
    clock : Clock
        The axis of the times; only datetimes are judged.
    times : ndarray of shape (n,)
        Times of the events.
    time : str
        Name of their column.
    counts : ndarray of shape (n,) or None, default=None
        Number of events at each time; None: 1.
    """
    if counts is None:
        counts = np.broadcast_to(1, times.shape)
    n_events = int(counts.sum())
    found = _first_of_bulk(times, counts, n_events, clock)
    if found is None:
        return
    begin, silence = found
    early = times < begin
    bulk = clock.as_scalar(begin)
    warnings.warn(
        f"{counts[early].sum():,} of {n_events:,} events came "
        f"{silence:.0f} years before all others, the last of them "
        f"at {clock.as_scalar(times[early].max())}; the others begin at {bulk}. Such "
        "dates often stand for an unknown one. As first events of their customers they "
        "stretch tenures, and snapshots_every begins with them. If they are wrong, "
        f"correct or drop the rows with events[{time!r}] < {_as_code(bulk)}. If they "
        "are right, ignore this warning.",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def _first_of_bulk(
    times: np.ndarray, counts: np.ndarray, n_events: int, clock: Clock
) -> tuple[int, float] | None:
    """Return the first time after far earlier ones, and the years between them."""
    per_day = clock.ticks_per_day()
    if per_day is None or n_events < _MANY:
        return None
    far, found = int(_FAR_DAYS * per_day), None
    begin, last = int(times.min()), int(times.max())
    # From one time to the next that is far from it: early ones may lie apart.
    while last - begin > far:
        begin = int(times[times > begin + far].min())
        is_early = times < begin
        early, n_early = times[is_early], int(counts[is_early].sum())
        if n_early > _FAR_SHARE * n_events:
            break
        silence = begin - int(early.max())
        # Wrong dates are very few, or on a few days.
        may_be_wrong = (
            n_early <= _ISOLATED * n_events
            or len(np.unique(early // per_day)) <= _FAR_DATES
        )
        if silence > max(last - begin, far) and may_be_wrong:
            found = begin, silence / per_day / 365.25
    return found


def warn_far_observation(timeline: Timeline) -> None:
    """Warn of an end of observation years after the last event.

    Parameters
    ----------
    timeline : Timeline
        Times and observation window of a log of datetimes; other logs pass.
    """
    clock, per_day = timeline.clock, timeline.clock.ticks_per_day()
    if per_day is None or len(timeline.times) < _MANY:
        return
    first, last = int(timeline.times.min()), int(timeline.times.max())
    silence = int(timeline.observed_until) - last
    if silence <= max(last - first, _FAR_DAYS * per_day):
        return
    warnings.warn(
        f"observed_until is {clock.as_scalar(timeline.observed_until)}, "
        f"{silence / per_day / 365.25:.0f} years after the last event at "
        f"{clock.as_scalar(last)}, so that all customers look inactive in between. If "
        "that is a wrong date, correct it.",
        UserWarning,
        stacklevel=user_stacklevel(),
    )
