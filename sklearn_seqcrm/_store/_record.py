"""How far a log has recorded, which tells silence from not being looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._store._clock import LONGEST, Clock, earlier

# Times to look at first: most logs of moments show there that they are none of days.
_FEW = 1000


class Record(NamedTuple):
    """The end of what a log has recorded.

    A log of days knows the whole of its last day, although the time of that day's
    events is the midnight at which it begins. So where all times are whole days, or
    whole numbers, the record ends one day, or one, after `until`. Any other record ends
    right after `until` itself. Which of the two a log is was settled when it was built:
    a few of its events could be whole days by chance.

    Parameters
    ----------
    until : int or float
        The last moment recorded, on the axis of the log's clock.
    in_days : bool
        Whether all times of the log are whole days, or whole numbers.
    limited_by : str or None, default=None
        In a log of several kinds, the one whose record ends before those of the others,
        and with it the record of the log.
    """

    until: Any
    in_days: bool
    limited_by: str | None = None

    @classmethod
    def of(
        cls, clock: Clock, times: np.ndarray, given: Any, *, early: bool = False
    ) -> Record:
        """The record of a new log.

        Parameters
        ----------
        clock : Clock
            What the times mean.
        times : ndarray of shape (n_events,)
            All times, at least one.
        given : datetime, number or None
            The last moment recorded, as a user writes it; None: the last event.
        early : bool, default=False
            Whether events may lie after it.
        """
        last = until = times.max()
        if clock.dtype == "int64" and last == LONGEST:
            # The record could not end after it.
            raise ValueError(
                f"The last event is at {clock.as_scalar(last)}, the last moment that "
                "the numbers of a log can hold, which usually stands for 'never'; "
                "leave such events out."
            )
        if given is not None:
            if np.ndim(given) or pd.isna(given):
                raise ValueError(
                    f"observed_until must be one time; got {given!r}. None stands for "
                    "the last event."
                )
            until = clock.read(given, "observed_until", up=False)[0]
        if until < last and not early:
            raise ValueError(
                f"observed_until={given} lies before the last event at "
                f"{clock.as_scalar(last)}."
            )
        step = _step(clock)
        in_days = not (times[:_FEW] % step).any() and not (times % step).any()
        return cls(until, in_days)

    @classmethod
    def before(cls, cutoff: Any, clock: Clock) -> Record:
        """The record of a log without the events from a cutoff on.

        It ends right before the cutoff, so that no window after it is complete.
        """
        whole = clock.dtype == "int64"
        end = earlier(cutoff, 1) if whole else np.nextafter(cutoff, -np.inf)
        return cls(end, in_days=False)

    def end(self, clock: Clock) -> Any:
        """The first moment that was not recorded, on the axis of the clock."""
        whole, step = clock.dtype == "int64", _step(clock)
        # Python's integers do not overflow when a long horizon is taken off them.
        until = (int if whole else float)(self.until)
        if self.in_days and until % step == 0:
            end = until + step
        else:
            end = until + 1 if whole else float(np.nextafter(until, np.inf))
        return min(end, LONGEST) if whole else end

    def on(self, old: Clock, new: Clock) -> Record:
        """The same record on another clock."""
        until = new.read(old.as_scalar(self.until), "observed_until", up=False)[0]
        return self._replace(until=until)


def _step(clock: Clock) -> int:
    return int(clock.ticks_per_day() or 1)
