"""Kinds of events, which one field of a log tells apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import (
    NO_ROW,
    look_up,
    ranges,
    starts_among,
    visible_segments,
)
from sklearn_seqcrm._store._columns import Column
from sklearn_seqcrm._store._lists import one_or_many
from sklearn_seqcrm._store._rows import Rows
from sklearn_seqcrm._store._timeline import Timeline


class Kinds(NamedTuple):
    """The kinds of events that a log was merged from.

    Parameters
    ----------
    field : str
        The categorical field that tells them apart.
    fields : dict of str to tuple of str
        The fields of each kind, without `field`. All others are missing in its events.
    """

    field: str
    fields: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, field: str, fields: Mapping[str, Iterable[str]]) -> Kinds:
        """Kinds from what JSON makes of them."""
        return cls(field, {name: tuple(own) for name, own in fields.items()})

    def only(self, names: Collection[str]) -> Kinds:
        """The same without the kinds that are not named."""
        kept = {name: own for name, own in self.fields.items() if name in names}
        return self._replace(fields=kept)

    def joined(self, other: Kinds) -> Kinds:
        """The kinds of both, each with the fields that it has in either."""
        fields = dict(self.fields)
        for name, own in other.fields.items():
            fields[name] = tuple(dict.fromkeys((*fields.get(name, ()), *own)))
        return self._replace(fields=fields)

    def lacking(self, field: str) -> list[str]:
        """Kinds that do not have a field."""
        return [name for name, own in self.fields.items() if field not in own]


def joint_kinds(all_kinds: Sequence[Kinds | None]) -> Kinds | None:
    """The kinds of logs that were joined, if all of them have some."""
    joint = all_kinds[0]
    for kinds in all_kinds[1:]:
        joint = None if joint is None or kinds is None else joint.joined(kinds)
    return joint


def events_of_kinds(column: Column, kinds: Any, name: str) -> np.ndarray:
    """Positions of the events of some kinds, ascending.

    Parameters
    ----------
    column : Column
        The field that holds the kinds.
    kinds : level of the field, or sequence of levels
        Kinds to find, each of which must occur.
    name : str
        Name of the field, for errors.

    Returns
    -------
    ndarray of int
        Positions in the log.
    """
    check_kinds(column, kinds, name)
    return np.flatnonzero(is_of_kinds(column, kinds))


def is_of_kinds(column: Column, kinds: Any) -> np.ndarray:
    """Tell which events are of some kinds, shape (n_events,)."""
    assert column.categories is not None
    wanted = one_or_many(kinds, "kinds")
    return look_up(column.categories.isin(wanted), column.values, missing=False)


def check_kinds(column: Column, kinds: Any, name: str) -> None:
    """Raise a ValueError if a field has no kinds, or not those that are wanted."""
    wanted = one_or_many(kinds, "kinds")
    if column.categories is None:
        raise ValueError(f"Field {name!r} is {column.kind}, and has no kinds.")
    if not wanted:
        raise ValueError(
            f"kinds is empty; field {name!r} has {list(column.categories)}."
        )
    codes = column.categories.get_indexer(pd.Index(wanted))
    absent = [one for one, code in zip(wanted, codes, strict=True) if code < 0]
    if absent:
        raise ValueError(
            f"There are no events of the kinds {absent}; field {name!r} has "
            f"{list(column.categories)}."
        )


def rows_of_kinds(rows: Rows, column: Column, kinds: Any) -> Rows:
    """The same views of a log in which events of other kinds do not exist.

    Parameters
    ----------
    rows : Rows of n
        Rows.
    column : Column
        The field of their log that holds the kinds.
    kinds : level of the field, or sequence of levels
        Kinds to keep.

    Returns
    -------
    Rows of n
        Views of a log of those events that a row sees.
    """
    seen, timeline = visible_segments(rows), rows.log.timeline
    index, offsets = ranges(seen.first, seen.last)
    kept = is_of_kinds(column.take(index), kinds)
    n_before = np.concatenate([[0], np.cumsum(kept)])
    start = starts_among(seen, rows, offsets)
    stop = start + (rows.stop - rows.start)
    known = start != NO_ROW
    start[known], stop[known] = n_before[start[known]], n_before[stop[known]]
    codes = np.full(len(rows.codes), -1)
    codes[seen.rows] = seen.of_row
    index = index[kept]
    log = rows.log.take(
        Timeline(
            timeline.customers[seen.codes],
            n_before[offsets],
            timeline.times[index],
            timeline.clock,
            timeline.record,
        ),
        index,
    )
    return Rows(log, codes, start, stop, rows.cutoff)
