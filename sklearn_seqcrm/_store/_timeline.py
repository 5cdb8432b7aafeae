"""The times of all events of a log, and how far the log was observed.

A timeline is three arrays. Customer ``i`` has the id ``customers[i]`` and the segment
``offsets[i]:offsets[i + 1]`` of the arrays of events::

    customers    "ann"        "bob"    "eve"         (n_customers,)
    offsets      0            3        5       6     (n_customers + 1,)
    times        2   5   9    1   7    4             (n_events,), ascend in a segment

The columns of the fields have the same order, (n_events,) each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import blocks, first_at_or_after, ranges, starts_of_nonempty
from sklearn_seqcrm._store._clock import (
    TICKS_PER_SECOND,
    Clock,
    saturating_add,
    saturating_subtract,
)
from sklearn_seqcrm._store._ids import (
    check_same_id_type,
    exact_ids,
    find_ids,
    hashed_ids,
)
from sklearn_seqcrm._store._series import ids_of
from sklearn_seqcrm._store._time_values import MAX_TICK, as_time_series

# Times that are checked first: in most logs without whole days, they suffice.
_FEW = 1000
# Seconds. Offsets of time zones from UTC are multiples, and so are ends of their days.
_ZONE_STEP = 900


class ObservationWindow(NamedTuple):
    """The end of what a log has observed.

    A log of whole days has observed its last day to the end, although the time of that
    day's events is the midnight at which it begins::

        times        |day 1    |day 2    |day 3    |
        in_days      ----------------------------->|    until = day 3, end = day 4
        otherwise    --------------->|                  until = x, end = the next tick
                                     x

    So where all times are whole days, or whole numbers, observation ends one day, or 1,
    after `until`; otherwise right after `until`. Which of the two holds is decided when
    a log is built, and kept: a few of its events could be whole days by chance.
    """

    # int or float: the last time that was observed, on the axis of the log's clock.
    until: Any
    in_days: bool  # whether all times of the log are whole days, or whole numbers
    # In a log of several kinds of events, the kind whose observation ends first and so
    # limits that of the log.
    limited_by: str | None = None
    # Whether the events of some customers may have been observed for longer: of
    # histories that were joined from several logs, or read from a file.
    is_lower_bound: bool = False
    is_simulated: bool = False  # whether it is the end of a simulation

    @classmethod
    def of(
        cls, clock: Clock, times: np.ndarray, given: Any, *, early: bool = False
    ) -> ObservationWindow:
        """Return the observation window of a new log, with one event or more.

        `given` is the `observed_until` of the user; None: the last event. With `early`,
        events may lie after it. `times` (n_events,) are on the `clock`.
        """
        last = until = times.max()
        if clock.dtype == "int64" and last == MAX_TICK:
            # There is no later tick at which observation could end.
            raise ValueError(
                f"The last event is at {clock.as_scalar(last)}, the last moment that "
                "the numbers of a log can hold, which usually means 'never'; "
                "leave such events out."
            )
        if given is not None:
            if np.ndim(given) or pd.isna(given):
                raise ValueError(
                    f"observed_until must be one time; got {given!r}. None means "
                    "the last event."
                )
            until = read_until(clock, given)[0]
        if until < last and not early:
            raise ValueError(
                f"observed_until={given} lies before the last event at "
                f"{clock.as_scalar(last)}; leave out later events, or correct their "
                "times, or choose a later observed_until."
            )
        step = clock.whole_step
        in_days = not (times[:_FEW] % step).any() and not (times % step).any()
        return cls(until, in_days)

    @classmethod
    def before(cls, cutoff: Any, clock: Clock) -> ObservationWindow:
        """Return the observation window of a log without the events from a cutoff on.

        It ends right before the cutoff, so that no horizon after it is complete.
        """
        whole = clock.dtype == "int64"
        end = saturating_subtract(cutoff, 1) if whole else np.nextafter(cutoff, -np.inf)
        return cls(end, in_days=False)

    def end(self, clock: Clock) -> Any:
        """Return the first tick that was not observed."""
        [end] = self.ends(clock, np.array([self.until], dtype=clock.dtype))
        # Python's integers do not overflow when a long horizon is subtracted.
        return clock.tick_type(end)

    def ends(self, clock: Clock, until: np.ndarray) -> np.ndarray:
        """Return the first tick that was not observed after the last ones, (n,)."""
        step = clock.whole_step
        is_whole = self.in_days & (until % step == 0)
        if clock.dtype == "int64":
            return saturating_add(until, np.where(is_whole, step, 1))
        return np.where(is_whole, until + step, np.nextafter(until, np.inf))

    def on(self, old: Clock, new: Clock) -> ObservationWindow:
        """Convert the window to another clock."""
        what, following = "observed_until", int(self.until) + 1
        until = new.read(old.as_scalar(self.until), what, up=False)[0]
        if old.unit and following % (_ZONE_STEP * TICKS_PER_SECOND[old.unit]) == 0:
            # Days end at quarter hours in any time zone, and are observed to their end.
            # Other quarter hours are extended by less than a tick of the old clock.
            until = new.read(old.as_scalar(following), what)[0] - 1
        return self._replace(until=until)


def read_until(clock: Clock, times: Any) -> np.ndarray:
    """Return the last ticks that were observed, (n,), if `times` say until when.

    The time 23:59:59, in its own time zone, means the whole day: its last second was
    observed, too.
    """
    if np.ndim(times) == 0:
        times = pd.Series([clock.parse(times, "observed_until")])
    until = clock.read(times, "times of observed_until", up=False)
    if clock.unit is None:
        _refuse_parts_of_units(times, until)
        return until
    is_last = seconds_of_day(times) == 86_399
    second = TICKS_PER_SECOND[clock.unit]
    return np.where(is_last, until + (second - 1 - until % second), until)


def _refuse_parts_of_units(times: pd.Series, until: np.ndarray) -> None:
    """Raise a ValueError if times on an axis of integers were rounded to `until`.

    The whole number 5 says that the unit 5 was observed to its end, and 5.5 that it was
    not.
    """
    given = as_time_series(times, "observed_until").to_numpy(dtype="float64")
    between = given != until
    if between.any():
        first = given[between][0]
        raise ValueError(
            f"observed_until has {int(between.sum())} times that are not whole "
            f"numbers, the first of them {first}, but the times of the log are: "
            f"{math.floor(first)} means that this unit was observed to its end. Pass "
            "the last whole number that was, or build the log from times that are "
            "floats."
        )


def seconds_of_day(times: pd.Series) -> np.ndarray:
    """Return the whole seconds since midnight, in the time zone of each time, (n,)."""
    if times.dtype == object:  # perhaps of several zones, which a column cannot have
        stamps = [pd.Timestamp(one) for one in times]
        parts = [(one.hour, one.minute, one.second) for one in stamps]
        return np.array(parts, dtype="int64").reshape(-1, 3) @ [3600, 60, 1]
    of_day = as_time_series(times, "times").dt
    return (3600 * of_day.hour + 60 * of_day.minute + of_day.second).to_numpy()


@dataclass(frozen=True, eq=False, repr=False)
class Timeline:
    """The times of all events, sorted by customer and time; immutable."""

    # (n_customers,): id of each segment. A timeline stacked from several logs may
    # repeat an id.
    customers: pd.Index
    # (n_customers + 1,), int64: the events of customer ``i`` are ``offsets[i]:offsets[i
    # + 1]``.
    offsets: np.ndarray
    # (n_events,): times on the axis of `clock`, ascending within a customer.
    times: np.ndarray
    clock: Clock  # the axis of `times`
    observation: ObservationWindow  # how far the log was observed

    @classmethod
    def without_events(cls, customers: pd.Index, clock: Clock) -> Timeline:
        """Return the timeline of customers of whom nothing was observed."""
        offsets, times = np.zeros(len(customers) + 1, "int64"), np.zeros(0, clock.dtype)
        return cls(
            customers, offsets, times, clock, ObservationWindow(0, in_days=False)
        )

    def __post_init__(self) -> None:
        """Make the arrays read-only, as the attributes are."""
        # Rows of many tables view one log: a change would reach all of them.
        object.__setattr__(self, "offsets", frozen(self.offsets))
        object.__setattr__(self, "times", frozen(self.times))

    def __reduce__(self) -> tuple[Any, ...]:
        """Build the timeline again: arrays from a pickle are writeable."""
        return type(self), tuple(getattr(self, one.name) for one in fields(self))

    @cached_property
    def span(self) -> tuple[Any, Any]:
        """First and last moment of all events and of observation, as Python numbers.

        For a timeline without events, both are the end of observation.
        """
        number = self.clock.tick_type
        until = number(self.observation.until)
        first, last = self.times.min(initial=until), self.times.max(initial=until)
        return number(first), number(last)

    def check_span(self, what: str, times: np.ndarray | None = None) -> None:
        """Raise a ValueError if differences of times, and of further ones, overflow.

        Everything computed from times, such as the age of an event, is a difference. In
        int64 an overflow would turn the oldest event into the latest one; floats would
        be infinite. The error says `what` makes the span so long.
        """
        (low, high), clock = self.span, self.clock
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

    @property
    def observed_until(self) -> Any:
        """The last time that was observed, on the axis of `clock`."""
        return self.observation.until

    @property
    def end(self) -> Any:
        """The first moment that was not observed, on the axis of `clock`."""
        return self.observation.end(self.clock)

    def own_ends(self, times: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return `observed_until` and `end` of customers who were observed for less.

        `times` (n,) are the last times at which n customers were observed; missing and
        later ones are those of the log. Both results (n,) are ticks, at most those of
        the log.
        """
        until = np.full(len(times), self.observed_until, dtype=self.clock.dtype)
        earlier = np.array(times.notna())
        earlier[earlier] = ~self._are_after_end(times[earlier])
        if earlier.any():
            own = read_until(self.clock, times[earlier])
            until[earlier] = np.minimum(until[earlier], own)
        # The log may end before the last tick of its `observed_until`.
        end = np.minimum(self.observation.ends(self.clock, until), self.end)
        return until, end

    def _are_after_end(self, times: pd.Series) -> np.ndarray:
        """Return which times are after `observed_until`, shape (n,), bool.

        Such as 9999-12-31 and infinity, which other clocks cannot hold.
        """
        times = as_time_series(times, "observed_until")
        last = self.clock.as_scalar(self.observed_until)
        if isinstance(last, pd.Timestamp) and (
            times.dtype.kind != "M" or (times.dt.tz is None) != (last.tz is None)
        ):
            return np.zeros(len(times), dtype=bool)  # `read_until` refuses them
        return (times > last).to_numpy()

    @property
    def end_is_known(self) -> bool:
        """Whether the observation of all customers ends at `end`, and not later."""
        # A customer with two segments comes from two logs.
        return not self.observation.is_lower_bound and self.customers.is_unique

    @property
    def counts(self) -> np.ndarray:
        """Number of events of each customer, shape (n_customers,)."""
        return np.diff(self.offsets)

    @property
    def n_moments(self) -> int:
        """Number of distinct times of each customer, added up over all customers."""
        times, n_events = self.times, len(self.times)
        # In blocks: one array of comparisons would take a byte for each event.
        n_changes = sum(
            int(np.count_nonzero(times[1:][some] != times[:-1][some]))
            for some in blocks(max(n_events - 1, 0), 1)
        )
        # A customer may begin at the time at which the one before ends.
        first = starts_of_nonempty(self.offsets)[1:]
        n_equal = int(np.count_nonzero(times[first] == times[first - 1]))
        return n_changes + n_equal + (n_events > 0)

    def identities_of(self, ids: pd.Series, what: str) -> np.ndarray:
        """Return a number for each customer, (n,): the position, or a hash if unknown.

        Ids, which errors name `what`, have no missing values. Numbers are int64:
        positions in `customers`, or `hashed_ids`, below -1.
        """
        if not self.customers.is_unique:
            raise ValueError(
                "This log was stacked from several logs and cannot find customers by "
                "id; build one with EventLog.append."
            )
        if isinstance(ids.dtype, pd.ArrowDtype):
            ids = ids_of(nw.from_native(ids, series_only=True))
        if isinstance(ids.dtype, pd.CategoricalDtype):
            # Look up each category once, however many rows have it.
            of_category = self.identities_of(pd.Series(ids.cat.categories), what)
            return of_category[ids.cat.codes.to_numpy()]
        exact = exact_ids(pd.Index(ids, dtype=ids.dtype), what)
        check_same_id_type(exact, self.customers, what, "the customers of the log are")
        found = find_ids(exact, self.customers)
        unknown = found < 0
        if unknown.any():
            found[unknown] = hashed_ids(exact[unknown])
        return found

    def positions(
        self, codes: np.ndarray, times: np.ndarray, *, after: bool = False
    ) -> np.ndarray:
        """Return the first event of each customer at or after a time, (n,), int64.

        `codes` (n,) are those of customers, -1 finds position 0; `times` (n,) are on
        the axis of the clock. With `after`, events are strictly after the time.
        Positions in the times of the log are within the segment of the customer or at
        its end.
        """
        known = codes >= 0
        # An unknown customer has the segment 0:0; `offsets[-1]` is computed in vain.
        low = np.where(known, self.offsets[codes], 0)
        high = np.where(known, self.offsets[codes + 1], 0)
        return first_at_or_after(self.times, low, high, times, after=after)

    def on(self, clock: Clock, what: str) -> Timeline:
        """Return the same times on another clock of the same type of times.

        The `clock` may not be coarser than the times, which errors name `what`, need.
        The timeline itself is returned if it is on that clock already.
        """
        if clock == self.clock:
            return self
        # There and back: a time that is not the same again was rounded.
        times = clock.read(self.clock.as_index(self.times), what)
        wrong = self.clock.read(clock.as_index(times), what) != self.times
        if wrong.any() and clock.dtype == "float64":
            raise ValueError(
                f"{what} hold {int(wrong.sum())} whole numbers beyond 2**53, which "
                "would be rounded among times that are floats; build the log from "
                "integers to begin with."
            )
        if wrong.any():
            raise ValueError(
                f"{what} are finer than the unit {clock.unit or 'integer'} of the log, "
                "so that they would be rounded; build a new log from all tables."
            )
        observation = self.observation.on(self.clock, clock)
        return replace(self, times=times, clock=clock, observation=observation)

    def codes_of(self, index: np.ndarray) -> np.ndarray:
        """Return the customer code of each event at `index`, shape (n,)."""
        # A customer without events has the same offset as the next one, who owns the
        # event: side="right" finds the last of equal offsets.
        return np.searchsorted(self.offsets, index, side="right") - 1

    def at(self, index: np.ndarray) -> Timeline:
        """Keep some events, at ascending positions, and the customers who have one."""
        codes, counts = np.unique(self.codes_of(index), return_counts=True)
        return self.select(codes, np.append(0, np.cumsum(counts)), index)

    def subset(self, codes: np.ndarray) -> tuple[Timeline, np.ndarray]:
        """Keep some customers with all their events.

        `codes` (n,) are different, in the order of the new timeline. The second result
        has the former positions of the events.
        """
        index, offsets = ranges(self.offsets[codes], self.offsets[codes + 1])
        return self.select(codes, offsets, index), index

    def select(
        self, codes: np.ndarray, offsets: np.ndarray, index: np.ndarray
    ) -> Timeline:
        """Return the customers at `codes` (n,) with the events at `index`.

        The events of the ``i``-th of them are ``index[offsets[i]:offsets[i + 1]]``.
        """
        kept, times = self.customers[codes], self.times[index]
        return replace(self, customers=kept, offsets=offsets, times=times)


def _longest_span(clock: Clock) -> str:
    """Describe the largest difference on an axis."""
    if clock.dtype == "float64":
        return "floats can be apart"
    if clock.unit is None:
        return "integers of 64 bits can be apart"
    years = MAX_TICK // (clock.whole_step * 366)
    return f"the {years:,} years that times of its unit {clock.unit} can be apart"


def frozen(array: np.ndarray) -> np.ndarray:
    """Return a read-only view of an array."""
    view = array.view()
    view.flags.writeable = False
    return view
