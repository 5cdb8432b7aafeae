"""Warnings about values of fields: datetimes of another zone, and infinite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import narwhals.stable.v1 as nw
import numpy as np

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock, Column
from sklearn_seqcrm.events._read import Events


def fields_of_other_zone(table: nw.DataFrame, events: Events) -> list[str]:
    """Return fields of datetimes with a time zone if times have none, or vice versa.

    `events` are what was read from the table.
    """
    clock = events.timeline.clock
    if clock.unit is None:
        return []
    return [
        name
        for name, column in events.columns.items()
        if column.type.is_relative
        and not column.is_empty()
        and _has_zone(table[name]) != clock.aware
        # A date, which is midnight, has no zone.
        and not (clock.aware and column.type.scalar.are_days(column.values))
    ]


def warn_other_zone(fields: Sequence[str], clock: Clock) -> None:
    """Warn of fields that `fields_of_other_zone` found, if there are any."""
    if not fields:
        return
    column = f"events[{fields[0]!r}]"  # of datetimes, or of objects
    if clock.aware:
        problem = "without a time zone, but the times have one"
        remedy = (
            f"pd.to_datetime({column}).dt.tz_localize('Europe/Berlin') names the zone "
            "of others"
        )
    else:
        problem = "with a time zone, but the times have none"
        remedy = (
            f"pd.to_datetime({column}, utc=True).dt.tz_convert('Europe/Berlin')"
            ".dt.tz_localize(None) makes local times, like those of the events"
        )
    warn_user(
        f"The fields {list(fields)} hold datetimes {problem}. Both are compared as "
        "UTC, so that the days between them may be off by the offset of a zone; "
        f"{remedy}."
    )


def _has_zone(column: nw.Series) -> bool:
    """Return whether datetimes, which may be objects, have a time zone."""
    if isinstance(column.dtype, nw.Datetime):
        return column.dtype.time_zone is not None
    known = column.drop_nulls()
    return bool(len(known)) and getattr(known[0], "tzinfo", None) is not None


def count_infinite(columns: Mapping[str, Column]) -> dict[str, int]:
    """Return the number of infinite values of each numeric field that has some."""
    counts = {
        name: int(np.isinf(column.values).sum())
        for name, column in columns.items()
        if column.type.name == "numeric"
    }
    return {name: count for name, count in counts.items() if count}


def warn_infinite(counts: Mapping[str, int]) -> None:
    """Warn of infinite numbers that `count_infinite` found, if there are any."""
    if not counts:
        return
    found = ", ".join(f"{n:,} of field {name!r}" for name, n in counts.items())
    first = next(iter(counts))
    warn_user(
        f"Infinite numbers count as missing in features and networks, {found}. Make "
        f"them missing, events[{first!r}].replace([np.inf, -np.inf], np.nan), or limit "
        f"them, for example events[{first!r}].clip(-1e6, 1e6)."
    )
