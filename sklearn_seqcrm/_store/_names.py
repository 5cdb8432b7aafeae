"""Names of columns that the library adds to tables of users.

There are two kinds, and neither ever takes the place of a column of the user:

- names that stand by themselves (``history``, ``n_events``, ``row``) are parameters,
  and `refuse_taken` raises an error before any work if the user's table has them;
- names made of the user's own names (``amount_missing``, ``log_prob_<field>``) get
  underscores behind them from `unlike`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


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
