"""Fields of events to aggregate, and their frequent levels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import LevelCounts
from sklearn_seqcrm._store import (
    CategoricalType,
    Column,
    FieldSchema,
    FieldType,
    Kinds,
    RawLog,
    id_type,
    is_of_kinds,
    unique_names,
)


class Source(NamedTuple):
    """A field to aggregate, of all events or of one kind of events."""

    field: str  # its name
    type: FieldType  # type of its values
    kind: str | None = None  # kind of the events; None for all
    kind_field: str | None = None  # the field that holds the kinds
    # All kinds of events in training, if their log was merged.
    merged_from: Kinds | None = None

    def find(self, log: RawLog, column: str, levels: pd.Index | None = None) -> Values:
        """Return the values in a log, that of the training rows or another one.

        `column` is the name of the history column, for errors; `levels` are some of
        training, if there are any. A ValueError is raised if the log lacks the field, a
        TypeError if its type or that of its levels differs.
        """
        found = field_as_in_fit(
            log, self.field, self.type, column, self.merged_from, levels
        )
        if self.kind is None or self.kind_field is None:
            return Values(found)
        kinds = field_as_in_fit(log, self.kind_field, CategoricalType(), column)
        return Values(found, kinds, self.kind)


class Values(NamedTuple):
    """Values of a field of a log, of all events or of one kind of events."""

    column: Column  # the field
    kinds: Column | None = None  # the field that holds the kinds
    # Kind of the events; the values of others are treated as missing.
    kind: str | None = None

    def take(self, index: np.ndarray) -> Column:
        """Return the values at some events."""
        found = self.column.take(index)
        if self.kinds is None:
            return found
        mine = is_of_kinds(self.kinds.take(index), self.kind)
        return found.missing_where(~mine)


def sources_of(log: RawLog, occurring: Collection[Any]) -> dict[str, Source]:
    """List the fields to aggregate; numbers are separated by kind of event.

    A mean over the spend of orders and of returns would have no meaning. Fields of
    vectors are left out: their components mean nothing one by one. So are kinds that
    are not `occurring` among the events that training rows see.

    They are returned by the name of the source in the names of features.
    """
    found, kind_field = {}, log.kind_field
    for name in log.fields:
        source = Source(name, log.column(name).type, merged_from=log.merged_from)
        if source.type.encoding == "vectors":
            continue
        # The kinds of a merged log that have this field.
        kinds = [kind for kind, own in log.kinds.items() if name in own]
        if len(kinds) < 2 or source.type.encoding == "levels":
            found[name] = source
            continue
        for kind in (kind for kind in kinds if kind in occurring):
            [own] = unique_names([f"{name}_of_{kind}"], [*log.fields, *found])
            found[own] = source._replace(kind=kind, kind_field=kind_field)
    return found


def count_levels(column: Column, customers: np.ndarray) -> LevelCounts:
    """Count the events and the customers of each level that occurs, (n_levels, 2).

    `customers` has the code of the customer of each event.
    """
    levels, known = column.categories, column.values >= 0
    assert levels is not None
    codes, owners = column.values[known].astype("int64"), customers[known]
    counts = np.bincount(codes, minlength=len(levels))
    # The levels of an id, such as an order number, belong to one customer each.
    n_owners = int(owners.max(initial=0)) + 1
    of_pair = np.unique(codes * n_owners + owners) // n_owners
    n_customers = np.bincount(of_pair, minlength=len(levels))
    present = np.flatnonzero(counts)
    return LevelCounts(levels[present], np.column_stack([counts, n_customers])[present])


def frequent_levels(found: LevelCounts, fewest: int, most: int) -> pd.Index:
    """Return the `most` levels with the most events, the most frequent first.

    Levels of fewer than `fewest` customers are left out.
    """
    counts, n_customers = found.counts.T
    # Stable: equally frequent levels keep the order of the categories.
    order = np.argsort(-counts, kind="stable")
    return found.levels[order[n_customers[order] >= fewest][:most]]


def places_among(column: Column, frequent: pd.Index) -> np.ndarray:
    """Return the position of each level of a log among the frequent levels of training.

    Shape (n_levels,); ``len(frequent)`` for a level that is not frequent.
    """
    assert column.categories is not None
    places = np.full(len(column.categories), len(frequent))
    # Look up the few frequent levels in the index of the many levels, which the log
    # caches, and not the other way round.
    codes = column.categories.get_indexer(frequent)
    places[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    return places


def field_as_in_fit(
    log: RawLog,
    field: str,
    wanted: FieldType,
    column: str,
    merged_from: Kinds | None = None,
    levels: pd.Index | None = None,
) -> Column:
    """Return a field of a log; raise an error if its type differs from training.

    The type of its levels may not differ from that of the `levels`, if there are any:
    1 and "1" never match. A field without a value has any type. All values are missing
    in a log that was merged without the kinds of events that have the field.
    """
    if field in log.fields:
        found = log.column(field)
        schema = FieldSchema.of(found)
        known = None if levels is None or not len(levels) else id_type(levels)
        expected = FieldSchema(wanted, known)
        if schema.type == wanted and (known is None or schema == expected):
            return found
        if not found.is_empty():
            raise TypeError(
                f"The field {field!r} of the events of the column {column!r} is "
                f"{schema}, but was {expected} in fit; give it that type before "
                "building the log, or fit again."
            )
    elif merged_from is None or not merged_from.all_lack(log.columns, field):
        raise ValueError(
            f"The events of the column {column!r} lack the field {field!r} that they "
            f"had in fit; they have {log.fields}. Build their log with it, or fit "
            "again."
        )
    any_levels = "text" if wanted.encoding == "levels" else None
    return FieldSchema(wanted, any_levels).without_values(len(log))
