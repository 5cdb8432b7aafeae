"""The time that clocks of a place show, of times that are stored as UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Clock

# Python's zones end with the year 9999, and a cutoff there, or at the last moment of
# its type, stands for "never". Older pandas know none before December 1901.
_FIRST, _LAST = -24837, 47482  # days to 1 January of 1902 and 2100


@dataclass(frozen=True)
class LocalClock:
    """Shifts times in UTC to what clocks of a zone show, with daylight saving.

    Parameters
    ----------
    zone : str
        Name of the zone, such as ``"Europe/Berlin"``.
    clock : Clock
        What the times mean.
    """

    zone: str
    clock: Clock

    @classmethod
    def of(cls, zone: str, clock: Clock) -> Self:
        """The clock of a zone that a user named, if the times have zones at all.

        Parameters
        ----------
        zone : str
            Name of the zone.
        clock : Clock
            What the times mean.
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

    def read(self, times: np.ndarray) -> np.ndarray:
        """What the clocks show.

        Parameters
        ----------
        times : ndarray of shape (n,), int64
            Ticks since the epoch, in UTC.

        Returns
        -------
        ndarray of shape (n,), int64
            Ticks since midnight of 1 January 1970 on the clocks. An hour that clocks
            show twice, in autumn, is there twice. Before 1902 and after 2100, clocks
            are as far ahead of UTC as on the first and the last day between.
        """
        per_day = self.clock.ticks_per_day()
        assert per_day is not None
        near = times.clip(_FIRST * int(per_day), _LAST * int(per_day))
        utc = self.clock.as_index(near)
        assert isinstance(utc, pd.DatetimeIndex)
        shown = utc.tz_convert(self.zone).tz_localize(None)
        return times + (shown.to_numpy().view("int64") - near)
