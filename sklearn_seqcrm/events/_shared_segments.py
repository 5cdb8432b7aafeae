"""Join the segments of a customer whose rows came from several logs or from a file.

A stack of logs has a segment for each log that has the customer, and a file of
histories one for each row. Events that are in several segments would count several
times: in quantiles and vocabularies that are learned, and in the length of sequences.
So segments that agree become one, in which every event stands once::

    segments   [e0 e1)  [e0 e1 e2 e3)  [e2 e3 e4)     three rows of ann, the last
                                                      one with a lookback
    joint      [e0 e1 e2 e3 e4)
    rows        -----
                -----------
                      --------

An event is known by its customer, its time, and its place among the events of that
time. Segments agree if such events have equal fields, and if each segment is a stretch
of the joint one. And no row may lack an event before its cutoff, as if it had been
recorded late. Otherwise the segments of the customer stay as they are.

Segments without a common event stay apart, too. Between two windows with a lookback
may be events that no row sees, so that the last event of the first window need not be
the predecessor of the first event of the second::

    segments   [e0 e1)        [e5 e6)     two rows of bob; were there e2 to e4?
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import (
    NO_ROW,
    is_run_start,
    place_in_run,
    segment_numbers,
    starts_of_nonempty,
)
from sklearn_seqcrm._store import Column, RawLog, Rows, Timeline


def share_segments(rows: Rows) -> Rows:
    """Return the same views of a log in which a customer's segments are joined.

    `rows` themselves are returned if no customer has several segments, or the log is
    encoded. Otherwise customers are in ascending order, and the end of observation is a
    lower bound.
    """
    log = rows.log
    if not isinstance(log, RawLog) or log.timeline.customers.is_unique:
        return rows
    timeline = log.timeline
    owner, _ = pd.factorize(timeline.customers, sort=True)
    apart = np.zeros(owner.max() + 1, dtype=bool)
    joint = _Joint.of(timeline, owner, apart)
    apart[joint.in_conflict(timeline, owner, log.columns)] = True
    apart[_late(rows, joint, owner)] = True
    if apart.any():
        joint = _Joint.of(timeline, owner, apart)
    return _moved(rows, joint)


class _Joint(NamedTuple):
    """Segments and events after joining."""

    segments: np.ndarray  # (n_joint,), int64: a former segment of each joint one
    offsets: np.ndarray  # (n_joint + 1,), int64: those of the joint segments
    events: np.ndarray  # (n_joint_events,), int64: former position of each event
    of_segment: np.ndarray  # (n_segments,), int64: joint segment of each former one
    # (n_events,), int64: position of each former event among the joint ones.
    of_event: np.ndarray

    @classmethod
    def of(cls, timeline: Timeline, owner: np.ndarray, apart: np.ndarray) -> _Joint:
        """Join the segments of each customer.

        `owner` (n_segments,) is the number of the customer of each segment, in the
        order of their ids; `apart` (n_customers,), bool, are customers whose segments
        are not joined.
        """
        alone = np.where(apart[owner], np.arange(len(owner)), -1)
        by_owner = np.lexsort((alone, owner))
        begins = is_run_start(owner[by_owner]) | is_run_start(alone[by_owner])
        group = np.empty(len(owner), dtype="int64")  # segments that may be joined
        group[by_owner] = np.cumsum(begins) - 1
        of_group = group[segment_numbers(timeline.offsets)]  # (n_events,)
        place = _places(timeline)
        order = np.lexsort((place, timeline.times, of_group))  # stable
        keys = (of_group[order], timeline.times[order], place[order])
        is_first = np.logical_or.reduce([is_run_start(key) for key in keys])
        of_event = np.empty(len(order), dtype="int64")
        of_event[order] = np.cumsum(is_first) - 1
        events = order[is_first]
        # Only an event that follows another in a former segment continues a joint one.
        follows = np.ones(len(order), dtype=bool)
        first = starts_of_nonempty(timeline.offsets)
        follows[first] = False
        starts = np.ones(len(events), dtype=bool)
        starts[of_event[follows]] = False
        n_joint, joint = _joint_segments(of_group[events], starts, begins.sum())
        # An empty segment becomes a part of the first joint one of its group.
        of_segment = (np.cumsum(n_joint) - n_joint)[group]
        of_segment[np.diff(timeline.offsets) > 0] = joint[of_event[first]]
        segments = np.repeat(by_owner[begins], n_joint)
        counts = np.bincount(joint, minlength=len(segments))
        offsets = np.append(0, np.cumsum(counts))
        return cls(segments, offsets, events, of_segment, of_event)

    def in_conflict(
        self, timeline: Timeline, owner: np.ndarray, columns: dict[str, Column]
    ) -> np.ndarray:
        """Return the customers whose segments do not agree, with repeats."""
        owner = owner[segment_numbers(timeline.offsets)]  # (n_events,)
        first = self.events[self.of_event]  # the event that stands for each
        differs = np.zeros(len(first), dtype=bool)
        for column in columns.values():
            differs |= _differ(column.values, column.values[first])
        # Within a segment, events follow one another: it is a stretch of the joint one.
        breaks = np.diff(self.of_event, prepend=-1) != 1
        breaks[starts_of_nonempty(timeline.offsets)] = False
        return owner[differs | breaks]


def _joint_segments(
    of_group: np.ndarray, starts: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number the joint segments of all groups, each of which has one at least.

    `of_group` (n_joint_events,) is the group of each event, ascending, and `starts`
    whether a joint segment starts with the event; some groups may be without events.

    Returns the number of joint segments of each group, (n_groups,), int64: one, which
    is empty, without events; and the joint segment of each event, int64.
    """
    n_filled = np.bincount(of_group[starts], minlength=n_groups)
    n_joint = np.maximum(n_filled, 1)
    # Segments are numbered by their starts; groups without events take numbers, too.
    n_empty = np.cumsum(n_filled == 0)
    return n_joint, np.cumsum(starts) - 1 + n_empty[of_group]


