"""Choose when to look at whom: the customer and the cutoff of each snapshot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like
from pandas.tseries.frequencies import to_offset

from sklearn_seqcrm.events._checks import refuse_missing
from sklearn_seqcrm.events._clock import LONGEST, Clock
from sklearn_seqcrm.events._reach import refuse_wide
from sklearn_seqcrm.events._timeline import Timeline


class Moments(NamedTuple):
    """Customers and cutoffs.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        Customer codes.
    cutoff : ndarray of shape (n,)
        Cutoffs on the axis of the timeline.
    stop : ndarray of shape (n,), int64
        First event of the customer that is not before the cutoff.
    """

    codes: np.ndarray
    cutoff: np.ndarray
    stop: np.ndarray

    def keep(self, rows: np.ndarray) -> Moments:
        """Return some of them."""
        return Moments(self.codes[rows], self.cutoff[rows], self.stop[rows])

    def within(self, start: Any, end: Any) -> Moments:
        """Return those from one time to another, None for no bound."""
        keep = np.ones(len(self.codes), dtype=bool)
        if start is not None:
            keep &= self.cutoff >= start
        if end is not None:
            keep &= self.cutoff <= end
        return self.keep(keep)


class Every(NamedTuple):
    """Regular cutoffs, in place of listed ones.

    Parameters
    ----------
    ticks : int or float
        Distance between them.
    """

    ticks: float


def choose_moments(
    timeline: Timeline,
    cutoffs: Any,
    start: Any,
    end: Any,
    chosen: np.ndarray | None,
    random_state: Any,
    min_events: int,
    active_within: float | None,
) -> Moments:
    """Choose moments as `EventLog.snapshots` documents it, with times in ticks.

    Parameters
    ----------
    timeline : Timeline
        Events.
    cutoffs : Every, "events", "random", or times as a user writes them
        Which moments.
    start, end : int, float or None
        Bounds.
    chosen : ndarray of int, or None
        For ``"events"``, positions of the events to look at; None for all.
    random_state : int, RandomState or None
        For ``"random"``.
    min_events, active_within
        As in `known_well_enough`.

    Returns
    -------
    Moments
        Customers and cutoffs.
    """
    filters: dict[str, Any] = {"min_events": min_events, "active_within": active_within}
    if isinstance(cutoffs, Every):
        return at_fixed(
            timeline, regular(timeline, cutoffs.ticks, start, end), **filters
        )
    if not (isinstance(cutoffs, str) and cutoffs in ("events", "random")):
        return at_fixed(timeline, listed(timeline, cutoffs), **filters)
    if cutoffs == "random":
        moments = at_random(timeline, random_state, start, end)
    else:
        moments = at_events(timeline, slice(None) if chosen is None else chosen)
        moments = moments.within(start, end)
    return known_well_enough(moments, timeline, **filters)


def known_well_enough(
    moments: Moments, timeline: Timeline, min_events: int, active_within: float | None
) -> Moments:
    """Keep the moments at which enough is known of the customer.

    Parameters
    ----------
    moments : Moments of n
        Customers and cutoffs.
    timeline : Timeline
        Their events.
    min_events : int
        Fewest events before the cutoff.
    active_within : float or None
        Most ticks from the last of them to the cutoff.
    """
    n_events = moments.stop - timeline.offsets[moments.codes]
    keep = n_events >= min_events
    if active_within is not None:
        keep &= n_events > 0
        last = timeline.times[np.maximum(moments.stop - 1, 0)]
        keep &= moments.cutoff - last <= active_within
    return moments if keep.all() else moments.keep(keep)


def at_fixed(timeline: Timeline, cutoffs: np.ndarray, **filters: Any) -> Moments:
    """All customers at each of some cutoffs; sorted by cutoff, then customer.

    Parameters
    ----------
    timeline : Timeline
        Events.
    cutoffs : ndarray of shape (n_cutoffs,)
        Ascending cutoffs.
    **filters
        Parameters of `known_well_enough`, which is applied to each cutoff by itself,
        so that nothing is ever stored for customers who are left out.
    """
    refuse_wide(timeline, "cutoffs", cutoffs)
    everyone = np.arange(len(timeline.customers))
    columns: list[list[np.ndarray]] = [[], [], []]
    for cutoff in cutoffs:
        at = np.full(len(everyone), cutoff)
        stop = timeline.positions(everyone, at)
        moments = Moments(everyone, at, stop)
        moments = known_well_enough(moments, timeline, **filters)
        for column, values in zip(columns, moments, strict=True):
            column.append(values)
    del moments, at, stop, values
    joined = []
    for column in columns:  # one at a time, so that only one is ever held twice
        joined.append(np.concatenate(column))
        column.clear()
    return Moments(*joined)


def at_events(timeline: Timeline, chosen: np.ndarray | slice = slice(None)) -> Moments:
    """Each customer right before each of their events; sorted by customer, then time.

    Parameters
    ----------
    timeline : Timeline
        Events.
    chosen : ndarray of int, or slice, default=slice(None)
        Ascending positions of the events to look at; of those at one time, one row.
    """
    starts_run = np.ones(len(timeline.times), dtype=bool)
    np.not_equal(timeline.times[1:], timeline.times[:-1], out=starts_run[1:])
    starts_run[timeline.offsets[:-1]] = True
    run_of_event = np.cumsum(starts_run) - 1
    looked_at = np.zeros(run_of_event[-1] + 1, dtype=bool)
    looked_at[run_of_event[chosen]] = True
    stop = np.flatnonzero(starts_run)[looked_at]
    codes = np.repeat(np.arange(len(timeline.customers)), timeline.counts)[stop]
    return Moments(codes, timeline.times[stop], stop)


def at_random(timeline: Timeline, random_state: Any, start: Any, end: Any) -> Moments:
    """Each customer at one moment after their first event, uniform up to an end.

    Parameters
    ----------
    timeline : Timeline
        Events.
    random_state : int, RandomState or None
        Source of the moments.
    start, end : int, float or None
        Bounds on the axis of the timeline, `end` included. None: no other than the
        first event, and the end of the record.
    """
    rng = random_state
    if not isinstance(rng, np.random.RandomState):
        rng = np.random.RandomState(random_state)
    last = timeline.observed_until if end is None else end
    refuse_wide(timeline, "end", np.array([last]))
    low = timeline.times[timeline.offsets[:-1]].copy()
    if timeline.clock.dtype == "int64":
        low += 1  # the first event is to be seen
    if start is not None:
        np.maximum(low, start, out=low)
    codes = np.flatnonzero(low <= last)
    low = low[codes]
    if timeline.clock.dtype == "int64":
        cutoff = rng.randint(low, int(last) + 1, dtype="int64")
    else:
        cutoff = rng.uniform(low, last)
    return Moments(codes, cutoff, timeline.positions(codes, cutoff))


def read_every(timeline: Timeline, every: Any, start: Any, end: Any) -> Every:
    """Read a distance between cutoffs, and say what to write for months.

    Parameters
    ----------
    timeline : Timeline
        Events.
    every : Timedelta, str or number
        The distance, as a user writes it.
    start, end : int, float or None
        As `regular` takes them.
    """
    clock = timeline.clock
    step = None if clock.unit is None else _calendar_step(every)
    if step is None:
        return Every(clock.duration(every, "every"))
    first = clock.as_scalar(timeline.times.min() if start is None else start)
    last = clock.as_scalar(timeline.observed_until if end is None else end)
    raise ValueError(
        f"every={every!r} is a step of the calendar, which is not always as long; list "
        f"the cutoffs: snapshots(pd.date_range({str(first)!r}, {str(last)!r}, "
        f"freq={step!r}, normalize=True))."
    )


def _calendar_step(every: Any) -> str | None:
    """Name of a step such as a month; None for what has one length, or is no step."""
    if not isinstance(every, str | pd.offsets.BaseOffset):
        return None
    try:
        offset = to_offset(every)
    except ValueError:
        return None
    fixed = pd.offsets.Tick | pd.offsets.Day | pd.offsets.Week
    return None if isinstance(offset, fixed) else offset.freqstr


def regular(timeline: Timeline, every: Any, start: Any, end: Any) -> np.ndarray:
    """Cutoffs at equal distances, up to an end.

    Parameters
    ----------
    timeline : Timeline
        Events.
    every : int or float
        Ticks between cutoffs, more than 0.
    start, end : int, float or None
        First cutoff, by default `every` after the first event; latest cutoff, by
        default the end of the record.
    """
    if timeline.clock.dtype == "int64" and every != int(every):
        raise ValueError(
            f"every is {every} of the unit of time of the log, and would make cutoffs "
            "between its times; choose a whole number of "
            f"{timeline.clock.unit or 'ones'}."
        )
    # Python's integers do not overflow when a long distance is added.
    number = int if timeline.clock.dtype == "int64" else float
    first = number(timeline.times.min()) + every if start is None else number(start)
    last = number(timeline.observed_until if end is None else end)
    if not every:
        raise ValueError("every must be longer than 0.")
    if first > last:
        clock = timeline.clock
        first = min(first, LONGEST) if number is int else first
        raise ValueError(
            f"There is no cutoff from {clock.as_scalar(first)} to "
            f"{clock.as_scalar(last)}; choose a shorter distance, or other ends."
        )
    return first + every * np.arange(int((last - first) // every) + 1)


def listed(timeline: Timeline, cutoffs: Any) -> np.ndarray:
    """Read cutoffs that a user lists, ascending and without repeats."""
    one_or_many: Any = list(cutoffs) if is_list_like(cutoffs) else [cutoffs]
    clock = timeline.clock
    moments = pd.Series([_moment(cutoff, clock) for cutoff in one_or_many])
    if not len(moments):
        raise ValueError("cutoffs is empty; it needs at least one time.")
    refuse_missing(moments, "sequence cutoffs")
    return np.unique(clock.read(moments, "cutoffs"))


def _moment(cutoff: Any, clock: Clock) -> Any:
    if not isinstance(cutoff, str):
        return cutoff
    try:
        time = pd.Timestamp(cutoff)
    except ValueError as error:
        raise ValueError(
            f"cutoffs must be times, 'events' or 'random'; got {cutoff!r}."
        ) from error
    return time if clock.unit is None else clock.parse(cutoff, "cutoffs")


def refuse_unused(cutoffs: Any, every: Any, options: dict[str, Any]) -> None:
    """Raise a TypeError for options that another way to choose cutoffs takes.

    Parameters
    ----------
    cutoffs, every
        As `EventLog.snapshots` takes them.
    options : dict of str to object
        ``start``, ``end``, ``kinds`` and ``random_state``, None where not given.
    """
    way = "every" if every is not None else cutoffs
    taken = {
        "every": ("start", "end"),
        "events": ("start", "end", "kinds"),
        "random": ("start", "end", "random_state"),
    }.get(way if isinstance(way, str) else "", ())
    unused = [n for n, one in options.items() if one is not None and n not in taken]
    if unused:
        told = repr(way) if isinstance(way, str) and way != "every" else way
        what = "every" if every is not None else told if taken else "listed cutoffs"
        raise TypeError(
            f"{', '.join(unused)} cannot be used with {what}; start and end are for "
            "every, 'events' and 'random', kinds for 'events', random_state for "
            "'random'."
        )
