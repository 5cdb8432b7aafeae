"""What stands beside a history: of which kind a column is, and how each kind is read.

Everything that reads the ordinary columns of `X` does so by this one table:

=========  =============================================  ==============================
kind       columns                                        read as
=========  =============================================  ==============================
numeric    numbers, booleans, durations; objects that     floats, durations in days;
           are such, decimals among them                  infinite is missing
moment     datetimes and dates, also as objects           days before the row's cutoff
category   text, categoricals, and everything else        text; missing is None
=========  =============================================  ==============================
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._durations import durations_in_days
from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store import days_between

_KINDS_OF_OBJECTS = {
    **dict.fromkeys(("boolean", "decimal", "floating", "integer"), "numeric"),
    **dict.fromkeys(("mixed-integer-float", "timedelta", "timedelta64"), "numeric"),
    **dict.fromkeys(("date", "datetime", "datetime64"), "moment"),
}
_HUGE = 1e150  # beyond this the spread of numbers overflows


def kind_of(column: pd.Series) -> str:
    """Tell the kind of a column that holds no histories.

    Parameters
    ----------
    column : Series of shape (n,)
        Any values.

    Returns
    -------
    {"numeric", "moment", "category"}
        As in the table above. Objects without a single value are a category, which
        takes whatever comes later.
    """
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "moment"
    if isinstance(dtype, pd.ArrowDtype) and issubclass(dtype.type, datetime.date):
        return "moment"
    if dtype.kind in "biufm" or pd.api.types.is_numeric_dtype(dtype):
        return "numeric"
    if pd.api.types.is_object_dtype(dtype):
        return _kind_of_objects(column)
    return "category"


def _kind_of_objects(column: pd.Series) -> str:
    """Database drivers give objects, and so does ColumnTransformer."""
    found = pd.api.types.infer_dtype(column, skipna=True)
    if found == "mixed" and all(isinstance(v, Number) for v in column.dropna()):
        return "numeric"  # decimals among floats
    return _KINDS_OF_OBJECTS.get(found, "category")


def as_numbers(column: pd.Series) -> np.ndarray:
    """A numeric column as floats.

    Parameters
    ----------
    column : Series of shape (n,)
        Numbers, booleans or durations, or objects that are such.

    Returns
    -------
    ndarray of shape (n,), float64
        Durations in days; NaN where a value is missing or infinite. Numbers beyond
        1e150 count as that, so that their spread can still be computed.

    Raises
    ------
    TypeError
        If a value is none of these.

    Examples
    --------
    >>> import pandas as pd
    >>> as_numbers(pd.Series([True, None, 3], dtype=object))
    array([ 1., nan,  3.])
    >>> as_numbers(pd.Series(pd.to_timedelta(["36h", None])))
    array([1.5, nan])
    """
    try:
        values = _floats(column)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Column {column.name!r} held numbers in fit, but now {column.dtype} that "
            f"are none ({error}); give it numbers, or fit again."
        ) from error
    return bounded(values)


def bounded(values: np.ndarray) -> np.ndarray:
    """Numbers whose spread can be computed: NaN for infinite ones, 1e150 at most."""
    if (np.abs(values) <= _HUGE).all():  # mostly, and in a fifth of the time
        return values
    return np.where(np.isinf(values), np.nan, values.clip(-_HUGE, _HUGE))


def _floats(column: pd.Series) -> np.ndarray:
    if column.dtype.kind in "Mc":
        # A row with nothing but NaT is one of datetimes, whatever it was in fit.
        if column.notna().any():
            raise TypeError("datetimes and complex numbers are no quantities")
        return np.full(len(column), np.nan)
    return durations_in_days(column).to_numpy("float64", na_value=np.nan)


def numbers_of(X: pd.DataFrame) -> np.ndarray:
    """Numeric columns as floats.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Columns of numbers, booleans or durations, or objects that are such.

    Returns
    -------
    ndarray of shape (n, n_columns), float64
        Each column as `as_numbers` has it.
    """
    plain = np.array([dtype.kind in "biuf" for dtype in X.dtypes], dtype=bool)
    if plain.all():
        return bounded(X.to_numpy("float64", na_value=np.nan))
    values = np.empty(X.shape)
    # One by one, hundreds would cost as much as the rest of scoring a row.
    together = X.take(np.flatnonzero(plain), axis=1)
    values[:, plain] = bounded(together.to_numpy("float64", na_value=np.nan))
    for i in np.flatnonzero(~plain).tolist():
        values[:, i] = as_numbers(X.iloc[:, i])
    return values


def days_before(column: pd.Series, cutoffs: pd.Index) -> np.ndarray:
    """Datetimes as days before the cutoff of their row.

    Parameters
    ----------
    column : Series of shape (n,)
        Datetimes, which may be missing, or objects that are such.
    cutoffs : Index of shape (n,)
        Cutoffs of the rows.

    Returns
    -------
    ndarray of shape (n,), float64
        Negative after the cutoff, NaN where one of the two is missing.

    Raises
    ------
    ValueError
        If the cutoffs are plain numbers, only one of the two has a time zone, or
        values are no datetimes.

    Examples
    --------
    >>> import pandas as pd
    >>> signup = pd.Series(pd.to_datetime(["2024-01-01", None]))
    >>> days_before(signup, pd.to_datetime(["2024-01-15", "2024-01-15"]))
    array([14., nan])
    """
    if not isinstance(cutoffs, pd.DatetimeIndex):
        raise ValueError(
            f"The cutoffs are plain numbers, so that the datetimes in {column.name!r} "
            "have no distance from them; drop that column, or make numbers of it."
        )
    try:
        if column.dtype.kind in "biuf" and column.notna().any():
            raise TypeError(f"its type is {column.dtype}")  # since 1970, in what unit?
        moments = pd.DatetimeIndex(pd.to_datetime(column))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {column.name!r} must hold datetimes of one time zone ({error}); "
            "pd.to_datetime(..., utc=True) makes them of dates in several."
        ) from error
    if (moments.tz is None) != (cutoffs.tz is None):
        raise ValueError(
            f"Column {column.name!r} and the cutoffs are not both naive or both "
            "time-zone aware; tz_localize or tz_convert one of them."
        )
    return days_between(_naive(moments), _naive(cutoffs))


def _naive(moments: pd.DatetimeIndex) -> np.ndarray:
    """Datetimes as NumPy has them; aware ones in UTC."""
    return moments.asi8.view(f"M8[{moments.unit}]")


def as_levels(column: pd.Series | pd.Index) -> np.ndarray:
    """A column of categories as text.

    Parameters
    ----------
    column : Series or Index of shape (n,)
        Values of any types that can be told apart.

    Returns
    -------
    ndarray of shape (n,), object
        Text, None where a value is missing. Numbers are written alike whatever their
        type, as a missing value makes floats of whole numbers.

    Raises
    ------
    TypeError
        If values are lists or other objects that cannot be told apart.

    Examples
    --------
    >>> import pandas as pd
    >>> as_levels(pd.Series([1.0, None, 2.5]))
    array(['1', None, '2.5'], dtype=object)
    """
    codes, texts = coded_levels(column)
    return look_up(np.array(texts, dtype=object), codes, missing=None)


def coded_levels(column: pd.Series | pd.Index) -> tuple[np.ndarray, list[str]]:
    """A column of categories as codes and their texts; see `as_levels`.

    Parameters
    ----------
    column : Series or Index of shape (n,)
        Values of any types that can be told apart.

    Returns
    -------
    codes : ndarray of shape (n,), int
        Positions in `texts`, -1 where a value is missing.
    texts : list of str
        Text of each different value; that of two may be the same.
    """
    try:
        codes, levels = pd.factorize(column)
    except TypeError as error:
        kind = type(column.dropna()[:1].tolist()[0]).__name__
        raise TypeError(
            f"Column {column.name!r} holds values of the type {kind}, which is no "
            "category; drop it, or make a column of each part."
        ) from error
    return codes, [text_of(level) for level in levels]


def text_of(level: Any) -> str:
    """A category as text; 1, 1.0 and 1.00 are one, and so is a moment in any zone."""
    if isinstance(level, float):
        whole = level.is_integer()
    elif isinstance(level, Decimal):
        whole = level.is_finite() and level == level.to_integral_value()
    elif isinstance(level, pd.Timestamp) and level.tz is not None:
        return str(level.tz_convert("UTC"))
    else:
        return str(level)
    return str(int(level) if whole else level)
