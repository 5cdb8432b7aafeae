"""Searches and scores on the workers of Dask, which are processes of their own."""

import itertools
import os
import pickle
import signal
import socket

import joblib
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm.distributed import run_rank
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.partitions import PartitionedLog, load_rows
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import predict_partition
from sklearn_seqcrm.targets import churned
from sklearn_seqcrm.testing._small_data import make_events
from tests.partitions.random_tables import N_TABLES, check_case, random_case

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

EVENTS = make_events(300, mean_events=30)
UNTIL = "2025-01-01"
STEPS = [1, 2]


@pytest.fixture
def client():
    """Start two workers for each test: some tests kill one."""
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    # A peer-to-peer shuffle that loses a worker starts again, and fails if a slow
    # machine loses another one meanwhile; single tasks are only repeated.
    slow = {
        "dataframe.shuffle.method": "tasks",
        "distributed.scheduler.allowed-failures": 10,
    }
    with (
        dask.config.set(slow),
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        # It would delete unused copies, until a worker is lost.
        client.amm.stop()
        yield client


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "log"
    log = EventLog(EVENTS, "who", "when", observed_until=UNTIL)
    log.to_disk(path)
    return {"memory": log, "disk": EventLog.open(path)}


def rows_and_target(log):
    X = log.snapshots(["2023-06-01", "2024-06-01"])[["history"]]
    return X, np.arange(len(X)) % 2


def search(first=None, cv=4):
    trees = HistGradientBoostingClassifier(min_samples_leaf=5)
    model = make_pipeline(first, RFMFeatures(remainder="drop"), trees)
    grid = {"histgradientboostingclassifier__max_iter": STEPS}
    return GridSearchCV(model, grid, cv=cv, refit=False)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_search_sends_the_rows_to_each_worker_at_most_once(
    where, client, logs, monkeypatch
):
    tcp = distributed.comm.tcp.TCP
    sent, write = [], tcp.write

    async def counted(self, *args, **kwargs):
        sent.append(await write(self, *args, **kwargs))
        return sent[-1]

    X, y = rows_and_target(logs[where])
    expected = search().fit(X, y).cv_results_["mean_test_score"]
    monkeypatch.setattr(tcp, "write", counted)
    with joblib.parallel_config("dask"):
        found = search().fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found, expected)
    # To the scheduler and from there to two workers, and not once for each of 8 fits.
    rows = len(pickle.dumps((X, y)))
    assert sum(sent) < 3 * rows + 30 * 8 * 1000
    assert rows > (200_000 if where == "memory" else 15_000)


def killer(killed):
    """A function of X that kills its process if none has been killed before."""

    def kill_once(X):
        try:
            killed.touch(exist_ok=False)  # by one process, if two come here at a time
        except FileExistsError:
            return X
        os.kill(os.getpid(), signal.SIGKILL)

    return kill_once


def test_a_search_is_whole_although_a_worker_was_killed(client, logs, tmp_path):
    """Scatter all data, folds included, so that each worker has a copy."""
    X, y = rows_and_target(logs["disk"])
    folds = list(KFold(4).split(X))
    expected = search().set_params(cv=folds).fit(X, y)
    killing = search(FunctionTransformer(killer(tmp_path / "killed")), cv=folds)
    everywhere = [X, y, *itertools.chain(*folds)]
    with joblib.parallel_config("dask", scatter=everywhere):
        killing.fit(X, y)
    assert (tmp_path / "killed").exists()
    np.testing.assert_array_equal(
        killing.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


def test_a_comparison_is_whole_although_a_worker_was_killed(client, logs, tmp_path):
    X, y = rows_and_target(logs["disk"])
    kill_once = killer(tmp_path / "killed")

    def model(strategy):
        dummy = DummyClassifier(strategy=strategy, random_state=0)
        return make_pipeline(FunctionTransformer(kill_once), dummy)

    models = {name: model(name) for name in ("prior", "stratified", "uniform")}
    options = {"cv": 2, "scoring": "roc_auc", "n_resamples": 5}
    with joblib.parallel_config("dask", scatter=[X, y]):
        found = compare_models(models, X, y, **options)
    assert (tmp_path / "killed").exists()
    expected = compare_models(models, X, y, **options)
    assert_frame_equal(found.scores, expected.scores)


def test_partitions_are_scored_although_a_worker_was_killed(client, logs, tmp_path):
    X, y = rows_and_target(logs["memory"])
    model = search().set_params(refit=True).fit(X, y)
    killed = tmp_path / "killed"

    def score(events):
        if len(events) and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return predict_partition(
            events,
            model=model,
            customer="who",
            time="when",
            cutoff=UNTIL,
            observed_until=UNTIL,
        )

    events = EVENTS[["who", "when", "amount"]]
    table = dd.from_pandas(events, npartitions=4).shuffle("who", npartitions=3)
    killed.touch()
    meta = score(events[:0])
    expected = score(events)
    killed.unlink()
    found = table.map_partitions(score, meta=meta).compute()
    assert killed.exists()
    found = found.astype(expected.dtypes).sort_values("who", ignore_index=True)
    assert_frame_equal(found, expected)


# Of Dask, where it joins tables of a hundred columns.
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize("seed", range(N_TABLES or 10))
def test_random_tables_by_partition_equal_one_process(seed):
    """Three partitions, of which some may have no event of a kind, or none at all."""
    case = random_case(seed)
    # One type for each column, as a table of Dask has.
    table = pd.concat(case.parts, ignore_index=True)
    table = table.astype({"flag": "boolean"})  # Dask makes text of objects
    events = dd.from_pandas(table, npartitions=3, sort=False)
    with dask.config.set(scheduler="synchronous"):
        statics = dd.from_pandas(case.statics, npartitions=2)
        check_case(case, events, statics, lambda table: table.compute())


NUMBERED = pd.DataFrame(
    {"who": np.arange(90) % 30, "day": np.arange(90) / 3, "shop": list("abcxyz") * 15}
)


def numbered_rows(statics=None, **changes):
    """Return rows of a table whose customers are numbers."""
    events = dd.from_pandas(NUMBERED.assign(**changes), npartitions=3, sort=False)
    return PartitionedLog(events, "who", "day").snapshots([20], statics=statics)


def test_types_hold_the_values_of_all_partitions():
    with dask.config.set(scheduler="synchronous"):
        rows = numbered_rows()
        people = pd.DataFrame({"who": np.arange(30), "age": np.arange(30)})
        text = rows.map(lambda X: pd.Series(pd.Categorical("c" + X["who"].astype(str))))
        text = text.compute()
        assert text["0"].tolist() == ["c" + str(one) for one in text["who"]]
        rows = numbered_rows(people[people["who"] != 7])
        ages = rows.map(lambda X: X["age"]).compute()
        assert ages["age"].isna().sum() == 1
        assert (ages["age"] == ages["who"]).sum() == 29
        with pytest.raises(TypeError, match="A list of tables needs a list of events"):
            numbered_rows([people])
        halves = rows.map(lambda X: X["age"] / 2, meta=people[["age"]])
        with pytest.raises(TypeError, match="Column 'age' has the type float64"):
            halves.compute()


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.arange(30) + 0.5, ValueError, "customer 0.5 .* does not fit"),
        (np.arange(30).astype(str), TypeError, "no id would match"),
        (np.where(np.arange(30) == 3, np.nan, np.arange(30)), ValueError, "missing"),
    ],
)
def test_ids_of_another_type_are_refused(ids, error, message):
    people = pd.DataFrame({"who": ids, "age": 1})
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(error, match=message),
    ):
        numbered_rows(people).counts()


