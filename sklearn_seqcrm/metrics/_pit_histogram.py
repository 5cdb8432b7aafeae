"""Where the truth lies among what was simulated."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from sklearn_seqcrm._durations import as_floats
from sklearn_seqcrm._sklearn_compat import Interval, validate_params


@validate_params(
    {"n_bins": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def pit_histogram(y_true: Any, simulated: Any, *, n_bins: int = 10) -> np.ndarray:
    """Histogram of where the truth lies among simulated values: flat, if they fit.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        What came: counts, spend, or the time to the next event; infinite where there
        was none within the horizon. Durations are read as days, here and in
        `simulated`.
    simulated : array-like of shape (n, n_paths)
        What a model thought might come, in as many draws for each row; infinite where
        a path had none within the horizon.
    n_bins : int, default=10
        Number of bins between 0 and 1, 1 or more.

    Returns
    -------
    ndarray of shape (n_bins,)
        Share of the rows in each bin; they sum to 1. About ``1 / n_bins`` in each for a
        model whose distributions are right. High in the middle: they are too wide; high
        at both ends: too narrow; high on the right: values come out too low.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no path, or a value is missing.
    TypeError
        If values are datetimes, text, or anything else than numbers and durations.

    See Also
    --------
    decile_table : Whether means are right, for those who are worth much and little.

    Notes
    -----
    The probability integral transform of a value is the share of the distribution below
    it, and has a uniform distribution if the value was drawn from it. Of counts, and of
    any values that are tied, the share is not one number but all from "below" to "not
    above", and a row counts in each bin by the part of that range within (the
    non-randomized histogram of [1]_), so that no draws are needed. With the truth as
    one more path beside ``n_paths``, the range of row ``i`` is from ``sum(simulated[i]
    < y[i]) / (n_paths + 1)`` to ``(sum(simulated[i] <= y[i]) + 1) / (n_paths + 1)``,
    which makes the expected histogram of a right model exactly flat for few paths as
    well.

    A flat histogram does not tell that a model knows the rows apart: the distribution
    of all rows, said of each, is flat as well.

    References
    ----------
    .. [1] Czado, C., Gneiting, T. and Held, L. (2009). Predictive model assessment for
       count data. Biometrics 65, 1254-1261.
       https://doi.org/10.1111/j.1541-0420.2009.01191.x

    Examples
    --------
    >>> from sklearn_seqcrm.metrics import pit_histogram
    >>> pit_histogram([0, 3], [[0, 0, 1], [0, 1, 2]], n_bins=4).round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]
    """
    y, _ = as_floats(y_true, "y_true")
    paths, _ = as_floats(simulated, "simulated")
    _check(y, paths)
    # One pass over the paths for each side, and no floats of their size.
    below = np.count_nonzero(paths < y[:, None], axis=1)
    not_above = np.count_nonzero(paths <= y[:, None], axis=1)
    width = not_above + 1 - below
    places = np.linspace(0, paths.shape[1] + 1, n_bins + 1)
    reached = [np.clip((place - below) / width, 0, 1).mean() for place in places]
    return np.diff(reached)


def _check(y: np.ndarray, paths: np.ndarray) -> None:
    if y.ndim != 1 or paths.ndim != 2 or len(y) != len(paths) or not paths.size:
        raise ValueError(
            "simulated must have a line of paths for each value of y_true; got the "
            f"shapes {paths.shape} and {y.shape}."
        )
    for name, values in (("y_true", y), ("simulated", paths)):
        n_missing = int(np.isnan(values).sum())
        if n_missing:
            raise ValueError(
                f"{name} has {n_missing} missing values; leave those rows out, or take "
                "np.inf for a time that lies beyond the horizon."
            )
