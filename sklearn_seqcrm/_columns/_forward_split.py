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

A time of an event without a horizon (survival analysis) has no window that could end
later. Its rows are not dropped, but censored at the first validation cutoff::

    cutoffs      1   2   3   4   5   6   7   8
    observed     1==========================>8         also 7===>8
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns._survival_targets import SurvivalTargets
from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import Clock, parse_timedelta, saturating_add
from sklearn_seqcrm.events import HistoryArray

# The fewest latest cutoffs that have this share of the rows: usually one. Each further
# one would drop another cutoff from the training rows as well.
_LEAST_SHARE = 0.05
# With fewer customers, the validation loss is too noisy to compare epochs.
_FEWEST_CUSTOMERS = 50
# With fewer rows to train on, the number of epochs would suit another problem.
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
    end = timeline.end if timeline.end_is_known else None
    return Cutoffs(timeline.clock, array.rows.cutoff, end)


class ForwardSplit(NamedTuple):
    """Positions of the rows of a split forward in time.

    Parameters
    ----------
    train : ndarray of int64
        Rows whose labels were known at the first validation cutoff.
    valid : ndarray of int64
        Rows at the latest cutoffs, of all customers or of some.
    latest : ndarray of int64
        Rows at the latest cutoffs, of all customers.
    since : Timestamp, int or float
        First validation cutoff.
    observed : ndarray of shape (n,) or None, default=None
        If training rows are to be censored at `since`: the time for which the window
        of each row was observed by then, in ticks. Infinite for other rows.
    """

    train: np.ndarray
    valid: np.ndarray
    latest: np.ndarray
    since: Any
    observed: np.ndarray | None = None

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
        ``"horizon"``, None for windows without an end, and ``"gap"``; empty to delete
        what `y` holds.
    """
    y.attrs.pop(_KEY, None)
    if lengths:
        y.attrs[_KEY] = {**lengths, "names": _names(y)}


def endless_gap(y: Any) -> Any:
    """Return the gap of a target whose windows have no end, None for other targets.

    Parameters
    ----------
    y : object
        Targets, such as those of `time_to_next` without a horizon.
    """
    stored = stored_lengths(y)
    # A single column lacks the events or the times.
    if not isinstance(y, pd.DataFrame) or stored.get("horizon", 0) is not None:
        return None
    gap = stored.get("gap")
    are_known = set(_names(y)) <= set(stored.get("names", []))
    return gap if are_known and _is_length(gap) else None


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
    stored = stored_lengths(y)
    if stored.get("horizon") is None:
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


def warn_short_horizon(
    clock: Clock, lengths: Mapping[str, Any], y: Any, when: str
) -> None:
    """Warn if lengths that a user gave are shorter than those that `y` holds.

    Parameters
    ----------
    clock : Clock
        Time axis of the cutoffs.
    lengths : dict of str to Timedelta, str or number
        Horizon, and possibly gap, that the user gave.
    y : object
        Targets; silent if they hold no lengths, or some that do not fit the clock.
    when : str
        The time at which labels may be unknown, for the warning.
    """
    try:
        of_y = known_horizon(y)
        is_short = clock.rounded_up(**lengths) < clock.rounded_up(**of_y)
    except (NoForwardSplitError, TypeError, ValueError):
        return
    if is_short:
        given = " and ".join(f"{name}={length!r}" for name, length in lengths.items())
        warnings.warn(
            f"{given} is shorter than horizon and gap of y, {of_y}: labels of "
            f"training rows may have been unknown {when}. horizon=None uses those of "
            "y.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def stored_lengths(y: Any) -> Mapping[str, Any]:
    """Return what `store_horizon` stored in a target; empty for other objects."""
    stored = y.attrs.get(_KEY) if isinstance(y, pd.Series | pd.DataFrame) else None
    return stored if isinstance(stored, Mapping) else {}


def _names(y: Any) -> list[str]:
    """Return the name of a Series or the columns of a DataFrame, as text."""
    return [str(name) for name in ([y.name] if y.ndim == 1 else y.columns)]


def _is_length(length: Any) -> bool:
    """Return whether text or a number is a length of time, of any clock."""
    if isinstance(length, str):
        try:
            parse_timedelta(length, "length")
        except ValueError:
            return False
        return True
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    return is_number and math.isfinite(length)


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
    gap : Timedelta, str, number or None, default=None
        Gap of windows without an end; None if windows end. `lengths` add up to the
        least time from the cutoff of a validation row to the end of the record, and
        training rows are censored.

    Returns
    -------
    ForwardSplit
        Positions of training and validation rows.

    Raises
    ------
    NoForwardSplitError
        If there are too few cutoffs, customers or rows.
    TypeError, ValueError
        If a length does not fit the times of the log, or all are 0, or not longer than
        `gap`.
    """
    clock, ticks, _ = _common(cutoffs)
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
    distinct, counts = np.unique(ticks[allowed], return_counts=True)
    n_from = counts[::-1].cumsum()[::-1]  # rows at or after each distinct cutoff
    # Rounded: a share of the rows may be a little more than a whole number.
    least = round((_LEAST_SHARE if share == "auto" else float(share)) * counts.sum(), 6)
    first = distinct[np.flatnonzero(n_from >= least)[-1]]
    since = clock.as_scalar(first)
    valid = np.flatnonzero((ticks >= first) & allowed)
    observed = None
    if gap is not None:
        begin = saturating_add(ticks, until_begin)
        train = np.flatnonzero(begin < first)
        observed = np.full(len(ticks), np.inf)
        observed[train] = first - begin[train]
    else:
        train = np.flatnonzero(saturating_add(ticks, delay) <= first)
    if len(train) < _LEAST_SHARE_TO_TRAIN * len(ticks):
        known = (
            "have a label that was known" if gap is None else "had begun to be observed"
        )
        raise NoForwardSplitError(
            f"only {len(train)} of {len(ticks)} rows {known} at "
            f"{since}, the first of the latest cutoffs; rows at earlier cutoffs or a "
            "shorter horizon would leave more"
        )
    n_customers = len(np.unique(customers[valid]))
    if n_customers < _FEWEST_CUSTOMERS:
        raise NoForwardSplitError(
            f"only {n_customers} customers have rows at the latest cutoffs, from "
            f"{since} on, and {_FEWEST_CUSTOMERS} are needed"
        )
    return ForwardSplit(train, valid, valid, since, observed)


