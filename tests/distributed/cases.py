"""Estimators with rows, which one process and two ranks fit."""

from unittest import mock

import numpy as np
import pandas as pd
from skorch.helper import SliceDict

from sklearn_seqcrm._columns import Table, store_horizon
from sklearn_seqcrm._recurrent.data import _batches
from sklearn_seqcrm._recurrent.training import HistoryNet, _rare_levels
from sklearn_seqcrm.distributed import _process_ranks, fit_rank
from sklearn_seqcrm.distributed._checkpoint import Checkpoint
from sklearn_seqcrm.distributed._process_ranks import ProcessRanks
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftClassifier,
    _ensemble_training,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import churned
from tests.distributed.ranks import JOURNEYS, is_mine, journeys, recorded_losses

SMALL = {"hidden_size": 8, "max_epochs": 2, "dropout": 0.0, "random_state": 0}
ONE = {**SMALL, "n_networks": 1}


def snapshots(n_noise=0, n_stores=0):
    """Return rows at several cutoffs with a horizon, which are split forward."""
    rng = np.random.default_rng(0)
    n = 1500
    events = pd.DataFrame(
        {
            "who": np.sort(rng.integers(0, 150, n)),
            "when": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(rng.uniform(0, 365, n), unit="D"),
            "amount": rng.gamma(2.0, 10.0, n),
        }
    )
    for i in range(n_noise):
        events[f"noise_{i}"] = rng.normal(size=n)
    if n_stores:
        events["store"] = rng.integers(0, n_stores, n).astype(str)
    log = EventLog(events, "who", "when", observed_until="2025-01-01")
    X = log.snapshots(pd.date_range("2024-04-01", periods=6, freq="MS"))
    X = X.sort_values("who", kind="stable", ignore_index=True)
    return X[["who", "history"]], churned(X, horizon="30D")


