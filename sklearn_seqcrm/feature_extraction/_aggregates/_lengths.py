"""Lengths of time that suit the events: the unit, lookbacks and half-lives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import visible_events, visible_gaps
from sklearn_seqcrm._store import Clock, Rows

# What people say: "in the last hour", "in the last 90 days".
_SAID = (
    *("1s", "10s", "1min", "10min", "1h", "6h"),
    *("1D", "7D", "30D", "90D", "365D", "1095D"),
)
_UNITS = ("1D", "1h", "1min", "1s")
# A tenure that a quarter of the rows exceeds still fills the longest lookback of many.
_QUANTILE = 0.75
_MOST = 4  # lookbacks
_FEWEST = 10  # units in a tenure


class Rhythm(NamedTuple):
    """How fast events follow one another, and for how long rows see them; in ticks."""

    gap: float
    tenure: float

    @classmethod
    def of(cls, rows: Rows) -> Rhythm:
        """The median gap between events, and a tenure that many rows have.

        Parameters
        ----------
        rows : Rows
            Training rows. Each event that one of them sees counts once; gaps of events
            at the same time are left out. Without any gap, or row with an event, it
            is NaN.
        """
        times, offsets = rows.log.timeline.times, rows.log.timeline.offsets
        index = visible_events(rows)
        gaps = visible_gaps(offsets, index, times[index])
        gaps = gaps[gaps > 0]
        filled = rows.stop > rows.start
        tenures = rows.cutoff[filled] - times[rows.start[filled]]
        return cls(
            float(np.median(gaps)) if len(gaps) else np.nan,
            float(np.quantile(tenures, _QUANTILE)) if len(tenures) else np.nan,
        )


def choose_unit(rhythm: Rhythm, clock: Clock) -> Any:
    """A day, or 1; or a smaller unit, if rows see less than ten of them.

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
        if not 0 < rhythm.tenure < _FEWEST:
            return 1
        power = int(np.floor(np.log10(rhythm.tenure / _FEWEST)))
        return 10.0**power if clock.dtype == "float64" else 1
    for unit in map(pd.Timedelta, _UNITS):
        if not rhythm.tenure < _FEWEST * clock.duration(unit, "time_unit"):
            return unit
    return pd.Timedelta(_UNITS[-1])


def choose_lookbacks(rhythm: Rhythm, clock: Clock) -> list[Any]:
    """Lengths that people say, from the typical gap to less than the typical tenure.

    Parameters
    ----------
    rhythm : Rhythm
        Of the training rows.
    clock : Clock
        Their clock.

    Returns
    -------
    list of Timedelta, int or float
        Four at most, ascending; of more the first, the last and two in between.

    Examples
    --------
    >>> choose_lookbacks(Rhythm(gap=3, tenure=200), Clock("int64"))
    [3, 10, 30, 100]
    """
    if not rhythm.gap <= rhythm.tenure:
        return []
    lengths: list[Any] = [pd.Timedelta(text) for text in _SAID]
    if clock.unit is None:
        lengths = _round_numbers(rhythm, whole=clock.dtype == "int64")
    ticks = [clock.duration(length, "lookbacks") for length in lengths]
    suitable = [
        length
        for length, number in zip(lengths, ticks, strict=True)
        # Differences of floats are never quite round.
        if rhythm.gap * (1 - 1e-9) <= number < rhythm.tenure
    ]
    if len(suitable) <= _MOST:
        return suitable
    places = np.linspace(0, len(suitable) - 1, _MOST).round().astype(int)
    return [suitable[place] for place in places]


def _round_numbers(rhythm: Rhythm, whole: bool) -> list[Any]:
    """1, 3, 10, 30 and so on, as far as they may suit."""
    first, last = np.log10([rhythm.gap, rhythm.tenure])
    powers = range(int(np.floor(first)), int(np.ceil(last)) + 1)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 3)]
    # 0.3, not 0.30000000000000004
    numbers = [float(f"{number:.0e}") for number in numbers]
    return [int(n) for n in numbers if n.is_integer()] if whole else numbers


def label_of(length: Any) -> str:
    """A length of time as names of columns have it.

    Parameters
    ----------
    length : Timedelta, str or number
        What ``pd.Timedelta`` takes, or a plain number.

    Returns
    -------
    str
        In the largest unit of which it is a whole number.

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
    for unit in ("D", "h", "min", "s", "ms", "us", "ns"):
        if not delta % pd.Timedelta(1, unit):
            return f"{delta // pd.Timedelta(1, unit)}{unit}"
    return str(delta)
