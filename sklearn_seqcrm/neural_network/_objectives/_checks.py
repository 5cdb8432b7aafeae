"""Targets of one column or several, and what no objective takes for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def are_several(y: Any) -> bool:
    """Whether targets have several columns."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def refuse_not_finite(y: np.ndarray) -> None:
    """Raise a ValueError for targets that are missing or infinite."""
    missing = pd.isna(y)
    infinite = np.isinf(y) if y.dtype.kind == "f" else np.zeros(y.shape, dtype=bool)
    bad = missing if missing.any() else infinite
    if bad.any():
        by_row = bad.reshape(len(y), -1)
        n_bad = int(by_row.any(axis=1).sum())
        of = f" in the columns {np.flatnonzero(by_row.any(axis=0)).tolist()}"
        raise ValueError(
            f"Input y contains {'NaN' if missing.any() else 'infinity'}: {n_bad} of "
            f"{len(y)} targets are {'missing' if missing.any() else 'infinite'}"
            f"{of if y.ndim > 1 else ''}; drop those rows from X and y."
        )


def refuse_other_shape(y: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise a ValueError for targets of other columns than in the first call.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, k)
        Targets.
    shape : tuple of int
        Shape of the target of one row in the first call.
    """
    if y.shape[1:] != shape:
        then, now = (
            f"{s[0]} columns" if s else "1 column" for s in (shape, y.shape[1:])
        )
        raise ValueError(
            f"y has {now}, and had {then} in the first call. Give the same, or fit "
            "from the start."
        )
