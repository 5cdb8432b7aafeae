"""Read and encode a single event without a table, as fast as a service needs it.

In a log that was merged from several kinds of events, an event has the fields of its
kind. All other fields are missing, even if the event has values for them, as for
`EventLog.append`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np

from sklearn_seqcrm._encoding import MISSING, UNSEEN, EventEncoder, NumericScale
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.serving._streaming._field_readers import reader_of


class EventFields:
    """Readers of all fields of events; an event has the fields of its kind.

    `encoder` is the fitted encoder of the history column, and `keys` are the names of
    the customer and the time column of events.
    """

    def __init__(self, encoder: EventEncoder, keys: tuple[str, str]) -> None:
        self.encoder = encoder
        self.keys = keys
        self._readers = {
            n: reader_of(n, schema) for n, schema in encoder.schema.items()
        }
        self._kinds = encoder.merged_from

    @property
    def kind_field(self) -> str | None:
        """The field that holds the kinds of events, if there is one."""
        return None if self._kinds is None else self._kinds.field

    def read(self, event: Mapping[str, Any], what: str) -> dict[str, Any]:
        """Return the fields of an event in canonical form, see `FieldReader.read`.

        Fields that its kind does not have are ignored. Errors name the event `what`: a
        KeyError if a field is lacking, a TypeError or ValueError if a value or the kind
        is refused.
        """
        needed = list(self._readers)
        if self._kinds is not None:
            require_fields(event, [self._kinds.field], what)
            kind = self._readers[self._kinds.field].read(event[self._kinds.field])
            if kind is None:
                raise ValueError(f"An event has no kind in {self._kinds.field!r}.")
            needed = self._fields_of(kind)
            absent = [name for name in needed if name not in event]
            self._refuse_unknown_kind(kind, absent)
        require_fields(event, needed, what)
        # Fields of other kinds are None, in the order of the encoder.
        found = dict.fromkeys(self._readers)
        return found | {name: self._readers[name].read(event[name]) for name in needed}

    def join(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
        """Make columns of values that `read` returned for some events."""
        return {
            name: reader.join([event[name] for event in events])
            for name, reader in self._readers.items()
        }

    def read_table(
        self, table: nw.DataFrame, what: str, kind: str | None = None
    ) -> dict[str, Column]:
        """Read the fields of a table of events; errors name it `what`.

        `kind` is that of each event. None: a column holds the kinds, if there are any.
        """

        def column_of(name: str, lacks: np.ndarray) -> Column:
            return self._readers[name].read_column(table[name], lacks, what)

        return self._by_kind(table.columns, len(table), column_of, what, kind)

    def complete(
        self, columns: Mapping[str, Column], n: int, what: str, kind: str | None
    ) -> dict[str, Column]:
        """Return the `columns` of a log of n events, missing where kinds lack them.

        `what` and `kind` are as in `read_table`.
        """
        if self._kinds is None:
            return dict(columns)

        def column_of(name: str, lacks: np.ndarray) -> Column:
            found = columns[name]
            return found.missing_where(lacks).trimmed() if lacks.any() else found

        # Unknown fields stay, for `columns_as_in_fit` to refuse them.
        own = self._by_kind(list(columns), n, column_of, what, kind)
        return {**columns, **own}

    def _by_kind(
        self,
        names: Sequence[str],
        n: int,
        column_of: Callable[[str, np.ndarray], Column],
        what: str,
        kind: str | None,
    ) -> dict[str, Column]:
        """Return all fields of n events; each event has those of its kind.

        `names` are the columns that there are. `column_of` takes one of them, and which
        events do not have the field, shape (n,), bool. `what` and `kind` are as in
        `read_table`.
        """
        none, table = np.zeros(n, dtype=bool), f"The table of {what}"
        if self._kinds is None:
            require_fields(names, self._readers, table)
            return {name: column_of(name, none) for name in self._readers}
        field = self._kinds.field
        if kind is None:
            some = next(iter(self._kinds.fields))
            way = f"Pass a table for each kind, {{{some!r}: ...}}."
            require_fields(names, [field], table, way)
            kinds = column_of(field, none)
        else:
            reader = self._readers[field]
            kinds = reader.join([reader.read(kind)] * n)
        found = {field: kinds}
        for name, reader in self._readers.items():
            if name != field:
                lacks = self._lacking(kinds, name, names, what)
                # A field that only other kinds have needs no column in the table.
                if lacks.all():
                    found[name] = reader.join([None] * n)
                else:
                    found[name] = column_of(name, lacks)
        return found

    def _fields_of(self, kind: Any) -> list[str]:
        """Return the fields of a kind of events: all, if training had no such kind."""
        assert self._kinds is not None
        if kind not in self._kinds.fields:
            return list(self._readers)
        own = self._kinds.fields[kind]
        return [self._kinds.field, *(name for name in own if name in self._readers)]

    def _refuse_unknown_kind(self, kind: Any, missing: list[str]) -> None:
        """Raise a KeyError if an unknown kind lacks fields: it is hardly a new one."""
        assert self._kinds is not None
        if missing and kind not in self._kinds.fields:
            raise KeyError(
                f"The kind {kind!r} is unknown; known are {list(self._kinds.fields)}. "
                f"An event of a new kind needs all fields; this one lacks {missing}."
            )

    def _lacking(
        self, kinds: Column, name: str, columns: Sequence[str], what: str
    ) -> np.ndarray:
        """Return which events are of kinds without a field, shape (n,), bool."""
        assert self._kinds is not None
        assert kinds.categories is not None
        field = self._kinds.field
        if n_without := int((kinds.values < 0).sum()):
            raise ValueError(
                f"{n_without} of {what} have no kind in {field!r}; drop or fill them."
            )
        # By level of the kind field: does this kind have the field, and does it occur?
        # Looked up per level and not per event, of which there may be millions.
        has = np.array([name in self._fields_of(one) for one in kinds.categories], bool)
        occurs = np.isin(np.arange(len(has)), kinds.values)
        if (has & occurs).any() and name not in columns:
            kind = kinds.categories[int((has & occurs).argmax())]
            self._refuse_unknown_kind(kind, [name])
            table = f"The table of {what} has events of the kind {kind!r}, but"
            require_fields(columns, [name], table)
        return ~has[kinds.values]


def require_fields(
    given: Collection[str], names: Iterable[str], what: str, way: str = ""
) -> None:
    """Raise a KeyError if an event or a table lacks fields; `way` is the way out."""
    missing = [name for name in names if name not in given]
    if missing:
        raise KeyError(f"{what} lacks {missing}; it has {list(given)}. {way}".rstrip())


def require_key(given: Collection[str], name: str, role: str, what: str) -> None:
    """Raise a KeyError if an event or a table lacks its "customer" or "time"."""
    if name not in given:
        raise KeyError(
            f"{what} lacks {name!r}, the {role} of an event; it has {list(given)}."
        )


class EventRowEncoder:
    """Encode one event as `EventEncoder.encode` does a table of one, but faster.

    `encoder` is the fitted encoder of the history column.
    """

    def __init__(self, encoder: EventEncoder) -> None:
        self._encoder = encoder
        fields, layout = encoder.fields, encoder.layout
        # A dict is faster than `Vocabulary` for one level, which looks up many at once.
        self._codes = [
            (name, {None: MISSING, **dict(fields[name].code_of_each())})  # type: ignore[attr-defined]
            for name in layout.codes
        ]
        self._facts = list(layout.channels[: layout.n_decayed])
        places = layout.of_fields
        self._vectors = [
            (name, places[name].values)
            for name, _ in layout.vectors
            if name not in encoder.level_vectors
        ]
        # Vectors of levels, by level; of others they are 0.
        self._level_vectors = [
            (name, places[name].values, dict(zip(one.levels, one.vectors, strict=True)))
            for name, one in encoder.level_vectors.items()
        ]
        marks = [(name, own.mark) for name, own in layout.of_fields.items()]
        self._marks = [(name, at) for name, at in marks if at is not None]
        self._times = slice(layout.interarrival_channel, None)
        types: Any = [(name, encoder.schema[name].type) for name in self._facts]
        # Numeric values are numbers already; to convert them would take longer.
        self._converted = [(n, one) for n, one in types if one.name != "numeric"]
        # The scales of all facts as one scale of arrays.
        scales = [fields[name].scale for name in self._facts]  # type: ignore[attr-defined]
        self._scale = NumericScale(
            np.array([one.center for one in scales]),  # type: ignore[arg-type]
            np.array([one.scale for one in scales]),  # type: ignore[arg-type]
            False,
        )

    def encode(
        self, values: Mapping[str, Any], tick: Any, interarrival: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return channels (F,), float32, and codes (C,), int32, of an event.

        They are as `EventEncoder.encode` writes them. `values` are the fields that
        `EventFields.read` returned, `tick` is the time on the clock of the encoder, and
        `interarrival` are the ticks since the customer's previous event; NaN without
        one. None: leave the channels of times at 0, as only the first event of a moment
        has them.
        """
        layout, clock = self._encoder.layout, self._encoder.clock
        times = np.array([tick], clock.dtype)
        # Of a missing vector all channels are 0.
        channels = np.zeros(len(layout.channels), "float32")
        missing = {name for name, value in values.items() if value is None}
        numbers = {name: values[name] for name in self._facts}
        for name, its_type in self._converted:
            if name not in missing:
                value = np.array([values[name]])
                numbers[name] = its_type.as_numbers(value, times, clock)[0]
        array = np.array(list(numbers.values()), dtype="float64")
        channels[: layout.n_decayed], lacks = self._scale.symlog(array)
        missing.update(compress(self._facts, lacks))
        for name, at in self._vectors:
            if name not in missing:
                vector = Column(values[name][None])  # (1, n_components)
                [channels[at]], _ = self._encoder.fields[name].encode(vector, times)
        for name, at, vectors in self._level_vectors:
            channels[at] = vectors.get(values[name], 0)
        for name, at in self._marks:
            channels[at] = name in missing
        if interarrival is not None:
            out = channels[None, self._times]  # a view, (1, n_times)
            self._encoder.encode_times(times, np.array([interarrival]), out=out)
        # Unseen levels have the code 0, as in `Vocabulary`.
        codes = [codes.get(values[name], UNSEEN) for name, codes in self._codes]
        return channels, np.array(codes, "int32")
