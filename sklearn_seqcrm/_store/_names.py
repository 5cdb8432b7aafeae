"""Names that differ from one another."""

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
