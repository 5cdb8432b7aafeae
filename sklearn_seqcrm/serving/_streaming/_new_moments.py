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
    """Return the fields of a record by which late events are joined.

    ::

        begin     time of the first event of the open moment
        before    time of the last event before it; not before `begin` if there is none

    Events at one time have no late events, so that these fields are not needed.
    """
    return [("begin", tick), ("before", tick)] if layout.moments else []


def joins(layout: Layout, record: Any, times: np.ndarray) -> np.ndarray:
    """Return which events join the open moment of their customer, shape (n,), bool.

    Parameters
    ----------
    layout : Layout
        Layout whose `moments` are not None.
    record : structured array of shape (n,), or mapping of str to ndarray
        Fields of the customers' records.
    times : ndarray of shape (n,)
        Time of an event of each customer, before the last one if it is late.
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
    """How new events of C customers join their open moments, close them, and open new.

    Parameters
    ----------
    begin : ndarray of shape (n_runs,), int64
        First new event of each run of events of one moment.
    first_run : ndarray of shape (C,), int64
        First run of each customer.
    is_joined : ndarray of shape (C,), bool
        Whether that run joins the open moment.
    is_earlier : ndarray of shape (C,), bool
        Whether it also begins before that.
    moments : ndarray of shape (n_moments,), int64
        Moments of all customers in order of time: a run, or, from `n_runs` on, the open
        moment of a customer, without new events.
    offsets : ndarray of shape (C + 1,), int64
        Moments of each customer; the last of them stays open.
    gaps : ndarray of shape (n_events,)
        Time since the previous event, in ticks; 0 for late events. NaN for a first one.
    gaps_of_times : ndarray of shape (n_events,)
        The same for the channels of times, of which those of the first event of a
        moment matter.
    begins, before : ndarray of shape (C,)
        Fields of the records, after the events.
    """

    begin: np.ndarray
    first_run: np.ndarray
    is_joined: np.ndarray
    is_earlier: np.ndarray
    moments: np.ndarray
    offsets: np.ndarray
    gaps: np.ndarray
    gaps_of_times: np.ndarray
    begins: np.ndarray
    before: np.ndarray

    @classmethod
    def of(
        cls,
        layout: Layout,
        record: Mapping[str, np.ndarray],
        times: np.ndarray,
        offsets: np.ndarray,
    ) -> Self:
        """Find the moments among new events.

        Parameters
        ----------
        layout : Layout
            Layout whose `moments` are not None.
        record : mapping of str to ndarray of shape (C,)
            Fields of the customers' records.
        times : ndarray of shape (n_events,)
            Times, ascending for each customer.
        offsets : ndarray of shape (C + 1,), int64
            Events of each customer, one or more.
        """
        first, last = offsets[:-1], offsets[1:] - 1
        is_joined = joins(layout, record, times[first])
        is_begin = is_run_start(layout.periods(times), first)
        begin = np.flatnonzero(is_begin)
        first_run = np.searchsorted(begin, first)
        # An open moment that no event joins is a moment of its own, before the runs.
        closed = np.flatnonzero((record["count"] > 0) & ~is_joined)
        runs = np.arange(len(begin))
        moments = np.insert(runs, first_run[closed], len(begin) + closed)
        counts = np.diff(first_run, append=len(begin))
        # An open moment that goes on, and no other run: its fields stay.
        goes_on = is_joined & (counts == 1)
        last_begin = begin[first_run + counts - 1]
        counts[closed] += 1
        ordered = _in_order_of_arrival(record, times, offsets)
        gaps = interarrival_times(record, ordered, first)
        begins, before = times[last_begin], times[last_begin]
        gaps_of_times, is_earlier = gaps, np.zeros(len(first), bool)
        if layout.moments:
            is_earlier = is_joined & (times[first] < record["begin"])
            gaps_of_times = gaps.copy()
            since = times[first] - record["before"].astype("float64")
            since[record["before"] >= record["begin"]] = np.nan
            gaps_of_times[first[is_earlier]] = since[is_earlier]
            begins = np.where(
                goes_on, np.minimum(times[first], record["begin"]), begins
            )
            # The event before the last run; for a first one the time of that itself.
            has_event = last_begin > first
            previous = np.where(has_event, ordered[last_begin - 1], record["last"])
            is_known = has_event | (record["count"] > 0)
            before = np.where(is_known, previous, before)
            before = np.where(goes_on, record["before"], before)
        return cls(
            begin,
            first_run,
            is_joined,
            is_earlier,
            moments,
            np.append(0, np.cumsum(counts)),
            gaps,
            gaps_of_times,
            begins,
            before,
        )


def _in_order_of_arrival(
    record: Mapping[str, np.ndarray], times: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Return times, and for late events the last time before them, (n_events,)."""
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

    Parameters
    ----------
    record : mapping of str to ndarray of shape (C,)
        Fields of the customers' records.
    times : ndarray of shape (n_events,)
        Times.
    first : ndarray of shape (C,), int64
        First new event of each customer.
    """
    # Across customers the differences have no meaning: `first` replaces them.
    gaps = np.diff(times, prepend=times[:1]).astype("float64")
    gaps[first] = np.where(record["count"] > 0, times[first] - record["last"], np.nan)
    return gaps
