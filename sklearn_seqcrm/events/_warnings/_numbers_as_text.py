"""Warning about text fields of a new log that are numbers: 12,50 or 1 049 kr."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Column

# Ways to read numbers. Those like 1,024 match both of the first; 0,250 and 12,5 are not
# thousands, and 1,024,000 and 1,024.50 are nothing else. Numbers have no leading zeros,
# as codes (01.10), times (08.30) and dates (01.12) have.
_NUMBERS = {
    "decimal": re.compile(r"[-+]?(0|[1-9]\d*|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?"),
    "thousands": re.compile(r"[-+]?(0|[1-9]\d{0,2}(,\d{3})*)(\.\d+)?"),
    "point": re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d+)?"),
}
_MARKS = {"decimal": ",", "thousands": ",", "point": "."}
# No letter beside a code: 12.50EUR is an amount, and EURO5 is not. A code right before
# digits needs decimals after them: kr12.50 is an amount, and kr12 may be a level.
_CODE = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|INR|JPY|NOK|PLN|SEK|USD|kr|Kč|zł"
_SIGN = re.compile(
    rf"(?:\b[A-Z]{{1,2}})?\$|[€£¥₹%]"
    rf"|(?<![^\W\d_])(?:{_CODE})(?:(?![^\W_])|(?=[\d\s]+[.,]\d))"
)
# Spaces between thousands, such as the narrow no-break space of French, but not after a
# comma or a point, as in the two numbers 1,5 250. Whole numbers with spaces need a
# sign, because they may be telephone numbers.
_SPACE = re.compile("[ \u00a0\u2009\u202f]")
_SPACED = re.compile(rf"[-+]?[1-9]\d{{0,2}}({_SPACE.pattern}\d{{3}})+([.,]\d+)?")
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
    advice: str


_DECIMAL = "pd.read_csv(..., decimal=',')"
_THOUSANDS = "pd.read_csv(..., thousands=',')"
_TO_NUMERIC = "pd.to_numeric(..., errors='coerce')"
_IF_COMMAS = "if the commas are decimal commas", "if they separate thousands"
_IF_POINTS = "if the points are decimal points", "if they separate thousands"
_LOOKS = {
    ("decimal",): _Look("decimal commas", f"read the file by {_DECIMAL}"),
    ("thousands",): _Look("commas between thousands", f"read the file by {_THOUSANDS}"),
    ("decimal", "thousands"): _Look(
        "commas",
        f"read the file by {_DECIMAL} {_IF_COMMAS[0]}, or by {_THOUSANDS} "
        f"{_IF_COMMAS[1]}",
    ),
    ("point",): _Look("decimal points", f"use {_TO_NUMERIC}"),
    ("groups",): _Look(
        "points",
        f"use {_TO_NUMERIC} {_IF_POINTS[0]}, or read the file by pd.read_csv(..., "
        f"thousands='.') {_IF_POINTS[1]}",
    ),
}


def warn_numbers_as_text(
    columns: Mapping[str, Column], declared: Collection[str]
) -> None:
    """Warn if levels of fields look like numbers with commas, points or signs.

    `declared` are fields that the user declared categorical.
    """
    found: dict[_Look, dict[str, str]] = {}
    for name, column in columns.items():
        if name not in declared and (match := _look_of(name, column)) is not None:
            look, example = match
            found.setdefault(look, {})[name] = example
    categorical = [*declared, *(name for fields in found.values() for name in fields)]
    for look, fields in found.items():
        warn_user(
            f"The fields {list(fields)} are text that looks like numbers with "
            f"{look.what}, such as {', '.join(map(repr, fields.values()))}, and are "
            f"stored as categories. To make numbers of them, {look.advice}; "
            f"categorical={categorical} keeps them as categories."
        )


def _look_of(name: str, column: Column) -> tuple[_Look, str] | None:
    """Return what the levels of a field look like, and one of them; None: text."""
    levels = column.categories
    if levels is None or len(levels) < _FEWEST or not isinstance(levels[0], str):
        return None
    some = [one.strip() for one in levels[:: len(levels) // _SOME + 1]]
    with_sign = [one for one in some if _SIGN.search(one)]
    if len(with_sign) > _MOST * len(some):
        return _signed_look(name, some, with_sign)
    marked = _marked([_without_spaces(one) for one in some])
    ways = _ways(marked)
    if not ways or ("point" in marked and len(levels) < _FEWEST_WITH_POINT):
        return None
    with_space = [one for one in some if _SPACED.fullmatch(one)]
    if with_space:
        look = _Look("spaces between thousands", _advice_to_replace(name, ways))
        return look, with_space[0]
    return _LOOKS[ways], next(iter(marked.values()))[0]


def _signed_look(
    name: str, some: list[str], with_sign: list[str]
) -> tuple[_Look, str] | None:
    """Return the look of numbers with one sign; None for other text, or more signs."""
    signs = {sign for one in with_sign for sign in _SIGN.findall(one)}
    numbers = [_without_spaces(_SIGN.sub("", one).strip()) for one in some]
    if len(signs) > 1 or not any(_numbers(way, numbers) for way in _NUMBERS):
        return None
    # A single comma is enough here: by their sign, these are numbers.
    ways = _ways(_marked(numbers, least=0.0))
    look = _Look(f"the sign {signs.pop()!r}", _advice_to_replace(name, ways))
    return look, with_sign[0]


def _without_spaces(text: str) -> str:
    """Return a number without spaces between thousands; other text as it is."""
    return _SPACE.sub("", text) if _SPACED.fullmatch(text) else text


def _advice_to_replace(name: str, ways: tuple[str, ...]) -> str:
    """Return how to convert text with signs or spaces, of numbers of these ways."""
    field = f"events[{name!r}].str.replace"
    with_point = f"pd.to_numeric({field}('[^0-9.-]', '', regex=True), errors='coerce')"
    with_comma = (
        f"pd.to_numeric({field}('[^0-9,-]', '', regex=True).str.replace(',', '.'), "
        "errors='coerce')"
    )
    advice = {
        ("decimal",): f"use {with_comma}",
        ("decimal", "thousands"): (
            f"use {with_comma} {_IF_COMMAS[0]}, or {with_point} {_IF_COMMAS[1]}"
        ),
        ("groups",): (
            f"use {with_point} {_IF_POINTS[0]}, or {with_comma} {_IF_POINTS[1]}"
        ),
    }
    return advice.get(ways, f"use {with_point}")


def _numbers(way: str, texts: list[str]) -> list[str]:
    """Return the texts that are numbers, if these are almost all."""
    found = [one for one in texts if _NUMBERS[way].fullmatch(one)]
    return found if len(found) >= _ALMOST_ALL * len(texts) else []


def _marked(texts: list[str], least: float = _MOST) -> dict[str, list[str]]:
    """Return the numbers with a comma or a point, by the ways to read most texts.

    A way has more than the share `least` of such numbers.
    """
    found = {
        way: [one for one in _numbers(way, texts) if mark in one]
        for way, mark in _MARKS.items()
    }
    return {
        way: some
        for way, some in found.items()
        if len(some) > least * len(texts) and not all(map(_PAIR.fullmatch, some))
    }


def _ways(marked: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the ways as the keys of `_LOOKS`."""
    if list(marked) == ["point"] and all(map(_GROUPS.fullmatch, marked["point"])):
        return ("groups",)
    return tuple(marked)
