"""Hashes of histories, for caches and for tools that split tables by hashes of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_object_dtype

from sklearn_seqcrm._ragged import NO_ROW, ranges
from sklearn_seqcrm._store import Clock, Rows, hashed_ids

_NAT = np.iinfo("int64").min  # NaT as an integer


def hash_rows(rows: Rows, **options: Any) -> np.ndarray:
    """Return the hash of customer, cutoff and visible events of each row, (n,), uint64.

    It depends on what the row sees, not on other rows or other events of the log, nor
    on the unit of its times. `options` are those of `pandas.util.hash_pandas_object`.
    """
    options = {**options, "index": False}
    index, offsets = ranges(rows.start, rows.stop)
    lengths = np.diff(offsets)
    place = np.arange(len(index)) - np.repeat(offsets[:-1], lengths)
    # The hash of a row is the sum of the hashes of its events, each mixed with its
    # place in the row; sums of uint64 wrap around, and so do their differences.
    mixed = pd.util.hash_array(
        _hash_events(rows, index, options) ^ pd.util.hash_array(place)
    )
    sums = np.concatenate([np.zeros(1, "uint64"), np.cumsum(mixed)])
    identities = rows.identities.copy()
    # A customer whose events all come later may as well not be in the log.
    unseen = (rows.codes >= 0) & (lengths == 0)
    identities[unseen] = hashed_ids(rows.log.customers[rows.codes[unseen]])
    customers = identities.astype("uint64")
    seen = rows.log.customers[rows.codes[lengths > 0]]
    customers[lengths > 0] = pd.util.hash_pandas_object(seen, **options).to_numpy()
    # A missing history has the length NO_ROW, so that it differs from an empty one.
    missing = rows.start == NO_ROW
    cutoff = _without_unit(rows.cutoff, rows.log.timeline.clock.unit)
    table = pd.DataFrame(
        {
            "customer": customers,
            "cutoff": np.where(missing, 0, cutoff),
            "length": np.where(missing, NO_ROW, lengths),
            "events": sums[offsets[1:]] - sums[offsets[:-1]],
        }
    )
    return pd.util.hash_pandas_object(table, **options).to_numpy()


def _hash_events(rows: Rows, index: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return the hash of time and fields of each event, shape (n_events,)."""
    # The first column would be the customers, who are hashed with the rows.
    frame = rows.log.frame_of(np.zeros(len(index)), index).iloc[:, 1:]
    columns: dict[Any, Any] = dict(frame.items())
    for name, column in frame.items():
        if is_object_dtype(column.dtype):
            # Vectors, the only objects, have no hash, but their bytes have.
            columns[name] = [None if one is None else one.tobytes() for one in column]
        elif is_datetime64_any_dtype(column.dtype):
            ticks = column.astype("int64").to_numpy()
            columns[name] = _without_unit(ticks, column.dt.unit)
    return pd.util.hash_pandas_object(pd.DataFrame(columns), **options).to_numpy()


def _without_unit(ticks: np.ndarray, unit: str | None) -> np.ndarray:
    """Return times as numbers for hashes: microseconds, if they are whole, and NaT.

    ::

        unit    ticks                   result
        s       1                       1_000_000
        ns      1_000_000_000           1_000_000
        ns      1_000_000_001           ~1_000_000_001
    """
    if unit is None:
        return ticks
    if unit == "ns":
        # Complements, to differ from the microseconds of other times.
        found = np.where(ticks % 1000 == 0, ticks // 1000, ~ticks)
    else:  # products that do not fit wrap around
        found = Clock("int64", unit).in_microseconds(ticks)
    return np.where(ticks == _NAT, ticks, found)
