"""Select events by their kind, a level of a categorical field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import (
    NO_ROW,
    look_up,
    ranges,
    starts_in_segments,
    visible_segments,
)
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store._columns import Column
from sklearn_seqcrm._store._log import Rows
from sklearn_seqcrm._store._names import as_list
from sklearn_seqcrm._store._raw_log import RawLog

_FEW = 20  # levels that an error lists


def events_of_kinds(log: RawLog, kinds: Any, kind_field: str) -> np.ndarray:
    """Return the positions of the events of some kinds, ascending.

    `kinds` is a level of the field `kind_field`, or a sequence of levels; each must
    occur.
    """
    column = column_of_kinds(log, kinds, kind_field)
    return np.flatnonzero(is_of_kinds(column, kinds))


def column_of_kinds(log: RawLog, kinds: Any, kind_field: str) -> Column:
    """Return the field whose levels `kinds` chooses.

    Raises a KeyError if the log does not have it, and a ValueError if it is not
    categorical or lacks one of the kinds.
    """
    column = _field_of_kinds(log, kind_field)
    if column.categories is None:
        raise ValueError(f"Field {kind_field!r} is {column.type}, and has no kinds.")
    wanted = as_list(kinds, "kinds")
    has = f"field {kind_field!r} has {_first_levels(column.categories)}"
    if not wanted:
        raise ValueError(f"kinds is empty; {has}.")
    absent = _absent_kinds(log, column, wanted, kind_field)
    if absent:
        raise ValueError(f"There are no events of the kinds {absent}; {has}.")
    return column


def _field_of_kinds(log: RawLog, kind_field: str) -> Column:
    """Return the field whose levels `kinds` chooses; raise a KeyError without it."""
    if kind_field not in log.fields:
        columns = log.columns.items()
        having = [name for name, column in columns if column.categories is not None]
        advice = (
            f"Pass kind_field, one of the categorical fields {having}."
            if having
            else "It has no categorical field either; declare one by "
            "EventLog(..., categorical=[name])."
        )
        raise KeyError(
            f"The log has no field {kind_field!r} with kinds of events. {advice}"
        )
    return log.column(kind_field)


def is_of_kinds(column: Column, kinds: Any) -> np.ndarray:
    """Return which events are of some kinds, shape (n_events,)."""
    assert column.categories is not None
    # Compare the few levels, not the many events.
    is_wanted = np.zeros(len(column.categories), dtype=bool)
    codes = _codes_of(as_list(kinds, "kinds"), column.categories)
    is_wanted[codes[codes >= 0]] = True
    return look_up(is_wanted, column.values, missing=False)


def _absent_kinds(
    log: RawLog, column: Column, wanted: list[Any], kind_field: str
) -> list[Any]:
    """Return the kinds that a log does not have."""
    levels = column.categories
    assert levels is not None
    if not len(log) and not len(levels):
        return []  # rows of a file that see no event know no level
    # `concat` merged these kinds, which may have no events.
    merged = log.kinds if log.kind_field == kind_field else {}
    pairs = zip(wanted, _codes_of(wanted, levels), strict=True)
    return [one for one, code in pairs if code < 0 and one not in merged]


def _codes_of(kinds: list[Any], levels: pd.Index) -> np.ndarray:
    """Return the code of each kind, -1 where it is no level; dates may be text."""
    return levels.get_indexer(pd.Index(kinds))


def _first_levels(levels: pd.Index) -> str:
    """Return the first levels of a field as an error lists them."""
    more = f" and {len(levels) - _FEW:,} more" if len(levels) > _FEW else ""
    return f"{list(levels[:_FEW])}{more}"


def warn_all_kinds(log: Any, what: str, field: str | None = None) -> None:
    """Warn that events of several kinds count, as `kinds` is None.

    Only for the kinds that `concat` merged: a field of a single table, such as the
    event of a click stream, often has levels that all count. `what` the events of all
    kinds do is the beginning of the warning. With a `field`, only events of the kinds
    that have it count.
    """
    kinds = getattr(log, "kinds", {})  # an encoded log has none
    counted = [name for name, own in kinds.items() if field is None or field in own]
    if len(counted) < 2:
        return
    also = "" if log.kind_field == "event" else f", kind_field={log.kind_field!r}"
    warn_user(
        f"{what} events of all kinds, {counted}, because kinds is None. Choose some "
        f"by kinds={counted[0]!r}{also}, or all of them by kinds={counted}{also}."
    )


def rows_of_kinds(rows: Rows, column: Column, kinds: Any) -> Rows:
    """Return the same views of a log without the events of other kinds.

    `column` is the field of the log that holds the kinds, and `kinds` is a level to
    keep, or a sequence of levels. The new log has those of their events that some row
    sees.
    """
    seen = visible_segments(rows)
    # The visible events of all customers, concatenated, (n_visible,).
    index, offsets = ranges(seen.first, seen.last)
    kept = is_of_kinds(column.take(index), kinds)
    n_before = np.append(0, np.cumsum(kept))  # of the kept events, (n_visible + 1,)
    start = starts_in_segments(seen, rows, offsets)
    stop = start + (rows.stop - rows.start)
    # From positions among the visible events to positions among those that are kept.
    known = start != NO_ROW
    start[known], stop[known] = n_before[start[known]], n_before[stop[known]]
    identities = rows.identities.copy()
    identities[seen.rows] = seen.of_row
    index = index[kept]
    timeline = rows.log.timeline.select(seen.codes, n_before[offsets], index)
    log = rows.log.take(timeline, index)
    return Rows(log, identities, start, stop, rows.cutoff)
