"""Histories longer than the lookback of training: a warning."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions import PartitionedLog
from sklearn_seqcrm.preprocessing import HistoryEncoder

TRANSFORMERS = [HistoryEncoder(), HistoryAggregator(), RFMFeatures(amount="price")]
LONGER = (
    r"The histories in 'history' were cut off by a lookback in fit, and had no event "
    r"from more than (9\.\d+|10) days before the cutoff. 20 of 20 rows have much older"
)


def purchases():
    """Return a purchase of each of 20 customers on every tenth hour of 40 days."""
    who, hour = (axis.ravel() for axis in np.mgrid[:20, 0 : 24 * 40 : 10])
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(hour + who, unit="h")
    return pd.DataFrame({"who": who, "day": day, "price": 1.0 + who})


LOG = EventLog(purchases(), "who", "day")
CUTOFFS = pd.to_datetime(["2024-01-25", "2024-02-04"])


def rows(**options):
    return LOG.snapshots(CUTOFFS[-1:], **options)


def silently(call, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*args)


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_longer_histories_than_in_fit(transformer):
    silently(transformer.fit, LOG.snapshots(CUTOFFS, lookback="10D"))
    silently(transformer.transform, rows(lookback="10D"))
    silently(transformer.transform, rows(lookback="5D"))
    with pytest.warns(UserWarning, match=LONGER):
        transformer.transform(rows())


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_histories_that_grow(transformer):
    """Without a lookback in fit, or with one that cuts nothing off."""
    for lookback in (None, "300D"):
        silently(transformer.fit, LOG.snapshots(CUTOFFS[:1], lookback=lookback))
        silently(transformer.transform, rows())


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_fit_on_partitions(transformer):
    events = purchases()
    parts = [events[events["who"] % 3 == part] for part in range(3)]
    log = PartitionedLog(parts, "who", "day")
    log.snapshots(CUTOFFS, lookback="10D").fit(transformer)
    silently(transformer.transform, rows(lookback="10D"))
    with pytest.warns(UserWarning, match=LONGER):
        transformer.transform(rows())


def test_numbers_as_times_and_another_unit():
    events = purchases()
    events["day"] = (events["day"] - pd.Timestamp("2024-01-01")) / pd.Timedelta("1D")
    log = EventLog(events, "who", "day")
    encoder = HistoryEncoder().fit(log.snapshots([24, 34], lookback=10))
    silently(encoder.transform, log.snapshots([34], lookback=10))
    with pytest.warns(UserWarning, match="more than (9.[0-9]+|10) before the cutoff"):
        encoder.transform(log.snapshots([34]))
    encoder = HistoryEncoder().fit(LOG.snapshots(CUTOFFS, lookback="10D"))
    seconds = purchases().astype({"day": "datetime64[s]"})
    other = EventLog(seconds, "who", "day")
    silently(encoder.transform, other.snapshots(CUTOFFS, lookback="10D"))
    with pytest.warns(UserWarning, match="more than (9.[0-9]+|10) days before"):
        encoder.transform(other.snapshots(CUTOFFS))
