"""The probability integral transform of outcomes among simulated paths."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from sklearn_seqcrm._durations import as_floats
from sklearn_seqcrm._sklearn_compat import Interval, validate_params


@validate_params({"n_bins": [Interval(Integral, 1, None, closed="left")]})
def pit_histogram(
    y_true: ArrayLike, simulated: ArrayLike, *, n_bins: int = 10
) -> np.ndarray:
    """Compute the histogram of the probability integral transform (PIT).

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Outcomes: counts, spend, or the time to the next event, infinite if there was
        none within the horizon. Durations are read as days, here and in `simulated`.
    simulated : array-like of shape (n, n_paths)
        Draws from the predictive distribution of each row; infinite for a path without
        an event within the horizon.
    n_bins : int, default=10
        Number of bins between 0 and 1, 1 or more.

    Returns
    -------
    ndarray of shape (n_bins,)
        Share of the rows in each bin; the shares sum to 1. About ``1 / n_bins`` in each
        bin for a calibrated model. A hump in the middle: the distributions are too
        wide. A U shape: they are too narrow. High on the right: simulated values are
        too low.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no row or no path, or a value is missing.
    TypeError
        If values are neither numbers nor durations.

    See Also
    --------
    decile_table : Calibration of means, by the size of the prediction.

    Notes
    -----
    The PIT ``F(y)`` of an outcome ``y`` is uniform if ``y`` was drawn from the
    distribution ``F``. For counts, and for tied values in general, ``F`` jumps at ``y``
    from ``F(y-)`` to ``F(y)``: a row is then spread evenly over that range, the
    non-randomized histogram of [1]_. With the outcome as one more path beside
    ``n_paths``, the range of row ``i`` is from ``sum(simulated[i] < y[i]) / (n_paths +
    1)`` to ``(sum(simulated[i] <= y[i]) + 1) / (n_paths + 1)``. So the expected
    histogram of a calibrated model is exactly flat also for few paths.

    A flat histogram does not show that a model separates the rows: the distribution
    over all rows, predicted for each of them, is calibrated as well.

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
    # In units of 1 / (n_paths + 1) the range of row i is from below[i] to
    # not_above[i] + 1. Counting takes one pass over the paths for each side and no
    # array of floats of their size.
    below = np.count_nonzero(paths < y[:, None], axis=1)
    not_above = np.count_nonzero(paths <= y[:, None], axis=1)
    width = not_above + 1 - below
    places = np.linspace(0, paths.shape[1] + 1, n_bins + 1)
    # Mean over rows of the CDF of a uniform distribution on its range, at each edge.
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
