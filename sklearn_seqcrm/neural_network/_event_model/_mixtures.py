"""Mixtures of normals, observed up to a cell: probabilities, tails and draws.

What is recorded has a resolution: a gap of three days is any between two and three.
Its likelihood is the probability of that cell, which is never above 1, whereas a
density grows without bound where a component narrows down on a number that repeats.
"""

from __future__ import annotations

import math

import torch
from torch import nn

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
    # Taken where both tails are small, which keeps the digits of their difference.
    turned = (middle > 0) & ~is_open
    larger = torch.special.log_ndtr(torch.where(turned, -low, high))
    smaller = torch.special.log_ndtr(torch.where(turned, -high, low))
    share = (smaller - larger).clamp(max=-1e-6)
    difference = larger + torch.log(-torch.expm1(share))
    return torch.where((wide < _NARROW) & ~is_open, density, difference)


def log_tail(
    lower: torch.Tensor, center: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Logarithm of the probability beyond `lower` of shape (n,) of each component."""
    return torch.special.log_ndtr((center - lower[:, None]) / scale)


def choose(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw an index from each row of logits, shape (n,), int64."""
    shares = torch.softmax(logits, dim=1).cumsum(dim=1)
    drawn = torch.rand(
        len(logits), 1, generator=generator, dtype=shares.dtype, device=shares.device
    )
    # The last share may be just below 1, and what was drawn above it.
    return torch.searchsorted(shares, drawn * shares[:, -1:], right=True)[:, 0].clamp(
        max=logits.shape[1] - 1
    )


def draw_normal(
    center: torch.Tensor,
    scale: torch.Tensor,
    component: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw from one component each, shape (n,)."""
    center, scale = pick(center, component), pick(scale, component)
    normal = torch.randn(
        len(center), generator=generator, dtype=center.dtype, device=center.device
    )
    return center + scale * normal


def draw_beyond(
    lower: torch.Tensor,
    center: torch.Tensor,
    scale: torch.Tensor,
    component: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw from one component each what lies beyond `lower`, shape (n,), float64."""
    center, scale = pick(center, component).double(), pick(scale, component).double()
    least = ((lower.double() - center) / scale).clamp(max=_LAST_TAIL)
    drawn = torch.rand(
        len(center), generator=generator, dtype=torch.float64, device=center.device
    )
    # Never 0, whose quantile would be infinite.
    tail = torch.special.ndtr(-least) * (1 - drawn)
    normal = -torch.special.ndtri(tail.clamp(min=1e-300))
    return torch.maximum(center + scale * torch.maximum(normal, least), lower.double())


def pick(numbers: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Take the column of each row, shape (n,)."""
    return numbers.gather(1, column[:, None])[:, 0]
