"""Tell ids from quantities among the numeric fields of a new log."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import narwhals.stable.v1 as nw
import numpy as np

from sklearn_seqcrm._ragged import begins_run
from sklearn_seqcrm._store import Column

_SAMPLES = 2**12, 2**17  # events to look at; the second if the first leave it open
_FEWEST = 1000  # different values of a field of which to say anything
_MANY = 10_000  # different values, which few quantities have among so many events


def warn_of_ids(
    columns: Mapping[str, Column], table: nw.DataFrame, stacklevel: int = 3
) -> None:
    """Warn if fields that are to be quantities look like ids.

    Parameters
    ----------
    columns : mapping of str to Column
        The fields of the log, sorted by customer and time.
    table : narwhals.DataFrame
        The table that they were read from.
    stacklevel : int, default=3
        That of `warnings.warn`.
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
        warnings.warn(
            f"The fields {found} look like ids, whole numbers of which hardly any "
            "comes twice, or far too many to be quantities; as numbers they only tell "
            f"when an event was. Write categorical={found} to keep them as "
            "categories, or fields=[...] without them to leave them out; with "
            "categorical=[] they are quantities.",
            UserWarning,
            stacklevel=stacklevel,
        )


def look_like_ids(values: np.ndarray) -> bool:
    """Tell whether values are too many and too different to be a quantity.

    Parameters
    ----------
    values : ndarray of shape (n,), float
        Values of a field in the order of the log; NaN where missing.

    Returns
    -------
    bool
        True if they look like ids.

    Notes
    -----
    A quantity has a smooth density ``f``, so that two of ``n`` values are equal about
    ``n^2 / 2 * sum(f^2)`` times. Ids that are given once, however dense, have no such
    pairs; ids that come back (products) have far more, as only few of the numbers in
    their range are in use. So do prices, but of those there are fewer, and their last
    digits are uneven. The density is that of 64 bins of as many values each.

    The same value in consecutive events is one: the lines of a receipt repeat its id.
    """
    verdicts = (_verdict(_some(values, size)) for size in _SAMPLES)
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _verdict(values: np.ndarray) -> bool | None:
    """Whether a sample shows ids (True) or a quantity (False), or leaves it open."""
    values = values[~np.isnan(values)].astype("float64")
    if not len(values) or not _are_whole(values):
        return False
    values = values[begins_run(values)]
    values.sort()
    starts = np.flatnonzero(begins_run(values))
    if len(starts) * 20 < len(values):
        return False
    counts = np.diff(np.append(starts, len(values)))
    pairs, expected = (counts * (counts - 1) // 2).sum(), _smooth_pairs(values)
    if 10 <= pairs <= 20 * expected:
        return False
    if pairs <= len(values) / 5000:
        dense = not pairs and expected >= 10 and len(starts) >= _FEWEST
        return True if dense or len(values) >= _MANY else None
    last_digit = np.bincount((values[starts] % 10).astype("int64"), minlength=10)
    even = last_digit.max() < 0.15 * len(starts)
    return True if even and len(starts) >= _MANY else None


def _may_have_been_integers(values: np.ndarray) -> bool:
    """Tell whether floats are whole and beside missing values, as they often become."""
    few = _some(values, _SAMPLES[0])
    if not _are_whole(few[~np.isnan(few)]):
        return False
    return bool(np.isnan(_some(values, _SAMPLES[1])).any())


def _are_beyond_floats(values: np.ndarray) -> bool:
    """Tell whether floats have rounded integers; no quantity is so exact."""
    values = _some(values, _SAMPLES[0])
    large = np.abs(values) > 2**53
    return bool(large.any()) and _are_whole(values[large])


def _are_whole(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (values == np.floor(values))).all())


def _some(values: np.ndarray, size: int) -> np.ndarray:
    """All values of a small log, 16 stretches of a large one."""
    if len(values) <= size:
        return values
    starts = np.linspace(0, len(values) - size // 16, 16).astype("int64")
    return np.concatenate([values[i : i + size // 16] for i in starts])


def _smooth_pairs(values: np.ndarray) -> float:
    """Pairs of equal values that sorted values would have with a smooth density."""
    edges = np.linspace(0, len(values) - 1, 65).astype("int64")
    widths = np.diff(values[edges]) + 1
    return float((np.diff(edges) ** 2 / widths).sum() / 2)
