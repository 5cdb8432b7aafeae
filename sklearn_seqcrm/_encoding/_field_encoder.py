"""What every kind of field offers to the encoder of its events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._ragged import event_blocks
from sklearn_seqcrm._store import Clock, Column


class Training(NamedTuple):
    """What fields learn from, beside their own values.

    Parameters
    ----------
    times : ndarray of shape (n_events,)
        Times of all events of the log, in ticks of `clock`.
    clock : Clock
        What the times mean.
    min_events : float
        Fewest events of a level that has a code of its own.
    max_levels : int or None
        Most levels of a field that have one.
    runs : tuple of (ndarray, ndarray) or None, default=None
        What `visible_runs` found, the training events; None: all of the log.
    """

    times: np.ndarray
    clock: Clock
    min_events: float
    max_levels: int | None
    runs: tuple[np.ndarray, np.ndarray] | None = None

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions of the training events, and where runs begin, some at a time."""
        runs = self.runs
        if runs is None:
            runs = np.zeros(1, "int64"), np.array([len(self.times)])
        for _, index, first in event_blocks(*runs):
            yield index, first

    def times_in_blocks(self) -> Iterator[np.ndarray]:
        """Times of the training events."""
        for index, _ in self.blocks():
            yield self.times[index]

    def gaps_in_blocks(self) -> Iterator[np.ndarray]:
        """Gaps between training events of a customer that follow one another.

        Those of events at the same time are left out.
        """
        for index, first in self.blocks():
            gaps = np.diff(self.times[index], prepend=self.times[index[:1]])
            gaps[first] = 0
            yield gaps[gaps > 0].astype("float64")


class FieldEncoder(ABC):
    """What was learned of one field: each event has channels of it, or a code."""

    @property
    def n_codes(self) -> int:
        """Number of codes; 0 if the field is of channels."""
        return 0

    @property
    def n_components(self) -> int:
        """Components of a vector; 0 if the field is one number, or a code."""
        return 0

    @property
    def some_missing(self) -> bool:
        """Whether another channel marks the events that lack a value."""
        return False

    @property
    def origin(self) -> float:
        """Center over scale of a channel whose tails are folded in."""
        return 0.0

    @classmethod
    @abstractmethod
    def learn(cls, column: Column, training: Training) -> Self:
        """Learn from the values of the training events.

        Parameters
        ----------
        column : Column of n_events
            The field of the log.
        training : Training
            Which events to learn from, and the rules.
        """

    @abstractmethod
    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Turn the values of some events into numbers.

        Parameters
        ----------
        column : Column of n
            The field of these events.
        times : ndarray of shape (n,)
            Their times, on the clock of the training events.

        Returns
        -------
        numbers : ndarray of shape (n,) or (n, n_components)
            A channel, float32 and finite, or codes below `n_codes`, int32; or the
            channels of vectors.
        is_missing : ndarray of shape (n,), bool, or None
            Events that lack a value; None for codes, which have one for that.
        """

    @abstractmethod
    def learned(self) -> tuple[Any, ...]:
        """Everything learned, as Python's own values."""

    def knowing(self, column: Column) -> FieldEncoder:
        """The same, prepared for many blocks of events of one column."""
        return self
