"""A split forward in time of rows of times until events.

A time of an event without a horizon has no window that could end later. Its rows are
not dropped, but censored at the first validation cutoff::

    cutoffs      1   2   3   4   5   6   7   8
    observed     1==========================>8         also 7===>8
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns._forward_split import (
    Cutoffs,
    ForwardSplit,
    common_cutoffs,
    split_forward,
)
from sklearn_seqcrm._columns._horizons import (
    NoForwardSplitError,
    endless_gap,
    known_horizon,
)
from sklearn_seqcrm._columns._survival_targets import SurvivalTargets
from sklearn_seqcrm._store import saturating_add


def split_survival(
    cutoffs: Sequence[Cutoffs],
    customers: np.ndarray,
    y: Any,
    targets: SurvivalTargets,
    horizon: Any,
    share: float | str,
) -> ForwardSplit:
    """Split rows of times until events, with or without a horizon.

    `cutoffs`, `customers`, `share` and errors are as in `split_forward`, and `targets`
    are the events of `y`, whose ``attrs`` have the horizon and the gap. `horizon` is
    the parameter of an estimator; see `known_horizon` and `split_endless`.
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
    horizon: Any,
    share: float | str = "auto",
) -> ForwardSplit:
    """Split rows of times until events, whose windows have no end.

    `cutoffs`, `customers` and `share` are as in `split_forward`, and `gap` is the time
    from each cutoff to the start of its window. `horizon` is the least time from the
    cutoff of a validation row to the end of the record. None: the gap and the median
    time of the events, because rows that were observed for less time hold few events.

    `ForwardSplit.observed` is in the unit of the times. Raises a NoForwardSplitError as
    `split_forward`, or if no row has an event, or times cannot be compared with those
    of the log.
    """
    if not targets.kind.any():
        raise NoForwardSplitError("no row has an event")
    clock, ticks, _ = common_cutoffs(cutoffs)
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
