"""When the next event comes: at once, or after a gap from a log-normal mixture.

What is recorded has a resolution: a gap of three days is any between two and three.
Its likelihood is the probability of that cell, which is never above 1, whereas a
density grows without bound where a component narrows down on a number that repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from sklearn_seqcrm._recurrent.network import Linear, new_linear
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._interarrival import NO_GAP, InterarrivalGrid

# A network begins near the distribution that all events have together, and learns from
# there in what they differ.
_START = 0.1


@torch.no_grad()
def new_output(
    n_inputs: int, bias: Sequence[float], generator: torch.Generator
) -> Linear:
    """A linear layer whose outputs are about `bias` at first."""
    layer = new_linear(n_inputs, len(bias), generator)
    layer.weight.mul_(_START)
    layer.bias.copy_(torch.tensor(bias, dtype=torch.float32, device="cpu"))
    return layer


# Below this width, in standard deviations, the density in the middle is as good as a
# difference of two float32 numbers that agree in most digits; the error is a 10,000th.
_NARROW = 0.03
# Standard deviations of a component are no smaller than the exponential of this.
_LEAST_LOG_SCALE = -4.6
# How far from anything the lower end of a cell is that has none.
_FAR = 40.0
_LOG_ROOT = 0.5 * math.log(2 * math.pi)
# Beyond this many standard deviations a float64 has few digits left of a tail.
_LAST_TAIL = 30.0


def split_components(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centers and standard deviations of components.

    Parameters
    ----------
    numbers : Tensor of shape (n, 2 * K)
        Outputs of a layer.

    Returns
    -------
    center, scale : Tensor of shape (n, K)
        Of each component; `scale` is positive.
    """
    center, log_scale = numbers.chunk(2, dim=1)
    above = nn.functional.softplus(log_scale - _LEAST_LOG_SCALE)
    return center, (above + _LEAST_LOG_SCALE).exp()


def start_of_components(quantiles: list[float], spread: float) -> list[float]:
    """Biases of a layer that make components of them: centers, then log scales."""
    log_scale = math.log(max(spread, 2 * math.exp(_LEAST_LOG_SCALE)))
    # The inverse of the softplus in `split_components`.
    raw = math.log(math.expm1(log_scale - _LEAST_LOG_SCALE)) + _LEAST_LOG_SCALE
    return [*quantiles, *[raw] * len(quantiles)]


