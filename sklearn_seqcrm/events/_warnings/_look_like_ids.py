"""Warning about numeric fields of a new log that are probably ids."""

from __future__ import annotations

from collections.abc import Mapping

import narwhals.stable.v1 as nw
import numpy as np

from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Column

_SAMPLES = 2**12, 2**17  # sizes; the second is drawn if the first is not conclusive
_FEWEST = 1000  # different values of a field; fewer are not conclusive
_MANY = 10_000  # different values; few quantities have so many in such a sample


def warn_id_like_fields(columns: Mapping[str, Column], table: nw.DataFrame) -> None:
    """Warn if numeric fields look like ids.

    `columns` are the fields, sorted by customer and time, and `table` is what they were
    read from.
    """
    found = []
    for name, column in columns.items():
        dtype, values = table[name].dtype, column.values
        if column.type.name != "numeric" or dtype == nw.Boolean:
            continue
        if dtype.is_float():
            suspect = _may_have_been_integers(values) and look_like_ids(values)
        else:
            suspect = _are_beyond_floats(values) or look_like_ids(values)
        if suspect:
            found.append(name)
    if found:
        warn_user(
            f"The fields {found} look like ids: whole numbers that are hardly ever "
            "repeated, or too many different ones for a quantity. The size of an id "
            f"has no meaning for a model. Write categorical={found} to keep them as "
            "categories, or fields=[...] without them to leave them out; with "
            "categorical=[] they are quantities."
        )


def look_like_ids(values: np.ndarray) -> bool:
    """Return whether values are too many and too different for a quantity.

    The `values` of a field, (n,), float, are in the order of the log; NaN where
    missing.

    Notes
    -----
    A quantity has a smooth density ``f``, so that among ``n`` values about ``n^2 / 2 *
    sum(f^2)`` pairs are equal. Ids that are given once have no equal pairs, however
    dense they are. Ids that recur (products) have far more, as few of the numbers in
    their range are in use. So have prices, but there are fewer different ones, and
    their last digits are uneven. The density is estimated from 64 bins of equal counts.

    Equal values of consecutive events count once: all lines of a receipt have its id.
    """
    verdicts = (_verdict(_sample(values, size)) for size in _SAMPLES)
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _verdict(values: np.ndarray) -> bool | None:
    """Return True for ids, False for a quantity, None if the sample is too small."""
    values = values[~np.isnan(values)].astype("float64")
    if not len(values) or not _are_whole(values):
        return False
    # Lines of one receipt repeat its id: each run of equal values counts once.
    values = values[is_run_start(values)]
    values.sort()
    starts = np.flatnonzero(is_run_start(values))
    # On average 20 events for each value: a quantity, or an id of few things.
    if len(starts) * 20 < len(values):
        return False
    counts = np.diff(np.append(starts, len(values)))
    pairs, expected = (counts * (counts - 1) // 2).sum(), _smooth_pairs(values)
    # As many equal pairs as a smooth density explains: a quantity.
    if 10 <= pairs <= 20 * expected:
        return False
    # Hardly any pair where many were expected: ids that are given once.
    if pairs <= len(values) / 5000:
        dense = not pairs and expected >= 10 and len(starts) >= _FEWEST
        return True if dense or len(values) >= _MANY else None
    # Far too many pairs: ids that recur, or prices, whose last digits are uneven.
    last_digit = np.bincount((values[starts] % 10).astype("int64"), minlength=10)
    even = last_digit.max() < 0.15 * len(starts)
    return True if even and len(starts) >= _MANY else None


def _may_have_been_integers(values: np.ndarray) -> bool:
    """Return whether floats may be integers that missing values made floats."""
    few = _sample(values, _SAMPLES[0])
    if not _are_whole(few[~np.isnan(few)]):
        return False
    return bool(np.isnan(_sample(values, _SAMPLES[1])).any())


def _are_beyond_floats(values: np.ndarray) -> bool:
    """Return whether there are whole numbers beyond 2**53: no quantity is so exact."""
    values = _sample(values, _SAMPLES[0])
    large = np.abs(values) > 2**53
    return bool(large.any()) and _are_whole(values[large])


def _are_whole(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (values == np.floor(values))).all())


def _sample(values: np.ndarray, size: int) -> np.ndarray:
    """Return all values of a small log, 16 stretches of a large one."""
    if len(values) <= size:
        return values
    starts = np.linspace(0, len(values) - size // 16, 16).astype("int64")
    return np.concatenate([values[i : i + size // 16] for i in starts])


def _smooth_pairs(values: np.ndarray) -> float:
    """Return the expected number of equal pairs of sorted values.

    A bin of ``m`` values within a width of ``w`` numbers has ``m^2 / (2 w)`` of them.
    """
    edges = np.linspace(0, len(values) - 1, 65).astype("int64")
    widths = np.diff(values[edges]) + 1
    return float((np.diff(edges) ** 2 / widths).sum() / 2)
