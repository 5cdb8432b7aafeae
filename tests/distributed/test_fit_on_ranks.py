"""Processes that are started by torchrun, killed and started again."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm.distributed import fit_on_ranks
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.distributed.ranks import journeys


def loader(killed=None, fails=False):
    """Return a function that reads the rows of a rank.

    `killed` is a file: without it, rank 1 writes it and is killed in its third epoch.
    """

    def load(rank, n_ranks):
        import os
        import signal
        from pathlib import Path

        from sklearn_seqcrm._recurrent.training import HistoryNet
        from tests.distributed.ranks import is_mine, journeys

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
    network = LSTMClassifier(hidden_size=8, max_epochs=4, random_state=0)
    pipeline = make_history_pipeline(network)
    pipeline[:-1].fit(journeys()[0])
    return pipeline


def test_killed_rank_changes_nothing(tmp_path):
    X, _ = journeys()
    killed = tmp_path / "killed"
    plain = fit_on_ranks(model(), loader(), n_threads=1)
    restarted = fit_on_ranks(
        model(), loader(str(killed)), n_threads=1, checkpoint=tmp_path / "state"
    )
    assert killed.exists()
    assert_array_equal(restarted.predict_proba(X), plain.predict_proba(X))
    assert len(restarted[-1].net_.history) == 4
    assert not (tmp_path / "state").exists()


def test_lost_ranks_and_errors_end_the_call(tmp_path):
    with pytest.raises(RuntimeError, match="lost more than max_restarts=0 times"):
        fit_on_ranks(model(), loader(str(tmp_path / "killed")), max_restarts=0)
    with pytest.raises(LookupError, match="no such table") as caught:
        fit_on_ranks(model(), loader(fails=True))
    assert "rank 1" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("name", "value"), [("n_ranks", 0), ("n_ranks", 1.5), ("max_restarts", -1)]
)
def test_numbers_that_are_no_counts(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer from"):
        fit_on_ranks(LSTMClassifier(), loader(), **{name: value})


def test_result_needs_no_ranks():
    fitted = fit_on_ranks(model(), loader(), n_ranks=1)
    X, y = journeys()
    before = model()
    assert_array_equal(fitted.predict_proba(X), before.fit(X, y).predict_proba(X))
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
