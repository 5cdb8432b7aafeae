"""Training by two executors of Spark, as on the page about distributed training."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.distributed import run_rank
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.spark_sessions import spark_session

pytest.importorskip("pyspark")
# pyspark warns of pandas versions that it does not know yet.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def spark():
    with spark_session() as session:
        yield session


def loader(folder):
    """Return a function that opens the log of a rank."""

    def load(rank, n_ranks):
        import numpy as np
        import pandas as pd

        from sklearn_seqcrm.events import EventLog

        rows = pd.read_pickle(folder / f"rows-{rank}.pkl")
        log = EventLog.open(folder / f"part-{rank}.log")
        return log.attach(rows, cutoff="cutoff"), np.asarray(rows.attrs["target"])

    return load


def test_executors_train_on_logs_on_a_disk(spark, tmp_path):
    from pyspark.ml.torch.distributor import TorchDistributor

    journeys = make_customer_journeys(200, mean_events=8, random_state=0)
    events, rows = journeys.events, journeys.rows
    mine = np.arange(len(rows)) < 90
    for rank, of_rank in enumerate((mine, ~mine)):
        own = rows[of_rank].reset_index(drop=True)
        own.attrs["target"] = np.asarray(journeys.target)[of_rank].tolist()
        own.to_pickle(tmp_path / f"rows-{rank}.pkl")
        part = events[events["customer_id"].isin(own["customer_id"])]
        EventLog(part, "customer_id", "timestamp").to_disk(
            tmp_path / f"part-{rank}.log"
        )
    log = EventLog(events, "customer_id", "timestamp")
    X = log.attach(rows, cutoff="cutoff")
    network = LSTMClassifier(
        hidden_size=8, max_epochs=2, dropout=0.0, random_state=0, n_networks=1
    )
    model = make_history_pipeline(network)
    model[:-1].fit(X)
    distributor = TorchDistributor(num_processes=2, local_mode=False, use_gpu=False)
    fitted = distributor.run(run_rank, model, loader(tmp_path))
    alone = model.fit(X, journeys.target)
    assert_allclose(fitted.predict_proba(X), alone.predict_proba(X), atol=1e-5)