def _places(timeline: Timeline) -> np.ndarray:
    """Return the place of each event among those of its segment at its time."""
    first = starts_of_nonempty(timeline.offsets)
    return place_in_run(is_run_start(timeline.times, first))


def _differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which values differ; two missing ones are equal."""
    differs = (one != other) & ~(pd.isna(one) & pd.isna(other))
    return differs if differs.ndim == 1 else differs.any(axis=1)


def _late(rows: Rows, joint: _Joint, owner: np.ndarray) -> np.ndarray:
    """Return customers with a row that misses an event before its cutoff."""
    moved = _moved(rows, joint)
    known = np.flatnonzero((moved.identities >= 0) & (moved.start != NO_ROW))
    timeline, codes = moved.log.timeline, moved.identities[known]
    first = timeline.positions(codes, moved.cutoff[known])
    return owner[rows.identities[known[moved.stop[known] < first]]]


def _moved(rows: Rows, joint: _Joint) -> Rows:
    """Return rows as views of a log of joint segments."""
    timeline = rows.log.timeline
    timeline = timeline.select(joint.segments, joint.offsets, joint.events)
    record = timeline.observation._replace(is_lower_bound=True)
    timeline = replace(timeline, observation=record)
    known = np.flatnonzero((rows.identities >= 0) & (rows.start != NO_ROW))
    identities = rows.identities.copy()
    start, stop = rows.start.copy(), rows.stop.copy()
    identities[known] = joint.of_segment[rows.identities[known]]
    # An empty history ends where the events from its cutoff on begin.
    start[known] = timeline.positions(identities[known], rows.cutoff[known])
    filled = known[rows.stop[known] > rows.start[known]]
    start[filled] = joint.of_event[rows.start[filled]]
    stop[known] = start[known] + (rows.stop - rows.start)[known]
    log = rows.log.take(timeline, joint.events)
    return Rows(log, identities, start, stop, rows.cutoff)
