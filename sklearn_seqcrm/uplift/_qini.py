"""The Qini coefficient of effects against control."""

from __future__ import annotations

import numpy as np


def qini_score(
    outcome: np.ndarray, effects: np.ndarray, arms: np.ndarray, weight: np.ndarray
) -> float:
    """Return the mean over treatments of the area between Qini curve and diagonal."""
    scores = []
    for k in range(1, effects.shape[1] + 1):
        own = np.flatnonzero((arms == 0) | (arms == k))
        order = own[np.argsort(-effects[own, k - 1], kind="stable")]
        w, y, t = weight[order], outcome[order], arms[order] == k
        n_t, n_c = np.cumsum(w * t), np.cumsum(w * ~t)
        y_t, y_c = np.cumsum(w * y * t), np.cumsum(w * y * ~t)
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = y_t - np.where(n_c > 0, y_c * n_t / n_c, 0)
        share = np.r_[0, (n_t + n_c) / (n_t + n_c)[-1]]
        curve = np.r_[0, gain / n_t[-1]]
        above = curve - share * curve[-1]
        scores.append(np.diff(share) @ (above[1:] + above[:-1]) / 2)
    return float(np.mean(scores))
