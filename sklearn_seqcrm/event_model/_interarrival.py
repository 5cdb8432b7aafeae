"""Interarrival times: a grid of resolution, and their distribution.

Recorded times have a resolution: an interarrival time of three days is any between two
and three. Its likelihood is the probability of that cell (interval censoring)::

    ticks       0    1    2    3    4    5     time of the log; here the step is 1
    events      A              B         |     | is the cutoff
    cell                  (2  , 3]             interarrival time of B: P(2 < x <= 3)
    censored                    (4, inf)       time since B when it is 2: P(x > 1)

The last, unfinished interarrival time is right censored at the cutoff: only that it
exceeds the steps that are over is known. On the axis of the density, a cell is an
interval of ``log(operational time / unit)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.network import float32_tensor
from sklearn_seqcrm._recurrent.objectives import time_step
from sklearn_seqcrm._store import saturating_add
from sklearn_seqcrm.event_model._event_rate import RatePrior
from sklearn_seqcrm.event_model._mixtures import (
    NO_ATOM,
    AtomMixture,
    MixtureDensity,
    start_of_components,
)
from sklearn_seqcrm.event_model._operational_time import OperationalTime
from sklearn_seqcrm.event_model._path_draws import PathDraws

# The grid ----------------------------------------------------------------------------

# Without a common step of all interarrival times, cells have this share of a typical
# one; closer times count as ties.
_FINE = 1e-6
# Fewer interarrival times than this may have a common divisor by chance (of ten days,
# one in a thousand), so that the times of all events decide about the step as well.
_FEW = 10
TIE = -1.0  # marks a tie in arrays of cell widths: two events at the same time


class InterarrivalGrid(NamedTuple):
    """Resolution and start values of interarrival times, learned from training."""

    unit: float  # ticks in a typical interarrival time
    # Largest number of ticks that all interarrival times are multiples of (if they are
    # few, also the times of all events); without one, a small part of `unit`.
    step: float
    tie_share: float  # share of the interarrival times that are 0; others are later
    some_ties: bool  # whether there are any; otherwise none is simulated
    # Quantiles of the log interarrival times that are not 0, in units, from which the
    # means of the components start.
    quantiles: tuple[float, ...]
    spread: float  # standard deviation of these logarithms
    # Share of the interarrival times above 0 that do not end within the record, from
    # which the probability of no further event starts.
    never_share: float
    # Time on which interarrival times are measured. A step has the weekday of the
    # moment that it ends at, as events are stamped with the start of their day, and so
    # the hour. None: calendar time.
    operational_time: OperationalTime | None = None
    rate_prior: RatePrior = RatePrior()  # prior of the rates of customers

    @classmethod
    def of(
        cls,
        interarrival: np.ndarray,
        starts: np.ndarray,
        time_since_last: np.ndarray,
        last: np.ndarray,
        unit: float,
        n_components: int,
        operational_time: OperationalTime | None,
        longest: float | None = None,
    ) -> InterarrivalGrid:
        """Learn from the interarrival times of training events.

        `interarrival` and `starts`, of shape (n,), are ticks between successive events,
        0 among them, and where they begin; `time_since_last` and `last`, (n_rows,),
        ticks from the last event of each row to its cutoff, and of this event.
        `n_components` is the number of log-normals. `unit` and `operational_time` are
        as in the class, the latter also with rates that are too fine for the step. If
        events come in visits, `longest` is the time, in ticks, beyond which longer
        times have no more weight.
        """
        some, censored = interarrival > 0, time_since_last > 0
        positive = interarrival[some]
        step = _common_step(_multiples(positive, starts, last, time_since_last))
        if step is None:
            step = _FINE * unit
        if operational_time is not None:
            operational_time = operational_time.in_steps(step)
        n_ties = len(interarrival) - len(positive)
        n_times = len(interarrival) + censored.sum()
        # A pseudo-count of half a tie and half an interarrival time above 0.
        tie_share = float((n_ties + 0.5) / (n_times + 1))
        # A censored time counts as twice the time so far: the expected total if the
        # cutoff is a random point in it. Without censored times, components would start
        # at the times of customers who come back soon.
        expected = np.concatenate([positive, 2 * time_since_last[censored]])
        if operational_time is not None:
            start = np.concatenate([starts[some], last[censored]])
            expected = operational_time.warp(_next_step(start, step), expected)
        logs = np.log(expected / unit) if len(expected) else np.zeros(1)
        weights = None
        if longest is not None:
            # Half of the weight by number and half by length: by number alone, nearly
            # all components would start within visits, and between visits is the next
            # event at most cutoffs.
            lengths = np.minimum(expected, longest).astype("float64")
            weights = 1 / len(lengths) + lengths / lengths.sum()
        quantiles, spread = start_of_components(logs, n_components, weights)
        return cls(
            unit,
            step,
            tie_share,
            some_ties=len(positive) < len(interarrival),
            quantiles=quantiles,
            spread=spread,
            never_share=_share_beyond(positive, time_since_last[censored]),
            operational_time=operational_time,
        )

    def steps(self, ticks: np.ndarray) -> np.ndarray:
        """Return the step that interarrival times end in, whole numbers, shape (n,).

        It is 0 for a tie, and for times shorter than the resolution of the grid.
        """
        return np.ceil(ticks / self.step - 1e-6)

    def cells(self, interarrival: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return upper ends and widths of cells on the log axis, (n, 2), float32.

        The cell of k steps is (k - 1, k] steps: for k = 1 the width on the log axis is
        infinite, and for k = 0 it is `TIE`. `interarrival`, of shape (n,), are ticks
        that begin at the ticks `starts`.
        """
        steps = self.steps(interarrival)
        some = steps > 0
        steps = np.maximum(steps, 1.0)
        warped, last = steps, np.ones(len(steps))
        if self.operational_time is not None:
            warped = self._warp_steps(steps, starts)
            before = ((steps - 1) * self.step).astype("int64")
            last = self._warp_steps(last, starts + before)
        upper = np.log(warped * (self.step / self.unit))
        with np.errstate(divide="ignore"):
            # Rounding may make the last step longer than all of them.
            width = -np.log1p(-np.minimum(last / warped, 1.0))
        width[~some] = TIE
        return np.column_stack([upper, width]).astype("float32")

    def lengths(self, cells: Tensor) -> Tensor:
        """Return the middle of cells of shape (n, 2) in units, 0 for ties, (n,)."""
        upper, width = cells.unbind(1)
        middle = upper.exp() * (1 + torch.exp(-width)) / 2
        return middle.masked_fill(width == TIE, 0.0)

    def log_censoring_time(
        self, time_since_last: np.ndarray, starts: np.ndarray
    ) -> np.ndarray:
        """Return the end of the last step that is over on the log axis, (n,), float64.

        It is the lower limit of censored interarrival times. `time_since_last`, of
        shape (n,), are ticks from the last events, at the ticks `starts`, to the end of
        the record.
        """
        steps = (self.steps(time_since_last) - 1).clip(0)
        with np.errstate(divide="ignore"):
            logs = np.log(self._warp_steps(steps, starts) * (self.step / self.unit))
        # If no step is over, a limit below any interarrival time.
        return np.maximum(logs, np.log(self.step / self.unit) - 50.0)

    def ticks(self, logs: np.ndarray, most: float, starts: np.ndarray) -> np.ndarray:
        """Return interarrival times in ticks, rounded up to whole steps, (n,), float64.

        `logs`, of shape (n,), float64, are logarithms of operational times in units
        that begin at the ticks `starts`, (n,). Times longer than `most` are cut to
        about this.
        """
        # No more operational time than this passes in `most` ticks.
        time = self.operational_time
        fastest = 1.0 if time is None else time.fastest
        bound = np.log(most * fastest / self.unit)
        ticks = np.exp(np.minimum(logs, bound)) * self.unit
        if time is not None:
            ticks = np.minimum(time.unwarp(_next_step(starts, self.step), ticks), most)
        return np.ceil(ticks / self.step - 1e-9).clip(1) * self.step

    def _warp_steps(self, steps: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the operational time of steps, in steps."""
        if self.operational_time is None:
            return steps
        start = _next_step(starts, self.step)
        return self.operational_time.warp(start, steps * self.step) / self.step


# Shares of the times beyond the record that the probability of no event starts from.
# In simulations of customers who die (.09 beyond the record), starting there took half
# of the log loss above the best possible that remained with .02. Beyond a tenth slow
# customers are taken for dead: from .44, CDNOW's totals of 39 weeks were 10% too low
# (2% from .1), and where nobody leaves the log loss was 2% larger.
_LEAST_NEVER, _MOST_NEVER = 1e-3, 0.1


def _share_beyond(ended: np.ndarray, censored: np.ndarray) -> float:
    """Estimate the share of interarrival times that exceed the record, .001 to .1.

    The Kaplan-Meier estimate, over the distinct times ``t`` of events, with ``d(t)``
    events and ``n(t)`` times that are not shorter, is::

        S = product of 1 - d(t) / n(t)

    as long as n(t) is at least a hundredth of all times: the last few times would
    decide alone about later factors. Its limit is an estimate of the cured fraction
    (Maller and Zhou, "Estimating the Proportion of Immunes in a Censored Sample",
    Biometrika 79(4), 1992).
    """
    times, n_ended = np.unique(ended, return_counts=True)
    at_risk = n_ended[::-1].cumsum()[::-1]
    at_risk = at_risk + len(censored) - np.searchsorted(np.sort(censored), times)
    counted = at_risk >= max(2, (len(ended) + len(censored)) / 100)
    share = np.prod(1 - n_ended[counted] / at_risk[counted])
    return float(np.clip(share, _LEAST_NEVER, _MOST_NEVER))


def _next_step(times: np.ndarray, step: float) -> np.ndarray:
    """Return the end of the step that begins at each time or before it.

    Events are stamped with the start of their day. So a step that ends at a time has
    the rate of the day that begins there: durations are warped one step later.
    """
    return saturating_add(times - times % int(step), int(step))


def _multiples(
    positive: np.ndarray,
    starts: np.ndarray,
    last: np.ndarray,
    time_since_last: np.ndarray,
) -> np.ndarray:
    """Return times that are multiples of the step, shape (n,), one at least.

    They are the interarrival times `positive`; of few, also the times of all events
    since the first of them; and where all events are at one time, the times to the
    cutoffs. Other arguments are as in `InterarrivalGrid.of`.
    """
    if len(positive) >= _FEW:
        return positive
    times = np.concatenate([starts, last])
    since = times - times.min()
    found = np.concatenate([positive, since[since > 0]])
    return found if len(found) else time_since_last


def _common_step(times: np.ndarray) -> float | None:
    """Return the largest step that all times are multiples of; None without one."""
    if times.dtype.kind == "f":
        # Only whole numbers that a float holds exactly have a common divisor.
        is_whole = np.equal(times, np.floor(times)).all()
        if not (is_whole and times.max() < 2.0**53):
            return time_step(times) or None
        times = times.astype("int64")
    return float(np.gcd.reduce(times))


# The distribution --------------------------------------------------------------------

# Atoms of the mixture: an event at the time of the last one, and no event at all.
_TIE_ATOM, NEVER = 0, 1


class TimeDensity(MixtureDensity):
    """Distribution of the time to the next event, given the state after the last one.

    A tie has the probability ``p0``, and with the probability ``p1`` no event ever
    comes. Other interarrival times are a mixture of log-normals, so that with
    ``x = log(operational time / unit)``::

        P(tie)                = p0
        P(time in cell)       = sum_k w_k [Phi((upper - m_k) / s_k)
                                           - Phi((upper - width - m_k) / s_k)]
        P(no event until c)   = p1 + sum_k w_k Phi((m_k - x_c) / s_k)
        p0 + p1 + sum_k w_k   = 1

    (Shchur, Biloš and Günnemann, "Intensity-Free Learning of Temporal Point Processes",
    ICLR 2020, with cells in place of densities. ``p1`` is the cured fraction of a
    mixture cure model: Boag, "Maximum Likelihood Estimates of the Proportion of
    Patients Cured by Cancer Therapy", JRSS B 11(1), 1949.)

    The record is informative about p1 only up to its length: a customer who has left
    and one whose next event comes after the end of the record have the same likelihood.

    States have the shape (n, size) and end with the logarithm of the `EventRate`.
    Outside of training, the distance of a state from the mean `center` of the states of
    validation customers, (size - 1,), is multiplied by the factor `shrinkage`, of shape
    (1,), which is calibrated on these customers.
    """

    center: Tensor
    shrinkage: Tensor

    def __init__(
        self, size: int, grid: InterarrivalGrid, generator: torch.Generator
    ) -> None:
        is_possible = [grid.some_ties, True, *[True] * len(grid.quantiles)]
        never = (1 - grid.tie_share) * grid.never_share
        shares = np.array([grid.tie_share, never])
        super().__init__(
            size, shares, grid.quantiles, grid.spread, is_possible, generator
        )
        self.register_buffer("center", float32_tensor(np.zeros(size - 1)))
        self.register_buffer("shrinkage", float32_tensor(np.ones(1)))

    def shrunken(self, states: Tensor) -> Tensor:
        """Return states, of shape (n, size - 1), drawn towards `center`."""
        if self.training:
            return states
        return torch.lerp(self.center, states, self.shrinkage)

    def log_prob(self, states: Tensor, cells: Tensor) -> Tensor:
        """Return the log probability of interarrival times, shape (n,).

        `states`, of shape (n, size), are those after the last event; `cells`, of shape
        (n, 2), are as `InterarrivalGrid.cells` returns them.
        """
        upper, width = cells.unbind(1)
        is_tie = width == TIE
        atom = torch.where(is_tie, _TIE_ATOM, NO_ATOM)
        return self.log_mixture(states, atom, upper, width, ~is_tie)

    def log_survival(self, states: Tensor, log_censoring_time: Tensor) -> Tensor:
        """Return the log probability of no event until a time, shape (n,).

        `states` are as in `log_prob`, and `log_censoring_time`, (n,), as in
        `InterarrivalGrid`.
        """
        return self.mixture(states).log_survival(log_censoring_time, NEVER)

    def offset_never(self, offset: float) -> None:
        """Set the offset of the trained log odds that no further event ever comes."""
        self.logit_offset[NEVER] = offset

    def log_tie(self, states: Tensor) -> Tensor:
        """Return the log probability that the next event is drawn as a tie, (n,)."""
        log_tie = self.mixture(states).log_atoms[:, _TIE_ATOM]
        return log_tie.masked_fill(~self.is_possible[0], -torch.inf)

    def draw(
        self,
        states: Tensor,
        draws: PathDraws,
        log_censoring_time: Tensor | None = None,
        comes_back: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Draw interarrival times, given states of shape (n, size).

        They are drawn given that no event came until `log_censoring_time`, (n,), so
        that there is no tie, or without a condition if it is None; and given that there
        is a further event at some time if `comes_back`.

        Returns which of the events are ties, (n,), bool, and the logarithm of the other
        interarrival times in units, (n,), float64, infinite if no event ever comes.
        """
        mixture: AtomMixture = self.mixture(states)
        if log_censoring_time is not None:
            atom_above = None if comes_back else NEVER
            logs = mixture.draw_beyond(log_censoring_time, draws, atom_above)
            return torch.zeros_like(logs, dtype=torch.bool), logs
        is_possible = self.is_possible.clone()
        is_possible[NEVER] &= not comes_back
        atom, logs = mixture.draw(draws, is_possible)
        return atom == _TIE_ATOM, logs.double().masked_fill(atom == NEVER, torch.inf)
