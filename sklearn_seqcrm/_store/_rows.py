"""Rows of a history column: four numbers each, and the log that they view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import NO_ROW
from sklearn_seqcrm._store._log import Log, stack_logs


class Rows(NamedTuple):
    """Views of a log.

    Parameters
    ----------
    log : Log
        The log that holds the events.
    identities : ndarray of shape (n,), int64
        Positions of the customers in ``log.customers``. Customers that the log does not
        know have numbers below -1 (`hashed_ids`), so that their rows can be grouped.
        -1: the customer cannot be identified.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``, `NO_ROW` if it is missing.
    cutoff : ndarray of shape (n,)
        Cutoffs on the time axis of the log.
    """

    log: Log
    identities: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray

    @property
    def codes(self) -> np.ndarray:
        """Positions of the customers, -1 for unknown ones; shape (n,), int64."""
        return np.maximum(self.identities, -1)

    def select(self, of_column: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Apply one and the same selection to every column."""
        return Rows(self.log, *map(of_column, self[1:]))

    def moved(self, log: Log, code_shift: int) -> Rows:
        """The same views after their log became part of another."""
        known = self.identities >= 0
        n_before = int(log.timeline.offsets[code_shift])
        return Rows(
            log,
            np.where(known, self.identities + code_shift, self.identities),
            np.where(known, self.start + n_before, self.start),
            np.where(known, self.stop + n_before, self.stop),
            self.cutoff,
        )

    def compact(self) -> Rows:
        """The same views of a log without any other customer."""
        return _compact([self])[0]

    def within(self, log: Log, kept: np.ndarray) -> Rows:
        """The same views after their log became the subset of the customers `kept`."""
        known = self.identities >= 0
        old = self.identities[known]
        new = np.searchsorted(kept, old)
        identities, shift = self.identities.copy(), np.zeros(len(known), dtype="int64")
        identities[known] = new
        shift[known] = log.timeline.offsets[new] - self.log.timeline.offsets[old]
        return Rows(log, identities, self.start + shift, self.stop + shift, self.cutoff)


def missing_rows(log: Log, n_rows: int) -> Rows:
    """Rows without a history."""
    cutoff = np.zeros(n_rows, dtype=log.timeline.clock.dtype)
    none = np.full(n_rows, NO_ROW)
    return Rows(log, none, none, none, cutoff)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Put rows behind one another; the events of different logs are copied once."""
    logs = _viewed_logs(parts)
    if len(logs) > 1:
        parts = _compact(parts)
        logs = _viewed_logs(parts)
    log, shifts = stack_logs(logs)
    shift_of = {
        id(one): int(shift) for one, shift in zip(logs, shifts[:-1], strict=True)
    }
    moved = [part.moved(log, shift_of.get(id(part.log), 0)) for part in parts]
    # Cutoffs first: with the zeros of missing histories of a log of floats among them,
    # NumPy would make floats of large integers.
    dtype = log.timeline.clock.dtype
    moved = [part._replace(cutoff=part.cutoff.astype(dtype)) for part in moved]
    columns = zip(*(part[1:] for part in moved), strict=True)
    return Rows(log, *(np.concatenate(column) for column in columns))


def by_log(logs: Iterable[Log]) -> dict[Log, list[int]]:
    """The places of each different log, in order of appearance."""
    places: dict[Log, list[int]] = {}
    for i, log in enumerate(logs):
        places.setdefault(log, []).append(i)
    return places


def _viewed_logs(parts: Sequence[Rows]) -> list[Log]:
    """The logs that a row views; missing histories view none, so they fit any log."""
    viewing = [part for part in parts if (part.start != NO_ROW).any()]
    return list(by_log(part.log for part in viewing or parts[:1]))


def _compact(parts: Sequence[Rows]) -> list[Rows]:
    """The same views of logs without the customers that no part needs."""
    compacted = list(parts)
    for log, own in by_log(part.log for part in parts).items():
        codes = np.unique(np.concatenate([parts[i].codes for i in own]))
        kept = codes[codes >= 0]
        if len(kept) == log.n_customers:
            continue
        subset = log.subset(kept)
        for i in own:
            compacted[i] = parts[i].within(subset, kept)
    return compacted
