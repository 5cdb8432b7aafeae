"""Read numbers or durations as floats; durations become days.

The rule for times in targets and for arguments of metrics:

==========================  ==========================================================
values                      read as
==========================  ==========================================================
numbers, booleans           floats; missing ones are NaN
durations, also as objects  days; NaT becomes NaN
datetimes, text, the rest   a TypeError
==========================  ==========================================================

In targets of a regression, and in arguments of other functions, durations are a
TypeError as well; see `as_quantities` and `as_numbers`.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

DAY = np.timedelta64(1, "D")
_DURATIONS = (datetime.timedelta, np.timedelta64)
_TEXT_HINT = "pd.to_timedelta makes durations of text such as '3 days'"
_NUMBER_HINT = "pd.to_numeric makes numbers of text such as '1.5'"
_DATETIME_HINT = (
    "Subtract a moment from them, such as the cutoff of each row, to get durations"
)
# Types of objects by the names of `type_of_objects`; others may be numbers.
DURATION_OBJECTS = ("timedelta", "timedelta64")
_TYPES_OF_OBJECTS = {
    **dict.fromkeys(DURATION_OBJECTS, "duration"),
    **dict.fromkeys(("datetime", "datetime64", "date"), "datetimes"),
    **dict.fromkeys(("string", "bytes"), "text"),
}


def as_floats(
    values: Any, name: str, *, text_hint: str = _TEXT_HINT
) -> tuple[np.ndarray, bool]:
    """Read numbers or durations as floats.

    `values` may have any shape, and `name` is how an error names them; `text_hint` is
    its advice about text. Returns numbers or days in that shape, NaN where a value is
    missing, and whether there were durations. A TypeError is raised for datetimes, text
    and other objects.

    Examples
    --------
    >>> import pandas as pd
    >>> as_floats(pd.Series(pd.to_timedelta(["36h", None])), "y")
    (array([1.5, nan]), True)
    >>> as_floats([True, None, 3], "y")
    (array([ 1., nan,  3.]), False)
    """
    if issparse(values):
        raise TypeError(f"{name} is sparse; pass an array, {name}.toarray().")
    # Column by column: durations and numbers may stand side by side.
    if isinstance(values, pd.DataFrame):
        columns = [
            as_floats(values.iloc[:, i], name, text_hint=text_hint)
            for i in range(values.shape[1])
        ]
        table = np.column_stack([column for column, _ in columns])
        return table, any(in_days for _, in_days in columns)
    array = values if isinstance(values, pd.Series) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiu":  # without pandas
        return array.astype("float64"), False
    column = _column_of(array)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    found = _type_of(column)
    hints = {"text": text_hint, "datetimes": _DATETIME_HINT}
    if found in hints:
        raise TypeError(
            f"{name} must hold numbers or durations; got {found}, such as "
            f"{column.iloc[:2].tolist()}. {hints[found]}."
        )
    if found == "duration":
        column = _in_days(column)
    try:
        # A cast would drop the imaginary parts and only warn.
        if column.dtype.kind == "c":
            raise TypeError("complex numbers have no order")
        numbers = column.to_numpy(dtype="float64", na_value=np.nan)
    except OverflowError as error:
        raise ValueError(
            f"{name} holds an integer that is too large for a float: {error}."
        ) from error
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold numbers or durations; its type is {column.dtype}, and "
            f"some values are neither ({error})."
        ) from error
    return numbers.reshape(array.shape), found == "duration"


def as_numbers(values: Any, name: str) -> np.ndarray:
    """Read numbers as floats, as `as_floats`; durations are a TypeError, too."""
    try:
        numbers, in_days = as_floats(values, name)
    except TypeError as error:
        array = values if isinstance(values, pd.Series) else np.asarray(values)
        some = _column_of(array).iloc[:2].tolist()
        raise TypeError(
            f"{name} must hold numbers; got values such as {some}."
        ) from error
    if in_days:
        raise TypeError(
            f"{name} must hold numbers; got durations. Divide them by a unit, such as "
            "pd.Timedelta(hours=1)."
        )
    return numbers


def as_quantities(y: Any) -> np.ndarray:
    """Read the targets (n,) or (n, k) of a regression as floats, as `as_floats`.

    Durations are a TypeError, too.
    """
    refuse_survival_targets(y)
    refuse_times(y)
    return as_floats(y, "y", text_hint=_NUMBER_HINT)[0]


def refuse_new_durations(in_days: bool, in_days_before: bool, name: str) -> None:
    """Raise a TypeError for durations after plain numbers, whose unit is unknown.

    After durations, numbers are days. The error names the values by `name`, a plural.
    """
    if in_days and not in_days_before:
        raise TypeError(
            f"{name} are durations, and were plain numbers in fit; divide them by the "
            "unit of those, for example pd.Timedelta(days=1)."
        )


def durations_in_days(column: pd.Series) -> pd.Series:
    """Return durations, also as objects beside numbers, in days; others unchanged."""
    if _type_of(column) == "duration":
        return _in_days(column)
    if column.dtype == object and any(isinstance(one, _DURATIONS) for one in column):
        return column.map(_days_of)
    return column


def refuse_survival_targets(y: Any) -> None:
    """Raise a TypeError for a structured array of events and times."""
    names = getattr(getattr(y, "dtype", None), "names", None)
    if names:
        raise TypeError(
            f"y is a structured array of the fields {list(names)}, the target of "
            "survival models such as LSTMSurvival. Classifiers and regressors learn "
            f"from plain arrays, such as y[{names[0]!r}]."
        )


def refuse_times(y: Any) -> None:
    """Raise a TypeError for durations and datetimes as targets of a regression.

    scikit-learn's metrics convert them to numbers, in a unit that depends on their
    dtype: a mean absolute error of 4 days came out as 3.2e11 and as 3.2e14.
    """
    if isinstance(y, pd.DataFrame):
        columns = [y.iloc[:, i] for i in range(y.shape[1])]
    else:
        array = np.asarray(y)
        # A structured array is a target of survival; its fields are checked there.
        columns = [] if array.dtype.names else [_column_of(array)]
    types = {_type_of(column) for column in columns}
    if "duration" in types:
        raise TypeError(
            "y holds durations, which scikit-learn's metrics would compare as counts "
            "of their own unit. Make numbers of them, such as days: y / "
            "pd.Timedelta(days=1)."
        )
    if "datetimes" in types:
        raise TypeError(
            "y holds datetimes, which are no quantities. Make days of them that count "
            "from a moment: (y - moment) / pd.Timedelta(days=1)."
        )


def type_of_objects(values: pd.Series) -> str:
    """Return the name that pandas infers for the type of objects.

    Missing ones are left out, also pd.NA, which makes some types mixed in pandas:
    periods, and with pandas 2 durations.
    """
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "mixed":
        others = values[[one is not pd.NA for one in values]]
        inferred = pd.api.types.infer_dtype(others, skipna=True)
    return inferred


def _column_of(array: np.ndarray | pd.Series) -> pd.Series:
    """Return all values as one column; objects stay objects."""
    # pandas 2 would convert objects here, and fail on integers beyond int64.
    dtype = object if array.dtype == object else None
    return pd.Series(array if array.ndim == 1 else array.ravel(), dtype=dtype)


def _in_days(durations: pd.Series) -> pd.Series:
    return pd.to_timedelta(durations) / pd.Timedelta(DAY)


def _days_of(one: Any) -> Any:
    """Return a duration in days, and any other value as it is."""
    return pd.Timedelta(one) / pd.Timedelta(DAY) if isinstance(one, _DURATIONS) else one


def _type_of(column: pd.Series) -> str:
    """Return "duration", "datetimes" or "text"; "number" for everything else."""
    dtype = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        return _TYPES_OF_OBJECTS.get(type_of_objects(column), "number")
    if dtype.kind == "m":
        return "duration"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetimes"
    return "text" if pd.api.types.is_string_dtype(dtype) else "number"
