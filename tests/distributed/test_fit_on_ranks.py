"""Processes that are started by torchrun, killed and started again."""

import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.distributed import fit_on_ranks, run_rank
from sklearn_seqcrm.distributed._fit_on_ranks import _COLLECTIVES, _is_lost_peer
from sklearn_seqcrm.distributed._run_rank import joined_group
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.distributed.ranks import journeys

NO_WARNINGS = pytest.mark.filterwarnings(
    "ignore:amount is missing", "ignore:seen by rank"
)


def loader(killed=None, fails=False):
    """Return a function that reads the rows of a rank, prints and warns.

    `killed` is a file: without it, rank 1 writes it and is killed in its third epoch.
    """

    def load(rank, n_ranks):
        import os
        import signal
        import warnings
        from pathlib import Path

        from sklearn_seqcrm._recurrent.training import HistoryNet
        from tests.distributed.ranks import is_mine, journeys

        print(f"hello from rank {rank}")  # one write; other ranks print as well
        for text in ("amount is missing", f"seen by rank {rank}"):
            warnings.warn(text, UserWarning, stacklevel=1)
        if fails and rank == 1:
            raise LookupError("no such table")
        step, count = HistoryNet.train_step_single, [0]

        def killing(self, *args, **kwargs):
            count[0] += 1
            if count[0] == 6 and not Path(killed).exists():
                Path(killed).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, *args, **kwargs)

        if killed is not None and rank == 1:
            HistoryNet.train_step_single = killing
        X, y = journeys()
        mine = is_mine(len(X), rank, n_ranks)
        return X[mine], y[mine]

    return load


def model():
    small = {"hidden_size": 8, "max_epochs": 4, "random_state": 0, "n_networks": 1}
    network = LSTMClassifier(verbose=1, **small)
    pipeline = make_history_pipeline(network)
    pipeline[:-1].fit(journeys()[0])
    return pipeline


@pytest.fixture(scope="module")
def plain():
    """Return what two ranks fit, with what they print and their warnings."""
    with (
        redirect_stdout(StringIO()) as printed,
        pytest.warns(UserWarning, match="missing|seen") as warned,
    ):
        fitted = fit_on_ranks(model(), loader(), n_threads=1)
    return fitted, printed.getvalue(), sorted(str(one.message) for one in warned)


def test_messages_and_warnings_of_ranks_appear(plain):
    _, printed, warned = plain
    assert warned == ["amount is missing", "seen by rank 0", "seen by rank 1"]
    assert "hello from rank 1" in printed
    assert "train_loss" in printed  # of verbose=1


@NO_WARNINGS
def test_killed_rank_changes_nothing(plain, tmp_path):
    X, _ = journeys()
    killed = tmp_path / "killed"
    restarted = fit_on_ranks(
        model(), loader(str(killed)), n_threads=1, checkpoint=tmp_path / "state"
    )
    assert killed.exists()
    assert_array_equal(restarted.predict_proba(X), plain[0].predict_proba(X))
    assert len(restarted[-1].net_.history) == 4
    assert not (tmp_path / "state").exists()


