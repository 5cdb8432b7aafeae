"""Logs, cutoffs and horizons of `futures.py`: an event is a day of a customer."""

from argparse import Namespace
from pathlib import Path

import pandas as pd
from quality.tasks import walmart_days
from value import SPLIT, read_events

from sklearn_seqcrm.datasets import load_complete_journey

# Parts of the customers for whom demand is forecast.
N_PARTS = 100


def cdnow_days(options):
    """Return a log of CDNOW, with an event per customer and day."""
    return read_events(Namespace(data=options.data, sample=None))


def retail_days(options):
    """Return a log of Online Retail II, with an event per customer and day."""
    lines = pd.read_parquet(Path(options.data) / "online_retail_II.parquet")
    lines = lines.dropna(subset=["Customer ID"])
    lines = lines[(lines["Quantity"] > 0) & (lines["Price"] > 0)]
    events = pd.DataFrame(
        {
            "customer": lines["Customer ID"].astype("int64"),
            "day": lines["InvoiceDate"].dt.normalize(),
            "spend": lines["Quantity"] * lines["Price"],
        }
    )
    return events.groupby(["customer", "day"], as_index=False)["spend"].sum()


def journey_days(options):
    """Return a log of Complete Journey, with an event per household and day."""
    lines = journey_lines()
    return lines.groupby(["customer", "day"], as_index=False)["spend"].sum()


def journey_lines():
    """Return the lines of all baskets with their days."""
    lines = load_complete_journey(level="line", time_zone="America/New_York").events
    lines = lines.rename(columns={"household_id": "customer"})
    return lines.assign(day=lines["timestamp"].dt.normalize())


def walmart_third(options):
    """Return days on which an article was sold at Walmart; each third article."""
    events, articles = walmart_days(options.data)
    events = events.rename(columns={"customer_id": "customer"})
    return events[events["customer"].isin(articles["customer_id"][::3])]


# Loader, name in the report, and first cutoff.
CUTOFFS = {
    "cdnow": (cdnow_days, "CDNOW", SPLIT),
    "cdnow_january": (cdnow_days, "CDNOW", pd.Timestamp("1998-01-01")),
    "retail": (retail_days, "Online Retail II", pd.Timestamp("2010-12-06")),
    "retail_march": (retail_days, "Online Retail II", pd.Timestamp("2011-03-07")),
    "retail_june": (retail_days, "Online Retail II", pd.Timestamp("2011-06-06")),
    "journey": (journey_days, "Complete Journey", pd.Timestamp("2017-07-03")),
    "walmart": (walmart_third, "Walmart", pd.Timestamp("2016-01-18")),
}

# Cutoff and horizons in weeks, at most as long as the record. Nearly all households of
# Complete Journey buy within 13 weeks.
ACTIVE = {
    "active_cdnow": ("cdnow", (4, 13, 38)),
    "active_retail_march": ("retail_march", (4, 13, 26)),
    "active_retail": ("retail_june", (4, 13, 26)),
    "active_journey": ("journey", (1, 2, 4)),
    "active_walmart": ("walmart", (1, 2, 4)),
}
