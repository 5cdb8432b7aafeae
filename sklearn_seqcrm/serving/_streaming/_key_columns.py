"""The customer and time columns of each history column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def by_history(value: Any, names: Iterable[Any], what: str) -> dict[Any, Any]:
    """Return a customer, or the name of a column, for each history column."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{what} has no entry for the history columns {missing}.")
    return {name: value[name] for name in names}


def key_columns(
    customer: Any,
    time: Any,
    fields: Mapping[Any, Iterable[str]],
    entities: Mapping[Any, Any],
) -> dict[Any, tuple[str, str]]:
    """Return the names of the customer and the time column of each history column.

    `customer` and `time` are arguments of `StreamingScorer`, `fields` those of the
    events by history column, and `entities` the first history with the customers of
    each, see `ColumnRoles`. Raises a TypeError if a name is no text, and a ValueError
    if a column is also the other one, or a field, an entry is missing, or histories of
    different entities have one column of ids.
    """
    customers = by_history(customer, fields, "customer")
    times = by_history(time, fields, "time")
    found = {}
    for history, own in fields.items():
        keys = customers[history], times[history]
        for key, name in zip(("customer", "time"), keys, strict=True):
            if not isinstance(name, str):
                raise TypeError(f"{key} must be the name of a column; got {name!r}.")
        if keys[0] == keys[1]:
            raise ValueError(f"customer and time are the same column {keys[0]!r}.")
        if repeated := [key for key in keys if key in own]:
            raise ValueError(
                f"customer or time are called like fields of {history!r}: {repeated}. "
                "Name the columns that hold the ids and the times of new events."
            )
        found[history] = keys
    _refuse_one_column(customers, entities)
    return found


def _refuse_one_column(
    customers: Mapping[Any, str], entities: Mapping[Any, Any]
) -> None:
    """Raise a ValueError if histories of different entities have one column of ids."""
    of_column = {column: entities[name] for name, column in customers.items()}
    for name, column in customers.items():
        if entities[name] != of_column[column]:
            raise ValueError(
                f"customer names the same column {column!r} for the histories {name!r} "
                f"and {of_column[column]!r}, which belonged to different entities in "
                "fit, such as customers and shops. Pass a dict with the column of the "
                "ids of each history column."
            )
