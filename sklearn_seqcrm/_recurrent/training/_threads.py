"""Compute with networks, or with batches of one, in several threads.

Kernels of usual sizes use one thread (`isolated_torch_settings`), but the networks of
an ensemble, or the batches of a prediction, can be computed at the same time::

    thread 1   | network 1 | network 3 | network 5 |
    thread 2   | network 2 | network 4 |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from typing import TypeVar

import torch

from sklearn_seqcrm._recurrent.network import limited_kernels
from sklearn_seqcrm._recurrent.training._callbacks import Interrupted

R = TypeVar("R")

# Set in the threads of `run_in_threads`, which end if the event is set.
_stop: ContextVar[threading.Event | None] = ContextVar("_stop", default=None)
# Windows delivers a KeyboardInterrupt only between waits.
_SECONDS_OF_A_WAIT = 0.5


def run_in_threads(
    calls: Iterable[Callable[[], R]], n_at_once: int, device: torch.device | str
) -> list[R]:
    """Make calls that compute with networks; return their results in order.

    There are as many threads as torch may use, so that the limit of the user
    (``torch.set_num_threads``, ``OMP_NUM_THREADS``, or that of joblib in its workers)
    holds. Kernels of large networks share what is left of them. With a limit of one
    thread, and on a GPU, calls are made in the thread of the caller.

    One of the `calls`, without arguments, is taken whenever a thread is free;
    `n_at_once` run at most. If some fail, the error of the first one in order is raised
    when all calls that have begun are done. After a KeyboardInterrupt, calls end with
    their next batch.
    """
    limit = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    n_threads = min(n_at_once, limit)
    if n_threads < 2:
        return [call() for call in calls]
    # Calls within a call end with it.
    stop = _stop.get() or threading.Event()
    share = limit // n_threads
    pool = ThreadPoolExecutor(n_threads)
    futures: list[Future[R]] = []
    running: set[Future[R]] = set()
    left = iter(calls)
    try:
        while True:
            # Calls may hold rows of their own: no more of them than threads.
            while len(running) >= n_threads:
                done, running = wait(running, _SECONDS_OF_A_WAIT, FIRST_COMPLETED)
                if any(one.exception() is not None for one in done):
                    left = iter(())
            call = next(left, None)
            if call is None:
                break
            future: Future[R] = Future()
            futures.append(future)
            running.add(future)
            try:
                # Settings of the caller that belong to a context, such as those of
                # ``np.errstate``.
                run = copy_context().run
                pool.submit(run, _call_in_thread, call, future, share, stop)
            except RuntimeError:
                # No new thread while the interpreter shuts down, or beyond a limit of
                # the system. In the latter case, an older thread may get the call.
                pool.shutdown()
                if not future.done():
                    future.set_result(call())
        while running:
            _, running = wait(running, _SECONDS_OF_A_WAIT)
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown()
        # An interruption while a thread started hides the thread from its pool: its
        # call ends too, or never begins.
        wait([one for one in futures if not one.cancel()])
    return [one.result() for one in futures]


def end_if_stopped() -> None:
    """Raise `Interrupted` in a thread whose results are no longer needed."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Interrupted


def _call_in_thread(
    call: Callable[[], R], future: Future[R], n_threads: int, stop: threading.Event
) -> None:
    """Make a call whose kernels use at most `n_threads` threads, for a future."""
    if not future.set_running_or_notify_cancel():
        return
    _stop.set(stop)
    try:
        with limited_kernels(n_threads):
            future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
