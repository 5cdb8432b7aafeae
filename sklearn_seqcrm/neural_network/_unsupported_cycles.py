"""Cycles of the calendar that training rows cannot relate to their cutoffs.

If all cutoffs are on a Monday, the weekday of an event tells how long ago it was, up to
whole weeks. A network that learned this would be wrong at a cutoff on a Thursday: who
comes on Tuesdays was close to the next visit at all training cutoffs, and is far from
it now. Events of the last days are at the right distance by their interarrival times
and by the time since the last event, which do not depend on the weekday.

A window of whole weeks has the same weekdays after any cutoff. There the weekday stays:
it says who comes on weekends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._columns import Cutoffs, NoForwardSplitError, known_horizon
from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._recurrent.data import Inputs

# Phases of a cycle that are counted as one: an hour of a week.
_N_BINS = 168
# A cycle is seen if at least this share of the rows lies in every half of it. With
# cutoffs on three weekdays that are two days apart, predictions for the other four are
# as good as for these; with two weekdays they are not.
_LEAST_SHARE = 0.05
# Horizons up to this share of a cycle from a whole number of cycles are whole: years of
# 365 days, and of 52 weeks.
_TOLERANCE = 0.02


def unsupported_cycles(model: Any, inputs: Inputs, y: Any) -> list[list[str]]:
    """Return the cycles of each history column that new networks are not to see.

    `inputs` are all training rows, and `y` the target as the user gave it, whose
    horizon counts if the estimator has none. With labels of unknown horizon, such as a
    gender, networks see all cycles. Survival functions concern any horizon, and several
    targets may have other horizons than the longest, which is the known one.
    """
    found: list[list[str]] = [[] for _ in inputs.specs]
    if model.pretrained is not None:  # its weights depend on all of them
        return found
    horizon = None
    if not model._censors:
        try:
            horizon = known_horizon(y, model.horizon)["horizon"]
        except NoForwardSplitError:
            return found
        if np.ndim(y) > 1:
            horizon = None
    for own, spec, cutoffs in zip(found, inputs.specs, inputs.cutoffs, strict=False):
        layout = spec.layout
        if layout is not None and layout.calendar and len(cutoffs.ticks):
            try:
                n_ticks = horizon and cutoffs.clock.rounded_up(horizon=horizon)
            except (TypeError, ValueError):  # the choice of validation rows tells why
                continue
            own += _unsupported(layout, cutoffs, n_ticks)
    return found


def _unsupported(layout: Layout, cutoffs: Cutoffs, horizon: float | None) -> list[str]:
    """Return the cycles of a layout that cutoffs do not cover.

    Except those of which a horizon, in ticks or None, is a whole number.
    """
    found = []
    for name, period, _ in layout.calendar:
        if horizon is not None:
            n = horizon / period
            if round(n) and abs(n - round(n)) <= _TOLERANCE:
                continue
        # In UTC: the hour by which summer time moves cutoffs makes no difference here.
        if _least_share_of_half(cutoffs.ticks, period) < _LEAST_SHARE:
            found.append(name)
    return found


def _least_share_of_half(ticks: np.ndarray, period: float) -> float:
    """Return the smallest share of some times, (n,), in any half of a cycle."""
    phase = np.mod(ticks, int(period) if float(period).is_integer() else period)
    place = np.minimum((phase * (_N_BINS / period)).astype("int64"), _N_BINS - 1)
    counts = np.bincount(place, minlength=_N_BINS)
    half = _N_BINS // 2
    sums = np.cumsum([0, *counts, *counts[:half]])
    return float((sums[half:] - sums[:-half]).min() / len(ticks))
