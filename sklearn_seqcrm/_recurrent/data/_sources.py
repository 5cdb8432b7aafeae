"""The steps of one history column, events or moments, and the rows that view them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data._moments import (
    JoinedNumbers,
    MomentChannels,
    StepLevels,
    Steps,
)
from sklearn_seqcrm._recurrent.data._tensor_fields import OF_ALL_ROWS, IndexedFields


class FieldInputs(NamedTuple):
    """Positions of the inputs that are made of one field of a history column.

    Or of one cycle of the calendar: of the times of events and of the cutoff.
    """

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

    @classmethod
    def of_cycles(cls, layout: Layout) -> dict[str, Self]:
        """Return the inputs of each cycle of the calendar, by name."""
        channel = layout.interarrival_channel + 1
        feature = len(layout.row_features) - (len(layout.channels) - channel)
        found = {}
        for name, _, n_harmonics in layout.calendar:
            waves = range(2 * n_harmonics)
            channels = [channel + wave for wave in waves]
            found[name] = cls(channels, [], [feature + wave for wave in waves], [])
            channel, feature = channel + len(waves), feature + len(waves)
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

    @cached_property
    def cycles(self) -> dict[str, FieldInputs]:
        """Inputs of each cycle of the calendar; none for tensors without an encoder."""
        return {} if self.layout is None else FieldInputs.of_cycles(self.layout)

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
