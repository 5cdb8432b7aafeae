"""Warning about text fields of a new log that are numbers: 12,50 or €12.50."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from typing import NamedTuple

from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import Column

# Ways to read numbers. Those like 1,024 match both of the first; 0,250 and 12,5 are not
# thousands, and 1,024,000 and 1,024.50 are nothing else.
_NUMBERS = {
    "decimal": re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?"),
    "thousands": re.compile(r"[-+]?(0|[1-9]\d{0,2}(,\d{3})*)(\.\d+)?"),
    "point": re.compile(r"[-+]?\d*(\.\d+)?"),
}
_MARKS = {"decimal": ",", "thousands": ",", "point": "."}
# A currency or percent sign, or a currency code beside a number with decimals.
_SIGN = re.compile(
    r"[€$£¥₹%]|(?<=[.,]\d\d)\s?[A-Z]{3}$|^[A-Z]{3}\s?(?=[-+\d.,]*[.,]\d\d$)"
)
# Points that may separate thousands, as in 1.024.
_GROUPS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")
# Pairs of sizes, such as 28,30: waist and length. Prices from 10 to 99 nearly always
# have some cents below 10 or above 59, such as 12,00 and 19,99.
_PAIR = re.compile(r"[1-9]\d,[1-5]\d")
# Sizes such as 38,5 have fewer levels than prices, and versions such as 2.10 too.
_FEWEST, _FEWEST_WITH_POINT = 20, 100
_SOME = 1000  # levels that are looked at
_ALMOST_ALL, _MOST = 0.9, 0.5  # are numbers; have a comma, a point or a sign


class _Look(NamedTuple):
    """What the levels of a field look like, and how they become numbers."""

    what: str
    how: str


_DECIMAL = "pd.read_csv(..., decimal=',')"
_THOUSANDS = "pd.read_csv(..., thousands=',')"
_LOOKS = {
    ("decimal",): _Look("decimal commas", f"read the file by {_DECIMAL}"),
    ("thousands",): _Look("commas between thousands", f"read the file by {_THOUSANDS}"),
    ("decimal", "thousands"): _Look(
        "commas",
        f"read the file by {_DECIMAL} if the commas are decimal commas, or by "
        f"{_THOUSANDS} if they separate thousands",
    ),
    ("point",): _Look("decimal points", "use pd.to_numeric"),
    ("groups",): _Look(
        "points",
        "use pd.to_numeric, or read the file by pd.read_csv(..., thousands='.') if the "
        "points separate thousands",
    ),
}


def warn_numbers_as_text(
    columns: Mapping[str, Column], declared: Collection[str]
) -> None:
    """Warn if levels of fields look like numbers with commas, points or signs.

    Parameters
    ----------
    columns : mapping of str to Column
        The fields of the log.
    declared : collection of str
        Fields that the user declared categorical.
    """
    found: dict[_Look, dict[str, str]] = {}
    for name, column in columns.items():
        if name not in declared and (match := _look_of(name, column)) is not None:
            look, example = match
            found.setdefault(look, {})[name] = example
    categorical = [*declared, *(name for fields in found.values() for name in fields)]
    for look, fields in found.items():
        warnings.warn(
            f"The fields {list(fields)} are text that looks like numbers with "
            f"{look.what}, such as {', '.join(map(repr, fields.values()))}, and are "
            f"stored as categories. To make numbers of them, {look.how}; "
            f"categorical={categorical} keeps them as categories.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _look_of(name: str, column: Column) -> tuple[_Look, str] | None:
    """Return what the levels of a field look like, and one of them; None: text."""
    levels = column.categories
    if levels is None or len(levels) < _FEWEST or not isinstance(levels[0], str):
        return None
    some = [one.strip() for one in levels[:: len(levels) // _SOME + 1]]
    with_sign = [one for one in some if _SIGN.search(one)]
    if len(with_sign) > _MOST * len(some):
        numbers = [_SIGN.sub("", one).strip() for one in some]
        ways = [way for way in _NUMBERS if _numbers(way, numbers)]
        return (_signed(name, ways), with_sign[0]) if ways else None
    marked = {way: _with_mark(way, _numbers(way, some)) for way in _NUMBERS}
    ways = [way for way, found in marked.items() if len(found) > _MOST * len(some)]
    if not ways or (ways == ["point"] and len(levels) < _FEWEST_WITH_POINT):
        return None
    example = marked[ways[0]][0]
    if ways == ["point"] and all(map(_GROUPS.fullmatch, marked["point"])):
        ways = ["groups"]
    return _LOOKS[tuple(ways)], example


def _numbers(way: str, texts: list[str]) -> list[str]:
    """Return the texts that are numbers, if these are almost all."""
    found = [one for one in texts if _NUMBERS[way].fullmatch(one)]
    return found if len(found) >= _ALMOST_ALL * len(texts) else []


def _with_mark(way: str, numbers: list[str]) -> list[str]:
    """Return the numbers with a comma, or a point; none if all of them are pairs."""
    found = [one for one in numbers if _MARKS[way] in one]
    return [] if all(map(_PAIR.fullmatch, found)) else found


def _signed(name: str, ways: list[str]) -> _Look:
    """Return the look of numbers with signs, which can be read in some ways."""
    digits, to_point = "[^0-9.-]", ""
    if ways == ["decimal"]:
        digits, to_point = "[^0-9,-]", ".str.replace(',', '.')"
    clean = f"events[{name!r}].str.replace('{digits}', '', regex=True){to_point}"
    return _Look("currency or percent signs", f"use pd.to_numeric({clean})")
