"""Fitted pipelines whose scores can be streamed, and their events."""

import functools
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_seqcrm._recurrent.network import CELLS, POOLINGS
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
            cell=cell, num_layers=layers, pooling=POOLINGS, **SMALL, n_networks=1
        )
        for cell, layers in itertools.product(CELLS, (1, 2))
    },
    "several": LSTMClassifier(n_networks=2, **SMALL),
    "max": LSTMClassifier(pooling="max", **SMALL, n_networks=1),
    "counts": LSTMRegressor(loss="poisson", exposure="age", **SMALL, n_networks=1),
    "two targets": LSTMRegressor(
        loss="quantile", quantile=[0.1, 0.9], **SMALL, n_networks=1
    ),
    "amounts": LSTMRegressor(**SMALL, n_networks=1),
    "two amounts": LSTMRegressor(n_networks=2, **SMALL),
    # The second network has a linear part.
    "two counts": LSTMRegressor(loss="poisson", exposure="age", n_networks=2, **SMALL),
    "two rates": LSTMRegressor(
        loss="zero_inflated_lognormal", exposure="age", n_networks=2, **SMALL
    ),
}
EXPOSED = ("counts", "two rates", "two counts")


def make_baskets():
    """Return EVENTS as lines of baskets: four customers, few days, four times a day."""
    rng = np.random.default_rng(3)
    day = EVENTS["when"].dt.floor("180D")
    hours = pd.to_timedelta(rng.integers(0, 4, len(EVENTS)) * 6, unit="h")
    who = "c" + (EVENTS["who"].str[1:].astype(int) % 4).astype(str)
    lines = EVENTS.assign(who=who, when=day + hours)
    return lines.sort_values("when", kind="stable", ignore_index=True)


BASKETS = make_baskets()
# Parameter `moments` of the encoder of networks that read baskets.
MOMENTS = {"baskets": True, "days": "1D", "half days": "12h", "daily amounts": "1D"}
MODELS |= {
    "baskets": LSTMClassifier(pooling=POOLINGS, num_layers=2, **SMALL, n_networks=1),
    "days": LSTMClassifier(cell="gru", n_networks=2, **SMALL),
    "half days": LSTMClassifier(cell="rnn", pooling=POOLINGS, **SMALL, n_networks=1),
    "daily amounts": LSTMRegressor(**SMALL, n_networks=1),
}


def events_of(name):
    """Return the events that a model was fitted on."""
    return BASKETS if name in MOMENTS else EVENTS


def log_until(events, until=AFTER):
    return EventLog(events, "who", "when", observed_until=until)


@functools.cache
def fitted(name):
    """Return a model fitted on whole histories, with missing statics."""
    model, n = MODELS[name], len(ROWS)
    rows = ROWS.assign(age=ROWS["age"].fillna(40)) if name in EXPOSED else ROWS
    y = np.arange(n) % 2
    if name.startswith("two"):
        y = np.column_stack([y, np.arange(n) % 5])
    pipeline = make_history_pipeline(model)
    pipeline.set_params(encoder__moments=MOMENTS.get(name, False))
    log = EventLog(events_of(name), "who", "when")
    return pipeline.fit(log.attach(rows, cutoff="at"), y)


def people_of(name):
    return PEOPLE.assign(age=PEOPLE["age"].fillna(40)) if name in EXPOSED else PEOPLE


def new_scorer(name="lstm-1", **options):
    return StreamingScorer(fitted(name), "who", "when", **options)


def predicted(model, *args):
    return getattr(model, "predict_proba", model.predict)(*args)


def as_event(row):
    """Return a row of a table as a mapping, with None for missing values."""
    return {k: None if pd.isna(v) else v for k, v in row.items()}


def play(name, seed, size):
    """Update at random by tables and single events; return the largest error.

    Customers take turns. Lines of a basket come in any order, so that some are late but
    of the open moment. Now and then the scorer is restored from a file.
    """
    rng = np.random.default_rng(seed)
    events = _in_turns(name, size, rng)
    people, model, scorer = people_of(name), fitted(name), new_scorer(name)
    statics = {row["who"]: as_event(row) for row in people.to_dict("records")}
    done, worst = 0, 0.0
    while done < size:
        n = int(rng.choice([1, 1, 2, 5, size]))
        some = events.iloc[done : done + n]
        done += len(some)
        cutoff = AFTER - pd.Timedelta(int(rng.integers(7 * 24)), "h")
        log = log_until(events.iloc[:done])
        expected = predicted(model, log.attach(people, cutoff=cutoff))
        if len(some) > 1:
            # Without moments, ties keep their order of arrival.
            any_order = name in MOMENTS or not some.duplicated(["who", "when"]).any()
            some = some.sample(frac=1, random_state=seed) if any_order else some
            assert scorer.update(some) == len(some)
        else:
            [event] = some.to_dict("records")
            who = event["who"]
            found = scorer.score_one(who, as_event(event), statics[who], cutoff)
            wanted = expected[people["who"].tolist().index(who)]
            worst = max(worst, np.abs(found - wanted).max())
        if rng.random() < 0.2:
            scorer = restored(scorer, name)
        found = predicted(scorer, people, cutoff)
        worst = max(worst, np.abs(found - expected).max())
    return worst


def _in_turns(name, size, rng):
    """Return some events in a random order that keeps the moments of each customer."""
    events, period = events_of(name), MOMENTS.get(name)
    events = events.iloc[np.sort(rng.choice(len(events), size, replace=False))]
    if isinstance(period, str):
        events = events.sample(frac=1, random_state=int(rng.integers(2**31)))
        order = events["when"].dt.floor(period).argsort(kind="stable")
        events = events.iloc[order]
    turns = rng.permutation(events["who"].to_numpy())
    waiting = {who: iter(own.index) for who, own in events.groupby("who")}
    return events.loc[[next(waiting[who]) for who in turns]]


def restored(scorer, name, **options):
    """Return a scorer with the states of another one, through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "states"
        scorer.to_parquet(path)
        return StreamingScorer.from_parquet(
            path, fitted(name), "who", "when", **options
        )
