"""Choose the sources of earlier numbers that a numeric field has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch

from sklearn_seqcrm.event_model._earlier_numbers import (
    previous_numbers,
)
from sklearn_seqcrm.event_model._number_codes import (
    NO_NUMBER,
)
from sklearn_seqcrm.event_model._usual_numbers import UsualNumbers

# A source is of use if it has at least this share of the numbers beyond what chance
# gives, and this number of them.
_LEAST_SHARE, _LEAST_EVENTS = 0.01, 10
_MOST_EVENTS = 200_000  # of some of the customers, if there are more


class NumberSource(NamedTuple):
    """A source of earlier numbers."""

    # The categorical field whose level an event must share with the earlier one; None:
    # any earlier event of the customer will do.
    field: str | None
    # Whether it is the usual number of other customers, in place of the customer's
    # last one.
    is_usual: bool
    # The numeric field to whose numbers it has ratios; None: it has numbers.
    base: str | None
    # Share of training events with the number of the source, where it has one.
    share: float


def choose_sources(
    own: Mapping[str | None, np.ndarray],
    customer: np.ndarray,
    levels: Mapping[str, np.ndarray],
) -> tuple[NumberSource, ...]:
    """Return the sources that have the numbers of training events.

    `own`, of shape (n,), int64, has the bits of the numbers of the events, under None,
    and their ratios to fields that are predicted before, `NO_NUMBER` for none.
    `customer`, (n,), int64, ascending, are the customers, and `levels` has the level of
    each event in fields that are predicted before, -1 for none.

    Sources are added as long as one has 1% of the numbers, and ten of them, beyond
    those that other sources have and beyond the frequency of the numbers: if most
    orders are of one piece, the last number is often equal by chance. Ratios are to one
    field. Usual numbers come last. Of very many events, some of the customers are
    looked at.
    """
    step = 1 + len(customer) // _MOST_EVENTS
    known = np.flatnonzero((own[None] != NO_NUMBER) & (customer % step == 0))
    if not len(known):
        return ()
    customer = customer[known]
    levels = {name: level[known] for name, level in levels.items()}
    equal, gain = {}, {}
    for base, numbers in own.items():
        bits = numbers[known]
        values, counts = np.unique(bits, return_counts=True)
        for field, is_usual, earlier in _earlier(bits, customer, levels):
            exists = (earlier != NO_NUMBER) & (bits != NO_NUMBER)
            if not exists.any():
                continue
            right = exists & (earlier == bits)
            share = float(right.sum() / exists.sum())
            source = NumberSource(field, is_usual, base, share)
            at = np.searchsorted(values, earlier[exists])
            equal[source], gain[source] = right, right.astype("float64")
            gain[source][exists] -= counts[at] / len(bits)
    is_left, chosen = np.ones(len(known), dtype=bool), []
    least = max(_LEAST_SHARE * len(known), _LEAST_EVENTS)
    while gain:
        best = max(gain, key=lambda source: gain[source][is_left].sum())
        if gain[best][is_left].sum() < least:
            break
        chosen.append(best)
        is_left &= ~equal[best]
        del gain[best]
        if best.base is not None:
            gain = {one: x for one, x in gain.items() if one.base in (None, best.base)}
    return tuple(sorted(chosen, key=lambda source: source.is_usual))


def _earlier(
    bits: np.ndarray, customer: np.ndarray, levels: Mapping[str, np.ndarray]
) -> Iterator[tuple[str | None, bool, np.ndarray]]:
    """Yield field, kind and numbers, of shape (n,), of each possible source."""
    row = torch.from_numpy(customer)
    is_known = torch.from_numpy(bits != NO_NUMBER)
    keys: dict[str | None, np.ndarray] = {None: np.zeros_like(customer)}
    keys.update(levels)
    for field, key in keys.items():
        previous = previous_numbers(row, torch.from_numpy(key), is_known).numpy()
        yield field, False, np.where(previous < 0, NO_NUMBER, bits[previous])
    for field, key in levels.items():
        usual = UsualNumbers.of_other_customers(bits, key, customer)
        yield field, True, usual.bits
