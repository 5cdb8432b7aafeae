"""The base of RFMFeatures and HistoryAggregator."""

import pandas as pd
import pytest

from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from tests.logs import log_of_table

NUMBERS = pd.Series([1, 5, 2, 9])
TIMES = {
    "plain numbers": NUMBERS,
    "naive datetimes": pd.Timestamp("2024-01-01") + pd.to_timedelta(NUMBERS, unit="D"),
    "time-zone aware datetimes": (
        pd.Timestamp("2024-01-01", tz="Asia/Tokyo") + pd.to_timedelta(NUMBERS, unit="D")
    ),
}


def rows_with(times):
    events = pd.DataFrame({"who": list("aabb"), "time": TIMES[times], "x": 1.0})
    return log_of_table(events).attach(pd.DataFrame({"who": ["a", "b"]}))


@pytest.mark.parametrize("transformer", [RFMFeatures(), HistoryAggregator()])
def test_a_key_whose_name_is_a_number(transformer):
    """scikit-learn takes no names of several types, and a key is not read."""
    X = rows_with("plain numbers").rename(columns={"who": 0})
    assert transformer.fit(X).feature_names_in_.tolist() == ["history"]
    assert len(transformer.transform(X)) == 2


@pytest.mark.parametrize("transformer", [RFMFeatures(), HistoryAggregator()])
@pytest.mark.parametrize("in_fit", TIMES)
@pytest.mark.parametrize("later", TIMES)
def test_times_of_another_type(transformer, in_fit, later):
    transformer.fit(rows_with(in_fit))
    X = rows_with(later)
    if (in_fit == "plain numbers") == (later == "plain numbers"):
        assert len(transformer.transform(X)) == 2
        return
    message = (
        f"histories in 'history' are {later}, but those that "
        f"{type(transformer).__name__} saw in fit were {in_fit}; build both logs"
    )
    with pytest.raises(ValueError, match=message):
        transformer.transform(X)
