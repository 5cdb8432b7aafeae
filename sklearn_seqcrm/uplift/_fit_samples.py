"""Learners fitted on samples of the customers, for intervals of effects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm.uplift._cross_fitting import UpliftRows
from sklearn_seqcrm.uplift._learners import Learner
from sklearn_seqcrm.uplift._models import Models

# Two customers of an arm are both in half of the samples.
_MOST_DRAWS = 100


def fit_sample(
    learner: type[Learner],
    models: Models,
    rows: UpliftRows,
    cv: Any,
    seed: int,
    number: int,
) -> Learner:
    """Fit on customers drawn with replacement, each with all of their rows.

    Samples in which an arm has no rows, or none to fit on in a fold, are drawn again.
    """
    rng = np.random.RandomState(seed)
    fitted = learner(models.with_seeds(rng))
    reason = ""
    for sample in islice(_samples(rows, rng), _MOST_DRAWS):
        absent = np.setdiff1d(np.arange(models.n_arms), sample.arms)
        if len(absent):
            reason = f"No row has the treatments {models.labels[absent].tolist()}."
            continue
        try:
            folds = fitted.folds(sample, cv, rng.randint(2**31 - 1))
        except ValueError as error:
            reason = str(error)
            continue
        fitted.fit(sample, folds)
        return fitted
    sizes = [
        len(np.unique(rows.customers[rows.arms == a])) for a in range(models.n_arms)
    ]
    raise ValueError(
        f"Bootstrap sample {number} lacks a treatment in {_MOST_DRAWS} draws of "
        "customers; the numbers of customers are "
        f"{dict(zip(models.labels.tolist(), sizes, strict=True))}. Leave out rare "
        f"treatments, use fewer folds, or set n_bootstraps to 0. Last draw: {reason}"
    )


def _samples(rows: UpliftRows, rng: np.random.RandomState) -> Iterator[UpliftRows]:
    """Yield samples of customers, drawn with replacement."""
    # A customer who is drawn twice keeps their number, so that both copies are in one
    # fold of the cross-fitting.
    _, codes = np.unique(rows.customers, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    n_customers = codes.max() + 1
    while True:
        drawn = rng.randint(n_customers, size=n_customers)
        index, _ = ranges(*np.searchsorted(codes[order], [drawn, drawn + 1]))
        yield rows.take(order[index])
