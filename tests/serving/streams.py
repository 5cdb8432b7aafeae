"""Fitted pipelines whose scores can be streamed, and their events."""

import functools
import itertools

import numpy as np
import pandas as pd

from sklearn_seqcrm._recurrent.network import POOLINGS
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.testing._small_data import make_events, make_rows

EVENTS = make_events(10).sort_values("when", kind="stable", ignore_index=True)
ROWS = make_rows(10)
PEOPLE = ROWS.drop_duplicates("who").drop(columns="at").reset_index(drop=True)
LOG = EventLog(EVENTS, "who", "when")
AFTER = EVENTS["when"].max() + pd.Timedelta("9D")
SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}
# States and batches add float32 numbers in different orders.
EXACT = {"rtol": 1e-5, "atol": 1e-5}
MODELS = {
    **{
        f"{cell}-{layers}": LSTMClassifier(
            cell=cell, num_layers=layers, pooling=POOLINGS, **SMALL
        )
        for cell, layers in itertools.product(("lstm", "gru", "rnn"), (1, 2))
    },
    "several": LSTMClassifier(n_networks=2, **SMALL),
    "max": LSTMClassifier(pooling="max", **SMALL),
    "counts": LSTMRegressor(loss="poisson", exposure="age", **SMALL),
    "two targets": LSTMRegressor(loss="quantile", quantile=[0.1, 0.9], **SMALL),
    "amounts": LSTMRegressor(**SMALL),
    "two amounts": LSTMRegressor(n_networks=2, **SMALL),
    "two rates": LSTMRegressor(
        loss="zero_inflated_lognormal", exposure="age", n_networks=2, **SMALL
    ),
}
EXPOSED = ("counts", "two rates")


@functools.cache
def fitted(name):
    """Return a model fitted on whole histories, with missing statics."""
    model, n = MODELS[name], len(ROWS)
    rows = ROWS.assign(age=ROWS["age"].fillna(40)) if name in EXPOSED else ROWS
    y = np.arange(n) % 2
    if name.startswith("two"):
        y = np.column_stack([y, np.arange(n) % 5])
    return make_history_pipeline(model).fit(LOG.attach(rows, cutoff="at"), y)


def people_of(name):
    return PEOPLE.assign(age=PEOPLE["age"].fillna(40)) if name in EXPOSED else PEOPLE


def new_scorer(name="lstm-1", **options):
    return StreamingScorer(fitted(name), "who", "when", **options)


def predicted(model, *args):
    return getattr(model, "predict_proba", model.predict)(*args)


def as_event(row):
    """Return a row of a table as a mapping, with None for missing values."""
    return {k: None if pd.isna(v) else v for k, v in row.items()}
