"""Moments among new events: which are complete, and which may still go on.

The last moment of a customer stays open: the state has the sums over its events, and
the cells have not taken its step. New events, sorted by time, join it or close it::

    state      m  (open)                       m  (open)
    events        e0 e1 | e2 e3 | e4              | e0 e1 | e2 e3 | e4
    moments    m e0 e1  | e2 e3 | e4           m  | e0 e1 | e2 e3 | e4
               closed     closed  open         closed       closed  open

If moments are periods, such as days, an event may arrive late and still join the open
moment. If it is earlier than all its events, the times of the moment change, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._ragged import is_run_start


def fields_of_moments(layout: Layout, tick: Any) -> list[tuple[str, Any]]:
    """Return the fields of a record for the moments of its customer.

    ::

        n_moments   number of moments, the open one included
        begin       time of the first event of the open moment
        before      time of the last event before it; not before `begin` if there is
                    none

    By the times, late events are joined. Moments that are events at one time have no
    late events, so that these fields are not needed.
    """
    if layout.moments is None:
        return []
    times = [("begin", tick), ("before", tick)] if layout.moments else []
    return [("n_moments", "int64"), *times]


def joins(layout: Layout, record: Any, times: np.ndarray) -> np.ndarray:
    """Return which events join the open moment of their customer, shape (n,), bool.

    The `layout` has `moments`, `record` fields (n,) of the customers' records, and
    `times` (n,) the time of an event of each, before the last one if it is late.
    """
    has_moment, last = record["count"] > 0, record["last"]
    if not layout.moments:
        return has_moment & (times == last)
    before = record["before"]
    # In autumn an hour of local time is repeated. Its number is then that of two
    # moments, if there is an event between them.
    is_within = (before >= record["begin"]) | (times > before)
    # One call: conversion to local time takes long for a single one.
    period, period_of_last = np.split(layout.periods(np.append(times, last)), 2)
    return has_moment & is_within & (period == period_of_last)


class NewMoments(NamedTuple):
    """How new events of C customers join their open moments, close or begin others."""

    # (n_runs,), int64: first new event of each run of events of one moment.
    begin: np.ndarray
    first_run: np.ndarray  # (C,), int64: first run of each customer
    is_joined: np.ndarray  # (C,), bool: whether that run joins the open moment
    is_earlier: np.ndarray  # (C,), bool: whether it also begins before that
    # (n_moments,), int64: moments of all customers in order of time: runs, and
    # ``n_runs + i`` for the open moment of customer ``i``, if no event joins it.
    moments: np.ndarray
    # (C + 1,), int64: moments of each customer; the last of them stays open.
    offsets: np.ndarray
    # (n_events,): time since the previous event, in ticks; 0 for late events, and NaN
    # for a first one.
    interarrival: np.ndarray

    @classmethod
    def of(
        cls,
        layout: Layout,
        record: Mapping[str, np.ndarray],
        times: np.ndarray,
        offsets: np.ndarray,
    ) -> Self:
        """Find the moments among new events.

        The `layout` has `moments`, `record` fields (C,) of the customers' records.
        Customer ``i`` has the events ``offsets[i]:offsets[i + 1]``, one or more, at
        ascending `times` (n_events,).
        """
        first = offsets[:-1]
        is_joined = joins(layout, record, times[first])
        begin = np.flatnonzero(is_run_start(layout.periods(times), first))
        first_run = np.searchsorted(begin, first)
        # An open moment that no event joins is a moment of its own, before the runs.
        closed = np.flatnonzero((record["count"] > 0) & ~is_joined)
        moments = np.insert(
            np.arange(len(begin)), first_run[closed], len(begin) + closed
        )
        counts = np.diff(first_run, append=len(begin))
        counts[closed] += 1
        is_earlier = np.zeros(len(first), dtype=bool)
        if layout.moments:
            is_earlier = is_joined & (times[first] < record["begin"])
        return cls(
            begin,
            first_run,
            is_joined,
            is_earlier,
            moments,
            np.append(0, np.cumsum(counts)),
            interarrival_times(record, _not_before_last(record, times, offsets), first),
        )

    def interarrival_of_moments(
        self, record: Mapping[str, np.ndarray], times: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Return `interarrival` for the channels of times, which belong to moments.

        A late event that is the first one of its moment is counted from the moment
        before, and not from the last event.
        """
        if not self.is_earlier.any():
            return self.interarrival
        interarrival, first = self.interarrival.copy(), offsets[:-1][self.is_earlier]
        begin, before = (record[name][self.is_earlier] for name in ("begin", "before"))
        interarrival[first] = np.where(before < begin, times[first] - before, np.nan)
        return interarrival

    def begin_and_before(
        self, record: Mapping[str, np.ndarray], times: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the fields `begin` and `before` (C,) of the records after the events.

        Arguments are as in `of`.
        """
        first, last_run = offsets[:-1], np.append(self.first_run[1:], len(self.begin))
        at = self.begin[last_run - 1]  # the first event of the last run
        begin = times[at]
        # The event before it is new, or the last one of the record, or there is none.
        previous = _not_before_last(record, times, offsets)[at - 1]
        before = np.where(record["count"] > 0, record["last"], begin)
        before = np.where(at > first, previous, before)
        # Where all events join the open moment, at most its first event changes.
        goes_on = self.is_joined & (at == first)
        return (
            np.where(goes_on, np.minimum(begin, record["begin"]), begin),
            np.where(goes_on, record["before"], before),
        )


def _not_before_last(
    record: Mapping[str, np.ndarray], times: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Return times, and for late events the last time of the record, (n_events,)."""
    first = times[offsets[:-1]]
    is_late = (record["count"] > 0) & (first < record["last"])
    if not is_late.any():
        return times
    lowest = np.where(is_late, record["last"], first)
    return np.maximum(times, np.repeat(lowest, np.diff(offsets)))


def interarrival_times(
    record: Mapping[str, np.ndarray], times: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return interarrival times in ticks, (n_events,); NaN for a first event.

    `record` has fields (C,) of the customers' records, `times` (n_events,) are those of
    new events, and `first` (C,) is the first one of each customer.
    """
    # Across customers the differences have no meaning: `first` replaces them.
    interarrival = np.diff(times, prepend=times[:1]).astype("float64")
    interarrival[first] = np.where(
        record["count"] > 0, times[first] - record["last"], np.nan
    )
    return interarrival