def test_lost_ranks_and_errors_end_the_call():
    def load(rank, n_ranks):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match="Ranks were lost, and max_restarts=0"):
        fit_on_ranks(LSTMClassifier(), load, n_ranks=1, max_restarts=0)
    with pytest.raises(LookupError, match="no such table") as caught:
        fit_on_ranks(model(), loader(fails=True))
    [note] = caught.value.__notes__
    assert note.startswith("Raised on rank 1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_ranks", 0),
        ("n_ranks", 1.5),
        ("max_restarts", -1),
        ("n_threads", 0),
        ("n_threads", "a"),
    ],
)
def test_numbers_that_are_no_counts(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer from"):
        fit_on_ranks(LSTMClassifier(), loader(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("backend", "mpi", ValueError, "backend must be 'gloo' or 'nccl'; got 'mpi'"),
        ("timeout", 0, ValueError, "timeout must be a positive number"),
        ("timeout", True, ValueError, "timeout must be a positive number"),
        ("load", [0], TypeError, "load must be a function"),
        ("estimator", LSTMClassifier, TypeError, "estimator is the class LSTMClass"),
    ],
)
def test_arguments_that_no_rank_could_use(name, value, error, message):
    arguments = {
        "estimator": LSTMClassifier(),
        "load": loader(),
        name: value,
    }
    with pytest.raises(error, match=message):
        fit_on_ranks(**arguments)


@pytest.mark.parametrize(
    ("rank", "n_ranks", "message"),
    [
        ("0", 1, "rank must be an integer from 0 on; got '0'"),
        (-1, 1, "rank must be an integer from 0 on; got -1"),
        (0, 0, "n_ranks must be an integer from 1 on; got 0"),
        (2, 2, "rank must be less than n_ranks=2; got 2"),
    ],
)
def test_numbers_of_ranks(rank, n_ranks, message):
    with pytest.raises(ValueError, match=message):
        run_rank(LSTMClassifier(), loader(), rank=rank, n_ranks=n_ranks)


def test_nccl_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="backend='nccl' needs a GPU"):
        fit_on_ranks(LSTMClassifier(), loader(), backend="nccl")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "it returned a NoneType"),
        ([[0.0], [1]], "it returned a list of 2"),
        (([0.0], 1, 1), "it returned a tuple of 3"),
        ({"X": [[0.0]], "weight": 1}, r"a dict with \['weight'\]"),
        (np.zeros((4, 1)), r"X alone, and LSTMClassifier needs y.*return \(X, y\)"),
        ({"X": np.zeros((4, 1))}, "X alone, and LSTMClassifier needs y"),
    ],
)
def test_rows_that_load_cannot_return(tmp_path, found, message):
    meet = {"init_method": f"file://{tmp_path / 'group'}", "rank": 0, "n_ranks": 1}
    for model in (LSTMClassifier(), make_history_pipeline(LSTMClassifier())):
        with pytest.raises(TypeError, match=message):
            run_rank(model, lambda rank, n_ranks: found, **meet)


def test_each_rank_has_a_gpu(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with joined_group("gloo", 60, f"file://{tmp_path / 'group'}", 0, 1):
        assert chosen == [1]


def test_errors_of_load_are_no_lost_ranks():
    # A path with the names of the package of the collectives.
    code = compile("raise RuntimeError", "/opt/torch/distributed/read.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code)
    assert not _is_lost_peer(caught.value)
    code = compile("raise RuntimeError", f"{_COLLECTIVES}/c10d.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code)
    assert _is_lost_peer(caught.value)
    caught.value.add_note("Raised on rank 1:")
    assert not _is_lost_peer(caught.value)


@NO_WARNINGS
def test_result_needs_no_ranks():
    fitted = fit_on_ranks(model(), loader(), n_ranks=1)
    X, y = journeys()
    expected = model().fit(X, y).predict_proba(X)
    assert_allclose(fitted.predict_proba(X), expected, rtol=1e-6)
    assert np.isfinite(fitted[-1].net_.history[-1, "train_loss"])


CALLER = """
import os, sys, time
from pathlib import Path
from sklearn_seqcrm.distributed import fit_on_ranks
from sklearn_seqcrm.neural_network import LSTMClassifier

folder = Path(sys.argv[1])


def load(rank, n_ranks):
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)


fit_on_ranks(LSTMClassifier(), load)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ranks_end_with_a_caller_that_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path)], env=environment
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        caller.kill()
        caller.wait()
    ranks = [int(path.stem) for path in tmp_path.glob("*.pid")]
    wait_until(lambda: not any(is_alive(rank) for rank in ranks))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    folder = str(tmp_path)

    def load(rank, n_ranks):
        import os
        import signal
        import time
        from pathlib import Path

        Path(folder, f"{os.getpid()}.pid").touch()
        while len(list(Path(folder).glob("*.pid"))) < 2:
            time.sleep(0.1)
        if rank == 0:
            os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)

    with pytest.raises(RuntimeError, match=r"The launcher .* was killed \(signal 9\)"):
        fit_on_ranks(LSTMClassifier(), load, n_threads=1, max_restarts=0)
    ranks = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(ranks) == 2
    wait_until(lambda: not any(is_alive(rank) for rank in ranks))


def wait_until(condition):
    """Wait until a condition is true, at most two minutes."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never became true")


def is_alive(number):
    """Return whether a process exists."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
