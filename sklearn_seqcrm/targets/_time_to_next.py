"""How long until the next event."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.targets._horizons import Duration
from sklearn_seqcrm.targets._windows import Windows, to_target, windows_after


@validate_params(
    {
        "censored": [StrOptions({"raise", "drop", "nan", "keep"})],
        "history": [str, Integral, None],
        "kind_field": [str],
    },
    prefer_skip_nested_validation=True,
)
def time_to_next(
    X: Any,
    horizon: Duration | None = None,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan", "keep"] = "raise",
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Measure the time to the first event of each customer after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    horizon : Timedelta, str, number or None, default=None
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``: what
        ``pd.Timedelta`` takes, or a number if the times of the log are plain numbers.
        None: a window without an end.
    gap : Timedelta, str or number, default=0
        Time between the cutoff and the window, for example until an action works.
    censored : {"raise", "drop", "nan", "keep"}, default="raise"
        What to do with rows whose window runs past the end of what the log has
        recorded; without a horizon, with rows after which no event has been recorded:
        an error, leaving them out, a missing target, or keeping what is known.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to look for, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    DataFrame of shape (n, 2), or (n_known, 2) for ``censored="drop"``
        With the index of `X`:

        - ``"event"``: whether there is an event in the window, as booleans; for
          ``censored="nan"`` as floats;
        - ``"time"``: the time from ``cutoff + gap`` to the event; where there is
          none, how long none came: the horizon or, for ``censored="keep"``, the time
          to the last moment that the log has recorded, 0 if that lies before the
          window. Timedeltas, or numbers if the times of the log are plain numbers.

    Raises
    ------
    KeyError
        If the log has no field `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, or a length of time is of another kind than the
        times of the log.
    ValueError
        If windows run past the end of the log, `horizon` is not longer than 0, there
        is no event of one of `kinds`, `X` has no history column or
        several, histories are missing or were joined from several
        logs, or `censored` is "drop" and the index repeats a label.

    See Also
    --------
    churned : Whether there is no event in the window.
    LSTMSurvival : Learns from them when events come.
    next_value : A field of that event.

    Notes
    -----
    Only events that the row could not see count: a row that was attached with
    ``allow_exact_matches=True`` has seen the events at its cutoff.

    The record of a log reaches to its ``observed_until``, that moment included. If all
    its times are midnights (of UTC, where they have a time zone) or whole numbers, it
    reaches to the end of that day or unit: with days until 31 December, a window that
    ends before 1 January is complete. All kinds of events share that end; where one
    of them was recorded for less long, give `EventLog.concat` its end.

    The two columns are what survival analysis calls the event indicator and the
    observed time, ``min(time of the event, time of censoring)``. Keep all rows for it
    by ``censored="keep"``, as leaving out the rows without an event yet makes
    customers look quicker than they are. scikit-survival needs times as numbers.
    ``Surv.from_dataframe("event", "time", y)`` converts durations to numbers of their
    unit, mostly microseconds. Divide by the unit of your choice first::

        y["time"] /= pd.Timedelta("1D")
        y.to_records(index=False)  # or Surv.from_dataframe("event", "time", y)

    An event at ``cutoff + gap`` itself has the time 0.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import time_to_next
    >>> events = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "bob", "bob"],
    ...         "day": pd.to_datetime(
    ...             ["2024-03-01", "2024-03-10", "2024-03-02", "2024-03-28"]
    ...         ),
    ...     }
    ... )
    >>> log = EventLog(events, "customer", "day", observed_until="2024-03-31")
    >>> X = log.snapshots(["2024-03-08", "2024-03-21"])
    >>> time_to_next(X, horizon="14D", censored="keep")
       event    time
    0   True  2 days
    1  False 14 days
    2  False 10 days
    3   True  7 days
    >>> time_to_next(X, censored="drop")["time"].dt.days.tolist()
    [2, 20, 7]
    """
    windows = windows_after(X, horizon, gap, history, kinds, kind_field, endless=True)
    at = windows.next_events()
    event = at >= 0
    unit = windows.log.timeline.clock.unit
    time = _watched(windows)
    time[event] = windows.log.timeline.times[at[event]] - windows.begin[event]
    columns = {"event": event, "time": _as_lengths(time, unit)}
    return pd.DataFrame(
        {
            name: to_target(values, windows, censored, name, may_keep=True)
            for name, values in columns.items()
        }
    )


def _watched(windows: Windows) -> np.ndarray:
    """How long after the beginning of its window each row was looked at, in ticks."""
    until = windows.log.timeline.observed_until
    watched = until - np.minimum(windows.begin, until)
    if windows.length is None:
        return watched
    # A window of whole days may be complete and yet end after the last midnight.
    return np.where(windows.censored, watched, windows.length)


def _as_lengths(ticks: np.ndarray, unit: Any) -> Any:
    """Ticks as what users see: Timedeltas, or the numbers themselves."""
    if unit is None:
        return ticks
    if ticks.dtype.kind == "f":
        return pd.to_timedelta(ticks, unit=unit)
    return ticks.view(f"m8[{unit}]")