def split_survival(
    cutoffs: Sequence[Cutoffs],
    customers: np.ndarray,
    y: Any,
    targets: SurvivalTargets,
    horizon: Any = None,
    share: float | str = "auto",
) -> ForwardSplit:
    """Split rows of times until events, with or without a horizon.

    Parameters
    ----------
    cutoffs, customers, share : object
        As in `split_forward`.
    y : object
        Targets, whose ``attrs`` have the horizon and the gap.
    targets : SurvivalTargets of n rows
        Kinds and times of the events of `y`.
    horizon : Timedelta, str, number or None, default=None
        Parameter of an estimator; see `known_horizon` and `split_endless`.

    Returns
    -------
    ForwardSplit
        Positions of the rows.

    Raises
    ------
    NoForwardSplitError
        As `split_forward` and `split_endless`.
    """
    gap = endless_gap(y)
    if gap is not None:
        return split_endless(cutoffs, customers, targets, gap, horizon, share)
    lengths = known_horizon(y, horizon)
    return split_forward(cutoffs, customers, lengths, share, may_be_censored=True)


def split_endless(
    cutoffs: Sequence[Cutoffs],
    customers: np.ndarray,
    targets: SurvivalTargets,
    gap: Any,
    horizon: Any = None,
    share: float | str = "auto",
) -> ForwardSplit:
    """Split rows of times until events, whose windows have no end.

    Parameters
    ----------
    cutoffs, customers, share : object
        As in `split_forward`.
    targets : SurvivalTargets of n rows
        Kinds and times of the events.
    gap : Timedelta, str or number
        Time from each cutoff to the start of its window.
    horizon : Timedelta, str, number or None, default=None
        Least time from the cutoff of a validation row to the end of the record. None:
        the gap and the median time of the events, because rows that were observed for
        less time hold few events.

    Returns
    -------
    ForwardSplit
        Positions of the rows, with `observed` in the unit of the times.

    Raises
    ------
    NoForwardSplitError
        As `split_forward`, or if no row has an event, or times cannot be compared with
        those of the log.
    """
    if not targets.kind.any():
        raise NoForwardSplitError("no row has an event")
    clock, ticks, _ = _common(cutoffs)
    per_day = clock.ticks_per_day()
    if targets.in_days != (per_day is not None):
        times, of_log = "durations", "numbers"
        if not targets.in_days:
            times, of_log = "plain numbers", "datetimes"
        raise NoForwardSplitError(
            f"the unit of the times of y is unknown: they are {times}, and the times "
            f"of the log are {of_log}"
        )
    lengths = {"horizon": horizon}
    if horizon is None:
        median_time = float(np.median(targets.time[targets.kind > 0]))
        if not median_time > 0:
            raise NoForwardSplitError("half of the events came at their cutoffs")
        is_duration = targets.in_days
        length = pd.Timedelta(days=median_time) if is_duration else median_time
        lengths = {"horizon": length, "gap": gap}
    split = split_forward(
        cutoffs, customers, lengths, share, may_be_censored=True, gap=gap
    )
    assert split.observed is not None
    if not targets.in_days:
        begin = saturating_add(ticks, clock.rounded_up(gap=gap))
        latest = min(one.end for one in cutoffs)
        _refuse_rescaled_times(begin, customers, targets, latest)
    return split._replace(observed=split.observed / (per_day or 1.0))


def _refuse_rescaled_times(
    begin: np.ndarray, customers: np.ndarray, targets: SurvivalTargets, latest: Any
) -> None:
    """Raise NoForwardSplitError if times are not in the unit of their log.

    Numbers that were rescaled still have the attrs of the target. Two windows of a
    customer that begin at ``b1 < b2`` and end with the same event ``e`` show it: with
    the factor c, ``b1 + c * (e - b1)`` is ``b2 + c * (e - b2)`` only if c is 1. Of
    different events ``e1 < e2``, the former is smaller if c is less than 1; if c is
    larger, windows end after the record, whose end is `latest`. Censored rows of all
    customers share the end of the record.
    """
    end = (begin + targets.time).astype("float64")
    is_censored = (targets.kind == 0) & (targets.time > 0)
    last = end[is_censored].max(initial=-np.inf)
    precision = 1e-9 * np.abs(end).max()
    who = np.where(is_censored & (end >= last - precision), -1, customers)
    order = np.lexsort((begin, end, who))
    who, end, begin = who[order], end[order], begin[order]
    is_shared = (np.diff(who) == 0) & (np.diff(end) <= precision)
    if end.max() > latest + precision or not (is_shared & (np.diff(begin) != 0)).any():
        raise NoForwardSplitError(
            "the unit of the times of y may not be that of the log, in which windows "
            "of one customer would end with the same event, and censored ones at the "
            "end of the record"
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
