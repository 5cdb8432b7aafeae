"""Usual numbers: the most frequent number at a level, such as the price of a product.

A customer who buys a product for the first time has no earlier number at it, but other
customers have. The usual number of a level is the one that most training events of the
level have. It is a further source of earlier numbers, see `_earlier_numbers`.

In training, the events of a customer do not count for themselves. Otherwise, the usual
number of a level that no other customer has would always be right::

    customer   level   number    usual number for this customer
    1          a       5         5, at 1 of 2 events (7 is at one, too, but larger)
    2          a       5         5, at 1 of 2
    2          b       3         none
    3          a       7         5, at 2 of 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import is_run_start, place_in_run
from sklearn_seqcrm.event_model._earlier_numbers import EarlierNumbers
from sklearn_seqcrm.event_model._number_codes import (
    N_CODES,
    NO_LEVEL,
    NO_NUMBER,
    bits_of_codes,
    codes_of_bits,
)

NO_CUSTOMER = -1  # of events that no training row sees
N_USUAL_CODES = N_CODES + 2  # integers of 32 bits that a usual number takes


class UsualNumbers(NamedTuple):
    """Usual numbers before n events."""

    bits: np.ndarray  # (n,), int64: as in `EarlierNumbers`; `NO_NUMBER` for none
    n_equal: np.ndarray  # (n,), int64: training events of the level with this number
    n_trials: np.ndarray  # (n,), int64: training events of the level with any number

    def codes(self) -> np.ndarray:
        """Return the numbers as codes, shape (n, N_USUAL_CODES), int32."""
        counts = np.column_stack([self.n_equal, self.n_trials]).astype("int32")
        return np.concatenate([codes_of_bits(self.bits), counts], axis=1)


def usual_of_codes(codes: Tensor) -> EarlierNumbers:
    """Return the usual numbers of S sources, of codes (n, S * N_USUAL_CODES)."""
    of_sources = codes.unflatten(1, (-1, N_USUAL_CODES))
    counts = of_sources[..., N_CODES:].to(torch.float32).unbind(-1)
    return EarlierNumbers(bits_of_codes(of_sources[..., :N_CODES]), *counts)


@dataclass(frozen=True, eq=False)
class LevelNumbers:
    """How many training events of each level have each number.

    These pairs of a level and a number are in the order of levels, then the most
    frequent first, then by the bits of the numbers.
    """

    bits: np.ndarray  # (n_pairs,), int64: numbers
    n_events: np.ndarray  # (n_pairs,), int64: training events of each pair
    # (n_levels + 2,), int64: level l has the pairs ``begin[l]:begin[l + 1]``; a level
    # beyond them stands for those that training does not have.
    begin: np.ndarray
    n_trials: np.ndarray  # (n_levels + 1,), int64: training events of each level

    @classmethod
    def of(cls, bits: np.ndarray, level: np.ndarray) -> LevelNumbers:
        """Count events.

        `bits`, of shape (n,), int64, and `level`, (n,), integers, are their numbers and
        levels, `NO_NUMBER` and -1 for none.
        """
        known = np.flatnonzero((bits != NO_NUMBER) & (level != NO_LEVEL))
        order = known[np.lexsort([bits[known], level[known]])]
        begins = is_run_start(bits[order], np.flatnonzero(is_run_start(level[order])))
        starts = np.flatnonzero(begins)
        n_events = np.diff(starts, append=len(order))
        bits, level = bits[order[starts]], level[order[starts]]
        by_frequency = np.lexsort([bits, -n_events, level])
        n_pairs = np.bincount(level, minlength=1)
        begin = np.concatenate([[0], np.cumsum(n_pairs), [len(level)]])
        n_trials = np.bincount(level, n_events, len(n_pairs) + 1).astype("int64")
        return cls(bits[by_frequency], n_events[by_frequency], begin, n_trials)

    def usual(self, level: np.ndarray) -> UsualNumbers:
        """Return the usual numbers of n levels, integers, -1 for none."""
        place = self._place(level)
        first, end = self.begin[place], self.begin[place + 1]
        has_pair = np.flatnonzero(first < end)
        found = self._none(place)
        found.bits[has_pair] = self.bits[first[has_pair]]
        found.n_equal[has_pair] = self.n_events[first[has_pair]]
        return found

    def usual_of_others(
        self, bits: np.ndarray, level: np.ndarray, customer: np.ndarray
    ) -> UsualNumbers:
        """Return the usual number of other customers at the level of each event.

        `bits` and `level` are as in `of`, and `customer`, (n,), int64, has the customer
        of each event, `NO_CUSTOMER` where it is not one of training.
        """
        # Groups are the events of a customer at a level.
        key = (customer - NO_CUSTOMER) * (level.max(initial=0) + 2) + level - NO_LEVEL
        _, at, group = np.unique(key, return_index=True, return_inverse=True)
        place = self._place(level[at])
        first, end = self.begin[place], self.begin[place + 1]
        # The customer's own pairs, less the own events.
        pair = self._pairs(bits, level)
        n_pairs, is_own = len(self.bits) + 1, (pair >= 0) & (customer != NO_CUSTOMER)
        own, n_own = np.unique(
            group[is_own] * n_pairs + pair[is_own], return_counts=True
        )
        of_own, own = np.divmod(own, n_pairs)
        # The first of the other pairs of the level, if there are any.
        order = place_in_run(is_run_start(of_own))
        is_skipped = own - first[of_own] == order
        other = first + np.bincount(of_own[is_skipped], minlength=len(at))
        has_other = np.flatnonzero(other < end)
        # The most frequent one of both.
        pair = np.append(own, other[has_other])
        n_left = self.n_events[pair]
        n_left[: len(own)] -= n_own
        of_group = np.append(of_own, has_other)
        best = np.lexsort([self.bits[pair], -n_left, of_group])
        best = best[is_run_start(of_group[best])]
        best = best[n_left[best] > 0]
        found = self._none(place)
        found.bits[of_group[best]] = self.bits[pair[best]]
        found.n_equal[of_group[best]] = n_left[best]
        n_own_trials = np.bincount(of_own, n_own, len(at)).astype("int64")
        found.n_trials[:] = np.maximum(found.n_trials - n_own_trials, found.n_equal)
        return UsualNumbers(*(one[group] for one in found))

    def _place(self, level: np.ndarray) -> np.ndarray:
        """Return the places of levels in `begin`."""
        n_levels = len(self.begin) - 2
        place = np.where((level >= 0) & (level < n_levels), level, n_levels)
        return place.astype("int64")

    def _none(self, place: np.ndarray) -> UsualNumbers:
        """Return no numbers for levels at these places of `begin`, shape (n,)."""
        nothing = np.full_like(place, NO_NUMBER), np.zeros_like(place)
        return UsualNumbers(*nothing, self.n_trials[place])

    def _pairs(self, bits: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return the pair of each event, shape (n,), -1 where training has none."""
        values, value = np.unique(self.bits, return_inverse=True)
        of_pairs = np.repeat(np.arange(len(self.begin) - 1), np.diff(self.begin))
        keys = of_pairs * (len(values) + 1) + value
        order = np.argsort(keys)
        at = np.searchsorted(values, bits)
        is_known = (level != NO_LEVEL) & (at < len(values))
        is_known[is_known] = values[at[is_known]] == bits[is_known]
        found = np.full(len(bits), -1)
        key = self._place(level[is_known]) * (len(values) + 1) + at[is_known]
        there = np.searchsorted(keys, key, sorter=order)
        pair = order[there.clip(max=len(order) - 1)]
        found[is_known] = np.where(keys[pair] == key, pair, -1)
        return found
