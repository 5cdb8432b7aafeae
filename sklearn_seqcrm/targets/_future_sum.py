"""How much comes after the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import event_blocks
from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.targets._horizons import Duration, Durations, over_horizons
from sklearn_seqcrm.targets._windows import Windows, windows_after


@overload
def future_sum(
    X: Any,
    field: str,
    horizon: Duration,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series: ...


@overload
def future_sum(
    X: Any,
    field: str,
    horizon: Durations,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame: ...


@validate_params(
    {
        "field": [str],
        "censored": [StrOptions({"raise", "drop", "nan"})],
        "history": [str, Integral, None],
        "kind_field": [str],
    },
    prefer_skip_nested_validation=True,
)
def future_sum(
    X: Any,
    field: str,
    horizon: Duration | Durations,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
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
        Length of the window ``[cutoff + gap, cutoff + gap + horizon)``: what
        ``pd.Timedelta`` takes, or a number if the times of the log are plain numbers.
        Several: a target on each.
    gap : Timedelta, str or number, default=0
        Time between the cutoff and the window, for example until an action works.
    censored : {"raise", "drop", "nan"}, default="raise"
        What to do with rows whose window runs past the end of what the log has
        recorded: an error, leaving them out, or a missing target. Of several windows,
        "drop" leaves out rows of which any is incomplete, and "nan" has those that are
        complete.
    history : str, int or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events to sum over, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Of several horizons a DataFrame of shape (n, k), whose columns are the horizons,
        as Timedeltas or numbers, of what else is said here:

        ``"future_sum"``, with the index of `X`, as floats: 0 for a complete window
        without events, and for a customer that the log does not know.

    Raises
    ------
    KeyError
        If the log has no field `field` or `kind_field`, or `X` no column `history`.
    TypeError
        If the histories are encoded, or a length of time is of another kind than the
        times of the log.
    ValueError
        If windows run past the end of the log, `horizon` is not longer than 0, there
        is no event of one of `kinds`, `field` is not numeric, `X` has no history
        column or several, histories are missing or were joined from several logs, or
        `censored` is "drop" and the index repeats a label.

    See Also
    --------
    stack_horizons : Rows with an exposure of a target on several horizons.
    future_count : The number of events in the window.
    next_value : The field at the first event of the window.

    Notes
    -----
    Only events that the row could not see count: a row that was attached with
    ``allow_exact_matches=True`` has seen the events at its cutoff.

    The record of a log reaches to its ``observed_until``, that moment included. If all
    its times are midnights (of UTC, where they have a time zone) or whole numbers, it
    reaches to the end of that day or unit: with days until 31 December, a window that
    ends before 1 January is complete. All kinds of events share that end; where one
    of them was recorded for less long, give `EventLog.concat` its end.

    Missing values count as 0, because a log of several kinds of events has them
    wherever a kind lacks the field: a return has no price. Infinite ones, which a
    division by zero leaves behind, count as 0 as they do in `RFMFeatures`.

    Each window is summed by itself, in float64. Differences of one cumulative sum over
    the log would cost less where windows overlap, but one large amount anywhere would
    take the digits of all smaller ones.

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

    def target(one: Any) -> tuple[np.ndarray, Windows]:
        windows = windows_after(X, one, gap, history, kinds, kind_field)
        column = windows.log.column(field)
        if column.type.name != "numeric":
            raise ValueError(f"Field {field!r} is {column.type}, and cannot be summed.")
        amounts = column.values[windows.events].astype("float64")
        amounts[~np.isfinite(amounts)] = 0
        return _sums(amounts, windows.first, windows.last), windows

    return over_horizons(target, horizon, censored, "future_sum")


def _sums(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Sum ``values[first[i]:last[i]]`` for each row, some rows at a time."""
    sums = np.zeros(len(first))
    for rows, index, begins in event_blocks(first, last):
        sums[rows] = np.add.reduceat(values[index], begins)
    return sums
