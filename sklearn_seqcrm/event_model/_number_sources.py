"""Choose the sources of earlier numbers that a numeric field has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch

from sklearn_seqcrm.event_model._earlier_numbers import previous_numbers
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._number_codes import NO_NUMBER, NO_UNITS, times_base
from sklearn_seqcrm.event_model._usual_numbers import LevelNumbers

# A source is of use if it has at least this share of the numbers beyond what chance
# gives, and this number of them.
_LEAST_SHARE, _LEAST_EVENTS = 0.01, 10
_MOST_EVENTS = 50_000  # about as many are looked at


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
    numbers: Mapping[str | None, np.ndarray],
    units: np.ndarray,
    bases: Mapping[str, np.ndarray],
    events: TrainingEvents,
    levels: Mapping[str, np.ndarray],
) -> tuple[NumberSource, ...]:
    """Return the sources that have the numbers of n training events.

    `numbers`, of shape (n,), int64, has the bits of the numbers, under None, and their
    ratios to fields that are predicted before, `NO_NUMBER` for none; `units` and
    `bases`, (n,), int64, are the numbers and those of these fields in units. `levels`
    has the level of each event in fields that are predicted before, -1 for none.

    Sources are added as long as one has 1% of the numbers, and ten of them, beyond
    those that other sources have and beyond the frequency of the numbers: if most
    orders are of one piece, the last number is often equal by chance. With a usual
    number comes the customer's own one at the same level, which is right sooner if
    prices change. Ratios are to one field. Usual numbers come last.
    """
    some = np.flatnonzero(_of_some_customers(events.customer))
    known = some[numbers[None][some] != NO_NUMBER]
    events = TrainingEvents(*(part[known] for part in events))
    levels = {name: level[known] for name, level in levels.items()}
    left: dict[NumberSource, _Gain] = {}
    for base, of_base in numbers.items():
        implied = None if base is None else (units[known], bases[base][known])
        left.update(_gains(base, of_base[known], implied, events, levels))
    is_left, chosen = np.ones(len(known), dtype=bool), []
    least = max(_LEAST_SHARE * len(known), _LEAST_EVENTS)
    while left:
        best = max(left, key=lambda source: left[source].gain[is_left].sum())
        if left[best].gain[is_left].sum() < least:
            break
        own = best.field, False, best.base
        for source in [one for one in left if one == best or one[:3] == own]:
            chosen.append(source)
            is_left &= ~left.pop(source).is_right
        if best.base is not None:
            left = {one: x for one, x in left.items() if one.base in (None, best.base)}
    return tuple(sorted(chosen, key=lambda source: source.is_usual))


class _Gain(NamedTuple):
    """At which of n events a source is right, and more often than by chance."""

    is_right: np.ndarray  # (n,), bool
    gain: np.ndarray  # (n,), float64: `is_right`, less the frequency of the number


def _gains(
    base: str | None,
    bits: np.ndarray,
    implied: tuple[np.ndarray, np.ndarray] | None,
    events: TrainingEvents,
    levels: Mapping[str, np.ndarray],
) -> Iterator[tuple[NumberSource, _Gain]]:
    """Yield possible sources of numbers or, with `base`, of ratios.

    `bits`, of shape (n,), are the numbers or the ratios; `implied` are numbers and
    bases in units, for the number that follows from a ratio.
    """
    numbers = bits if implied is None else implied[0]
    values, counts = np.unique(numbers, return_counts=True)
    for field, is_usual, earlier in _earlier(bits, events, levels):
        number, none = earlier, NO_NUMBER
        if implied is not None:
            parts = torch.from_numpy(earlier), torch.from_numpy(implied[1])
            number, none = times_base(*parts).numpy(), NO_UNITS
        exists = np.flatnonzero(number != none)
        if not len(exists):
            continue
        is_right = np.zeros(len(bits), dtype=bool)
        is_right[exists] = earlier[exists] == bits[exists]
        at = np.searchsorted(values, number[exists]).clip(max=len(values) - 1)
        is_value = values[at] == number[exists]
        gain = is_right.astype("float64")
        gain[exists] -= is_value * counts[at] / len(bits)
        share = float(is_right.sum() / len(exists))
        yield NumberSource(field, is_usual, base, share), _Gain(is_right, gain)


def _of_some_customers(customer: np.ndarray) -> np.ndarray:
    """Return which events to look at, (n,), bool: of random customers, if many."""
    _, number, counts = np.unique(customer, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(counts))
    n_before = np.cumsum(counts[order]) - counts[order]
    is_one = np.zeros(len(counts), dtype=bool)
    is_one[order] = n_before < _MOST_EVENTS
    return is_one[number]


def _earlier(
    bits: np.ndarray, events: TrainingEvents, levels: Mapping[str, np.ndarray]
) -> Iterator[tuple[str | None, bool, np.ndarray]]:
    """Yield field, kind and numbers, of shape (n,), of each possible source."""
    row, is_known = torch.from_numpy(events.row), torch.from_numpy(bits != NO_NUMBER)
    keys: dict[str | None, np.ndarray] = {None: np.zeros_like(events.row)}
    keys.update(levels)
    for field, key in keys.items():
        previous = previous_numbers(row, torch.from_numpy(key), is_known).numpy()
        yield field, False, np.where(previous < 0, NO_NUMBER, bits[previous])
    for field, key in levels.items():
        numbers = LevelNumbers.of(bits, key)
        usual = numbers.usual_of_others(bits, key, events.customer)
        yield field, True, usual.bits
