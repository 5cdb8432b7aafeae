"""Mixtures of atoms and normals: log probabilities, survival and draws.

A mixture is defined once: its parameters are computed in one place, and all else
derives from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import Linear, float32_tensor, new_linear
from sklearn_seqcrm.event_model._gradients import first_order_only
from sklearn_seqcrm.event_model._path_draws import (
    PathDraws,
    draw_logits,
    pick,
    quantile_index,
)

# Beyond this many standard deviations a float64 has few digits left of a tail.
_LAST_TAIL = 30.0
# Output layers start with small weights: training begins near the distribution of all
# events together, and then learns how events differ.
_START_WEIGHT = 0.1
NO_ATOM = -1


@torch.no_grad()
def new_output(
    n_inputs: int, bias: Sequence[float], generator: torch.Generator
) -> Linear:
    """Return a linear layer whose outputs are about `bias` before training."""
    layer = new_linear(n_inputs, len(bias), generator)
    layer.weight.mul_(_START_WEIGHT)
    layer.bias.copy_(float32_tensor(bias))
    return layer


def start_of_components(
    values: np.ndarray, n: int, weights: np.ndarray | None = None
) -> tuple[tuple[float, ...], float]:
    """Return n quantiles of values, and their standard deviation (1 if it is 0).

    The quantiles may be those of a distribution with `weights`, of the same shape.
    """
    levels = (np.arange(n) + 0.5) / n
    if weights is None:
        quantiles = np.quantile(values, levels)
    else:
        order = np.argsort(values, kind="stable")
        shares = weights[order] / weights.sum()
        quantiles = np.interp(levels, shares.cumsum() - shares / 2, values[order])
    return tuple(quantiles.tolist()), float(values.std()) or 1.0


class AtomMixture(NamedTuple):
    """For each row a mixture of A atoms (point masses) and K normal components.

    With the log probabilities ``a`` of atoms, ``w`` of components, their means ``m``
    and standard deviations ``s``::

        P(atom j)             = exp(a_j)
        P(upper - width < x <= upper, no atom)
                              = sum_k exp(w_k) [Phi((upper - m_k) / s_k)
                                                - Phi((upper - width - m_k) / s_k)]
        P(x > lower, no atom) = sum_k exp(w_k) Phi((m_k - lower) / s_k)

    A probability of a cell (interval censoring) is never above 1, whereas a density
    grows without bound where a component narrows down on a number that repeats.
    """

    log_atoms: Tensor  # (n, A): log probability of each atom
    log_weights: Tensor  # (n, K): log probability of each component
    mean: Tensor  # (n, K)
    std: Tensor  # (n, K): standard deviation of each component

    def log_survival(self, lower: Tensor, atom_above: int | None = None) -> Tensor:
        """Return the log probability of numbers above `lower`, both of shape (n,).

        `atom_above` is the atom that lies above all numbers, at infinity, if one does.
        """
        return torch.logsumexp(self._log_tails(lower, atom_above), dim=1)

    def draw(self, draws: PathDraws, is_possible: Tensor) -> tuple[Tensor, Tensor]:
        """Draw an atom or a number for each row.

        `is_possible`, of shape (A + K,), are the atoms and components that may be
        drawn. Returns the atom, (n,), int64, `NO_ATOM` for a number, and the number,
        (n,), meaningless where there is an atom.
        """
        logits = torch.cat([self.log_atoms, self.log_weights], dim=1)
        index = draw_logits(logits.masked_fill(~is_possible, -torch.inf), draws)
        component = index - self.log_atoms.shape[1]
        own = component.clamp(min=0)
        mean = pick(self.mean, own)
        number = mean + pick(self.std, own) * draws.normal(mean)
        return index.masked_fill(component >= 0, NO_ATOM), number

    def draw_beyond(
        self, lower: Tensor, draws: PathDraws, atom_above: int | None = None
    ) -> Tensor:
        """Draw a number given that it exceeds `lower`, (n,), float64.

        It is infinite where `atom_above` is drawn; other atoms are not. See
        `log_survival`. One uniform number u per path chooses the component and, by its
        position within the share of the component, the quantile of the truncated
        normal. A stratified u stratifies both.
        """
        tails = self._log_tails(lower, atom_above)  # (n, K), or (n, K + 1) with an atom
        shares = torch.softmax(tails.double(), dim=1)
        uniform, cumulative = draws.uniform(shares), shares.cumsum(dim=1)
        index = quantile_index(shares, uniform)
        # Where the quantile falls within the share of its component.
        own = pick(shares, index)
        end = pick(cumulative, index)
        within = (uniform * cumulative[:, -1] - end + own) / own
        n_components = self.mean.shape[1]
        own = index.clamp(max=n_components - 1)
        mean, std = pick(self.mean, own).double(), pick(self.std, own).double()
        number = truncated_normal(lower.double(), mean, std, within.clamp(0, 1 - 1e-12))
        return number.masked_fill(index == n_components, torch.inf)

    def _log_tails(self, lower: Tensor, atom_above: int | None) -> Tensor:
        """Return log P(component, x > lower), shape (n, K), then that of an atom."""
        z = (self.mean - lower[:, None]) / self.std
        tails = self.log_weights + torch.special.log_ndtr(z)
        if atom_above is None:
            return tails
        return torch.cat([tails, self.log_atoms[:, atom_above, None]], dim=1)


class MixtureDensity(nn.Module):
    """An output layer whose outputs are the parameters of an `AtomMixture`.

    Given contexts of length `size`, training starts with the probabilities `shares`, of
    shape (A,), of the atoms, and with components at K `quantiles` of the numbers, whose
    standard deviation is `spread`. Only atoms and components that are `is_possible`, A
    + K bools, are drawn. The others keep a positive probability, so that a new value
    has a large loss and not an infinite one.
    """

    def __init__(
        self,
        size: int,
        shares: np.ndarray,
        quantiles: Sequence[float],
        spread: float,
        is_possible: list[bool],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n = self.n_components = len(quantiles)
        self.n_atoms = len(shares)
        # Components start with equal shares of the rest.
        others = math.log((1 - shares.sum()) / n)
        logits = [*np.log(shares).tolist(), *[others] * n]
        # Narrower than all numbers together: components share their range.
        log_std = math.log(max(0.7 * spread, 2 * math.exp(LEAST_LOG_STD)))
        # The inverse of the softplus in `mixture`.
        raw = math.log(math.expm1(log_std - LEAST_LOG_STD)) + LEAST_LOG_STD
        self.output = new_output(size, [*logits, *quantiles, *[raw] * n], generator)
        possible = torch.tensor(is_possible, device="cpu")
        self.register_buffer("is_possible", possible, persistent=False)
        self.register_buffer("logit_offset", float32_tensor(np.zeros(len(logits))))

    def mixture(self, context: Tensor) -> AtomMixture:
        """Return the mixtures given contexts of shape (n, size)."""
        n = self.n_components
        outputs = nn.functional.linear(context, self.output.weight, self._bias())
        logits, mean, raw = outputs.split([self.n_atoms + n, n, n], dim=1)
        logits = torch.log_softmax(logits, dim=1)
        log_atoms, log_weights = logits.split([self.n_atoms, n], dim=1)
        return AtomMixture(log_atoms, log_weights, mean, log_std_of(raw).exp())

    def log_mixture(
        self,
        context: Tensor,
        atom: Tensor,
        upper: Tensor,
        width: Tensor,
        has_cell: Tensor,
    ) -> Tensor:
        """Return the log probability of an atom, a cell, or both, shape (n,).

        `context` has the shape (n, size); the others are as in the function of the same
        name.
        """
        # A multiple of 16 outputs takes half the time of 14.
        missing = -len(self.output.weight) % 16
        outputs = nn.functional.linear(
            context,
            nn.functional.pad(self.output.weight, (0, 0, 0, missing)),
            nn.functional.pad(self._bias(), (0, missing)),
        )
        sizes = self.n_atoms, self.n_components
        return log_mixture(outputs, *sizes, atom, upper, width, has_cell)

    def _bias(self) -> Tensor:
        """Return the bias of the outputs, offsets of logits included."""
        n_others = 2 * self.n_components
        return self.output.bias + nn.functional.pad(self.logit_offset, (0, n_others))


def truncated_normal(
    lower: Tensor, mean: Tensor, std: Tensor, uniform: Tensor
) -> Tensor:
    """Return quantiles of normals truncated at `lower`, all of shape (n,), float64."""
    least = ((lower - mean) / std).clamp(max=_LAST_TAIL)
    # Never 0, whose quantile would be infinite.
    tail = torch.special.ndtr(-least) * (1 - uniform)
    z = -torch.special.ndtri(tail.clamp(min=1e-300))
    return torch.maximum(mean + std * torch.maximum(z, least), lower)


# The log likelihood, with a gradient in one pass --------------------------------------

# Automatic differentiation of the same formula keeps some forty arrays of the size of
# the components, and passes over each of them twice. Here the forward pass computes the
# derivatives with respect to the outputs of the layer, and keeps only these.

# Narrower cells, in standard deviations, have the density at the middle times the
# width: a difference of two float32 numbers that agree in most digits is worse. The
# relative error is at most 1e-4.
NARROW = 0.03
# Standard deviations of a component are at least the exponential of this.
LEAST_LOG_STD = -4.6
# Lower end, in standard deviations, of a cell without a lower end: finite, because its
# product with a density of 0 must be 0.
_FAR = 1e30
_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


def log_std_of(raw: Tensor) -> Tensor:
    """Return logarithms of standard deviations from outputs of a layer."""
    return nn.functional.softplus(raw - LEAST_LOG_STD) + LEAST_LOG_STD


class _LogMixture(torch.autograd.Function):
    """The function `log_mixture` and its gradient.

    With the outputs ``l`` (logits), ``m`` and ``r`` of a layer, and the formulas of
    `AtomMixture`::

        p                = softmax(l)
        log s            = softplus(r - L) + L,             L = LEAST_LOG_STD
        P                = p_atom + sum_k p_k C_k           of the terms of a row
        d log P / d l_j  = (p_atom 1[j = atom] + p_j C_j) / P - p_j
        d log P / d m_k  = p_k C_k / P * d log C_k / d m_k

    Parameters and components are rows of arrays of shape (..., n): a softmax over a few
    columns takes twenty times as long as one over rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        n_atoms: int,
        n: int,
        atom: Tensor,
        upper: Tensor,
        width: Tensor,
        has_cell: Tensor,
    ) -> Tensor:
        """Return the log probability of an atom, of a cell, or of both, shape (n,).

        `outputs`, of shape (n, A + 3 K + n_unused), are logits of atoms and components,
        means, and unscaled standard deviations; `n_atoms` and `n` are A and K. `atom`,
        (n,), int64, is the atom of each row, -1 for none. The cells `upper` and
        `width`, (n,), are as in `log_normal_cells`; components give probability only to
        rows with `has_cell`, (n,), bool, and cost time only there.
        """
        logits, mean, raw, _ = outputs.T.contiguous().split(
            [n_atoms + n, n, n, outputs.shape[1] - n_atoms - 3 * n]
        )
        log_p = torch.log_softmax(logits, dim=0)  # (A + K, n)
        log_weights = log_p[n_atoms:]
        some = has_cell.nonzero()[:, 0]
        log_weights, mean, raw = (
            one.index_select(1, some) for one in (log_weights, mean, raw)
        )
        log_cells, of_mean, of_log_std = log_normal_cells(
            upper[some], width[some], mean, log_std_of(raw).exp()
        )
        terms = log_weights + log_cells  # (K, n_some)
        inside = torch.full_like(log_p[0], -torch.inf)
        inside.index_copy_(0, some, torch.logsumexp(terms, dim=0))
        own = log_p.gather(0, atom.clamp(min=0)[None])[0]
        own = own.masked_fill(atom < 0, -torch.inf)
        log_prob = torch.logaddexp(own, inside)
        if ctx.needs_input_grad[0]:
            shares = terms.sub_(log_prob[some]).exp_()
            of_components = [
                shares,
                shares * of_mean,
                shares * of_log_std * (raw - LEAST_LOG_STD).sigmoid(),
            ]
            found = torch.zeros_like(outputs.T, memory_format=torch.contiguous_format)
            components = found[n_atoms : n_atoms + 3 * n]  # (3 K, n)
            components.index_copy_(1, some, torch.cat(of_components))
            found[: n_atoms + n] -= log_p.exp_()
            share = (own - log_prob).exp_()  # 0 without an atom
            found.scatter_add_(0, atom.clamp(min=0)[None], share[None])
            ctx.save_for_backward(found)
        return log_prob

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        [found] = ctx.saved_tensors
        of_outputs = (found * gradients[0]).T.contiguous()
        return of_outputs, None, None, None, None, None, None


