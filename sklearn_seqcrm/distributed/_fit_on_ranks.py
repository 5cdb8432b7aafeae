"""Start ranks on this machine by torchrun, and return what they fitted.

A folder carries what the processes exchange beside their messages::

    task.pkl        estimator and arguments, for all ranks
    result.pkl      the fitted estimator, from rank 0
    error-<r>.pkl   an exception of rank r, after which no restart helps
    warnings-<r>.pkl  what rank r warned of
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
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import replace_atomically
from sklearn_seqcrm._typing import Estimator, FilePath
from sklearn_seqcrm.distributed._process_ranks import dumps, picklable
from sklearn_seqcrm.distributed._run_rank import (
    check_arguments,
    check_count,
    joined_group,
    load_and_fit,
)

_SHOWN = 3000  # characters of the messages of ranks in an error
_SECONDS_BETWEEN_CHECKS = 0.05
# Time for ranks to end after the result is there; none may keep the caller waiting.
_SECONDS_TO_LEAVE = 60
# Time to print the last output of the ranks.
_SECONDS_TO_PRINT = 5


def fit_on_ranks(
    estimator: Estimator,
    load: Callable[[int, int], Any],
    *,
    n_ranks: int = 2,
    checkpoint: FilePath | None = None,
    max_restarts: int = 3,
    n_threads: int | None = None,
    backend: str = "gloo",
    timeout: float = 600.0,
) -> Any:
    """Fit an estimator by several processes of this machine.

    The processes are started by ``torchrun``. If one is lost, all are started again,
    and training continues after the last epoch that was complete. On several machines,
    start `run_rank` in each process instead.

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
        Threads of each process. None: the CPUs that this process may use over
        `n_ranks`, 1 at least.
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
        As `run_rank`; other exceptions of `load` and of `fit` are raised as well.
    RuntimeError
        If processes were lost more than `max_restarts` times.

    Notes
    -----
    What ranks print, as with ``verbose=1``, is printed by this process. Their warnings
    are repeated at the end, each once. Linux and macOS.

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
    check_count("n_ranks", n_ranks, 1)
    check_count("max_restarts", max_restarts, 0)
    if n_threads is not None:
        check_count("n_threads", n_threads, 1)
    check_arguments(estimator, load, backend, timeout)
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
        (folder / "task.pkl").write_bytes(dumps(task))
        n_threads = n_threads or max(1, cpu_count() // n_ranks)
        # Not by the launcher, whose restarts torch 2.3 refuses (RendezvousClosedError).
        for _ in range(1 + max_restarts):
            code = _launch(folder, n_ranks, n_threads)
            if any(folder.glob("error-*.pkl")) or (folder / "result.pkl").exists():
                break
        _raise_error(folder)
        if not (folder / "result.pkl").exists():
            written = (folder / "messages.txt").read_text(errors="replace")
            what = "Ranks were lost"
            if code < 0:  # of the launcher, which ends with 1 if a rank was killed
                what = f"The launcher of the ranks was killed (signal {-code})"
            raise RuntimeError(
                f"{what}, and max_restarts={max_restarts} allows no further start. The "
                f"end of the messages:\n{written[-_SHOWN:]}"
            )
        _repeat_warnings(folder)
        return pickle.loads((folder / "result.pkl").read_bytes())


def _launch(folder: Path, n_ranks: int, n_threads: int) -> int:
    """Run the ranks until there is a result, an error, or no rank any more.

    Returns the exit code of the launcher, negative if a signal ended it.
    """
    with (folder / "messages.txt").open("wb") as messages:
        launcher = subprocess.Popen(
            _command(folder, n_ranks),
            stdout=subprocess.PIPE,
            stderr=messages,
            env=_environment(n_threads),
            text=True,
            errors="replace",
        )
        printing = threading.Thread(target=_print_all, args=[launcher], daemon=True)
        printing.start()
        n_checks = _SECONDS_TO_LEAVE / _SECONDS_BETWEEN_CHECKS
        try:
            while launcher.poll() is None and n_checks > 0:
                if any(folder.glob("error-*.pkl")):
                    break
                n_checks -= (folder / "result.pkl").exists()
                time.sleep(_SECONDS_BETWEEN_CHECKS)
        finally:
            # Also after a KeyboardInterrupt. The launcher ends the ranks.
            if launcher.poll() is None:
                launcher.send_signal(signal.SIGTERM)
            code = launcher.wait()
            printing.join(_SECONDS_TO_PRINT)
    return code


def _command(folder: Path, n_ranks: int) -> list[str]:
    """Return the command that starts the launcher of torch."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        # A free port of this machine.
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        "--nnodes=1",
        f"--nproc-per-node={n_ranks}",
        "--max-restarts=0",
        "--monitor-interval=0.2",
        "-m",
        "sklearn_seqcrm.distributed",
        str(folder),
    ]


def _environment(n_threads: int) -> dict[str, str]:
    """Return the environment variables of the launcher and its ranks."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(n_threads),
        "PYTHONUNBUFFERED": "1",  # messages of verbose=1 appear at once
        # Ranks can import the modules that this process can.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }


def _print_all(launcher: subprocess.Popen[str]) -> None:
    """Print the output of ranks: a notebook does not show that of processes."""
    assert launcher.stdout is not None
    with launcher.stdout as lines:
        for line in lines:
            print(line, end="", flush=True)


def _repeat_warnings(folder: Path) -> None:
    """Repeat the warnings of ranks, each once."""
    found = [pickle.loads(one.read_bytes()) for one in folder.glob("warnings-*.pkl")]
    for category, text in dict.fromkeys(one for of_rank in found for one in of_rank):
        warn_user(text, category)


def _raise_error(folder: Path) -> None:
    """Raise the exception of a rank, if there is one."""
    for path in sorted(folder.glob("error-*.pkl")):
        error, text = pickle.loads(path.read_bytes())
        if not _is_reported(error):
            error.add_note(f"Raised on {path.stem.replace('error-', 'rank ')}:\n{text}")
        raise error


def _is_reported(error: BaseException) -> bool:
    """Return whether a note has the rank and traceback; see `ProcessRanks.attempt`."""
    notes = getattr(error, "__notes__", [])
    return any(one.startswith("Raised on rank") for one in notes)


def _write(folder: Path, name: str, value: Any) -> None:
    """Write a file of which the other process never reads a half."""
    with replace_atomically(folder / name) as part:
        part.write_bytes(dumps(value))


_COLLECTIVES = str(Path(torch.distributed.__file__).parent) + os.sep


def _is_lost_peer(error: Exception) -> bool:
    """Return whether an exception came from a collective: another rank is gone."""
    # Those of `load` may have any traceback.
    if not isinstance(error, RuntimeError) or _is_reported(error):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.startswith(_COLLECTIVES) for frame in frames[-3:])


