"""Ids of customers, and levels of categories: which are equal, and of which type.

Two ids that differ must never become one, and ids that can never match must not be
compared without a word. So numbers stay exact: whole numbers are integers of any
size, whatever they were stored as (Decimals of a warehouse, floats that a missing
value made of integers), and a float that cannot tell neighbours apart is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
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

# How to make ids of the second kind of those of the first, where there is a good way.
_WAYS = {
    ("bytes", "text"): ".str.decode('utf-8') makes text of bytes",
    ("text", "bytes"): ".str.encode('utf-8') makes bytes of text",
    ("text", "UUID"): ".map(uuid.UUID) makes UUIDs of text",
    ("naive datetime", "date"): ".dt.date makes dates of datetimes",
    ("number", "text"): (
        ".astype(str) makes text of integers (and of floats '7.0', not '7')"
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

_EXACT = 2**53  # up to here, every integer is a float as well

# What pandas calls objects that may be numbers of any type, or of several.
_NUMBERS_OR_MIXED = (
    "integer",
    "decimal",
    "floating",
    "mixed-integer-float",
    "mixed-integer",
    "mixed",
)


def exact_ids(ids: pd.Index, what: str) -> pd.Index:
    """Ids in the one form that every id of their kind has.

    Parameters
    ----------
    ids : Index of shape (n,)
        Ids of any type, without missing values.
    what : str
        How an error names them.

    Returns
    -------
    Index of shape (n,)
        Whole numbers as int64 (uint64, or Python's integers, where they need it), aware
        datetimes as UTC, and values kept as objects as their own type if pandas has it.

    Raises
    ------
    TypeError
        If ids of several types are mixed, numbers aside, or are complex numbers.
    ValueError
        If whole numbers are floats too large to tell them from their neighbours, or
        numbers are infinite.
    """
    if isinstance(ids.dtype, pd.ArrowDtype):
        ids = pd.Index(ids.to_numpy(dtype=object), dtype=object)
    if ids.dtype == object:
        ids = _unboxed(ids, what)
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


def kind_of_ids(ids: pd.Index) -> str:
    """What kind of id these are, in exact form; two kinds never match.

    Parameters
    ----------
    ids : Index of shape (n,)
        What `exact_ids` returned, at least one.

    Returns
    -------
    str
        ``"number"``, ``"text"``, ``"boolean"``, ``"naive datetime"``, ``"aware
        datetime"``, or the name of another type.
    """
    dtype: Any = ids.dtype
    if is_object_dtype(dtype):
        # Remembered by the index, which asks all its values only once.
        kind = ids.inferred_type
        if kind == "string":
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


def type_of_ids(ids: pd.Index) -> str:
    """The type of ids as an error names it: of objects, that of the first."""
    if ids.dtype == object and len(ids):
        return type(ids[0]).__name__
    return str(ids.dtype)


def refuse_other_kind(ids: pd.Index, known: pd.Index, what: str, whose: str) -> None:
    """Raise a TypeError if ids are of another kind than those that are known.

    Parameters
    ----------
    ids, known : Index
        Ids in exact form.
    what, whose : str
        How the error names the two.
    """
    alike = ids.dtype == known.dtype and not is_object_dtype(ids.dtype)
    if alike or not len(ids) or not len(known):
        return
    kinds = kind_of_ids(ids), kind_of_ids(known)
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"{what} are of the type {type_of_ids(ids)}, but {whose} of the type "
            f"{type_of_ids(known)}, so that none would be found; {_way_out(*kinds)}."
        )


def find_ids(ids: pd.Index, known: pd.Index) -> np.ndarray:
    """Position of each id among those that are known, -1 where it is not.

    Parameters
    ----------
    ids : Index of shape (n,)
        Ids in exact form.
    known : Index of shape (n_known,)
        Different ids of the same kind in exact form.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions in `known`.
    """
    if ids.dtype == known.dtype or not is_numeric_dtype(known.dtype):
        return known.get_indexer(ids).astype("int64")
    if not is_numeric_dtype(ids.dtype):
        # Integers of any size, or fractions as Decimals, beside NumPy's numbers.
        return known.astype(object).get_indexer(ids).astype("int64")
    # Casting the ids, not what is known: its hash table is built only once.
    cast, fits = _cast(ids.to_numpy(), known.dtype)
    return np.where(fits, known.get_indexer(pd.Index(cast)), -1).astype("int64")


def hashed_ids(ids: pd.Index) -> np.ndarray:
    """Numbers by which customers that a log does not know can be told apart.

    Parameters
    ----------
    ids : Index of shape (n,)
        Ids in exact form.

    Returns
    -------
    ndarray of shape (n,), int64
        Below -1, and equal for equal ids, in any process and of any log. They are
        hashes of 62 bits: among a million customers, two share one with a probability
        of 1e-7.
    """
    places, distinct = pd.factorize(ids)
    texts = np.array([_text_of_id(one) for one in distinct.tolist()], dtype=object)
    hashes = pd.util.hash_array(texts, categorize=False) >> np.uint64(2)
    return (-2 - hashes.astype("int64"))[places]


def _text_of_id(one: Any) -> str:
    """An id as text; numbers that are equal have the same, whatever their types."""
    if isinstance(one, Number) and not isinstance(one, int):
        return str(Fraction(one if isinstance(one, Decimal) else float(one)))  # type: ignore[arg-type]
    return str(one)


def join_ids(parts: Mapping[str, pd.Index], what: str) -> pd.Index:
    """Put ids of several logs behind one another, exactly.

    Parameters
    ----------
    parts : mapping of str to Index
        Ids in exact form, by the name of where they come from.
    what : str
        How an error names the ids.

    Returns
    -------
    Index of shape (sum of the lengths,)
        All ids in exact form; one that is in two parts is in it twice.

    Raises
    ------
    TypeError
        If ids of two parts are of different kinds.
    """
    filled = {name: ids for name, ids in parts.items() if len(ids)}
    if not filled:
        return next(iter(parts.values()))
    kinds = [kind_of_ids(ids) for ids in filled.values()]
    other = next((kind for kind in kinds if kind != kinds[0]), None)
    if other is not None:
        types = {name: type_of_ids(ids) for name, ids in filled.items()}
        raise TypeError(
            f"The {what} have the types {types}, so that none would be found in both; "
            f"{_way_out(other, kinds[0])}."
        )
    first, *others = filled.values()
    if kinds[0] == "number" and any(ids.dtype != first.dtype for ids in others):
        # Python's numbers compare exactly; NumPy would make floats of the integers.
        objects = [value for ids in filled.values() for value in ids.tolist()]
        return exact_ids(pd.Index(objects, dtype=object), what)
    return first.append(others)


def _way_out(kind: str, wanted: str) -> str:
    """How to make ids of the wanted kind."""
    if (kind, wanted) in _WAYS:
        return f"cast them: {_WAYS[kind, wanted]}"
    if wanted == "text":
        return "cast them: .astype(str) makes text of them"
    return "cast one of them with astype"


def _unboxed(ids: pd.Index, what: str) -> pd.Index:
    """Values kept as Python objects, which is what database drivers do."""
    if ids.inferred_type in _NUMBERS_OR_MIXED:
        types = {type(value) for value in ids}
        if all(_is_number(one) for one in types):
            return _unboxed_numbers(ids, types, what)
        if len(types) > 1:
            names = ", ".join(sorted(one.__name__ for one in types))
            raise TypeError(
                f"{what} mix values of the types {names}; make them one type, for "
                "example with .astype(str)."
            )
    if ids.inferred_type == "datetime":
        zones = {value.tzinfo is None for value in ids}
        return pd.to_datetime(ids, utc=zones == {False}) if len(zones) == 1 else ids
    return ids.infer_objects()


def _is_number(one: type) -> bool:
    """Tell whether a type is one of numbers that can be put in order."""
    return issubclass(one, Real | Decimal) and one is not bool


def _unboxed_numbers(ids: pd.Index, types: set[type], what: str) -> pd.Index:
    """Numbers of one type of NumPy, or as Python's own where none holds all exactly."""
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
    # Beside fractions, pandas would make floats of integers of any size.
    if any(is_float.values()) and any(not -_EXACT <= one <= _EXACT for one in numbers):
        return numbers
    return numbers.infer_objects()


def _whole(value: Any) -> Any:
    """A whole Decimal or float as an integer, which Python does exactly."""
    if isinstance(value, Decimal):
        # Unlike arithmetic, it never rounds to the digits of the decimal context.
        is_whole = value == value.to_integral_value()
    else:
        is_whole = isinstance(value, float | np.floating) and value.is_integer()
    return int(value) if is_whole else value


def _small_integers(ids: pd.Index) -> pd.Index:
    if ids.dtype == np.int64:
        return ids
    unsigned = str(ids.dtype).lower() == "uint64"
    values = ids.to_numpy(dtype="uint64" if unsigned else "int64")
    if unsigned and (not len(values) or values.max() <= np.iinfo("int64").max):
        values = values.astype("int64")
    return pd.Index(values)


def _from_floats(ids: pd.Index, what: str) -> pd.Index:
    """Whole numbers as the integers that they were; fractions stay floats."""
    dtype: Any = ids.dtype
    narrow = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # of Float64, too
    values = ids.to_numpy(dtype=narrow)
    _refuse_inexact(values, what)
    if (values != np.floor(values)).any():
        return pd.Index(values.astype("float64"))
    return pd.Index(values.astype("int64"))


def _refuse_inexact(values: np.ndarray, what: str) -> None:
    """Raise a ValueError if floats may stand for several numbers each."""
    _refuse_infinite(int(np.isinf(values).sum()), what)
    end = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    n_bad = int((np.abs(values) >= end).sum())
    if n_bad:
        raise ValueError(
            f"{what} are of the type {values.dtype}, which cannot tell whole numbers "
            f"from {end:,.0f} on from their neighbours, and {n_bad} of them are so "
            "large; read them as integers or text to begin with."
        )


def _refuse_infinite(n_bad: int, what: str) -> None:
    if n_bad:
        raise ValueError(
            f"{what} hold {n_bad} infinite numbers, which stand for all that were too "
            "large to tell apart; read them as integers or text to begin with, or drop "
            "those rows."
        )


def _cast(values: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in another type, and which of them it can hold as they are."""
    if values.dtype.kind == "f":
        fits = (values == np.floor(values)) & (np.abs(values) <= _EXACT)
    else:
        fits = values <= min(_highest(dtype), _highest(values.dtype))
    if values.dtype.kind != "u":
        fits &= values >= (0 if dtype.kind == "u" else -_highest(dtype))
    return np.where(fits, values, 0).astype(dtype), fits


def _highest(dtype: Any) -> int:
    """The end of the whole numbers that a type of numbers can tell apart."""
    return _EXACT if dtype.kind == "f" else int(np.iinfo(dtype).max)
