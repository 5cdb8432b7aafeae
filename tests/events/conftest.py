import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog


@pytest.fixture
def events():
    """Six orders of three customers, in no order; the field x tells them apart."""
    return pd.DataFrame(
        {
            "customer": ["bob", "ann", "ann", "eve", "bob", "ann"],
            "day": pd.to_datetime(
                [
                    "2024-03-01",
                    "2024-01-05",
                    "2024-01-01",
                    "2024-02-01",
                    "2024-01-01",
                    "2024-01-09",
                ]
            ).as_unit("us"),
            "x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )


@pytest.fixture
def log(events):
    return EventLog(events, customer="customer", time="day")
