"""Warning about text fields of a new log that are numbers with decimal commas."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping

from sklearn_seqcrm._store import Column

# 12,50 or 1.234,5 or 7: sizes such as 38,5 have fewer levels than prices.
_NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_FEWEST, _SOME = 20, 1000  # levels: fewer are not conclusive, more are sampled
_ALMOST_ALL, _MOST = 0.9, 0.5  # are numbers; have a comma


def warn_decimal_commas(
    columns: Mapping[str, Column], declared: Collection[str], stacklevel: int = 3
) -> None:
    """Warn if levels of fields look like numbers with decimal commas.

    Parameters
    ----------
    columns : mapping of str to Column
        The fields of the log.
    declared : collection of str
        Fields that the user declared categorical.
    stacklevel : int, default=3
        That of `warnings.warn`.
    """
    found = {
        name: example
        for name, column in columns.items()
        if name not in declared and (example := _decimal_comma(column))
    }
    if found:
        examples = ", ".join(map(repr, found.values()))
        warnings.warn(
            f"The fields {list(found)} are text that looks like numbers with decimal "
            f"commas, such as {examples}, and are stored as categories. To make "
            "numbers of them, read the file by pd.read_csv(..., decimal=','); "
            f"categorical={list(found)} keeps them as categories.",
            UserWarning,
            stacklevel=stacklevel,
        )


def _decimal_comma(column: Column) -> str | None:
    """Return a level that is a number with a decimal comma, if most levels are."""
    levels = column.categories
    if levels is None or len(levels) < _FEWEST or not isinstance(levels[0], str):
        return None
    some = levels[:: len(levels) // _SOME + 1].tolist()
    numbers = [one for one in some if _NUMBER.fullmatch(one.strip())]
    with_comma = [one for one in numbers if "," in one]
    if len(numbers) < _ALMOST_ALL * len(some) or len(with_comma) <= _MOST * len(some):
        return None
    return with_comma[0]
