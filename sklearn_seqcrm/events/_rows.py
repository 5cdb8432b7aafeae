"""Rows of a history column: four numbers each, and the log that they view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._log import Log, stack_logs

NO_ROW = -1  # start and stop of a missing history


class Rows(NamedTuple):
    """Views of a log.

    Parameters
    ----------
    log : Log
        The log that holds the events.
    codes : ndarray of shape (n,), int64
        Positions of the customers in ``log.customers``, -1 for an unknown one.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``, `NO_ROW` if it is missing.
    cutoff : ndarray of shape (n,)
        Cutoffs on the time axis of the log.
    """

    log: Log
    codes: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray

    def select(self, of_column: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Apply one and the same selection to every column."""
        return Rows(self.log, *map(of_column, self[1:]))

    def moved(self, log: Log, code_shift: int) -> Rows:
        """The same views after their log became part of another."""
        known = self.codes >= 0
        n_before = int(log.timeline.offsets[code_shift])
        return Rows(
            log,
            np.where(known, self.codes + code_shift, -1),
            np.where(known, self.start + n_before, self.start),
            np.where(known, self.stop + n_before, self.stop),
            self.cutoff,
        )

    def compact(self) -> Rows:
        """The same views of a log without any other customer."""
        known = self.codes >= 0
        used = np.unique(self.codes[known])
        log = self.log.subset(used)
        codes = np.where(known, np.searchsorted(used, self.codes), -1)
        shift = np.zeros(len(codes), dtype="int64")
        shift[known] = (
            log.timeline.offsets[codes[known]]
            - self.log.timeline.offsets[self.codes[known]]
        )
        return Rows(log, codes, self.start + shift, self.stop + shift, self.cutoff)


def missing_rows(log: Log, n_rows: int) -> Rows:
    """Rows without a history."""
    cutoff = np.zeros(n_rows, dtype=log.timeline.clock.dtype)
    return Rows(log, *np.full((3, n_rows), NO_ROW), cutoff)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Put rows behind one another; the events of different logs are copied once."""
    logs = distinct_logs(part.log for part in parts)
    if len(logs) > 1:
        parts = [part.compact() for part in parts]
        # A log without events adds none, so it need not know the others' fields.
        logs = [part.log for part in parts if part.log.n_customers] or [parts[0].log]
    log, shifts = stack_logs(logs)
    shift_of = {
        id(one): int(shift) for one, shift in zip(logs, shifts[:-1], strict=True)
    }
    moved = [part.moved(log, shift_of.get(id(part.log), 0)) for part in parts]
    columns = zip(*(part[1:] for part in moved), strict=True)
    return Rows(log, *(np.concatenate(column) for column in columns))


def rows_from_scalars(scalars: Sequence[History | None]) -> Rows:
    """Rows from single histories, None for a missing one."""
    logs = distinct_logs(history.log for history in scalars if history is not None)
    parts, places = [], []
    for log in logs:
        own = [i for i, one in enumerate(scalars) if one is not None and one.log is log]
        keys = zip(*(scalars[i]._key() for i in own), strict=True)  # type: ignore[union-attr]
        codes, start, stop, cutoff = (np.array(column) for column in keys)
        ticks = cutoff.astype(log.timeline.clock.dtype)
        parts.append(Rows(log, codes, start, stop, ticks))
        places.append(own)
    absent = [i for i, one in enumerate(scalars) if one is None]
    if absent:
        parts.append(missing_rows(logs[0], len(absent)))
        places.append(absent)
    back = np.argsort(np.concatenate(places))
    return join_rows(parts).select(lambda column: column[back])


def distinct_logs(logs: Iterable[Log]) -> list[Log]:
    """The different logs, in order of appearance."""
    return list({id(log): log for log in logs}.values())
