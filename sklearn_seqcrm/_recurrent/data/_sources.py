"""The steps of one history column, events or moments, and the rows that view them.

A moment is all events of a customer at one time, joined to one step. The lines of an
invoice have no order: inputs of the network are equal, to the last bit, whatever the
order in which lines are stored::

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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix

from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._ragged import groups, ranges

OF_ALL_ROWS = {"of_all_rows": True}


class TensorFields:
    """A dataclass of tensors or arrays, with functions that apply to all of them.

    None stays None, and tuples, lists and other `TensorFields` are followed. Fields
    with the metadata ``of_all_rows`` are left as they are.
    """

    def change(self, function: Callable[[Any], Any]) -> Self:
        """Return an object with the result of a function in each field."""
        changed = {
            one.name: change_all(getattr(self, one.name), function)
            for one in fields(self)  # type: ignore[arg-type]
            if "of_all_rows" not in one.metadata
        }
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self, device: torch.device | str) -> Self:
        """Return all tensors on a device."""
        return self.change(lambda tensor: tensor.to(device))


class IndexedFields(TensorFields):
    """Tensors or arrays that have an index in common, their first axis."""

    def take(self, rows: Any) -> Self:
        """Return the fields at some places, an array of int64 or a slice."""
        return self.change(lambda tensor: tensor[rows])


def change_all(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return a tensor or array, or an object of several, with a function applied."""
    if value is None:
        return None
    if isinstance(value, TensorFields):
        return value.change(function)
    if isinstance(value, list | tuple):
        make = getattr(value, "_make", type(value))  # of a NamedTuple
        return make(change_all(one, function) for one in value)
    return function(value)


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


class FieldInputs(NamedTuple):
    """Positions of the inputs that are made of one field of a history column."""

    channels: list[int]  # of a step
    codes: list[int]
    row_features: list[int]
    sums: list[int]  # of the linear part

    @classmethod
    def of(cls, layout: Layout) -> dict[str, Self]:
        """Return the inputs of each field, by name."""
        n_channels, n_facts = len(layout.channels), layout.n_decayed
        found: dict[str, Self] = {}
        for i, name in enumerate(layout.sources):
            if name is None:  # the time
                continue
            own = found.setdefault(name, cls([], [], [], []))
            if i >= n_channels:
                own.codes.append(i - n_channels)
                continue
            own.channels.append(i)
            if i < n_facts:
                if layout.moments is not None:  # sums are behind other channels
                    own.channels.append(n_channels + i)
                of_decays = [k * n_facts + i for k in range(len(layout.half_lives))]
                own.row_features.extend(layout.first_mean + one for one in of_decays)
                own.sums.extend(of_decays)
        return found


@dataclass(frozen=True)
class HistorySpec:
    """Sizes of the inputs from one history column."""

    n_channels: int  # float channels of a step, F
    n_levels: tuple[int, ...]  # codes of each of the C coded fields
    # Half-lives of the decayed poolings, in typical interarrival times.
    half_lives: tuple[float, ...]
    digest: str = ""  # digest of the encoder; empty for tensors without one
    # Positions of the channels of events, if steps are moments.
    moments: MomentChannels | None = None
    n_row_features: int = 0
    # None for tensors without an encoder.
    layout: Layout | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, layout: Layout) -> HistorySpec:
        """Return the sizes of an encoded log with this layout."""
        moments = None if layout.moments is None else MomentChannels.of(layout)
        return cls(
            len(layout.channels) if moments is None else moments.n_joined,
            layout.n_levels,
            tuple(h / layout.time_unit for h in layout.half_lives),
            layout.digest,
            moments,
            len(layout.row_features),
            layout,
        )

    @cached_property
    def fields(self) -> dict[str, FieldInputs]:
        """Inputs of each field by its name; none for tensors without an encoder."""
        return {} if self.layout is None else FieldInputs.of(self.layout)

    def sizes(self, encoded: bool) -> tuple[Any, ...]:
        """Return what must be equal in `fit` and later; levels if from an encoder.

        Tensors without an encoder have as many levels as their rows happen to have.
        """
        if encoded:
            return self.n_channels, self.n_levels, self.digest
        # Plain tensors have no moments, whatever their number of channels.
        moments = ["moments"] if self.moments else []
        return self.n_channels, len(self.n_levels), *moments


