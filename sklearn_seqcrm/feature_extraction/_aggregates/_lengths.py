"""Automatic time unit, lookbacks and half-lives, by the interarrival times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import (
    Learning,
    in_step,
    selection,
    visible_events,
    visible_interarrival_times,
)
from sklearn_seqcrm._store import Clock, Rows

# Round lengths that people use: "in the last hour", "in the last 90 days".
_ROUND_LENGTHS = (
    *("1s", "10s", "1min", "10min", "1h", "6h"),
    *("1D", "7D", "30D", "90D", "365D", "1095D"),
)
_UNITS = ("1D", "1h", "1min", "1s")
# A quarter of the rows have a longer tenure, and so fill the longest lookback.
_TENURE_QUANTILE = 0.75
_MAX_LOOKBACKS = 4
_MIN_UNITS = 10  # in the tenure


class SeenEvents(NamedTuple):
    """The events that some rows see."""

    rows: Rows
    # (n_seen,), int64: positions of the events in their log, ascending.
    events: np.ndarray

    @classmethod
    def of(cls, rows: Rows) -> SeenEvents:
        """Find the events that rows see."""
        return cls(rows, visible_events(rows))

    @property
    def times(self) -> np.ndarray:
        """Times of the events, shape (n_seen,)."""
        return self.rows.log.timeline.times[self.events]

    def interarrival_times(self) -> np.ndarray:
        """Return the interarrival times between events of a customer that are not 0."""
        offsets = self.rows.log.timeline.offsets
        between = visible_interarrival_times(offsets, self.events, self.times)
        return between[between > 0]

    def tenures(self) -> np.ndarray:
        """Return the time from the first event to the cutoff of rows with events."""
        rows, times = self.rows, self.rows.log.timeline.times
        filled = rows.stop > rows.start
        return rows.cutoff[filled] - times[rows.start[filled]]


class TypicalTimes(NamedTuple):
    """Typical interarrival time and tenure of training rows, in ticks."""

    interarrival: float
    tenure: float

    @classmethod
    def learning(cls, n_between: int, n_tenures: int) -> Learning[TypicalTimes]:
        """Learn the median interarrival time, and the 75% quantile of tenures.

        Each event counts once, however many rows see it. Events at the same time have
        no interarrival time. NaN without any event. The passes are over `SeenEvents`
        with these numbers of interarrival times and of tenures.
        """
        found = yield from in_step(
            {
                "interarrival": _quantile(
                    SeenEvents.interarrival_times, n_between, 0.5
                ),
                "tenure": _quantile(SeenEvents.tenures, n_tenures, _TENURE_QUANTILE),
            }
        )
        return cls(**found)


def _quantile(
    numbers: Callable[[SeenEvents], np.ndarray], n: int, share: float
) -> Learning[float]:
    """Learn a quantile of `n` numbers; NaN if there are none."""
    if not n:
        return np.nan
    place = share * (n - 1)
    low = int(place)
    ranks = [low, min(low + 1, n - 1)]
    below, above = yield from selection(partial(_in_one_block, numbers), n, ranks)
    return float(below + (place - low) * (above - below))


def _in_one_block(
    numbers: Callable[[SeenEvents], np.ndarray], seen: SeenEvents
) -> list[np.ndarray]:
    return [numbers(seen).astype("float64")]


def choose_unit(typical: TypicalTimes, clock: Clock) -> Any:
    """Choose a day or 1, or a smaller unit if the tenure is less than ten of them."""
    if clock.unit is None:
        if not 0 < typical.tenure < _MIN_UNITS:
            return 1
        power = int(np.floor(np.log10(typical.tenure / _MIN_UNITS)))
        return 10.0**power if clock.dtype == "float64" else 1
    for unit in map(pd.Timedelta, _UNITS):
        if not typical.tenure < _MIN_UNITS * clock.duration(unit, "time_unit"):
            return unit
    return pd.Timedelta(_UNITS[-1])


def choose_lookbacks(typical: TypicalTimes, clock: Clock) -> list[Any]:
    """Choose round lengths between the typical interarrival time and tenure.

    At most four, ascending: of more, the first, the last and two in between.

    Examples
    --------
    >>> choose_lookbacks(TypicalTimes(interarrival=3, tenure=200), Clock("int64"))
    [3, 10, 30, 100]
    """
    if not typical.interarrival <= typical.tenure:
        return []
    lengths: list[Any] = [pd.Timedelta(text) for text in _ROUND_LENGTHS]
    if clock.unit is None:
        lengths = _round_numbers(typical, whole=clock.dtype == "int64")
    ticks = [clock.duration(length, "lookbacks") for length in lengths]
    suitable = [
        length
        for length, number in zip(lengths, ticks, strict=True)
        # The interarrival time is a difference of floats, and so rounded.
        if typical.interarrival * (1 - 1e-9) <= number < typical.tenure
    ]
    if len(suitable) <= _MAX_LOOKBACKS:
        return suitable
    places = np.linspace(0, len(suitable) - 1, _MAX_LOOKBACKS).round().astype(int)
    return [suitable[place] for place in places]


def _round_numbers(typical: TypicalTimes, whole: bool) -> list[Any]:
    """Return 1, 3, 10, 30, ... from below the interarrival time to the tenure."""
    first, last = np.log10([typical.interarrival, typical.tenure])
    powers = range(int(np.floor(first)), int(np.ceil(last)) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 3)]
    # One digit: 0.3 instead of 0.30000000000000004
    numbers = [float(f"{number:.0e}") for number in numbers]
    return [int(n) for n in numbers if n.is_integer()] if whole else numbers


def label_of(length: Any) -> str:
    """Return a length of time as text, in the largest unit that divides it.

    Examples
    --------
    >>> label_of("2160h"), label_of(pd.Timedelta("36h")), label_of(30), label_of(0.5)
    ('90D', '36h', '30', '0.5')
    """
    if isinstance(length, int | float | np.number) and not isinstance(
        length, np.timedelta64
    ):
        return f"{length:.15g}"
    delta = pd.Timedelta(length)
    unit: Any = delta.resolution_string
    return f"{delta // pd.Timedelta(1, unit)}{unit}"
