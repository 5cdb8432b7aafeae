"""The work of one process: join a group, read own rows, fit, and leave."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from sklearn_seqcrm.distributed._fit_rank import fit_rank


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
        return fit_rank(estimator, **_as_arguments(loaded), checkpoint=checkpoint)
    finally:
        dist.destroy_process_group()


def _as_arguments(loaded: Any) -> dict[str, Any]:
    """Return the arguments of `fit_rank` that `load` returned."""
    if isinstance(loaded, dict) and "X" in loaded:
        return loaded
    if isinstance(loaded, tuple):
        return dict(zip(("X", "y"), loaded, strict=True))
    return {"X": loaded}
