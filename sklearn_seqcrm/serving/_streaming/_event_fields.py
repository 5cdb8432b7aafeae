"""A single event as numbers, without a table: what it takes a service to score one.

In a log that was merged of several kinds of events, an event has the fields of its
kind. All others are missing, whatever the event holds; `EventLog.append` reads it so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v1 as nw
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
from sklearn_seqcrm.serving._streaming._field_readers import reader_of


class EventFields:
    """Reads all fields of events; of an event of some kind, those of that kind.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._readers = {name: reader_of(encoder, name) for name in encoder.kinds}
        self._kinds = encoder.merged_from

    @property
    def kind_field(self) -> str | None:
        """The field that tells kinds of events apart, if there is one."""
        return None if self._kinds is None else self._kinds.field

    def read(self, event: Mapping[str, Any], what: str) -> dict[str, Any]:
        """Read the fields of an event.

        Parameters
        ----------
        event : mapping of str to object
            An event; what its kind does not have is not looked at.
        what : str
            How an error names it.

        Returns
        -------
        dict of str to object
            What `FieldReader.read` returns for each field.

        Raises
        ------
        KeyError
            If a field is not there.
        TypeError, ValueError
            If a value, or the kind, is refused.
        """
        needed = list(self._readers)
        if self._kinds is not None:
            refuse_lost(event, [self._kinds.field], what)
            kind = self._readers[self._kinds.field].read(event[self._kinds.field])
            if kind is None:
                raise ValueError(f"An event has no kind in {self._kinds.field!r}.")
            needed = self._fields_of(kind)
        refuse_lost(event, needed, what)
        found = dict.fromkeys(self._readers)
        return found | {name: self._readers[name].read(event[name]) for name in needed}

    def join(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
        """Make columns of what `read` returned for some events."""
        return {
            name: reader.join([event[name] for event in events])
            for name, reader in self._readers.items()
        }

    def read_table(
        self, table: nw.DataFrame, what: str, kind: str | None = None
    ) -> dict[str, Column]:
        """Read the fields of a table of n events.

        Parameters
        ----------
        table : narwhals.DataFrame
            The table.
        what : str
            How an error names it.
        kind : str or None, default=None
            Kind of all events. None: a column has it, where there are kinds.
        """
        n, no_event = len(table), np.zeros(len(table), dtype=bool)
        if self._kinds is None:
            _refuse_lost_columns(table.columns, list(self._readers), what)
            return {
                name: reader.read_column(table[name], no_event, what)
                for name, reader in self._readers.items()
            }
        field = self._kinds.field
        if kind is not None:
            kinds = self._of_kind(kind, n)
        else:
            _refuse_lost_columns(table.columns, [field], what)
            kinds = self._readers[field].read_column(table[field], no_event, what)
        found = {field: kinds}
        for name, reader in self._readers.items():
            if name == field:
                continue
            foreign = self._foreign(kinds, name, table.columns, what)
            if foreign.all():
                found[name] = reader.join([None] * n)
            else:
                found[name] = reader.read_column(table[name], foreign, what)
        return found

    def complete(
        self, columns: Mapping[str, Column], n: int, what: str, kind: str | None = None
    ) -> dict[str, Column]:
        """The fields of a log of n events, missing where their kinds lack them.

        Parameters
        ----------
        columns : mapping of str to Column
            Fields of the log.
        n : int
            Number of its events.
        what, kind : object
            As in `read_table`.
        """
        if self._kinds is None:
            return dict(columns)
        field = self._kinds.field
        found = dict(columns)
        if kind is not None:
            found[field] = self._of_kind(kind, n)
        _refuse_lost_columns(list(found), [field], what)
        for name, reader in self._readers.items():
            if name == field:
                continue
            foreign = self._foreign(found[field], name, list(found), what)
            if foreign.all():
                found[name] = reader.join([None] * n)
            elif foreign.any():
                found[name] = found[name].missing_where(foreign).trimmed()
        return found

    def _of_kind(self, kind: Any, n: int) -> Column:
        """The field of kinds of n events of one kind."""
        assert self._kinds is not None
        reader = self._readers[self._kinds.field]
        return reader.join([reader.read(kind)] * n)

    def _fields_of(self, kind: Any) -> list[str]:
        """Fields that an event of a kind has: all, if training had no such kind."""
        assert self._kinds is not None
        if kind not in self._kinds.fields:
            return list(self._readers)
        own = self._kinds.fields[kind]
        return [self._kinds.field, *(name for name in own if name in self._readers)]

    def _foreign(
        self, kinds: Column, name: str, columns: Sequence[str], what: str
    ) -> np.ndarray:
        """Which events are of kinds without a field, shape (n,), bool."""
        assert self._kinds is not None
        assert kinds.categories is not None
        field = self._kinds.field
        if n_without := int((kinds.values < 0).sum()):
            raise ValueError(
                f"{n_without} of {what} have no kind in {field!r}; drop or fill them."
            )
        has = np.array([name in self._fields_of(one) for one in kinds.categories], bool)
        occurs = np.isin(np.arange(len(has)), kinds.values)
        if (has & occurs).any() and name not in columns:
            kind = kinds.categories[int((has & occurs).argmax())]
            raise KeyError(
                f"The table of {what} has events of the kind {kind!r}, and has no "
                f"columns {[name]}, which that kind has; it has {list(columns)}."
            )
        return ~has[kinds.values]


def refuse_lost(event: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raise a KeyError for an event that lacks one of some fields."""
    lost = [name for name in names if name not in event]
    if lost:
        raise KeyError(f"{what} lacks {lost}; it has {list(event)}.")


def _refuse_lost_columns(
    columns: Sequence[str], names: Sequence[str], what: str
) -> None:
    lost = [name for name in names if name not in columns]
    if lost:
        raise KeyError(
            f"The table of {what} has no columns {lost}; it has {list(columns)}."
        )


class EventRowEncoder:
    """Encodes an event as `EventEncoder.encode` does a table of one.

    Parameters
    ----------
    encoder : EventEncoder
        What was learned of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._encoder = encoder
        self._fields = EventFields(encoder)
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
        return self._fields.read(event, "event")

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
        clock = self._encoder.clock
        times = np.array([tick], clock.dtype)
        return Column(np.array([value])).as_numbers(times, clock)[0]


def _codes_of(field: Vocabulary) -> dict[Any, int]:
    """Code of each level, and of a missing value, which is None."""
    return {None: MISSING, **dict(field.code_of_each())}


def _scaled(field: VectorField, vector: np.ndarray | None) -> np.ndarray:
    """Channels of a vector, shape (n_components,)."""
    if vector is None:
        vector = np.full(field.n_components, np.nan, dtype="float32")
    return field.encode(Column(vector[None]), np.zeros(1))[0][0]
