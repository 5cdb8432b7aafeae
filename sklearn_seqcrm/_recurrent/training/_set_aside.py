"""Rows set aside for the early stopping of a training."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._columns import ForwardSplit, connected_note, split_customers
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.training._net import HistoryNet

# With fewer customers, or rows, the validation loss is too noisy to compare epochs.
_CUSTOMERS_TO_STOP_EARLY, _ROWS_TO_STOP_EARLY = 50, 1000
# Set aside are 100 customers, within these shares of all customers, because the others
# must be enough to learn from.
_CUSTOMERS_ASIDE = 100
_LEAST_SHARE, _LARGEST_SHARE = 0.1, 0.2
# Draws of a split until all strata are on both sides.
_MOST_DRAWS = 50


def set_aside(
    estimator: Any,
    net: HistoryNet,
    data: RowData,
    customers: np.ndarray,
    split: ForwardSplit | None,
    seed: int,
    strata: np.ndarray | None = None,
) -> tuple[RowData, RowData | None, np.ndarray | None]:
    """Return rows to train on, validation rows, and the customers of these.

    The last two are None without early stopping. Rows are split forward in time if
    there is a `split`, and otherwise by customers, by `stops_early` and
    `draw_customers`. Sets the batch size of the estimator and of the net.
    """
    aside: np.ndarray | None = None
    may_stop = split is not None or stops_early(estimator.early_stopping, customers)
    # It depends on all rows, also those set aside: one size for all networks.
    batch_size = estimator._batch_size_of(data, may_stop)
    if split is not None:
        train, aside = split.train, split.valid
    elif may_stop:
        if len(np.unique(customers)) < 2:
            note = connected_note(len(data.sources))
            raise ValueError(
                "early_stopping=True sets customers aside for validation, but all "
                f"{len(customers)} rows belong to one customer{note}; "
                "use early_stopping=False."
            )
        fraction = estimator.validation_fraction
        train, aside = draw_customers(customers, fraction, seed, strata)
    # Only now: if the split raised an error, the old net keeps its batch size.
    estimator.batch_size_ = net.batch_size = batch_size
    if aside is None:
        return data, None, None
    # Scoring callbacks of skorch pair rows with predictions, which are in the order of
    # batches.
    aside = aside[net.rows_of_batches(data.take(aside))]
    return data.take(train), data.take(aside), customers[aside]


def stops_early(early_stopping: bool | str, customers: np.ndarray) -> bool:
    """Return whether training on rows of these customers (n,) stops early.

    ``"auto"`` does with at least 50 customers, or 1,000 rows of several customers.
    """
    if early_stopping != "auto":
        return bool(early_stopping)
    n_customers = len(np.unique(customers))
    return n_customers >= _CUSTOMERS_TO_STOP_EARLY or (
        len(customers) >= _ROWS_TO_STOP_EARLY and n_customers > 1
    )


def draw_customers(
    customers: np.ndarray,
    fraction: float | str,
    seed: int,
    strata: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw customers, and return the rows of all others and their own.

    `customers` (n,) are numbers, two at least, and `fraction` is the share of them to
    draw. ``"auto"``: 0.1 or, if that is less than 100 customers, up to 0.2. Each of the
    `strata` (n,) has rows on both sides if possible, at least in training.
    """
    if fraction == "auto":
        share = _CUSTOMERS_ASIDE / len(np.unique(customers))
        fraction = min(max(share, _LEAST_SHARE), _LARGEST_SHARE)
    split = best = split_customers(
        customers, "validation_fraction", float(fraction), seed
    )
    if strata is None:
        return split
    n_strata, most = len(np.unique(strata)), (0, 0)
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        n_train, n_valid = (len(np.unique(strata[rows])) for rows in split)
        if (n_train, n_valid) > most:
            best, most = split, (n_train, n_valid)
        if most == (n_strata, n_strata):
            break
        draw = int(rng.integers(2**31 - 1))
        split = split_customers(customers, "validation_fraction", float(fraction), draw)
    return best
