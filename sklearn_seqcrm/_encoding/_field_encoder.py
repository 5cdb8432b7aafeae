"""What every kind of field offers to the encoder of its events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._store import Clock, Column


class Training(NamedTuple):
    """What fields learn from, beside their own values.

    Parameters
    ----------
    times : ndarray of shape (n,)
        Times of the training events, in ticks of `clock`.
    clock : Clock
        What the times mean.
    min_events : float
        Fewest events of a level that has a code of its own.
    max_levels : int or None
        Most levels of a field that have one.
    """

    times: np.ndarray
    clock: Clock
    min_events: float
    max_levels: int | None


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
        column : Column of n
            The field of the training events, all at once.
        training : Training
            Times of the same events, and the rules.
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
