"""Warnings about customers who are not found because ids are written differently."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.events._history_array import HistoryArray
from sklearn_seqcrm.events._read import Events

# Fewer customers may all be new: that none is known is then no sign of wrong ids.
_FEW = 10
# Ids that are compared with others in search of leading zeros.
_SOME_IDS = 10_000


def warn_unknown_customers(ids: pd.Series, array: HistoryArray) -> None:
    """Warn of customers who seem to be unknown because ids are written differently.

    `ids` (n,) are those in the rows of a user, and `array` has their histories.
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
    warn_user(message)


def warn_other_notation(
    tables: Mapping[str, Events], codes: Mapping[str, np.ndarray], *, share_some: bool
) -> None:
    """Warn if customers of two tables seem to differ by the notation of ids only.

    `codes` are numbers of the customers of each table, equal for equal ids: a search
    for the new ids of a table among millions of texts would take many seconds.
    `share_some`: whether to warn of a table without a customer of any other one.
    """
    parts = {name: table.timeline.customers for name, table in tables.items()}
    n_tables = np.bincount(np.concatenate(list(codes.values())))  # of each customer
    is_known = np.zeros(len(n_tables), dtype=bool)
    messages: list[str] = []
    earlier: list[str] = []
    for name, ids in parts.items():
        unknown = ids[~is_known[codes[name]]]
        is_known[codes[name]] = True
        for other in earlier:
            alike = _written_differently(pd.Series(unknown), parts[other])
            if alike is not None:
                messages.append(
                    f"{len(unknown):,} of {len(ids):,} customers of {name!r} are not "
                    f"in {other!r}, and some of them only because their ids are "
                    f"written differently: {alike[0]!r} in {name!r}, {alike[1]!r} in "
                    f"{other!r}, which are two customers of the merged log. Read the "
                    "ids of all tables as text, for example by pd.read_csv(..., "
                    "dtype={'id': str}), or restore leading zeros by .str.zfill(n)."
                )
                break
        earlier.append(name)
    if share_some and not messages:
        alone = [name for name, own in codes.items() if (n_tables[own] == 1).all()]
        messages = _none_in_common(parts, alone)
    for message in messages:
        warn_user(message)


def _none_in_common(parts: Mapping[str, pd.Index], alone: list[str]) -> list[str]:
    """Return messages about tables without a customer of any other table."""
    messages = []
    # Of two tables that have none in common, the second one is named.
    for name in alone if len(alone) < len(parts) else alone[1:]:
        ids = parts[name]
        others = {one: known for one, known in parts.items() if one != name}
        largest = max(others, key=lambda one: len(others[one]))
        known = others[largest]
        if min(len(ids), len(known)) < _FEW:  # a few may be other customers
            continue
        shown = [", ".join(map(repr, some[:3].tolist())) for some in (ids, known)]
        where = " or ".join(map(repr, others))
        messages.append(
            f"None of the {len(ids):,} customers of {name!r} is in {where}: "
            f"{shown[0]}, ... in {name!r}, and {shown[1]}, ... in {largest!r}. Are "
            "their ids written differently?"
        )
    return messages


def _written_differently(unknown: pd.Series, known: pd.Index) -> tuple[str, str] | None:
    """Return an unknown id and a known one with the same number, both text.

    Numbers that were read as integers have lost leading zeros, and those that were
    read as floats end in ".0".
    """
    if not len(unknown) or not len(known) or not isinstance(known[0], str):
        return None
    # A sample: a table with many new customers would take seconds.
    some = unknown[:: len(unknown) // _SOME_IDS + 1]
    widths = {len(one) for one in known[:: len(known) // _SOME_IDS + 1]}
    others = {}  # other notation: id as it is
    for one in some:
        digits = one.removesuffix(".0")
        if digits.isdecimal():
            number = digits.lstrip("0") or "0"
            for text in (digits, number, f"{number}.0", *map(number.zfill, widths)):
                others[text] = one
    if not others:
        return None
    found = known[known.isin(list(others))]
    return (others[found[0]], found[0]) if len(found) else None
