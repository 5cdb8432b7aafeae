"""The work of one process: join a group, read own rows, fit, and leave."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from sklearn_seqcrm.distributed._fit_rank import fit_rank

_SECONDS_TO_FREE = 0.2


def run_rank(
    estimator: Any,
    load: Callable[[int, int], Any],
    *,
    checkpoint: Any = None,
    backend: str = "gloo",
    timeout: float = 600.0,
    init_method: str = "env://",
    rank: int | None = None,
    n_ranks: int | None = None,
) -> Any:
    """Join a process group, fit an estimator on the rows of this rank, and leave.

    What each process of a cluster runs: under ``torchrun``, in Spark's
    ``TorchDistributor``, or as a task of a Dask worker.

    Parameters
    ----------
    estimator : estimator
        As in `fit_rank`, equal on all ranks.
    load : callable
        ``load(rank, n_ranks)`` returns what `fit_rank` takes: ``X`` alone, ``(X, y)``,
        or a dict of its arguments, of the customers of this rank.
    checkpoint : path-like or None, default=None
        As in `fit_rank`.
    backend : {"gloo", "nccl"}, default="gloo"
        Library for messages: ``"nccl"`` for GPUs, with ``device="cuda"``.
    timeout : float, default=600.0
        Seconds after which a message that does not come is an error. A rank may wait so
        long for another one that reads its rows.
    init_method : str, default="env://"
        Where ranks meet: the variables of the environment that ``torchrun`` and
        ``TorchDistributor`` set, or ``"tcp://host:port"`` of rank 0.
    rank, n_ranks : int or None, default=None
        Number of this process, and of all; None: from the environment.

    Returns
    -------
    estimator
        The fitted estimator, equal on all ranks.

    Raises
    ------
    TypeError, ValueError
        As `fit_rank`.
    RuntimeError
        If another rank is lost, or sends nothing within `timeout`.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_seqcrm.distributed import run_rank
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> def load(rank, n_ranks):
    ...     return [[0.0], [1.0]] * 20, [0, 1] * 20
    >>> model = LSTMClassifier(max_epochs=2, random_state=0)
    >>> with tempfile.TemporaryDirectory() as name:  # a group of one, for the example
    ...     meet = f"file://{name}/group"
    ...     fitted = run_rank(model, load, init_method=meet, rank=0, n_ranks=1)
    >>> fitted.predict_proba([[0.0]]).shape
    (1, 2)
    """
    if backend == "nccl":
        # device="cuda" is then the GPU of this rank.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    given = {"rank": rank, "world_size": n_ranks}
    dist.init_process_group(
        backend,
        init_method=init_method,
        timeout=datetime.timedelta(seconds=timeout),
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        loaded = load(dist.get_rank(), dist.get_world_size())
        fitted = fit_rank(estimator, **_as_arguments(loaded), checkpoint=checkpoint)
        dist.barrier()
        return fitted
    finally:
        # torch 2.3 holds the GIL while it waits for the threads of gloo, and these may
        # need it to free the tensors of the last message: they get it here.
        time.sleep(_SECONDS_TO_FREE)
        dist.destroy_process_group()


def _as_arguments(loaded: Any) -> dict[str, Any]:
    """Return the arguments of `fit_rank` that `load` returned."""
    if isinstance(loaded, dict) and "X" in loaded:
        return loaded
    if isinstance(loaded, tuple):
        return dict(zip(("X", "y"), loaded, strict=True))
    return {"X": loaded}
