"""The calendar cycles that times support, local time, and periods of moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock

_DAYS_TO_SEE_A_YEAR = 2 * 365  # with less, a season cannot be told from a trend


class TimeExtent(NamedTuple):
    """What the cycles that times support depend on."""

    hour: Any  # time of day of the first time
    day: Any  # its day of the month
    hours_differ: bool  # whether other times have others
    days_differ: bool
    first: int  # earliest time
    last: int

    @classmethod
    def of(
        cls, clock: Clock, times: Callable[[], Iterable[np.ndarray]]
    ) -> TimeExtent | None:
        """Summarize times of datetimes; None if there are none.

        The function `times`, which is called several times, returns blocks of ticks
        since the epoch.
        """
        first = next((some[:1] for some in times() if len(some)), None)
        if first is None:
            return None
        ticks = clock.ticks_per_day()
        assert ticks is not None

        def hour(some: np.ndarray) -> np.ndarray:
            return np.mod(some, ticks)

        def day(some: np.ndarray) -> Any:
            return pd.DatetimeIndex(clock.as_index(some)).day

        ends = [(int(some.min()), int(some.max())) for some in times() if len(some)]
        return cls(
            hour(first)[0],
            day(first)[0],
            _differ(times(), first, hour),
            _differ(times(), first, day),
            min(one for one, _ in ends),
            max(last for _, last in ends),
        )

    def merge(self, other: TimeExtent) -> TimeExtent:
        """Return the extent of both."""
        return self._replace(
            hours_differ=self.hours_differ
            or other.hours_differ
            or bool(self.hour != other.hour),
            days_differ=self.days_differ
            or other.days_differ
            or bool(self.day != other.day),
            first=min(self.first, other.first),
            last=max(self.last, other.last),
        )

    def cycles(self, day: float) -> tuple[tuple[str, float, int], ...]:
        """Return the cycles that resolution and span support, see `Layout.calendar`."""
        cycles: list[tuple[str, float, int]] = []
        if self.hours_differ:
            cycles.append(("hour", day, 1))
        # If all dates are on one day of the month, they denote months; the weekday of a
        # first of the month is noise.
        if self.days_differ:
            cycles.append(("weekday", 7 * day, 1))
        if self.last - self.first >= _DAYS_TO_SEE_A_YEAR * day:
            cycles.append(("year", 365.2425 * day, 1))
        return tuple(cycles)


def _differ(
    times: Iterable[np.ndarray],
    first: np.ndarray,
    part: Callable[[np.ndarray], Any],
) -> bool:
    """Return whether a part of the times, such as the hour, differs between them."""
    one = part(first)[0]
    # `any` stops at the first block with a difference, mostly the very first.
    return any(bool((part(some) != one).any()) for some in times)


def cycle_names(calendar: Sequence[tuple[str, float, int]]) -> list[str]:
    """Name the columns of `Layout.waves`."""
    return [
        f"{name}_{wave}{harmonic}"
        for name, _, n_harmonics in calendar
        for harmonic in range(1, n_harmonics + 1)
        for wave in ("sin", "cos")
    ]


# Python's time zones end with the year 9999, and a cutoff there, or at the last time of
# its type, means "never". Older pandas has no transitions before December 1901.
_FIRST, _LAST = -24837, 47482  # days to 1 January of 1902 and 2100


@dataclass(frozen=True)
class LocalClock:
    """Shift from UTC to local time, with daylight saving."""

    zone: str  # such as ``"Europe/Berlin"``
    clock: Clock  # what the times mean

    @classmethod
    def of(cls, zone: str, clock: Clock) -> Self:
        """Return the clock of a zone that a user named.

        Raises a ValueError if the times have no zone, or there is no such zone.
        """
        if not clock.aware:
            raise ValueError(
                f"time_zone={zone!r} is for times that have a zone, but those of the "
                f"log are {clock}. Naive ones are read as the hour that they show; if "
                "that is UTC, build the log from times.dt.tz_localize('UTC'), and make "
                "the cutoffs aware as well."
            )
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(
                "time_zone must be the name of a zone, such as 'Europe/Berlin' or "
                f"'UTC'; got {zone!r}."
            ) from error
        return cls(zone, clock)

    def local(self, times: np.ndarray) -> np.ndarray:
        """Return the local time of times (n,), int64, in UTC.

        Both are ticks since midnight of 1 January 1970. The hour that is repeated in
        autumn occurs twice. Before 1902 and after 2100 the offset is that of the first
        and the last day between.
        """
        per_day = self.clock.ticks_per_day()
        assert per_day is not None
        near = times.clip(_FIRST * int(per_day), _LAST * int(per_day))
        utc = self.clock.as_index(near)
        assert isinstance(utc, pd.DatetimeIndex)
        local = utc.tz_convert(self.zone).tz_localize(None)
        return times + (local.to_numpy().view("int64") - near)


def periods_of(
    times: np.ndarray, period: float | None, local_clock: LocalClock | None
) -> np.ndarray:
    """Return the period of each event, see `Layout.periods`."""
    if not period:
        return times
    if local_clock is not None:
        times = local_clock.local(times)
    if times.dtype.kind == "i" and float(period).is_integer():
        period = int(period)  # floats lack the digits of nanoseconds since 1970
    return np.floor_divide(times, period)
