"""Discrete-time hazards of one or several competing kinds of events.

The hazard of a bin is the probability of an event in it, given none before; `Hazards`
has the formulas. With one kind, this is the logistic hazard of Gensheimer and
Narasimhan (2019, https://doi.org/10.7717/peerj.6257), with several the multinomial one
of Tutz and Schmid (2016, chapter 8, https://doi.org/10.1007/978-3-319-28158-2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._columns import SurvivalTargets, read_survival_targets
from sklearn_seqcrm._recurrent.data import Array, softmax, softplus
from sklearn_seqcrm._recurrent.objectives._bins import bin_edges, event_mass, time_step
from sklearn_seqcrm._recurrent.objectives._objective import Objective
from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    bin_and_share,
    durations_as_numbers,
    hazard_at,
    incidence_at_edges,
    refuse_outside,
)
from sklearn_seqcrm._recurrent.objectives._weights import with_weight

# Least share of all rows at risk in a bin: others are a pseudo-count at the usual rate.
# A share, so that a weight of 2 remains equal to two copies of a row.
_LEAST_AT_RISK = 0.01
# Initial hazards: a bin has at least this share of the usual rate, a kind at least this
# share of the least rows at risk as events, and a bin in which all rows had their event
# this share of them left over.
_LEAST = 0.01


class Hazards(Objective):
    """Discrete-time hazards, by the likelihood of right-censored times.

    With outputs ``z[k, j]`` of kind ``k`` in bin ``j``, the hazard is ``h[k, j] =
    exp(z[k, j]) / (1 + sum over l of exp(z[l, j]))``, and the hazard of any event
    ``h[j] = sum over k of h[k, j]``. With ``H[j] = -log(1 - h[j]) = log(1 + sum over k
    of exp(z[k, j]))``, the loss of a row is::

        H[0] + ... + H[J] - z[k, J]             event of kind k in bin J
        H[0] + ... + H[J - 1] + f * H[J]        censored after a fraction f of bin J

    In bin J of an event, ``H[J] - z[k, J]`` is ``-log(h[k, J])``. A row is censored
    after the events of the same time, as in the Kaplan-Meier estimate: if times are
    whole days, it was observed to the end of the day, or of the step between times.
    `bins` is the parameter of `LSTMSurvival`.
    """

    name = "log_likelihood"
    shifts = True
    # (n_bins + 1,), float64: edges of the bins, from 0 on, see `bin_edges`.
    edges: np.ndarray
    kinds: np.ndarray  # (n_kinds,), int64: kinds of events before the last edge
    # (n_bins,), float64: share of the training rows' events in each bin.
    mass: np.ndarray
    in_days: bool  # whether times are days, because the first ones were durations
    step: float  # step between times, such as a day; 0 if there is none
    last_event: float  # time of the last event of the training rows

    def __init__(self, bins: Any) -> None:
        super().__init__()
        self._bins = bins

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The bins, in a form that can be compared."""
        bins = self._bins
        if np.iterable(bins) and not isinstance(bins, str):
            bins = tuple(bins.tolist() if isinstance(bins, np.ndarray) else bins)
        return {"bins": bins}

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    # Targets ----------------------------------------------------------------------

    def read(self, y: Any) -> np.ndarray:
        """Return kinds and times as columns, shape (n, 2), float64."""
        found = self.read_targets(y)
        return np.column_stack([found.kind, found.time])

    def read_targets(self, y: Any) -> SurvivalTargets:
        """Return kinds and times of any call; the first call determines their unit.

        After durations, numbers are days. After numbers, whose unit is unknown,
        durations are an error.
        """
        found = read_survival_targets(y)
        if not hasattr(self, "in_days"):
            self.in_days = found.in_days
        elif found.in_days and not self.in_days:
            raise TypeError(
                "The times of y are durations, and were plain numbers before; divide "
                "them by the unit of those."
            )
        return found

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn bins and kinds from the rows with a weight."""
        y, weight = with_weight(y, weight)
        kind, time = y[:, 0].astype("int64"), y[:, 1]
        if not kind.any():
            raise ValueError(
                f"None of the {len(kind)} rows has an event, so that there is nothing "
                "to learn. Use a longer horizon or earlier cutoffs, as time_to_next "
                "ends where the log does."
            )
        self.edges = bin_edges(self._bins, kind, time, weight, self.in_days)
        self.kinds = np.unique(kind[self._within(y)])
        if not len(self.kinds):
            raise ValueError(
                f"No event comes before {self.edges[-1]:g}, where the last of the bins "
                f"ends; the first one comes at {time[kind > 0].min():g}. Give bins "
                "edges after that."
            )
        self.mass = event_mass(self.edges, kind > 0, time, weight)
        self.step, self.last_event = time_step(time), time[kind > 0].max()
        self.n_outputs = len(self.kinds) * self.n_bins
        # Outputs of a kind, one for each bin, start with similar weights: a customer at
        # risk in one bin is mostly at risk in all. With independent weights for each
        # bin, the gradients of a common risk nearly cancel out in the layers before,
        # and training stops before these have learned anything. With equal weights,
        # differences between bins take long to learn.
        self.n_alike = self.n_bins

    def check(
        self, y: np.ndarray, weight: np.ndarray | None, is_full_data: bool
    ) -> None:
        y, _ = with_weight(y, weight)
        unknown = np.setdiff1d(y[self._within(y), 0], self.kinds).astype("int64")
        if len(unknown):
            raise ValueError(
                f"y has events of the kinds {unknown.tolist()}, which were not in the "
                f"first call, {self.kinds.tolist()}. Fit from the start."
            )

    def _within(self, y: np.ndarray) -> np.ndarray:
        """Return whether each row has an event before the last edge, shape (n,)."""
        return (y[:, 0] > 0) & (y[:, 1] < self.edges[-1])

    def encode(self, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Return bins passed and number of the event, shape (n, 2), float32.

        The bin of an event counts as passed in full, because times within a bin are
        equivalent. The bin of a censoring time counts by the share that was observed.
        Events are numbered from 1 on; 0 is censored.
        """
        kind, time = y[:, 0], y[:, 1]
        at, share = bin_and_share(self._end_of_step(kind, time), self.edges)
        passed = at + np.minimum(share, 1.0)  # times beyond the last edge pass all bins
        number = np.searchsorted(self.kinds, kind) + 1
        number[~(self._within(y) & np.isin(kind, self.kinds))] = 0
        passed = np.where(number > 0, at + 1.0, passed)
        return np.column_stack([passed, number]).astype("float32")

    def _end_of_step(self, kind: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return times, those of censored rows at the end of their step, shape (n,).

        Not after the last event: a horizon ends before the events of its last time.
        """
        ends = (kind == 0) & (time <= self.last_event)
        if self.step:
            steps = time / self.step  # whole numbers but for rounding errors
            # Tighter than the 1e-12 by which a time may be just before a step.
            ends &= np.abs(steps - np.rint(steps)) <= 2e-13 * steps
        return np.where(ends, time + self.step, time)

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Return the log odds of the hazards of all rows, kinds one after the other."""
        n_bins, n_kinds = self.n_bins, len(self.kinds)
        passed, number = target[:, 0].astype("float64"), target[:, 1].astype("int64")
        weight = np.ones(len(target)) if weight is None else weight
        came = number > 0
        place = (number[came] - 1) * n_bins + passed[came].astype("int64") - 1
        # Weight of the events of each kind and bin.
        of_each = np.bincount(place, weight[came], n_kinds * n_bins)
        events = of_each.reshape(n_kinds, n_bins)
        # Rows at risk in each bin; censored ones by the share that was observed.
        at_risk = np.array([weight @ np.clip(passed - j, 0, 1) for j in range(n_bins)])
        few = _LEAST_AT_RISK * weight.sum()
        # A kind that only other rows have also has a hazard.
        total = np.maximum(events.sum(axis=1, keepdims=True), _LEAST * few)
        rate = total / max(at_risk.sum(), few)
        # Of rows that were censored early, few or none reach the last bins.
        pseudo = np.maximum(few - at_risk, 0)
        events, at_risk = events + rate * pseudo, at_risk + pseudo
        left = np.maximum(at_risk - events.sum(axis=0), _LEAST * at_risk)
        return np.log(np.maximum(events, _LEAST * rate * at_risk) / left).ravel()

    # Loss -------------------------------------------------------------------------

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        n_bins = self.n_bins
        passed, number = target.unbind(1)  # (n,) each
        position = torch.arange(n_bins, dtype=passed.dtype, device=passed.device)
        share = (passed[:, None] - position).clamp(0, 1)  # passed of each, (n, n_bins)
        losses = (share * bin_hazards(self._odds(outputs))).sum(dim=1)
        # Position of the output of the event among (n_kinds * n_bins); censored rows
        # read any.
        place = (number - 1) * n_bins + passed - 1
        place = place.clamp(min=0).long()
        came = outputs.gather(1, place[:, None]).squeeze(1)
        return losses - torch.where(number > 0, came, torch.zeros_like(came))

    def _odds(self, outputs: Any) -> Any:
        """Return the log odds against no event, shape (n, n_kinds, n_bins)."""
        return outputs.reshape(-1, len(self.kinds), self.n_bins)

    # Predictions ------------------------------------------------------------------

    def combine(
        self, predict: Callable[..., Array], outputs: Sequence[Array], *args: Any
    ) -> Array:
        return predict(self.average_networks(outputs), *args)

    def average_networks(self, outputs: Sequence[Array]) -> Array:
        """Average the networks' survival curves and return the equivalent outputs.

        The survival at each edge and the incidence of each kind are means over the
        networks. Means of hazards would not be: a network that predicts an early event
        has less weight in later bins.
        """
        if len(outputs) == 1:
            return outputs[0]
        odds = [self._odds(one) for one in outputs]
        # log S(j), the survival after bin j, and log(S(j) * exp(z[k, j])), the log
        # probability of an event of kind k in bin j.
        left = [-bin_hazards(one)[:, None].cumsum(axis=2) for one in odds]
        came = [a + b for a, b in zip(left, odds, strict=True)]
        # log(sum of S * exp(z) / sum of S): the networks' number cancels.
        mean = reduce(np.logaddexp, came) - reduce(np.logaddexp, left)
        return mean.reshape(-1, self.n_outputs)

    def cumulative_hazard(self, outputs: Array) -> Array:
        """Return the hazard of any event up to each edge, shape (n, n_bins + 1)."""
        hazard = bin_hazards(self._odds(outputs)).cumsum(axis=1)
        return np.concatenate([np.zeros_like(hazard[:, :1]), hazard], axis=1)

    def shares(self, outputs: Array) -> Array:
        """Return the share of each kind in events of a bin, (n, n_kinds, n_bins)."""
        return softmax(self._odds(outputs))

    def incidence(self, outputs: Array, times: np.ndarray | None = None) -> Array:
        """Return the chances of no event and of each kind before some times.

        `outputs` are those of one network, or those equivalent to several. `times`
        (n_times,) lie between the first and the last edge; None: all edges. The result
        has the shape (n, 1 + n_kinds, n_times): first no event, then each kind, adding
        up to 1.
        """
        hazard, shares = self.cumulative_hazard(outputs), self.shares(outputs)
        at_edges = incidence_at_edges(hazard, shares)
        if times is None:
            return at_edges
        at, _ = bin_and_share(times, self.edges)
        before = at_edges[:, :, at]
        left = np.exp(-hazard_at(hazard, self.edges, times))[:, None]
        # Events between the edge before and the time itself.
        own = shares[:, :, at] * (before[:, :1] - left)
        return np.concatenate([left, before[:, 1:] + own], axis=1)

    def times(self, values: Any, what: str, n_repeats: int = 1) -> np.ndarray:
        """Return one time within the bins or several, in the unit of the targets.

        Each is repeated `n_repeats` times; errors name them `what`.
        """
        times = durations_as_numbers(values, what, self.in_days).repeat(n_repeats)
        refuse_outside(times, self.edges, what)
        return times

    def predict(self, outputs: Array) -> Array:
        """Return the risk: the chance to precede a random training event, (n,)."""
        survival = np.exp(-self.cumulative_hazard(outputs))
        # Within a bin, the order of two events is a coin toss: the mean of its edges.
        return 1 - (survival[:, 1:] + survival[:, :-1]) / 2 @ self.mass

    @property
    def predictions(self) -> dict[str, Callable[[Array], Array]]:
        curves: dict[str, Callable[[Array], Array]] = {
            "prediction": self.predict,
            "cumulative_hazard": self.cumulative_hazard,
        }
        if len(self.kinds) > 1:
            curves["incidence"] = self.incidence
        return curves

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "edges": self.edges.tolist(),
            "kinds": self.kinds.tolist(),
            "in_days": self.in_days,
        }


def bin_hazards(odds: Any) -> Any:
    """Return the hazard of any event in each bin, (n, n_bins), from odds of the kinds.

    It is ``-log(1 - h) = log(1 + sum over kinds of exp(odds))``, with log odds against
    no event of shape (n, n_kinds, n_bins): a Tensor, ndarray or GraphTensor.
    """
    if not isinstance(odds, Tensor):
        return np.logaddexp.reduce(odds, axis=1, initial=0.0)
    if odds.shape[1] == 1:
        return softplus(odds.squeeze(1))
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], dim=1).logsumexp(dim=1)
