"""Datetimes beside a history, as distances from its cutoff."""

from __future__ import annotations

import numpy as np
import pandas as pd


def days_before_cutoff(column: pd.Series, cutoffs: pd.Index) -> np.ndarray:
    """Datetimes as days before the cutoff of their row.

    Parameters
    ----------
    column : Series of shape (n,)
        Datetimes, which may be missing.
    cutoffs : Index of shape (n,)
        Cutoffs of the rows.

    Returns
    -------
    ndarray of shape (n,), float64
        Negative after the cutoff, NaN where one of the two is missing.

    Raises
    ------
    ValueError
        If the cutoffs are plain numbers, or only one of the two has a time zone.

    Examples
    --------
    >>> import pandas as pd
    >>> signup = pd.Series(pd.to_datetime(["2024-01-01", None]))
    >>> days_before_cutoff(signup, pd.to_datetime(["2024-01-15", "2024-01-15"]))
    array([14., nan])
    """
    if not isinstance(cutoffs, pd.DatetimeIndex):
        raise ValueError(
            f"The cutoffs are plain numbers, so that the datetimes in {column.name!r} "
            "have no distance from them; drop that column, or make numbers of it."
        )
    moments = pd.DatetimeIndex(column)
    if (moments.tz is None) != (cutoffs.tz is None):
        raise ValueError(
            f"Column {column.name!r} and the cutoffs are not both naive or both "
            "time-zone aware; tz_localize or tz_convert one of them."
        )
    return np.asarray((cutoffs - moments) / pd.Timedelta(days=1))
