"""One target on a grid of horizons."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sklearn_seqcrm.targets._windows import (
    Windows,
    refuse_incomplete,
    refuse_repeated_index,
    to_target,
)

# What `pd.Timedelta` takes, or a number where the times of the log are numbers.
Duration: TypeAlias = str | float | datetime.timedelta | np.timedelta64 | np.number[Any]
# Not any sequence: text is one of those.
Durations: TypeAlias = (
    list[Any] | tuple[Any, ...] | np.ndarray[Any, Any] | pd.Index | pd.Series
)


def over_horizons(
    target: Callable[[Any], tuple[Any, Windows]],
    horizon: Any,
    censored: str,
    name: str,
) -> pd.Series | pd.DataFrame:
    """Compute a target on one horizon, or on several.

    Parameters
    ----------
    target : callable
        Takes a horizon, and returns the target of each row, from what has been
        recorded, and the windows.
    horizon : Timedelta, str, number, or list-like of these
        One horizon, or several.
    censored : {"raise", "drop", "nan"}
        What to do with incomplete windows.
    name : str
        Name of the target.

    Returns
    -------
    Series of shape (n,), or DataFrame of shape (n, k)
        With a column for each of several horizons. Without the rows of which any
        window is incomplete, for ``censored="drop"``.
    """
    if not pd.api.types.is_list_like(horizon):
        values, windows = target(horizon)
        return to_target(values, windows, censored, name)
    found = [target(one) for one in horizon]
    if not found:
        raise ValueError(f"horizon must be one or several; got {horizon!r}.")
    all_windows = [windows for _, windows in found]
    columns = _as_index(all_windows)
    if not columns.is_unique:
        raise ValueError(f"horizon names some horizons twice: {list(horizon)}.")
    if censored == "raise":
        for windows in sorted(all_windows, key=lambda windows: -windows.censored.sum()):
            refuse_incomplete(windows)
    if censored == "drop":
        refuse_repeated_index(all_windows[0].index)
    how = "nan" if censored == "nan" else "keep"
    table = pd.concat(
        [to_target(values, windows, how, name) for values, windows in found], axis=1
    )
    table.columns = columns
    if censored == "drop":
        table = table[~np.any([windows.censored for windows in all_windows], axis=0)]
    return table


def _as_index(windows: list[Windows]) -> pd.Index:
    """Horizons as names of columns: Timedeltas, or the numbers of the log."""
    unit: Any = windows[0].log.timeline.clock.unit
    lengths = np.array([one.length for one in windows])
    index = pd.Index(lengths) if unit is None else pd.to_timedelta(lengths, unit=unit)
    return index.rename("horizon")
