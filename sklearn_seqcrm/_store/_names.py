"""Check lists and names that users pass, and names of new columns.

A new column never replaces a column of the user:

- fixed names (``history``, ``n_events``, ``row``) are parameters, and
  `check_name_free` raises an error before any work if the user's table has one;
- names derived from the user's names (``amount_missing``, ``log_prob_<field>``) get
  underscores appended by `unique_names`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from pandas.api.types import is_list_like


def as_list(values: Any, option: str) -> list[Any]:
    """Return the values of a parameter that takes one value or several as a list.

    Several are any iterable but text. Raises a TypeError for a table: iterating over it
    would give the names of its columns. `option` is the name of the parameter.

    Examples
    --------
    >>> as_list("ab", "kinds"), as_list(("a", "b"), "kinds")
    (['ab'], ['a', 'b'])
    """
    # Arrays, Series and tensors have a dimension; lists count as one-dimensional.
    if getattr(values, "ndim", 1) > 1:
        raise TypeError(
            f"{option} must be one value or a list of them; got a "
            f"{type(values).__name__} of {values.ndim} dimensions. Give one column."
        )
    if not is_list_like(values):
        return [values]
    # Arrow arrays iterate over scalars of their own type, which compare with nothing.
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def check_list(values: Any, option: str, of: str) -> list[Any]:
    """Return the values of a parameter that takes a list; refuse a single value.

    The TypeError names the parameter `option`, and says that it is a list `of` these.
    """
    if not is_list_like(values):
        what = "text" if isinstance(values, str) else type(values).__name__
        raise TypeError(
            f"{option} must be a list of {of}; got the {what} {values!r}. Write "
            f"[{values!r}] for one."
        )
    return as_list(values, option)


def check_flag(value: Any, option: str) -> None:
    """Raise a TypeError for a parameter `option` that is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{option} must be True or False; got {value!r}.")


def unique_names(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Return unique names, different from those that are taken.

    Underscores are appended where a name would repeat another.

    Examples
    --------
    >>> unique_names(
    ...     ["interarrival_time", "hour_sin1"], ["amount", "interarrival_time"]
    ... )
    ['interarrival_time_', 'hour_sin1']
    """
    used, found = set(taken), []
    # New names are in use for those that follow: ["a", "a"] becomes ["a", "a_"].
    for name in names:
        while name in used:
            name = f"{name}_"
        used.add(name)
        found.append(name)
    return found


def refuse_values(name: Any, role: str, what: str) -> None:
    """Raise a TypeError if values are given in place of the name of a column."""
    if hasattr(name, "__array__") and not np.isscalar(name):
        raise TypeError(
            f"{role} must be the name of a column of {what}, such as 'id'; got values "
            f"of the type {type(name).__name__}."
        )


def plain_text(name: Any) -> Any:
    """Return text as `str`: that of NumPy or of an enumeration has another repr.

    Anything but text is returned as it is.

    Examples
    --------
    >>> plain_text(np.str_("day")), plain_text(7)
    ('day', 7)
    """
    return str.__str__(name) if isinstance(name, str) else name


def check_name_free(name: str, taken: Collection[str], whose: str, option: str) -> None:
    """Raise an error if the name of a new column is taken, or is no text.

    `whose` is how the error names the table or log with the columns `taken`, and
    `option` is the parameter that sets the name.

    Examples
    --------
    >>> check_name_free("row", ["row", "amount"], "The log", "row")
    Traceback (most recent call last):
    ...
    ValueError: The log has a column 'row' already; choose another name with row=...
    """
    if not isinstance(name, str):
        raise TypeError(f"{option} must be text; got {name!r}.")
    if name in taken:
        raise ValueError(
            f"{whose} has a column {name!r} already; choose another name with "
            f"{option}=..."
        )
