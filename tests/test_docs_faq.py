"""The messages that the FAQ quotes are those of the library."""

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_seqcrm.datasets import make_order_returns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
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
