"""Calibration of predicted means by the targets of all training rows."""

from __future__ import annotations

import numpy as np

# Prior standard deviations of the logarithm of a calibration factor, and of the excess
# of a slope over 1.
_PRIOR_LOG_FACTOR, _PRIOR_EXCESS = 0.2, 0.1
# Largest excess of a slope, on both sides.
_MOST_EXCESS = 0.5


def calibration_factor(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Return the factors with which predicted means add up to the targets, (k,).

    Targets and predictions have the shape (n, k) and one unit, weights (n,) or None. A
    factor is 1 where all targets are 0.
    """
    share = _relative_weight(weight, len(y))
    total, expected = share @ y, share @ mean
    return np.where(total > 0, total, expected) / expected


def shrunken_calibration_factor(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Return `calibration_factor`, shrunken towards 1 by its standard error.

    For heavy-tailed targets, of which a few rows have most of the total. With the
    factor ``r``, the standard error ``e`` of ``log(r)`` and the prior standard
    deviation ``s``, it is ``r ** (s**2 / (s**2 + e**2))``: the posterior mean of
    ``log(r)`` with a normal prior around 0.
    """
    share = _relative_weight(weight, len(y))
    error = np.sqrt(share**2 @ (y - mean) ** 2) / (share @ mean)
    shrinkage = _PRIOR_LOG_FACTOR**2 / (_PRIOR_LOG_FACTOR**2 + error**2)
    return calibration_factor(y, mean, weight) ** shrinkage


def offset_slope_excess(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None, offset: np.ndarray
) -> np.ndarray:
    """Return by how much the slope of log means over the offset should exceed 1, (k,).

    The excess is ``b`` in ``E[y] = mean * exp(a + b * offset)``, estimated by Poisson
    regression and shrunken towards 0 by its robust standard error for independent rows.

    `y` and `mean` (n, k) are targets and predictions with a slope of 1, in one unit,
    and `offset` (n,) is the logarithm of the exposure of each row. The excess is 0
    where all targets are 0, or all offsets are equal.
    """
    share = _relative_weight(weight, len(y))
    columns = zip(y.T, mean.T, strict=True)
    return np.array([_slope(*column, share, offset) for column in columns])


def _relative_weight(weight: np.ndarray | None, n: int) -> np.ndarray:
    """Return the weights of `n` rows over the largest weight."""
    return np.ones(n) if weight is None else weight / weight.max()


def _slope(
    y: np.ndarray, mean: np.ndarray, share: np.ndarray, offset: np.ndarray
) -> float:
    used = (share > 0) & (mean > 0)
    y, mean, share, offset = y[used], mean[used], share[used], offset[used]
    if not y.any() or np.ptp(offset) < 1e-6:
        return 0.0
    # Newton's method for b, with the intercept a profiled out: expected means are
    # scaled to the total of y in each step. The likelihood is concave in b.
    slope = 0.0
    for _ in range(20):
        expected = share * mean * np.exp(slope * offset)
        expected *= (share @ y) / expected.sum()
        apart = offset - (expected @ offset) / expected.sum()
        curvature = expected @ apart**2
        score = apart * (share * y - expected)
        step = float(np.clip(score.sum() / curvature, -0.2, 0.2))
        slope = float(np.clip(slope + step, -_MOST_EXCESS, _MOST_EXCESS))
        if abs(step) < 1e-6:
            break
    # Sandwich estimator: targets may be over-dispersed.
    variance = (score**2).sum() / curvature**2
    return slope * _PRIOR_EXCESS**2 / (_PRIOR_EXCESS**2 + variance)
