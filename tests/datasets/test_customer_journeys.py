import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_customer_journeys

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def data():
    return make_customer_journeys(8000, random_state=0)


def with_rows(data):
    return data.events.merge(data.rows, on="customer_id", validate="many_to_one")


def past_of(data):
    events = with_rows(data)
    return events[events["timestamp"] < events["cutoff"]]


def bag_of_events(data):
    """Return features of histories that do not depend on order, and statics."""
    past = past_of(data)
    past["ago"] = (past["cutoff"] - past["timestamp"]) / DAY
    past["kind"] = past["event"].astype(str)
    by_customer = past.groupby("customer_id")
    by_kind = past.groupby(["customer_id", "kind"])
    tables = [
        by_customer["ago"].agg(["min", "max", "count"]),
        by_kind.size().unstack().add_prefix("n_"),
        by_kind["amount"].sum().unstack().add_prefix("sum_"),
    ]
    for days in [30, 90]:
        past["faded"] = past["amount"] * 0.5 ** (past["ago"] / days)
        faded = past.groupby(["customer_id", "kind"])["faded"].sum().unstack()
        tables.append(faded.add_prefix(f"sum_{days}_"))
    bag = pd.concat(tables, axis=1).reindex(data.rows["customer_id"]).reset_index()
    statics = data.rows[["age", "region"]].astype({"region": "category"})
    return pd.concat([bag.drop(columns="customer_id"), statics], axis=1)


def test_shapes_and_columns(data):
    assert list(data.events) == [
        "customer_id",
        "timestamp",
        "event",
        "amount",
        "channel",
    ]
    assert list(data.rows) == ["customer_id", "cutoff", "age", "region"]
    assert data.rows["customer_id"].is_unique
    assert data.rows["cutoff"].nunique() > 300
    assert set(data.target) == {0, 1}
    assert data.target.shape == data.probability.shape == (8000,)
    has_amount = data.events["event"].isin(["order", "return"])
    assert (data.events["amount"].notna() == has_amount).all()


def test_the_order_of_rows_carries_no_information(data):
    place = np.arange(len(data.events))
    for key in [data.events["timestamp"].rank(), data.events["customer_id"].rank()]:
        assert abs(np.corrcoef(place, key)[0, 1]) < 0.02


def test_times_are_distinct_within_a_customer():
    # Some 400 events on average, to give ties a chance.
    events = make_customer_journeys(500, mean_events=400, random_state=0).events
    assert not events.duplicated(["customer_id", "timestamp"]).any()


def test_lengths_are_log_normal(data):
    ids = data.rows["customer_id"]
    lengths = past_of(data).groupby("customer_id").size().reindex(ids, fill_value=0)
    assert (lengths == 0).sum() >= 160
    assert (lengths == 1).sum() >= 160
    log_lengths = np.log(lengths[lengths > 3])
    assert lengths.mean() == pytest.approx(20 * 0.96, rel=0.05)
    assert log_lengths.median() == pytest.approx(np.log(20) - 0.5, abs=0.15)
    assert lengths.max() > 200
