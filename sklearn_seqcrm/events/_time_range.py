"""The error of times that are too far apart for arithmetic."""

from __future__ import annotations

import math

import numpy as np

from sklearn_seqcrm._store import MAX_TICK, Clock, Timeline


def check_time_range(
    timeline: Timeline, what: str, times: np.ndarray | None = None
) -> None:
    """Raise a ValueError if differences of times overflow.

    Everything computed from times, such as the age of an event, is a difference. In
    int64 an overflow would turn the oldest event into the latest one; floats would be
    infinite.

    The `timeline` is that of a log, `times` are further ones on its axis; the error
    calls them `what`.
    """
    low, high = timeline.span
    clock = timeline.clock
    if times is not None and len(times):
        low, high = min(low, times.min().item()), max(high, times.max().item())
    if clock.dtype == "float64":
        fits = math.isfinite(high - low)
    else:
        fits = high - low <= MAX_TICK
    if not fits:
        raise ValueError(
            f"{what} make the log span from {clock.as_scalar(low)} to "
            f"{clock.as_scalar(high)}, which is more than {_longest_span(clock)}. "
            "Leave out times that mean 'never' or 'unknown', or use a coarser unit."
        )


def _longest_span(clock: Clock) -> str:
    """Describe the largest difference on an axis."""
    if clock.dtype == "float64":
        return "floats can be apart"
    if clock.unit is None:
        return "integers of 64 bits can be apart"
    years = MAX_TICK // (clock.whole_step * 366)
    return f"the {years:,} years that times of its unit {clock.unit} can be apart"
