"""Features of a table with one history column, and small orders to check by eye."""

from functools import partial

import numpy as np
import pandas as pd

from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from tests.logs import log_of_table

# With the default, small tables would lose most columns.
Aggregator = partial(HistoryAggregator, min_rows=0)


def aggregates(X, **options):
    """Return the aggregates of one history column, without its name."""
    model = Aggregator(remainder="drop", **options)
    table = model.fit_transform(X)
    return table.rename(columns=lambda name: name.removeprefix("history__"))


def features_of(X, **options):
    table = RFMFeatures(remainder="drop", **options).fit_transform(X)
    return table.rename(columns=lambda name: name.removeprefix("history__"))


MARKETING = ["recency", "frequency", "monetary", "tenure"]

ORDERS = """
a 2024-01-01 10
a 2024-01-05 40
a 2024-01-05 70
b 2024-01-09 5
c 2024-01-11 8
"""


def read_orders(text, dates=True):
    """Parse lines of customer, time and amount."""
    parts = [line.split() for line in text.strip().splitlines()]
    orders = pd.DataFrame(parts, columns=["id", "time", "amount"])
    orders["amount"] = orders["amount"].astype(float)
    orders["time"] = (
        pd.to_datetime(orders["time"]) if dates else orders["time"].astype(int)
    )
    return orders


def small_rows(**options):
    log = log_of_table(read_orders(ORDERS))
    rows = pd.DataFrame(
        {
            "id": list("abce"),
            "age": [40.5, 20.0, np.nan, 30.0],
            "city": ["X", "Y", "X", None],
        }
    )
    return log.attach(rows, cutoff=pd.Timestamp("2024-01-11"), **options)
