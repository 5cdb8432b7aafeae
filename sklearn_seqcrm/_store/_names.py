"""Names and lists that users pass: parsed, and kept apart from reserved names.

There are two kinds, and neither ever takes the place of a column of the user:

- names that stand by themselves (``history``, ``n_events``, ``row``) are parameters,
  and `refuse_taken` raises an error before any work if the user's table has them;
- names made of the user's own names (``amount_missing``, ``log_prob_<field>``) get
  underscores behind them from `unlike`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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


def unlike(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Make names differ from one another, and from those that are taken.

    Parameters
    ----------
    names : iterable of str
        Names as they are wanted, some of which may be there twice.
    taken : collection of str, default=()
        Names that stay as they are.

    Returns
    -------
    list of str
        The names, with underscores behind those that would be there twice.

    Examples
    --------
    >>> unlike(["time_gap", "hour_sin1"], ["amount", "time_gap"])
    ['time_gap_', 'hour_sin1']
    """
    used, found = set(taken), []
    for name in names:
        while name in used:
            name = f"{name}_"
        used.add(name)
        found.append(name)
    return found


def refuse_taken(name: str, taken: Collection[str], whose: str, option: str) -> None:
    """Raise a ValueError if a column cannot be added under its name.

    Parameters
    ----------
    name : str
        Name of the new column.
    taken : collection of str
        Names of the columns beside it.
    whose : str
        How the error names what has these columns.
    option : str
        The parameter that gives the new column another name.

    Examples
    --------
    >>> refuse_taken("row", ["row", "amount"], "The log", "row")
    Traceback (most recent call last):
    ...
    ValueError: The log has a column 'row' already; choose another name with row=...
    """
    if name in taken:
        raise ValueError(
            f"{whose} has a column {name!r} already; choose another name with "
            f"{option}=..."
        )
