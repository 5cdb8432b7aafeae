"""Memory of training with a few very long histories.

Peak memory of a fit in addition to its log (Linux only): 100,000 customers, one of whom
has 20,000 events, and 16 customers of 50,000 events each, with full gradients or with
gradients truncated after `bptt_steps` events.
"""

import argparse
from multiprocessing import get_context

import numpy as np
from measure import lognormal_lengths, make_log, one_thread, peak_memory, seconds

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline


def make_rows(lengths, rng):
    """Make raw histories of some lengths, and labels."""
    X = make_log(lengths, rng).snapshots([1001])
    return X[["history"]], np.arange(len(X)) % 2


def report(name, X, y, **options):
    """Fit in a new process, which has no freed memory to use."""
    process = get_context("fork").Process(target=fit, args=(name, X, y, options))
    process.start()
    process.join()
    if process.exitcode:
        print(f"{name:42s}ended with {process.exitcode}")


def fit(name, X, y, options):
    """Print the peak of memory and the speed of a fit."""
    model = make_history_pipeline(
        LSTMClassifier(
            n_networks=1,
            max_epochs=1,
            early_stopping=False,
            random_state=0,
            **options,
        )
    )
    peak, (elapsed, _) = peak_memory(lambda: seconds(lambda: model.fit(X, y)))
    n_events = X["history"].array.lengths.sum()
    print(f"{name:42s}{peak / 1e6:7,.0f} MB{n_events / elapsed:12,.0f} events/s")


def main():
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    options = parser.parse_args()
    one_thread()
    rng = np.random.default_rng(0)
    lengths = lognormal_lengths(options.customers, rng)
    lengths[0] = 20_000
    X, y = make_rows(lengths, rng)
    report(f"{options.customers:,} customers, one of 20,000 events", X, y)
    X, y = make_rows(np.full(16, 50_000), rng)
    for bptt_steps in (None, 1000, 200):
        report(
            f"16 of 50,000 events, bptt_steps={bptt_steps}", X, y, bptt_steps=bptt_steps
        )


if __name__ == "__main__":
    main()
