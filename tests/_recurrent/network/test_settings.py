"""Limits of the threads of torch's kernels."""

import threading

import pytest
import torch

from sklearn_seqcrm._recurrent.network._settings import (
    _limit_mkl,
    _mkl_setter,
    isolated_torch_settings,
    limited_kernels,
)


@pytest.fixture(autouse=True)
def two_threads():
    """Let torch use two threads until the test ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("device", "hidden_size", "n_threads"),
    [("cpu", 128, 1), ("cpu", 129, 2), ("cpu", None, 2), ("cuda", 128, 2)],
)
def test_kernels_of_small_networks_use_one_thread(device, hidden_size, n_threads):
    with isolated_torch_settings(device, hidden_size):
        assert torch.get_num_threads() == n_threads
    assert torch.get_num_threads() == 2


def test_a_limit_holds_in_one_thread_until_it_ends():
    seen = []

    def look():
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()

    with limited_kernels(1):
        assert torch.get_num_threads() == 1
        look()
    look()
    assert seen == [2, 2]
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(_mkl_setter() is None, reason="torch has no MKL")
def test_mkl_has_the_same_limit():
    """Setting a limit returns the one before."""
    with limited_kernels(1):
        assert _limit_mkl(1) == 1
    assert _limit_mkl(2) == 2
