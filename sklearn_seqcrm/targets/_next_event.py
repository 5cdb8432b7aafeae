"""The first event after the cutoff: the time to it, and one of its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm._typing import Duration, ListLike
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.targets._windows import (
    TARGET_PARAMS,
    Censored,
    Windows,
    check_target_params,
    complete_rows,
    ends_of_rows,
    target_of,
    warn_without_kinds,
    windows_after,
)


@check_target_params
def next_value(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    horizon: Duration | None = None,
    *,
    gap: Duration = 0,
    censored: Censored = "raise",
    observed_until: ListLike | None = None,
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series:
    """Return a field of the first event of each customer after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    field : str
        Field of the log, for example the amount or the category of an order.
    horizon : Timedelta, str, number or None, default=None
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``, as in
        `churned`. None: a window without an end.
    gap : Timedelta, str or number, default=0
        Embargo between the cutoff and the window, as in `churned`.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of the record or, without a
        horizon, whose next event has not been recorded: raise an error, drop the row,
        or return a missing target.
    observed_until : array-like of shape (n,) or None, default=None
        Last time at which each customer was observed, as in `churned`. None: the end of
        the log.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to look for, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    Series of shape (n,), or (n_known,) for ``censored="drop"``
        ``"next_value"``, with the index of `X`: floats for a numeric field,
        categories, or datetimes (in UTC, where they had a time zone). Missing where
        the value of the event is missing, and where a complete window has no event.

    Raises
    ------
    KeyError
        If the log has no field `field` or `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, a duration does not fit the times of the log
        (datetimes or plain numbers), or `observed_until` is not a list or an array.
    ValueError
        If windows run past the end of the log or `observed_until`, `horizon` is not
        longer than 0, `gap` is negative, `observed_until` has another length than `X`,
        there is no event of one of `kinds`, the field holds vectors, `X` has no history
        column or several, histories are missing or were joined from several logs, or
        `censored` is "drop" and the index repeats a label.

    Warns
    -----
    UserWarning
        If `kinds` is None and the log was merged from several kinds by
        `EventLog.concat`, unless `field` holds the kinds.
        Also, as in `churned`, about `observed_until`.

    See Also
    --------
    time_to_next : The time until that event.
    future_sum : The sum of a field over all events of a window.

    Notes
    -----
    The Notes of `churned` say which events do not count, and when a window is complete.

    Without a horizon, ``censored="drop"`` keeps the rows whose next event came before
    the log ended. Near that end these are the customers who return soon, and what they
    buy need not be what the others will buy: a selection bias. A horizon avoids it: a
    row counts if its window is complete, whenever in it the event came, and
    ``dropna()`` then keeps the rows with an event. A horizon also bounds how long a
    target depends on the future, which is needed to split rows by time.

    At equal times the next event is the one that came first in the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import next_value
    >>> orders = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "bob"],
    ...         "week": [1, 5, 7],
    ...         "price": [10.0, 5.0, 8.0],
    ...         "shop": ["north", "south", "north"],
    ...     }
    ... )
    >>> log = EventLog(orders, "customer", "week")
    >>> X = log.attach(pd.DataFrame({"customer": ["ann", "bob"]}), cutoff=4)
    >>> next_value(X, "price").tolist()
    [5.0, 8.0]
    >>> next_value(X, "shop").tolist()
    ['south', 'north']
    >>> next_value(X, "price", horizon=3).tolist()
    [5.0, nan]
    >>> next_value(X, "price", gap=2, censored="drop").to_dict()
    {1: 8.0}
    """
    if field != kind_field:  # "which kind comes next?" is about all kinds
        warn_without_kinds(X, history, kinds, "next_value looks for")
    ends = ends_of_rows(X, observed_until, history)
    windows = windows_after(
        X, horizon, gap, ends, history, kinds, kind_field, endless=True
    )
    column = windows.log.column(field)
    if column.type.encoding == "vectors":
        raise ValueError(
            f"Field {field!r} is {column.type}, and next_value has one number, date or "
            "level for each row."
        )
    at = windows.next_events()
    found = at >= 0
    # In the dtype of the field: float32 stays float32, and all levels are kept.
    values = column.without_values(len(at))
    values.values[found] = column.values[at[found]]
    target = column.type.to_pandas(*values, aware=windows.log.timeline.clock.aware)
    target = target_of(target, windows, censored, "next_value")
    return complete_rows(target, [windows], censored)


@validate_params(
    {**TARGET_PARAMS, "censored": [StrOptions({"raise", "drop", "nan", "keep"})]}
)
def time_to_next(
    X: pd.DataFrame | pd.Series | HistoryArray,
    horizon: Duration | None = None,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan", "keep"] = "raise",
    observed_until: ListLike | None = None,
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
    moments: bool | Duration = False,
) -> pd.DataFrame:
    """Measure the time to the next event or moment of each customer.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    horizon : Timedelta, str, number or None, default=None
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``, as in
        `churned`. None: a window without an end.
    gap : Timedelta, str or number, default=0
        Embargo between the cutoff and the window, as in `churned`.
    censored : {"raise", "drop", "nan", "keep"}, default="raise"
        What to do with rows whose window runs past the end of the record or, without a
        horizon, whose next event has not been recorded: raise an error, drop the row,
        return a missing target, or keep the censored time.
    observed_until : array-like of shape (n,) or None, default=None
        Last time at which each customer was observed, as in `churned`. None: the end of
        the log.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to look for, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.
    moments : bool, Timedelta, str or number, default=False
        A length such as ``"1D"``: measure the time to the first event that begins a
        moment, a period counted from 1970-01-01 (UTC) or 0. An event later on the day
        of another one is then no new visit. True and False measure the time to the next
        event, since all events at the same time are on the same side of a cutoff. With
        `kinds`, only events of these kinds make up moments.

    Returns
    -------
    DataFrame of shape (n, 2), or (n_known, 2) for ``censored="drop"``
        With the index of `X`:

        - ``"event"``: whether there is an event in the window, the event indicator;
          booleans, or floats for ``censored="nan"``;
        - ``"time"``: the time from ``cutoff + gap`` to the event or, without an event,
          the censoring time: the horizon or, for ``censored="keep"``, the time to the
          end of the record, 0 if the record ends before the window: leave such rows
          out of training. Timedeltas, or numbers if the times of the log are plain
          numbers.

    Raises
    ------
    KeyError
        If the log has no field `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, a duration does not fit the times of the log
        (datetimes or plain numbers), or `observed_until` is not a list or an array.
    ValueError
        If windows run past the end of the log or `observed_until`, `horizon` is not
        longer than 0, `gap` is negative, `observed_until` has another length than `X`,
        there is no event of one of `kinds`, `X` has no history column or several,
        histories are missing or were joined from several logs, or `censored` is "drop"
        and the index repeats a label.

    Warns
    -----
    UserWarning
        If `kinds` is None and the log was merged from several kinds by
        `EventLog.concat`.
        Also, as in `churned`, about `observed_until`.

    See Also
    --------
    churned : Whether there is no event in the window.
    LSTMSurvival : Survival analysis of these targets.
    next_value : A field of that event.

    Notes
    -----
    The Notes of `churned` say which events do not count, and when a window is complete.

    The two columns are the event indicator and the observed time ``min(T, C)`` of
    survival analysis, with the time ``T`` to the event and the censoring time ``C``.
    In whole days or units, the last one recorded is that of ``C``: there was no event
    on it either, ``T > C``. Of a complete window ``T >= C`` is known.
    Keep all rows for it by ``censored="keep"``: dropping the censored rows would make
    interarrival times look shorter than they are. scikit-survival needs times as
    numbers. ``Surv.from_dataframe("event", "time", y)`` converts durations to numbers
    of their unit, mostly microseconds. Divide by the unit of your choice first::

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
    warn_without_kinds(X, history, kinds, "time_to_next looks for")
    which = history, kinds, kind_field
    ends = ends_of_rows(X, observed_until, history)
    windows = windows_after(
        X, horizon, gap, ends, *which, endless=True, moments=moments
    )
    at = windows.next_events()
    event = at >= 0
    unit = windows.log.timeline.clock.unit
    # min(T, C): the censoring time C, replaced by T wherever there is an event.
    time = _censoring_time(windows)
    time[event] = windows.log.timeline.times[at[event]] - windows.begin[event]
    columns = {"event": event, "time": _as_lengths(time, unit)}
    table = pd.DataFrame(
        {
            name: target_of(values, windows, censored, name)
            for name, values in columns.items()
        }
    )
    if censored == "keep":  # not how many: attrs of all parts of a target are equal
        windows = replace(windows, attrs={**windows.attrs, "keeps_censored": True})
    return complete_rows(table, [windows], censored, may_keep=True)


def _censoring_time(windows: Windows) -> np.ndarray:
    """Return how long each window has been observed, in ticks, shape (n,)."""
    # C must not exceed what was observed.
    observed = windows.until - np.minimum(windows.begin, windows.until)
    if windows.length is None:
        return observed
    # The horizon, not `observed`, for complete windows: one of whole days may be
    # complete and yet end after the last recorded midnight.
    return np.where(windows.censored, observed, windows.length)


def _as_lengths(ticks: np.ndarray, unit: Any) -> Any:
    """Convert ticks to Timedeltas, or return the numbers of a numeric time axis."""
    if unit is None:
        return ticks
    if ticks.dtype.kind == "f":
        return pd.to_timedelta(ticks, unit=unit)
    return ticks.view(f"m8[{unit}]")
