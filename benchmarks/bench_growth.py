"""Speed of training by size of the data and of the network, as a picture.

Events per second of an epoch after the first one, against the number of events, the
longest history, the size of the state and the rows per customer. `--picture` is the
file of the picture; without it, only the table is printed.
"""

import argparse
import statistics

import numpy as np
from measure import lognormal_lengths, make_log, one_thread

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder

SWEEPS = {
    "number of events": [10**5, 10**6, 10**7],
    "longest history": [100, 1000, 10_000],
    "hidden size": [16, 32, 64, 128, 256],
    "rows per customer": [1, 3, 10, 30],
}


def speed(n_events=400_000, longest=1000, hidden=64, n_rows=1, repeat=3):
    """Return the median of events per second of an epoch, each counted once."""
    rng = np.random.default_rng(0)
    lengths = lognormal_lengths(n_events // 20, rng, longest)
    lengths[:8] = longest
    log = make_log(lengths[np.cumsum(lengths) <= n_events], rng)
    X = log.snapshots(np.linspace(0, 1001, n_rows + 1)[1:])
    encoded = HistoryEncoder(half_lives=[100]).fit_transform(X)[["history"]]
    model = LSTMClassifier(
        hidden_size=hidden,
        n_networks=1,
        max_epochs=1 + repeat if n_events < 5e6 else 2,
        early_stopping=False,
        random_state=0,
    )
    model.fit(encoded, np.arange(len(X)) % 2)
    return len(log) / statistics.median(model.net_.history[1:, "dur"])


def draw(found, path):
    """Draw one panel for each sweep."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(12, 3.2), sharey=True)
    for axis, (name, sweep) in zip(axes, found.items(), strict=True):
        axis.plot(list(sweep), list(sweep.values()), marker="o")
        axis.set(xscale="log", yscale="log", xlabel=name)
        axis.set_xticks(list(sweep), [f"{n:,}" for n in sweep], rotation=30)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_ylim(2e4, 4e6)
    axes[0].set_ylabel("events per second in training")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    """Run the sweeps, print a table and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture")
    options = parser.parse_args()
    one_thread()
    parameters = dict(
        zip(SWEEPS, ("n_events", "longest", "hidden", "n_rows"), strict=True)
    )
    found = {}
    for name, values in SWEEPS.items():
        found[name] = {n: speed(**{parameters[name]: n}) for n in values}
        each = "  ".join(f"{n:,}: {v / 1000:,.0f} k" for n, v in found[name].items())
        print(f"{name:20s}{each}", flush=True)
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
