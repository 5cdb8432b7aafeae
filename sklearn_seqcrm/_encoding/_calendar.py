"""Cycles of the calendar, as sines and cosines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock

_DAYS_TO_SEE_A_YEAR = 2 * 365  # with less, a season cannot be told from a trend


def supported_cycles(
    clock: Clock, times: Iterable[np.ndarray]
) -> tuple[tuple[str, float, int], ...]:
    """Cycles that the resolution and the span of the visible events support.

    Parameters
    ----------
    clock : Clock
        What times mean.
    times : iterable of ndarray of shape (n,)
        Ticks since the epoch, some at a time, gone through several times.
    """
    day = clock.ticks_per_day()
    first = next((some[:1] for some in times), None)
    if day is None or first is None:
        return ()
    cycles: list[tuple[str, float, int]] = []
    if _differ(times, first, lambda some: np.mod(some, day)):
        cycles.append(("hour", day, 1))
    # Dates on one day of the month are months, which know no weekday.
    if _differ(times, first, lambda some: pd.DatetimeIndex(clock.as_index(some)).day):
        cycles.append(("weekday", 7 * day, 1))
    ends = [(int(some.min()), int(some.max())) for some in times]
    if max(last for _, last in ends) - min(one for one, _ in ends) >= (
        _DAYS_TO_SEE_A_YEAR * day
    ):
        cycles.append(("year", 365.2425 * day, 1))
    return tuple(cycles)


def _differ(
    times: Iterable[np.ndarray],
    first: np.ndarray,
    part: Callable[[np.ndarray], Any],
) -> bool:
    """Whether a part of the times, such as the hour, is not one for all."""
    one = part(first)[0]
    # Mostly the first block tells.
    return any((part(some) != one).any() for some in times)


def cycles(times: np.ndarray, calendar: Sequence[tuple[str, float, int]]) -> np.ndarray:
    """Sines and cosines of times, for each cycle and harmonic.

    Parameters
    ----------
    times : ndarray of shape (n,)
        Ticks since the epoch.
    calendar : sequence of (str, float, int)
        Name, period in ticks and number of harmonics of each cycle.

    Returns
    -------
    ndarray of shape (n, 2 * sum of harmonics), float32
        Columns named by `cycle_names`.
    """
    columns = []
    for _, period, n_harmonics in calendar:
        # The remainder is exact; after it float32 is enough, and many times as fast.
        whole = times.dtype.kind == "i" and float(period).is_integer()
        since = np.mod(times, int(period) if whole else period)
        phase = (since * (2 * np.pi / period)).astype("float32")
        for harmonic in range(1, n_harmonics + 1):
            columns += [np.sin(harmonic * phase), np.cos(harmonic * phase)]
    return np.array(columns, dtype="float32").reshape(len(columns), len(times)).T


def cycle_names(calendar: Sequence[tuple[str, float, int]]) -> list[str]:
    """Name the columns of `cycles`."""
    return [
        f"{name}_{wave}{harmonic}"
        for name, _, n_harmonics in calendar
        for harmonic in range(1, n_harmonics + 1)
        for wave in ("sin", "cos")
    ]
