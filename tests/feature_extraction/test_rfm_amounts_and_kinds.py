"""RFM features: the amount, the kinds of events that count, features without values."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures, _rfm
from sklearn_seqcrm.testing._small_data import make_events, make_rows
from tests.feature_extraction.features import (
    MARKETING,
    ORDERS,
    features_of,
    read_orders,
    small_rows,
)
from tests.logs import log_of, log_of_table

# The amount ---------------------------------------------------------------------------


def log_with_fields(**fields):
    return log_of([1, 2], fields=fields)


@pytest.mark.filterwarnings("error")
def test_sums_of_huge_amounts_are_finite():
    X = log_of([1, 1], fields={"price": [1e308, 1.7e308]}).snapshots([5])
    assert features_of(X).loc[0, "monetary"] == 2e150


@pytest.mark.parametrize(
    ("fields", "amount", "monetary"),
    [
        ({"price": [1.0, 2.0], "shop": ["x", "y"]}, "auto", 1.5),
        ({"paid": [True, False]}, "auto", 0.5),
        ({"price": [1.0, 2.0], "items": [3, 4]}, "items", 3.5),
        ({"price": [1.0, 2.0], "items": [3, 4]}, None, None),
        ({"price": [1.0, 2.0]}, None, None),
        ({"shop": ["x", "y"]}, "auto", None),
        ({}, "auto", None),
    ],
)
def test_amount(fields, amount, monetary):
    X = log_with_fields(**fields).snapshots([5])
    for dialect in ("marketing", "btyd"):
        table = features_of(X, amount=amount, dialect=dialect)
        assert ("monetary" in table) == (monetary is not None)
    if monetary is not None:
        assert features_of(X, amount=amount).loc[0, "monetary"] == monetary


def test_a_number_of_merged_events_is_no_amount():
    log = log_with_fields(price=[1.0, 2.0]).resample(4)
    assert log.fields == ["price", "n_events"]
    X = log.snapshots([9])
    assert features_of(X).loc[0, "monetary"] == 3
    alone = RFMFeatures().fit(log_with_fields(n_events=[1, 2]).snapshots([5]))
    assert alone.amounts_ == {"history": "n_events"}


def test_several_amounts_to_choose_from():
    X = log_with_fields(price=[1.0, 2.0], items=[3, 4]).snapshots([5])
    with pytest.warns(
        UserWarning,
        match=r"no monetary value of 'history'.*2 numeric fields, \['price', 'items'\]"
        r".*RFMFeatures\(amount='price'\), or none by amount=None",
    ):
        table = RFMFeatures().fit_transform(X)
    assert "history__monetary" not in table


def test_the_proposed_amount_has_decimals():
    fields = {"codes": [3, 4], "gone": [np.nan, np.inf], "price": [np.nan, 2.5]}
    with pytest.warns(UserWarning, match=r"RFMFeatures\(amount='price'\)"):
        RFMFeatures().fit(log_with_fields(**fields).snapshots([5]))


@pytest.mark.parametrize(
    ("orders", "options", "n_refunds"),
    [
        # A refund alone; at the time of a purchase; in its period; single events.
        ("a 1 10\na 3 -10\nb 1 5", {}, "1 of the first 3"),
        ("a 1 10\na 1 -10\nb 1 5\nb 2 nan", {}, None),
        ("a 1 10\na 3 -10\nb 1 5", {"moments": 4}, None),
        ("a 1 10\na 3 -10\nb 1 5", {"dialect": "btyd", "period": 4}, None),
        (
            "a 1 10\na 3 -10\nb 1 5\nb 4 -5\nb 6 5\nb 8 1",
            {"dialect": "btyd"},
            "2 of the first 6",
        ),
        ("a 1 10\na 1 -10\nb 1 5", {"moments": False}, "1 of the first 3"),
        # Without an amount; margins, or spending as in a bank account.
        ("a 1 10\na 3 -10\nb 1 5", {"amount": None}, None),
        ("a 1 10\na 3 -10\nb 1 5\nb 2 -1", {}, None),
        ("a 1 -10\na 3 10\nb 1 -5", {}, None),
    ],
)
def test_a_warning_of_refunds(orders, options, n_refunds):
    log = log_of_table(read_orders(orders, dates=False))
    X, rfm = log.snapshots([9]), RFMFeatures(**options)
    if n_refunds is None:
        rfm.fit(X)
        return
    message = f"{n_refunds} purchases in 'history' have negative amounts 'amount'"
    with pytest.warns(UserWarning, match=message):
        rfm.fit(X)
    rfm.transform(X)
    of_kinds = EventLog.concat({"order": log}).snapshots([9])
    features_of(of_kinds, kinds="order", **options)


def test_later_events_are_no_sample_of_refunds(monkeypatch):
    """A log on the disk may be large."""
    monkeypatch.setattr(_rfm, "_FIRST_EVENTS", 3)
    X = log_of_table(read_orders("a 1 10\na 3 -10\nb 1 5\nb 4 -5", dates=False))
    with pytest.warns(UserWarning, match="1 of the first 3 purchases"):
        RFMFeatures().fit(X.snapshots([9]))


def test_refunds_of_another_kind_need_no_warning():
    orders = log_of_table(read_orders("a 1 10\nb 1 5", dates=False))
    refunds = log_of_table(read_orders("a 3 -10", dates=False))
    X = EventLog.concat({"order": orders, "refund": refunds}).snapshots([9])
    with pytest.warns(UserWarning, match="kinds") as caught:
        RFMFeatures().fit(X)
    assert len(caught) == 1
    assert "refunds have" not in str(caught[0].message)
    alone = features_of(X, kinds="order")
    assert alone[MARKETING].to_numpy().tolist() == [[8, 1, 10, 8], [8, 1, 5, 8]]
    both = features_of(X, kinds=["order", "refund"])
    assert both[MARKETING].to_numpy().tolist() == [[6, 2, 0, 8], [8, 1, 5, 8]]


def test_no_such_amount():
    X = log_with_fields(price=[1, 2], shop=["x", "y"]).snapshots([5])
    with pytest.raises(
        ValueError, match=r"'history' have no field 'cost'.*'price', 'shop'"
    ):
        RFMFeatures("cost").fit(X)
    with pytest.raises(TypeError, match=r"'shop' of .* 'history' is categorical"):
        RFMFeatures("shop").fit(X)
    X = log_with_fields(vector=[[1.0, 2.0], [3.0, 4.0]]).snapshots([5])
    with pytest.raises(TypeError, match="is vector, but a monetary value"):
        RFMFeatures("vector").fit(X)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"cost": [1, 2]}, ValueError,
         r"lack the field 'price' .*they have \['cost'\]\. Build their log with it"),
        ({"price": ["low", "high"]}, TypeError,
         r"'price' .* is categorical, but was numeric in fit; give it that type"),
    ],
)  # fmt: skip
def test_another_amount_in_transform(fields, error, message):
    rfm = RFMFeatures().fit(log_with_fields(price=[1, 2]).snapshots([5]))
    with pytest.raises(error, match=message):
        rfm.transform(log_with_fields(**fields).snapshots([5]))


def test_an_amount_without_a_value_in_transform():
    rfm = RFMFeatures().fit(log_with_fields(price=[1, 2]).snapshots([5]))
    found = rfm.transform(log_with_fields(price=[None, None]).snapshots([5]))
    assert np.isnan(found["history__monetary"]).all()
    assert found["history__frequency"].tolist() == [2]


def test_several_history_columns():
    orders = log_with_fields(price=[1, 2])
    visits = log_with_fields(page=["x", "y"])
    rows = pd.DataFrame({"who": ["a"]})
    X = orders.attach(rows, cutoff=5, name="orders")
    X = visits.attach(X, cutoff=2, name="visits")
    for amount in ("auto", "price"):
        rfm = RFMFeatures(amount).fit(X)
        assert rfm.amounts_ == {"orders": "price", "visits": None}
        assert rfm.transform(X).loc[0].to_dict() == {
            "orders__recency": 3,
            "orders__frequency": 2,
            "orders__monetary": 1.5,
            "orders__tenure": 4,
            "visits__recency": 1,
            "visits__frequency": 1,
            "visits__tenure": 1,
        }
    with pytest.raises(ValueError, match="'orders' have no field 'cost'"):
        RFMFeatures("cost").fit(X)


# Kinds --------------------------------------------------------------------------------


def shop_rows(**options):
    events = pd.DataFrame(
        {
            "id": list("aaaabbc"),
            "time": [1, 2, 3, 6, 4, 8, 5],
            "event": ["order", "click", "order", None, "click", "order", "return"],
            "amount": [10.0, np.nan, 30.0, 7.0, np.nan, 5.0, 8.0],
        }
    )
    log = log_of_table(events)
    return log.attach(pd.DataFrame({"id": list("cabbe")}), cutoff=8, **options)


def test_only_some_kinds_count():
    rows = features_of(shop_rows(), kinds="order")
    assert_array_equal(rows["frequency"], [0, 2, 0, 0, 0])
    assert_array_equal(rows["recency"], [np.nan, 5, np.nan, np.nan, np.nan])
    assert_array_equal(rows["tenure"], [np.nan, 7, np.nan, np.nan, np.nan])
    assert_array_equal(rows["monetary"], [np.nan, 20, np.nan, np.nan, np.nan])
    both = features_of(shop_rows(), kinds=["click", "return"])
    assert_array_equal(both["frequency"], [1, 1, 1, 1, 0])
    with_cutoff = features_of(shop_rows(allow_exact_matches=True), kinds="order")
    assert_array_equal(with_cutoff["frequency"], [0, 2, 1, 1, 0])


@pytest.mark.parametrize("dialect", ["marketing", "btyd"])
@pytest.mark.parametrize("lookback", [None, "200D"])
def test_kinds_are_a_log_of_these_kinds(dialect, lookback):
    events, rows = make_events(), make_rows()
    some = events[events["kind"].isin(["order", "return"])]
    tables = []
    for table in (events, some):
        log = EventLog(table, "who", "when")
        X = log.attach(rows, cutoff="at", lookback=lookback)
        tables.append(X.assign(history=X["history"].where(np.arange(len(X)) != 3)))
    options = {"amount": "amount", "dialect": dialect}
    found = RFMFeatures(kinds=["order", "return"], kind_field="kind", **options)
    assert_frame_equal(
        found.fit_transform(tables[0]), RFMFeatures(**options).fit_transform(tables[1])
    )


def test_a_kind_that_is_a_number():
    """As in targets and snapshots."""
    log = log_of([1, 2, 3], fields={"event": [1, 2, 1]}, categorical=["event"])
    X = log.snapshots([9], kinds=1)
    assert features_of(X, kinds=1)["frequency"].tolist() == [2]
    assert features_of(X, kinds=[1, 2])["frequency"].tolist() == [3]


def test_kinds_that_no_row_of_a_file_sees(tmp_path):
    """A file has the events that rows see, and only their kinds."""
    orders = log_of([1, 2, 3], list("aab"), fields={"amount": [1.0, 2, 3]})
    merged = EventLog.concat({"order": orders, "return": log_of([7])}, observed_until=9)
    single = log_of([1, 2, 3], list("aab"), fields={"event": ["order"] * 3})
    for log, cutoff in ((merged, 5), (merged, 0), (single, 0)):
        X = log.attach(pd.DataFrame({"who": list("ab")}), cutoff=cutoff)
        X.to_parquet(tmp_path / "rows.parquet")
        again = pd.read_parquet(tmp_path / "rows.parquet")
        kinds = ["order", "return"] if log is merged else "order"
        expected = features_of(X, kinds=kinds)
        assert_frame_equal(features_of(again, kinds=kinds), expected)
    with pytest.raises(ValueError, match="kinds is empty"):
        features_of(again, kinds=[])


def test_kinds_of_one_of_two_logs():
    visits = pd.DataFrame({"id": list("abb"), "time": [1, 2, 3]})
    X = EventLog(visits, "id", "time").attach(shop_rows(), cutoff=8, name="visits")
    features = RFMFeatures(kinds="order", remainder="drop").fit_transform(X)
    assert features["history__frequency"].tolist() == [0, 2, 0, 0, 0]
    assert features["visits__frequency"].tolist() == [0, 1, 2, 2, 0]


def test_a_kind_that_is_absent_after_fit():
    model = RFMFeatures(kinds="return", remainder="drop").fit(shop_rows())
    order = {"id": ["a"], "time": [1], "event": ["order"], "amount": [1.0]}
    log = EventLog(pd.DataFrame(order), "id", "time")
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=8)
    assert model.transform(X)["history__frequency"].tolist() == [0]


@pytest.mark.parametrize("dialect", ["marketing", "btyd"])
@pytest.mark.parametrize("kinds", ["order", ["order", "click"]])
def test_a_merged_log_without_the_kind_that_has_the_amount(dialect, kinds):
    """Amounts are missing there, as `HistoryAggregator` treats them."""
    tables = {
        "order": pd.DataFrame({"id": list("aab"), "time": [1, 4, 2], "amount": 3.0}),
        "click": pd.DataFrame({"id": list("aab"), "time": [2, 6, 5], "page": "x"}),
    }
    logs = {kind: EventLog(table, "id", "time") for kind, table in tables.items()}
    model = RFMFeatures("amount", kinds=kinds, dialect=dialect, remainder="drop").fit(
        EventLog.concat(logs, observed_until=8).snapshots([8])
    )
    clicks = EventLog.concat({"click": logs["click"]}, observed_until=8).snapshots([8])
    found = model.transform(clicks)
    frequency = {"marketing": [2, 1], "btyd": [1, 0]}[dialect]
    assert found["history__frequency"].tolist() == (
        [0, 0] if kinds == "order" else frequency
    )
    # In the dialect "btyd", customers without a repeat have the monetary value 0.
    has_no_repeat = (found["history__frequency"] == 0) & (kinds != "order")
    expected = np.where(has_no_repeat, 0, np.nan)
    assert_array_equal(found["history__monetary"], expected)
    with pytest.raises(ValueError, match="lack the field 'event' that they had"):
        model.transform(logs["click"].snapshots([8]))


def scored_with(**fields):
    """Score rows of another log by a model of orders."""
    model = RFMFeatures("amount", kinds="order", remainder="drop").fit(shop_rows())
    return model.transform(log_with_fields(amount=[1, 2], **fields).snapshots([8]))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, ValueError, r"lack the field 'event' .*they have \['amount'\]\. Build"),
        ({"event": [1, 2]}, TypeError, "'event' .* is numeric, but was categorical"),
        (
            {"event": pd.Categorical([1, 2])},
            TypeError,
            r"is categorical \(numbers\), but",
        ),
    ],
)
def test_another_log_without_kinds_is_refused(fields, error, message):
    """All of its events counted, or an AssertionError had no text."""
    with pytest.raises(error, match=message):
        scored_with(**fields)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_kinds_count_nothing(missing):
    found = scored_with(event=[missing, missing])
    assert found["history__frequency"].tolist() == [0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kinds": "gift"}, ValueError, r"no events of the kinds \['gift'\]"),
        ({"kinds": []}, ValueError, "kinds is empty; field 'event' has"),
        ({"kinds": "order", "kind_field": "type"}, KeyError, "no field 'type'"),
        ({"kinds": "order", "kind_field": "amount"}, ValueError, "'amount' is numeric"),
        ({"kinds": 3}, ValueError, r"no events of the kinds \[3\]"),
        ({"kinds": iter(["order"])}, ValueError, "'kinds' .* must be"),
    ],
)
def test_bad_kinds(options, error, message):
    with pytest.raises(error, match=message):
        RFMFeatures(**options).fit(shop_rows())


# Features without values --------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["marketing", "btyd"])
def test_features_that_no_training_row_has_are_left_out(dialect):
    """Trees refuse columns without a value, and no estimator can learn from them."""
    orders = read_orders(ORDERS)
    rows = pd.DataFrame({"id": list("abce")})
    before = log_of_table(orders).attach(rows, cutoff=pd.Timestamp("2023-12-01"))
    rfm = RFMFeatures(dialect=dialect)
    expected = pd.DataFrame({"history__frequency": np.zeros(4)})
    assert_frame_equal(rfm.fit_transform(before), expected)
    model = make_pipeline(rfm, HistGradientBoostingClassifier())
    assert model.fit(before, [0, 1, 0, 1]).predict_proba(small_rows()).shape == (4, 2)
    # Orders whose amounts are all missing have no monetary value.
    without = log_of_table(orders.assign(amount=np.nan))
    X = without.attach(rows, cutoff=pd.Timestamp("2024-01-11"))
    assert list(RFMFeatures("amount").fit_transform(X)) == [
        "history__recency",
        "history__frequency",
        "history__tenure",
    ]
    # With one of two histories empty, only its features are left out.
    X = small_rows()
    X["later"] = before["history"]
    names = RFMFeatures(dialect=dialect, remainder="drop").fit(X)
    assert names.get_feature_names_out().tolist() == [
        *(f"history__{name}" for name in MARKETING),
        "later__frequency",
    ]
