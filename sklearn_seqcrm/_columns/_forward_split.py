"""A split forward in time: validation rows at the latest cutoffs.

Customers set aside share dates, season and prices with the training rows: a model may
improve on them by what it learned about these dates, which does not help later. A split
forward in time validates at the latest cutoffs, and trains on the rows whose labels
were known by then (rolling origin)::

    cutoffs      1   2   3   4   5   6   7   8         horizon 3
    windows      1==========>4                         8==========>11
    train        x   x   x   x   x                     5 + 3 <= 8
    dropped                          x   x             6 + 3 >  8
    validation                               x
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns._horizons import NoForwardSplitError
from sklearn_seqcrm._store import Clock, saturating_add
from sklearn_seqcrm.events import HistoryArray

# The fewest latest cutoffs that have this share of the rows: usually one. Each further
# one would drop another cutoff from the training rows as well.
_LEAST_SHARE = 0.05
# With fewer customers, the validation loss is too noisy to compare epochs.
_FEWEST_CUSTOMERS = 50
# With fewer rows to train on, the number of epochs would suit another problem.
_LEAST_SHARE_TO_TRAIN = 0.3


class Cutoffs(NamedTuple):
    """Cutoffs of n rows."""

    clock: Clock  # their time axis
    ticks: np.ndarray  # (n,): the cutoffs on that axis
    # int, float or None: first moment on that axis that the log has not observed; None
    # if unknown.
    end: Any = None


def cutoffs_of(array: HistoryArray) -> Cutoffs:
    """Return the cutoffs of a history column of n rows."""
    timeline = array.log.timeline
    end = timeline.end if timeline.end_is_known else None
    return Cutoffs(timeline.clock, array.rows.cutoff, end)


class ForwardSplit(NamedTuple):
    """Positions of the rows of a split forward in time."""

    # int64: rows whose labels were known at the first validation cutoff.
    train: np.ndarray
    valid: np.ndarray  # int64: rows at the latest cutoffs, of all customers or of some
    latest: np.ndarray  # int64: rows at the latest cutoffs, of all customers
    since: Any  # Timestamp, int or float: first validation cutoff
    # (n,): if training rows are to be censored at `since`: the time for which the
    # window of each row was observed by then, in ticks. Infinite for other rows.
    observed: np.ndarray | None = None

    def limited(self, customers: np.ndarray, most: int, seed: int) -> ForwardSplit:
        """Keep the validation rows of some customers only, of at most `most`.

        `customers` (n,) are the numbers of the customers of all rows; `seed` draws
        them.
        """
        of_valid = customers[self.valid]
        found = np.unique(of_valid)
        if len(found) <= most:
            return self
        rng = np.random.default_rng(seed)
        chosen = rng.choice(found, most, replace=False)
        return self._replace(valid=self.valid[np.isin(of_valid, chosen)])


def split_forward(
    cutoffs: Sequence[Cutoffs],
    customers: np.ndarray,
    lengths: Mapping[str, Any],
    share: float | str = "auto",
    *,
    may_be_censored: bool = False,
    gap: Any = None,
) -> ForwardSplit:
    """Split rows at their latest cutoffs.

    `cutoffs` are those of each history column, and `customers` (n,) the numbers of the
    customers. `lengths` of time from a cutoff until its label is known are added up.
    `share` is the least share of the rows to be set aside; "auto" for 0.05.

    `may_be_censored`: windows may be incomplete. Only rows whose window is complete in
    all logs are set aside then. Rows at later cutoffs are in neither part.

    `gap` is that of windows without an end; None if windows end. `lengths` add up to
    the least time from the cutoff of a validation row to the end of the record, and
    training rows are censored.

    Raises a NoForwardSplitError if there are too few cutoffs, customers or rows, and a
    TypeError or ValueError if a length does not fit the times of the log, or all are 0,
    or not longer than `gap`.
    """
    clock, ticks, _ = common_cutoffs(cutoffs)
    delay = clock.rounded_up(**lengths)
    until_begin = 0 if gap is None else clock.rounded_up(gap=gap)
    if not delay > until_begin:
        least = f"the gap of y, {gap}" if until_begin else 0
        raise ValueError(
            f"horizon must be longer than {least}; got {lengths['horizon']!r}."
        )
    if (ticks == ticks[0]).all():
        raise NoForwardSplitError("all rows have one cutoff")
    # At the end of the log, censored rows have no follow-up, and their loss is nearly
    # the same for all networks: it cannot choose the number of epochs.
    allowed = np.ones(len(ticks), dtype=bool)
    if may_be_censored:
        allowed = _are_complete(cutoffs, lengths)
    first = _first_of_latest(ticks[allowed], share)
    valid = np.flatnonzero((ticks >= first) & allowed)
    observed = None
    if gap is None:
        train = np.flatnonzero(saturating_add(ticks, delay) <= first)
    else:
        begin = saturating_add(ticks, until_begin)
        train = np.flatnonzero(begin < first)
        observed = np.full(len(ticks), np.inf)
        observed[train] = first - begin[train]
    split = ForwardSplit(train, valid, valid, clock.as_scalar(first), observed)
    _refuse_too_few(split, customers, len(cutoffs))
    return split


def _first_of_latest(ticks: np.ndarray, share: float | str) -> Any:
    """Return the latest cutoff from which on there is a share of the rows."""
    distinct, counts = np.unique(ticks, return_counts=True)
    n_from = counts[::-1].cumsum()[::-1]  # rows at or after each distinct cutoff
    # Rounded: a share of the rows may be a little more than a whole number.
    least = round((_LEAST_SHARE if share == "auto" else float(share)) * len(ticks), 6)
    return distinct[np.flatnonzero(n_from >= least)[-1]]


def _refuse_too_few(split: ForwardSplit, customers: np.ndarray, n_columns: int) -> None:
    """Raise NoForwardSplitError if there are too few rows or customers.

    `n_columns` is the number of history columns.
    """
    n_train, n_rows = len(split.train), len(customers)
    if n_train < _LEAST_SHARE_TO_TRAIN * n_rows:
        is_endless = split.observed is not None
        known = (
            "had begun to be observed" if is_endless else "have a label that was known"
        )
        raise NoForwardSplitError(
            f"only {n_train} of {n_rows} rows {known} at {split.since}, the first of "
            "the latest cutoffs; rows at earlier cutoffs or a shorter horizon would "
            "leave more"
        )
    # All customers of a shop have one number if the shop has a history as well: with
    # several history columns, rows are counted.
    n_valid, who = len(split.valid), "rows are"
    if n_columns == 1:
        n_valid, who = len(np.unique(customers[split.valid])), "customers have rows"
    if n_valid < _FEWEST_CUSTOMERS:
        raise NoForwardSplitError(
            f"only {n_valid} {who} at the latest cutoffs, from {split.since} on, and "
            f"{_FEWEST_CUSTOMERS} are needed"
        )


def _are_complete(cutoffs: Sequence[Cutoffs], lengths: Mapping[str, Any]) -> np.ndarray:
    """Return whether the window of each row ends within the record, shape (n,)."""
    if any(one.end is None for one in cutoffs):
        raise NoForwardSplitError(
            "the end of the record is unknown, as histories were joined from several "
            "logs or read from a file, and windows of censored rows may run past it"
        )
    are_complete = np.logical_and.reduce(
        [
            saturating_add(one.ticks, one.clock.rounded_up(**lengths)) <= one.end
            for one in cutoffs
        ]
    )
    if not are_complete.any():
        raise NoForwardSplitError(
            "no row has a complete window: all horizons run past the end of the log"
        )
    return are_complete


def common_cutoffs(cutoffs: Sequence[Cutoffs]) -> Cutoffs:
    """Return the cutoffs that all history columns have."""
    if not cutoffs:
        raise NoForwardSplitError("X has no history column with cutoffs")
    first, *others = (one.clock.as_index(one.ticks) for one in cutoffs)
    if not all(_equal(first, other) for other in others):
        raise NoForwardSplitError("the history columns of X have different cutoffs")
    return cutoffs[0]


def _equal(first: pd.Index, second: pd.Index) -> bool:
    """Return whether two columns of times are equal, in any unit and time zone."""
    are_times = {isinstance(one, pd.DatetimeIndex) for one in (first, second)}
    if are_times == {True}:
        first, second = (pd.to_datetime(one, utc=True) for one in (first, second))
    return len(are_times) == 1 and bool((first == second).all())
