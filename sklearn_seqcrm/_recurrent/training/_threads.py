"""Compute with several networks in threads.

Recurrent networks of usual sizes hardly gain from several threads of torch, but those
of an ensemble can be computed at the same time. Two networks in two threads took 0.57
of the time that they took one after the other with two threads each (64 units)::

    one after the other   | net 1, two threads | net 2, two threads |
    run_in_threads        | net 1, one thread  |
                          | net 2, one thread  |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from sklearn_seqcrm._recurrent.training._callbacks import Interrupted

R = TypeVar("R")

# Set in the threads of `run_in_threads`, which end if the event is set.
_stop: ContextVar[threading.Event | None] = ContextVar("_stop", default=None)
# Windows delivers a KeyboardInterrupt only between waits.
_SECONDS_OF_A_WAIT = 0.5


def run_in_threads(
    calls: Iterable[Callable[[], R]], n_calls: int, device: torch.device | str
) -> list[R]:
    """Make calls that compute with different networks; return their results in order.

    There are as many threads as torch may use, and each gets an equal share of them for
    its kernels, so that the limit of the user (``torch.set_num_threads``,
    ``OMP_NUM_THREADS``, or that of joblib in its workers) holds. With one call, with a
    limit of one thread or on a GPU, calls are made one after the other, in the thread
    of the caller.

    Parameters
    ----------
    calls : iterable of callable
        Functions without arguments. One is taken whenever a thread is free.
    n_calls : int
        Their number.
    device : torch.device or str
        Device of the networks.

    Raises
    ------
    Exception
        That of the first call in order that fails, after all of them have ended. After
        a KeyboardInterrupt, calls end with their next batch.
    """
    limit = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    n_threads = min(n_calls, limit)
    if n_threads < 2:
        return [call() for call in calls]
    stop = threading.Event()
    pool = ThreadPoolExecutor(n_threads)
    futures: list[Future[R]] = []
    try:
        for call in calls:
            # Calls may hold rows of their own: no more of them than threads.
            while sum(not one.done() for one in futures) >= n_threads:
                wait(_running(futures), _SECONDS_OF_A_WAIT, FIRST_COMPLETED)
            # Settings of the caller that belong to a context, such as those of
            # ``np.errstate``.
            run = copy_context().run
            futures.append(
                pool.submit(run, _call_in_thread, call, limit // n_threads, stop)
            )
        while running := _running(futures):
            wait(running, _SECONDS_OF_A_WAIT)
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown()
    return [one.result() for one in futures]


def end_if_stopped() -> None:
    """Raise `Interrupted` in a thread whose results are no longer needed."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Interrupted


def _running(futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    return [one for one in futures if not one.done()]


def _call_in_thread(call: Callable[[], R], n_threads: int, stop: threading.Event) -> R:
    """Make a call whose kernels use at most `n_threads` threads."""
    _stop.set(stop)
    with _limited_kernels(n_threads):
        return call()


@contextmanager
def _limited_kernels(n_threads: int) -> Iterator[None]:
    """Limit the threads of torch's kernels in this thread alone.

    ``torch.set_num_threads`` would change the limit of other threads as well.
    """
    torch.get_num_threads()  # sets the limit of a new thread to that of the user
    with _openmp_libraries().limit(limits=n_threads, user_api="openmp"):
        yield


@cache
def _openmp_libraries() -> ThreadpoolController:
    """Return the loaded libraries: searching for them takes milliseconds."""
    return ThreadpoolController()
