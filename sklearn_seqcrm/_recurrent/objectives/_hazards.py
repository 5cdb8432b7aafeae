"""The hazard of events in bins of time: what a survival network is trained for.

In bin ``j`` a row that had no event before has one of kind ``k`` with the probability
``h[k, j] = exp(z[k, j]) / (1 + sum over kinds of exp(z[:, j]))``, where ``z`` are the
outputs. With one kind that is the logistic hazard of Gensheimer and Narasimhan (2019),
with several the multinomial one of Tutz and Schmid (2016, chapter 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import logsumexp
from torch import nn

from sklearn_seqcrm._columns import SurvivalTargets, read_survival_targets
from sklearn_seqcrm._durations import DAY
from sklearn_seqcrm._recurrent.objectives._objective import Objective
from sklearn_seqcrm._recurrent.objectives._onnx_graph import Graph, OnnxOutput
from sklearn_seqcrm._recurrent.objectives._weights import of_any_weight
from sklearn_seqcrm._store import one_or_many

_EXAMPLE = "for example pd.Timedelta(days=14) or '14D'"
# Bins of one length are as many as the times are long; a typing error may be millions.
_MOST_BINS = 10_000
# Milliseconds of a day, and six decimal places.
_LARGEST_DENOMINATOR = 86_400_000


def edges_of(
    bins: Any,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    in_days: bool,
) -> np.ndarray:
    """Edges of the bins, the first of which is 0.

    Parameters
    ----------
    bins : int, str, Timedelta or sequence
        How many, of what length, or the edges.
    kind : ndarray of shape (n,), int64
        Kind of the event of each row, 0 for none.
    time : ndarray of shape (n,), float64
        Time to it, or to the end of the watch.
    weight : ndarray of shape (n,) or None
        Weight of each row.
    in_days : bool
        Whether times are days, so that durations have a meaning.

    Returns
    -------
    ndarray of shape (n_bins + 1,), float64
        Ascending. Bins are half-open, ``[edges[j], edges[j + 1])``, so that an event at
        the last edge is in none of them. Edges that are given, or at equal distances,
        go on beyond the last event. Those of quantiles end at the longest time, as
        there is no natural length for a bin beyond it.
    """
    end = time.max() or 1.0
    if isinstance(bins, int | np.integer):
        return _edges_of_quantiles(int(bins), kind, time, weight, end)
    if (time[kind > 0] == end).any():
        end = np.nextafter(end, np.inf)  # an edge there would leave that event out
    if isinstance(bins, str) or not np.iterable(bins):
        return _edges_of_length(as_number(bins, "bins", in_days), end)
    edges = as_numbers(list(bins), "bins", in_days)
    if len(edges) and edges[0] > 0:
        edges = np.append(0.0, edges)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(
            "bins must be edges that ascend, one beyond 0 at least; got "
            f"{edges.tolist()}."
        )
    # No row was observed in later bins.
    return edges[: np.searchsorted(edges[1:], end) + 2]


def _edges_of_quantiles(
    n_bins: int,
    kind: np.ndarray,
    time: np.ndarray,
    weight: np.ndarray | None,
    end: float,
) -> np.ndarray:
    """Edges between which the Kaplan-Meier estimate falls by equal amounts."""
    moments, survival = kaplan_meier(kind > 0, time, weight)
    if moments[0] == end:  # all events come at the longest time
        return np.array([0.0, end, 2 * end])
    before = np.append(0.0, 1 - survival)  # the fall before each moment, and after all
    # An edge is not put off to the next moment by what rounding leaves.
    levels = before[-1] * np.arange(1, n_bins) / n_bins * (1 - 1e-12)
    at = np.searchsorted(before[:-1], levels)
    edges = np.unique(np.append(0.0, moments[at[at < len(moments)]]))
    # Where a long watch follows the last event, it is a bin of its own.
    last = time[time > moments[-1]].min(initial=end)
    if end - last > last - edges[-1]:
        edges = np.append(edges[edges < last], last)
    return np.append(edges[edges < end], end)


def _edges_of_length(length: float, end: float) -> np.ndarray:
    """Edges at equal distances, the last of which no time exceeds."""
    if not length > 0:
        raise ValueError("bins must be longer than 0.")
    if end / length > _MOST_BINS:
        raise ValueError(
            f"bins of the length {length:g} would be more than {_MOST_BINS:,} until "
            f"{end:g}, where the longest watch ended; choose longer ones."
        )
    # An hour is 1/24 of a day: 5 * (1 / 24) is above 5 / 24, and an event at 5 hours
    # would be in the bin before.
    ratio = Fraction(length).limit_denominator(_LARGEST_DENOMINATOR)
    edges = np.arange(int(end / length) + 3) * length
    if float(ratio) == length:
        edges = np.arange(len(edges)) * ratio.numerator / ratio.denominator
    return edges[: np.searchsorted(edges, end) + 1]


def kaplan_meier(
    event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows without an event, after each time at which there was one.

    Parameters
    ----------
    event : ndarray of shape (n,), bool
        Whether time ended with an event, in one row at least.
    time : ndarray of shape (n,), float64
        Time to the event, or to the end of the watch.
    weight : ndarray of shape (n,) or None
        Weight of each row.

    Returns
    -------
    moments, survival : ndarray of shape (n_moments,)
        Different times of events, ascending, and the shares.
    """
    moments, place = np.unique(time, return_inverse=True)
    weight = np.ones(len(time)) if weight is None else weight
    ended = np.bincount(place, weight)
    came = np.bincount(place, weight * event)
    at_risk = np.cumsum(ended[::-1])[::-1]
    survival = np.cumprod(1 - came / at_risk)
    return moments[came > 0], survival[came > 0]


