"""Copies: the next level of a field may be one that was had before."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm.event_model._time_density import new_output

# Moments after which what was had counts 1 / e, in each of the fading kinds of copies.
DECAY_SCALES = (1.0, 4.0, 16.0, 64.0, math.inf)
N_KINDS = 1 + len(DECAY_SCALES)
# What is copied at first, how much of that from the same moment, and how much of the
# rest is as popular as with everybody. Halves led the network to a poor optimum where
# departments of a basket are in order: -1.11 nats an event instead of -1.04.
_START_SHARE, _START_AGAIN, _START_POPULAR = 0.1, 0.02, 0.1
# A kind of which less than this share is left, or so little in all, is none.
_LEAST_LEFT, _LEAST_TOTAL = 0.01, 1e-30
_LEAST = 1e-30  # of a probability, so that its logarithm is finite


class CopyCandidates(NamedTuple):
    """How much there is to copy before some events, in each kind of copy.

    Parameters
    ----------
    own : Tensor of shape (n, N_KINDS), float32
        Of the level that each event has: how many events of the same moment had it,
        then its fading counts at earlier moments times its weight, which are 0 if
        there was one, and in a kind that has nothing.
    total : Tensor of shape (n, N_KINDS), float32
        The same of all levels together; 0 where a kind has nothing.
    """

    own: torch.Tensor
    total: torch.Tensor


class CopyMechanism(nn.Module):
    """The chance that the next level is a copy, and of what.

    The probability of a level is, as in RepeatNet (P. Ren et al., "RepeatNet: A Repeat
    Aware Neural Recommendation Machine", AAAI 2019), a mixture of what the network
    generates and of how often the customer has had it. There are several kinds of
    copies: what is in the same moment, the same basket, already; and what was at
    earlier moments and is not in this one, counted so that it fades fast, slowly or
    not at all. Beside them stands what all customers have had: of thousands of levels
    the network is sure of more than it can know. A gate of the state chooses among
    those of which there is something.

    Parameters
    ----------
    size : int
        Numbers of a state.
    repeats : ndarray of shape (n_codes,)
        Weight of each code among repeats, see `repeat_purchase_lift`.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(
        self, size: int, repeats: np.ndarray, generator: torch.Generator
    ) -> None:
        super().__init__()
        weights = torch.tensor(repeats, dtype=torch.float32, device="cpu")
        self.register_buffer("repeats", weights)
        fading = (1 - _START_AGAIN) / len(DECAY_SCALES)
        shares = [_START_AGAIN, *[fading] * len(DECAY_SCALES)]
        new = 1 - _START_SHARE
        bias = [new * (1 - _START_POPULAR), new * _START_POPULAR]
        bias += [_START_SHARE * share for share in shares]
        self.gates = new_output(size, [math.log(share) for share in bias], generator)

    def log_prob(
        self,
        states: torch.Tensor,
        past: CopyCandidates,
        generated: torch.Tensor,
        popular: torch.Tensor,
    ) -> torch.Tensor:
        """Log probability of codes, whichever way they come, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        past : CopyCandidates of n
            How much there is to copy.
        generated : Tensor of shape (n,)
            Log probability that the codes are generated.
        popular : Tensor of shape (n,)
            Share of the codes among all customers.
        """
        gates = self.log_gates(states, past.total)
        shares = past.own / past.total.clamp(min=_LEAST_TOTAL)
        shares = torch.cat([popular[:, None], shares], dim=1)
        copied = (gates[:, 1:].exp() * shares).sum(dim=1)
        return torch.logaddexp(gates[:, 0] + generated, copied.clamp(min=_LEAST).log())

    def log_gates(self, states: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Log probability of each way, shape (n, 2 + N_KINDS).

        The first is that of the network, the second that of all customers.

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        total : Tensor of shape (n, N_KINDS)
            As in `CopyCandidates`.
        """
        nothing = nn.functional.pad(total <= 0, (2, 0))
        logits = self.gates(states).masked_fill(nothing, -torch.inf)
        return torch.log_softmax(logits, dim=1)


def past_of_steps(
    codes: torch.Tensor,
    repeats: torch.Tensor,
    is_tie: torch.Tensor,
    row: torch.Tensor,
    step: torch.Tensor,
) -> CopyCandidates:
    """How much there is to copy before each event of padded sequences.

    Parameters
    ----------
    codes : Tensor of shape (B, T), int64
        Codes of a field.
    repeats : Tensor of shape (n_codes,), float32
        How much each code counts at later moments.
    is_tie : Tensor of shape (B, T), bool
        Whether an event is at the moment of the one before; the first is not.
    row, step : Tensor of shape (n,), int64
        Places of all events, row by row.
    """
    own = codes[row, step]
    moment = (~is_tie).cumsum(dim=1)[row, step]
    is_level, weight = (own >= FIRST_LEVEL).float(), repeats[own]
    total, n_again = _counts_before(row, moment, is_level, weight)
    # By level; those of a level stay in their order.
    level = row * len(repeats) + own
    order = level.argsort(stable=True)
    faded, again = torch.empty_like(total), torch.empty_like(n_again)
    faded[order], again[order] = _counts_before(
        level[order], moment[order], is_level[order], weight[order]
    )
    again = again * is_level
    # The first of its level in this moment takes what there was of it before.
    faded = faded * (is_level * (again == 0))[:, None]
    taken = _sums_before(faded, _is_new(row) | _is_new(moment))
    left = what_is_left(total, taken)
    return CopyCandidates(
        torch.cat([again[:, None], faded * (left > 0)], dim=1),
        torch.cat([n_again[:, None], left], dim=1),
    )


def what_is_left(total: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
    """Fading weights less those of what a moment has; 0 where that is nearly all."""
    left = total - taken
    some = (left > _LEAST_LEFT * total) & (total > _LEAST_TOTAL)
    return torch.where(some, left, torch.zeros_like(left))


def fade(lag: torch.Tensor) -> torch.Tensor:
    """What is left after some moments in each fading kind, shape (n, n_reaches)."""
    return torch.exp(-lag[:, None] / reaches_like(lag))


def reaches_like(numbers: torch.Tensor) -> torch.Tensor:
    """The reaches on the device of some numbers."""
    return torch.tensor(DECAY_SCALES, dtype=torch.float32, device=numbers.device)


def _counts_before(
    group: torch.Tensor,
    moment: torch.Tensor,
    is_level: torch.Tensor,
    weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fading weights of earlier moments, and how many of the same one came before.

    Parameters
    ----------
    group, moment : Tensor of shape (n,), int64
        Groups of events, one after the other, and moments, ascending within each.
    is_level, weight : Tensor of shape (n,), float32
        How much an event counts at its own moment and at later ones.

    Returns
    -------
    faded : Tensor of shape (n, n_reaches)
        Weights of the earlier moments of the group.
    same : Tensor of shape (n,)
        Count of the events of this moment that stand before.
    """
    is_group = _is_new(group)
    is_moment = is_group | _is_new(moment)
    same = _sums_before(is_level[:, None], is_moment)[:, 0]
    number = is_moment.cumsum(dim=0) - 1
    begin = is_moment.nonzero()[:, 0]
    count = weight.new_zeros(len(begin)).index_add(0, number, weight)
    lag = moment[begin].diff(prepend=moment[:1])
    kept = fade(lag).masked_fill(is_group[begin, None], 0.0)
    return _carried_on(kept, kept * count.roll(1)[:, None])[number], same


def _sums_before(numbers: torch.Tensor, is_new: torch.Tensor) -> torch.Tensor:
    """Sums of the numbers, shape (n, k), that stand before each in its segment.

    Differences of sums over all segments would have the rounding of the largest.
    """
    kept = (~is_new[:, None]).to(numbers.dtype)
    return _carried_on(kept, kept * numbers.roll(1, dims=0))


def _carried_on(kept: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """``S[i] = kept[i] * S[i - 1] + added[i]``, shape (n, k); both are used up."""
    span = 1  # doubles, until all segments have ended
    while kept.any():
        added[span:] += kept[span:] * added[:-span]
        kept[span:] = kept[span:] * kept[:-span]
        span *= 2
    return added


def _is_new(numbers: torch.Tensor) -> torch.Tensor:
    """Whether each is another than the one before, shape (n,), bool."""
    is_new = torch.ones_like(numbers, dtype=torch.bool)
    is_new[1:] = numbers[1:] != numbers[:-1]
    return is_new
