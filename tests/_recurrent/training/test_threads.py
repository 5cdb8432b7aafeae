"""Calls in threads: their results, limits, errors and interruptions."""

import _thread
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from sklearn_seqcrm._recurrent.training import run_in_threads
from sklearn_seqcrm._recurrent.training._callbacks import Interrupted
from sklearn_seqcrm._recurrent.training._threads import end_if_stopped

MAIN = threading.main_thread()


@pytest.fixture
def allow_threads():
    """Return a function that sets the limit of torch until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def run(calls, device="cpu"):
    return run_in_threads(calls, len(calls), device)


def call_and_look(number, seen, begun=None):
    """Return a call that looks at its thread, if others have begun."""

    def call():
        seen.append((threading.current_thread(), torch.get_num_threads()))
        if begun is not None:
            begun.wait(10)
            # Later calls end sooner: results come in the order of the calls.
            time.sleep(0.01 * (3 - number))
        return number

    return call


@pytest.mark.parametrize(
    ("n_calls", "limit", "n_threads", "of_each"),
    [(3, 1, 0, 1), (1, 8, 0, 8), (2, 2, 2, 1), (5, 2, 2, 1), (3, 8, 3, 2)],
)
def test_threads_share_the_limit_of_torch(
    n_calls, limit, n_threads, of_each, allow_threads
):
    allow_threads(limit)
    seen = []
    begun = threading.Barrier(n_threads) if n_threads else None
    calls = [
        call_and_look(n, seen, begun if n < n_threads else None) for n in range(n_calls)
    ]
    assert run(calls) == list(range(n_calls))
    others = {thread for thread, _ in seen} - {MAIN}
    assert len(others) == n_threads
    assert {n for _, n in seen} == {of_each}
    assert torch.get_num_threads() == limit
    # Nor does the limit of another thread change.
    later = []
    thread = threading.Thread(target=call_and_look(0, later))
    thread.start()
    thread.join()
    assert later[0][1] == limit
    assert not any(thread.is_alive() for thread in others)


def test_networks_on_a_gpu_are_computed_by_the_caller(allow_threads):
    allow_threads(4)
    seen = []
    run([call_and_look(n, seen) for n in range(2)], device="cuda")
    assert seen == [(MAIN, 4)] * 2


def test_a_call_is_taken_when_a_thread_is_free(allow_threads):
    """Calls hold rows of their own."""
    allow_threads(2)
    running, most = [], []

    def calls():
        for n in range(6):
            running.append(n)
            most.append(len(running))
            yield lambda n=n: (time.sleep(0.02), running.remove(n))

    run_in_threads(calls(), 6, "cpu")
    assert max(most) == 2


def test_the_first_error_in_order_is_raised(allow_threads):
    allow_threads(2)
    done = []

    def fail(seconds, error):
        time.sleep(seconds)
        raise error

    calls = [
        lambda: fail(0.05, KeyError("first in order")),
        lambda: fail(0.0, ValueError("first in time")),
        lambda: done.append(1),
    ]
    with pytest.raises(KeyError, match="first in order"):
        run(calls)
    assert not done  # no call begins after an error


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_calls(allow_threads):
    allow_threads(2)
    ends = []

    begun = threading.Barrier(2)

    def until_stopped(interrupts):
        begun.wait()
        if interrupts:
            time.sleep(0.1)  # until the main thread waits
            _thread.interrupt_main()
        try:
            for _ in range(10_000):
                end_if_stopped()
                time.sleep(0.001)
        except Interrupted:
            ends.append(threading.current_thread())
            raise

    with pytest.raises(KeyboardInterrupt):
        run([lambda: until_stopped(False), lambda: until_stopped(True)])
    assert len(set(ends)) == 2
    end_if_stopped()  # only calls of the interrupted run end


def test_an_interruption_at_the_start_of_a_thread_ends_its_call(
    allow_threads, monkeypatch
):
    """The pool does not know such a thread."""
    allow_threads(2)
    start, begun, ends = threading.Thread.start, threading.Event(), []

    def start_and_interrupt(thread):
        start(thread)
        begun.wait(10)
        raise KeyboardInterrupt

    def until_stopped():
        begun.set()
        try:
            for _ in range(10_000):
                end_if_stopped()
                time.sleep(0.001)
        finally:
            time.sleep(0.05)
            ends.append(1)

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run([until_stopped] * 2)
    assert ends


def test_a_call_does_not_begin_after_an_interruption(allow_threads, monkeypatch):
    allow_threads(2)
    start, threads, made = threading.Thread.start, [], []

    def interrupt(thread):
        threads.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run([lambda: made.append(1)] * 2)
    [thread] = threads
    start(thread)
    thread.join()
    assert not made


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_calls_within_calls(allow_threads):
    allow_threads(4)
    begun = threading.Barrier(3)

    def until_stopped():
        begun.wait(10)
        for _ in range(10_000):
            end_if_stopped()
            time.sleep(0.001)

    def interrupt():
        begun.wait(10)
        time.sleep(0.1)  # until all threads wait
        _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        run([lambda: run([until_stopped] * 2), interrupt])


def test_calls_at_the_shutdown_of_the_interpreter():
    """No pool takes them, but a thread may go on after the main one has ended."""
    code = """
import threading, torch
from sklearn_seqcrm._recurrent.training import run_in_threads
torch.set_num_threads(2)

def work():
    threading.main_thread().join()
    print(run_in_threads([int, float], 2, "cpu"))

threading.Thread(target=work).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[0, 0.0]", done.stderr


@pytest.mark.parametrize("n_started", [0, 1])
def test_calls_without_new_threads_are_made_once(n_started, allow_threads, monkeypatch):
    """A container may limit the number of threads."""
    allow_threads(3)
    start, started, made = threading.Thread.start, [], []

    def start_few(thread):
        if len(started) == n_started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def make(number):
        made.append(number)
        time.sleep(0.02)
        return number

    monkeypatch.setattr(threading.Thread, "start", start_few)
    calls = [lambda n=n: make(n) for n in range(5)]
    assert run(calls) == list(range(5))
    assert sorted(made) == list(range(5))


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="belongs to a thread"
)
def test_settings_of_the_caller_hold(allow_threads):
    allow_threads(2)
    with np.errstate(over="raise", under="ignore"):
        found = run([np.geterr, np.geterr])
    assert [(one["over"], one["under"]) for one in found] == [("raise", "ignore")] * 2
