"""What makes predictions of means add up to the targets, at the end of a fit."""

from __future__ import annotations

import numpy as np

# Standard deviations that the logarithm of the level, and how far a slope is from 1,
# are taken to have before a row is seen.
_SPREAD_OF_LEVEL, _SPREAD_OF_SLOPE = 0.2, 0.1
# No slope changes by more at once.
_LARGEST_CHANGE = 0.5


def learned_level(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """What means are multiplied by to add up to the targets, as far as rows tell.

    On a logarithmic scale, the factor is drawn towards 1 by its standard error.

    Parameters
    ----------
    y, mean : ndarray of shape (n, k)
        Targets and what was predicted of them, in any one unit.
    weight : ndarray of shape (n,) or None
        Weight of each row.

    Returns
    -------
    ndarray of shape (k,)
        Levels; 1 where all targets are 0.
    """
    share = np.full(len(y), 1.0) if weight is None else weight / weight.max()
    total, expected = share @ y, share @ mean
    error = np.sqrt(share**2 @ (y - mean) ** 2) / expected
    believed = _SPREAD_OF_LEVEL**2 / (_SPREAD_OF_LEVEL**2 + error**2)
    ratio = np.where(total > 0, total, expected) / expected
    return np.exp(believed * np.log(ratio))


def slope_beyond(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None, offset: np.ndarray
) -> np.ndarray:
    """How much steeper than predicted means go with the exposure, as far as rows tell.

    That is ``b`` in ``y = mean * exp(a + b * offset)``, by a Poisson regression, drawn
    towards 0 by its standard error, which takes rows for independent.

    Parameters
    ----------
    y, mean : ndarray of shape (n, k)
        Targets and what was predicted of them, in any one unit.
    weight : ndarray of shape (n,) or None
        Weight of each row.
    offset : ndarray of shape (n,)
        Logarithm of the exposure of each row.

    Returns
    -------
    ndarray of shape (k,)
        Slopes; 0 where nothing tells them.
    """
    share = np.full(len(y), 1.0) if weight is None else weight / weight.max()
    columns = zip(y.T, mean.T, strict=True)
    return np.array([_slope(*column, share, offset) for column in columns])


def _slope(
    y: np.ndarray, mean: np.ndarray, share: np.ndarray, offset: np.ndarray
) -> float:
    used = (share > 0) & (mean > 0)
    y, mean, share, offset = y[used], mean[used], share[used], offset[used]
    if not y.any() or np.ptp(offset) < 1e-6:
        return 0.0
    slope = 0.0
    for _ in range(20):
        expected = share * mean * np.exp(slope * offset)
        expected *= (share @ y) / expected.sum()
        apart = offset - (expected @ offset) / expected.sum()
        curvature = expected @ apart**2
        score = apart * (share * y - expected)
        step = float(np.clip(score.sum() / curvature, -0.2, 0.2))
        slope = float(np.clip(slope + step, -_LARGEST_CHANGE, _LARGEST_CHANGE))
        if abs(step) < 1e-6:
            break
    variance = (score**2).sum() / curvature**2
    return slope * _SPREAD_OF_SLOPE**2 / (_SPREAD_OF_SLOPE**2 + variance)
