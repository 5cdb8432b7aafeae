"""Fit an estimator together with the other ranks of a process group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import (
    CustomerTargetEncoder,
    Table,
    customer_hashes,
    has_histories,
)
from sklearn_seqcrm._recurrent.data import Ranks
from sklearn_seqcrm._recurrent.training import refuse_absent_hardware
from sklearn_seqcrm._sklearn_compat import has_callbacks
from sklearn_seqcrm._typing import Estimator, FilePath, RowsLike
from sklearn_seqcrm.distributed._checkpoint import Checkpoint, check_path
from sklearn_seqcrm.distributed._process_ranks import ProcessRanks, in_memory

_MOST_NAMED = 3
# Rows whose events are compared with those of a checkpoint.
_ROWS_TO_COMPARE = 500


def fit_rank(
    estimator: Estimator,
    X: RowsLike,
    y: ArrayLike | None = None,
    *,
    treatment: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    checkpoint: FilePath | None = None,
) -> Any:
    """Fit an estimator together with the other ranks of a process group.

    All ranks of an initialised group of `torch.distributed` call this function, each
    with the rows of its own customers. The result is that of ``fit`` of the network on
    the rows of all ranks, those of rank 0 first, with the same `batch_size`, but for
    the rounding of float32 sums and for random numbers: masks of dropout, permutations
    of `select_fields`, and orders of lines in baskets of an event model differ. Batches
    are drawn in the order of the customers in the log: if that differs from the order
    of the ranks, or the first or last customers of a rank have rows without events,
    batches have other rows.

    Parameters
    ----------
    estimator : estimator or Pipeline
        `LSTMClassifier`, `LSTMRegressor`, `LSTMSurvival`, `LSTMUpliftClassifier`,
        `LSTMUpliftRegressor` or `LSTMEventModel`, or a pipeline that ends with one and
        whose other steps are fitted, without ``many_levels="target"``. Equal on all
        ranks.
    X : DataFrame, padded tensors or array
        Rows of this rank, as the estimator takes them; at least one. All rows of a
        customer are on one rank, which is not checked for tensors and arrays, because
        these have no ids of customers.
    y : array-like or None, default=None
        Targets of the rows, as ``fit`` takes them. None for `LSTMEventModel`.
    treatment : array-like of shape (n,) or None, default=None
        Treatments of the rows, for estimators of effects.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the rows, on one scale for all ranks. On all ranks or on none.
    checkpoint : path-like or None, default=None
        File in which rank 0 keeps the state after each epoch. If it exists, training
        continues from there. It is deleted at the end. None: nothing is kept.

    Returns
    -------
    estimator
        The estimator itself, fitted, equal on all ranks. It has no trace of the ranks:
        it predicts, pickles and continues like any other.

    Raises
    ------
    TypeError
        If the estimator is none of these, or as its ``fit`` does.
    ValueError
        If several ranks have rows of a customer, estimators, columns or types of
        targets differ between ranks, `checkpoint` is that of another training, cannot
        be read or cannot be written, the estimator has `callbacks` or those of
        scikit-learn, statics are encoded by the target, other steps of the pipeline are
        not fitted, or as its ``fit`` does. An error of one rank is raised on all.
    RuntimeError
        If another rank is lost.

    Notes
    -----
    Each rank plans the batches of all rows. For that, every rank has of every row the
    target, weight, cutoff, customer, and of each history its length and number of
    sequence: 40 to 60 bytes a row. Events and row features stay on their rank. Of the
    statics, every rank gets one column after the other for its quantiles, and keeps
    none; with ``static_pieces=1`` they stay. `LSTMEventModel` learns its levels, scales
    and densities from the raw events of all ranks, or if these are more than two
    million, from those of as many customers as have about that many. These customers do
    not depend on the number of ranks.

    ``batch_size="auto"`` is that of a single process times the number of ranks, as long
    as an epoch has 64 steps: more ranks take fewer steps, at the same learning rate. A
    number is the size of the batches of all ranks together.

    In each step, a rank computes its own rows of the batch. Gradients are summed over
    ranks (they are divided by the number of rows of the whole batch), and clipped after
    that. Outputs for validation rows are gathered, so that all ranks see one validation
    loss, which is that of rank 0. Early stopping and best weights follow from it. All
    ranks start from the weights of rank 0.

    A checkpoint is of another training if the parameters, the fitted steps, the number
    of ranks, targets, weights, statics, customers or cutoffs differ, or the events of
    a sample of the rows.

    References
    ----------
    S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
    Training", PVLDB 13(12), 2020. https://doi.org/10.14778/3415478.3415530

    Examples
    --------
    >>> import tempfile, torch.distributed as dist
    >>> from sklearn_seqcrm.distributed import fit_rank
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> with tempfile.TemporaryDirectory() as name:  # a group of one, for the example
    ...     dist.init_process_group(
    ...         "gloo", init_method=f"file://{name}/group", rank=0, world_size=1
    ...     )
    ...     model = LSTMClassifier(max_epochs=2, random_state=0)
    ...     model = fit_rank(model, [[0.0], [1.0]] * 20, [0, 1] * 20)
    ...     dist.destroy_process_group()
    >>> model.predict_proba([[0.0]]).shape
    (1, 2)
    """
    refuse_others(estimator)
    before, network = _split_pipeline(estimator)
    given = {"treatment": treatment, "sample_weight": sample_weight}
    beside = {name: one for name, one in given.items() if one is not None}
    ranks = ProcessRanks(Checkpoint(checkpoint))
    _refuse_differences(before, network, [y is None, *sorted(beside)], ranks)

    def check() -> None:
        refuse_absent_hardware(network.device, network.precision)
        if ranks.rank == 0:
            check_path(checkpoint)

    ranks.attempt(check)
    if before is not None:
        raw = X
        X = ranks.attempt(lambda: before.transform(raw))
    _refuse_shared_customers(X, ranks)
    fingerprint = _fingerprint(before, network, X, y, beside, ranks)
    ranks.checkpoint.open(fingerprint, ranks)
    with _joint_training(network, ranks):
        network.fit(X, y, **beside)
    ranks.checkpoint.close(ranks)
    return estimator


def refuse_others(estimator: Any) -> None:
    """Raise an error for estimators that ranks cannot fit together."""
    network = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(network, type):
        raise TypeError(f"estimator is the class {network.__name__}; pass an instance.")
    name = type(network).__name__
    if not isinstance(getattr(network, "_ranks", None), Ranks):
        raise TypeError(
            f"{name} is no recurrent network of this package, and only these are "
            "trained by several ranks. Trees and linear models take features that each "
            "partition computes."
        )
    if network.callbacks:
        raise ValueError(
            f"{name} has callbacks, which would see the rows of one rank only; leave "
            "them out, set_params(callbacks=None)."
        )
    if has_callbacks(estimator) or has_callbacks(network):
        raise ValueError(
            f"{name} has callbacks of scikit-learn, which would see the rows of one "
            "rank only; take them off, set_callbacks()."
        )
    if isinstance(estimator, Pipeline):
        _refuse_target_encoders(estimator[:-1])


def _refuse_target_encoders(part: Any) -> None:
    """Raise a ValueError if statics are encoded by the target.

    Training rows must be encoded by the targets of other customers, which is done by
    ``fit_transform`` on all rows alone.
    """
    if isinstance(part, CustomerTargetEncoder | TargetEncoder):
        raise ValueError(
            "Statics are encoded by the target, and ranks would train on encodings of "
            "their own targets. Use many_levels='one-hot'; or fit the steps on "
            "other customers, let load return the transformed rows, and pass the last "
            "step alone."
        )
    for name in ("steps", "transformers", "transformer_list"):
        for _, one, *_ in getattr(part, name, ()):
            _refuse_target_encoders(one)


def _split_pipeline(estimator: Any) -> tuple[Any, Any]:
    """Return the fitted steps before the last, or None, and the last step."""
    if not isinstance(estimator, Pipeline):
        return None, estimator
    if len(estimator) == 1:
        return None, estimator[0]
    before, network = estimator[:-1], estimator[-1]
    try:
        check_is_fitted(before)
    except NotFittedError as error:
        raise NotFittedError(
            f"The steps before {type(network).__name__} must be fitted, on a sample of "
            "the rows or on partitions, the same on all ranks: "
            "pipeline[:-1].fit(sample)."
        ) from error
    return before, network


@contextmanager
def _joint_training(network: Any, ranks: Ranks) -> Iterator[None]:
    """Let an estimator and its nets train with other ranks."""
    verbose = network.verbose
    network._ranks = ranks
    for net in getattr(network, "nets_", []):  # with warm_start
        net.ranks = ranks
    network.verbose = verbose if ranks.rank == 0 else 0
    try:
        yield
    finally:
        network.verbose = verbose
        del network._ranks
        for net in getattr(network, "nets_", []):
            vars(net).pop("ranks", None)


def _refuse_differences(
    before: Any, network: Any, given: list[Any], ranks: ProcessRanks
) -> None:
    """Raise a ValueError if ranks got different arguments."""
    params = _params_but(network, "random_state", "device", "verbose", "pretrained")
    form = type(network).__name__, joblib.hash(params)
    ranks.refuse_differences(form, "have another estimator or other parameters")
    trained = getattr(network, "nets_", []) if network.warm_start else []
    ranks.refuse_differences(
        [len(net.history) for net in trained],
        "continue from other numbers of networks or epochs (warm_start)",
    )
    ranks.refuse_differences(
        joblib.hash(before),
        "have other fitted steps before the network: fit them once, and load them on "
        "all ranks",
    )
    ranks.refuse_differences(
        given, "have y, treatment or sample_weight where others have not"
    )


def _params_but(network: Any, *names: str) -> dict[str, Any]:
    """Return the parameters that all ranks must share, without some."""
    params = network.get_params(deep=False)
    return {name: value for name, value in params.items() if name not in names}


def _refuse_shared_customers(X: Any, ranks: ProcessRanks) -> None:
    """Raise a ValueError if several ranks have rows of a customer."""
    names = ranks.attempt(
        lambda: [*Table.of(X).histories] if has_histories(X) else None
    )
    ranks.refuse_differences(names, "have other columns of histories in X")
    if names is None:
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
    before: Any,
    network: Any,
    X: Any,
    y: Any,
    beside: dict[str, Any],
    ranks: ProcessRanks,
) -> str:
    """Return a digest of the estimator and of the rows of all ranks."""
    rows: list[Any] = [len(X), y, beside]
    if has_histories(X):
        table = Table.of(X)
        rows.append(table.frame.drop(columns=[*table.histories]))
        for array in table.histories.values():
            rows += [array.lengths, array.rows.cutoff, customer_hashes(array)]
            # Reading all events from a disk would take as long as an epoch.
            some = in_memory(array[:: 1 + len(array) // _ROWS_TO_COMPARE])
            rows.append(some.rows.log)
    else:
        rows.append({key: X[key] for key in X} if isinstance(X, dict) else X)
    params = _params_but(network, "device", "verbose")
    own = type(network).__name__, params, joblib.hash(before), rows
    return joblib.hash(ranks.gather(joblib.hash(own)))
