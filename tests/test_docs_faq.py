"""The messages that the FAQ quotes are those of the library."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_order_returns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import churned

PAGE = Path(__file__).parents[1] / "docs" / "faq.md"
ORDERS = make_order_returns(20, random_state=0).orders
LOG = EventLog(ORDERS, "customer_id", "timestamp")
X = LOG.snapshots(["2024-03-01", "2024-06-01"])
ROW = pd.DataFrame({"customer_id": ORDERS["customer_id"].head(1).astype(str)})
ZONED = ROW.assign(day=pd.Timestamp("2024-06-01", tz="UTC"))

FAILURES = {
    "The histories in 'history' are raw events": lambda: LSTMClassifier(
        n_networks=1
    ).fit(X, churned(X, "30D")),
    "A history is not a number": lambda: HistGradientBoostingClassifier().fit(
        X[["history"]], churned(X, "30D")
    ),
    "run past the end of the log": lambda: churned(
        LOG.snapshots(["2024-12-20"]), "30D"
    ),
    "so that no id would match": lambda: LOG.attach(
        ROW.assign(customer_id=1), cutoff="2024-06-01"
    ),
    "are time-zone aware datetimes": lambda: LOG.attach(ZONED, cutoff="day"),
    "must be datetimes or numbers": lambda: EventLog(
        ORDERS.assign(timestamp=ORDERS["timestamp"].astype(str)),
        "customer_id",
        "timestamp",
    ),
    "must be in ISO 8601 where times are text": lambda: LOG.snapshots(["05.12.2024"]),
    "distinct cutoffs": lambda: list(CutoffSplit(5, horizon="30D").split(X)),
    "CutoffSplit needs a horizon": lambda: list(CutoffSplit(2).split(X)),
    "with kinds of events": lambda: churned(X, "30D", kinds="shoes", kind_field="type"),
    "saw in fit": lambda: HistoryEncoder().fit(X).transform(X.drop(columns="history")),
}


def test_each_quoted_message_has_a_case():
    page = PAGE.read_text(encoding="utf-8")
    quoted = re.findall(r"^% A test raises: (.+)$", page, flags=re.MULTILINE)
    assert quoted == list(FAILURES)


@pytest.mark.parametrize("message", FAILURES)
def test_the_message_is_raised(message):
    with pytest.raises((TypeError, ValueError, KeyError), match=re.escape(message)):
        FAILURES[message]()


TREES = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5, random_state=0)
NETWORK = LSTMClassifier(hidden_size=2, max_epochs=1, n_networks=1, random_state=0)


def test_a_chain_fails_on_text():
    if ORDERS["customer_id"].dtype == object:
        pytest.skip("scikit-learn does not convert the objects that pandas 2 has")
    chain = ClassifierChain(make_pipeline(RFMFeatures(amount="price"), TREES))
    with pytest.raises(ValueError, match="could not convert string to float: 'C0"):
        chain.fit(X, churned(X, ["20D", "60D"]))


def test_several_labels_without_a_chain():
    y = churned(X, ["20D", "60D"])
    network = make_history_pipeline(NETWORK).fit(X, y)
    assert network.predict_proba(X).shape == (len(X), 2)
    each = MultiOutputClassifier(make_pipeline(RFMFeatures(amount="price"), TREES)).fit(
        X, y
    )
    for i, label in enumerate(y):
        alone = make_pipeline(RFMFeatures(amount="price"), TREES).fit(X, y[label])
        expected = alone.predict_proba(X)
        np.testing.assert_array_equal(each.predict_proba(X)[i], expected)


def test_chains_of_features_and_of_histories_and_numbers():
    y = churned(X, ["20D", "60D"])
    features = RFMFeatures(amount="price", remainder="drop")
    behind = make_pipeline(features, ClassifierChain(TREES)).fit(X, y)
    expected = behind.predict_proba(X)
    around = ClassifierChain(make_pipeline(RFMFeatures(amount="price"), TREES))
    around.fit(X[["history"]], y)
    np.testing.assert_array_equal(around.predict_proba(X[["history"]]), expected)
    with_age = X[["history"]].assign(age=np.arange(len(X)) % 5)
    networks = ClassifierChain(make_history_pipeline(NETWORK)).fit(with_age, y)
    assert networks.predict_proba(with_age).shape == (len(X), 2)
