"""One history: a customer's events before a cutoff, as a view of a log."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Log, RawLog, format_time
from sklearn_seqcrm.events._html import HistoryContent, history_html, places


class History:
    """One customer's events before a cutoff.

    Indexing a history column returns it. It is a view of the log, which copies no
    event, and a timeline in a notebook. It shows, prints, pickles and writes to JSON
    only events before the cutoff. The log itself, which also holds the future, is
    ``X["history"].array.log``.

    Parameters
    ----------
    log : Log
        The log that holds the events.
    code : int
        Position of the customer in ``log.customers``; below 0 for an unknown one, see
        `HistoryArray`.
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
    >>> X[["history"]].to_json(orient="values")
    '[[{"customer":"ann","cutoff":8,"events":[{"day":3,"pages":1.0},{"day":8,"pages":4.0}]}]]'
    """

    __slots__ = ("_code", "_cutoff", "_log", "_start", "_stop")

    def __init__(
        self, log: Log, code: int, start: int, stop: int, cutoff: float
    ) -> None:
        self._log = log
        self._code = code
        self._start = start
        self._stop = stop
        self._cutoff = cutoff

    @property
    def customer(self) -> Any:
        """Id of the customer, None for a customer who is not in the log."""
        if self._code < 0:
            return None
        value = self._log.customers[self._code]
        return value.item() if isinstance(value, np.generic) else value

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
            Customer, time and every field, one row per event. A categorical field has
            the levels that occur in these events, so that codes and dummies differ
            from history to history; those of `HistoryEncoder` do not.
        """
        # An unknown customer has no events, so that the code -1 is never looked up.
        index = np.arange(self._start, self._stop)
        customers = self._log.customers[np.full(len(index), self._code)]
        return self._log.frame_of(customers, index)

    def to_dict(self) -> dict[str, Any]:
        """Return the visible events as plain values, as in JSON.

        Returns
        -------
        dict
            ``"customer"``, ``"cutoff"`` and ``"events"``: a list with a dict for each
            event, of its time and all fields under their own names. Numbers are
            Python's, vectors are lists of them, and datetimes are Timestamps, for which
            ``json.dumps`` needs ``default=str``.
        """
        events = self.to_frame().iloc[:, 1:]
        names = list(events.columns)
        rows = zip(*(_plain(events[name]) for name in names), strict=True)
        return {
            "customer": self.customer,
            "cutoff": self.cutoff,
            "events": [dict(zip(names, row, strict=True)) for row in rows],
        }

    # pandas' JSON writer calls it; without it, it would walk all public attributes.
    toDict = to_dict  # noqa: N815

    def __float__(self) -> float:
        """Refuse the conversion to a number, with the way out for estimators."""
        raise TypeError(
            "A history is not a number, and this estimator takes numbers only. Put "
            "RFMFeatures() before it, make_pipeline(RFMFeatures(), estimator), instead "
            "of make_history_pipeline(estimator), which is for estimators of "
            "histories, such as LSTMClassifier."
        )

    def __len__(self) -> int:
        """Number of events."""
        return self._stop - self._start

    def __eq__(self, other: object) -> bool:
        """Histories are equal if they view the same events up to the same cutoff."""
        if not isinstance(other, History):
            return NotImplemented
        return self._log is other._log and self._key() == other._key()

    def __hash__(self) -> int:
        """Hash the log and the four numbers that equality compares."""
        return hash((id(self._log), self._key()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the visible events.

        A single history may be passed on to others. A column of histories is pickled
        for worker processes, where targets need the future of its customers.
        """
        code, start, stop, cutoff = self._key()
        log = self._log.seen_by(code, start, stop, cutoff)
        # In the small log the customer has position 0 and the events begin at 0.
        return type(self), (log, min(code, 0), 0, stop - start, cutoff)

    def __copy__(self) -> Self:
        """Return the history itself, which is immutable."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the history itself, which is immutable."""
        return self

    def __repr__(self) -> str:
        """Return the number of events, of moments if fewer, and first and last day."""
        n_events = len(self)
        if n_events == 0:
            return "0 events"
        first, last = (format_time(time) for time in (self.times[0], self.times[-1]))
        if n_events == 1:
            return f"1 event {first}"
        n_moments = self.times.nunique()
        plural = "s" if n_moments > 1 else ""
        moments = f" at {n_moments} moment{plural}" if n_moments < n_events else ""
        return f"{n_events} events{moments} {first}..{last}"

    def _repr_html_(self) -> str:
        """Return a timeline up to the cutoff, for notebooks; see `history_html`."""
        log, frame = self._log, self.to_frame()
        ticks = log.timeline.times[self._start : self._stop]
        # Without events the timeline has the cutoff only, at both ends of its axis.
        first = ticks[0] if len(ticks) else self._cutoff
        return history_html(
            HistoryContent(
                self.customer,
                self.cutoff,
                self.times.rename(log.names[1]),
                frame.iloc[:, 2:],
                places(ticks, first, self._cutoff),
                log.kind_field if isinstance(log, RawLog) else None,
            )
        )

    def _key(self) -> tuple[Any, ...]:
        return self._code, self._start, self._stop, self._cutoff


def _plain(column: pd.Series) -> list[Any]:
    """Return the values of a field as Python objects; vectors as lists."""
    return [
        value.tolist() if isinstance(value, np.ndarray) else value
        for value in column.tolist()
    ]
