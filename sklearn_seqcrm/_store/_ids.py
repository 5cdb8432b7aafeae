"""Ids of customers and levels of categories: which are equal, and of which type.

Two different ids must never become equal, and ids that can never match must not be
compared silently. So ids are converted to an exact form (`exact_ids`):

=====================================  =================================================
ids of the user                        exact form
=====================================  =================================================
integers of any width, whole floats,   int64; uint64 or Python's integers where needed
whole Decimals
fractions                              float64; Decimals stay
whole floats from 2**53 on             refused: a float has no unique integer there
text, booleans, dates, bytes, UUIDs    as they are
datetimes                              as they are; aware ones in UTC
objects of several types               refused, numbers aside
=====================================  =================================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Number, Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_complex_dtype,
    is_datetime64_dtype,
    is_integer_dtype,
    is_numeric_dtype,
    is_object_dtype,
    is_string_dtype,
)

EXACT = 2**53  # up to here, a float can hold every integer

# How to convert ids of the first type to the second, where there is a good way.
_CONVERSIONS = {
    ("bytes", "text"): ".str.decode('utf-8') makes text of bytes",
    ("text", "bytes"): ".str.encode('utf-8') makes bytes of text",
    ("text", "UUID"): ".map(uuid.UUID) makes UUIDs of text",
    ("naive datetime", "date"): ".dt.date makes dates of datetimes",
    ("number", "text"): (
        ".astype(str) makes text of integers (and of floats '7.0', not '7'); ids with "
        "leading zeros have lost them, and need pd.read_csv(..., dtype={'id': str})"
    ),
    ("text", "number"): ".astype('int64') makes numbers of text",
    ("boolean", "number"): ".astype('int64') makes numbers of booleans",
    ("text", "naive datetime"): "pd.to_datetime reads dates written as text",
    ("date", "naive datetime"): "pd.to_datetime makes datetimes of dates",
    ("naive datetime", "aware datetime"): (
        ".dt.tz_localize('UTC'), or the zone that they were recorded in, makes aware "
        "datetimes of naive ones"
    ),
    ("aware datetime", "naive datetime"): (
        ".dt.tz_convert(None) makes naive datetimes of aware ones"
    ),
}

# Names in pandas of objects that may be numbers of one type or of several.
_NUMBERS_OR_MIXED = (
    "integer",
    "decimal",
    "floating",
    "mixed-integer-float",
    "mixed-integer",
    "mixed",
)


def exact_ids(ids: pd.Index, what: str) -> pd.Index:
    """Return ids of any type, without missing values, in the exact form of their type.

    Whole numbers become int64 (uint64 or Python's integers where needed), aware
    datetimes are in UTC, and objects have their own dtype if pandas has it.

    Errors name the ids `what`: a TypeError if they mix several types, numbers aside, or
    are complex numbers; a ValueError if floats are too large for exact whole numbers,
    or infinite.
    """
    if isinstance(ids.dtype, pd.ArrowDtype):
        ids = pd.Index(ids.to_numpy(dtype=object), dtype=object)
    if ids.dtype == object:
        ids = _from_objects(ids, what)
    elif getattr(ids.dtype, "storage", None) == "python":  # objects of pandas
        check_unicode(ids, what)
    if isinstance(ids.dtype, pd.DatetimeTZDtype):
        return ids.tz_convert("UTC")  # type: ignore[attr-defined]
    if is_bool_dtype(ids.dtype):
        return pd.Index(ids.to_numpy(dtype=bool))
    if is_integer_dtype(ids.dtype):
        return _small_integers(ids)
    if is_complex_dtype(ids.dtype):
        raise TypeError(
            f"{what} are complex numbers, which have no order; make them text, for "
            "example with .astype(str)."
        )
    if is_numeric_dtype(ids.dtype):
        return _from_floats(ids, what)
    return ids


def id_type(ids: pd.Index) -> str:
    """Return the type of ids in exact form, at least one; two types never match.

    It is "number", "text", "boolean", "naive datetime", "aware datetime", or the name
    of another type.
    """
    dtype: Any = ids.dtype
    if is_object_dtype(dtype):
        # The index caches it, and so checks all its values only once.
        if ids.inferred_type == "string":
            return "text"
        if isinstance(ids[0], Number):
            return "number"
        return type(ids[0]).__name__
    if is_bool_dtype(dtype):
        return "boolean"
    if is_numeric_dtype(dtype):
        return "number"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "aware datetime"
    if is_datetime64_dtype(dtype):
        return "naive datetime"
    return "text" if is_string_dtype(dtype) else str(dtype)


def _name_of_dtype(ids: pd.Index) -> str:
    """Return the dtype of ids as an error names it; of objects, the first's type."""
    if ids.dtype == object and len(ids):
        return type(ids[0]).__name__
    return str(ids.dtype)


def check_same_id_type(ids: pd.Index, known: pd.Index, what: str, whose: str) -> None:
    """Raise a TypeError if ids are of another type than known ids, both in exact form.

    The error names them `what` and `whose`.
    """
    alike = ids.dtype == known.dtype and not is_object_dtype(ids.dtype)
    if alike or not len(ids) or not len(known):
        return
    types = id_type(ids), id_type(known)
    if types[0] != types[1]:
        advice = _conversion_advice(*types)
        raise TypeError(
            f"{what} are of the type {_name_of_dtype(ids)}, but {whose} of the type "
            f"{_name_of_dtype(known)}, so that no id would match; {advice}."
        )


def find_ids(ids: pd.Index, known: pd.Index) -> np.ndarray:
    """Return the position of each id among known ids, -1 where it is unknown.

    Both are in exact form and of the same type, and known ids are different; positions
    are (n,), int64.
    """
    if ids.dtype == known.dtype or not is_numeric_dtype(known.dtype):
        return known.get_indexer(ids).astype("int64")
    if not is_numeric_dtype(ids.dtype):
        # The ids are Python's integers or Decimals, which compare exactly as objects.
        return known.astype(object).get_indexer(ids).astype("int64")
    # Cast the ids, not the known ones, whose hash table is built only once.
    cast, fits = _cast(ids.to_numpy(), known.dtype)
    return np.where(fits, known.get_indexer(pd.Index(cast)), -1).astype("int64")


def hashed_ids(ids: pd.Index) -> np.ndarray:
    """Return negative numbers, (n,), that identify customers who are not in a log.

    Ids are in exact form. Numbers are below -1, and equal for equal ids in any process
    and for any log. They are hashes of 62 bits: among a million customers, the
    probability that two share one is 1e-7.
    """
    places, distinct = pd.factorize(ids)
    texts = np.array([_text_of_id(one) for one in distinct.tolist()], dtype=object)
    hashes = pd.util.hash_array(texts, categorize=False) >> np.uint64(2)
    return (-2 - hashes.astype("int64"))[places]


def _text_of_id(one: Any) -> str:
    """Return an id as text; equal numbers of any types have the same text."""
    if isinstance(one, tuple):  # ("a", np.int64(8)) is equal to ("a", 8)
        parts = (part.item() if isinstance(part, np.generic) else part for part in one)
        return str(tuple(parts))
    if isinstance(one, Number) and not isinstance(one, int):
        return str(Fraction(one if isinstance(one, Decimal) else float(one)))  # type: ignore[arg-type]
    return str(one)


def join_ids(parts: Mapping[str, pd.Index], what: str) -> pd.Index:
    """Concatenate ids of several logs, exactly.

    `parts` are ids in exact form, by the name of their origin; so is the result, in
    which an id of two parts is repeated. Raises a TypeError, which names the ids
    `what`, if those of two parts are of different types.
    """
    filled = {name: ids for name, ids in parts.items() if len(ids)}
    if not filled:
        return next(iter(parts.values()))
    types = [id_type(ids) for ids in filled.values()]
    other = next((one for one in types if one != types[0]), None)
    if other is not None:
        dtypes = {name: _name_of_dtype(ids) for name, ids in filled.items()}
        raise TypeError(
            f"The {what} have the types {dtypes}, so that no id would match; "
            f"{_conversion_advice(other, types[0])}."
        )
    first, *others = filled.values()
    if types[0] == "number" and any(ids.dtype != first.dtype for ids in others):
        # Python's numbers compare exactly; NumPy would convert the integers to floats.
        objects = [value for ids in filled.values() for value in ids.tolist()]
        return exact_ids(pd.Index(objects, dtype=object), what)
    return first.append(others)


def _conversion_advice(given: str, wanted: str) -> str:
    """Return advice on how to convert ids of one type to another."""
    if (given, wanted) in _CONVERSIONS:
        return f"cast them: {_CONVERSIONS[given, wanted]}"
    if wanted == "text":
        return "cast them: .astype(str) makes text of them"
    return "cast one of them with astype"


def _from_objects(ids: pd.Index, what: str) -> pd.Index:
    """Convert ids that are Python objects, as database drivers return them."""
    if ids.inferred_type in _NUMBERS_OR_MIXED:
        types = {type(value) for value in ids}
        if all(_is_number(one) for one in types):
            return _from_number_objects(ids, types, what)
        if len(types) > 1:
            names = ", ".join(sorted(one.__name__ for one in types))
            raise TypeError(
                f"{what} mix values of the types {names}; make them one type, for "
                "example with .astype(str)."
            )
    if ids.inferred_type == "datetime":
        zones = {value.tzinfo is None for value in ids}
        return pd.to_datetime(ids, utc=zones == {False}) if len(zones) == 1 else ids
    if ids.inferred_type == "string":
        check_unicode(ids, what)
    return ids.infer_objects()


def check_unicode(texts: Collection[str], what: str) -> None:
    """Raise a ValueError for text that Arrow and files, being UTF-8, cannot hold.

    None of the texts is missing. The error names them `what`, in the plural.
    """
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        halves = error.object[error.start : error.end]
        text = next(one for one in texts if halves[0] in one)
        raise ValueError(
            f"{what} have the text {text!r}, which is no valid Unicode: it has half of "
            "a surrogate pair. Decode it with errors='replace'."
        ) from None


def _is_number(one: type) -> bool:
    """Return whether a type is one of real numbers."""
    return issubclass(one, Real | Decimal) and one is not bool


def _from_number_objects(ids: pd.Index, types: set[type], what: str) -> pd.Index:
    """Convert numbers to a dtype of NumPy; keep objects if none holds all exactly."""
    if types == {float}:
        return pd.Index(ids.to_numpy(dtype="float64"))
    is_float = {one: issubclass(one, float | np.floating) for one in types}
    for one in (one for one in types if is_float[one]):
        floats = [value for value in ids if type(value) is one]
        _refuse_inexact(np.array(floats, dtype=one), what)
    if Decimal in types:
        infinite = [isinstance(v, Decimal) and v.is_infinite() for v in ids]
        _refuse_infinite(sum(infinite), what)
    numbers = pd.Index([_whole(value) for value in ids], dtype=object)
    # Beside fractions, pandas would convert integers of any size to floats.
    if any(is_float.values()) and any(not -EXACT <= one <= EXACT for one in numbers):
        return numbers
    return numbers.infer_objects()


def _whole(value: Any) -> Any:
    """Return a whole Decimal or float as an integer, any other value as it is."""
    if isinstance(value, Decimal):
        # `to_integral_value` ignores the precision of the decimal context.
        is_whole = value == value.to_integral_value()
    else:
        is_whole = isinstance(value, float | np.floating) and value.is_integer()
    return int(value) if is_whole else value


def _small_integers(ids: pd.Index) -> pd.Index:
    """Return integers as int64, or uint64 where they are too large for it."""
    if ids.dtype == np.int64:
        return ids
    unsigned = str(ids.dtype).lower() == "uint64"
    values = ids.to_numpy(dtype="uint64" if unsigned else "int64")
    if unsigned and (not len(values) or values.max() <= np.iinfo("int64").max):
        values = values.astype("int64")
    return pd.Index(values)


def _from_floats(ids: pd.Index, what: str) -> pd.Index:
    """Return floats as int64 if all are whole, otherwise as float64."""
    dtype: Any = ids.dtype
    narrow = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # also of pandas' Float64
    values = ids.to_numpy(dtype=narrow)
    _refuse_inexact(values, what)
    if (values != np.floor(values)).any():
        return pd.Index(values.astype("float64"))
    return pd.Index(values.astype("int64"))


def _refuse_inexact(values: np.ndarray, what: str) -> None:
    """Raise a ValueError if floats are too large to stand for one integer each."""
    _refuse_infinite(int(np.isinf(values).sum()), what)
    end = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    n_bad = int((np.abs(values) >= end).sum())
    if n_bad:
        raise ValueError(
            f"{what} are of the type {values.dtype}, in which whole numbers from "
            f"{end:,.0f} on are not exact, and {n_bad} of them are so large; read them "
            "as integers or text to begin with."
        )


def _refuse_infinite(n_bad: int, what: str) -> None:
    if n_bad:
        raise ValueError(
            f"{what} hold {n_bad} infinite numbers, which do not identify anything; "
            "read them as integers or text to begin with, or drop "
            "those rows."
        )


def _cast(values: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cast numbers to another dtype, and return which of them it holds exactly."""
    if values.dtype.kind == "f":
        fits = (values == np.floor(values)) & (np.abs(values) <= EXACT)
    else:
        fits = values <= min(_highest(dtype), _highest(values.dtype))
    if values.dtype.kind != "u":
        fits &= values >= (0 if dtype.kind == "u" else -_highest(dtype))
    return np.where(fits, values, 0).astype(dtype), fits


def _highest(dtype: Any) -> int:
    """Return the largest whole number up to which a dtype holds all of them."""
    return EXACT if dtype.kind == "f" else int(np.iinfo(dtype).max)
