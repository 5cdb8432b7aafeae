"""Fit an estimator together with the other ranks of a process group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table, customer_hashes, has_histories
from sklearn_seqcrm._recurrent.data import Ranks
from sklearn_seqcrm.distributed._checkpoint import Checkpoint
from sklearn_seqcrm.distributed._process_ranks import ProcessRanks

_MOST_NAMED = 3


def fit_rank(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    checkpoint: Any = None,
) -> Any:
    network, X = _split_pipeline(estimator, X)
    if not hasattr(network, "_ranks"):
        raise TypeError("TODO")
    ranks = ProcessRanks(Checkpoint(checkpoint))
    _refuse_differences(network, y, sample_weight, ranks)
    _refuse_shared_customers(X, ranks)
    ranks.checkpoint.open(_fingerprint(network, X, y, sample_weight, ranks), ranks)
    beside = {} if sample_weight is None else {"sample_weight": sample_weight}
    arguments = (X,) if y is None else (X, y)
    with _of_ranks(network, ranks):
        network.fit(*arguments, **beside)
    ranks.checkpoint.close(ranks)
    return estimator


def _split_pipeline(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline, and the rows as it takes them."""
    if not isinstance(estimator, Pipeline):
        return estimator, X
    before = estimator[:-1]
    if len(before):
        check_is_fitted(before)
        X = before.transform(X)
    return estimator[-1], X


@contextmanager
def _of_ranks(network: Any, ranks: Ranks) -> Iterator[None]:
    """Let an estimator and its nets train with other ranks."""
    verbose = network.verbose
    network._ranks = ranks
    network.verbose = verbose if ranks.rank == 0 else 0
    try:
        yield
    finally:
        network.verbose = verbose
        del network._ranks
        for net in getattr(network, "nets_", []):
            vars(net).pop("ranks", None)


def _refuse_differences(
    network: Any, y: Any, sample_weight: Any, ranks: ProcessRanks
) -> None:
    """Raise a ValueError if ranks got different arguments."""
    params = network.get_params(deep=False)
    # A generator that is drawn from, and numbers of devices, may differ.
    for name in ("random_state", "device", "verbose", "callbacks", "pretrained"):
        params.pop(name, None)
    form = type(network).__name__, joblib.hash(params)
    ranks.refuse_differences(form, "have another estimator or other parameters")
    given = y is None, sample_weight is None
    ranks.refuse_differences(given, "have y or sample_weight where others have not")


def _refuse_shared_customers(X: Any, ranks: ProcessRanks) -> None:
    """Raise a ValueError if several ranks have rows of a customer."""
    if not has_histories(X):
        return
    for name, array in Table.of(X).histories.items():
        hashes = np.unique(customer_hashes(array))
        hashes = hashes[hashes != 0]
        found, counts = np.unique(ranks.concatenate(hashes), return_counts=True)
        repeated = found[counts > 1]
        if not len(repeated):
            continue
        own = np.isin(customer_hashes(array), repeated[:_MOST_NAMED])
        named = ranks.gather(pd.unique(np.asarray(array.customers)[own]).tolist())
        examples = list(dict.fromkeys(one for each in named for one in each))
        raise ValueError(
            f"{len(repeated)} customers of {name!r} have rows on several ranks, such "
            f"as {examples[:_MOST_NAMED]}. All rows of a customer must be on one rank: "
            "partition logs and rows by customer."
        )


def _fingerprint(
    network: Any, X: Any, y: Any, sample_weight: Any, ranks: ProcessRanks
) -> str:
    """Return a digest of the estimator and of the rows of all ranks."""
    params = network.get_params(deep=False)
    for name in ("device", "verbose", "callbacks"):
        params.pop(name, None)
    rows: list[Any] = [len(X), y, sample_weight]
    if has_histories(X):
        for array in Table.of(X).histories.values():
            rows += [array.lengths, array.rows.cutoff]
    own = type(network).__name__, params, rows
    return joblib.hash(ranks.gather(joblib.hash(own)))
