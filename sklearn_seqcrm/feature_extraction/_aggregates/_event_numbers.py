"""Events of a portion of the customers: times, periods, and fields to aggregate."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sklearn_seqcrm._columns import bounded
from sklearn_seqcrm._ragged import (
    Chunks,
    LevelCounter,
    Numbers,
    Portion,
    is_run_start,
    starts_of_nonempty,
)


class EventNumbers:
    """Times, interarrival times and periods of events.

    `times` (n_events,) are those of the events of the portion, and `unit` the ticks of
    a period, the unit of times.
    """

    chunks: Chunks
    # (n_events,), int64: events up to this one that begin a period of their customer.
    n_periods: np.ndarray
    # Interarrival times: time since the previous event, for events that begin a period;
    # missing for all others.
    interarrival_field: NumericField

    def __init__(self, portion: Portion, times: np.ndarray, unit: float) -> None:
        self.times, self.unit, self.offsets = times, unit, portion.offsets
        self.chunks = Chunks(portion.offsets)
        period = times // unit
        first = starts_of_nonempty(portion.offsets)  # of each customer
        begins = is_run_start(period, first)
        self.n_periods = np.cumsum(begins)
        between = np.diff(times, prepend=times[:1]) / unit
        begins[first] = False  # nothing precedes the first event of a customer
        self.interarrival_field = NumericField(
            np.where(begins, between, np.nan), self.chunks
        )

    def ages(self, cutoff: np.ndarray, events: np.ndarray) -> np.ndarray:
        """Return the time from events to cutoffs, missing where the event is -1."""
        # -1 indexes the last event, whose age is then discarded.
        ages = (cutoff - self.times[events]) / self.unit
        return np.where(events >= 0, ages, np.nan)

    def count_periods(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Count the periods with one of the events ``begin:end``."""
        # The first event of a window counts whether or not it begins a period.
        last = np.maximum(end - 1, 0)
        begin = np.minimum(begin, last)
        return self.n_periods[last] - self.n_periods[begin] + 1


class Moments(EventNumbers):
    """Moments as events: all events of a customer at the same time are one.

    ::

        events    e0 e1 e2 | e3 | e4 e5       times 1 1 1   4   6 6
        moments   m0       | m1 | m2          `begins` = 0, 3, 4

    No row of the `portion` begins or ends between two events of a moment, since cutoffs
    and lookbacks are times.
    """

    def __init__(self, portion: Portion, times: np.ndarray, unit: float) -> None:
        is_begin = is_run_start(times, starts_of_nonempty(portion.offsets))
        # Number of moments that begin before each event, (n_events + 1,).
        self._n_before = np.append(0, np.cumsum(is_begin))
        self._begins = np.flatnonzero(is_begin)
        # The only attribute of a portion that the base class reads.
        moments = portion._replace(offsets=self._n_before[portion.offsets])
        super().__init__(moments, times[self._begins], unit)

    def rows(self, rows: Portion) -> Portion:
        """Return rows as views of moments instead of events."""
        start, stop = self._n_before[rows.start], self._n_before[rows.stop]
        return rows._replace(start=start, stop=stop, offsets=self.offsets)

    def sums(self, field: NumericField) -> NumericField:
        """Return the sums of a field over moments, missing without any number."""
        values = field.values
        known = np.isfinite(values)
        sums = np.add.reduceat(np.where(known, values, 0.0), self._begins)
        sums[~np.logical_or.reduceat(known, self._begins)] = np.nan
        return NumericField(sums, self.chunks)


class NumericField:
    """The numbers of one field.

    Missing and infinite ones among the `values` (n_events,) are left out.
    """

    def __init__(self, values: np.ndarray, chunks: Chunks) -> None:
        self.values = bounded(values.astype("float64", copy=False))
        self.numbers = Numbers(self.values, chunks)

    def last(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Return the last number of the events ``start:stop``, or NaN."""
        event = self.last_event[stop - 1]
        return np.where(event >= start, self.values[event], np.nan)

    @cached_property
    def last_event(self) -> np.ndarray:
        """The last event up to each event that has a number, or -1."""
        return last_true(np.isfinite(self.values))


class CategoricalField:
    """The levels of one field.

    `codes` (n_events,) are those of the log, -1 where the level is missing, and
    `places` (n_events,) the positions among the frequent levels; `n_frequent` for any
    other level, -1 where it is missing. `offsets` (n_customers + 1,) are the segments
    of the customers.
    """

    def __init__(
        self,
        codes: np.ndarray,
        places: np.ndarray,
        n_frequent: int,
        chunks: Chunks,
        offsets: np.ndarray,
    ) -> None:
        self._codes, self._chunks, self._offsets = codes, chunks, offsets
        self.places = places
        self.known = codes >= 0
        # Counts up to each event, so that n[end] - n[begin] counts a window.
        self.n_known = np.append(0, np.cumsum(self.known))
        is_level = [places == level for level in range(n_frequent)]
        self.n_before = [np.append(0, np.cumsum(mine)) for mine in is_level]
        self.last_event = [last_true(mine) for mine in is_level]

    @cached_property
    def levels(self) -> LevelCounter:
        """Counts of distinct and of equal levels in windows."""
        return LevelCounter(self._codes, self._offsets, self._chunks)

    def last(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Return the last known place of the events ``start:stop``, or -1."""
        event = last_true(self.known)[stop - 1]
        return np.where(event >= start, self.places[event], -1)


def last_true(is_there: np.ndarray) -> np.ndarray:
    """Return the position of the last True up to each position, or -1."""
    # is_there  F  T  F  F  T
    # result   -1  1  1  1  4
    places = np.where(is_there, np.arange(len(is_there)), -1)
    return np.maximum.accumulate(places)
