"""What makes predictions of means add up to the targets, at the end of a fit."""

from __future__ import annotations

import numpy as np

# Standard deviations that the logarithm of a level, and how far a slope is from 1, are
# taken to have before a row is seen.
_SPREAD_OF_LEVEL, _SPREAD_OF_SLOPE = 0.2, 0.1
# No slope is further from 1.
_FURTHEST = 0.5


def full_level(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """What means are multiplied by to add up to the targets.

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
    share = _share_of(weight, len(y))
    total, expected = share @ y, share @ mean
    return np.where(total > 0, total, expected) / expected


def believed_level(
    y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """The same as far as rows tell, for targets of which few are most of the total.

    On a logarithmic scale, the factor is drawn towards 1 by its standard error.
    """
    share = _share_of(weight, len(y))
    error = np.sqrt(share**2 @ (y - mean) ** 2) / (share @ mean)
    believed = _SPREAD_OF_LEVEL**2 / (_SPREAD_OF_LEVEL**2 + error**2)
    return full_level(y, mean, weight) ** believed


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
    share = _share_of(weight, len(y))
    columns = zip(y.T, mean.T, strict=True)
    return np.array([_slope(*column, share, offset) for column in columns])


def _share_of(weight: np.ndarray | None, n: int) -> np.ndarray:
    """Weights of `n` rows, the largest of them 1."""
    return np.ones(n) if weight is None else weight / weight.max()


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
        slope = float(np.clip(slope + step, -_FURTHEST, _FURTHEST))
        if abs(step) < 1e-6:
            break
    variance = (score**2).sum() / curvature**2
    return slope * _SPREAD_OF_SLOPE**2 / (_SPREAD_OF_SLOPE**2 + variance)
