"""Baskets read moment by moment and line by line: time of fit and predict per line.

Customers buy baskets of equally many lines; a line has a product, an amount and a
quantity. Fits of one epoch and predictions of encoded rows run in turn in one process;
the table has medians of nanoseconds a line, and the median of the ratios. With one line
a basket, ``moments=True`` has the same steps and ``moments="auto"`` must cost nothing.
"""

import argparse
import statistics
from functools import partial

import numpy as np
import pandas as pd
from measure import lognormal_lengths, one_thread, seconds

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline

N_CUSTOMERS = 4_000


def basket_rows(n_lines, rng):
    """Make a row for each customer, with baskets of some lines."""
    baskets = np.maximum(lognormal_lengths(N_CUSTOMERS, rng) // 2, 1)
    customer = np.repeat(np.arange(N_CUSTOMERS), baskets)
    day = rng.integers(0, 1_000, len(customer))
    lines = pd.DataFrame({"customer": customer, "day": day})
    # Two baskets of one day would be one moment.
    lines = lines.drop_duplicates()
    lines = lines.loc[lines.index.repeat(n_lines)].reset_index(drop=True)
    lines["product"] = rng.integers(0, 3_000, len(lines)).astype(str)
    lines["amount"] = rng.gamma(2.0, 10.0, len(lines))
    lines["quantity"] = rng.integers(1, 5, len(lines)).astype(float)
    return EventLog(lines, "customer", "day").snapshots([1_001]), len(lines)


def main():
    """Run all in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--lines", nargs="+", type=int, default=[1, 5, 20])
    options = parser.parse_args()
    one_thread()
    print("| lines a basket | call | by line, ns | by moment, ns | ratio |")
    print("|---|---|---|---|---|")
    for n_lines in options.lines:
        rng = np.random.default_rng(0)
        X, n = basket_rows(n_lines, rng)
        y = rng.integers(0, 2, len(X))
        encoded = {
            moments: HistoryEncoder(moments=moments).fit_transform(X)
            for moments in (False, True)
        }
        models = {moments: network().fit(encoded[moments], y) for moments in encoded}
        calls = {
            "fit, encoded": lambda m, e=encoded, y=y: network().fit(e[m], y),
            "predict, encoded": lambda m, e=encoded, own=models: own[m].predict_proba(
                e[m]
            ),
            "fit of the pipeline": lambda m, X=X, y=y: (
                make_history_pipeline(network())
                .set_params(encoder__moments=m)
                .fit(X, y)
            ),
        }
        for name, call in calls.items():
            line = ratio_of(call, options.repeat, n)
            print(f"| {n_lines} | {name} | {line} |", flush=True)


def ratio_of(call, repeat, n_lines):
    """Time a call by line and by moment in turn; return three cells of the table."""
    times = [
        [seconds(partial(call, moments))[0] for moments in (False, True)]
        for _ in range(repeat)
    ]
    by_line, by_moment = (
        statistics.median(own) / n_lines * 1e9 for own in zip(*times, strict=True)
    )
    ratio = statistics.median(line / moment for line, moment in times)
    return f"{by_line:.0f} | {by_moment:.0f} | {ratio:.1f}"


def network():
    """Make a network that is trained for one epoch."""
    return LSTMClassifier(
        n_networks=1, max_epochs=1, early_stopping=False, random_state=0
    )


if __name__ == "__main__":
    main()
