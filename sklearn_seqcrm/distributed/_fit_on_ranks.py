"""Start ranks on this machine by torchrun, and return what they fitted.

A folder carries what the processes exchange beside their messages::

    task.pkl        estimator and arguments, for all ranks
    result.pkl      the fitted estimator, from rank 0
    error-<r>.pkl   an exception of rank r, after which no restart helps
    messages.txt    what the launcher and the ranks wrote to stderr
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from joblib import wrap_non_picklable_objects

from sklearn_seqcrm._sklearn_compat import is_count
from sklearn_seqcrm.distributed._run_rank import run_rank

_SHOWN = 3000  # characters of the messages of ranks in an error
_SECONDS_BETWEEN = 0.05
# Time for ranks to end after the result is there; none may keep the caller waiting.
_SECONDS_TO_LEAVE = 60


def fit_on_ranks(
    estimator: Any,
    load: Callable[[int, int], Any],
    *,
    n_ranks: int = 2,
    checkpoint: Any = None,
    max_restarts: int = 3,
    n_threads: int | None = None,
    backend: str = "gloo",
    timeout: float = 600.0,
) -> Any:
    """Fit an estimator by several processes of this machine.

    The processes are started by ``torchrun``, torch's elastic launcher. If one is lost,
    the launcher starts all again, and training continues after the last epoch that was
    complete. On several machines, start `run_rank` in each process instead.

    Parameters
    ----------
    estimator : estimator
        As in `fit_rank`. It is not changed.
    load : callable
        ``load(rank, n_ranks)`` returns ``X`` alone, ``(X, y)``, or a dict of arguments
        of `fit_rank`, of the customers of a rank. It runs in the process of the rank,
        where it may open an on-disk log. It is pickled with its code, so that a
        function of a notebook works.
    n_ranks : int, default=2
        Number of processes.
    checkpoint : path-like or None, default=None
        File in which the state after each epoch is kept, with which another call
        continues if this one ends early. It is deleted at the end. None: a temporary
        file.
    max_restarts : int, default=3
        How often lost processes are started again.
    n_threads : int or None, default=None
        Threads of each process. None: the CPUs over `n_ranks`, 1 at least.
    backend : {"gloo", "nccl"}, default="gloo"
        As in `run_rank`.
    timeout : float, default=600.0
        As in `run_rank`.

    Returns
    -------
    estimator
        The fitted estimator, in this process.

    Raises
    ------
    TypeError, ValueError
        As `fit_rank`; other exceptions of `load` and of `fit` are raised as well.
    RuntimeError
        If processes were lost more than `max_restarts` times.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.distributed import fit_on_ranks
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> def load(rank, n_ranks):
    ...     journeys = make_customer_journeys(200, random_state=0)
    ...     log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    ...     X = log.attach(journeys.rows, cutoff="cutoff")
    ...     return X[rank::n_ranks], journeys.target[rank::n_ranks]
    >>> model = make_history_pipeline(LSTMClassifier(max_epochs=2, random_state=0))
    >>> X, y = load(0, 1)
    >>> _ = model[:-1].fit(X)
    >>> fit_on_ranks(model, load).predict_proba(X).shape
    (200, 2)
    """
    _refuse_no_count("n_ranks", n_ranks, 1)
    _refuse_no_count("max_restarts", max_restarts, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = {
            "estimator": estimator,
            "load": load,
            "checkpoint": folder / "checkpoint" if checkpoint is None else checkpoint,
            "backend": backend,
            "timeout": timeout,
            "caller": os.getpid(),
        }
        (folder / "task.pkl").write_bytes(_dumps(task))
        n_threads = n_threads or max(1, (os.cpu_count() or 1) // n_ranks)
        _launch(folder, n_ranks, max_restarts, n_threads)
        _raise_error(folder)
        if not (folder / "result.pkl").exists():
            written = (folder / "messages.txt").read_text(errors="replace")
            raise RuntimeError(
                f"Ranks were lost more than max_restarts={max_restarts} times. The end "
                f"of their messages:\n{written[-_SHOWN:]}"
            )
        return pickle.loads((folder / "result.pkl").read_bytes())


def _refuse_no_count(name: str, value: Any, least: int) -> None:
    if not is_count(value, least):
        raise ValueError(f"{name} must be an integer from {least} on; got {value!r}.")


def _launch(folder: Path, n_ranks: int, max_restarts: int, n_threads: int) -> None:
    """Run the ranks until there is a result, an error, or no rank any more."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        # A free port of this machine.
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        "--nnodes=1",
        f"--nproc-per-node={n_ranks}",
        f"--max-restarts={max_restarts}",
        "--monitor-interval=0.2",
        "-m",
        "sklearn_seqcrm.distributed",
        str(folder),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(n_threads),
        # What this process can import, ranks can.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    with (folder / "messages.txt").open("wb") as messages:
        launcher = subprocess.Popen(command, stderr=messages, env=environment)
        n_checks = _SECONDS_TO_LEAVE / _SECONDS_BETWEEN
        try:
            while launcher.poll() is None and n_checks > 0:
                if any(folder.glob("error-*.pkl")):
                    break  # the launcher would start the ranks again
                n_checks -= (folder / "result.pkl").exists()
                time.sleep(_SECONDS_BETWEEN)
        finally:
            # Also after a KeyboardInterrupt. The launcher ends the ranks.
            if launcher.poll() is None:
                launcher.send_signal(signal.SIGTERM)
            launcher.wait()


def _raise_error(folder: Path) -> None:
    """Raise the exception of a rank, if there is one."""
    for path in sorted(folder.glob("error-*.pkl")):
        error, text = pickle.loads(path.read_bytes())
        error.add_note(f"Raised on {path.stem.replace('error-', 'rank ')}:\n{text}")
        raise error


def _dumps(value: Any) -> bytes:
    """Pickle a value, with functions and classes of a notebook by their code."""
    return pickle.dumps(wrap_non_picklable_objects(value, keep_wrapper=False))


def _write(folder: Path, name: str, value: Any) -> None:
    """Write beside the file and move: the other process never reads a half of it."""
    beside = folder / f"{name}.{os.getpid()}"
    beside.write_bytes(_dumps(value))
    beside.replace(folder / name)


def _is_lost_peer(error: Exception) -> bool:
    """Return whether an exception came from a collective: another rank is gone."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, RuntimeError) and any(
        "distributed" in Path(frame.filename).parts and "torch" in frame.filename
        for frame in frames[-3:]
    )


def main(folder: Path) -> None:
    """Run a rank; torchrun has set its number in the environment."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    watch = threading.Thread(target=_end_with, args=[task.pop("caller")], daemon=True)
    watch.start()
    rank = os.environ["RANK"]
    try:
        fitted = run_rank(task.pop("estimator"), task.pop("load"), **task)
    except Exception as error:
        # A lost rank is the launcher's business; another error would come again.
        if _is_lost_peer(error):
            raise
        _write(folder, f"error-{rank}.pkl", (_picklable(error), traceback.format_exc()))
        time.sleep(60)  # until the launcher is told to end all ranks
    if rank == "0":
        _write(folder, "result.pkl", fitted)


def _end_with(caller: int) -> None:
    """End this process when the one that called `fit_on_ranks` was killed."""
    while os.name == "posix":
        try:
            os.kill(caller, 0)  # sends nothing
        except ProcessLookupError:
            os._exit(1)
        time.sleep(1)


def _picklable(error: Exception) -> Exception:
    """Return the exception, or its text in a RuntimeError if pickles lose it."""
    try:
        pickle.loads(_dumps(error))
    except Exception:
        return RuntimeError(repr(error))
    return error