def main(folder: Path) -> None:
    """Run a rank; torchrun has set its number in the environment."""
    task = pickle.loads((folder / "task.pkl").read_bytes())
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    of_this = task["caller"], os.getppid()
    threading.Thread(target=_end_with, args=of_this, daemon=True).start()
    rank = os.environ["RANK"]
    with (
        warnings.catch_warnings(record=True) as warned,
        joined_group(task["backend"], task["timeout"]),
        # Within the group: as soon as this rank leaves, the launcher may end it.
        _reported_errors(folder, rank),
    ):
        fitted = load_and_fit(task["estimator"], task["load"], task["checkpoint"])
    found = [(one.category, str(one.message)) for one in warned]
    _write(folder, f"warnings-{rank}.pkl", found)
    if rank == "0":
        _write(folder, "result.pkl", fitted)


@contextmanager
def _reported_errors(folder: Path, rank: str) -> Iterator[None]:
    """Write an exception into the folder, unless another rank was lost."""
    try:
        yield
    except Exception as error:
        # After the loss of a rank, all are started again; another error would recur.
        if not _is_lost_peer(error):
            found = picklable(error), traceback.format_exc()
            _write(folder, f"error-{rank}.pkl", found)
        raise


def _end_with(caller: int, launcher: int) -> None:
    """End this process when its launcher or the caller of it was killed."""
    while os.name == "posix":
        try:
            os.kill(caller, 0)  # sends nothing
        except ProcessLookupError:
            os._exit(1)
        if os.getppid() != launcher:
            os._exit(1)
        time.sleep(1)
