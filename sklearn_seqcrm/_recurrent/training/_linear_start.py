"""The start of a linear part: a generalised linear model of the training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._recurrent.data import Ranks
from sklearn_seqcrm._recurrent.network import log_sums
from sklearn_seqcrm._recurrent.objectives import Objective

# Sums of the loss terms at some coefficients (m, k): the loss (k,), its gradient
# (m, k), and its matrices of second derivatives, (k, m, m).
Sums = tuple[np.ndarray, np.ndarray, np.ndarray]

# Ridge penalty; standardised inputs have a variance of 1. With a tenth to ten times as
# much the ridge regression alone predicts spend about as well. With next to none its
# error is twice as large where one customer in a thousand decides.
_RIDGE = 0.05
# Standardised inputs are clipped here. Among a million customers one may be a thousand
# standard deviations away.
_FAR = 1000.0
# Decayed sums of events long ago underflow. Ratios of float32 to this are finite.
_LEAST_SPREAD = float(np.sqrt(np.finfo("float32").tiny))
_WIDTH = 64  # approximate number of temporary values per row
# Counts of different size take some ten steps, and a few halvings of the first ones.
_MOST_STEPS, _MOST_HALVINGS = 50, 30
_LEAST_FALL = 1e-12  # of the loss of standardised targets in a step


class LinearStart(NamedTuple):
    """Scaling and weights of a linear part, and the constants of its outputs."""

    center: np.ndarray  # (n_inputs,): mean of each input
    # (n_inputs,): standard deviations; infinite where they are only rounding error or
    # tiny, so that such an input has no influence.
    spread: np.ndarray
    bounds: np.ndarray  # (2, n_inputs): least and largest standardised input
    weights: np.ndarray  # (n_inputs, k): of the first k outputs of a network
    constant: np.ndarray  # (k,)


def linear_start(
    inputs: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    offset: np.ndarray,
    constant: np.ndarray,
    objective: Objective,
    n_logs: int,
    ranks: Ranks,
) -> LinearStart:
    """Fit a generalised linear model with a ridge penalty.

    For each output it minimises ``mean(loss(c + w @ z + offset)) + 0.025 * w @ w``
    with standardised inputs z, by Newton's method. The loss is that of
    ``objective.linear_terms``. The last `n_logs` inputs enter by their logarithms.

    Inputs (n, n_inputs), float32, are finite numbers on any scale, targets have the
    shape (n,) or (n, k), and `weight` (n,) are weights of the rows; None: equal ones.
    `offset` has the shape (n,). `constant` (k,) is c before the first step, and
    afterwards if all targets are 0. The rows are those of this rank.
    """
    share = np.ones(len(inputs)) if weight is None else weight.astype("float64")
    share = share / ranks.sum(np.asarray(share.sum()))
    center, spread, bounds = _scaling(inputs, share, n_logs, ranks)
    # The exponential of an extrapolation may be any number.
    if not objective.has_log_link:
        bounds = np.full((inputs.shape[1], 2), [-_FAR, _FAR]).T
    m, k = 1 + inputs.shape[1], len(constant)

    def sums_at(coefficients: np.ndarray) -> Sums:
        loss, gradient = np.zeros(k), np.zeros((m, k))
        curvature = np.zeros((k, m, m))
        for some in blocks(len(inputs), _WIDTH):
            z = np.ones((len(share[some]), m))
            z[:, 1:] = (_numbers(inputs[some], n_logs) - center) / spread
            outputs = z @ coefficients + offset[some, None]
            terms = objective.linear_terms(outputs, target[some])
            of_rows, first, second = (share[some, None] * one for one in terms)
            loss += of_rows.sum(axis=0)
            gradient += z.T @ first
            curvature += [(z * own[:, None]).T @ z for own in second.T]
        weights = coefficients[1:]
        loss = ranks.sum(loss) + _RIDGE / 2 * (weights**2).sum(axis=0)
        gradient, curvature = ranks.sum(gradient), ranks.sum(curvature)
        gradient[1:] += _RIDGE * weights
        curvature[:, range(1, m), range(1, m)] += _RIDGE
        return loss, gradient, curvature

    is_fitted = ranks.sum((target != 0).reshape(len(target), k).sum(axis=0)) > 0
    coefficients = np.vstack([constant, np.zeros((m - 1, k))])
    # Trial steps may be so long that exponentials overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        coefficients = _minimum(sums_at, coefficients, is_fitted, ranks)
    return LinearStart(center, spread, bounds, coefficients[1:], coefficients[0])


def _numbers(inputs: np.ndarray, n_logs: int) -> np.ndarray:
    """Return inputs in float64, the last `n_logs` of them by their logarithms."""
    return log_sums(inputs.astype("float64"), n_logs)


def _scaling(
    inputs: np.ndarray, share: np.ndarray, n_logs: int, ranks: Ranks
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, the standard deviation and the range of each input.

    The range has the shape (2, n_inputs), and is that of standardised inputs.
    """
    parts = list(blocks(len(inputs), _WIDTH))
    n_inputs = inputs.shape[1]
    center, variance = np.zeros(n_inputs), np.zeros(n_inputs)
    low, high = np.full(n_inputs, np.inf), np.full(n_inputs, -np.inf)
    for some in parts:
        numbers = _numbers(inputs[some], n_logs)
        center += share[some] @ numbers
        low = np.minimum(low, numbers.min(axis=0))
        high = np.maximum(high, numbers.max(axis=0))
    center = ranks.sum(center)
    for some in parts:
        variance += share[some] @ (_numbers(inputs[some], n_logs) - center) ** 2
    spread = np.sqrt(ranks.sum(variance))
    spread[spread <= np.maximum(1e-6 * np.abs(center), _LEAST_SPREAD)] = np.inf
    low = ranks.concatenate(low[None]).min(axis=0)
    high = ranks.concatenate(high[None]).max(axis=0)
    return center, spread, (np.array([low, high]) - center) / spread


def _minimum(
    sums_at: Callable[[np.ndarray], Sums],
    coefficients: np.ndarray,
    is_fitted: np.ndarray,
    ranks: Ranks,
) -> np.ndarray:
    """Return the coefficients (m, k) with the least loss, by Newton's method.

    The k outputs are separate: a step of one is halved while its loss would rise, and
    it stops where no step lowers the loss. Those that are not `is_fitted` (k,) keep
    their coefficients.
    """
    loss, gradient, curvature = sums_at(coefficients)
    moves = is_fitted
    for _ in range(_MOST_STEPS):
        # Ranks may differ in the last bit.
        step = ranks.agree(_newton_step(gradient, curvature))
        moves = moves & ((gradient * step).sum(axis=0) > _LEAST_FALL)
        if not moves.any():
            break
        step = np.where(moves, step, 0.0)  # others may be NaN
        for _ in range(_MOST_HALVINGS):
            found = sums_at(coefficients - step)
            rises = ~(found[0] <= loss) & moves
            if not rises.any():
                break
            step[:, rises] /= 2
        else:
            moves = moves & ~rises
            step[:, rises] = 0
        coefficients = coefficients - step
        loss, gradient, curvature = found
    return coefficients


def _newton_step(gradient: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Return the coefficients (m, k) to subtract; NaN if they are not defined."""
    try:
        return np.linalg.solve(curvature, gradient.T[:, :, None])[:, :, 0].T
    except np.linalg.LinAlgError:  # of numbers so large that the penalty is rounded off
        return np.full_like(gradient, np.nan)
