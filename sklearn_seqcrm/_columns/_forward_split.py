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

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock, saturating_add
from sklearn_seqcrm.events import HistoryArray

# The fewest latest cutoffs that have this share of the rows: usually one. Each further
# one would drop another cutoff from the training rows as well.
_LEAST_SHARE = 0.05
# With fewer customers, the validation loss is too noisy to compare epochs.
_FEWEST_CUSTOMERS = 50
# With less to learn from, what is chosen would be the best for another problem.
_LEAST_SHARE_TO_TRAIN = 0.3


class Cutoffs(NamedTuple):
    """Cutoffs of n rows.

    Parameters
    ----------
    clock : Clock
        Their time axis.
    ticks : ndarray of shape (n,)
        The cutoffs on that axis.
    end : int, float or None, default=None
        First moment on that axis that the log has not observed; None if unknown.
    """

    clock: Clock
    ticks: np.ndarray
    end: Any = None


def cutoffs_of(array: HistoryArray) -> Cutoffs:
    """Return the cutoffs of a history column of n rows."""
    timeline = array.log.timeline
    # Logs that were joined may end at different times, as targets say, too.
    end = timeline.end if timeline.customers.is_unique else None
    return Cutoffs(timeline.clock, array.rows.cutoff, end)


class ForwardSplit(NamedTuple):
    """Positions of the rows of a split forward in time.

    Parameters
    ----------
    train : ndarray of int64
        Rows whose labels were known at the first validation cutoff.
    valid : ndarray of int64
        Rows at the latest cutoffs.
    since : Timestamp, int or float
        First validation cutoff.
    """

    train: np.ndarray
    valid: np.ndarray
    since: Any

    def limited(self, customers: np.ndarray, most: int, seed: int) -> ForwardSplit:
        """Keep the validation rows of some customers only.

        Parameters
        ----------
        customers : ndarray of shape (n,), int64
            Number of the customer of each row.
        most : int
            Largest number of customers.
        seed : int
            Draws them.

        Returns
        -------
        ForwardSplit
            With as many validation customers as `most`, or fewer.
        """
        of_valid = customers[self.valid]
        found = np.unique(of_valid)
        if len(found) <= most:
            return self
        rng = np.random.default_rng(seed)
        chosen = rng.choice(found, most, replace=False)
        return self._replace(valid=self.valid[np.isin(of_valid, chosen)])


class NoForwardSplitError(Exception):
    """Rows cannot be split forward in time; the message is the reason."""


# The key of all that this library stores in the ``attrs`` of a target. Other tools use
# keys such as "horizon" for something else.
_KEY = "sklearn_seqcrm"


def store_horizon(y: Any, lengths: Mapping[str, Any]) -> None:
    """Store lengths of time in the ``attrs`` of a target, with its names.

    The format, which file formats can write as JSON::

        {
            "sklearn_seqcrm": {
                "horizon": "90 days 00:00:00",
                "gap": 0,
                "names": ["churned"],
            }
        }

    Parameters
    ----------
    y : Series or DataFrame
        The target; its ``attrs`` are changed.
    lengths : dict of str to str or number
        ``"horizon"`` and ``"gap"``; empty for a window without an end, which deletes
        what `y` holds.
    """
    y.attrs.pop(_KEY, None)
    if lengths:
        y.attrs[_KEY] = {**lengths, "names": _names(y)}


def known_horizon(y: Any, horizon: Any = None) -> dict[str, Any]:
    """Return the lengths of time from a cutoff until its label is known.

    Parameters
    ----------
    y : object
        Targets, with ``attrs`` if they are from `sklearn_seqcrm.targets`.
    horizon : Timedelta, str, number or None, default=None
        Parameter of an estimator, which replaces what `y` holds.

    Returns
    -------
    dict of str to Timedelta, str or number
        Lengths to add up, by their names in errors.

    Raises
    ------
    NoForwardSplitError
        If neither has a horizon, or `y` is not the target that its ``attrs`` describe.
    """
    if horizon is not None:
        return {"horizon": horizon}
    stored = None
    if isinstance(y, pd.Series | pd.DataFrame):
        stored = y.attrs.get(_KEY)
    if not isinstance(stored, Mapping) or stored.get("horizon") is None:
        raise NoForwardSplitError(
            "the horizon of the target is unknown: y is no target of "
            "sklearn_seqcrm.targets with a horizon, whose attrs have it"
        )
    lengths = {name: stored[name] for name in ("horizon", "gap") if name in stored}
    for name, length in lengths.items():
        if not _is_length(length):
            raise NoForwardSplitError(
                f"the attrs of y have {name}={length!r}, which is no length of time"
            )
    # pandas passes `attrs` on to results of two Series, and to columns added to a
    # frame. Their horizons may differ, and so do their names in most cases.
    known = stored.get("names", [])
    if others := [name for name in _names(y) if name not in known]:
        raise NoForwardSplitError(
            f"the horizon of the target is unknown: the attrs of y describe {known}, "
            f"and y has {others}; if it was renamed or computed from several targets, "
            "set horizon to the longest of them"
        )
    return lengths


