"""Parameters that take a list: text is one value, and never a list of characters."""

from __future__ import annotations

from typing import Any

from pandas.api.types import is_list_like


def one_or_many(values: Any, option: str) -> list[Any]:
    """Return the values of a parameter that takes one or several.

    Parameters
    ----------
    values : object
        One value, such as a text or a number, or any iterable of values.
    option : str
        Name of the parameter.

    Returns
    -------
    list
        All values.

    Raises
    ------
    TypeError
        If it is a table, whose iteration gives the names of its columns.

    Examples
    --------
    >>> one_or_many("ab", "kinds"), one_or_many(("a", "b"), "kinds")
    (['ab'], ['a', 'b'])
    """
    if getattr(values, "ndim", 1) > 1:
        raise TypeError(
            f"{option} must be one value or a list of them; got a "
            f"{type(values).__name__} of {values.ndim} dimensions. Give one column."
        )
    if not is_list_like(values):
        return [values]
    return values.to_pylist() if hasattr(values, "to_pylist") else list(values)


def many(values: Any, option: str, of: str) -> list[Any]:
    """Return the values of a parameter that takes a list.

    Parameters
    ----------
    values : object
        Any iterable but a text.
    option : str
        Name of the parameter.
    of : str
        What the list is of, for errors.

    Returns
    -------
    list
        All values.

    Raises
    ------
    TypeError
        If it is one value.
    """
    if not is_list_like(values):
        what = "text" if isinstance(values, str) else type(values).__name__
        raise TypeError(
            f"{option} must be a list of {of}; got the {what} {values!r}. Write "
            f"[{values!r}] for one."
        )
    return one_or_many(values, option)
