"""Values of the ordinary columns of `X`: as numbers, as days, as levels."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._durations import durations_in_days
from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store import (
    are_datetimes,
    datetimes_of_objects,
    days_between,
    parse_iso,
)

# The square of a larger number overflows, and with it the variance of its column.
_HUGE = 1e150
_NO_QUANTITIES = (np.datetime64, complex, np.complexfloating)
RARE = "infrequent_sklearn"  # the name that scikit-learn's encoders use


def as_numbers(column: pd.Series) -> np.ndarray:
    """Convert numbers, booleans or durations, also objects, to floats, (n,).

    Durations are in days, and a missing or infinite value is NaN. Numbers are clipped
    to 1e150 in size, so that a variance can be computed. Raises a TypeError for values
    of other types, and a ValueError for an integer that is too large for a float.
    """
    try:
        values = _floats(column)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Column {column.name!r} held numbers in fit, but now holds other values "
            f"of dtype {column.dtype} ({error}); pass numbers, or fit again."
        ) from error
    except OverflowError as error:
        raise ValueError(
            f"Column {column.name!r} holds an integer that is too large for a float. "
            "If it is an id, make text of it by .astype(str); otherwise use a coarser "
            "unit, or its logarithm."
        ) from error
    return bounded(values)


def bounded(values: np.ndarray) -> np.ndarray:
    """Replace infinite numbers by NaN and clip the others to 1e150 in size."""
    # Most columns need no copy; the test costs a fifth of the replacement.
    if (np.abs(values) <= _HUGE).all():
        return values
    return np.where(np.isinf(values), np.nan, values.clip(-_HUGE, _HUGE))


def _floats(column: pd.Series) -> np.ndarray:
    if column.dtype.kind in "Mc":
        # pandas infers datetimes for a row of NaT alone, whatever the column was in
        # fit. Such values are missing numbers.
        if column.notna().any():
            raise TypeError("datetimes and complex numbers are not quantities")
        return np.full(len(column), np.nan)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype == object:
        # NumPy makes numbers of its datetimes, of NaT the least integer, and pandas
        # drops imaginary parts.
        values = column.to_numpy(object, copy=True)
        values[column.isna().to_numpy()] = np.nan
        if any(isinstance(one, _NO_QUANTITIES) for one in values):
            raise TypeError("datetimes and complex numbers are not quantities")
        column = pd.Series(values, column.index, dtype=object)
    return durations_in_days(column).to_numpy("float64", na_value=np.nan)


def numbers_of(X: pd.DataFrame) -> np.ndarray:
    """Convert columns of numbers to floats, as `as_numbers` does, (n, n_columns)."""
    plain = np.array([dtype.kind in "biuf" for dtype in X.dtypes], dtype=bool)
    if plain.all():
        return bounded(X.to_numpy("float64", na_value=np.nan))
    values = np.empty(X.shape)
    # All plain columns at once: converting hundreds one by one would cost as much as
    # the rest of scoring a row.
    together = X.take(np.flatnonzero(plain), axis=1)
    values[:, plain] = bounded(together.to_numpy("float64", na_value=np.nan))
    for i in np.flatnonzero(~plain).tolist():
        values[:, i] = as_numbers(X.iloc[:, i])
    return values


def days_before(column: pd.Series, cutoffs: pd.Index) -> np.ndarray:
    """Convert datetimes, (n,), to days before the cutoffs of their rows, (n,).

    They may also be objects, or text in ISO 8601. Days are negative after the cutoff,
    and NaN where the datetime or the cutoff is missing. Raises a ValueError if the
    cutoffs are plain numbers, or only one of the two has a time zone.
    """
    if not isinstance(cutoffs, pd.DatetimeIndex):
        raise ValueError(
            f"The cutoffs are plain numbers, so that the datetimes in {column.name!r} "
            "have no distance from them; drop that column, or make numbers of it."
        )
    name = column.name  # pandas 2 loses it where it reads dates beyond its range
    if column.dtype.kind == "O":  # objects, and pandas' types of text and categories
        column = _with_texts_parsed(column)
    if column.dtype == object and are_datetimes(column):
        column = datetimes_of_objects(column, f"datetimes in column {column.name!r}")
    is_missing = column.isna().to_numpy()
    if is_missing.all():  # without a value, no dtype shows that a column has a zone
        return np.full(len(column), np.nan)
    # pandas would read numbers as nanoseconds since 1970; the unit is unknown.
    if column.dtype.kind != "M":
        shown = column[~is_missing].iloc[:2].tolist()
        raise ValueError(
            f"Column {column.name!r} must hold datetimes; its type is {column.dtype}, "
            f"with values such as {shown}."
        )
    moments = pd.DatetimeIndex(pd.to_datetime(column))
    if (moments.tz is None) != (cutoffs.tz is None):
        is_naive = moments.tz is None
        raise ValueError(
            f"Column {name!r} and the cutoffs are not both naive or both "
            f"time-zone aware; give the column {'a' if is_naive else 'no'} time zone, "
            f"for example pd.to_datetime(X[{name!r}], utc=True, format='ISO8601')"
            f"{'' if is_naive else '.dt.tz_convert(None)'}."
        )
    return days_between(_naive(moments), _naive(cutoffs))


def _with_texts_parsed(column: pd.Series) -> pd.Series:
    """Return a column with a Timestamp in place of each text."""
    # pandas would read the month first, or as the first value suggests.
    what = f"Column {column.name!r}"
    times = {
        text: pd.NaT if text in ("", "NaT") else parse_iso(text, what)
        for text in dict.fromkeys(one for one in column if isinstance(one, str))
    }
    values = [times[one] if isinstance(one, str) else one for one in column]
    return pd.Series(values, index=column.index, name=column.name, dtype=object)


def _naive(moments: pd.DatetimeIndex) -> np.ndarray:
    """Convert datetimes to NumPy's; those with a time zone become UTC."""
    return moments.asi8.view(f"M8[{moments.unit}]")


