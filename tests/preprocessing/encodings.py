"""Small histories and the numbers that their encoding gives."""

import math

import pandas as pd
from numpy.testing import assert_allclose

from sklearn_seqcrm.events import EventLog


def attach(events, cutoff=1000, **options):
    """Return one row per customer of a table with the columns who and time."""
    rows = pd.DataFrame({"who": sorted(set(events["who"]))})
    return EventLog(events, "who", "time").attach(rows, cutoff=cutoff, **options)


def one_customer(**fields):
    """Return a row of one customer with events at the times 0, 1, 2, ..."""
    n = len(next(iter(fields.values())))
    return attach(pd.DataFrame({"who": ["a"] * n, "time": range(n), **fields}))


def encoded(encoder, X, name="history"):
    """Return channels and codes of all visible events, in order."""
    frame = encoder.transform(X)[name].array.to_frame()
    return frame.reset_index(drop=True)


def assert_same_numbers(actual, desired, atol=0):
    """Compare all inputs of a network that encoded histories contain."""
    for one, other in zip(*map(_numbers, (actual, desired)), strict=True):
        assert_allclose(one, other, rtol=0, atol=atol)


def _numbers(array):
    log, rows = array.log, array.rows
    return log.channels, log.codes, log.row_features(rows), rows.start, array.lengths


def quantile(values, share):
    """Return a quantile, by linear interpolation between sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def symlog(values, training):
    """Return the symlog of each value, scaled by the training values."""
    known = [value for value in training if math.isfinite(value)]
    center = quantile(known, 0.5)
    scale = (quantile(known, 0.75) - quantile(known, 0.25)) / 1.349
    z = [(v - center) / scale if math.isfinite(v) else 0.0 for v in values]
    return [math.copysign(math.log1p(abs(one)), one) for one in z]
