"""Warnings about dates that are probably wrong: of events, and of the observation.

An event long after all others is one: the log then counts as observed until its wrong
date. So are events years before all others, and an `observed_until` years after them.
Plain numbers that are written like dates, 20240131 or 202401, give wrong durations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import DATES_OF_NUMBERS, Clock, Timeline
from sklearn_seqcrm.events._warnings._far_times import as_code, longest_silence

# Late events, of a wrong date, are at most this share of all, or one of this many. The
# last event of fewer is no scale for the end of observation, either.
_ISOLATED, _MANY = 0.001, 100
# No earlier silence of the log may be longer than this share of the one before them: a
# shop of one season is silent each year.
_EARLIER_SILENCE = 0.1
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


def warn_wrong_dates(timeline: Timeline, time: str, observed_until: Any) -> None:
    """Warn of dates of a new log that are probably wrong.

    `time` is the name of the column of times, and `observed_until` what the user gave;
    None: nothing, so that nothing confirms late events.
    """
    if observed_until is None:
        _warn_isolated_events(timeline, time)
    warn_far_beginning(timeline.clock, timeline.times, time)
    warn_far_observation(timeline)


def warn_wrong_new_dates(
    timeline: Timeline, time: str, observed_until: Any, before: Timeline
) -> None:
    """Warn of dates that are probably wrong, and that the log did not have `before`.

    Other arguments are as in `warn_wrong_dates`, of the log with new events.
    """
    if observed_until is None:
        last = before.times.max(initial=timeline.times.min())
        _warn_isolated_events(timeline, time, since=last)
    elif timeline.observed_until != before.observed_until:
        warn_far_observation(timeline)
    if timeline.span[0] < before.span[0]:
        warn_far_beginning(timeline.clock, timeline.times, time)


def _warn_isolated_events(timeline: Timeline, time: str, since: Any = None) -> None:
    """Warn of one or a few events long after all others, which may have a wrong date.

    For logs without a given end of observation: if the user gives it, events after it
    are an error already.

    ::

        first of the bulk            last of the bulk         isolated
        |-|--|-|||--|-||-|--|-||---|-|----------- silence -------|

    `time` is the name of the column of times. There is a warning only if the events are
    later than `since`; None: always.
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
    warn_user(text)


def warn_isolated_times(
    clock: Clock, times: np.ndarray, counts: np.ndarray, time: str
) -> None:
    """Warn of isolated late events, as `warn_wrong_dates` does.

    `times` (n,) are distinct and ascending, and `counts` (n,) are the numbers of events
    at them.
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
    warn_user(text)


def _about_isolated(
    clock: Clock, late: Any, bulk: Any, time: str, share: str, customer: str = ""
) -> str:
    """Return the text of the warning about isolated events."""
    return (
        f"{share} events are long after all others, the first of them at "
        f"{clock.as_scalar(late)}{customer}; the others end at "
        f"{clock.as_scalar(bulk)}. The log counts as observed until the last event, so "
        "that no target before it is censored. If dates are wrong, correct or drop the "
        f"rows with events[{time!r}] >= {as_code(clock.as_scalar(late))}. If they are "
        "right, confirm them by observed_until=..., the last time that the events "
        "cover."
    )


def _first_isolated(times: np.ndarray, clock: Clock) -> Any:
    """Return the time of the first isolated event, None if there is none."""
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
    is_long = silence > longest_silence(tail[:-1] - low, clock)
    if not is_long.any():
        return None
    first = int(np.argmax(is_long))
    bulk = np.sort(times[(times >= low) & (times <= tail[first])])
    if np.diff(bulk).max() > _EARLIER_SILENCE * silence[first]:
        return None
    return tail[first + 1]


def warn_far_beginning(
    clock: Clock, times: np.ndarray, time: str, counts: np.ndarray | None = None
) -> None:
    """Warn of events many years before all others, whose date often means "unknown".

    ::

        1900                               first of the bulk    last of the bulk
        |----------- silence --------------|-|--|-|||--|-||-|--|-||---|

    Only datetimes are judged. `counts` (n,) are the numbers of events at each of the
    `times` (n,), whose column is `time`; None: 1.
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
    warn_user(
        f"{counts[early].sum():,} of {n_events:,} events came "
        f"{silence:.0f} years before all others, the last of them "
        f"at {clock.as_scalar(times[early].max())}; the others begin at {bulk}. Such "
        "dates often stand for an unknown one. As first events of their customers they "
        "stretch tenures, and snapshots_every begins with them. If they are wrong, "
        f"correct or drop the rows with events[{time!r}] < {as_code(bulk)}. If they "
        "are right, ignore this warning."
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
    """Warn of an end of observation years after the last event, among datetimes."""
    clock, per_day = timeline.clock, timeline.clock.ticks_per_day()
    if per_day is None or len(timeline.times) < _MANY:
        return
    first, last = int(timeline.times.min()), int(timeline.times.max())
    silence = int(timeline.observed_until) - last
    if silence <= max(last - first, _FAR_DAYS * per_day):
        return
    warn_user(
        f"observed_until is {clock.as_scalar(timeline.observed_until)}, "
        f"{silence / per_day / 365.25:.0f} years after the last event at "
        f"{clock.as_scalar(last)}, so that all customers look inactive in between. If "
        "that is a wrong date, correct it."
    )


# Integers that are written like dates -------------------------------------------------


def warn_date_like_times(timeline: Timeline, what: str) -> None:
    """Warn if all times are integers that are written like dates: 20240131 or 202401.

    From the end of January to the first of February they are 70 apart, and not 1, and
    from December to January 89, so that no duration is right. The warning names them
    `what`.
    """
    form = _date_format(timeline)
    if form is None:
        return
    low, high = timeline.span
    unit, way = ("days", "") if form == "%Y%m%d" else ("months", f", format={form!r}")
    warn_user(
        f"The {what} are plain numbers that look like dates, {int(low)} to {int(high)}."
        f" Differences between them are not numbers of {unit}. Convert them first, "
        f"with {DATES_OF_NUMBERS.removesuffix(')')}{way})."
    )


def are_date_like(timeline: Timeline) -> bool:
    """Return whether all times are integers that are written like dates or months."""
    return _date_format(timeline) is not None


def _date_format(timeline: Timeline) -> str | None:
    """Return the format of times that are integers like 20240131 or 202401, or None."""
    low, high = timeline.span
    # The span decides about most logs, without a pass over their times.
    spans = {"%Y%m%d": (1970_01_01, 2100_12_31), "%Y%m": (1970_01, 2100_12)}
    forms = [x for x, (first, last) in spans.items() if first <= low <= high <= last]
    if timeline.clock.unit is not None or not forms:
        return None
    times = pd.unique(timeline.times)
    if (times % 1).any():
        return None
    dates = pd.Series(times.astype("int64")).astype(str)
    are_dates = pd.to_datetime(dates, format=forms[0], errors="coerce").notna().all()
    return forms[0] if are_dates else None
