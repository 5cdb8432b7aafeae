"""Zero-inflated log-normal amounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp, ndtr, ndtri
from torch import Tensor

from sklearn_seqcrm._recurrent.data import Array, array_namespace, sigmoid
from sklearn_seqcrm._recurrent.objectives._calibration import (
    shrunken_calibration_factor,
)
from sklearn_seqcrm._recurrent.objectives._numbers import Number
from sklearn_seqcrm._recurrent.objectives._onnx_graph import (
    Graph,
    GraphTensor,
    refuse_infinite,
)
from sklearn_seqcrm._recurrent.objectives._quantiles import check_quantiles
from sklearn_seqcrm._recurrent.objectives._weights import smoothed_share, with_weight

# Bounds of the standard deviation of a row's logarithm, in units of that of all rows.
# Typical rows have a half to one of it, and seldom more than two.
_LEAST_SPREAD, _LARGEST_SPREAD = 0.05, 2.0
# Quantiles are at most this many such units above the largest amount.
_MARGIN = 8
# Rates are exp(z), and continue linearly from here on, where the probability of no
# purchase, exp(-exp(8)), is 0 anyway: gradients stay finite.
_STEEPEST = 8.0
# Quantiles of several networks: the most steps of a search, and the length of its last
# halving in logarithms, because outputs are float32.
_MOST_STEPS, _PRECISION = 120, 1e-7
# Numbers in an array of the search, so that it takes 256 kB and stays in the cache.
_BLOCK = 2**15


class ZeroInflatedLognormal(Number):
    """Zero with some probability and log-normal otherwise, by the likelihood.

    With encoded targets ``t = (log(y) - center) / scale`` (minus infinity for 0) and
    the outputs ``z`` of a row::

        rate  = exp(z[0])                         purchases of a Poisson process
        p     = 1 - exp(-rate)                    probability of an amount
        m     = z[1] + log(rate / p) / scale      mean of t if there is an amount
        s     = bounded sigmoid of z[2]           standard deviation of t

        loss  = rate                                        if y is 0
              = log(s) + ((t - m) / s)**2 / 2 - log(p)      otherwise

    ``rate / p`` is the mean number of purchases if there are any. So the mean of a row,
    ``p * exp(...)``, is proportional to the rate, and both the mean and the probability
    of 0 follow the exposure of the row through an offset on ``z[0]``. Without offsets
    this only reparametrises any probability, mean and deviation. After X. Wang, T. Liu
    and J. Miao, "A Deep Probabilistic Model for Customer Lifetime Value Prediction",
    2019, https://arxiv.org/abs/1912.07753.
    """

    name, boosting_loss = "zero_inflated_lognormal", "poisson"
    n_parameters = 3
    offset_parameters = (0,)
    adjusts = True
    largest: np.ndarray  # (k,): upper bound of the logarithm of the mean of an amount
    factor: np.ndarray  # (k,): calibration factor of the means

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        super().learn(y, weight)
        used, _ = with_weight(y, weight)
        most = used.reshape(len(used), -1).max(axis=0)
        # A mean is at most the largest target, with a margin of one deviation for rows
        # that are larger than the training rows.
        logs = np.log(np.where(most > 0, most, 1.0))
        _refuse_overflow(logs, self.scale, most)
        self.largest = logs + self.scale
        self.factor = np.ones(len(self.scale))

    def _learn_one(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[int, float, float]:
        """Return 0, and center and scale of the logarithms of positive amounts."""
        some = y > 0
        if not some.any():
            return 0, 0.0, 1.0
        logs, weight = np.log(y[some]), None if weight is None else weight[some]
        center = np.average(logs, weights=weight)
        spread = np.sqrt(np.average((logs - center) ** 2, weights=weight))
        return 0, center, float(spread) if spread > 1e-6 else 1.0

    def _refuse(self, y: np.ndarray) -> None:
        n_negative = int((y < 0).sum())
        if n_negative:
            raise ValueError(
                "The zero-inflated log-normal loss needs targets that are not "
                f"negative; {n_negative} of {y.size} are. Use loss='squared_error', or "
                "set negative ones to 0."
            )

    def encode(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        with np.errstate(divide="ignore"):
            logs = np.log(y.reshape(len(y), -1))
        return ((logs - self.center) / self.scale).astype("float32").reshape(y.shape)

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        share = smoothed_share(np.isfinite(target.reshape(len(target), -1)), weight)
        rate = -np.log1p(-share)
        number = np.log(rate) - np.log(share)
        return np.stack([np.log(rate), -number / self.scale, 0 * share], axis=1).ravel()

    def _loss_of(self, outputs: Tensor, target: Tensor) -> Tensor:
        log_rate, mean, spread = outputs.unbind(dim=-1)  # (n,) or (n, k) each
        some = target > -torch.inf
        rate, log_some, number = purchase_process(log_rate)
        scale = rate.new_tensor(self.scale)
        scale = scale if self.shape else scale[0]
        deviation = _deviation(spread)
        # A target of minus infinity would make gradients NaN, even if it is not chosen.
        distance = torch.where(some, target, 0.0) - mean - number / scale
        amounts = deviation.log() + (distance / deviation).square() / 2
        return torch.where(some, amounts - log_some, rate)

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        """Learn the calibration factor of the means from all rows.

        The mean of a log-normal is ``exp(mean + deviation**2 / 2)``. It depends on a
        tail with few rows, and is wrong if the tail is not log-normal. At the minimum
        of a Poisson or squared loss, predictions add up to the targets; at the minimum
        of this loss they do not. So means are multiplied by the ratio of both totals,
        shrunken towards 1 by its standard error: if a few rows have most of the total,
        predictions do not add up to it.
        """
        self.factor = shrunken_calibration_factor(
            *self._targets_and_means(outputs, target), weight
        )

    def _targets_and_means(
        self, outputs: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        logs = target.reshape(len(target), -1) * self.scale + self.center
        each = [self._log_means(self._by_target(one)) for one in outputs]
        found = logsumexp(each, axis=0) - np.log(len(each))
        most = np.maximum(logs.max(axis=0), found.max(axis=0))
        # Over their maximum, so that neither exponential overflows.
        return np.exp(logs - most), np.exp(found - most)

    def _predict_by_target(self, outputs: Array) -> Array:
        return np.exp(self._log_means(outputs)) * self.factor

    def _log_means(self, outputs: Array) -> Array:
        """Return the logarithm of the uncalibrated mean, shape (n, k)."""
        log_some, mean, deviation = self._parameters_of(outputs)
        return np.minimum(mean + deviation**2 / 2, self.largest) + log_some

    def _parameters_of(self, outputs: Array) -> tuple[Array, Array, Array]:
        """Return log probability of an amount, and mean and deviation of its log.

        Each has the shape (n, k).
        """
        _, log_some, number = purchase_process(outputs[..., 0])
        mean = self.center + self.scale * outputs[..., 1] + number
        return log_some, mean, self.scale * _deviation(outputs[..., 2])

    def predict_proba_zero(self, outputs: Array) -> Array:
        """Return the probability of no amount, shape (n,) or (n, k)."""
        rate, _, _ = purchase_process(self._by_target(outputs)[..., 0])
        return self._by_row(np.exp(-rate))

    def predict_quantiles(self, outputs: np.ndarray, q: Any) -> np.ndarray:
        """Return quantiles, shape (n, q) or (n, k, q)."""
        q = check_quantiles(q, any_order=True)
        log_some, mean, deviation = self._parameters_of(self._by_target(outputs))
        # Quantile within the amounts: P(Y <= y) = 1 - p + p * F(y), and so
        # 1 - F(y) = (1 - q) / p; a quantile up to 1 - p is 0.
        # (n, k, 1) against the quantiles (q,).
        below = 1 - np.minimum((1 - q) / np.exp(log_some)[..., None], 1)
        logs = mean[..., None] + deviation[..., None] * ndtri(below)
        return self._by_row(np.exp(logs))

    def combine(
        self, predict: Callable[..., Array], outputs: Sequence[Array], *args: Any
    ) -> Array:
        if len(outputs) > 1 and predict == self.predict_quantiles:
            return self._quantiles_of_mixture(outputs, *args)
        return super().combine(predict, outputs, *args)

    def _quantiles_of_mixture(
        self, outputs: Sequence[np.ndarray], q: Any
    ) -> np.ndarray:
        """Return quantiles of the networks' mean distribution, (n, q) or (n, k, q).

        Means of quantiles would contradict the mean probability of 0: a median is 0
        where that is above one half. The quantile lies between those of the networks,
        where a search finds it with a relative error of 1e-7.
        """
        q = check_quantiles(q, any_order=True)
        each = [self._parameters_of(self._by_target(one)) for one in outputs]
        # (J, n * k) of J networks, against the quantiles (q,).
        log_some, mean, deviation = (
            np.stack(one).reshape(len(each), -1) for one in zip(*each, strict=True)
        )
        # Only quantiles above 0 are searched for, (m,).
        share = np.exp(log_some).mean(axis=0)
        positive = np.flatnonzero(share[:, None] > 1 - q)
        quantiles = np.zeros(len(share) * len(q))
        size = max(1, _BLOCK // len(each))
        for begin in range(0, len(positive), size):
            some = positive[begin : begin + size]
            row, which = np.divmod(some, len(q))
            quantiles[some] = _mixture_quantiles(
                log_some[:, row], mean[:, row], deviation[:, row], 1 - q[which]
            )
        return self._by_row(quantiles.reshape(*each[0][0].shape, len(q)))

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        # Quantiles need the inverse of the normal distribution, which ONNX lacks.
        return {"prediction": self.predict, "proba_zero": self.predict_proba_zero}

    def onnx_outputs(
        self, graph: Graph, outputs: Sequence[str]
    ) -> dict[str, GraphTensor]:
        with np.errstate(over="ignore"):
            largest = np.exp(self.largest) * self.factor
            refuse_infinite(largest, largest.astype("float32"))
        return super().onnx_outputs(graph, outputs)


def _mixture_quantiles(
    log_some: np.ndarray, mean: np.ndarray, deviation: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """Return quantiles of mean distributions, shape (m,).

    Newton's method within a range that is halved where a step leaves it. With the
    probability ``P(x)`` of an amount below ``exp(x)`` if there is any, steps are those
    for ``ndtri(P(x))``, which is linear in ``x`` if networks agree: then two steps
    suffice. At the ends of the first range, ``P(x)`` is at most and at least the wanted
    probability in each network.

    Networks have the log probability of an amount, and mean and deviation of its
    logarithm, (n_networks, m). `upper` (m,) is the probability above each quantile,
    less than that of an amount.
    """
    some = np.exp(log_some)
    share = some.mean(axis=0)
    # Rounding may leave a probability of 0.
    wanted = ndtri(np.maximum((share - upper) / share, np.finfo("float64").tiny))
    logs = mean + deviation * wanted
    low, high = logs.min(axis=0), logs.max(axis=0)
    found = (some * logs).mean(axis=0) / share
    left = np.arange(len(found))  # places that are not found yet
    last = before_last = np.full(len(found), np.inf)  # lengths of steps
    for _ in range(_MOST_STEPS):
        x = found[left]
        distance = (mean - x) / deviation
        above = (some * ndtr(distance)).mean(axis=0)
        slope = (some / deviation * np.exp(-(distance**2) / 2)).mean(axis=0)
        is_below = above > upper
        low, high = np.where(is_below, x, low), np.where(is_below, high, x)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            score = -ndtri(above / share)
            step = (wanted - score) * share * np.exp(-(score**2) / 2) / slope
        # Halve the range where a step is NaN or leaves it, or steps do not become
        # shorter.
        is_inside = (x + step > low - _PRECISION) & (x + step < high + _PRECISION)
        is_safe = is_inside & (np.abs(step) < 0.75 * before_last)
        step = np.where(is_safe, step, (low + high) / 2 - x)
        before_last, last = last, np.abs(step)
        found[left] = x + step
        # Newton's error falls with the square of the step.
        go_on = last > np.where(is_safe, 1e-4 * deviation.min(axis=0), _PRECISION)
        if not go_on.any():
            break
        left, low, high, last, before_last = (
            one[go_on] for one in (left, low, high, last, before_last)
        )
        some, mean, deviation = (one[:, go_on] for one in (some, mean, deviation))
        share, upper, wanted = (one[go_on] for one in (share, upper, wanted))
    return np.exp(found)


def _deviation(spread: Any) -> Any:
    """Return the deviation of a row's logarithm, in units of that of all rows."""
    return _LEAST_SPREAD + (_LARGEST_SPREAD - _LEAST_SPREAD) * sigmoid(spread)


