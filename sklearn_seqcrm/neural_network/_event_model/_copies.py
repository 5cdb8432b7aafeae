"""Copies: the next level of a field may be one that the customer has had before."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from sklearn_seqcrm.neural_network._event_model._mixtures import choose_by_weight
from sklearn_seqcrm.neural_network._event_model._output import new_output

_FIRST_LEVEL = 2
# How far back, in events, the kinds of copies look at first, and how often one is made.
_REACHES = (2.0, 8.0, 32.0, 1e6)
_START_SHARE = 0.2
_LEAST = 1e-30  # of a weight or a probability, so that its logarithm is finite


class Past(NamedTuple):
    """What a field was in the events before some events.

    Parameters
    ----------
    codes : Tensor of shape (n, W), int32
        Codes of the last W events, the latest in the last column; 0 where there were
        fewer.
    n_at_once : Tensor of shape (n,), int64
        How many of the last events were at the very time of the event to come.
    """

    codes: torch.Tensor
    n_at_once: torch.Tensor


class Copies(nn.Module):
    """The chance that the next level is copied, and which of the last ones it is.

    The probability of a level is, as in RepeatNet (P. Ren et al., "RepeatNet: A Repeat
    Aware Neural Recommendation Machine", AAAI 2019), a mixture of what the network
    generates and of shares of the last events that had it. There are several kinds of
    copies, which differ in the weight of the lag, and a gate of the state chooses.

    Parameters
    ----------
    size : int
        Numbers of a state.
    n_events : int
        How many of the last events may be copied.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(self, size: int, n_events: int, generator: torch.Generator) -> None:
        super().__init__()
        n = len(_REACHES)
        bias = [math.log(1 - _START_SHARE), *[math.log(_START_SHARE / n)] * n]
        self.gates = new_output(size, bias, generator)
        lags = torch.arange(n_events, 0, -1, dtype=torch.float32, device="cpu")
        reaches = torch.tensor(_REACHES, dtype=torch.float32, device="cpu")
        self.log_weights = nn.Parameter(-lags[:, None] / reaches)  # (W, kinds)
        # Of what is in the same basket: few buy it twice, but some logs repeat lines.
        self.log_at_once = nn.Parameter(
            torch.zeros((), dtype=torch.float32, device="cpu")
        )

    @property
    def n_events(self) -> int:
        """How many of the last events may be copied."""
        return len(self.log_weights)

    def log_prob(
        self,
        states: torch.Tensor,
        codes: torch.Tensor,
        past: Past,
        generated: torch.Tensor,
    ) -> torch.Tensor:
        """Log probability of codes, generated or copied, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        codes : Tensor of shape (n,), int64
            Codes of the events.
        past : Past of n
            Codes before them.
        generated : Tensor of shape (n,)
            Log probability that these are generated.
        """
        # A missing level is no copy of one.
        own = codes.int().masked_fill(codes < _FIRST_LEVEL, -1)
        totals = self._weight_of(past.codes >= _FIRST_LEVEL, past)
        matching = self._weight_of(past.codes == own[:, None], past)
        gates = self._log_gates(states, totals)
        shares = matching / totals.clamp(min=_LEAST)
        copied = (gates[:, 1:].exp() * shares).sum(dim=1)
        return torch.logaddexp(gates[:, 0] + generated, copied.clamp(min=_LEAST).log())

    def shares(
        self, states: torch.Tensor, past: Past
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Probability that nothing is copied, and that each of the last events is.

        Returns
        -------
        generated : Tensor of shape (n,)
            Probability that the level is generated.
        copied : Tensor of shape (n, W)
            Probability that it is copied from each event.
        """
        there = self._there(past)
        weights = self.log_weights.exp()
        totals = there @ weights
        gates = self._log_gates(states, totals).exp()
        each = (gates[:, 1:] / totals.clamp(min=_LEAST)) @ weights.T
        return gates[:, 0], there * each

    def draw(
        self, states: torch.Tensor, past: Past, generator: torch.Generator
    ) -> torch.Tensor:
        """Draw the codes that are copied, shape (n,), int64; 0 where none is."""
        generated, copied = self.shares(states, past)
        weights = torch.cat([generated[:, None], copied], dim=1)
        drawn = choose_by_weight(weights, generator)
        with_none = nn.functional.pad(past.codes, (1, 0))
        return with_none.gather(1, drawn[:, None])[:, 0].long()

    def _there(self, past: Past) -> torch.Tensor:
        """Weight of each event before, shape (n, W): 0 where it had no level."""
        places = torch.arange(self.n_events, 0, -1, device=past.codes.device)
        at_once = places <= past.n_at_once[:, None]
        known = past.codes >= _FIRST_LEVEL
        return known * torch.where(at_once, self.log_at_once.exp(), 1.0)

    def _weight_of(self, events: torch.Tensor, past: Past) -> torch.Tensor:
        """Weight of some of the events before, in each kind of copy, shape (n, kinds).

        As the product of `_there`, without gradients of the size of `events`.
        """
        # Laid out for the product of its gradient, which took seven times as long.
        weights = self.log_weights.exp().T.contiguous()
        total = nn.functional.linear(events.float(), weights)
        tied = past.n_at_once.nonzero()[:, 0]
        if not len(tied):
            return total
        places = torch.arange(self.n_events, 0, -1, device=events.device)
        at_once = events[tied] & (places <= past.n_at_once[tied, None])
        more = nn.functional.linear(at_once.float(), weights)
        return total.index_add(0, tied, more * (self.log_at_once.exp() - 1))

    def _log_gates(self, states: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
        """Log probability of no copy and of each kind, shape (n, 1 + kinds)."""
        nothing = nn.functional.pad(totals <= _LEAST, (1, 0))
        logits = self.gates(states).masked_fill(nothing, -torch.inf)
        return torch.log_softmax(logits, dim=1)


def past_of_steps(
    codes: torch.Tensor,
    n_at_once: torch.Tensor,
    row: torch.Tensor,
    step: torch.Tensor,
    n_events: int,
) -> Past:
    """What a field was before some events of padded sequences.

    Parameters
    ----------
    codes : Tensor of shape (B, T), int64
        Codes of all events of the sequences.
    n_at_once : Tensor of shape (n,), int64
        As in `Past`.
    row, step : Tensor of shape (n,), int64
        Places of the events.
    n_events : int
        How many of those before.
    """
    padded = nn.functional.pad(codes.int(), (n_events, 0))
    windows = padded.unfold(1, n_events, 1)  # (B, T + 1, W): those before each step
    return Past(windows[row, step], n_at_once)


def n_at_once_of(is_tie: torch.Tensor) -> torch.Tensor:
    """How many events before each one were at its time, shape (B, T), int64.

    Parameters
    ----------
    is_tie : Tensor of shape (B, T), bool
        Whether there was no gap before an event; that of the first is none.
    """
    steps = torch.arange(is_tie.shape[1], device=is_tie.device)
    return steps - steps.masked_fill(is_tie, 0).cummax(dim=1).values
