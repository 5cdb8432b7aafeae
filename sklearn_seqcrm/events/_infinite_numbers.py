"""Warning about infinite numbers in fields, which count as missing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import Column


def count_infinite(columns: Mapping[str, Column]) -> dict[str, int]:
    """Return the number of infinite values of each numeric field that has some."""
    counts = {
        name: int(np.isinf(column.values).sum())
        for name, column in columns.items()
        if column.type.name == "numeric"
    }
    return {name: count for name, count in counts.items() if count}


def warn_infinite(counts: Mapping[str, int]) -> None:
    """Warn of infinite numbers that `count_infinite` found, if there are any."""
    if not counts:
        return
    found = ", ".join(f"{n:,} of field {name!r}" for name, n in counts.items())
    first = next(iter(counts))
    warnings.warn(
        f"Infinite numbers count as missing in features and networks, {found}. Make "
        f"them missing, events[{first!r}].replace([np.inf, -np.inf], np.nan), or limit "
        f"them, for example events[{first!r}].clip(-1e6, 1e6).",
        UserWarning,
        stacklevel=user_stacklevel(),
    )
