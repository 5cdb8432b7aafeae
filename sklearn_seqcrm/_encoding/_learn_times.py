"""Learn from the times of training events: moments, interarrival scale, calendar."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from sklearn_seqcrm._encoding._layout import LocalClock, TimeExtent
from sklearn_seqcrm._encoding._training import Training, center_and_spread
from sklearn_seqcrm._ragged import (
    Learning,
    Moments,
    Pass,
    add,
    is_run_start,
    n_in_long_runs,
    selection,
)
from sklearn_seqcrm._store import Clock


def count_joined(training: Training) -> tuple[int, int]:
    """Count the events at the time of another one of their customer, and all."""
    n_joined = n_events = 0
    for index, first in training.blocks():
        n_joined += n_in_long_runs(is_run_start(training.times[index], first))
        n_events += len(index)
    return n_joined, n_events


def interarrival_scale(
    clock: Clock,
) -> Learning[tuple[float, tuple[float, float]]]:
    """Learn the typical interarrival time, and center and scale of logarithms in it.

    The typical one is the median, in ticks; a day or one tick if there is none. It is
    found by ranks, in several passes, as the training events may not fit into memory.
    """
    n_times = yield Pass(_count_interarrival, add)
    unit = float(clock.ticks_per_day() or 1.0)
    if n_times:
        middle = [(n_times - 1) // 2, n_times // 2]
        found = yield from selection(Training.interarrival_times, n_times, middle)
        unit = float(found.mean())
    # Of events in a strict rhythm the scale is that of rounding errors; then it is 1.
    moments = yield Pass(partial(_log_interarrival, unit), Moments.merge)
    [center], [scale] = center_and_spread(moments)
    return unit, (float(center), float(scale))


def _count_interarrival(training: Training) -> int:
    return sum(len(some) for some in training.interarrival_times())


def _log_interarrival(unit: float, training: Training) -> Moments:
    def logs() -> Iterator[np.ndarray]:
        for some in training.interarrival_times():
            yield np.log1p(some / unit)[:, None]

    return Moments.of(logs)


def calendar_cycles(
    clock: Clock, local: LocalClock | None
) -> Learning[tuple[tuple[str, float, int], ...]]:
    """Learn which calendar cycles the times support."""
    day = clock.ticks_per_day()
    if day is None:
        return ()
    extent = yield Pass(partial(_time_extent, local), _joint_extent)
    return () if extent is None else extent.cycles(day)


def _time_extent(local: LocalClock | None, training: Training) -> TimeExtent | None:
    def times() -> Iterator[np.ndarray]:
        for some in training.times_in_blocks():
            yield some if local is None else local.local(some)

    return TimeExtent.of(training.clock, times)


def _joint_extent(one: TimeExtent | None, other: TimeExtent | None) -> Any:
    if one is None or other is None:
        return one or other
    return one.merge(other)
