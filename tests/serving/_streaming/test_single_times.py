"""Conversion of single times equals that of tables."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._columns._statics import days_before
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.serving._streaming._statics_row import days_after


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_single_dates_equal_those_of_a_table(unit):
    """Bit-equal: a delay that is constant in training must stay constant."""
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(79_191 * np.arange(40), "s")
    delay = pd.to_timedelta(np.arange(40) % 3, "us") + pd.Timedelta("36h 17min")
    events = pd.DataFrame({"who": "a", "when": when.as_unit(unit)})
    events["sent"] = when.as_unit("us") + delay
    log = EventLog(events, "who", "when")
    clock = log.timeline.clock
    expected = log.column("sent").as_numbers(log.timeline.times, clock)
    found = [
        days_after(sent, int(tick), clock)
        for sent, tick in zip(events["sent"], log.timeline.times, strict=True)
    ]
    assert_array_equal(found, expected)
    cutoffs = pd.DatetimeIndex(events["when"])
    assert_array_equal(-np.array(found), days_before(events["sent"], cutoffs))
