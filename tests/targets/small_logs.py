"""Logs of a few events whose targets one can count, and all targets."""

import numpy as np
import pandas as pd

from sklearn_seqcrm import targets
from tests.logs import log_of_table

# Functions and arguments for `shop_log`; a new target needs an entry.
TARGETS = {
    "churned": (targets.churned, {"horizon": "4D"}),
    "future_count": (targets.future_count, {"horizon": "4D"}),
    "future_sum": (targets.future_sum, {"field": "price", "horizon": "4D"}),
    "next_value": (targets.next_value, {"field": "price", "horizon": "4D"}),
    "time_to_next": (targets.time_to_next, {"horizon": "4D"}),
}


def days(*numbers):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(list(numbers), unit="D")


def small_log(**options):
    events = pd.DataFrame({"id": list("aaab"), "day": days(0, 4, 9, 2)})
    return log_of_table(events, **options)


def shop_log():
    """Orders, returns and clicks of two customers, over two weeks."""
    events = pd.DataFrame(
        {
            "id": list("aaaaabb"),
            "day": days(0, 3, 3, 5, 8, 1, 6),
            "event": ["order", "click", "order", "return", "order", "order", "click"],
            "price": [10.0, np.nan, 4.0, np.nan, 6.0, np.inf, np.nan],
            "size": pd.Categorical([None, "L", "M", "S", "M", "L", "M"]),
        }
    )
    return log_of_table(events, observed_until=days(13)[0])