def as_levels(column: pd.Series | pd.Index) -> np.ndarray:
    """Convert hashable values of any type to text, (n,), None where one is missing.

    Equal numbers have the same text whatever their type, because one missing value
    turns integers into floats.
    """
    codes, texts = coded_levels(column)
    return look_up(np.array(texts, dtype=object), codes, missing=None)


def coded_levels(column: pd.Series | pd.Index) -> tuple[np.ndarray, list[str]]:
    """Convert a categorical column to codes and their texts; see `as_levels`.

    Codes, (n,), are positions in the list of the texts of all distinct values; -1 where
    a value is missing. Two values, such as 1 and "1", may share a text.
    """
    try:
        codes, levels = pd.factorize(column)
    except (TypeError, NotImplementedError) as error:  # the latter of Arrow's lists
        name = type(column.dropna()[:1].tolist()[0]).__name__
        raise TypeError(
            f"Column {column.name!r} holds values of the type {name}, which "
            "cannot be categories; drop it, or make a column of each part."
        ) from error
    return codes, [text_of(level) for level in levels]


def text_of(level: Any) -> str:
    """Return a level as text: 1, 1.0 and 1.00 are "1"; aware datetimes are in UTC."""
    if isinstance(level, float):
        is_integer = level.is_integer()
    elif isinstance(level, Decimal):
        is_integer = level.is_finite() and level == level.to_integral_value()
    elif isinstance(level, pd.Timestamp) and level.tz is not None:
        return str(level.tz_convert("UTC"))
    else:
        return str(level)
    return str(int(level) if is_integer else level)


def learn_categories(
    column: pd.Series, max_categories: int | None
) -> pd.CategoricalDtype:
    """Learn the categories of a column of training values.

    Returns the declared categories of a categorical column, if they are at most
    `max_categories` (None: any number) and all have one type. Otherwise the distinct
    values as text, sorted; of too many, the most frequent and a last category `RARE`
    for all others.
    """
    declared = column.dtype
    if isinstance(declared, pd.CategoricalDtype) and (
        (max_categories is None or len(declared.categories) <= max_categories)
        # Mixed types do not sort, and 1 and "1" have the same text.
        and not pd.api.types.infer_dtype(declared.categories).startswith("mixed")
    ):
        # Estimators of scikit-learn cannot sort pd.NA among text.
        if getattr(declared.categories.dtype, "na_value", None) is pd.NA:
            objects = declared.categories.astype(object)
            return pd.CategoricalDtype(objects, declared.ordered)
        return declared
    counts = pd.Series(as_levels(column), dtype=object).value_counts().sort_index()
    levels = counts.index.tolist()
    if max_categories is not None and len(levels) > max_categories:
        # Stable after sorting by level: equally frequent levels enter alphabetically.
        by_count = counts.sort_values(ascending=False, kind="stable").index
        levels = [*sorted(by_count[: max_categories - 1]), RARE]
    return pd.CategoricalDtype(pd.Index(levels, dtype=object))


def to_category(column: pd.Series, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Code a column by given categories.

    A level outside the categories becomes `RARE` if that is a category, and is missing
    otherwise.

    Examples
    --------
    >>> import pandas as pd
    >>> to_category(pd.Series(["b", "x", "a"]), pd.CategoricalDtype(["a", "b"]))
    ['b', NaN, 'a']
    Categories (2, ...): ['a', 'b']
    """
    codes, texts = coded_levels(column)
    known = {text_of(level): i for i, level in enumerate(dtype.categories)}
    place = [known.get(text, known.get(RARE, -1)) for text in texts]
    codes = look_up(np.array(place, dtype="int64"), codes)
    return pd.Categorical.from_codes(codes, dtype=dtype)
