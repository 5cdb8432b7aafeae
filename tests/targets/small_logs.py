"""Logs of a few events whose targets one can count."""

import numpy as np
import pandas as pd

from tests.logs import log_of_table


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
