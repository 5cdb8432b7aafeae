"""Test whether the order of the lines of moments is random, and draw new orders.

Lines of a basket may be recorded in the order in which they were chosen, or sorted.
Each line is then informative about the next one, and an event model learns this. If
their order is random, any other one is as good for training: with a new one in each
epoch, the network sees each basket in as many ways as there are epochs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._recurrent.network import RandomInTraining

# Lines that are compared, and random orders of them. With 100,000 lines, the standard
# deviation of the entropy of pairs is about 0.002 nats.
_MOST_LINES, _N_ORDERS = 100_000, 20
# Not a usual one: simulated numbers of the same generator would order their own lines.
_SEED = 839_274_651
# An order is informative if it takes at least this many nats per pair, and this many
# standard deviations over random orders, from the entropy.
_LEAST_NATS, _LEAST_DEVIATIONS = 0.005, 5.0


def is_order_random(fields: Iterable[np.ndarray], moment: np.ndarray) -> bool:
    """Return whether some moments have several lines, in a random order.

    `fields` are values of lines, each of shape (n,): int codes of levels, -1 if one is
    missing, or floats. `moment`, (n,), int64, is the number of the moment of each line,
    ascending.

    The order is informative if, in one of the fields, the entropy of pairs of
    successive lines is lower than in random orders. The first and the last line of a
    moment are in pairs with its start and its end. Numbers are compared by eighths of
    the lines. Levels are, too, in the order of their codes: pairs of thousands of
    levels hardly ever occur again.

    The difference is the information of a line about the next one, in nats (about as
    much as a network gains in likelihood: 0.056 and 0.053 on lines of groceries that
    are sorted in part; 0.64 and 0.53 on lines of invoices).
    """
    rng = np.random.default_rng(_SEED)
    some = _sample(moment, rng)
    moment = moment[some]
    is_first = is_run_start(moment)
    if is_first.all():
        return False
    orders = [np.lexsort([rng.random(len(some)), moment]) for _ in range(_N_ORDERS)]
    for values in fields:
        for codes in _groupings(values[some]):
            entropy = _entropy_of_pairs(codes, is_first)
            at_random = [_entropy_of_pairs(codes[order], is_first) for order in orders]
            gain = float(np.mean(at_random)) - entropy
            if gain > max(_LEAST_NATS, _LEAST_DEVIATIONS * float(np.std(at_random))):
                return False
    return True


def _sample(moment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the lines of random moments, about `_MOST_LINES`, shape (k,), int64."""
    number = np.cumsum(is_run_start(moment)) - 1
    draws = rng.random(number.max(initial=-1) + 1)
    return np.flatnonzero(draws[number] * len(moment) < _MOST_LINES)


def _groupings(values: np.ndarray) -> list[np.ndarray]:
    """Return codes from 1 on of the groups that values are in, each (n,), int64."""
    numbers = values.astype("float64")
    groups = []
    if values.dtype.kind == "i":
        groups = [values]
        numbers[values < 0] = np.nan
    known = numbers[np.isfinite(numbers)]
    limits = np.quantile(known, np.arange(1, 8) / 8) if len(known) else []
    groups += [np.where(np.isnan(numbers), -1, np.searchsorted(limits, numbers))]
    return [np.unique(one, return_inverse=True)[1] + 1 for one in groups]


def _entropy_of_pairs(codes: np.ndarray, is_first: np.ndarray) -> float:
    """Return the entropy of pairs of successive codes within moments, in nats.

    `codes` begin with 1. The first and the last line of a moment are in a pair with 0.
    """
    before = np.where(is_first, 0, np.roll(codes, 1))
    last = codes[np.append(is_first[1:], True)]
    pairs = np.concatenate(
        [before * (codes.max() + 1) + codes, last * (codes.max() + 1)]
    )
    _, counts = np.unique(pairs, return_counts=True)
    shares = counts / counts.sum()
    return -float(np.sum(shares * np.log(shares)))


class RandomLineOrder(RandomInTraining):
    """A random order of the lines of moments."""

    def forward(self, n_before: Tensor) -> Tensor:
        """Return the order of n lines, shape (n,), int64.

        `n_before`, of shape (n,), int64, is the number of lines before each in its
        moment.
        """
        moment = (n_before == 0).cumsum(dim=0)
        drawn = torch.empty_like(moment, dtype=torch.float32)
        order = drawn.uniform_(generator=self.generator).argsort()
        return order[moment[order].argsort(stable=True)]
