"""Earlier numbers: a numeric field may have a number again that the customer had.

A subscriber pays the same amount every month, and a product keeps its price. A mixture
of densities gives such a number a small probability. So, with the mixture ``M`` of
`NumberDensity`, earlier numbers ``v_s``, a probability q that the number is missing,
and gates ``g`` that add up to 1::

    P(x) = q 1[x is missing] + (1 - q) (g_new M(x) + sum_s g_s 1[x = v_s])

Sources s, each of which has one number or none before an event:

- the last number of the customer;
- the last one at an event with the same level in a categorical field that is predicted
  before: the price of the same product, the amount of the same kind of payment.

Training events decide which sources a field has, mostly none; see `choose_sources`.

The gates depend on the context and on how often source s was right so far: in h of t
events, of which the prior is that it is right in the share r_s of events::

    log((h + m r_s) / (t - h + m (1 - r_s))),     m = 2

Before training, this is the log odds of the source, as in the posterior of a Bernoulli
variable with a beta prior.

If no number of training is missing, q is 0; M gives missing ones a small probability.

The numbers are compared and copied as the bits of float64, which are exact on devices
without float64, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network import float32_tensor
from sklearn_seqcrm.event_model._mixtures import new_output
from sklearn_seqcrm.event_model._segments import (
    run_starts,
    starts_run,
    sums_before,
)

# A source is of use if it has at least this share of the numbers beyond
# what chance gives.
_LEAST_SHARE = 0.01
_PRIOR_EVENTS = 2.0
_MOST_SHARE = 0.99  # so that the odds are finite
NO_NUMBER = int(np.array(np.nan).view("int64"))
NO_LEVEL = -1

# Numbers as codes ---------------------------------------------------------------------

N_CODES = 2  # integers of 32 bits that a number takes
_LOW = 2**32 - 1


def codes_of_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return the bits of float64 numbers, shape (n, 2), int32; not finite: missing."""
    # -0.0 is equal to 0.0.
    bits = np.where(np.isfinite(numbers), numbers + 0.0, np.nan).view("int64")
    return np.column_stack([bits >> 32, bits & _LOW]).astype("int32")


def bits_of_codes(codes: Tensor) -> Tensor:
    """Return `codes_of_numbers` as one integer each, shape (n,), int64."""
    high, low = codes.to(torch.int64).unbind(1)
    return (high << 32) | (low & _LOW)


# Sources ------------------------------------------------------------------------------


class NumberSource(NamedTuple):
    """A source of earlier numbers."""

    # The categorical field whose level an event must share with the earlier one; None:
    # any earlier event will do.
    field: str | None
    # Share of training events with the number of the source, where it has one.
    share: float


def choose_sources(
    numbers: np.ndarray, customer: np.ndarray, levels: Mapping[str, np.ndarray]
) -> tuple[NumberSource, ...]:
    """Return the sources that have the numbers of training events.

    `numbers`, of shape (n,), are those of the events, NaN for none, and `customer`,
    (n,), int64, ascending, their customers. `levels` has the level of each event in
    fields that are predicted before, -1 for none.

    Sources are added as long as one has 1% of the numbers, beyond those
    that other sources have and beyond the frequency of the numbers: if most orders are
    of one piece, the last number is often equal by chance.
    """
    known = np.flatnonzero(np.isfinite(numbers))
    row = torch.from_numpy(customer[known])
    value = np.unique(numbers[known], return_inverse=True)[1]
    frequency = np.bincount(value) / max(len(value), 1)
    keys: dict[str | None, np.ndarray] = {None: np.zeros_like(customer)}
    keys.update(levels)
    equal, exists, gain = {}, {}, {}
    for name, key in keys.items():
        own = torch.from_numpy(key[known].astype("int64"))
        previous = previous_numbers(row, own, torch.ones_like(row, dtype=torch.bool))
        earlier = value[previous.numpy()]
        exists[name] = previous.numpy() >= 0
        equal[name] = exists[name] & (earlier == value)
        gain[name] = equal[name] - exists[name] * frequency[earlier]
    is_left, sources = np.ones(len(known), dtype=bool), []
    while keys:
        best = max(keys, key=lambda name: gain[name][is_left].sum())
        if gain[best][is_left].sum() < _LEAST_SHARE * len(known) or not len(known):
            break
        share = equal[best].sum() / exists[best].sum()
        sources.append(NumberSource(best, float(share)))
        is_left &= ~equal[best]
        del keys[best]
    return tuple(sources)


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


# Likelihood ---------------------------------------------------------------------------


class EarlierNumbers(NamedTuple):
    """Numbers of S sources before events."""

    bits: Tensor  # (n, S), int64: the numbers; `NO_NUMBER` for none
    n_equal: Tensor  # (n, S), float32: events so far at which the source had the number
    n_trials: Tensor  # (n, S), float32: events so far at which it had one

    @classmethod
    def before(cls, bits: Tensor, keys: Tensor, row: Tensor) -> EarlierNumbers:
        """Return the numbers before each of n events, row by row.

        `bits`, of shape (n,), are the numbers of the events, and `keys`, (n, S), their
        levels in each source; `row` is as in `previous_numbers`.
        """
        is_known = bits != NO_NUMBER
        found = []
        for key in keys.unbind(1):
            previous = previous_numbers(row, key, is_known)
            found.append(bits[previous].masked_fill(previous < 0, NO_NUMBER))
        earlier = torch.stack(found, dim=1)
        counts = torch.cat(outcomes(earlier, bits), dim=1).to(torch.float32)
        n_equal, n_trials = sums_before(counts, starts_run(row)).chunk(2, dim=1)
        return cls(earlier, n_equal, n_trials)


def outcomes(earlier: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
    """Return where earlier numbers, (n, S), are equal to `bits`, (n,), and both known.

    The results, (n, S), bool, are: equal; both known.
    """
    is_trial = (earlier != NO_NUMBER) & (bits != NO_NUMBER)[:, None]
    return is_trial & (earlier == bits[:, None]), is_trial


class EarlierNumberGates(nn.Module):
    """Gates that choose among a missing number, a new one and the earlier ones.

    `size` is the length of a context, and `missing` the share of training events that
    have no number.
    """

    shares: Tensor

    def __init__(
        self,
        size: int,
        sources: tuple[NumberSource, ...],
        missing: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n = len(sources)
        shares = np.array([source.share for source in sources])
        self.register_buffer("shares", float32_tensor(shares.clip(max=_MOST_SHARE)))
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
        self, log_new: Tensor, context: Tensor, earlier: EarlierNumbers, bits: Tensor
    ) -> Tensor:
        """Return log probabilities of numbers, given those as new ones, (n,)."""
        missing, new, copied = self.log_gates(context, earlier).tensor_split(
            [1, 2], dim=1
        )
        is_known = (bits != NO_NUMBER)[:, None]
        is_equal, _ = outcomes(earlier.bits, bits)
        terms = [
            missing.masked_fill(is_known, -torch.inf),
            new + log_new[:, None],
            copied.masked_fill(~is_equal, -torch.inf),
        ]
        return torch.logsumexp(torch.cat(terms, dim=1), dim=1)
