"""Fields that become a number of each event, and from there a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sklearn_seqcrm._encoding._field_encoder import FieldEncoder, Training
from sklearn_seqcrm._encoding._numeric_scale import NumericScale
from sklearn_seqcrm._store import Clock, Column


@dataclass(frozen=True)
class NumericField(FieldEncoder):
    """A field of numbers.

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
        numbers = cls._numbers(column.values, training.times, training.clock)
        return cls(NumericScale.of(numbers), training.clock)

    @property
    def some_missing(self) -> bool:
        """Whether a second channel marks the events that lack a value."""
        return self.scale.some_missing

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scale.fold(self._numbers(column.values, times, self.clock))

    def learned(self) -> tuple[Any, ...]:
        return tuple(self.scale)

    @staticmethod
    def _numbers(values: np.ndarray, times: np.ndarray, clock: Clock) -> np.ndarray:
        """What the values of some events are as numbers."""
        return values


class DatetimeField(NumericField):
    """A field of datetimes, which are read as days since the event."""

    @staticmethod
    def _numbers(values: np.ndarray, times: np.ndarray, clock: Clock) -> np.ndarray:
        days = values.astype("M8[us]").astype("int64") / 86_400e6
        days[np.isnat(values)] = np.nan
        per_day = clock.ticks_per_day()
        # Plain times have no date, and then days are since the epoch.
        return days if per_day is None else days - times / per_day