def mass_of(
    edges: np.ndarray, event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Share of events that come in each bin, of those in any, shape (n_bins,).

    A bin includes the events at its left edge, but not those at its right edge.
    """
    moments, survival = kaplan_meier(event, time, weight)
    before = np.searchsorted(moments, edges)
    fallen = np.append(0.0, 1 - survival)[before]
    return np.diff(fallen) / fallen[-1]


def as_numbers(values: Any, what: str, in_days: bool) -> np.ndarray:
    """Lengths of time in the unit of the targets, shape (n,).

    Parameters
    ----------
    values : number, duration, or array-like of n of these
        One length of time or several; durations as ``pd.Timedelta`` takes them.
    what : str
        How an error names them.
    in_days : bool
        Whether that unit is a day.
    """
    if isinstance(values, pd.Series | pd.Index | np.ndarray) and values.ndim:
        if values.dtype.kind == "m" and in_days:
            values = np.asarray(values) / DAY
        if values.dtype.kind in "iuf":
            return _finite(np.asarray(values, dtype="float64"), what)
        if values.dtype.kind == "U":
            values = values.tolist()  # an error shows text as text
    numbers = [as_number(value, what, in_days) for value in one_or_many(values, what)]
    return np.array(numbers, dtype="float64")


def as_number(value: Any, what: str, in_days: bool) -> float:
    """One length of time in the unit of the targets."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, int | float | np.number) and not isinstance(
        value, bool | np.timedelta64
    ):
        return float(_finite(np.array([value], dtype="float64"), what)[0])
    try:
        if isinstance(value, bool | np.bool_) or _is_decimal(value):
            raise ValueError("a length of time has a unit")
        length = pd.Timedelta(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be a number or a length of time, {_EXAMPLE}; got {value!r}."
        ) from error
    if not in_days:
        raise TypeError(
            f"{what} must be a number, because the times of y were plain numbers; got "
            f"{value!r}. time_to_next gives durations, if the log has datetimes."
        )
    return float(_finite(np.array([length / DAY]), what)[0])


def _is_decimal(value: Any) -> bool:
    """Whether text is a bare number, which pandas would take for nanoseconds."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _finite(numbers: np.ndarray, what: str) -> np.ndarray:
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        raise ValueError(
            f"{what} must be finite and not negative; got {numbers[wrong][0]}."
        )
    return numbers


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
    def hyperparameters(self) -> dict[str, Any]:
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

    def average_networks(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
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

    def answers(self, graph: Graph, outputs: Sequence[str]) -> dict[str, OnnxOutput]:
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
            "prediction": OnnxOutput(add("Sub", constant(1.0), risk), ()),
            "cumulative_hazard": OnnxOutput(hazard, (n_bins + 1,)),
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
            answers["incidence"] = OnnxOutput(incidence, (1 + n_kinds, n_bins + 1))
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
    """As `Hazards.average_networks`, in a graph of ONNX."""
    add, axis = graph.add, graph.constant(2, "int64")
    left = [add("Neg", add("CumSum", _left_over_in(graph, o), axis)) for o in odds]
    came = [add("Add", a, b) for a, b in zip(left, odds, strict=True)]
    return add("Sub", _log_sum_in(graph, came), _log_sum_in(graph, left))


def _log_sum_in(graph: Graph, logs: Sequence[str]) -> str:
    """Logarithm of the sum of what tensors of one shape are logarithms of."""
    top = graph.add("Max", *logs)
    each = [graph.add("Exp", graph.add("Sub", one, top)) for one in logs]
    return graph.add("Add", top, graph.add("Log", graph.add("Sum", *each)))