def purchase_process(log_rate: Any) -> tuple[Any, Any, Any]:
    """Return properties of Poisson processes, given the logarithms of their rates.

    They are the rate, the logarithm of the probability ``p = 1 - exp(-rate)`` of any
    purchase, and the logarithm of ``rate / p``, the mean number of purchases if there
    are any.
    """
    xp = array_namespace(log_rate)
    low, beyond = log_rate.clip(max=_STEEPEST), (log_rate - _STEEPEST).clip(min=0)
    rate = xp.exp(low) * (1 + beyond)
    # For small rates p = rate to 2e-5. exp(log_rate) may underflow in float32, and the
    # 1.0 keeps the gradient of the branch that is not taken finite.
    rare = log_rate < -10
    log_some = xp.log(-xp.expm1(-xp.where(rare, 1.0, rate)))
    log_some = xp.where(rare, log_rate, log_some)
    return rate, log_some, low + xp.log1p(beyond) - log_some


def _refuse_overflow(logs: np.ndarray, scale: np.ndarray, most: np.ndarray) -> None:
    """Raise a ValueError if means or quantiles may exceed float64.

    Quantiles may be several deviations above the largest logarithm.
    """
    beyond = logs + _MARGIN * scale > np.log(np.finfo("float64").max)
    if beyond.any():
        raise ValueError(
            f"y holds amounts of up to {most[beyond].max():g}, beyond which the "
            "zero-inflated log-normal loss could predict more than a float can hold. "
            "Drop these rows if the amounts are wrong; if not, divide y by a constant, "
            "and multiply predictions by it."
        )