def orders():
    """Return rows whose events have a price for each item, and some pieces of it."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(100), 10),
            "day": rng.integers(0, 50, (100, 10)).cumsum(axis=1).ravel(),
            "item": rng.integers(0, 40, 1000).astype(str),
            "pieces": rng.integers(1, 20, 1000),
        }
    )
    price = 1 + 0.37 * events["item"].astype(int) - 0.2 * (events["who"] % 4 == 0)
    events["spend"] = (events["pieces"] * price).round(2)
    return EventLog(events, "who", "day", observed_until=500).snapshots([500])


def cases():
    """Return estimator, rows, targets and further arguments of each case."""
    X, y = journeys()
    rng = np.random.default_rng(0)
    weight, spend = rng.uniform(0.0, 2.0, len(y)), rng.gamma(1.0, 10.0, len(y)) * y
    weight[::7] = 0
    exposure = X.assign(exposure=rng.uniform(10, 90, len(y)))
    half = np.where(np.arange(len(y)) < 120, 0.0, 1.0)
    late = JOURNEYS.rows.copy()
    late.loc[half == 0, "cutoff"] = pd.Timestamp("1990-01-01")
    log = EventLog(JOURNEYS.events, customer="customer_id", time="timestamp")
    codes = rng.integers(0, 5, (len(y), 4, 1))
    codes[:120] = np.minimum(codes[:120], 2)
    tensors = SliceDict(
        values=rng.normal(size=(len(y), 4, 2)).astype("float32"),
        codes=codes,
        lengths=np.full(len(y), 4),
    )
    lasts = pd.DataFrame({"event": y.astype(bool), "time": spend + 1.0})
    treatment = rng.integers(0, 2, len(y))
    dates, left = snapshots()
    pipeline = make_history_pipeline
    # The second network has a linear part.
    poisson = LSTMRegressor(loss="poisson", exposure="exposure", n_networks=2, **SMALL)
    # By default, five networks.
    balanced = LSTMClassifier(class_weight="balanced", **SMALL)
    return {
        "classes": (pipeline(LSTMClassifier(**ONE)), X, y, {}),
        "weights": (pipeline(balanced), X, y, {"sample_weight": weight}),
        "forward": (pipeline(LSTMClassifier(**ONE)), dates, left, {}),
        "text": (
            pipeline(LSTMClassifier(bidirectional=True, **ONE)),
            X,
            np.where(y, "yes", "not so"),
            {},
        ),
        "linear": (pipeline(LSTMRegressor(**ONE)), X, spend, {}),
        "poisson": (pipeline(poisson), exposure, np.round(spend), {}),
        "survival": (pipeline(LSTMSurvival(bins=4, **ONE)), X, lasts, {}),
        "effects": (
            pipeline(LSTMUpliftClassifier(**ONE)),
            X,
            y,
            {"treatment": treatment},
        ),
        "statics": (LSTMClassifier(**ONE), rng.normal(size=(300, 3)), y, {}),
        "no weight": (pipeline(LSTMClassifier(**ONE)), X, y, {"sample_weight": half}),
        "tensors": (LSTMClassifier(**ONE), tensors, y, {}),
        "no events": (
            LSTMEventModel(**SMALL),
            log.attach(late, cutoff="cutoff"),
            None,
            {},
        ),
        "events": (LSTMEventModel(**SMALL), X, None, {}),
        "usual numbers": (LSTMEventModel(**SMALL), orders(), None, {}),
    }


def fit_case(name, rank=None):
    """Fit in one process, or as one of two ranks; return all that must be equal."""
    estimator, X, y, beside = cases()[name]
    if hasattr(estimator, "steps"):
        estimator[:-1].fit(X, y)
    with recorded_losses() as losses:
        if rank is None:
            if hasattr(estimator, "steps"):
                network, rows = estimator[-1], estimator[:-1].transform(X)
            else:
                network, rows = estimator, X
            network.fit(rows, *(() if y is None else (y,)), **beside)
        else:
            mine = is_mine(len(X), rank, 2)
            if "who" in X:
                mine = (X["who"].to_numpy() < 60) == (rank == 0)
            own = {key: value[mine] for key, value in beside.items()}
            fit_rank(estimator, X[mine], None if y is None else y[mine], **own)
    network = estimator[-1] if hasattr(estimator, "steps") else estimator
    predict = "score_samples" if y is None else "predict"
    if hasattr(network, "predict_proba"):
        predict = "predict_proba"
    return {
        "losses": losses,
        "valid": [
            net.history[:, "valid_loss"] if "valid_loss" in net.history[-1] else []
            for net in network.nets_
        ],
        "output": getattr(estimator, predict)(X),
        "validation": getattr(network, "validation_", None),
        "left_behind": [
            name
            for one in (network, *network.nets_)
            for name in vars(one)
            if "ranks" in name
        ],
    }


def continue_training(rank=None):
    """Continue with networks that differ between ranks; return probabilities."""
    X, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    network = LSTMClassifier(warm_start=True, early_stopping=False, **ONE)
    network.set_params(random_state=rank or 0).fit(X, y).set_params(random_state=0)
    if rank is None:
        network.fit(X, y)
    else:
        mine = is_mine(len(X), rank, 2)
        fit_rank(network, X[mine], y[mine])
    return network.predict_proba(X)


def fit_with_noise(rank):
    """Return probabilities and the fields that a network of a rank leaves out.

    A network without them counts as better. Rank 1 finds one field fewer, as if its
    processor rounded in another way.
    """
    X, y = snapshots(n_noise=4)
    model = make_history_pipeline(LSTMClassifier(select_fields=True, **ONE))
    model[:-1].fit(X, y)
    mine = (X["who"].to_numpy() < 60) == (rank == 0)
    find = _ensemble_training.useless_fields

    def useless_fields(*args):
        [found] = find(*args)
        return [found[rank:]]

    with mock.patch.multiple(
        _ensemble_training,
        _least_loss=lambda net: not net.left_out,
        useless_fields=useless_fields,
    ):
        fit_rank(model, X[mine], y[mine])
    return model.predict_proba(X), model[-1].validation_["left_out"]


def fit_half(rank=None):
    """Return probabilities, fields that some networks do not see, and sizes of outputs.

    The mean with a network without fields counts as better, except on rank 1. The
    outputs are those that are compared.
    """
    X, y = snapshots(n_noise=4)
    network = LSTMClassifier(select_fields="half", n_networks=2, **SMALL)
    encoded = make_history_pipeline(network)[:-1].fit_transform(X, y)
    compare, compute = _ensemble_training._is_better, HistoryNet.outputs
    sizes = []

    def outputs(net, data):
        found = compute(net, data)
        sizes.append(float(np.abs(found).sum()))
        return found

    def is_better(*args):
        with mock.patch.object(HistoryNet, "outputs", outputs):
            compare(*args)
        return rank != 1

    with mock.patch.object(_ensemble_training, "_is_better", is_better):
        if rank is None:
            network.fit(encoded, y)
        else:
            mine = (X["who"].to_numpy() < 60) == (rank == 0)
            fit_rank(network, encoded[mine], y[mine])
    return network.predict_proba(encoded), network.validation_["left_out"], sizes


def automatic_batches(rank=None):
    """Return batch size and losses of many rows; one process has that of two ranks."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(16_500, 2)), rng.integers(0, 2, 16_500)
    small = ONE | {"max_epochs": 1, "early_stopping": False}
    with recorded_losses() as losses:
        if rank is None:
            network = LSTMClassifier(batch_size=256, **small).fit(X, y)
        else:
            mine = is_mine(len(X), rank, 2)
            network = fit_rank(LSTMClassifier(**small), X[mine], y[mine])
    return network.batch_size_, losses


