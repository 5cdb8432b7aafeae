"""The customers and the cutoffs of snapshots, and who has enough history at them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._store import (
    MAX_TICK,
    Clock,
    RawLog,
    Timeline,
    as_list,
    check_none_missing,
    events_of_kinds,
)


class Snapshots(NamedTuple):
    """Customers and cutoffs of snapshots."""

    codes: np.ndarray  # (n,), int64: customer codes
    cutoff: np.ndarray  # (n,): cutoffs on the axis of the timeline
    stop: np.ndarray  # (n,), int64: first event of the customer at or after the cutoff

    def keep(self, rows: np.ndarray) -> Snapshots:
        """Return some of the snapshots."""
        return Snapshots(self.codes[rows], self.cutoff[rows], self.stop[rows])

    def within(self, start: Any, end: Any) -> Snapshots:
        """Return the snapshots from `start` to `end`, None for no bound."""
        if start is None and end is None:
            return self
        low = -np.inf if start is None else start
        high = np.inf if end is None else end
        return self.keep((low <= self.cutoff) & (self.cutoff <= high))


class MinimalHistory(NamedTuple):
    """Minimal history of a customer at a cutoff."""

    min_events: int  # minimal number of events before the cutoff
    # Maximal number of ticks from the last of them to the cutoff.
    active_within: float | None
    # int64: positions in the log of the events that count, ascending; None for all.
    counted: np.ndarray | None

    def among(self, snapshots: Snapshots, timeline: Timeline) -> Snapshots:
        """Keep the snapshots at which the customer has enough history."""
        start, stop = timeline.offsets[snapshots.codes], snapshots.stop
        if self.counted is not None:
            # From positions among all events to positions among those that count.
            start, stop = (np.searchsorted(self.counted, at) for at in (start, stop))
        n_events = stop - start  # before the cutoff
        keep = n_events >= self.min_events
        if self.active_within is not None:
            keep &= n_events > 0  # otherwise, the last event is of another customer
            last = stop[keep] - 1
            if self.counted is not None:
                last = self.counted[last]
            since = snapshots.cutoff[keep] - timeline.times[last]
            keep[keep] = since <= self.active_within
        return snapshots if keep.all() else snapshots.keep(keep)


def minimal_history(
    log: RawLog,
    name: str,
    min_events: Any,
    active_within: Any,
    kinds: Any = None,
    kind_field: str = "event",
) -> MinimalHistory:
    """Check the options that all snapshots have; return the minimal history."""
    customer = log.names[0]
    if len({customer, "cutoff", name}) < 3:
        raise ValueError(
            f"The columns {customer!r}, 'cutoff' and {name!r} need three names; "
            "choose another with name=..., or rename the log's customer column."
        )
    counted = None
    if kinds is not None:
        counted = events_of_kinds(log, kinds, kind_field)
    is_whole = isinstance(min_events, int | np.integer)
    if not is_whole or isinstance(min_events, bool) or min_events < 0:
        raise ValueError(
            f"min_events must be a whole number from 0 on; got {min_events!r}."
        )
    if active_within is not None:
        active_within = log.timeline.clock.duration(active_within, "active_within")
    return MinimalHistory(int(min_events), active_within, counted)


def parse_bounds(clock: Clock, start: Any, end: Any) -> tuple[Any, Any]:
    """Return the earliest and the latest cutoff in ticks, None for no bound."""
    for what, bound in (("start", start), ("end", end)):
        if np.ndim(bound):
            raise TypeError(f"{what} must be one time; got {type(bound).__name__}.")
    first = None if start is None else clock.read(start, "start")[0]
    last = None if end is None else clock.read(end, "end", up=False)[0]
    return first, last


def snapshots_at_cutoffs(
    timeline: Timeline, cutoffs: np.ndarray, known: MinimalHistory
) -> Snapshots:
    """Return all customers at each cutoff, sorted by cutoff, then customer.

    `cutoffs` ascend. The filter `known` is applied at each cutoff separately, so that
    customers who are left out take no memory.
    """
    timeline.check_span("cutoffs", cutoffs)
    everyone = np.arange(len(timeline.customers))
    columns: list[list[np.ndarray]] = [[], [], []]
    for cutoff in cutoffs:
        at = np.full(len(everyone), cutoff)
        stop = timeline.positions(everyone, at)
        snapshots = known.among(Snapshots(everyone, at, stop), timeline)
        for column, values in zip(columns, snapshots, strict=True):
            column.append(values)
    del snapshots, at, stop, values
    joined = []
    for column in columns:  # one after the other: only one of them is held twice
        joined.append(np.concatenate(column))
        column.clear()
    return Snapshots(*joined)


def snapshots_before_events(timeline: Timeline, chosen: np.ndarray | None) -> Snapshots:
    """Return each customer right before each event, sorted by customer, then time.

    `chosen` are ascending positions of the events, None for all. Several at one time
    give one cutoff.
    """
    # A run is all events of a customer at one time; the cutoff sees none of them.
    starts_run = is_run_start(timeline.times, timeline.offsets[:-1])
    run_of_event = np.cumsum(starts_run) - 1
    # Any chosen event of a run selects the run, whose first event is the stop.
    looked_at = np.zeros(run_of_event[-1] + 1, dtype=bool)
    looked_at[run_of_event if chosen is None else run_of_event[chosen]] = True
    stop = np.flatnonzero(starts_run)[looked_at]
    codes = np.repeat(np.arange(len(timeline.customers)), timeline.counts)[stop]
    return Snapshots(codes, timeline.times[stop], stop)


def snapshots_at_random_times(
    timeline: Timeline, random_state: Any, start: Any, end: Any
) -> Snapshots:
    """Draw one cutoff after the first event of each customer, uniformly.

    `start` and `end` are bounds on the axis of the timeline, `end` included. None: the
    first event, and the end of observation.
    """
    rng = random_state
    if not isinstance(rng, int | np.integer | np.random.RandomState | None):
        raise TypeError(
            "random_state must be an int, a RandomState or None, as in scikit-learn; "
            f"got a {type(rng).__name__}. int(rng.integers(2**32)) draws an int of a "
            "Generator."
        )
    if not isinstance(rng, np.random.RandomState):
        rng = np.random.RandomState(random_state)
    last = timeline.observed_until if end is None else end
    timeline.check_span("end", np.array([last]))
    low = timeline.times[timeline.offsets[:-1]].copy()
    if timeline.clock.dtype == "int64":
        low += 1  # the first tick that sees the first event
    if start is not None:
        np.maximum(low, start, out=low)
    # Customers whose first event is at or after the end have no cutoff.
    codes = np.flatnonzero(low <= last)
    low = low[codes]
    if timeline.clock.dtype == "int64":
        # The upper bound of `randint` is exclusive.
        cutoff = rng.randint(low, int(last) + 1, dtype="int64")
    else:
        cutoff = rng.uniform(low, last)
    return Snapshots(codes, cutoff, timeline.positions(codes, cutoff))


def regular_cutoffs(timeline: Timeline, step: Any, start: Any, end: Any) -> np.ndarray:
    """Return cutoffs at a distance of `step`, as the user gives it.

    `start` is the first cutoff, by default one step after the first event, and `end`
    the bound of the last cutoff, by default the end of observation.
    """
    clock = timeline.clock
    _refuse_calendar_step(timeline, step, start, end)
    ticks = clock.whole_duration(step, "step", "cutoffs would lie", positive=True)
    # Python's integers do not overflow when a long distance is added.
    number = clock.tick_type
    first = number(timeline.times.min()) + ticks if start is None else number(start)
    last = number(timeline.observed_until if end is None else end)
    if first > last:
        first = min(first, MAX_TICK) if number is int else first
        raise ValueError(
            f"There is no cutoff from {clock.as_scalar(first)} to "
            f"{clock.as_scalar(last)}; choose a shorter step, or other ends."
        )
    return first + ticks * np.arange(int((last - first) // ticks) + 1)


def _refuse_calendar_step(timeline: Timeline, step: Any, start: Any, end: Any) -> None:
    """Raise a ValueError for a step such as a month, whose length varies."""
    clock = timeline.clock
    name = clock.calendar_name(step)
    if name is None:
        return
    first = clock.as_scalar(timeline.times.min() if start is None else start)
    last = clock.as_scalar(timeline.observed_until if end is None else end)
    raise ValueError(
        f"step={step!r} is a calendar step, whose length varies; list the "
        f"cutoffs: snapshots(pd.date_range({str(first)!r}, {str(last)!r}, "
        f"freq={name!r}, normalize=True))."
    )


def parse_cutoffs(timeline: Timeline, cutoffs: Any) -> np.ndarray:
    """Convert a list of cutoffs of a user; ascending, without repeats."""
    if cutoffs is None:
        raise ValueError("cutoffs is None; snapshots_every makes regular ones.")
    clock = timeline.clock
    found = pd.Series([_tick_of(one, clock) for one in as_list(cutoffs, "cutoffs")])
    if not len(found):
        raise ValueError("cutoffs is empty; it needs at least one time.")
    check_none_missing(found, "sequence cutoffs")
    # After rounding: cutoffs between the same ticks become equal.
    return np.unique(clock.read(found, "cutoffs"))


def _tick_of(cutoff: Any, clock: Clock) -> Any:
    """Parse a cutoff that is text; refuse text that is not a time."""
    if not isinstance(cutoff, str):
        return cutoff
    if clock.unit is not None and cutoff[:4].isdecimal():
        # First: pandas refuses "2024-W05-1", and its error names no notation.
        return clock.parse(cutoff, "cutoffs")
    try:
        time = pd.Timestamp(cutoff)
    except ValueError as error:
        raise ValueError(
            f"cutoffs must be times; got {cutoff!r}. Other ways to choose them are "
            "snapshots_every, snapshots_before_events and snapshots_at_random."
        ) from error
    return time if clock.unit is None else clock.parse(cutoff, "cutoffs")
