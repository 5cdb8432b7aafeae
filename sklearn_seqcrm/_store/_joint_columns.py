"""Join the columns of several logs: in one type, with the levels of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store._columns import Column, factorize
from sklearn_seqcrm._store._ids import join_ids


def _of_one_type(columns: Mapping[str, Column], field: str) -> dict[str, Column]:
    """Return a field of several logs as columns of one type; refuse different ones.

    A column without any value takes the type of the others.
    """
    alike = dict(columns)
    like = next(iter(alike.values()))
    if any(column.type != like.type for column in alike.values()):
        types = {n: str(c.type) for n, c in alike.items() if not c.is_empty()}
        if len(set(types.values())) > 1:
            raise ValueError(
                f"Field {field!r} has the types {types}; give it one type, or "
                "different names, before building the logs."
            )
        # A column of only None has no type, and takes that of others.
        like = alike[next(iter(types or alike))]
        for name, column in alike.items():
            if column.type != like.type:
                alike[name] = like.without_values(len(column.values))
    unified = like.type.unified({n: c.values for n, c in alike.items()}, field)
    return {n: Column(values, alike[n].categories) for n, values in unified.items()}


def scatter(
    parts: Mapping[str, Column], places: Mapping[str, Any], n_events: int, field: str
) -> Column:
    """Join a field of several logs into one column.

    Parameters
    ----------
    parts : mapping of str to Column
        The field in those logs that have it, by the name of the log.
    places : mapping of str to ndarray or slice
        Positions of the events of each log in the joint column.
    n_events : int
        Number of events of all logs.
    field : str
        Name of the field, for errors.

    Returns
    -------
    Column of n_events
        Missing for events of logs without the field.
    """
    alike = _of_one_type(parts, field)
    dtypes: Sequence[Any] = [part.values.dtype for part in alike.values()]
    shape = next(iter(alike.values())).values.shape
    empty = Column(np.empty((0, *shape[1:]), np.result_type(*dtypes)))
    levels = {n: p.categories for n, p in alike.items() if p.categories is not None}
    if levels:
        alike, union = _in_joint_codes(alike, levels, field)
        empty = Column(empty.values, union)
    #   part "a"   x0 x1 x2      places  0 2 3
    #   part "b"   y0            places  1
    #   joint      x0 y0 x1 x2 missing        the last is of a log without the field
    joint = empty.without_values(n_events)
    for name, part in alike.items():
        joint.values[places[name]] = part.values
    return joint


def _in_joint_codes(
    parts: Mapping[str, Column], levels: Mapping[str, pd.Index], field: str
) -> tuple[dict[str, Column], pd.Index]:
    """Return a categorical field of several logs with the levels of all of them."""
    first = next(iter(levels.values()))
    # The usual case of parts of one log: no level has to be looked up.
    if all(own.equals(first) and own.dtype == first.dtype for own in levels.values()):
        return dict(parts), first
    joined = join_ids(levels, f"categories of field {field!r}")
    codes, union = factorize(pd.Series(joined), field)
    # The new code of each old one, log by log; (n_levels,) each.
    ends = np.cumsum([len(own) for own in levels.values()])
    tables = zip(levels, np.split(codes, ends[:-1]), strict=True)
    return {
        name: Column(look_up(table, parts[name].values), union)
        for name, table in tables
    }, union


def stack_columns(logs: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Concatenate the fields of several logs."""
    first, lengths = logs[0], []
    for columns in logs:
        if set(columns) != set(first):
            raise ValueError(
                "Histories of logs with different fields cannot share a column: "
                f"{sorted(first)} and {sorted(columns)}."
            )
        lengths.append(len(next(iter(columns.values())).values) if columns else 0)
    ends = np.cumsum(lengths)
    places = {
        f"log {i}": slice(end - n, end)
        for i, (end, n) in enumerate(zip(ends, lengths, strict=True))
    }
    return {
        name: scatter(
            {label: one[name] for label, one in zip(places, logs, strict=True)},
            places,
            int(ends[-1]),
            name,
        )
        for name in first
    }
