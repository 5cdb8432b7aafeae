"""The events of some customers, made ready for the aggregates of their rows."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sklearn_seqcrm._columns import bounded
from sklearn_seqcrm._ragged import (
    Chunks,
    Levels,
    Numbers,
    Portion,
    begins_run,
    first_of_filled,
)


class EventNumbers:
    """Times, gaps and periods of events.

    Parameters
    ----------
    portion : Portion
        Rows and events.
    times : ndarray of shape (n_events,)
        Times of the events of the portion.
    unit : float
        Ticks of a period, in which times are told.

    Attributes
    ----------
    chunks : Chunks
        Chunks of the events.
    n_periods : ndarray of shape (n_events,), int64
        How many events up to this one begin a period of their customer.
    gap_field : NumericField
        Time since the event before, for what begins a period; missing for all others.
    """

    def __init__(self, portion: Portion, times: np.ndarray, unit: float) -> None:
        self.times, self.unit, self.offsets = times, unit, portion.offsets
        self.chunks = Chunks(portion.offsets)
        period = times // unit
        first = first_of_filled(portion.offsets)
        begins = begins_run(period, first)
        self.n_periods = np.cumsum(begins)
        gaps = np.diff(times, prepend=times[:1]) / unit
        begins[first] = False
        self.gap_field = NumericField(np.where(begins, gaps, np.nan), self.chunks)

    def ages(self, cutoff: np.ndarray, events: np.ndarray) -> np.ndarray:
        """Time from events to cutoffs, missing where there is no event (-1)."""
        # Of none the last one is read, and left out.
        ages = (cutoff - self.times[events]) / self.unit
        return np.where(events >= 0, ages, np.nan)

    def count_periods(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Number of periods with one of the events ``begin:end``."""
        last = np.maximum(end - 1, 0)
        begin = np.minimum(begin, last)
        return self.n_periods[last] - self.n_periods[begin] + 1


class NumericField:
    """The numbers of one field.

    Parameters
    ----------
    values : ndarray of shape (n_events,)
        Numbers, which may be missing or infinite: that counts as missing.
    chunks : Chunks
        Chunks of the events.
    """

    def __init__(self, values: np.ndarray, chunks: Chunks) -> None:
        self.values = bounded(values.astype("float64", copy=False))
        self.numbers = Numbers(self.values, chunks)

    def last(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """The last recorded one of the events ``start:stop``, if there is any."""
        event = self.last_event[stop - 1]
        return np.where(event >= start, self.values[event], np.nan)

    @cached_property
    def last_event(self) -> np.ndarray:
        """The last event up to each that has a number; -1 if none."""
        return last_true(np.isfinite(self.values))


class CategoricalField:
    """The levels of one field.

    Parameters
    ----------
    codes : ndarray of shape (n_events,), int
        Codes of the log, -1 where a level is missing.
    places : ndarray of shape (n_events,), int
        Positions among the `n_frequent` levels; `n_frequent` for any other, -1 where
        it is missing.
    n_frequent : int
        Number of frequent levels.
    chunks : Chunks
        Chunks of the events.
    offsets : ndarray of shape (n_customers + 1,), int64
        Segments of the customers.
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
        self.n_known = np.append(0, np.cumsum(self.known))
        is_level = [places == level for level in range(n_frequent)]
        self.n_before = [np.append(0, np.cumsum(mine)) for mine in is_level]
        self.last_event = [last_true(mine) for mine in is_level]

    @cached_property
    def levels(self) -> Levels:
        """Who has which levels where."""
        return Levels(self._codes, self._offsets, self._chunks)

    def last(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """The last place of the events ``start:stop`` that is known, or -1."""
        event = last_true(self.known)[stop - 1]
        return np.where(event >= start, self.places[event], -1)


def last_true(is_there: np.ndarray) -> np.ndarray:
    """The last place up to each where something is true; -1 if there is none."""
    places = np.where(is_there, np.arange(len(is_there)), -1)
    return np.maximum.accumulate(places)
