"""A single event as numbers, without a table: what it takes a service to score one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_seqcrm._encoding import (
    CALENDAR_WEIGHT,
    MISSING,
    UNSEEN,
    EventEncoder,
    NumericField,
    VectorField,
    Vocabulary,
)
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.neural_network._streaming._field_readers import reader_of


class OneEvent:
    """Encodes an event as `EventEncoder.encode` does a table of one.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._encoder = encoder
        self._readers = {name: reader_of(encoder, name) for name in encoder.fields}
        self._codes = {
            name: _codes_of(one)
            for name, one in encoder.fields.items()
            if isinstance(one, Vocabulary)
        }
        self._vectors = {
            name: one
            for name, one in encoder.fields.items()
            if isinstance(one, VectorField)
        }
        numeric = {
            n: f for n, f in encoder.fields.items() if isinstance(f, NumericField)
        }
        self._days = [n for n in numeric if encoder.kinds[n] == "datetime"]
        self._numeric = list(numeric)
        self._marked = [n for n, one in encoder.fields.items() if one.some_missing]
        # The scales of all fields as one, of arrays.
        if numeric:
            scales = [one.scale for one in numeric.values()]
            self._scale = scales[0]._replace(
                center=np.array([one.center for one in scales]),  # type: ignore[arg-type]
                scale=np.array([one.scale for one in scales]),  # type: ignore[arg-type]
            )

    def read(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read the fields of an event, or refuse them.

        Parameters
        ----------
        event : mapping of str to object
            Its fields; others are not looked at.

        Returns
        -------
        dict of str to object
            What `FieldReader.read` returns for each.
        """
        return {name: one.read(event[name]) for name, one in self._readers.items()}

    def encode(
        self, values: Mapping[str, Any], tick: Any, gap: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode an event.

        Parameters
        ----------
        values : mapping of str to object
            What `read` returned.
        tick : int or float
            Its time on the clock of the encoder.
        gap : float
            Ticks since the customer's event before; NaN if there is none.

        Returns
        -------
        channels : ndarray of shape (n_channels,), float32
            As `EventEncoder.encode` returns them.
        codes : ndarray of shape (n_codes,), int32
            As well.
        """
        layout = self._encoder.layout
        missing = {name for name, value in values.items() if value is None}
        channels = np.empty(len(layout.channels), "float32")
        if self._numeric:
            numbers = {name: values[name] for name in self._numeric}
            for name in self._days:
                numbers[name] = self._days_of(values[name], tick)
            array = np.array(list(numbers.values()), dtype="float64")
            channels[: layout.n_decayed], lacks = self._scale.fold(array)
            missing.update(np.array(self._numeric)[lacks].tolist())
        at = layout.n_decayed
        for name in self._marked:
            channels[at] = name in missing
            at += 1
        for name, field in self._vectors.items():
            channels[at : at + field.n_components] = _scaled(field, values[name])
            at += field.n_components
        center, spread = self._encoder.gap_scale
        channels[at] = 0.0
        if gap == gap:
            channels[at] = (np.log1p(gap / layout.time_unit) - center) / spread
        if layout.calendar:
            times = np.array([tick], self._encoder.clock.dtype)
            channels[at + 1 :] = CALENDAR_WEIGHT * layout.waves(times)[0]
        # Unseen levels have the code 0, as in `Vocabulary`.
        codes = [codes.get(values[name], UNSEEN) for name, codes in self._codes.items()]
        return channels, np.array(codes, "int32")

    def _days_of(self, value: np.datetime64 | None, tick: Any) -> float | None:
        """Days after the event, or since 1970 where times are numbers."""
        if value is None:
            return None
        days = value.astype("int64").item() / 86_400e6
        per_day = self._encoder.clock.ticks_per_day()
        return days if per_day is None else days - tick / per_day


def _codes_of(field: Vocabulary) -> dict[Any, int]:
    """Code of each level, and of a missing value, which is None."""
    return {None: MISSING, **dict(field.code_of_each())}


def _scaled(field: VectorField, vector: np.ndarray | None) -> np.ndarray:
    """Channels of a vector, shape (n_components,)."""
    if vector is None:
        vector = np.full(field.n_components, np.nan, dtype="float32")
    return field.encode(Column(vector[None]), np.zeros(1))[0][0]