log_mixture = _LogMixture.apply


def log_normal_cells(
    upper: Tensor, width: Tensor, mean: Tensor, std: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log probabilities of cells under normal components, and derivatives.

    With ``h = (upper - m) / s``, ``l = h - width / s`` and the normal density ``f``::

        C             = P(upper - width < x <= upper) = Phi(h) - Phi(l)
        d log C / dm  = (f(l) - f(h)) / (C s)
        d log C / d log s = (l f(l) - h f(h)) / C

    `upper` and `width`, of shape (n,), are the upper ends and widths of cells; with
    infinite width a cell has no lower end. `mean` and `std`, and the three results,
    have the shape (K, n).
    """
    high, wide = (upper - mean) / std, width / std  # (K, n)
    middle = high - wide / 2
    squares = middle.square()
    log_prob = wide.log() - squares / 2 - _LOG_ROOT_TWO_PI
    # d log C / dm times s, and d log C / d log s
    of_mean, of_log_std = middle, squares.sub_(1)
    is_narrow = wide < NARROW
    # Times with a fine resolution are narrow; the others take most of the time.
    if not is_narrow.all():
        some = (~is_narrow).flatten().nonzero()[:, 0]
        parts = _wide_cells(high.flatten()[some], wide.flatten()[some])
        log_prob, of_mean, of_log_std = (
            whole.flatten().index_copy_(0, some, part).view_as(mean)
            for whole, part in zip((log_prob, of_mean, of_log_std), parts, strict=True)
        )
    return log_prob, of_mean.div_(std), of_log_std


def _wide_cells(high: Tensor, wide: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log C, s d log C / dm and d log C / d log s of cells that are not narrow.

    Cells with their middle above 0 are reflected: ``near`` and ``far`` are then the
    upper and the lower end. ``E(z) = erfcx(-z / sqrt(2))`` is proportional to
    ``Phi(z) / f(z)``. In ratios of it no rounded squares are subtracted::

        f(far) / f(near)     = decay = exp(-|high + low| wide / 2)
        Phi(far) / Phi(near) = E(far) / E(near) decay
        C                    = Phi(near) (1 - Phi(far) / Phi(near))
        f(near) / C          = sqrt(2 / pi) / (E(near) (1 - Phi(far) / Phi(near)))

    Differences of logarithms take as long, but in float32 their derivatives are wrong
    by 3% at 1,000 standard deviations, by 15% at 3,000, and by 90% at 10,000.

    Upper ends and widths are standard deviations, shape (n,); widths may be infinite.
    """
    low = (high - wide).clamp_(min=-_FAR)
    twice_middle = high + low
    near, far = torch.minimum(high, -low), torch.minimum(low, -high)
    decay = (twice_middle.abs() * wide).mul_(-0.5).exp_()
    tail = torch.special.erfcx(near * -math.sqrt(0.5))  # inf far above 0: f(near) is 0
    ratio = torch.special.erfcx(far * -math.sqrt(0.5)).div_(tail).mul_(decay)
    rest = 1 - ratio  # at least .02
    log_near = torch.where(
        near < 0,
        (tail / 2).log_().sub_(near.square().div_(2)),
        torch.special.ndtr(near).log_(),
    )
    log_prob = log_near.add_(rest.log())
    density = math.sqrt(2 / math.pi) / tail.mul_(rest)  # f(near) / C
    of_log_std = (decay * far).sub_(near).mul_(density)
    of_mean = density.mul_(1 - decay).mul_(twice_middle.sign_())
    return log_prob, of_mean, of_log_std
