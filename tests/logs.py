"""Small logs for tests, made in one line."""

import pandas as pd

from sklearn_seqcrm.events import EventLog


def log_of(times, customers="a", *, names=("who", "time"), fields=None, **options):
    """Build a log from times: one customer, or one per event.

    `names` are those of the customer and the time column; `fields` maps further columns
    to values; `options` go to `EventLog`.
    """
    customer, time = names
    table = pd.DataFrame({customer: customers, time: times, **(fields or {})})
    return EventLog(table, customer, time, **options)


def log_of_table(table, **options):
    """Build a log from a table whose first two columns are customer and time."""
    customer, time = table.columns[:2]
    return EventLog(table, customer, time, **options)
