"""A single event as numbers, without a table: what it takes a service to score one."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import (
    CALENDAR_WEIGHT,
    EventEncoder,
    NumericField,
    VectorField,
    Vocabulary,
)
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.neural_network._streaming._moments import days_after

_NUMBERS = (int, float, np.number, np.bool_)


class OneEvent:
    """Encodes an event as `EventEncoder.encode` does a table of one.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._encoder = encoder
        self._readers = {name: _reader_of(encoder, name) for name in encoder.fields}
        numeric = [f for f in encoder.fields.values() if isinstance(f, NumericField)]
        self._marked = [n for n, one in encoder.fields.items() if one.some_missing]
        # The scales of all fields as one, of arrays.
        if numeric:
            scale: Any = numeric[0].scale
            self._scale = scale._replace(
                center=np.array([one.scale.center for one in numeric]),
                scale=np.array([one.scale.scale for one in numeric]),
            )

    def encode(
        self, event: Mapping[str, Any], tick: Any, gap: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Numbers of an event.

        Parameters
        ----------
        event : mapping of str to object
            Its fields; others are not looked at.
        tick : int or float
            Its time on the clock of the encoder.
        gap : float
            Ticks since the customer's event before; NaN if there is none.

        Returns
        -------
        channels : ndarray of shape (n_channels,), float32
            As `EventEncoder.encode` returns them.
        codes : ndarray of shape (n_codes,), int32
            As well. None instead of the two, if a value is of a type that takes longer.
        """
        numbers: dict[str, float] = {}
        vectors: list[np.ndarray] = []
        codes: list[int] = []
        missing: set[str] = set()
        for name, read in self._readers.items():
            found = read(event[name], tick)
            if found is None:
                return None
            if isinstance(read, _CodeOf):
                codes.append(found)
            elif isinstance(read, _VectorOf):
                vectors.append(found[0])
                if found[1]:
                    missing.add(name)
            else:
                numbers[name] = found
        layout = self._encoder.layout
        channels = np.empty(len(layout.channels), "float32")
        if numbers:
            facts, is_missing = self._scale.fold(np.array(list(numbers.values())))
            channels[: layout.n_decayed] = facts
            if is_missing.any():
                missing.update(np.array(list(numbers))[is_missing].tolist())
        at = layout.n_decayed
        for name in self._marked:
            channels[at] = name in missing
            at += 1
        for vector in vectors:
            channels[at : at + len(vector)] = vector
            at += len(vector)
        center, spread = self._encoder.gap_scale
        channels[at] = 0.0
        if gap == gap:
            channels[at] = (np.log1p(gap / layout.time_unit) - center) / spread
        if layout.calendar:
            times = np.array([tick], self._encoder.clock.dtype)
            channels[at + 1 :] = CALENDAR_WEIGHT * layout.waves(times)[0]
        return channels, np.array(codes, "int32")


def _reader_of(encoder: EventEncoder, name: str) -> Any:
    """A function of a value and the time of its event, to a number or a code."""
    field = encoder.fields[name]
    if isinstance(field, Vocabulary):
        return _CodeOf(field)
    if isinstance(field, VectorField):
        return _VectorOf(field)
    return _number_of if encoder.kinds[name] == "numeric" else _DaysAfter(encoder)


class _CodeOf:
    """Codes of the values of a categorical field.

    Parameters
    ----------
    field : Vocabulary
        What was learned of it.
    """

    def __init__(self, field: Vocabulary) -> None:
        levels = field.levels.append(field.rare)
        positions = np.arange(-1, len(levels) + 1)
        # Behind the levels one that is none of them.
        column = Column(positions[:-1].astype("int32"), levels)
        self._missing, *codes = field.encode(column, positions)[0].tolist()
        self._codes = dict(zip(levels.tolist(), codes, strict=True))
        self._types: tuple[type, ...] = ()
        if len(levels) and levels.inferred_type == "string":
            self._types = (str,)
        elif pd.api.types.is_numeric_dtype(levels.dtype):
            is_number = not pd.api.types.is_bool_dtype(levels.dtype)
            self._types = (int, float) if is_number else ()

    def __call__(self, value: Any, tick: Any) -> int | None:
        """The code; None for a value of another type."""
        if value is None:
            return self._missing
        if type(value) not in self._types:
            return None
        if value != value:
            return self._missing
        return self._codes.get(value, 0)  # which stands for unseen levels


class _VectorOf:
    """Channels of a vector, and whether it is missing.

    Parameters
    ----------
    field : VectorField
        What was learned of it.
    """

    def __init__(self, field: VectorField) -> None:
        self._field = field
        self._missing = np.full((1, field.n_components), np.nan, "float32")

    def __call__(self, value: Any, tick: Any) -> tuple[np.ndarray, bool] | None:
        """Both; None for what is no vector of this length, or not whole."""
        if value is None:
            vector = self._missing
        elif not isinstance(value, list | np.ndarray):
            return None
        else:
            try:
                vector = np.asarray(value, dtype="float32")[None]
            except (TypeError, ValueError):
                return None
            if vector.shape != self._missing.shape or not np.isfinite(vector).all():
                return None
        numbers, is_missing = self._field.encode(Column(vector), np.zeros(1))
        return numbers[0], bool(is_missing[0])


class _DaysAfter:
    """Datetimes as days after the event, or since 1970 where times are numbers.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._clock = encoder.clock

    def __call__(self, value: Any, tick: Any) -> float | None:
        """The number; None for what is no datetime."""
        if value is None:
            return np.nan
        is_aware = isinstance(value, datetime.datetime) and value.tzinfo is not None
        return days_after(value, tick, self._clock, aware=is_aware)


def _number_of(value: Any, tick: Any) -> float | None:
    if value is None:
        return np.nan
    return float(value) if isinstance(value, _NUMBERS) else None
