"""Mixtures of normals, observed up to a cell: probabilities, tails and draws.

What is recorded has a resolution: a gap of three days is any between two and three.
Its likelihood is the probability of that cell, which is never above 1, whereas a
density grows without bound where a component narrows down on a number that repeats.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from sklearn_seqcrm.neural_network._event_model._draws import PathDraws

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
