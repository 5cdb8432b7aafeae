"""Processes for tests: functions that run on two ranks, and data that is halved."""

import datetime
import os
import pickle
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from joblib import wrap_non_picklable_objects

from sklearn_seqcrm._recurrent.training import HistoryNet
from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.events import EventLog

# Most seconds of a launch, on a busy machine.
PATIENCE = 300

JOURNEYS = make_customer_journeys(300, mean_events=8, random_state=0)


def journeys():
    """Return raw rows of simulated customers, and labels."""
    log = EventLog(JOURNEYS.events, customer="customer_id", time="timestamp")
    return log.attach(JOURNEYS.rows, cutoff="cutoff"), np.asarray(JOURNEYS.target)


def is_mine(n_rows, rank, n_ranks, share=0.4):
    """Return which rows a rank has: the first rank less than half of them."""
    cut = n_rows if n_ranks == 1 else int(share * n_rows)
    return (np.arange(n_rows) < cut) == (rank == 0)


@contextmanager
def recorded_losses():
    """Record the loss of each training step, network by network at the end.

    Several threads train networks at the same time.
    """
    losses, of_steps, step = [], [], HistoryNet.train_step_single

    def kept(self, *args, **kwargs):
        found = step(self, *args, **kwargs)
        of_steps.append((self.shuffle_seed, float(found["loss"])))
        return found

    HistoryNet.train_step_single = kept
    try:
        yield losses
        in_order = sorted(of_steps, key=lambda one: one[0])
        losses += [loss for _, loss in in_order]
    finally:
        HistoryNet.train_step_single = step


@contextmanager
def group_of_one(tmp_path):
    """Initialise a process group of this process."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    try:
        yield
    finally:
        time.sleep(0.2)  # see run_rank
        dist.destroy_process_group()


def on_two_ranks(function, folder):
    """Return the results of ``function(rank)`` in two processes of a group."""
    task, script = folder / "function.pkl", Path(__file__)
    wrapped = wrap_non_picklable_objects(function, keep_wrapper=False)
    task.write_bytes(pickle.dumps(wrapped))
    root = str(script.parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(folder)], env=environment
        )
        for rank in range(2)
    ]
    try:
        codes = [one.wait(PATIENCE) for one in processes]
    finally:
        for one in processes:
            one.kill()
            one.wait()
    assert codes == [0, 0]
    return [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in range(2)]


def main(rank, folder):
    """Run the function of a folder, and write its result."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'group'}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    function = pickle.loads((folder / "function.pkl").read_bytes())
    (folder / f"{rank}.pkl").write_bytes(pickle.dumps(function(rank)))
    dist.barrier()
    time.sleep(0.2)  # see run_rank
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
