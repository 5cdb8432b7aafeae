"""One history: a customer's events before a cutoff, as a view of a log."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events._log import Log


class History:
    """One customer's events before a cutoff.

    Made by indexing a history column, not by hand. It holds its log and four
    numbers; no event is copied.

    Parameters
    ----------
    log : Log
        The log that holds the events.
    code : int
        Position of the customer in ``log.customers``, -1 for an unknown customer.
    start, stop : int
        The events are ``start:stop`` of the log.
    cutoff : int or float
        The cutoff on the time axis of the log.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> visits = pd.DataFrame({"who": ["ann", "ann"], "day": [3, 8], "pages": [1, 4]})
    >>> X = EventLog(visits, "who", "day").attach(pd.DataFrame({"who": ["ann"]}))
    >>> history = X["history"][0]
    >>> history
    2 events 3..8
    >>> len(history), history.customer, history.cutoff
    (2, 'ann', 8)
    >>> history.to_frame()
       who  day  pages
    0  ann    3    1.0
    1  ann    8    4.0
    """

    __slots__ = ("_code", "_cutoff", "_log", "_start", "_stop")

    def __init__(self, log: Log, code: int, start: int, stop: int, cutoff: Any) -> None:
        self._log = log
        self._code = code
        self._start = start
        self._stop = stop
        self._cutoff = cutoff

    @property
    def log(self) -> Log:
        """The log that holds the events."""
        return self._log

    @property
    def customer(self) -> Any:
        """Id of the customer, None if the log does not know them."""
        return None if self._code < 0 else self._log.customers[self._code]

    @property
    def cutoff(self) -> Any:
        """The cutoff, a Timestamp or a number."""
        return self._log.timeline.clock.as_scalar(self._cutoff)

    @property
    def times(self) -> pd.Index:
        """Times of the events, ascending, shape (len(history),)."""
        times = self._log.timeline.times[self._start : self._stop]
        return self._log.timeline.clock.as_index(times)

    def to_frame(self) -> pd.DataFrame:
        """Return the events as a DataFrame.

        Returns
        -------
        DataFrame of shape (len(history), 2 + n_fields)
            Customer, time and every field, one row per event.
        """
        index = np.arange(self._start, self._stop)
        return self._log.frame_of([self.customer] * len(index), index)

    def __len__(self) -> int:
        """Number of events."""
        return self._stop - self._start

    def __eq__(self, other: object) -> bool:
        """Histories are equal if they view the same events up to the same cutoff."""
        if not isinstance(other, History):
            return NotImplemented
        return self._log is other._log and self._key() == other._key()

    def __hash__(self) -> int:
        """Hash of what is compared."""
        return hash((id(self._log), self._key()))

    def __repr__(self) -> str:
        """One short line: number of events, and when."""
        n_events = len(self)
        if n_events == 0:
            return "0 events"
        first, last = (short_time(time) for time in (self.times[0], self.times[-1]))
        if n_events == 1:
            return f"1 event {first}"
        return f"{n_events} events {first}..{last}"

    def _key(self) -> tuple[Any, ...]:
        return self._code, self._start, self._stop, self._cutoff


def short_time(time: Any) -> str:
    """The day of a datetime, or a number: a time as one line shows it."""
    if isinstance(time, pd.Timestamp):
        return f"{time:%Y-%m-%d}"
    return f"{time:g}" if isinstance(time, float) else str(time)
