"""Histories that are unlike those of training: a warning."""

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
    r"from more than (9\.\d+|10) days before the cutoff. 100 of 100 rows have much "
)
GROWN = (
    r"In fit, no event in 'history' was more than 14 days before the cutoff of its "
    r"row. The first events of 51 of 100 rows are more than twice as long ago"
)


def purchases():
    """Return a purchase of each of 100 customers on every tenth hour of 40 days."""
    who, hour = (axis.ravel() for axis in np.mgrid[:100, 0 : 24 * 40 : 10])
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(hour + who % 20, unit="h")
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
def test_histories_that_have_grown(transformer):
    """More than half of the rows must be longer, as single customers may be."""
    early = LOG.snapshots([pd.Timestamp("2024-01-15")])
    transformer.fit(early)
    with pytest.warns(UserWarning, match=GROWN):
        transformer.transform(pd.concat([rows()[:51], early[51:]]))
    silently(transformer.transform, pd.concat([rows()[:50], early[50:]]))


@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_silent_customers(transformer):
    """More than a tenth of the rows must be, as single customers come back late."""
    at = pd.Timestamp("2024-02-01")
    transformer.fit(LOG.snapshots([at], active_within="10h"))
    late = LOG.attach(pd.DataFrame({"who": range(11)}), cutoff=at + pd.Timedelta("12D"))
    active = LOG.snapshots([at])
    match = "last event in 'history' was at most 0.4[0-9]* days .* 11 of 100 rows"
    with pytest.warns(UserWarning, match=match):
        transformer.transform(pd.concat([late, active[11:]]))
    silently(transformer.transform, pd.concat([late[:10], active[10:]]))


def test_few_rows():
    """Few rows in fit are no scale, and few rows now may be any customers."""
    early, late = LOG.snapshots([pd.Timestamp("2024-01-15")]), rows()
    encoder = HistoryEncoder()
    for n_fit, n_now in [(99, 100), (100, 9)]:
        silently(encoder.fit(early[:n_fit]).transform, late[:n_now])
    with pytest.warns(UserWarning, match="10 of 10 rows are more than twice"):
        encoder.fit(early).transform(late[:10])


def test_few_partitions():
    """Rows of all partitions are counted."""
    events = purchases()
    parts = [events[events["who"] % 3 == part] for part in range(3)]
    encoder = HistoryEncoder()
    PartitionedLog(parts, "who", "day").snapshots(["2024-01-15"]).fit(encoder)
    with pytest.warns(UserWarning, match="100 of 100 rows are more than twice"):
        encoder.transform(rows())


def test_plain_numbers_may_be_steps():
    events = purchases().drop_duplicates("who")
    events = events.loc[events.index.repeat(60)]
    events["day"] = np.tile(np.arange(60), 100)
    log = EventLog(events, "who", "day")
    encoder = HistoryEncoder().fit(log.snapshots([20]))
    silently(encoder.transform, log.snapshots([60]))
    encoder.fit(log.snapshots([21]))
    with pytest.warns(UserWarning, match="more than 21 before the cutoff"):
        encoder.transform(log.snapshots([60]))


def test_no_events_in_fit():
    empty = LOG.attach(pd.DataFrame({"who": [0, 1]}), cutoff=pd.Timestamp("2023-12-01"))
    aggregator = HistoryAggregator().fit(empty)
    silently(aggregator.transform, rows())


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
