"""Moments: all events of a customer at one time, joined to one step of a network.

The lines of an invoice have no order: inputs of the network are equal, to the last bit,
whatever the order in which lines are stored::

    events     e0 e1 e2 | e3 | e4 e5 |             times 1 1 1   4   6 6
    steps      m0       | m1 | m2    |             3, 1 and 2 events
    row        sees m0, m1 and m2 or, if it is cut within m2, a part of it instead:
               e0 e1 e2   e3   e4                  m0, m1 and the part p0 = {e4}

Parts stand behind all whole moments; a row names the one that replaces its first or its
last step. Numbers of a step, for n events with the channels x of facts, marks and
vectors, and t of times::

    | mean of x | t of the first event | sum of facts / sqrt(n) | log n |

Levels of a field enter as the sum of their vectors over sqrt(n); `count_levels` returns
the levels of steps as rows of a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import csr_matrix

from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._ragged import groups, ranges

# Sums over the events of a moment are taken in multiples of this, as integers: sums of
# floats depend on the order in which they are added up.
_RESOLUTION = 2.0**-32
_WIDTH = 16  # numbers of an event that are processed at a time, see `groups`


class MomentChannels(NamedTuple):
    """Positions among the channels of an event, by which moments are joined."""

    n_decayed: int  # number of facts, the first channels
    times: int  # first channel of the times
    n_channels: int  # of an event

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """Return the positions in a layout."""
        return cls(layout.n_decayed, layout.interarrival_channel, len(layout.channels))

    @property
    def n_joined(self) -> int:
        """Number of channels of a moment."""
        return self.n_channels + self.n_decayed + 1


class Steps(NamedTuple):
    """Steps of a log, and those that each row sees."""

    # (n_steps,), int64: step ``i`` has the events ``begin[i]:end[i]``: whole moments in
    # the order of the log, then parts of moments.
    begin: np.ndarray
    end: np.ndarray
    # (n,), int64: row ``i`` sees the whole moments ``start[i]:stop[i]``, except where
    # its head or tail replaces one.
    start: np.ndarray
    stop: np.ndarray
    # (n,), int64: part that replaces the first and the last step of a row; -1 for none.
    head: np.ndarray
    tail: np.ndarray

    @classmethod
    def of(
        cls, begin: np.ndarray, end: np.ndarray, start: np.ndarray, stop: np.ndarray
    ) -> Self:
        """Return the steps of rows that see some moments whole and some in part.

        Whole moments have the events ``begin[j]:end[j]``, ascending. Row ``i`` sees the
        events ``start[i]:stop[i]``.
        """
        is_empty = start >= stop
        first_step = np.searchsorted(begin, start, side="right") - 1
        # Empty rows of a customer stay beside the others, for sequences in common.
        end_step = np.searchsorted(begin, stop, side="left")
        first_step = np.where(is_empty, end_step, first_step)
        last_step = np.maximum(end_step - 1, 0)
        # (n, 2), begin and end of the moments in which rows start and stop.
        moments = np.column_stack([begin, end]) if len(begin) else np.zeros((1, 2), int)
        at_start = moments[np.minimum(first_step, len(moments) - 1)]
        at_stop = moments[np.minimum(last_step, len(moments) - 1)]
        # A part is a pair of events: the first one that a row sees, and the end.
        heads = np.column_stack([start, np.minimum(at_start[:, 1], stop)])
        tails = np.column_stack([np.maximum(at_stop[:, 0], start), stop])
        has_head = ~is_empty & (start > at_start[:, 0])
        has_tail = ~is_empty & (stop < at_stop[:, 1])
        parts, number = np.unique(
            np.concatenate([heads[has_head], tails[has_tail]]),
            axis=0,
            return_inverse=True,
        )
        number = number.reshape(-1) + len(begin)
        head, tail = np.full((2, len(start)), -1)
        head[has_head], tail[has_tail] = np.split(number, [int(has_head.sum())])
        return cls(
            np.concatenate([begin, parts[:, 0]]),
            np.concatenate([end, parts[:, 1]]),
            first_step,
            end_step,
            head,
            tail,
        )

    def sequences(self) -> np.ndarray:
        """Return a number for each row, equal for rows that can share a sequence."""
        if (self.head < 0).all() and (self.tail < 0).all():
            return self.start
        views = np.column_stack([self.start, self.head, self.tail])
        return np.unique(views, axis=0, return_inverse=True)[1].reshape(-1)


class JoinedNumbers:
    """Channels of steps, which are joined when they are indexed.

    A stand-in for an array of shape (n_steps, n_joined), float32. Step ``i`` has the
    events ``begin[i]:end[i]`` of `channels`, of shape (n_events, n_channels): an array,
    or a stand-in that encodes events when it is indexed.
    """

    def __init__(self, channels: Any, steps: Steps, places: MomentChannels) -> None:
        self._channels, self._begin, self._end = channels, steps.begin, steps.end
        self._places = places
        self.shape = len(steps.begin), places.n_joined

    def __len__(self) -> int:
        """Number of steps."""
        return self.shape[0]

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        """Return the channels of steps, whose numbers may have any shape."""
        flat = np.asarray(steps).ravel()
        begin, end = self._begin[flat], self._end[flat]
        numbers = np.empty((len(flat), self.shape[1]), "float32")
        for first, last in groups(np.cumsum(end - begin), _WIDTH):
            self._join(begin[first:last], end[first:last], numbers[first:last])
        return numbers.reshape(*np.shape(steps), self.shape[1])

    def _join(self, begin: np.ndarray, end: np.ndarray, out: np.ndarray) -> None:
        n_decayed, times, n_channels = self._places
        index, offsets = ranges(begin, end)
        channels = self._channels[index]  # (n_events, n_channels)
        counts = end - begin
        out[:, :n_channels] = channels[offsets[:-1]]
        out[:, n_channels:-1] = out[:, :n_decayed]
        out[:, -1] = np.log(counts)
        # Steps of one event keep its numbers, to the last bit.
        some = np.flatnonzero(counts > 1)
        if not len(some) or not times:
            return
        index, offsets = ranges(offsets[some], offsets[some + 1])
        multiples = channels[index, :times] / np.float64(_RESOLUTION)
        whole = np.rint(multiples).astype("int64")
        sums = np.add.reduceat(whole, offsets[:-1], axis=0) * _RESOLUTION
        n = counts[some, None]
        out[some, :times] = sums / n
        out[some, n_channels:-1] = sums[:, :n_decayed] / np.sqrt(n)


def count_levels(codes: np.ndarray, offsets: np.ndarray, n_levels: int) -> csr_matrix:
    """Return the weights of the levels of one field in consecutive steps.

    The weight of a level is the number of its events over the square root of the number
    of all events of the step. Level 0, unseen in training, is left out. Levels of a
    step are sorted, so that their order in the log does not matter.

    Step ``i`` has the events ``offsets[i]:offsets[i + 1]`` of `codes`. The result has
    the shape (n_steps, n_levels), float32.
    """
    counts = np.diff(offsets)
    weights = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    is_seen = codes > 0
    n_seen = np.append(0, np.cumsum(is_seen))[offsets]
    entries = weights[is_seen].astype("float32"), codes[is_seen], n_seen
    matrix = csr_matrix(entries, (len(counts), max(n_levels, 1)))
    matrix.sum_duplicates()
    return matrix


class StepLevels:
    """Levels of all coded fields in each step.

    Step ``i`` has the events ``begin[i]:end[i]`` of `codes`, of shape (n_events, C): an
    array, or a stand-in that encodes events when it is indexed. `at_once` counts the
    levels of all steps now, and otherwise those of some whenever it is indexed.
    """

    def __init__(
        self, codes: Any, steps: Steps, n_levels: Sequence[int], at_once: bool
    ) -> None:
        self._codes, self._begin, self._end = codes, steps.begin, steps.end
        self._n_levels = n_levels
        self._counts = self._count(np.arange(len(steps.begin))) if at_once else None

    def __getitem__(self, steps: np.ndarray) -> list[csr_matrix]:
        """Return `count_levels` of some steps, shape (n,), for each field."""
        if self._counts is None:
            return self._count(steps)
        return [counts[steps] for counts in self._counts]

    def _count(self, steps: np.ndarray) -> list[csr_matrix]:
        index, offsets = ranges(self._begin[steps], self._end[steps])
        codes = self._codes[index]  # (n_events, C)
        return [
            count_levels(codes[:, i], offsets, n) for i, n in enumerate(self._n_levels)
        ]
