"""From tables that are read one after the other to a log on a disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sklearn_seqcrm.events._disk import new_log
from sklearn_seqcrm.events._look_like_ids import warn_of_ids
from sklearn_seqcrm.events._read import read_events, read_table


def write_parts(
    parts: Iterable[Any],
    path: Any,
    customer: str,
    time: str,
    fields: Sequence[str] | None,
    observed_until: Any,
    categorical: Sequence[str] | None,
) -> None:
    """Write a log, as `EventLog.from_parts` describes it.

    Parameters
    ----------
    parts : iterable of tables
        The events.
    path : str or path-like
        Folder of the log.
    customer, time, fields, observed_until, categorical
        As `EventLog` takes them.
    """
    n_read = 0
    with new_log(path, (customer, time)) as writer:
        for i, part in enumerate(parts):
            what = f"part {i}"
            table = read_table(part, what)
            if not len(table):
                continue
            events = read_events(
                table, customer, time, fields, categorical=categorical or (), what=what
            )
            if not n_read:
                fields = list(events.columns)
                if categorical is None:
                    warn_of_ids(events.columns, table, stacklevel=4)
            writer.append(events, what)
            n_read += 1
        if not n_read:
            raise ValueError("There are no events; a log needs at least one.")
        writer.finish(None, observed_until)
