"""The log likelihood of mixtures of atoms and normals, with a gradient in one pass.

Automatic differentiation of the same formula keeps some forty arrays of the size of the
components, and passes over each of them twice. Here the forward pass computes the
derivatives with respect to the outputs of the layer, and keeps only these.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_seqcrm.event_model._gradients import first_order_only

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
        some = None if has_cell.all() else has_cell.nonzero()[:, 0]
        if some is not None:
            upper, width = upper[some], width[some]
            log_weights, mean, raw = (
                one.index_select(1, some) for one in (log_weights, mean, raw)
            )
        log_cells, of_mean, of_log_std = log_normal_cells(
            upper, width, mean, log_std_of(raw).exp()
        )
        terms = log_weights + log_cells  # (K, n_some)
        inside = torch.logsumexp(terms, dim=0)
        if some is not None:
            nothing = torch.full_like(log_p[0], -torch.inf)
            inside = nothing.index_copy_(0, some, inside)
        own = log_p.gather(0, atom.clamp(min=0)[None])[0]
        own = own.masked_fill(atom < 0, -torch.inf)
        log_prob = torch.logaddexp(own, inside)
        if ctx.needs_input_grad[0]:
            shares = terms.sub_(log_prob if some is None else log_prob[some]).exp_()
            of_components = [
                shares,
                shares * of_mean,
                shares * of_log_std * (raw - LEAST_LOG_STD).sigmoid(),
            ]
            found = torch.zeros_like(outputs.T, memory_format=torch.contiguous_format)
            components = found[n_atoms : n_atoms + 3 * n]  # (3 K, n)
            if some is None:
                torch.cat(of_components, out=components)
            else:
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
