"""Warnings about customers who are not found because ids are written differently."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pandas as pd

from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm.events._history_array import HistoryArray

# Fewer customers may all be new: that none is known is then no sign of wrong ids.
_FEW = 10
# Ids that are compared with others in search of leading zeros.
_SOME_IDS = 10_000


def warn_unknown_customers(ids: pd.Series, array: HistoryArray) -> None:
    """Warn of customers who seem to be unknown because ids are written differently.

    Parameters
    ----------
    ids : Series of shape (n,)
        Ids of the customers in the rows of a user.
    array : HistoryArray of shape (n,)
        Their histories.
    """
    is_unknown, known = array.rows.codes < 0, array.log.customers
    if not is_unknown.any() or not len(known):
        return
    unknown = pd.Series(ids[is_unknown].unique())
    alike = _written_differently(unknown, known)
    if alike is not None:
        message = (
            f"{len(unknown):,} customers in column {ids.name!r} of rows are not in the "
            "log, and some of them only because their ids are written differently: "
            f"{alike[0]!r} in rows, {alike[1]!r} in the log. Their histories are empty."
            " Read the ids of both tables as text, for example by pd.read_csv(..., "
            f"dtype={{{ids.name!r}: str}}), or restore leading zeros by .str.zfill(n)."
        )
    elif is_unknown.all() and len(unknown) >= _FEW:  # a few may all be new
        shown = [", ".join(map(repr, some[:3].tolist())) for some in (unknown, known)]
        message = (
            f"None of the {len(unknown):,} customers in column {ids.name!r} of rows is "
            f"in the log, so that all histories are empty: {shown[0]}, ... in rows, "
            f"and {shown[1]}, ... in the log. Are their ids written differently?"
        )
    else:
        return
    warnings.warn(message, UserWarning, stacklevel=user_stacklevel())


def warn_other_notation(parts: Mapping[str, pd.Index], *, share_some: bool) -> None:
    """Warn if customers of two tables seem to differ by the notation of ids only.

    Parameters
    ----------
    parts : mapping of str to Index
        Different ids of each table in exact form, all of one type.
    share_some : bool
        Whether to warn if the first table and another one have no customer in common.
    """
    filled = {name: ids for name, ids in parts.items() if len(ids)}
    for name, ids in list(filled.items())[1:]:
        first, known = next(iter(filled.items()))
        unknown = ids[~ids.isin(known)]
        if not len(unknown):
            continue
        alike = _written_differently(pd.Series(unknown), known)
        if alike is not None:
            message = (
                f"{len(unknown):,} of {len(ids):,} customers of {name!r} are not in "
                f"{first!r}, and some of them only because their ids are written "
                f"differently: {alike[0]!r} in {name!r}, {alike[1]!r} in {first!r}, "
                "which are two customers of the merged log. Read the ids of all tables "
                "as text, for example by pd.read_csv(..., dtype={'id': str}), or "
                "restore leading zeros by .str.zfill(n)."
            )
        elif (
            share_some
            and len(unknown) == len(ids)
            and min(len(ids), len(known)) >= _FEW
        ):
            shown = [", ".join(map(repr, some[:3].tolist())) for some in (ids, known)]
            message = (
                f"None of the {len(ids):,} customers of {name!r} is in {first!r}: "
                f"{shown[0]}, ... in {name!r}, and {shown[1]}, ... in {first!r}. Are "
                "their ids written differently?"
            )
        else:
            continue
        warnings.warn(message, UserWarning, stacklevel=user_stacklevel())


def _written_differently(unknown: pd.Series, known: pd.Index) -> tuple[str, str] | None:
    """Return an unknown id and a known one with the same number, both text.

    Numbers that were read as integers have lost leading zeros, and those that were
    read as floats end in ".0".
    """
    if not isinstance(known[0], str):
        return None
    # A sample: a table with many new customers would take seconds.
    some = unknown[:: len(unknown) // _SOME_IDS + 1]
    widths = {len(one) for one in known[:: len(known) // _SOME_IDS + 1]}
    others = {}  # other notation: id as it is
    for one in some:
        digits = one.removesuffix(".0")
        if digits.isdecimal():
            number = digits.lstrip("0")
            for text in (digits, number, *map(number.zfill, widths)):
                others[text] = one
    is_known = known.get_indexer(pd.Index(list(others), dtype=object)) >= 0
    found = [text for text, yes in zip(others, is_known, strict=True) if yes]
    return (others[found[0]], found[0]) if found else None
