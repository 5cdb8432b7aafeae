"""The hazard of events in bins of time: what a survival network is trained for.

In bin ``j`` a row that had no event before has one of kind ``k`` with the probability
``h[k, j] = exp(z[k, j]) / (1 + sum over kinds of exp(z[:, j]))``, where ``z`` are the
outputs. With one kind that is the logistic hazard of Gensheimer and Narasimhan (2019),
with several the multinomial one of Tutz and Schmid (2016, chapter 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import nn

from sklearn_seqcrm._reading import SurvivalTargets, read_survival_targets
from sklearn_seqcrm.neural_network._objectives import Objective
from sklearn_seqcrm.neural_network._onnx_graph import Answer, Graph
from sklearn_seqcrm.neural_network._scaling import of_any_weight
from sklearn_seqcrm.neural_network._time_bins import edges_of, mass_of

# Where a bin had no event, a share of the usual rate is where its outputs start; and
# where all rows had one, as large a share of them is taken for left over.
_LEAST = 0.01


class Hazards(Objective):
    """Chances of an event in each bin of time, by the likelihood of what was seen.

    Parameters
    ----------
    bins : int, str, Timedelta or sequence
        As users give it.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,), float64
        Edges of the bins, from 0 on. Bins are half-open, ``[edges[j], edges[j + 1])``:
        an event at an edge belongs to the later bin, and an event at the last edge is
        in no bin.
    kinds : ndarray of shape (n_kinds,), int64
        Kinds of events that come before the last edge.
    mass : ndarray of shape (n_bins,), float64
        Share of the training rows' events that come in each bin.
    """

    name = "log_likelihood"
    edges: np.ndarray
    kinds: np.ndarray
    mass: np.ndarray

    def __init__(self, bins: Any) -> None:
        super().__init__()
        self._bins = bins
        self._in_days: bool | None = None

    @property
    def chosen_by(self) -> dict[str, Any]:
        """Parameters that chose it: the bins, as they can be compared."""
        bins = self._bins
        if np.iterable(bins) and not isinstance(bins, str):
            bins = tuple(bins.tolist() if isinstance(bins, np.ndarray) else bins)
        return {"bins": bins}

    @property
    def in_days(self) -> bool:
        """Whether times are days, as they were durations in the first call."""
        return bool(self._in_days)

    # Targets ----------------------------------------------------------------------

    def read(self, y: Any) -> np.ndarray:
        """Kinds and times, shape (n, 2), float64."""
        found = self.read_targets(y)
        return np.column_stack([found.kind, found.time])

    def read_targets(self, y: Any) -> SurvivalTargets:
        """Kinds and times of any call; the first one settles their unit.

        Numbers are days where durations came before. Durations are no numbers of an
        unknown unit.
        """
        found = read_survival_targets(y)
        if self._in_days is None:
            self._in_days = found.in_days
        elif found.in_days and not self._in_days:
            raise TypeError(
                "The times of y are durations, and were plain numbers before; divide "
                "them by the unit of those."
            )
        return found

    def learn(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Learn the bins and the kinds, which rows of weight 0 do not say."""
        if weight is not None:
            used = of_any_weight(weight)
            y, weight = y[used], weight[used]
        kind, time = y[:, 0].astype("int64"), y[:, 1]
        if not kind.any():
            raise ValueError(
                f"None of the {len(kind)} rows has an event, so that nothing says when "
                "one comes. Use a longer horizon or earlier cutoffs, as time_to_next "
                "ends where the log does."
            )
        self.edges = edges_of(self._bins, kind, time, weight, self.in_days)
        self.kinds = np.unique(kind[self._within(y)])
        if not len(self.kinds):
            raise ValueError(
                f"No event comes before {self.edges[-1]:g}, where the last of the bins "
                f"ends; the first one comes at {time[kind > 0].min():g}. Give bins "
                "edges that go on beyond that."
            )
        self.mass = mass_of(self.edges, kind > 0, time, weight)
        self.n_outputs = len(self.kinds) * (len(self.edges) - 1)

    def check(self, y: np.ndarray, whole: bool) -> None:
        unknown = np.setdiff1d(y[self._within(y), 0], self.kinds).astype("int64")
        if len(unknown):
            raise ValueError(
                f"y has events of the kinds {unknown.tolist()}, which were not in the "
                f"first call, {self.kinds.tolist()}. Fit from the start."
            )

    def _within(self, y: np.ndarray) -> np.ndarray:
        """Whether each row has an event before the last edge, shape (n,)."""
        return (y[:, 0] > 0) & (y[:, 1] < self.edges[-1])

    def encode(self, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """How many bins passed, and the number of the event, shape (n, 2), float32.

        Of a bin in which the watch ended, the share that was watched has passed, and
        all of one with an event: the bin is all that counts of its time. Events are
        numbered from 1 on; 0 is none.
        """
        kind, time = y[:, 0], y[:, 1]
        n_bins = len(self.edges) - 1
        at = np.searchsorted(self.edges, time, side="right") - 1
        at = np.minimum(at, n_bins - 1)
        begin, end = self.edges[at], self.edges[at + 1]
        passed = at + np.minimum((time - begin) / (end - begin), 1.0)
        number = np.searchsorted(self.kinds, kind) + 1
        number[~(self._within(y) & np.isin(kind, self.kinds))] = 0
        passed = np.where(number > 0, at + 1.0, passed)
        return np.column_stack([passed, number]).astype("float32")

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        """Outputs of the hazards of all rows, kinds one after the other."""
        n_bins, n_kinds = len(self.edges) - 1, len(self.kinds)
        passed, number = target[:, 0].astype("float64"), target[:, 1].astype("int64")
        weight = np.ones(len(target)) if weight is None else weight
        came = number > 0
        place = (number[came] - 1) * n_bins + passed[came].astype("int64") - 1
        events = np.bincount(place, weight[came], n_kinds * n_bins)
        events = events.reshape(n_kinds, n_bins)
        at_risk = np.array([weight @ np.clip(passed - j, 0, 1) for j in range(n_bins)])
        rate = events.sum(axis=1, keepdims=True) / at_risk.sum()
        left = np.maximum(at_risk - events.sum(axis=0), _LEAST * at_risk)
        return np.log(np.maximum(events, _LEAST * rate * at_risk) / left).ravel()

    # The network ------------------------------------------------------------------

    def forward(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        n_bins = len(self.edges) - 1
        passed, number = target.unbind(1)
        position = torch.arange(n_bins, dtype=passed.dtype, device=passed.device)
        share = (passed[:, None] - position).clamp(0, 1)  # (n, n_bins)
        losses = (share * self._minus_log_left(outputs, n_bins)).sum(dim=1)
        place = (number - 1) * n_bins + passed - 1  # of events; negative for others
        place = place.clamp(min=0).long()
        came = outputs.gather(1, place[:, None]).squeeze(1)
        return losses - torch.where(number > 0, came, torch.zeros_like(came))

    def _minus_log_left(self, outputs: torch.Tensor, n_bins: int) -> torch.Tensor:
        """``-log(1 - h)`` of each bin, over all kinds of events; (n, n_bins)."""
        if len(self.kinds) == 1:
            return nn.functional.softplus(outputs)
        odds = outputs.unflatten(1, (len(self.kinds), n_bins))
        none = torch.zeros_like(odds[:, :1])
        return torch.cat([none, odds], dim=1).logsumexp(dim=1)

    # What outputs say -------------------------------------------------------------

    def of_several(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """Outputs that say what several networks say in the mean, of the shape of each.

        The chances to be left at each edge, and those of each kind until then, are
        means. A network that has taken a row for gone has less of a say in later bins.
        """
        odds = np.stack([self._odds(one) for one in outputs])
        stays = -np.logaddexp.reduce(odds, axis=2, keepdims=True, initial=0.0)
        left = np.cumsum(stays, axis=-1)  # logarithms, as all of these are
        came = logsumexp(left + odds, axis=0)
        return (came - logsumexp(left, axis=0)).reshape(outputs[0].shape)

    def cumulative_hazard(self, outputs: np.ndarray) -> np.ndarray:
        """Hazard of any event up to each edge, shape (n, n_bins + 1)."""
        total = np.logaddexp.reduce(self._odds(outputs), axis=1, initial=0.0)
        start = np.zeros((len(outputs), 1))
        return np.concatenate([start, np.cumsum(total, axis=1)], axis=1)

    def shares(self, outputs: np.ndarray) -> np.ndarray:
        """Chance that an event in a bin is of each kind, (n, n_kinds, n_bins)."""
        odds = self._odds(outputs)
        share = np.exp(odds - odds.max(axis=1, keepdims=True))
        return share / share.sum(axis=1, keepdims=True)

    def _odds(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs, which are logarithms of odds against no event, by kind and bin."""
        return outputs.reshape(len(outputs), len(self.kinds), -1)

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Chance to be before a random event of the training rows, shape (n,)."""
        survival = np.exp(-self.cumulative_hazard(outputs))
        return 1 - (survival[:, 1:] + survival[:, :-1]) / 2 @ self.mass

    def answers(self, graph: Graph, outputs: Sequence[str]) -> dict[str, Answer]:
        """Risks, cumulative hazards at the edges, and incidences of several kinds."""
        constant, add = graph.constant, graph.add
        n_kinds, n_bins = len(self.kinds), len(self.edges) - 1
        odds = [graph.shaped(one, (n_kinds, n_bins)) for one in outputs]
        odds_of_all = odds[0] if len(odds) == 1 else _of_several_in(graph, odds)
        first = add("Sub", odds_of_all, odds_of_all)
        first = add("ReduceSum", first, graph.integers(1, 2), keepdims=1)
        first = add("Squeeze", first, graph.integers(1))  # a 0 for each row
        passed = add("Squeeze", _left_over_in(graph, odds_of_all), graph.integers(1))
        passed = add("CumSum", passed, constant(1, "int64"))
        hazard = graph.join([first, passed], axis=1)
        left = add("Exp", add("Neg", hazard))
        sizes = [n_bins, 1]
        before = graph.split(left, sizes, axis=1)[0]
        after = graph.split(left, sizes[::-1], axis=1)[1]
        risk = add("MatMul", add("Add", before, after), constant(self.mass / 2))
        answers = {
            "prediction": Answer(add("Sub", constant(1.0), risk), ()),
            "cumulative_hazard": Answer(hazard, (n_bins + 1,)),
        }
        if n_kinds > 1:
            shares = add("Softmax", odds_of_all, axis=1)
            came = add("Unsqueeze", add("Sub", before, after), graph.integers(1))
            came = add("CumSum", add("Mul", shares, came), constant(2, "int64"))
            nothing = add("Unsqueeze", first, graph.integers(1))
            nothing = graph.join([nothing] * n_kinds, axis=1)
            came = graph.join([nothing, came], axis=2)
            none = add("Unsqueeze", left, graph.integers(1))
            incidence = graph.join([none, came], axis=1)
            answers["incidence"] = Answer(incidence, (1 + n_kinds, n_bins + 1))
        return answers


def _left_over_in(graph: Graph, odds: str) -> str:
    """``-log(1 - h)`` of each bin over all kinds, shape (n, 1, n_bins)."""
    add, zero = graph.add, graph.constant(0.0)
    top = add("Max", add("ReduceMax", odds, axes=[1], keepdims=1), zero)
    others = add("Exp", add("Sub", odds, top))
    others = add("ReduceSum", others, graph.integers(1), keepdims=1)
    total = add("Add", others, add("Exp", add("Neg", top)))
    return add("Add", top, add("Log", total))


def _of_several_in(graph: Graph, odds: Sequence[str]) -> str:
    """As `Hazards.of_several`, in a graph of ONNX."""
    add, axis = graph.add, graph.constant(2, "int64")
    left = [add("Neg", add("CumSum", _left_over_in(graph, o), axis)) for o in odds]
    came = [add("Add", a, b) for a, b in zip(left, odds, strict=True)]
    return add("Sub", _log_sum_in(graph, came), _log_sum_in(graph, left))


def _log_sum_in(graph: Graph, logs: Sequence[str]) -> str:
    """Logarithm of the sum of what tensors of one shape are logarithms of."""
    top = graph.add("Max", *logs)
    each = [graph.add("Exp", graph.add("Sub", one, top)) for one in logs]
    return graph.add("Add", top, graph.add("Log", graph.add("Sum", *each)))