def log_cell(
    upper: torch.Tensor, width: torch.Tensor, center: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Logarithm of the probability that each component gives a cell.

    Parameters
    ----------
    upper, width : Tensor of shape (n,)
        Upper end and width of the cells; an infinite width is one without a lower end.
    center, scale : Tensor of shape (n, K)
        Components.

    Returns
    -------
    Tensor of shape (n, K)
        Log probabilities.
    """
    is_open = width.isinf()[:, None]
    high = (upper[:, None] - center) / scale
    # Whatever the other branches make of a cell must be finite, or its gradient is not.
    wide = torch.where(is_open, _NARROW, width[:, None]) / scale
    low = torch.where(is_open, high.clamp(max=0) - _FAR, high - wide)
    middle = high - wide / 2
    density = wide.log() - middle.square() / 2 - _LOG_ROOT
    is_narrow = (wide < _NARROW) & ~is_open
    if is_narrow.all():  # of moments; the other branch takes most of the time
        return density
    # Taken where both tails are small, which keeps the digits of their difference.
    turned = (middle > 0) & ~is_open
    larger = torch.special.log_ndtr(torch.where(turned, -low, high))
    smaller = torch.special.log_ndtr(torch.where(turned, -high, low))
    share = (smaller - larger).clamp(max=-1e-6)
    difference = larger + torch.log(-torch.expm1(share))
    return torch.where(is_narrow, density, difference)


def log_tail(
    lower: torch.Tensor, center: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Logarithm of the probability beyond `lower` of shape (n,) of each component."""
    return torch.special.log_ndtr((center - lower[:, None]) / scale)


def choose(logits: torch.Tensor, draws: PathDraws) -> torch.Tensor:
    """Draw an index from each row of logits, shape (n,), int64."""
    return choose_by_weight(torch.softmax(logits, dim=1), draws)


def choose_by_weight(weights: torch.Tensor, draws: PathDraws) -> torch.Tensor:
    """Draw an index from each row of weights, shape (n,), int64."""
    return index_at(weights, draws.uniform(weights))


def index_at(weights: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Index in each row of weights, shape (n,), int64, by the inverse of their sums.

    `drawn`, of shape (n,), are numbers from 0 on and below 1 that were drawn.
    """
    reached = weights.cumsum(dim=1)
    # Rounding may take what was drawn up to the end.
    place = drawn[:, None] * reached[:, -1:]
    index = torch.searchsorted(reached, place, right=True)[:, 0]
    return index.clamp(max=weights.shape[1] - 1)


def choose_and_place(
    logits: torch.Tensor, draws: PathDraws
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw an index from each row of logits, and a number within its share.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        Rows.
    draws : PathDraws of n
        Draws one number for both, so that what stratifies it stratifies both.

    Returns
    -------
    index : Tensor of shape (n,), int64
        What was drawn.
    drawn : Tensor of shape (n,), float64
        From 0 on and below 1, uniform for those of an index.
    """
    shares = torch.softmax(logits.double(), dim=1)
    reached = shares.cumsum(dim=1)
    place = draws.uniform(reached) * reached[:, -1]
    index = torch.searchsorted(reached, place[:, None], right=True)[:, 0]
    index = index.clamp(max=logits.shape[1] - 1)
    own = pick(shares, index)
    within = (place - pick(reached, index) + own) / own
    return index, within.clamp(0, 1 - 1e-12)


def draw_normal(
    center: torch.Tensor,
    scale: torch.Tensor,
    component: torch.Tensor,
    draws: PathDraws,
) -> torch.Tensor:
    """Draw from one component each, shape (n,)."""
    center, scale = pick(center, component), pick(scale, component)
    return center + scale * draws.normal(center)


def draw_beyond(
    lower: torch.Tensor,
    center: torch.Tensor,
    scale: torch.Tensor,
    component: torch.Tensor,
    drawn: torch.Tensor,
) -> torch.Tensor:
    """Draw from one component each what lies beyond `lower`, shape (n,), float64.

    `drawn`, of shape (n,), float64, are numbers from 0 on and below 1 that were drawn.
    """
    center, scale = pick(center, component).double(), pick(scale, component).double()
    least = ((lower.double() - center) / scale).clamp(max=_LAST_TAIL)
    # Never 0, whose quantile would be infinite.
    tail = torch.special.ndtr(-least) * (1 - drawn)
    normal = -torch.special.ndtri(tail.clamp(min=1e-300))
    return torch.maximum(center + scale * torch.maximum(normal, least), lower.double())


def pick(numbers: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Take the column of each row, shape (n,)."""
    return numbers.gather(1, column[:, None])[:, 0]


class TimeDensity(nn.Module):
    """Distribution of the gap to the next event, given the state after the last one.

    No gap at all has a probability of its own; the logarithms of all others are a
    mixture of normals (Shchur, Biloš and Günnemann, "Intensity-Free Learning of
    Temporal Point Processes", ICLR 2020).

    Parameters
    ----------
    size : int
        Numbers of a state.
    gaps : InterarrivalGrid
        Where the distribution starts before training.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(
        self, size: int, gaps: InterarrivalGrid, generator: torch.Generator
    ) -> None:
        super().__init__()
        n = len(gaps.quantiles)
        share = gaps.no_gap_share
        # Of K components each starts with an equal share of what is no tie.
        logits = [math.log(share), *[math.log((1 - share) / n)] * n]
        bias = logits + start_of_components(list(gaps.quantiles), 0.7 * gaps.spread)
        self.output = new_output(size, bias, generator)
        self.n_components = n
        self.some_ties = gaps.some_ties

    def log_prob(self, states: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Log probability of gaps.

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        cells : Tensor of shape (n, 2)
            As `InterarrivalGrid.cells` returns them.

        Returns
        -------
        Tensor of shape (n,)
            Logarithms of probabilities.
        """
        none, weights, center, scale = self._read(states)
        upper, width = cells.unbind(1)
        is_tie = width == NO_GAP
        some = (~is_tie).nonzero()[:, 0]
        if len(some) < len(upper):  # no components where there is no gap
            upper, width = upper[some], width[some]
            weights, center, scale = weights[some], center[some], scale[some]
        inside = weights + log_cell(upper, width, center, scale)
        return none.index_copy(0, some, torch.logsumexp(inside, dim=1))

    def log_survival(
        self, states: torch.Tensor, log_censoring_time: torch.Tensor
    ) -> torch.Tensor:
        """Log probability that no event comes for so long, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        log_censoring_time : Tensor of shape (n,)
            As `InterarrivalGrid.log_censoring_time` returns it.
        """
        _, weights, center, scale = self._read(states)
        return torch.logsumexp(
            weights + log_tail(log_censoring_time, center, scale), dim=1
        )

    def log_tie(self, states: torch.Tensor) -> torch.Tensor:
        """Log probability that the next event comes at once, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        """
        none = self._read(states)[0]
        return none if self.some_ties else torch.full_like(none, -torch.inf)

    def draw(
        self,
        states: torch.Tensor,
        draws: PathDraws,
        log_censoring_time: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw gaps.

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        draws : PathDraws of n
            Draws.
        log_censoring_time : Tensor of shape (n,) or None, default=None
            How long it is known that nothing came; None: nothing is known.

        Returns
        -------
        is_tie : Tensor of shape (n,), bool
            Whether the event comes at once, which it cannot after any silence.
        logs : Tensor of shape (n,), float64
            Logarithm of the other gaps, in units.
        """
        _, weights, center, scale = self._read(states)
        if log_censoring_time is not None:
            weights = weights + log_tail(log_censoring_time, center, scale)
            component, drawn = choose_and_place(weights, draws)
            logs = draw_beyond(log_censoring_time, center, scale, component, drawn)
            return torch.zeros_like(component, dtype=torch.bool), logs
        none = self.log_tie(states)
        component = choose(torch.cat([none[:, None], weights], dim=1), draws) - 1
        logs = draw_normal(center, scale, component.clamp(min=0), draws)
        return component < 0, logs.double()

    def _read(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Log probability of no gap and of each component; what components are."""
        n = self.n_components
        logits, components = self.output(states).split([1 + n, 2 * n], dim=1)
        shares = torch.log_softmax(logits, dim=1)
        return shares[:, 0], shares[:, 1:], *split_components(components)
