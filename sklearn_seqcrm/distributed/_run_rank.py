"""The work of one process: join a group, read own rows, fit, and leave."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
from sklearn.utils import get_tags

from sklearn_seqcrm._meta_estimators import innermost
from sklearn_seqcrm._sklearn_compat import Interval, is_count
from sklearn_seqcrm._typing import Estimator, FilePath
from sklearn_seqcrm.distributed._checkpoint import Checkpoint, check_path
from sklearn_seqcrm.distributed._fit_rank import fit_rank, refuse_others
from sklearn_seqcrm.distributed._process_ranks import ProcessRanks

_SECONDS_TO_FREE = 0.2


def run_rank(
    estimator: Estimator,
    load: Callable[[int, int], Any],
    *,
    checkpoint: FilePath | None = None,
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
        Library for messages: ``"nccl"`` for GPUs, with ``device="cuda"``. With either,
        ``"cuda"`` is the GPU of the number ``LOCAL_RANK`` of the environment.
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
        As `fit_rank`; if `load` returns something else, a parameter is none of these,
        or there is no GPU for ``"nccl"``. An error of `load` on one rank is raised on
        all.
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
    check_arguments(estimator, load, backend, timeout)
    if rank is not None:
        check_count("rank", rank, 0)
    if n_ranks is not None:
        check_count("n_ranks", n_ranks, 1)
        if rank is not None and rank >= n_ranks:
            raise ValueError(f"rank must be less than n_ranks={n_ranks}; got {rank}.")
    with joined_group(backend, timeout, init_method, rank, n_ranks):
        return load_and_fit(estimator, load, checkpoint)


def check_arguments(estimator: Any, load: Any, backend: Any, timeout: Any) -> None:
    """Raise a TypeError or ValueError for invalid arguments, before ranks meet."""
    refuse_others(estimator)
    if not callable(load):
        raise TypeError(
            "load must be a function of the number of a rank and of all ranks, which "
            f"returns its rows; got {type(load).__name__}."
        )
    if backend not in ("gloo", "nccl"):
        raise ValueError(f"backend must be 'gloo' or 'nccl'; got {backend!r}.")
    if backend == "nccl" and not torch.cuda.is_available():
        raise ValueError("backend='nccl' needs a GPU of CUDA; 'gloo' needs none.")
    if not Interval(Real, 0, None, closed="neither").is_satisfied_by(timeout):
        raise ValueError(
            f"timeout must be a positive number of seconds; got {timeout!r}."
        )


def check_count(name: str, value: Any, least: int) -> None:
    if not is_count(value, least):
        raise ValueError(f"{name} must be an integer from {least} on; got {value!r}.")


@contextmanager
def joined_group(
    backend: str,
    timeout: float,
    init_method: str = "env://",
    rank: int | None = None,
    n_ranks: int | None = None,
) -> Iterator[None]:
    """Join a process group, and leave it at the end."""
    if torch.cuda.is_available():
        # device="cuda" is then the GPU of this rank.
        place = int(os.environ.get("LOCAL_RANK", 0))
        torch.cuda.set_device(place % torch.cuda.device_count())
    given = {"rank": rank, "world_size": n_ranks}
    dist.init_process_group(
        backend,
        init_method=init_method,
        timeout=datetime.timedelta(seconds=timeout),
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        yield
    finally:
        # torch 2.3 holds the GIL while it waits for the threads of gloo, and these may
        # need it to free the tensors of the last message: they get it here.
        time.sleep(_SECONDS_TO_FREE)
        dist.destroy_process_group()


def load_and_fit(
    estimator: Any, load: Callable[[int, int], Any], checkpoint: Any
) -> Any:
    """Fit an estimator on the rows of this rank, in a group."""
    ranks = ProcessRanks(Checkpoint(None))
    # Reading may take long: errors that do not need the rows come first.
    ranks.attempt(lambda: None if ranks.rank else check_path(checkpoint))
    arguments = ranks.attempt(
        lambda: _as_arguments(load(ranks.rank, ranks.size), estimator)
    )
    fitted = fit_rank(estimator, **arguments, checkpoint=checkpoint)
    dist.barrier()
    return fitted


_ARGUMENTS = ("X", "y", "treatment", "sample_weight")


def _as_arguments(loaded: Any, estimator: Any) -> dict[str, Any]:
    """Return the arguments of `fit_rank` that `load` returned; with `y` if needed."""
    arguments = _named(loaded)
    network = innermost(estimator)  # pipelines lack this tag
    if arguments.get("y") is None and get_tags(network).target_tags.required:
        raise TypeError(
            f"load returned X alone, and {type(network).__name__} needs y, too: "
            "return (X, y)."
        )
    return arguments


def _named(loaded: Any) -> dict[str, Any]:
    """Return what `load` returned by the names of the arguments of `fit_rank`."""
    if isinstance(loaded, dict) and "X" in loaded:
        unknown = [name for name in loaded if name not in _ARGUMENTS]
        if unknown:
            raise TypeError(
                f"load returned a dict with {unknown}; its keys are those of "
                f"{list(_ARGUMENTS)}."
            )
        return loaded
    if isinstance(loaded, tuple) and len(loaded) == 2:
        return dict(zip(("X", "y"), loaded, strict=True))
    if loaded is None or isinstance(loaded, tuple | list):
        what = type(loaded).__name__
        raise TypeError(
            "load must return X alone, a tuple (X, y), or a dict of arguments with 'X';"
            f" it returned a {what}"
            f"{'' if loaded is None else f' of {len(loaded)}'}."
        )
    return {"X": loaded}
