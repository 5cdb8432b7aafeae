"""Copy mechanism: gates between the softmax, popular levels and copies.

`_copy_counts` has the formulas.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import float32_tensor
from sklearn_seqcrm.event_model._copy_counts import (
    LEAST_TOTAL,
    N_EARLIER,
    N_SOURCES,
    CopyCandidates,
)
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._gradients import first_order_only, joint_linear
from sklearn_seqcrm.event_model._mixtures import new_output
from sklearn_seqcrm.event_model._path_draws import PathDraws, draw_logits

# Before training: share of copies; among copies, share of the same moment; among the
# rest, share of popular levels. Halves led the network to a poor optimum where
# departments of a basket are in order: -1.11 nats an event instead of -1.04.
_START_SHARE, _START_SAME, _START_POPULAR = 0.1, 0.02, 0.1
_LEAST_PROB = 1e-30  # so that the logarithm is finite


class CopyMechanism(nn.Module):
    """Gates that choose among generating, popular levels and the sources of copies.

    The mixture contains the training frequencies, because with thousands of levels the
    softmax is overconfident. `size` is the length of a context, without the flag of a
    new moment, and `lift`, of shape (n_levels,), is that of `repeat_purchase_lift`.
    """

    most_total: Tensor

    def __init__(self, size: int, lift: np.ndarray, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("lift", float32_tensor(lift))
        earlier = (1 - _START_SAME) / N_EARLIER
        shares = [_START_SAME, *[earlier] * N_EARLIER]
        new = 1 - _START_SHARE
        bias = [new * (1 - _START_POPULAR), new * _START_POPULAR]
        bias += [_START_SHARE * share for share in shares]
        # Inputs: the context, the flag of a new moment, and log(1 + N_j), which start
        # without effect.
        logits = [math.log(share) for share in bias]
        self.gates = new_output(size + 1 + N_SOURCES, logits, generator)
        with torch.no_grad():
            self.gates.weight[:, size + 1 :] = 0.0
        self.register_buffer("most_total", float32_tensor(np.zeros(N_SOURCES)))

    def gate_logits(
        self, context: Tensor, is_new_moment: Tensor, total: Tensor
    ) -> Tensor:
        """Return logits of g_gen, g_pop and g_j, shape (n, 2 + N_SOURCES).

        `context`, (n, size), are state, time and fields before this one, and
        `is_new_moment`, (n, 1), is 1 at a new moment, 0 at the one of the previous
        event. Sources whose `total` N_j, (n, N_SOURCES), is 0 get no probability.
        """
        # Totals beyond the largest one of training count as that one: with shares of
        # copies that grow with log N_j without a limit, simulated favourites had .55 of
        # the mass after a year instead of .52.
        if self.training and len(total):
            self.most_total = torch.maximum(self.most_total, total.amax(dim=0))
        known = torch.minimum(total, self.most_total).log1p_()
        constants = torch.cat([is_new_moment, known], dim=1)
        logits = joint_linear(context, constants, self.gates.weight, self.gates.bias)
        return logits.masked_fill(nn.functional.pad(total <= 0, (2, 0)), -torch.inf)

    def log_prob(
        self,
        context: Tensor,
        is_new_moment: Tensor,
        candidates: CopyCandidates,
        log_generated: Tensor,
        popularity: Tensor,
    ) -> Tensor:
        """Return the log probability of known levels, shape (n,).

        `log_generated` and `popularity`, of shape (n,), are log G and S of the levels;
        the others are as in `gate_logits` and `CopyCandidates`.
        """
        logits = self.gate_logits(context, is_new_moment, candidates.total)
        shares = candidates.count / candidates.total.clamp(min=LEAST_TOTAL)
        shares = torch.cat([popularity[:, None], shares], dim=1)
        return _LogGated.apply(logits, log_generated, shares)

    def weighted_gates(
        self, context: Tensor, is_new_moment: Tensor, state: CopyState, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gates of k draws of each of n rows, times their weights.

        `context` and `is_new_moment` have n * k rows, and `weights` the shape (n, k).
        Returns the factor of G in each draw, (n, k), and those of S, (n,), and of each
        n_j, (n, N_SOURCES), summed over the draws.
        """
        total = state.remaining()
        logits = self.gate_logits(
            context, is_new_moment, total.repeat_interleave(weights.shape[1], dim=0)
        )
        gates = torch.softmax(logits, dim=1).unflatten(0, weights.shape)
        gates = gates * weights[:, :, None]
        of_row = gates.sum(dim=1)
        copied = torch.where(total > 0, of_row[:, 2:] / total, 0.0)
        return gates[:, :, 0], of_row[:, 1], copied

    def draw_source(
        self, context: Tensor, is_new_moment: Tensor, state: CopyState, draws: PathDraws
    ) -> Tensor:
        """Draw 0 (generated), 1 (popular) or 2 + source of a copy, shape (n,)."""
        logits = self.gate_logits(context, is_new_moment, state.remaining())
        return draw_logits(logits, draws)


class _LogGated(torch.autograd.Function):
    """The log probability of the mixture, and its gradient in one pass.

    With logits ``l`` of the gates, ``g = softmax(l)``, and the probability of the level
    in each component, ``a = (G, S, n_1 / N_1, ...)``::

        P                   = sum_j g_j a_j
        d log P / d l_j     = r_j - g_j sum_i r_i,        r_j = g_j a_j / P
        d log P / d log G   = r_gen

    The sum of all parts but the generated one is at least 1e-30, and has no gradient
    where it was less.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, log_generated: Tensor, shares: Tensor
    ) -> Tensor:
        gates = torch.softmax(logits, dim=1)
        parts = torch.cat([log_generated.exp()[:, None], shares], dim=1).mul_(gates)
        copied = parts[:, 1:].sum(dim=1)
        prob = parts[:, 0] + copied.clamp(min=_LEAST_PROB)
        if any(ctx.needs_input_grad):
            parts /= prob[:, None]
            parts[:, 1:] *= (copied >= _LEAST_PROB)[:, None]
            ctx.save_for_backward(gates, parts)
        return prob.log()

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        gates, parts = ctx.saved_tensors
        gradient = gradients[0][:, None]
        of_logits = torch.addcmul(
            parts, gates, parts.sum(dim=1, keepdim=True), value=-1
        )
        return of_logits.mul_(gradient), parts[:, 0] * gradients[0], None
