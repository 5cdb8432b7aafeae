"""Training speed on ragged histories, against the textbook way with skorch.

Histories have log-normal lengths (median 20, 95th percentile about 104, at most 519);
an event has 8 numbers. The textbook way pads all of them into one array, gives it to a
skorch net with the default dataset, and reads the state at each row's last step. Both
nets have one LSTM of the same size and a linear head, batches of 128 rows, AdamW, and
see the same rows. They take turns in one process; the table shows medians, in real
(not padded) events per second.
"""

import argparse
import statistics

import numpy as np
import pandas as pd
import torch
from measure import seconds
from skorch import NeuralNetClassifier

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder

LONGEST = 519


def make_rows(n_customers, rng):
    """Encoded histories of log-normal length, and random labels."""
    lengths = np.exp(rng.normal(np.log(20), 1.0, n_customers)).astype(int)
    lengths = lengths.clip(1, LONGEST)
    n_events = lengths.sum()
    columns = {f"field_{i}": rng.normal(size=n_events) for i in range(7)}
    customers = np.repeat(np.arange(n_customers), lengths)
    events = pd.DataFrame(
        {"customer": customers, "time": rng.random(n_events) * 1000, **columns}
    )
    X = EventLog(events, "customer", "time").snapshots([1001])
    encoded = HistoryEncoder(half_lives=[100]).fit_transform(X)
    return encoded[["history"]], rng.integers(0, 2, n_customers)


class TextbookLSTM(torch.nn.Module):
    """One LSTM over the whole padded array, read at each row's last step."""

    def __init__(self, n_channels, n_static, hidden_size):
        super().__init__()
        self.lstm = torch.nn.LSTM(n_channels, hidden_size, batch_first=True)
        self.head = torch.nn.Linear(hidden_size + n_static, 2)

    def forward(self, values, codes, lengths, static):
        """Return the logits of two classes."""
        steps, _ = self.lstm(values)
        last = steps[torch.arange(len(steps)), lengths - 1]
        return self.head(torch.cat([last, static], dim=1))


def main():
    """Run both in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    X, y = make_rows(options.customers, np.random.default_rng(0))
    padded = HistoryPadder().fit_transform(X)
    n_events = int(padded["lengths"].sum())
    print(
        f"{options.customers:,} customers, {n_events:,} events, longest "
        f"{padded['values'].shape[1]}, hidden {options.hidden}, "
        f"{options.threads} thread(s), torch {torch.__version__}"
    )
    ours = LSTMClassifier(
        hidden_size=options.hidden,
        pooling="last",
        head_sizes=(),
        batch_size=128,
        max_epochs=1,
        early_stopping=False,
        random_state=0,
    )
    textbook = NeuralNetClassifier(
        TextbookLSTM,
        module__n_channels=padded["values"].shape[2],
        module__n_static=padded["static"].shape[1],
        module__hidden_size=options.hidden,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=128,
        max_epochs=1,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    ours.fit(X, y)  # once to warm up
    times = {"LSTMClassifier": [], "textbook skorch": []}
    for _ in range(options.repeat):
        times["LSTMClassifier"].append(seconds(lambda: ours.fit(X, y))[0])
        times["textbook skorch"].append(seconds(lambda: textbook.fit(padded, y))[0])
    ratio = [theirs / own for own, theirs in zip(*times.values(), strict=True)]
    for name, values in times.items():
        print(f"{name:16s} {n_events / statistics.median(values):10,.0f} events/s")
    print(f"ratio            {statistics.median(ratio):10.1f}")


if __name__ == "__main__":
    main()
