"""What the next event will be like."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import pandas as pd

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.targets._horizons import Duration
from sklearn_seqcrm.targets._windows import to_target, windows_after


@validate_params(
    {
        "field": [str],
        "censored": [StrOptions({"raise", "drop", "nan"})],
        "history": [str, Integral, None],
        "kind_field": [str],
    },
    prefer_skip_nested_validation=True,
)
def next_value(
    X: Any,
    field: str,
    horizon: Duration | None = None,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
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
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``: what
        ``pd.Timedelta`` takes, or a number if the times of the log are plain numbers.
        None: a window without an end.
    gap : Timedelta, str or number, default=0
        Time between the cutoff and the window, for example until an action works.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of what the log has
        recorded; without a horizon, with rows after which no event has been recorded:
        an error, leaving them out, or a missing target.
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
        the event's own value is, and where a complete window holds no event.

    Raises
    ------
    KeyError
        If the log has no field `field` or `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, or a length of time is of another kind than the
        times of the log.
    ValueError
        If windows run past the end of the log, `horizon` is not longer than 0, there
        is no event of one of `kinds`, the field holds vectors, `X` has no history
        column or several, histories are missing or were joined from several logs, or
        `censored` is "drop" and the index repeats a label.

    See Also
    --------
    time_to_next : The time until that event.
    future_sum : The sum of a field over all events of a window.

    Notes
    -----
    Only events that the row could not see count: a row that was attached with
    ``allow_exact_matches=True`` has seen the events at its cutoff.

    The record of a log reaches to its ``observed_until``, that moment included. If all
    its times are midnights (of UTC, where they have a time zone) or whole numbers, it
    reaches to the end of that day or unit: with days until 31 December, a window that
    ends before 1 January is complete. All kinds of events share that end; where one
    of them was recorded for less long, give `EventLog.concat` its end.

    Without a horizon, the rows that are left by ``censored="drop"`` are those whose
    next event came before the log ended: near that end they are the customers who
    come soon, and what such customers buy need not be what the others will buy. A
    horizon treats all rows alike: a row counts if its window is complete, whenever in
    it the event came, and ``dropna()`` then leaves the rows that had one. It also
    bounds how far a target looks ahead, which a split by time has to know.

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
    windows = windows_after(X, horizon, gap, history, kinds, kind_field, endless=True)
    column = windows.log.column(field)
    if column.type.encoding == "vectors":
        raise ValueError(
            f"Field {field!r} is {column.type}, and next_value has one number, date or "
            "level for each row."
        )
    at = windows.next_events()
    found = at >= 0
    values = column.without_values(len(at))
    values.values[found] = column.values[at[found]]
    # With all levels, the same ones for every set of rows.
    target = column.type.to_pandas(*values)
    return to_target(target, windows, censored, "next_value")
