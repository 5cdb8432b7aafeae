"""Find events that are repeated: in a table, or in a table and a log.

In the log of both, where customer and time are equal, the events of the log come first.
So repeated events are found within runs of equal times::

    time of a customer    3      3    3    3    7
    event                 a      b    a    c    a
    part                  log    log  new  new  new
    repeated                          ^ as the log has "a" at 3, but not at 7
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Column, RawLog, Timeline
from sklearn_seqcrm.events._read import Events


def repeated_events(
    events: Events, new: np.ndarray, known: Mapping[str, Column]
) -> np.ndarray:
    """Return the new events that the log contains already.

    Only events at the same time of the same customer are compared, so that the cost
    follows the new events, not the log. A repetition within the new events is none.

    `events` are all, those of the log before new ones at their time. `new` are
    positions of the new events, ascending as those returned; `known` are the fields of
    the log.
    """
    times = events.timeline.times
    # A new event can be repeated only if the event before it has the same time.
    suspects = new[(new > 0) & (times[new] == times[new - 1])]
    old, run_of_old, run = _old_events_of_runs(events.timeline, suspects, new)
    if not len(old):
        return suspects[:0]
    runs, index = np.append(run_of_old, run), np.append(old, suspects)
    key = _number_distinct(runs, events.columns, index, known)
    return suspects[np.isin(key[len(old) :], key[: len(old)])]


# Fewer events may be examples, of which each is there twice for a reason.
_FEWEST_COPIED = 20
# Events that are compared, and distinct values that they need: with fewer, events at
# one time are equal by chance, such as clicks on one of three buttons.
_COMPARED, _FEWEST_DISTINCT = 5_000, 20


def count_copied_events(events: Events | RawLog) -> int:
    """Return how many first events of a log are all there several times; else 0.

    Only the first events are compared, which tells such a table from others.
    """
    times = events.timeline.times
    n = min(len(times), _COMPARED)
    if n < len(times):
        # Up to the last of them that begins a moment.
        is_same = times[1 : n + 1] == times[:n]
        n -= int(np.argmin(is_same[::-1]))
    if n < _FEWEST_COPIED:
        return 0
    moment = events.timeline.positions(
        events.timeline.codes_of(np.arange(n)), times[:n]
    )
    if np.bincount(pd.factorize(moment)[0]).min() < 2:  # an event alone at its time
        return 0
    fields = _number_distinct(np.zeros(n), events.columns, np.arange(n), known={})
    copies = np.bincount(pd.factorize(moment * n + fields)[0])
    if fields.max() + 1 < _FEWEST_DISTINCT or copies.min() < 2:
        return 0
    return n


def warn_copied_events(n: int, table: str = "the table") -> None:
    """Warn if there are copies, as after a wrong join: see `count_copied_events`."""
    if n:
        warn_user(
            f"Each of the first {n} events is in {table} at least twice, with the same "
            "customer, time and fields, as after a join with repeated keys. Copies "
            "count as events of their own; drop_duplicates() of pandas drops them."
        )


def _old_events_of_runs(
    timeline: Timeline, suspects: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the old events at the times of suspects; runs of these and of suspects.

    A run is known by the position of its first event.
    """
    codes, times = timeline.codes_of(suspects), timeline.times[suspects]
    run = timeline.positions(codes, times)
    runs, first_suspect = np.unique(run, return_index=True)
    # Old events lie between the first event of a run and its first suspect. Before that
    # one may be a new event that is no suspect: the first of a run without old ones.
    index, offsets = ranges(runs, suspects[first_suspect])
    is_old = ~np.isin(index, new)
    return index[is_old], np.repeat(runs, np.diff(offsets))[is_old], run


def _number_distinct(
    key: np.ndarray,
    columns: Mapping[str, Column],
    index: np.ndarray,
    known: Mapping[str, Column],
) -> np.ndarray:
    """Number the distinct values of a key and of all fields at some events, (n,).

    Numbers are compared in the dtype that the log has: 0.1 as float64 is not the 0.1 of
    a float32.
    """
    key = pd.factorize(key)[0]
    for name, column in columns.items():
        some = column.take(index)
        if name in known and known[name].values.dtype == np.float32:
            with np.errstate(over="ignore"):  # the log would hold infinity, too
                some = some._replace(values=some.values.astype("float32"))
        codes = some.distinct()
        # Renumbered after each field: products of many levels would overflow.
        key = pd.factorize(key * (codes.max() + 1) + codes)[0]
    return key
