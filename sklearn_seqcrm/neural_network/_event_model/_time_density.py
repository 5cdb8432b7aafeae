"""When the next event comes: at once, or after a gap from a log-normal mixture."""

from __future__ import annotations

import math

import torch
from torch import nn

from sklearn_seqcrm.neural_network._event_model._draws import PathDraws
from sklearn_seqcrm.neural_network._event_model._gaps import NO_GAP, GapScale
from sklearn_seqcrm.neural_network._event_model._mixtures import (
    choose,
    choose_and_place,
    draw_beyond,
    draw_normal,
    log_cell,
    log_tail,
    split_components,
    start_of_components,
)
from sklearn_seqcrm.neural_network._event_model._output import new_output


class TimeDensity(nn.Module):
    """Distribution of the gap to the next event, given the state after the last one.

    No gap at all has a probability of its own; the logarithms of all others are a
    mixture of normals (Shchur, Biloš and Günnemann, "Intensity-Free Learning of
    Temporal Point Processes", ICLR 2020).

    Parameters
    ----------
    size : int
        Numbers of a state.
    gaps : GapScale
        Where the distribution starts before training.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(self, size: int, gaps: GapScale, generator: torch.Generator) -> None:
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
            As `GapScale.cells` returns them.

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
        self, states: torch.Tensor, log_silence: torch.Tensor
    ) -> torch.Tensor:
        """Log probability that no event comes for so long, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        log_silence : Tensor of shape (n,)
            As `GapScale.log_silence` returns it.
        """
        _, weights, center, scale = self._read(states)
        return torch.logsumexp(weights + log_tail(log_silence, center, scale), dim=1)

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
        log_silence: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw gaps.

        Parameters
        ----------
        states : Tensor of shape (n, size)
            State after the last event.
        draws : PathDraws of n
            Draws.
        log_silence : Tensor of shape (n,) or None, default=None
            How long it is known that nothing came; None: nothing is known.

        Returns
        -------
        is_tie : Tensor of shape (n,), bool
            Whether the event comes at once, which it cannot after any silence.
        logs : Tensor of shape (n,), float64
            Logarithm of the other gaps, in units.
        """
        _, weights, center, scale = self._read(states)
        if log_silence is not None:
            weights = weights + log_tail(log_silence, center, scale)
            component, drawn = choose_and_place(weights, draws)
            logs = draw_beyond(log_silence, center, scale, component, drawn)
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
