"""The hazard of events in bins of time: what a survival network is trained for.

In bin ``j`` a row that had no event before has one of kind ``k`` with the probability
``h[k, j] = exp(z[k, j]) / (1 + sum over kinds of exp(z[:, j]))``, where ``z`` are the
outputs. With one kind that is the logistic hazard of Gensheimer and Narasimhan (2019),
with several the multinomial one of Tutz and Schmid (2016, chapter 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._columns import SurvivalTargets, read_survival_targets
from sklearn_seqcrm._recurrent.objectives._objective import (
    Array,
    Objective,
    softmax,
    softplus,
)
from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    bin_and_share,
    duration_as_number,
    durations_as_numbers,
    hazard_at,
    incidence_at_edges,
    refuse_outside,
)
from sklearn_seqcrm._recurrent.objectives._weights import has_weight

# Bins of one length are as many as the times are long; a typing error may be millions.
_MOST_BINS = 10_000
# Milliseconds of a day, and six decimal places.
_LARGEST_DENOMINATOR = 86_400_000


def bin_edges(
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
        return _quantile_edges(int(bins), kind, time, weight, end)
    if (time[kind > 0] == end).any():
        end = np.nextafter(end, np.inf)  # an edge there would leave that event out
    if isinstance(bins, str) or not np.iterable(bins):
        return _equal_edges(duration_as_number(bins, "bins", in_days), end)
    edges = durations_as_numbers(list(bins), "bins", in_days)
    if len(edges) and edges[0] > 0:
        edges = np.append(0.0, edges)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(
            "bins must be edges that ascend, one beyond 0 at least; got "
            f"{edges.tolist()}."
        )
    # No row was observed in later bins.
    return edges[: np.searchsorted(edges[1:], end) + 2]


def _quantile_edges(
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


def _equal_edges(length: float, end: float) -> np.ndarray:
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


def event_mass(
    edges: np.ndarray, event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Share of events that come in each bin, of those in any, shape (n_bins,).

    A bin includes the events at its left edge, but not those at its right edge.
    """
    moments, survival = kaplan_meier(event, time, weight)
    before = np.searchsorted(moments, edges)
    fallen = np.append(0.0, 1 - survival)[before]
    return np.diff(fallen) / fallen[-1]


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
            used = has_weight(weight)
            y, weight = y[used], weight[used]
        kind, time = y[:, 0].astype("int64"), y[:, 1]
        if not kind.any():
            raise ValueError(
                f"None of the {len(kind)} rows has an event, so that nothing says when "
                "one comes. Use a longer horizon or earlier cutoffs, as time_to_next "
                "ends where the log does."
            )
        self.edges = bin_edges(self._bins, kind, time, weight, self.in_days)
        self.kinds = np.unique(kind[self._within(y)])
        if not len(self.kinds):
            raise ValueError(
                f"No event comes before {self.edges[-1]:g}, where the last of the bins "
                f"ends; the first one comes at {time[kind > 0].min():g}. Give bins "
                "edges that go on beyond that."
            )
        self.mass = event_mass(self.edges, kind > 0, time, weight)
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
        losses = (share * bin_hazards(self._odds(outputs))).sum(dim=1)
        place = (number - 1) * n_bins + passed - 1  # of events; negative for others
        place = place.clamp(min=0).long()
        came = outputs.gather(1, place[:, None]).squeeze(1)
        return losses - torch.where(number > 0, came, torch.zeros_like(came))

    def _odds(self, outputs: Any) -> Any:
        """Logarithms of odds against no event, shape (n, n_kinds, n_bins)."""
        return outputs.reshape(-1, len(self.kinds), len(self.edges) - 1)

    # Predictions ------------------------------------------------------------------

    def combine(
        self, predict: Callable[..., Array], outputs: Sequence[Array], *args: Any
    ) -> Array:
        return predict(self.average_networks(outputs), *args)

    def average_networks(self, outputs: Sequence[Array]) -> Array:
        """Average the networks' survival curves and return the equivalent outputs.

        The chances to be left at each edge, and those of each kind until then, are
        means. A network that has taken a row for gone has less of a say in later bins.
        """
        if len(outputs) == 1:
            return outputs[0]
        odds = [self._odds(one) for one in outputs]
        # Logarithms of the survival after each bin, and of chances of an event in it.
        left = [-bin_hazards(one)[:, None].cumsum(axis=2) for one in odds]
        came = [a + b for a, b in zip(left, odds, strict=True)]
        mean = reduce(np.logaddexp, came) - reduce(np.logaddexp, left)
        return mean.reshape(-1, self.n_outputs)

    def cumulative_hazard(self, outputs: Array) -> Array:
        """Return the hazard of any event up to each edge, shape (n, n_bins + 1)."""
        hazard = bin_hazards(self._odds(outputs)).cumsum(axis=1)
        return np.concatenate([np.zeros_like(hazard[:, :1]), hazard], axis=1)

    def shares(self, outputs: Array) -> Array:
        """Chance that an event in a bin is of each kind, (n, n_kinds, n_bins)."""
        return softmax(self._odds(outputs))

    def incidence(self, outputs: Array, times: np.ndarray | None = None) -> Array:
        """Return the chances of no event and of each kind before some times.

        Parameters
        ----------
        outputs : ndarray of shape (n, n_outputs) or GraphTensor
            Outputs of one network, or those equivalent to several.
        times : ndarray of shape (n_times,) or None, default=None
            Times between the first and the last edge. None: all edges.

        Returns
        -------
        ndarray of shape (n, 1 + n_kinds, n_times) or GraphTensor
            The first is that of no event; they add up to 1.
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

    def times(self, values: Any, what: str) -> np.ndarray:
        """Return times within the bins as numbers in the unit of the targets.

        Parameters
        ----------
        values : number, duration, or array-like of n of these
            One time or several.
        what : str
            How an error names them.
        """
        times = durations_as_numbers(values, what, self.in_days)
        refuse_outside(times, self.edges, what)
        return times

    def predict(self, outputs: Array) -> Array:
        """Chance to be before a random event of the training rows, shape (n,)."""
        survival = np.exp(-self.cumulative_hazard(outputs))
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
    """``-log(1 - h)`` of each bin: ``log(1 + sum over kinds of exp(odds))``.

    Parameters
    ----------
    odds : Tensor, ndarray or GraphTensor of shape (n, n_kinds, n_bins)
        Logarithms of odds against no event.

    Returns
    -------
    Tensor, ndarray or GraphTensor of shape (n, n_bins)
        Hazard of any event in each bin.
    """
    if not isinstance(odds, torch.Tensor):
        return np.logaddexp.reduce(odds, axis=1, initial=0.0)
    if odds.shape[1] == 1:
        return softplus(odds.squeeze(1))
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], dim=1).logsumexp(dim=1)
