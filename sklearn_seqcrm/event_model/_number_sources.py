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


class NumberSource(NamedTuple):
    """A source of earlier numbers."""

    # The categorical field whose level an event must share with the earlier one; None:
    # any earlier event of the customer will do.
    field: str | None
    # Whether it is the usual number of other customers, in place of the customer's
    # last one.
    is_usual: bool
    # Share of training events with the number of the source, where it has one.
    share: float


def choose_sources(
    bits: np.ndarray, customer: np.ndarray, levels: Mapping[str, np.ndarray]
) -> tuple[NumberSource, ...]:
    """Return the sources that have the numbers of training events.

    `bits`, of shape (n,), int64, are the numbers of the events as `bits_of_codes`
    returns them, and `customer`, (n,), int64, ascending, their customers. `levels` has
    the level of each event in fields that are predicted before, -1 for none.

    Sources are added as long as one has 1% of the numbers, and ten of them, beyond those that other
    sources have and beyond the frequency of the numbers: if most orders are of one
    piece, the last number is often equal by chance. Usual numbers come last.
    """
    known = np.flatnonzero(bits != NO_NUMBER)
    if not len(known):
        return ()
    bits, customer = bits[known], customer[known]
    values, counts = np.unique(bits, return_counts=True)
    own_levels = {name: level[known] for name, level in levels.items()}
    equal, gain = {}, {}
    for field, is_usual, earlier in _earlier(bits, customer, own_levels):
        exists = earlier != NO_NUMBER
        if not exists.any():
            continue
        at = np.searchsorted(values, earlier[exists])
        right = earlier == bits
        source = NumberSource(field, is_usual, float(right.sum() / exists.sum()))
        equal[source], gain[source] = right, right.astype("float64")
        gain[source][exists] -= counts[at] / len(bits)
    is_left, chosen = np.ones(len(bits), dtype=bool), []
    while gain:
        best = max(gain, key=lambda source: gain[source][is_left].sum())
        if gain[best][is_left].sum() < max(_LEAST_SHARE * len(bits), _LEAST_EVENTS):
            break
        chosen.append(best)
        is_left &= ~equal[best]
        del gain[best]
    return tuple(sorted(chosen, key=lambda source: source.is_usual))


def _earlier(
    bits: np.ndarray, customer: np.ndarray, levels: Mapping[str, np.ndarray]
) -> Iterator[tuple[str | None, bool, np.ndarray]]:
    """Yield field, kind and numbers, of shape (n,), of each possible source."""
    row = torch.from_numpy(customer)
    keys: dict[str | None, np.ndarray] = {None: np.zeros_like(customer)}
    keys.update(levels)
    for field, key in keys.items():
        own = torch.from_numpy(key.astype("int64"))
        is_known = torch.ones_like(row, dtype=torch.bool)
        previous = previous_numbers(row, own, is_known).numpy()
        yield field, False, np.where(previous < 0, NO_NUMBER, bits[previous])
    for field, key in levels.items():
        usual = UsualNumbers.of_other_customers(bits, key.astype("int64"), customer)
        yield field, True, usual.bits
