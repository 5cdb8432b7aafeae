"""Histories and snapshots, computed in the slowest and most obvious way."""

import pandas as pd


def visible(events, customer, cutoff, lookback=None, exact=False):
    """Field x of the events of a customer that a cutoff lets through, in order.

    `events` has the columns customer, time and x; times, cutoff and lookback are
    anything that Python compares and subtracts.
    """
    seen = []
    for event in events.sort_values("time", kind="stable").itertuples():
        before = event.time <= cutoff if exact else event.time < cutoff
        recent = lookback is None or event.time >= cutoff - lookback
        if event.customer == customer and before and recent:
            seen.append(event.x)
    return seen


def snapshot_rows(events, cutoffs, min_events=1, active_within=None, lookback=None):
    """Customer, cutoff and visible x of every row that a snapshot should have."""
    rows = []
    for cutoff in sorted(set(cutoffs)):
        for customer in sorted(events["customer"].unique()):
            everything = visible(events, customer, cutoff)
            recent = visible(events, customer, cutoff, active_within)
            if len(everything) >= min_events and (active_within is None or recent):
                rows.append(
                    (customer, cutoff, visible(events, customer, cutoff, lookback))
                )
    return rows


def histories(X):
    """Field x of every history of a table."""
    return [
        None if history is pd.NA else history.to_frame()["x"].tolist()
        for history in X["history"]
    ]
