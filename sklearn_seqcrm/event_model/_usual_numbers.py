"""Usual numbers: the most frequent number at a level, such as the price of a product.

A customer who buys a product for the first time has no earlier number at it, but other
customers have. The usual number of a level is their most frequent one. It is a further
source of earlier numbers, see `_earlier_numbers`: it was right at n of N events.

In training, the events of a customer do not count for themselves. Otherwise, the usual
number of a level that no other customer has would always be right::

    customer   level   number    usual number for this customer
    1          a       5         5, at 1 of 2 events (7 is at one, too, but larger)
    2          a       5         5, at 1 of 2
    2          b       3         none
    3          a       7         5, at 2 of 2
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import is_run_start, place_in_run
from sklearn_seqcrm.event_model._earlier_numbers import (
    EarlierNumbers,
)
from sklearn_seqcrm.event_model._number_codes import (
    N_CODES,
    NO_LEVEL,
    NO_NUMBER,
    bits_of_codes,
    codes_of_bits,
)

NO_CUSTOMER = -1  # of events that do not count
N_USUAL_CODES = N_CODES + 2  # integers of 32 bits that a usual number takes


class UsualNumbers(NamedTuple):
    """Usual numbers of n levels, or before n events."""

    bits: np.ndarray  # (n,), int64: as in `EarlierNumbers`; `NO_NUMBER` for none
    n_equal: np.ndarray  # (n,), int64: events with this number
    n_trials: np.ndarray  # (n,), int64: events with a number

    @classmethod
    def of_levels(
        cls, bits: np.ndarray, level: np.ndarray, n_levels: int
    ) -> UsualNumbers:
        """Return the usual numbers of levels, and at last that of events without one.

        `bits` and `level`, of shape (n_events,), int64, are numbers and levels of
        events, `NO_NUMBER` and -1 for none. The result has ``n_levels + 1`` entries.
        """
        pairs = _Pairs.of(bits, level)
        begins = is_run_start(pairs.level)
        found = cls.none(n_levels + 1)
        there = pairs.level[begins]
        found.bits[there] = pairs.bits[begins]
        found.n_equal[there] = pairs.n_events[begins]
        np.add.at(found.n_trials, pairs.level, pairs.n_events)
        return found

    @classmethod
    def of_other_customers(
        cls, bits: np.ndarray, level: np.ndarray, customer: np.ndarray
    ) -> UsualNumbers:
        """Return the usual number at the level of each event for its customer.

        The parameters, of shape (n_events,), int64, are as in `of_levels`, and the
        customers of the events, `NO_CUSTOMER` for those that do not count.
        """
        pairs = _Pairs.of(np.where(customer < 0, NO_NUMBER, bits), level)
        # Groups are the events of a customer at a level.
        key = (
            (customer - NO_CUSTOMER) * (level.max(initial=NO_LEVEL) + 2)
            + level
            - NO_LEVEL
        )
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        level, n_groups = level[first], len(first)
        begin = np.searchsorted(pairs.level, level)
        end = np.searchsorted(pairs.level, level, side="right")
        # Pairs of the customer's own, without the own events.
        has_pair = pairs.of_event >= 0
        n_pairs = max(len(pairs.bits), 1)
        own, n_own = np.unique(
            group[has_pair] * n_pairs + pairs.of_event[has_pair], return_counts=True
        )
        of_own, own = np.divmod(own, n_pairs)
        # The first of the other pairs of the level, if there are any.
        place = place_in_run(is_run_start(of_own))
        is_skipped = own - begin[of_own] == place
        other = begin + np.bincount(of_own[is_skipped], minlength=n_groups)
        has_other = np.flatnonzero(other < end)
        other = other[has_other]
        # The most frequent one of both.
        pair = np.append(own, other)
        n_left = np.append(pairs.n_events[own] - n_own, pairs.n_events[other])
        of_group = np.append(of_own, has_other)
        order = np.lexsort([pairs.bits[pair], -n_left, of_group])
        best = order[is_run_start(of_group[order])]
        best = best[n_left[best] > 0]
        found = cls.none(n_groups)
        there = of_group[best]
        found.bits[there] = pairs.bits[pair[best]]
        found.n_equal[there] = n_left[best]
        of_level = np.append(0, np.cumsum(pairs.n_events))
        found.n_trials[:] = of_level[end] - of_level[begin]
        found.n_trials[:] -= np.bincount(of_own, n_own, n_groups).astype("int64")
        return found.take(group)

    @classmethod
    def none(cls, n: int) -> UsualNumbers:
        """Return n times no number."""
        zeros = np.zeros(n, dtype="int64")
        return cls(np.full_like(zeros, NO_NUMBER), zeros, zeros.copy())

    def take(self, at: np.ndarray) -> UsualNumbers:
        """Return the numbers at some positions."""
        return UsualNumbers(*(one[at] for one in self))

    def codes(self) -> np.ndarray:
        """Return the numbers as codes, shape (n, N_USUAL_CODES), int32."""
        counts = np.column_stack([self.n_equal, self.n_trials]).astype("int32")
        return np.concatenate([codes_of_bits(self.bits), counts], axis=1)


def usual_of_codes(codes: Tensor) -> EarlierNumbers:
    """Return the usual numbers of S sources, of codes (n, S * N_USUAL_CODES)."""
    of_sources = codes.unflatten(1, (-1, N_USUAL_CODES))
    counts = of_sources[..., N_CODES:].to(torch.float32).unbind(-1)
    return EarlierNumbers(bits_of_codes(of_sources[..., :N_CODES]), *counts)


class _Pairs(NamedTuple):
    """Distinct pairs of a level and a number, by level, the most frequent first."""

    level: np.ndarray  # (n_pairs,), int64: ascending
    bits: np.ndarray  # (n_pairs,), int64
    n_events: np.ndarray  # (n_pairs,), int64: number of events
    of_event: np.ndarray  # (n_events,), int64: pair of each event, -1 for none

    @classmethod
    def of(cls, bits: np.ndarray, level: np.ndarray) -> _Pairs:
        """Return the pairs of events; see `UsualNumbers.of_levels`."""
        known = np.flatnonzero((bits != NO_NUMBER) & (level != NO_LEVEL))
        values, value = np.unique(bits[known], return_inverse=True)
        n = max(len(values), 1)
        key, pair, counts = np.unique(
            level[known] * n + value, return_inverse=True, return_counts=True
        )
        own_level, own_value = np.divmod(key, n)
        order = np.lexsort([own_value, -counts, own_level])
        of_event = np.full(len(bits), -1)
        of_event[known] = np.argsort(order)[pair]
        return cls(own_level[order], values[own_value[order]], counts[order], of_event)
