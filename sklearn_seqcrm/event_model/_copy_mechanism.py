"""Copy mechanism: gates between the softmax, popular levels and copies.

`_copy_counts` has the formulas.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.event_model._copy_counts import (
    LEAST_TOTAL,
    N_EARLIER,
    N_SOURCES,
    CopyCandidates,
)
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._distributions import (
    PathDraws,
    draw_categorical,
    new_output,
)

# Before training: share of copies; among copies, share of the same moment; among the
# rest, share of popular levels. Halves led the network to a poor optimum where
# departments of a basket are in order: -1.11 nats an event instead of -1.04.
_START_SHARE, _START_SAME, _START_POPULAR = 0.1, 0.02, 0.1
_LEAST_PROB = 1e-30  # so that the logarithm is finite


class CopyMechanism(nn.Module):
    """Gates that choose among generating, popular levels and the sources of copies.

    The mixture contains the training frequencies, because with thousands of levels the
    softmax is overconfident.

    Parameters
    ----------
    size : int
        Length of a context.
    lift : ndarray of shape (n_levels,)
        Weight of each level among repeats, see `repeat_purchase_lift`.
    generator : torch.Generator
        Draws first weights.
    """

    most_total: torch.Tensor

    def __init__(self, size: int, lift: np.ndarray, generator: torch.Generator) -> None:
        super().__init__()
        weights = torch.tensor(lift, dtype=torch.float32, device="cpu")
        self.register_buffer("lift", weights)
        earlier = (1 - _START_SAME) / N_EARLIER
        shares = [_START_SAME, *[earlier] * N_EARLIER]
        new = 1 - _START_SHARE
        bias = [new * (1 - _START_POPULAR), new * _START_POPULAR]
        bias += [_START_SHARE * share for share in shares]
        # Inputs: the context, then log(1 + N_j), which starts without effect.
        logits = [math.log(share) for share in bias]
        self.gates = new_output(size + N_SOURCES, logits, generator)
        with torch.no_grad():
            self.gates.weight[:, size:] = 0.0
        most = torch.zeros(N_SOURCES, dtype=torch.float32, device="cpu")
        self.register_buffer("most_total", most)

    def log_gates(self, context: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return log g_gen, log g_pop and log g_j, shape (n, 2 + N_SOURCES).

        `context` has the shape (n, size), and `total` holds N_j, shape (n, N_SOURCES):
        sources with nothing get no probability. Totals beyond all of training count as
        the largest one there: shares of copies that grow with log N_j without a limit
        led to simulated favourites with .55 of the mass after a year instead of .52.
        """
        if self.training and len(total):
            self.most_total = torch.maximum(self.most_total, total.amax(dim=0))
        nothing = nn.functional.pad(total <= 0, (2, 0))
        known = torch.minimum(total, self.most_total)
        logits = self.gates(torch.cat([context, known.log1p()], dim=1))
        return torch.log_softmax(logits.masked_fill(nothing, -torch.inf), dim=1)

    def log_prob(
        self,
        context: torch.Tensor,
        candidates: CopyCandidates,
        log_generated: torch.Tensor,
        popularity: torch.Tensor,
    ) -> torch.Tensor:
        """Return the log probability of known levels, shape (n,).

        `log_generated` and `popularity`, of shape (n,), are log G and S of the levels.
        """
        gates = self.log_gates(context, candidates.total)
        shares = candidates.count / candidates.total.clamp(min=LEAST_TOTAL)
        shares = torch.cat([popularity[:, None], shares], dim=1)
        copied = (gates[:, 1:].exp() * shares).sum(dim=1).clamp(min=_LEAST_PROB)
        return torch.logaddexp(gates[:, 0] + log_generated, copied.log())

    def probabilities(
        self,
        context: torch.Tensor,
        state: CopyState,
        generated: torch.Tensor,
        popularity: torch.Tensor,
    ) -> torch.Tensor:
        """Return the probability of each level, shape (n, n_levels).

        `generated` is G of the same shape, and is overwritten; `popularity`, of shape
        (n_levels,), is S.
        """
        total = state.remaining()
        gates = self.log_gates(context, total).exp()
        weights = torch.where(total > 0, gates[:, 2:] / total, 0.0)
        generated.mul_(gates[:, :1]).addr_(gates[:, 1], popularity)
        return state.add_counts(weights, generated)

    def draw_source(
        self, context: torch.Tensor, state: CopyState, draws: PathDraws
    ) -> torch.Tensor:
        """Draw 0 (generated), 1 (popular) or 2 + source of a copy, shape (n,)."""
        gates = self.log_gates(context, state.remaining()).exp()
        return draw_categorical(gates, draws)
