"""A small event model and its rows. Test files with other rows have their own."""

import numpy as np
import pytest

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table


@pytest.fixture(scope="session", name="X")
def rows():
    return make_table(30)


@pytest.fixture(scope="session")
def model(X):
    return LSTMEventModel(hidden_size=6, max_epochs=2, random_state=0).fit(X)


@pytest.fixture(scope="session")
def merged():
    """Return rows of a log of orders with an amount and visits with a page."""
    events = make_events(30)
    orders = events.loc[np.isfinite(events["amount"]), ["who", "when", "amount"]]
    visits = events[["who", "when", "due"]].assign(page=events["kind"].fillna("none"))
    log = EventLog.concat(
        {
            "order": EventLog(orders, "who", "when"),
            "visit": EventLog(visits, "who", "when"),
        },
        kind_field="event",
    )
    return log.attach(make_rows(30), cutoff="at")
