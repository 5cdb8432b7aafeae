"""What no objective takes for targets."""

from __future__ import annotations

import numpy as np
import pandas as pd


def refuse_not_finite(y: np.ndarray) -> None:
    """Raise a ValueError for targets that are missing or infinite."""
    n_missing = int(pd.isna(y).sum())
    n_infinite = int(np.isinf(y).sum()) if y.dtype.kind == "f" else 0
    what = "NaN" if n_missing else "infinity"
    if n_missing or n_infinite:
        raise ValueError(
            f"Input y contains {what}: {n_missing or n_infinite} of {len(y)} targets "
            f"are {'missing' if n_missing else 'infinite'}; drop those rows from X and "
            "y."
        )
