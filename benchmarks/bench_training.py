"""Training on ragged histories, compared with common alternatives.

Histories of random numbers have log-normal lengths (median 20, 95th percentile about
104, at most 1,000); an event has 7 fields. All networks have one LSTM, whose output at
the last event of a row is pooled, a linear head, batches of 128 rows, AdamW, and a
tenth of the rows for early stopping. Timed are fits of one epoch: of this library the
whole pipeline from raw events, with the fit of its encoder; of the others networks on
arrays that are ready. They run in turn in one process, pytorch-lifestream in a separate
process and environment (`make .venv-lifestream/.installed`), without its start. The
table has medians, in real (not padded) events per second, medians of the ratios, and
the LSTM's operations as a share of the speed of the machine's matrix product: 8 x H x
(D + H) for an event of D channels forwards, and twice as many backwards, which
validation rows do not need.
"""

import argparse
import statistics

import numpy as np
import torch
from measure import lognormal_lengths, make_log, one_thread, precisions, seconds
from rivals import (
    PackedLSTM,
    TextbookLSTM,
    fit_keras,
    has_lifestream,
    keras_model,
    lifestream_seconds,
    skorch_net,
)

from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline


def make_rows(n_customers, rng):
    """Make raw histories of log-normal length, and random labels."""
    X = make_log(lognormal_lengths(n_customers, rng), rng).snapshots([1001])
    return X[["history"]], rng.integers(0, 2, n_customers)


def matrix_products(size=1024):
    """Measure operations per second of a float32 matrix product, on one thread."""
    a, b = torch.randn(2, size, size)
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b)[0] for _ in range(20))


def main():
    """Run all in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args()
    one_thread()
    X, y = make_rows(options.customers, np.random.default_rng(0))
    encoded = HistoryEncoder(half_lives=[100]).fit_transform(X)
    n_events, n_channels = encoded["history"].array.log.channels.shape
    padded = HistoryPadder().fit_transform(encoded)
    tensors = {
        "values": padded["values"][:, :, :n_channels],
        "lengths": padded["lengths"],
    }
    n_steps = tensors["values"].shape[1]
    print(
        f"{options.customers:,} customers, {n_events:,} events, longest {n_steps}, "
        f"{n_channels} channels, hidden size {options.hidden}, one thread"
    )

    def ours(**changed):
        model = LSTMClassifier(
            hidden_size=options.hidden,
            pooling="last",
            head_sizes=(),
            n_networks=1,
            max_epochs=1,
            early_stopping=True,
            random_state=0,
            **changed,
        )
        return make_history_pipeline(model)

    def rival(module):
        return skorch_net(module, n_channels, options.hidden, 1)

    small = slice(options.customers // 10)
    n_small = int(tensors["lengths"][small].sum())
    ways = {
        "LSTMClassifier": (
            lambda: seconds(lambda: ours().fit(X, y))[0],
            n_events,
        ),
        "skorch, padded (the textbook way)": (
            lambda: seconds(lambda: rival(TextbookLSTM).fit(tensors, y))[0],
            n_events,
        ),
        "skorch, packed sequences": (
            lambda: seconds(lambda: rival(PackedLSTM).fit(tensors, y))[0],
            n_events,
        ),
    }
    if "bfloat16" in precisions():
        ways['LSTMClassifier, precision="bfloat16"'] = (
            lambda: seconds(lambda: ours(precision="bfloat16").fit(X, y))[0],
            n_events,
        )
    model = keras_model(n_steps, n_channels, options.hidden)
    if model is not None:
        values = tensors["values"][small]
        ways["Keras (torch), masking, a tenth of the rows"] = (
            lambda: seconds(lambda: fit_keras(model, values, y[small], 1))[0],
            n_small,
        )
    if has_lifestream():
        lengths = tensors["lengths"]
        flat = tensors["values"][np.arange(n_steps) < lengths[:, None]]
        rows = {"values": flat, "lengths": lengths, "y": y}
        ways["pytorch-lifestream 0.6.0"] = (
            lambda: lifestream_seconds("train", rows, options.hidden),
            n_events,
        )
    ours().fit(X, y)  # once to warm up
    speeds, limits = {name: [] for name in ways}, []
    for _ in range(options.repeat):
        limits.append(matrix_products())
        for name, (run, n_read) in ways.items():
            speeds[name].append(n_read / run())
    limit = statistics.median(limits)
    operations = 8 * options.hidden * (n_channels + options.hidden)
    operations *= 0.9 * 3 + 0.1  # a tenth is for validation, forwards only
    print(f"{'':45s}{'events/s':>11s}{'of ours':>9s}{'of the limit':>14s}")
    for name, found in speeds.items():
        speed = statistics.median(found)
        ratio = statistics.median(np.divide(speeds["LSTMClassifier"], found))
        share = speed * operations / limit
        of_ours = f"1/{ratio:.1f}" if ratio > 1 else f"{1 / ratio:.1f}"
        print(f"{name:45s}{speed:11,.0f}{of_ours:>9s}{share:14.0%}")
    name = f"matrix product, {limit / 1e9:.0f} GFLOP/s"
    print(f"{name:45s}{limit / operations:11,.0f}{'':9s}{1:14.0%}")


if __name__ == "__main__":
    main()
