"""Automatic time unit, lookbacks and half-lives, by the interarrival times."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import visible_events, visible_interarrival_times
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


class Rhythm(NamedTuple):
    """Typical interarrival time and tenure of training rows, in ticks."""

    interarrival: float
    tenure: float

    @classmethod
    def of(cls, rows: Rows) -> Rhythm:
        """Compute the median interarrival time, and the 75% quantile of tenures.

        Parameters
        ----------
        rows : Rows
            Training rows. Each event counts once, however many rows see it. Events at
            the same time have no interarrival time. NaN without any event.
        """
        times, offsets = rows.log.timeline.times, rows.log.timeline.offsets
        index = visible_events(rows)
        times_between = visible_interarrival_times(offsets, index, times[index])
        times_between = times_between[times_between > 0]
        filled = rows.stop > rows.start
        tenures = rows.cutoff[filled] - times[rows.start[filled]]
        return cls(
            float(np.median(times_between)) if len(times_between) else np.nan,
            float(np.quantile(tenures, _TENURE_QUANTILE)) if len(tenures) else np.nan,
        )


def choose_unit(rhythm: Rhythm, clock: Clock) -> Any:
    """Choose a day or 1, or a smaller unit if the tenure is less than ten of them.

    Parameters
    ----------
    rhythm : Rhythm
        Of the training rows.
    clock : Clock
        Their clock.

    Returns
    -------
    Timedelta, int or float
        The unit.
    """
    if clock.unit is None:
        if not 0 < rhythm.tenure < _MIN_UNITS:
            return 1
        power = int(np.floor(np.log10(rhythm.tenure / _MIN_UNITS)))
        return 10.0**power if clock.dtype == "float64" else 1
    for unit in map(pd.Timedelta, _UNITS):
        if not rhythm.tenure < _MIN_UNITS * clock.duration(unit, "time_unit"):
            return unit
    return pd.Timedelta(_UNITS[-1])


def choose_lookbacks(rhythm: Rhythm, clock: Clock) -> list[Any]:
    """Choose round lengths between the typical interarrival time and tenure.

    Parameters
    ----------
    rhythm : Rhythm
        Of the training rows.
    clock : Clock
        Their clock.

    Returns
    -------
    list of Timedelta, int or float
        At most four, ascending: of more, the first, the last and two in between.

    Examples
    --------
    >>> choose_lookbacks(Rhythm(interarrival=3, tenure=200), Clock("int64"))
    [3, 10, 30, 100]
    """
    if not rhythm.interarrival <= rhythm.tenure:
        return []
    lengths: list[Any] = [pd.Timedelta(text) for text in _ROUND_LENGTHS]
    if clock.unit is None:
        lengths = _round_numbers(rhythm, whole=clock.dtype == "int64")
    ticks = [clock.duration(length, "lookbacks") for length in lengths]
    suitable = [
        length
        for length, number in zip(lengths, ticks, strict=True)
        # The interarrival time is a difference of floats, and so rounded.
        if rhythm.interarrival * (1 - 1e-9) <= number < rhythm.tenure
    ]
    if len(suitable) <= _MAX_LOOKBACKS:
        return suitable
    places = np.linspace(0, len(suitable) - 1, _MAX_LOOKBACKS).round().astype(int)
    return [suitable[place] for place in places]


def _round_numbers(rhythm: Rhythm, whole: bool) -> list[Any]:
    """Return 1, 3, 10, 30, ... from below the interarrival time to the tenure."""
    first, last = np.log10([rhythm.interarrival, rhythm.tenure])
    powers = range(int(np.floor(first)), int(np.ceil(last)) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 3)]
    # One digit: 0.3 instead of 0.30000000000000004
    numbers = [float(f"{number:.0e}") for number in numbers]
    return [int(n) for n in numbers if n.is_integer()] if whole else numbers


def label_of(length: Any) -> str:
    """Return the text of a length of time in names of columns.

    Parameters
    ----------
    length : Timedelta, str or number
        What ``pd.Timedelta`` takes, or a plain number.

    Returns
    -------
    str
        The length in the largest unit that divides it.

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
