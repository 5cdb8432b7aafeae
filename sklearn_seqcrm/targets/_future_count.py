"""How many events come after the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.targets._horizons import Duration, Durations, over_horizons
from sklearn_seqcrm.targets._windows import Windows, windows_after


@overload
def future_count(
    X: Any,
    horizon: Duration,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series: ...


@overload
def future_count(
    X: Any,
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
        "censored": [StrOptions({"raise", "drop", "nan"})],
        "history": [str, Integral, None],
        "kind_field": [str],
    },
    prefer_skip_nested_validation=True,
)
def future_count(
    X: Any,
    horizon: Duration | Durations,
    *,
    gap: Duration = 0,
    censored: Literal["raise", "drop", "nan"] = "raise",
    history: str | int | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series | pd.DataFrame:
    """Count the events of each customer in a window after their cutoff.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, from `EventLog.attach` or `EventLog.snapshots`.
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
        Kinds of events to count, as `EventLog.concat` named them; None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    Series of shape (n,), or (n_complete,) for ``censored="drop"``
        Of several horizons a DataFrame of shape (n, k), whose columns are the horizons,
        as Timedeltas or numbers, of what else is said here:

        ``"future_count"``, with the index of `X`: integers; for ``censored="nan"``
        floats. A customer that the log does not know has no event.

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
    stack_horizons : Rows with an exposure of a target on several horizons.
    churned : Whether the window has no event.
    future_sum : The sum of a field over the events in the window.

    Notes
    -----
    Only events that the row could not see count: a row that was attached with
    ``allow_exact_matches=True`` has seen the events at its cutoff.

    The record of a log reaches to its ``observed_until``, that moment included. If all
    its times are midnights (of UTC, where they have a time zone) or whole numbers, it
    reaches to the end of that day or unit: with days until 31 December, a window that
    ends before 1 January is complete. All kinds of events share that end; where one
    of them was recorded for less long, give `EventLog.concat` its end.

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
    >>> future_count(X, horizon=3, gap=1).tolist()
    [1, 1, 0]
    >>> future_count(X, horizon=[1, 2, 3])
    horizon  1  2  3
    7        1  2  2
    8        0  0  0
    9        0  0  0
    """

    def target(one: Any) -> tuple[np.ndarray, Windows]:
        windows = windows_after(X, one, gap, history, kinds, kind_field)
        return windows.last - windows.first, windows

    return over_horizons(target, horizon, censored, "future_count")
