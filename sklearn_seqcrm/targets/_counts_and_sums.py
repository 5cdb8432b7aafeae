"""Counts of events or moments, and sums, in a window after the cutoff; and churn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, overload

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import event_blocks
from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm._typing import Duration, ListLike
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.targets._horizons import over_horizons
from sklearn_seqcrm.targets._windows import (
    Censored,
    CountOptions,
    WindowOptions,
    Windows,
    check_target_params,
    ends_of_rows,
    warn_without_kinds,
    windows_after,
)

# Type checkers infer a Series for one horizon, and a DataFrame for several.


@overload
def churned(
    X: Any, horizon: Duration, **options: Unpack[WindowOptions]
) -> pd.Series: ...


@overload
def churned(
    X: Any, horizon: ListLike, **options: Unpack[WindowOptions]
) -> pd.DataFrame: ...


@check_target_params
def churned(
    X: pd.DataFrame | pd.Series | HistoryArray,
    horizon: Duration | ListLike,
    *,
    gap: Duration = 0,
    censored: Censored = "raise",
    observed_until: ListLike | None = None,
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series | pd.DataFrame:
    """Mark the customers who have no event in a window after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    horizon : Timedelta, str, number, or list of these
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``: anything
        ``pd.Timedelta`` takes, or a number if the times of the log are plain numbers.
        A list gives one target per horizon.
    gap : Timedelta, str or number, default=0
        Embargo between the cutoff and the window, for example the time that an action
        needs to take effect.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of the record: raise an
        error, drop the row, or return a missing target. With several horizons, "drop"
        drops a row if any of its windows is incomplete, and "nan" is decided window by
        window.
    observed_until : array-like of shape (n,) or None, default=None
        Last time at which each customer was observed, such as the end of a contract or
        of a consent; missing: until the end of the log. Later events do not count, and
        windows that run past it are incomplete. A date means its midnight, unless all
        events are at midnights, and 23:59:59 the whole day, as for a log. It tells the
        future, so keep it out of the columns that a model reads. None: all customers
        were observed until the end of the log.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to look for, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Named ``"churned"``, with the index of `X`: 1 without an event, 0 with at least
        one; integers, or floats for ``censored="nan"``. A customer who is not in the
        log has no event.

        For several horizons, a DataFrame of shape (n, k), or (n_complete, k), of the
        same values, with the horizons, as Timedeltas or numbers, as its columns.

    Raises
    ------
    KeyError
        If the log has no field `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, a duration does not fit the times of the log
        (datetimes or plain numbers), or `observed_until` is not a list or an array.
    ValueError
        If windows run past the end of the log or `observed_until`, a horizon is not
        longer than 0 or given twice, `gap` is negative, `observed_until` has another
        length than `X`, there is no event of one of `kinds`, `X` has no history column
        or several, histories are missing or were joined from several logs, or
        `censored` is "drop" and the index repeats a label.

    Warns
    -----
    UserWarning
        If `kinds` is None and the log was merged from several kinds by
        `EventLog.concat`.
        Also if all times of `observed_until` are midnights and those of events are not,
        or it has the index of `X` in another order: rows are matched by position.

    See Also
    --------
    stack_horizons : One row per row and horizon, with the horizon as exposure.
    future_count : The number of events in the window.
    time_to_next : The time until the first of them.

    Notes
    -----
    Events that belong to the history do not count: with
    ``attach(allow_exact_matches=True)`` these include the events at the cutoff.

    A window is complete if it ends within the record of the log, which reaches up to
    and including ``observed_until``. If all times are midnights (of UTC, where they
    have a time zone) or whole numbers, the record includes that whole day or unit: with
    days until 31 December, a window that ends before 1 January is complete. All kinds
    of events share one end of the record; if a kind was recorded for a shorter time,
    pass its end to `EventLog.concat`.

    Without a contract that ends, churn is a matter of definition. This one, no event
    within a horizon, does not separate customers who left for good from those who pause
    for longer than the horizon.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import churned
    >>> events = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "bob"],
    ...         "day": pd.to_datetime(["2024-03-01", "2024-03-10", "2024-03-02"]),
    ...         "event": ["order", "return", "order"],
    ...     }
    ... )
    >>> log = EventLog(events, "customer", "day", observed_until="2024-03-31")
    >>> X = log.snapshots(["2024-03-05", "2024-03-12"])
    >>> churned(X, "14D").tolist()
    [0, 1, 1, 1]
    >>> churned(X, "14D", kinds="order").tolist()
    [1, 1, 1, 1]
    >>> churned(X, "25D", censored="nan").tolist()
    [0.0, 1.0, nan, nan]
    >>> churned(X, ["5D", "14D"])
    horizon  5 days   14 days
    0             1         0
    1             1         1
    2             1         1
    3             1         1
    """
    warn_without_kinds(X, history, kinds, "churned looks for")
    ends = ends_of_rows(X, observed_until, history)

    def target(one: Any) -> tuple[np.ndarray, Windows]:
        windows = windows_after(X, one, gap, ends, history, kinds, kind_field)
        # Events in the gap do not count: neither as activity nor against churn.
        return (windows.first == windows.last).astype("int64"), windows

    return over_horizons(target, horizon, censored, "churned")


@overload
def future_count(
    X: Any, horizon: Duration, **options: Unpack[CountOptions]
) -> pd.Series: ...


@overload
def future_count(
    X: Any, horizon: ListLike, **options: Unpack[CountOptions]
) -> pd.DataFrame: ...


@check_target_params
def future_count(
    X: pd.DataFrame | pd.Series | HistoryArray,
    horizon: Duration | ListLike,
    *,
    gap: Duration = 0,
    censored: Censored = "raise",
    observed_until: ListLike | None = None,
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
    moments: bool | Duration = False,
) -> pd.Series | pd.DataFrame:
    """Count the events or moments of each customer in a window after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    horizon : Timedelta, str, number, or list of these
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``, as in
        `churned`. A list gives one target per horizon.
    gap : Timedelta, str or number, default=0
        Embargo between the cutoff and the window, as in `churned`.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of the record, as in
        `churned`.
    observed_until : array-like of shape (n,) or None, default=None
        Last time at which each customer was observed, as in `churned`. None: the end of
        the log.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to count, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.
    moments : bool, Timedelta, str or number, default=False
        Whether to count events (False) or moments, such as the invoices of a table of
        lines: all events of a customer at the same time (True) or within a period
        (``"1D"``), counted from 1970-01-01 (UTC) or 0. A moment happens when it begins:
        a day that has begun before the window does not count. With `kinds`, only events
        of these kinds make up moments.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Named ``"future_count"``, with the index of `X`: integers; for
        ``censored="nan"`` floats. A customer who is not in the log has no event.

        For several horizons, a DataFrame of shape (n, k), or (n_complete, k), of the
        same values, with the horizons, as Timedeltas or numbers, as its columns.

    Raises
    ------
    KeyError
        If the log has no field `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, a duration does not fit the times of the log
        (datetimes or plain numbers), or `observed_until` is not a list or an array.
    ValueError
        If windows run past the end of the log or `observed_until`, a horizon is not
        longer than 0 or given twice, `gap` is negative, `observed_until` has another
        length than `X`, there is no event of one of `kinds`, `X` has no history column
        or several, histories are missing or were joined from several logs, or
        `censored` is "drop" and the index repeats a label.

    Warns
    -----
    UserWarning
        If `kinds` is None and the log was merged from several kinds by
        `EventLog.concat`.
        Also, as in `churned`, about `observed_until`.

    See Also
    --------
    stack_horizons : One row per row and horizon, with the horizon as exposure.
    churned : Whether the window has no event.
    future_sum : The sum of a field over the events in the window.

    Notes
    -----
    The Notes of `churned` say which events do not count, and when a window is complete.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import future_count
    >>> events = pd.DataFrame(
    ...     {"customer": ["ann", "ann", "ann", "bob"], "week": [1, 4, 5, 7]}
    ... )
    >>> log = EventLog(events, "customer", "week")
    >>> X = log.attach(
    ...     pd.DataFrame({"customer": ["ann", "bob", "eve"]}, [7, 8, 9]), cutoff=4
    ... )
    >>> future_count(X, horizon=3)
    7    2
    8    0
    9    0
    Name: future_count, dtype: int64
    >>> future_count(X, horizon=3, moments=2).tolist()  # week 5 belongs to 4 and 5
    [1, 0, 0]
    >>> future_count(X, horizon=3, gap=1).tolist()
    [1, 1, 0]
    >>> future_count(X, horizon=[1, 2, 3])
    horizon  1  2  3
    7        1  2  2
    8        0  0  0
    9        0  0  0
    """
    warn_without_kinds(X, history, kinds, "future_count counts")
    ends = ends_of_rows(X, observed_until, history)

    def target(one: Any) -> tuple[np.ndarray, Windows]:
        windows = windows_after(
            X, one, gap, ends, history, kinds, kind_field, moments=moments
        )
        # Rows of customers who are not in the log have first == last: no event.
        return windows.last - windows.first, windows

    return over_horizons(target, horizon, censored, "future_count")


@overload
def future_sum(
    X: Any, field: str, horizon: Duration, **options: Unpack[WindowOptions]
) -> pd.Series: ...


@overload
def future_sum(
    X: Any, field: str, horizon: ListLike, **options: Unpack[WindowOptions]
) -> pd.DataFrame: ...


@check_target_params
def future_sum(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    horizon: Duration | ListLike,
    *,
    gap: Duration = 0,
    censored: Censored = "raise",
    observed_until: ListLike | None = None,
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series | pd.DataFrame:
    """Sum a field over the events of each customer in a window after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
    field : str
        Numeric field of the log, for example the amount of an order. Missing and
        infinite values count as 0.
    horizon : Timedelta, str, number, or list of these
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``, as in
        `churned`. A list gives one target per horizon.
    gap : Timedelta, str or number, default=0
        Embargo between the cutoff and the window, as in `churned`.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of the record, as in
        `churned`.
    observed_until : array-like of shape (n,) or None, default=None
        Last time at which each customer was observed, as in `churned`. None: the end of
        the log.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to sum over, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Named ``"future_sum"``, with the index of `X`, as floats: 0 for a complete
        window without events, and for a customer who is not in the log.

        For several horizons, a DataFrame of shape (n, k), or (n_complete, k), of the
        same values, with the horizons, as Timedeltas or numbers, as its columns.

    Raises
    ------
    KeyError
        If the log has no field `field` or `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, a duration does not fit the times of the log
        (datetimes or plain numbers), or `observed_until` is not a list or an array.
    ValueError
        If windows run past the end of the log or `observed_until`, a horizon is not
        longer than 0 or given twice, `gap` is negative, `observed_until` has another
        length than `X`, there is no event of one of `kinds`, `field` is not numeric,
        `X` has no history column or several, histories are missing or were joined from
        several logs, or `censored` is "drop" and the index repeats a label.

    Warns
    -----
    UserWarning
        If `kinds` is None and the log was merged from several kinds by
        `EventLog.concat`, and more than one of them has the field.
        Also, as in `churned`, about `observed_until`.

    See Also
    --------
    stack_horizons : One row per row and horizon, with the horizon as exposure.
    future_count : The number of events in the window.
    next_value : The field at the first event of the window.

    Notes
    -----
    The Notes of `churned` say which events do not count, and when a window is complete.

    Missing values count as 0, because in a log of several kinds of events a field is
    missing wherever a kind lacks it: a return has no price. Infinite values, such as
    those of a division by zero, count as 0, as in `RFMFeatures`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import future_sum
    >>> orders = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "ann", "bob"],
    ...         "week": [1, 4, 5, 7],
    ...         "price": [10.0, 20.0, 5.0, 8.0],
    ...     }
    ... )
    >>> log = EventLog(orders, "customer", "week")
    >>> X = log.attach(pd.DataFrame({"customer": ["ann", "bob"]}), cutoff=4)
    >>> future_sum(X, "price", horizon=3).tolist()
    [25.0, 0.0]
    >>> future_sum(X, "price", horizon=3, gap=1).tolist()
    [5.0, 8.0]
    >>> future_sum(X, "price", horizon=[1, 4])
    horizon     1     4
    0        20.0  25.0
    1         0.0   8.0
    """
    warn_without_kinds(X, history, kinds, f"future_sum adds {field!r} of", field)
    ends = ends_of_rows(X, observed_until, history)

    def target(one: Any) -> tuple[np.ndarray, Windows]:
        windows = windows_after(X, one, gap, ends, history, kinds, kind_field)
        # Of the events of the chosen kinds only; first and last are positions in these.
        amounts = _amounts(windows.log, field)[windows.events].astype("float64")
        amounts[~np.isfinite(amounts)] = 0
        # sums[i] = amounts[first[i]:last[i]].sum(), for a block of rows. Rejected:
        # differences of one cumulative sum over the log, which is quicker where windows
        # overlap, but one huge amount anywhere would cancel the digits of all others.
        sums = np.zeros(len(windows.first))
        for rows, index, begins in event_blocks(windows.first, windows.last):
            sums[rows] = np.add.reduceat(amounts[index], begins)
        return sums, windows

    return over_horizons(target, horizon, censored, "future_sum")


def _amounts(log: RawLog, field: str) -> np.ndarray:
    """Return the values of a numeric field; refuse others."""
    column = log.column(field)
    if column.type.adds_up:
        return column.as_numbers(log.timeline.times, log.timeline.clock)
    numeric = [name for name in log.fields if log.column(name).type.adds_up]
    way = ""
    if column.type.encoding == "levels":
        way = (
            " If it holds numbers as text, use pd.to_numeric, or for decimal commas "
            "pd.read_csv(..., decimal=',')."
        )
    raise ValueError(
        f"Field {field!r} is {column.type}, and cannot be summed; the numeric fields "
        f"are {numeric}.{way}"
    )