def _names(y: Any) -> list[str]:
    """Return the name of a Series or the columns of a DataFrame, as text."""
    return [str(name) for name in ([y.name] if y.ndim == 1 else y.columns)]


def _is_length(length: Any) -> bool:
    """Return whether text or a number is a length of time, of any clock."""
    if isinstance(length, str):
        try:
            return not pd.isna(pd.Timedelta(length))
        except ValueError:
            return False
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    return is_number and math.isfinite(length)


def split_forward(
    cutoffs: Sequence[Cutoffs],
    customers: np.ndarray,
    lengths: Mapping[str, Any],
    share: float | str = "auto",
    *,
    may_be_censored: bool = False,
) -> ForwardSplit:
    """Split rows at their latest cutoffs.

    Parameters
    ----------
    cutoffs : sequence of Cutoffs of n rows
        Of each history column.
    customers : ndarray of shape (n,), int64
        Number of the customer of each row.
    lengths : dict of str to Timedelta, str or number
        Lengths of time from a cutoff until its label is known, to be added up.
    share : float or "auto", default="auto"
        Least share of the rows to be set aside; ``"auto"`` for 0.05.
    may_be_censored : bool, default=False
        Whether windows may be incomplete. Only rows whose window is complete in all
        logs are set aside then. Rows at later cutoffs are in neither part.

    Returns
    -------
    ForwardSplit
        Positions of training and validation rows.

    Raises
    ------
    NoForwardSplitError
        If there are too few cutoffs, customers or rows.
    TypeError, ValueError
        If a length does not fit the times of the log, or all are 0.
    """
    clock, ticks, _ = _common(cutoffs)
    delay = clock.rounded_up(**lengths)
    if not delay > 0:
        raise ValueError(f"horizon must be longer than 0; got {lengths['horizon']!r}.")
    if (ticks == ticks[0]).all():
        raise NoForwardSplitError("all rows have one cutoff")
    # At the end of the log, censored rows have no follow-up, and their loss is nearly
    # the same for all networks: it cannot choose the number of epochs.
    allowed = np.ones(len(ticks), dtype=bool)
    if may_be_censored:
        allowed = _are_complete(cutoffs, lengths)
    distinct, counts = np.unique(ticks[allowed], return_counts=True)
    n_from = counts[::-1].cumsum()[::-1]  # rows at or after each distinct cutoff
    # Rounded: a share of the rows may be a little more than a whole number.
    least = round((_LEAST_SHARE if share == "auto" else float(share)) * counts.sum(), 6)
    first = distinct[np.flatnonzero(n_from >= least)[-1]]
    since = clock.as_scalar(first)
    valid = np.flatnonzero((ticks >= first) & allowed)
    train = np.flatnonzero(saturating_add(ticks, delay) <= first)
    if len(train) < _LEAST_SHARE_TO_TRAIN * len(ticks):
        raise NoForwardSplitError(
            f"only {len(train)} of {len(ticks)} rows have a label that was known at "
            f"{since}, the first of the latest cutoffs; rows at earlier cutoffs or a "
            "shorter horizon would leave more"
        )
    n_customers = len(np.unique(customers[valid]))
    if n_customers < _FEWEST_CUSTOMERS:
        raise NoForwardSplitError(
            f"only {n_customers} customers have rows at the latest cutoffs, from "
            f"{since} on, and {_FEWEST_CUSTOMERS} are needed"
        )
    return ForwardSplit(train, valid, since)


def _are_complete(cutoffs: Sequence[Cutoffs], lengths: Mapping[str, Any]) -> np.ndarray:
    """Return whether the window of each row ends within the record, shape (n,)."""
    if any(one.end is None for one in cutoffs):
        raise NoForwardSplitError(
            "the end of the record is unknown, as histories were joined from several "
            "logs, and windows of censored rows may run past it"
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


def _common(cutoffs: Sequence[Cutoffs]) -> Cutoffs:
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