@dataclass(frozen=True)
class HistorySource(IndexedFields):
    """The steps of one history column, and the rows that view them.

    A step is an encoded event or, with `levels`, a moment.
    """

    channels: np.ndarray = field(metadata=OF_ALL_ROWS)  # (n_steps, F), float32
    codes: np.ndarray = field(metadata=OF_ALL_ROWS)  # (n_events, C), int32
    times: np.ndarray = field(metadata=OF_ALL_ROWS)  # (n_steps,)
    start: np.ndarray  # (n,), int64: row ``i`` sees the steps ``start[i]:stop[i]``
    stop: np.ndarray
    cutoff: np.ndarray  # (n,): on the axis of `times`
    # Typical interarrival time, on that axis.
    time_unit: float = field(default=1.0, metadata=OF_ALL_ROWS)
    # Channel of the time since the previous step, which is set to 0 for the first step
    # that a row sees: a lookback hides the previous one.
    interarrival_channel: int | None = field(default=None, metadata=OF_ALL_ROWS)
    # Levels of moments. None: each event is a step, and `codes` has its codes.
    levels: StepLevels | None = field(default=None, metadata=OF_ALL_ROWS)
    views: RowViews | None = None  # parts of moments that rows see

    @property
    def lengths(self) -> np.ndarray:
        """Number of steps that each row sees, shape (n,), int64."""
        return self.stop - self.start

    @property
    def events(self) -> HistorySource:
        """The events and the rows' views of them: the source itself without moments."""
        return self if self.views is None else self.views.events

    def visible_events(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the events that some rows see, and the steps that they are part of.

        Both are int64 of shape (n_visible,), row by row: positions in `events`, and
        numbers of steps of the row, from 0 on.
        """
        start, stop = self.events.start[rows], self.events.stop[rows]
        index, _ = ranges(start, stop)
        moment = index
        if self.views is not None:
            moment = np.searchsorted(self.views.begin, index, side="right") - 1
        return index, moment - np.repeat(self.start[rows], stop - start)

    @property
    def sequences(self) -> np.ndarray:
        """A number for each row, shape (n,), equal if rows see prefixes of the same."""
        return self.start if self.views is None else self.views.sequence

    def within(self, n_levels: Sequence[int]) -> HistorySource:
        """Return the source with 0 (unseen) for codes from `n_levels` on."""
        return replace(self, codes=np.where(self.codes < n_levels, self.codes, 0))

    def positions(
        self, rows: np.ndarray, lengths: np.ndarray, steps: np.ndarray
    ) -> np.ndarray:
        """Return the positions of the steps of some sequences, shape (B, T), int64.

        A sequence is given by one of its `rows` (B,). `steps` (T,) are the numbers of
        the wanted steps of each sequence. Numbers beyond its end, from `lengths` (B,)
        on, give the position of its last step.
        """
        last = np.maximum(lengths - 1, 0)[:, None]  # (B, 1)
        index = self.start[rows, None] + np.minimum(steps, last)  # (B, T)
        if self.views is not None:
            # Rows that share a sequence have the same parts of moments.
            head, tail = self.views.head[rows, None], self.views.tail[rows, None]
            np.copyto(index, head, where=(steps == 0) & (head >= 0))
            np.copyto(index, tail, where=(steps >= last) & (tail >= 0))
        return index


@dataclass(frozen=True)
class RowViews(IndexedFields):
    """Parts of moments that rows see, beside their range of steps."""

    # (n,), int64: step, a part of a moment, that replaces the first and the last one of
    # a row; -1 for none.
    head: np.ndarray
    tail: np.ndarray
    # (n,), int64: number of the sequence that the row shares with others.
    sequence: np.ndarray
    events: HistorySource  # the events, and the rows' views of them
    # (n_moments,), int64: first event of each whole moment.
    begin: np.ndarray = field(metadata=OF_ALL_ROWS)


def join_moments(
    events: HistorySource,
    begin: np.ndarray,
    end: np.ndarray,
    spec: HistorySpec,
    *,
    at_once: bool = True,
) -> HistorySource:
    """Return a source whose steps are moments of the events of another one.

    Moments have the events ``begin[j]:end[j]``, ascending. `at_once` joins all moments
    now, and otherwise those of a batch, whenever one is made.
    """
    assert spec.moments is not None
    steps = Steps.of(begin, end, events.start, events.stop)
    channels: Any = JoinedNumbers(events.channels, steps, spec.moments)
    if at_once:
        channels = channels[np.arange(len(channels))]
    return replace(
        events,
        channels=channels,
        times=events.times[steps.end - 1],
        start=steps.start,
        stop=steps.stop,
        levels=StepLevels(events.codes, steps, spec.n_levels, at_once),
        views=RowViews(steps.head, steps.tail, steps.sequences(), events, begin),
    )
