"""Event model by moment and by line: held-out log likelihood, and time of an epoch.

Lines of invoices (Online Retail II) and of groceries (Complete Journey, two months) of
some customers, a fifth of whom are held out. ``--shuffled`` puts the lines of a basket
into a random order: in both sets their order says something about the next line.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import one_thread
from quality.tasks import EVENTS

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog

SETS = {
    "retail_lines": (800, None, ["n_items"]),
    "journey_lines": (300, "2017-05-01", ["discount"]),
}


def rows_of(name, shuffled):
    """Return rows of training and of held-out customers."""
    n_customers, until, left_out = SETS[name]
    folder = os.environ.get("SEQCRM_DATA")
    lines, _ = EVENTS[name](None if folder is None else Path(folder))
    lines = lines.drop(columns=left_out)
    if until is not None:
        lines = lines[lines["day"] < until]
    rng = np.random.default_rng(1)
    customers = np.sort(lines["customer_id"].unique())
    customers = rng.choice(customers, n_customers, replace=False)
    lines = lines[lines["customer_id"].isin(customers)]
    if shuffled:
        lines = lines.sample(frac=1, random_state=0)
    X = EventLog(lines, "customer_id", "day").snapshots(
        [lines["day"].max() + pd.Timedelta("1D")]
    )
    is_held_out = X["customer_id"].isin(customers[: n_customers // 5]).to_numpy()
    return X[~is_held_out], X[is_held_out]


def main():
    """Print a row of the table for each way to take in events."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--shuffled", action="store_true")
    options = parser.parse_args()
    one_thread()
    print("| set | steps | nats an event | later lines | first lines | s an epoch |")
    print("|---|---|---|---|---|---|")
    for name in options.sets:
        train, held_out = rows_of(name, options.shuffled)
        days = held_out["history"].array.to_frame()["day"].to_numpy()
        for moments in (False, True):
            for seed in range(options.seeds):
                print(one_row(name, train, held_out, days, moments, seed), flush=True)


def one_row(name, train, held_out, days, moments, seed):
    """Fit a model and return its row of the table."""
    model = LSTMEventModel(max_epochs=40, moments=moments, random_state=seed)
    start = time.process_time()
    model.fit(train)
    seconds = (time.process_time() - start) / model.n_iter_
    scores = model.score_events(held_out)
    is_later = np.append(False, np.diff(days) == np.timedelta64(0, "D"))
    is_later &= scores["event"].to_numpy() > 0
    later, first = (scores.loc[one, "log_prob"].mean() for one in (is_later, ~is_later))
    steps = "moments" if moments else "lines"
    return (
        f"| {name} | {steps} | {model.score(held_out):.3f} | {later:.3f} | "
        f"{first:.3f} | {seconds:.1f} |"
    )


if __name__ == "__main__":
    main()
