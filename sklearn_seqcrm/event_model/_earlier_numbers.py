"""Earlier numbers: a numeric field may have a number again that the customer had.

A subscriber pays the same amount every month, and a product keeps its price. A mixture
of densities gives such a number a small probability. So, with the mixture ``M`` of
`NumberDensity`, earlier numbers ``v_s``, a probability q that the number is missing,
and gates ``g`` that add up to 1::

    P(x) = q 1[x is missing] + (1 - q) (g_new M(x) + sum_s g_s 1[x = v_s])

Sources s, each of which has one number or none before an event:

- the last number of the customer;
- the last one at an event with the same level in a categorical field that is predicted
  before: the price of the same product, the amount of the same kind of payment;
- the usual one of other customers at this level; see `_usual_numbers`;
- any of these as a ratio to a number that is predicted before: the price of a piece of
  the product, times the number of pieces, is the spend.

Training events decide which sources a field has, mostly none; see `_number_sources`.

The gates depend on the context and on how often source s was right so far: in h of t
events, of which the prior is that it is right in the share r_s of events::

    log((h + m r_s) / (t - h + m (1 - r_s))),     m = 2

Before training, this is the log odds of the source, as in the posterior of a Bernoulli
variable with a beta prior. For the usual number, events are those of other customers.

If no number of training is missing, q is 0; M gives missing ones a small probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import float32_tensor
from sklearn_seqcrm.event_model._mixtures import new_output
from sklearn_seqcrm.event_model._number_codes import NO_LEVEL, NO_NUMBER
from sklearn_seqcrm.event_model._segments import (
    run_starts,
    starts_run,
    sums_before,
)

_PRIOR_EVENTS = 2.0
_MOST_SHARE = 0.99  # so that the odds are finite


def previous_numbers(row: Tensor, key: Tensor, is_known: Tensor) -> Tensor:
    """Return where the last number before each event is, shape (n,), -1 for none.

    `row`, of shape (n,), int64, is the row of each event, ascending, `key`, (n,),
    int64, its group in the row, -1 for none, and `is_known`, (n,), whether it has a
    number.
    """
    group = row * (key.max(dim=0).values + 2 if len(key) else 1) + key + 1
    order = group.argsort(stable=True)
    known = is_known[order] & (key[order] != NO_LEVEL)
    place = known.nonzero()[:, 0]
    if not len(place):
        return torch.full_like(key, -1)
    before = known.cumsum(dim=0) - known.long() - 1
    previous = place[before.clamp(min=0)]
    exists = (before >= 0) & (previous >= run_starts(starts_run(group[order])))
    exists &= key[order] != NO_LEVEL
    found = torch.empty_like(key)
    found[order] = torch.where(exists, order[previous], -1)
    return found


class EarlierNumbers(NamedTuple):
    """Numbers of S sources before events."""

    bits: Tensor  # (n, S), int64: numbers or ratios; `NO_NUMBER` for none
    n_equal: Tensor  # (n, S), float32: events so far at which the source had the number
    n_trials: Tensor  # (n, S), float32: events so far at which it had one

    @classmethod
    def before(cls, numbers: Tensor, keys: Tensor, row: Tensor) -> EarlierNumbers:
        """Return the numbers before each of n events, row by row.

        `numbers` and `keys`, of shape (n, S), are the numbers of the events, or ratios,
        and their levels in each source; `row` is as in `previous_numbers`.
        """
        earlier = torch.full_like(numbers, NO_NUMBER)
        pairs = zip(numbers.unbind(1), keys.unbind(1), strict=True)
        for k, (bits, key) in enumerate(pairs):
            previous = previous_numbers(row, key, bits != NO_NUMBER)
            earlier[:, k] = bits[previous].masked_fill(previous < 0, NO_NUMBER)
        counts = torch.cat(outcomes(earlier, numbers), dim=1).to(torch.float32)
        n_equal, n_trials = sums_before(counts, starts_run(row)).chunk(2, dim=1)
        return cls(earlier, n_equal, n_trials)

    @classmethod
    def none(cls, like: Tensor) -> EarlierNumbers:
        """Return no number for events and sources, of shape (n, S) as a tensor is."""
        zeros = torch.zeros_like(like, dtype=torch.float32)
        return cls(torch.full_like(like, NO_NUMBER), zeros, zeros)

    def and_more(self, others: EarlierNumbers) -> EarlierNumbers:
        """Return these numbers followed by those of other sources, (n, S + T)."""
        pairs = zip(self, others, strict=True)
        return EarlierNumbers(*(torch.cat(pair, dim=1) for pair in pairs))


def outcomes(earlier: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return where earlier numbers are those of the events, and where both are known.

    Parameters and results have the shape (n, S).
    """
    is_trial = (earlier != NO_NUMBER) & (numbers != NO_NUMBER)
    return is_trial & (earlier == numbers), is_trial


class EarlierNumberGates(nn.Module):
    """Gates that choose among a missing number, a new one and the earlier ones.

    `size` is the length of a context, `right` has the share r of each source, and
    `missing` is the share of training events that have no number.
    """

    shares: Tensor

    def __init__(
        self,
        size: int,
        right: Sequence[float],
        missing: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n, shares = len(right), np.clip(right, 0, _MOST_SHARE)
        self.register_buffer("shares", float32_tensor(shares))
        self.some_missing = missing > 0
        odds = missing / (1 - missing) if 0 < missing < 1 else 1.0
        self.gates = new_output(size + n, [math.log(odds), *[0.0] * (1 + n)], generator)
        with torch.no_grad():
            self.gates.weight[:2, size:] = 0.0
            self.gates.weight[2:, size:] = float32_tensor(np.eye(n))

    def log_gates(self, context: Tensor, earlier: EarlierNumbers) -> Tensor:
        """Return log q, log((1 - q) g_new) and log((1 - q) g_s), (n, 2 + S).

        They are -inf for sources without a number.
        """
        prior = _PRIOR_EVENTS * self.shares
        wrong = earlier.n_trials - earlier.n_equal + _PRIOR_EVENTS - prior
        log_odds = torch.log((earlier.n_equal + prior) / wrong)
        logits = self.gates(torch.cat([context, log_odds], dim=1))
        missing, others = logits.tensor_split([1], dim=1)
        if not self.some_missing:
            missing = torch.full_like(missing, -torch.inf)
        is_none = nn.functional.pad(earlier.bits == NO_NUMBER, (1, 0))
        others = torch.log_softmax(others.masked_fill(is_none, -torch.inf), dim=1)
        log_q = nn.functional.logsigmoid(missing)
        return torch.cat([log_q, others + nn.functional.logsigmoid(-missing)], dim=1)

    def log_prob(
        self,
        log_new: Tensor,
        context: Tensor,
        earlier: EarlierNumbers,
        numbers: Tensor,
        is_known: Tensor,
    ) -> Tensor:
        """Return log probabilities of numbers, given those as new ones, (n,).

        `numbers`, of shape (n, S), are those of the events as sources have them, and
        `is_known`, (n,), says which are not missing.
        """
        missing, new, copied = self.log_gates(context, earlier).tensor_split(
            [1, 2], dim=1
        )
        is_equal, _ = outcomes(earlier.bits, numbers)
        terms = [
            missing.masked_fill(is_known[:, None], -torch.inf),
            new + log_new[:, None],
            copied.masked_fill(~is_equal, -torch.inf),
        ]
        return torch.logsumexp(torch.cat(terms, dim=1), dim=1)
