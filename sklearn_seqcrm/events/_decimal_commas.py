"""Warning about text fields of a new log that are numbers with commas."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping

from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import Column

# Ways to read numbers by pandas. Those like 1,024 match both; 0,250 and 12,5 are not
# thousands, and 1,024,000 and 1,024.50 are nothing else.
_NUMBERS = {
    "decimal": re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?"),
    "thousands": re.compile(r"[-+]?(0|[1-9]\d{0,2}(,\d{3})*)(\.\d+)?"),
}
_MEANING = {
    "decimal": "pd.read_csv(..., decimal=',') if the commas are decimal commas",
    "thousands": "pd.read_csv(..., thousands=',') if they separate thousands",
}
# Pairs of sizes, such as 28,30: waist and length. Prices from 10 to 99 nearly always
# have some cents below 10 or above 59, such as 12,00 and 19,99.
_PAIR = re.compile(r"[1-9]\d,[1-5]\d")
# Sizes such as 38,5 have fewer levels than prices.
_FEWEST, _SOME = 20, 1000  # levels: fewer are not conclusive, more are sampled
_ALMOST_ALL, _MOST = 0.9, 0.5  # are numbers; have a comma


def warn_decimal_commas(
    columns: Mapping[str, Column], declared: Collection[str]
) -> None:
    """Warn if levels of fields look like numbers with decimal or thousands commas.

    Parameters
    ----------
    columns : mapping of str to Column
        The fields of the log.
    declared : collection of str
        Fields that the user declared categorical.
    """
    found = {
        name: matches
        for name, column in columns.items()
        if name not in declared and (matches := _numbers_with_commas(column))
    }
    if not found:
        return
    examples = ", ".join(repr(next(iter(one.values()))) for one in found.values())
    ways = [way for way in _NUMBERS if any(way in one for one in found.values())]
    if ways == ["decimal"]:
        what, how = "decimal commas", "pd.read_csv(..., decimal=',')"
    elif ways == ["thousands"]:
        what, how = "commas between thousands", "pd.read_csv(..., thousands=',')"
    else:
        what, how = "commas", ", or by ".join(_MEANING[way] for way in ways)
    warnings.warn(
        f"The fields {list(found)} are text that looks like numbers with {what}, such "
        f"as {examples}, and are stored as categories. To make numbers of them, read "
        f"the file by {how}; categorical={[*declared, *found]} keeps them as "
        "categories.",
        UserWarning,
        stacklevel=user_stacklevel(),
    )


def _numbers_with_commas(column: Column) -> dict[str, str]:
    """Return a level with a comma for each way to read most levels as numbers."""
    levels = column.categories
    if levels is None or len(levels) < _FEWEST or not isinstance(levels[0], str):
        return {}
    some = levels[:: len(levels) // _SOME + 1].tolist()
    found = {}
    for way, pattern in _NUMBERS.items():
        numbers = [one for one in some if pattern.fullmatch(one.strip())]
        with_comma = [one for one in numbers if "," in one]
        if len(numbers) < _ALMOST_ALL * len(some):
            continue
        are_pairs = all(_PAIR.fullmatch(one.strip()) for one in with_comma)
        if len(with_comma) > _MOST * len(some) and not are_pairs:
            found[way] = with_comma[0]
    return found
