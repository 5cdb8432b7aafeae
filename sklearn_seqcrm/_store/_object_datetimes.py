"""Datetimes and dates that are Python objects, as database drivers return them."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd

_DATETIMES = (datetime.date, np.datetime64)


def are_datetimes(values: pd.Series) -> bool:
    """Return whether all objects that are not missing are datetimes or dates.

    Parameters
    ----------
    values : Series of shape (n,), object
        The values.
    """
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "mixed":  # such as NumPy's datetimes beside those of Python
        return all(isinstance(one, _DATETIMES) for one in values.dropna())
    return inferred in ("date", "datetime", "datetime64")


def datetimes_of_objects(values: pd.Series, what: str) -> pd.Series:
    """Convert datetimes and dates that are objects; aware ones are in UTC.

    A driver returns an aware datetime with the offset of its time, which daylight
    saving changes, so that a column of one zone has several offsets.

    Parameters
    ----------
    values : Series of shape (n,), object
        Datetimes and dates; missing ones are allowed.
    what : str
        How an error names them, in the plural.

    Returns
    -------
    Series of shape (n,)
        Datetimes with the same index.

    Raises
    ------
    ValueError
        If some have a time zone and others have none.
    """
    zones = {getattr(one, "tzinfo", None) is None for one in values.dropna()}
    if len(zones) > 1:
        raise ValueError(
            f"{what} mix naive and time-zone aware datetimes; "
            "pd.to_datetime(..., utc=True) makes all of them aware."
        )
    aware = zones == {False}
    try:
        return pd.to_datetime(values, utc=aware)
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        # pandas before version 3 converts objects to nanoseconds, which end in 2262. A
        # single Timestamp has its own unit.
        stamps = [pd.Timestamp(one).as_unit("us").asm8 for one in values]
        found = pd.Series(np.array(stamps, dtype="M8[us]"), values.index)
        return found.dt.tz_localize("UTC") if aware else found
