"""Fields that become a number of each event, and from there a channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._field_encoder import FieldEncoder, Training
from sklearn_seqcrm._encoding._numeric_scale import NumericScale
from sklearn_seqcrm._ragged import Repeated
from sklearn_seqcrm._store import Clock, Column


@dataclass(frozen=True)
class NumericField(FieldEncoder):
    """A field of numbers, or of datetimes, which are read as days after the event.

    Parameters
    ----------
    scale : NumericScale
        Scale of the numbers.
    clock : Clock
        What the times of events mean.
    """

    scale: NumericScale
    clock: Clock

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        def blocks() -> Iterator[np.ndarray]:
            for index, _ in training.blocks():
                times = training.times[index]
                yield column.take(index).as_numbers(times, training.clock)

        return cls(NumericScale.of(Repeated(blocks)), training.clock)

    @property
    def some_missing(self) -> bool:
        """Whether a second channel marks the events that lack a value."""
        return self.scale.some_missing

    @property
    def origin(self) -> float:
        return self.scale.center / self.scale.scale

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scale.fold(column.as_numbers(times, self.clock))

    def learned(self) -> tuple[Any, ...]:
        return tuple(self.scale)