def test_ids_of_equal_value_match():
    people = pd.DataFrame({"who": np.arange(30), "age": 1})
    with dask.config.set(scheduler="synchronous"):
        rows = numbered_rows(people.assign(who=people["who"].astype(float)))
        assert rows.counts()["n_unmatched"].sum() == 0
        who = "c" + NUMBERED["who"].astype(str)
        levels = pd.DataFrame({"who": pd.Categorical(who.unique()), "age": 1})
        for own in (who, who.astype("category")):
            counts = numbered_rows(levels, who=own).counts()
            assert counts["n_unmatched"].sum() == 0
            assert counts["n_customers"].sum() == 30


def test_an_encoder_is_fitted_although_a_worker_was_killed(client, tmp_path):
    killed = tmp_path / "killed"
    events = EVENTS[["who", "when", "amount", "kind"]]

    table = dd.from_pandas(events, npartitions=4)
    table = table.map_partitions(killer(killed), meta=events[:0])
    rows = PartitionedLog(table, "who", "when", observed_until=UNTIL).snapshots(
        ["2023-06-01", "2024-06-01"]
    )
    assert killed.exists()
    found = rows.fit(HistoryEncoder())
    X = EventLog(events, "who", "when", observed_until=UNTIL).snapshots(
        ["2023-06-01", "2024-06-01"]
    )
    expected = HistoryEncoder().fit(X)
    assert found.layouts_["history"].channels == expected.layouts_["history"].channels
    # The rows of each partition, for two training processes.
    rows.to_disk(tmp_path / "rows", y=lambda X: churned(X, "30D"))
    parts = [load_rows(tmp_path / "rows", rank, 2) for rank in range(2)]
    customers = [set(X["who"]) for X, _ in parts]
    assert not customers[0] & customers[1]
    assert sum(len(X) for X, _ in parts) == len(X)
    y = pd.concat([y for _, y in parts])
    assert y.sum() == churned(X, "30D").sum()


def free_address():
    """Return where ranks can meet on the machine of a worker."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{one.getsockname()[1]}"


def load_half(rank, n_ranks):
    """Return the rows of a rank."""
    X, y = rows_and_target(EventLog(EVENTS, "who", "when", observed_until=UNTIL))
    customers = pd.factorize(np.asarray(X["history"].array.customers))[0]
    mine = (customers < 120) == (rank == 0)
    return X[mine], y[mine]


def test_workers_train_one_network(client):
    X, _ = load_half(0, 1)
    model = make_history_pipeline(
        LSTMClassifier(hidden_size=8, max_epochs=1, random_state=0, n_networks=1)
    )
    model[:-1].fit(X)
    workers = list(client.scheduler_info()["workers"])
    meet = client.submit(free_address, workers=workers[:1], pure=False).result()
    ranks = [
        client.submit(
            run_rank,
            model,
            load_half,
            rank=i,
            n_ranks=len(workers),
            init_method=meet,
            timeout=60.0,
            workers=[worker],
            pure=False,
        )
        for i, worker in enumerate(workers)
    ]
    first, second = (one.predict_proba(X) for one in client.gather(ranks))
    np.testing.assert_array_equal(first, second)


def test_the_sample_may_have_narrower_ids_than_other_partitions():
    """Ids from 2**63 on do not fit the int64 of a sample of lower ones."""
    ids = np.array([2**62 + i for i in range(9)] + [2**63 + 5], dtype="uint64")
    table = pd.DataFrame({"who": np.repeat(ids, 2), "day": np.tile([1, 2], 10)})
    for n in (5, 10, 20):
        log = PartitionedLog(dd.from_pandas(table, npartitions=n), "who", "day")
        rows = log.snapshots([5])
        found = rows.map(lambda X: X["history"].array.lengths).compute()
        assert found["who"].dtype == "uint64"
        assert sorted(found["who"].tolist()) == ids.tolist()
        assert set(found["0"]) == {2}