def automatic_networks(rank=None):
    """Return the number of networks of a group, or of one process with half its rows.

    The limit on an epoch is such that all rows have two, and half of them four.
    """
    X, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    network = LSTMClassifier(**SMALL | {"max_epochs": 1})
    mine = slice(100) if rank is None else is_mine(len(X), rank, 2)
    with mock.patch.object(_batches, "_LARGEST_EPOCH", 2 * len(X)):
        if rank is None:
            network.fit(X[mine], y[mine])
        else:
            fit_rank(network, X[mine], y[mine])
    return network.n_networks_


def sampled_customers(rank=None):
    """Return the customers from whose events an event model learns, in a group."""
    X, _ = journeys()
    mine = slice(None) if rank is None else is_mine(len(X), rank, 2)
    ranks = ProcessRanks(Checkpoint(None))
    with mock.patch.object(_process_ranks, "_EVENTS_TO_LEARN", 500):
        sample = ranks.sample(Table.of(X[mine])).frame
    return sample["customer_id"].tolist()


def refusals(rank):
    """Return the errors of calls whose arguments differ between two ranks."""
    X, y = journeys()
    mine = is_mine(len(X), rank, 2)

    def with_horizon(labels):
        labels = pd.Series(labels, name="churned")
        store_horizon(labels, {"horizon": "90D", "gap": 0})
        return labels

    def pipeline(n_seen=300, **parameters):
        small = {"hidden_size": 8, "max_epochs": 1, **parameters}
        model = make_history_pipeline(LSTMClassifier(**small, n_networks=1))
        model[:-1].fit(X[:n_seen])
        return model

    overlap = mine | (np.arange(len(X)) == 7)
    calls = {
        "customers": lambda: fit_rank(pipeline(), X[overlap], y[overlap]),
        "parameters": lambda: fit_rank(
            pipeline(learning_rate=0.01 * (1 + rank)), X[mine], y[mine]
        ),
        "encoders": lambda: fit_rank(
            pipeline(n_seen=200 + 100 * rank), X[mine], y[mine]
        ),
        "weights": lambda: fit_rank(
            pipeline(),
            X[mine],
            y[mine],
            sample_weight=None if rank else np.ones(mine.sum()),
        ),
        "tables": lambda: (
            fit_rank(
                LSTMClassifier(),
                pipeline()[:-1].transform(X)[mine],
                y[mine],
            )
            if rank
            else fit_rank(LSTMClassifier(), np.ones((mine.sum(), 2)), y[mine])
        ),
        "types": lambda: fit_rank(
            pipeline(), X[mine], y[mine] if rank else y[mine].astype(str)
        ),
        "missing": lambda: fit_rank(
            pipeline(), X[mine], np.where(rank, np.nan, y[mine])
        ),
        "continued": lambda: fit_rank(
            pipeline(warm_start=True) if rank else pipeline(warm_start=True).fit(X, y),
            X[mine],
            y[mine],
        ),
        "one class": lambda: fit_rank(pipeline(), X[mine], 0 * y[mine]),
        "horizons": lambda: fit_rank(
            pipeline(), X[mine], y[mine] if rank else with_horizon(y[mine])
        ),
        "treatments": lambda: fit_rank(
            LSTMUpliftClassifier(),
            pipeline()[:-1].transform(X)[mine],
            y[mine],
            treatment=np.full(mine.sum(), None) if rank else y[mine],
        ),
        "exposures": lambda: fit_rank(
            LSTMRegressor(loss="poisson", exposure=0),
            np.full((mine.sum(), 2), 1.0 - rank),
            y[mine],
        ),
        "exposure column": lambda: fit_rank(
            LSTMRegressor(loss="poisson", exposure=2),
            np.ones((mine.sum(), 3 - rank)),
            y[mine],
        ),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
        except ValueError as error:
            found[name] = str(error)
    return found


def scores_of_levels(rank=None):
    """Return scores of tests of levels, and what a network does not see.

    The rows are those of a rank, or all.
    """
    found = []
    score = _rare_levels._score

    def recorded(*args):
        found.append(score(*args))
        return found[-1]

    X, y = snapshots(n_stores=20)
    model = make_history_pipeline(LSTMClassifier(**ONE))
    model[:-1].fit(X, y)
    with mock.patch.object(_rare_levels, "_score", recorded):
        if rank is None:
            model[-1].fit(model[:-1].transform(X), y)
        else:
            mine = (X["who"].to_numpy() < 60) == (rank == 0)
            fit_rank(model, X[mine], y[mine])
    return found, model[-1].validation_["left_out"]
