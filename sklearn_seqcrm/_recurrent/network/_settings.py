"""Settings of torch that hold while a network of this package computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

# Largest number of units with which kernels use one thread. With two threads in place
# of one, a fit took 0.85 to 1 of the time with 64 and 128 units, and 0.7 with 256. If
# another process used a core, it took 5 to 17 times as long, because the threads of a
# kernel wait for each other in each step.
_UNITS_OF_ONE_THREAD = 128


@contextmanager
def isolated_torch_settings(
    device: torch.device | str, hidden_size: int | None = None
) -> Iterator[None]:
    """Compute with the default settings of torch, whatever the caller has set.

    Inference mode would create weights that cannot be trained, autocast would round
    them, and a default device would mix tensors of two devices. These settings are
    thread-local, so that changing them affects no other thread. The default dtype is
    global: it is not changed, and this package creates tensors with an explicit dtype.

    `device` is that of the network, and `hidden_size` its number of units: with up to
    128, kernels use one thread; None: as many as torch may use.
    """
    device_type = torch.device(device).type
    is_small = hidden_size is not None and hidden_size <= _UNITS_OF_ONE_THREAD
    # Settings are rarely changed, and scoring a row is fast: checks cost less than
    # entering the context managers.
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if device_type in ("cpu", "cuda") and _autocasts(device_type):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if is_small and device_type == "cpu" and torch.get_num_threads() > 1:
            stack.enter_context(limited_kernels(1))
        yield


def _autocasts(device_type: str) -> bool:
    """Return whether autocast may be on; torch 2.3 has no answer for some devices."""
    try:
        return torch.is_autocast_enabled(device_type)
    except TypeError:
        return True


@contextmanager
def limited_kernels(n_threads: int) -> Iterator[None]:
    """Limit the threads of torch's kernels to `n_threads` in this thread alone.

    ``torch.set_num_threads`` would change the limit of other threads as well.
    """
    torch.get_num_threads()  # sets the limit of a new thread to that of the user
    before = _limit_mkl(n_threads)
    try:
        with _openmp_libraries().limit(limits=n_threads, user_api="openmp"):
            yield
    finally:
        _limit_mkl(before)


@cache
def _openmp_libraries() -> ThreadpoolController:
    """Return the loaded libraries: searching for them takes milliseconds."""
    return ThreadpoolController()


def _limit_mkl(n_threads: int) -> int:
    """Set the limit of MKL in this thread; return the one before, 0 if there was none.

    MKL follows OpenMP until ``torch.set_num_threads`` is called, and its own limit from
    then on.
    """
    setter = _mkl_setter()
    return 0 if setter is None else int(setter(n_threads))


@cache
def _mkl_setter() -> Callable[[int], Any] | None:
    """Return the function of the MKL within torch, if this build has one."""
    try:
        return ctypes.CDLL(torch._C.__file__).MKL_Set_Num_Threads_Local
    except (AttributeError, OSError):
        return None
