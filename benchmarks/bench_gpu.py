"""Training and prediction on a GPU, beside one core of the processor.

Histories of random numbers have log-normal lengths (median 20, 95th percentile about
104, at most 1,000); an event has 7 fields. Encoding is not timed. Training is the
difference between fits of three epochs and of one, without validation, so that the
start of CUDA and the building of the network do not count. Each figure is the median of
the repetitions, in thousands of real (not padded) events per second. ``prefetch`` says
whether batches are gathered and copied while the last one is computed, which happens on
CUDA only. Without a GPU the table has the lines of the processor.

    python benchmarks/bench_gpu.py --customers 100000
"""

import argparse
import statistics
from contextlib import nullcontext
from unittest import mock

import numpy as np
import pandas as pd
import torch
from measure import lognormal_lengths, make_log, one_thread, seconds

from sklearn_seqcrm._recurrent.network._reader import trains_in_bfloat16
from sklearn_seqcrm._recurrent.training import _net
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder


def main():
    """Print a line for each device, model and setting."""
    options = read_options()
    one_thread()
    rng = np.random.default_rng(0)
    raw = make_log(lognormal_lengths(options.customers, rng), rng).snapshots([1001])
    raw = raw[["history"]]
    encoded = HistoryEncoder(half_lives=[100]).fit_transform(raw)
    y = rng.integers(0, 2, len(raw))
    n_events = raw["history"].array.lengths.sum()
    print(f"{len(raw):,} customers, {n_events:,} events")
    if not torch.cuda.is_available():
        print("torch finds no GPU here: the processor only.")
    lines = []
    for setting in settings(options):
        lines.append(setting | rates(setting, options, raw, encoded, y, n_events))
        print(*lines[-1].values(), flush=True)
    print(pd.DataFrame(lines).to_string(index=False))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 1024])
    parser.add_argument("--repeat", type=int, default=3)
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    parser.add_argument("--devices", nargs="+", default=there)
    return parser.parse_args()


def settings(options):
    """Yield the device, model and parameters of each line."""
    for device in options.devices:
        kind = torch.device(device).type
        precisions = ["float32"] + ["bfloat16"] * trains_in_bfloat16(kind)
        for model in ("classifier", "event model"):
            for hidden in options.hidden:
                for batch_size in options.batch_sizes:
                    for precision in precisions:
                        for prefetch in [False] + [True] * (kind == "cuda"):
                            yield {
                                "device": device,
                                "model": model,
                                "hidden": hidden,
                                "batch": batch_size,
                                "precision": precision,
                                "prefetch": prefetch,
                            }


def rates(setting, options, raw, encoded, y, n_events):
    """Return thousands of events per second of training and prediction."""
    is_event_model = setting["model"] == "event model"
    kind = LSTMEventModel if is_event_model else LSTMClassifier
    data = (raw,) if is_event_model else (encoded, y)
    beside = {} if is_event_model else {"n_networks": 1}

    def fit(n_epochs):
        model = kind(
            hidden_size=setting["hidden"],
            batch_size=setting["batch"],
            precision=setting["precision"],
            device=setting["device"],
            max_epochs=n_epochs,
            early_stopping=False,
            random_state=0,
            **beside,
        )
        return model.fit(*data)

    def predict(model):
        ask = model.score_samples if is_event_model else model.predict_proba
        return ask(data[0])

    training, predicting = [], []
    with prefetching(setting["prefetch"]):
        predict(fit(1))  # kernels are chosen, and memory is allocated
        for _ in range(options.repeat):
            once, _ = seconds(lambda: fit(1))
            longer, model = seconds(lambda: fit(3))
            training.append((longer - once) / 2)
            predicting.append(seconds(lambda model=model: predict(model))[0])
    return {
        "training": round(n_events / statistics.median(training) / 1000),
        "predicting": round(n_events / statistics.median(predicting) / 1000),
    }


def prefetching(is_on):
    """Return a context that leaves batches to the main thread unless `is_on`."""
    if is_on:
        return nullcontext()
    return mock.patch.object(_net, "prefetched", lambda found, _: nullcontext(found))


if __name__ == "__main__":
    main()
