import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline, make_union

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
    make_table,
    make_y,
)
from tests.feature_extraction.features import Aggregator, aggregates
from tests.logs import log_of, log_of_table

RARE = "infrequent_sklearn"


# By eye -------------------------------------------------------------------------------

ORDERS = pd.DataFrame(
    [
        ("ann", "2024-01-01", 10.0, "tea"),
        ("ann", "2024-03-01", 20.0, "tea"),
        ("ann", "2024-03-01", 30.0, None),
        ("ann", "2024-03-25", np.nan, "mug"),
        ("bob", "2024-03-30", 8.0, "mug"),
        ("bob", "2024-03-31", 8.0, "tea"),
        ("cleo", "2024-03-31", 7.0, "pot"),
    ],
    columns=["who", "day", "spend", "product"],
).astype({"day": "datetime64[s]"})
LOG = log_of_table(ORDERS)
PEOPLE = pd.DataFrame({"who": ["ann", "bob", "cleo", "dan"], "age": [40, 30, 20, 50]})


def test_by_eye():
    X = LOG.attach(PEOPLE, cutoff="2024-03-31")
    found = aggregates(X, lookbacks=["30D"], half_lives=["15D"]).astype(object)
    nan = np.nan
    # cleo has her first event at the cutoff, which is the future, and dan has none.
    expected = {
        "recency": [6, 1, nan, nan],
        "tenure": [90, 1, nan, nan],
        "n_events": [4, 1, 0, 0],
        "n_events_30D": [3, 1, 0, 0],
        "n_moments": [3, 1, 0, 0],
        "n_moments_30D": [2, 1, 0, 0],
        "active_days": [3, 1, 0, 0],
        "active_days_30D": [2, 1, 0, 0],
        # 3 in 30 days, and 1 in the 60 before: .1 and 1/60 a day
        "n_events_trend_30D": [5 / 7, nan, nan, nan],
        "n_moments_trend_30D": [3 / 5, nan, nan, nan],
        "n_events_decayed_15D": [
            2**-6 + 2 * 2**-2 + 2 ** (-6 / 15), 2 ** (-1 / 15), 0, 0
        ],
        "interarrival_mean": [42, nan, nan, nan],
        "interarrival_std": [18 * 2**0.5, nan, nan, nan],
        "interarrival_max": [60, nan, nan, nan],
        "interarrival_last": [24, nan, nan, nan],
        "interarrivals_since_last": [1 / 7, nan, nan, nan],
        "spend_sum": [60, 8, 0, 0],
        "spend_sum_30D": [50, 8, 0, 0],
        "spend_mean": [20, 8, nan, nan],
        "spend_mean_30D": [25, 8, nan, nan],
        "spend_std": [10, nan, nan, nan],
        "spend_std_30D": [50**0.5, nan, nan, nan],
        "spend_min": [10, 8, nan, nan],
        "spend_min_30D": [20, 8, nan, nan],
        "spend_max": [30, 8, nan, nan],
        "spend_max_30D": [30, 8, nan, nan],
        "spend_last": [30, 8, nan, nan],
        # 50 in 30 days and 10 in the 60 before
        "spend_trend_30D": [9 / 11, nan, nan, nan],
        # Two lines of 1 March are one order of 50; that of 25 March has no number.
        "spend_moment_mean": [30, 8, nan, nan],
        "spend_moment_last": [50, 8, nan, nan],
        "spend_decayed_sum_15D": [
            10 * 2**-6 + 50 * 2**-2, 8 * 2 ** (-1 / 15), 0, 0
        ],
        "product_n_levels": [2, 1, 0, 0],
        "product_n_levels_30D": [2, 1, 0, 0],
        "product=mug_share": [1 / 3, 1, nan, nan],
        "product=mug_share_30D": [1 / 2, 1, nan, nan],
        "product=mug_since_last": [6, 1, nan, nan],
        "product_last": ["mug", "mug", nan, nan],
    }  # fmt: skip
    # In the visible events two customers have bought a mug, and only ann tea.
    assert found.columns.tolist() == list(expected)
    assert_frame_equal(
        found, pd.DataFrame(expected, dtype=object), check_dtype=False, rtol=1e-12
    )


def test_events_at_the_cutoff_against_those_before():
    X = LOG.attach(PEOPLE, cutoff="2024-03-31", allow_exact_matches=True)
    found = aggregates(X, lookbacks=None, half_lives=None)
    assert_array_equal(found["n_events_now"], [0, 1, 1, 0])
    assert_array_equal(found["recency"], [6, 0, 0, np.nan])
    assert_array_equal(found["recency_past"], [6, 1, np.nan, np.nan])
    assert_array_equal(found["spend_now_ratio"], [np.nan, 1, np.nan, np.nan])
    # One order in the past has no deviation, and an order of cleo has no past.
    assert found["spend_now_zscore"].isna().all()
    assert_array_equal(found["product_now_share"], [np.nan, 0, np.nan, np.nan])
    more = ORDERS.assign(who="bob", day=ORDERS["day"] - pd.Timedelta("400D"))
    log = EventLog(pd.concat([more, ORDERS]), "who", "day")
    X = log.attach(PEOPLE[1:2], cutoff="2024-03-31", allow_exact_matches=True)
    found = aggregates(X).iloc[0]
    past = [10, 20, 30, 8, 8, 7, 8]
    assert_allclose(found["spend_now_ratio"], 8 / np.mean(past))
    assert_allclose(
        found["spend_now_zscore"], (8 - np.mean(past)) / np.std(past, ddof=1)
    )
    assert found["product_now_share"] == 3 / 7


def test_constant_numbers_have_a_standard_deviation_of_0():
    """Rounding errors of days since 1970 or of the mean of 0.1 give no deviation."""
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(79_191 * np.arange(60), "s")
    orders = pd.DataFrame({"who": list("abc") * 20, "day": day, "fee": 0.1})
    orders["sent"] = day + pd.Timedelta("36h 17min")
    X = log_of_table(orders).attach(
        orders[["who", "day"]], "who", "day", allow_exact_matches=True
    )
    found = HistoryAggregator(remainder="drop").fit_transform(X)
    for field, value in {"fee": 0.1, "sent": 36 / 24 + 17 / 1440}.items():
        several = found[f"history__{field}_std"].dropna()
        assert len(several) == 57
        assert_array_equal(several, 0)
        for statistic in ("mean", "min", "max", "last"):
            assert_array_equal(found[f"history__{field}_{statistic}"], value)
        assert f"history__{field}_now_zscore" not in found  # which no row has


# What is learned ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "cutoff", "lookbacks", "unit"),
    [
        (pd.date_range("2020", periods=400, freq="3D"), "2023-04-14",
         ["7D", "30D", "365D", "1095D"], "1D"),
        (pd.date_range("2020", periods=60, freq="D"), "2020-03-01",
         ["1D", "7D", "30D"], "1D"),
        (pd.date_range("2020", periods=60, freq="5min"), "2020-01-01 05:00",
         ["10min", "1h"], "1min"),
        (pd.to_datetime(["2020-01-01"]), "2020-01-01 12:00", [], "1h"),
        (range(0, 100, 4), 100, [10, 30], 1),
        (range(0, 100000, 5), 100000, [10, 100, 3000, 30000], 1),
        (np.arange(100) / 1000, 0.1, [0.001, 0.003, 0.01, 0.03], 0.01),
        ([5.0], 5.5, [], 0.01),
    ],
)  # fmt: skip
def test_lengths_follow_the_events(times, cutoff, lookbacks, unit):
    X = log_of(times).snapshots([cutoff])
    model = Aggregator(half_lives="auto").fit(X)
    as_length = pd.Timedelta if isinstance(cutoff, str) else float
    assert list(map(as_length, model.lookbacks_["history"])) == list(
        map(as_length, lookbacks)
    )
    assert model.half_lives_ == model.lookbacks_
    assert as_length(model.time_units_["history"]) == as_length(unit)


def test_frequent_levels():
    ids = list("aabbccc")
    kind = list("xyxyzzz")  # z is frequent, but of a single customer
    log = log_of(
        range(7), ids, fields={"kind": kind, "basket": [f"b{i}" for i in range(7)]}
    )
    X = log.snapshots([7])
    model = Aggregator(max_levels=1).fit(X)
    assert model.levels_ == {"history": {"kind": ["x"], "basket": []}}
    table = model.transform(X)
    assert table["history__kind_last"].tolist() == [RARE] * 3
    assert table["history__basket_n_levels"].tolist() == [2, 2, 3]
    assert "history__basket_last" not in table
    assert Aggregator().fit(X).levels_["history"]["kind"] == ["x", "y"]
    # Only visible events count.
    assert Aggregator().fit(log.snapshots([3])).levels_["history"]["kind"] == ["x"]
    no_levels = Aggregator(max_levels=0).fit(X)
    assert not any("=" in name for name in no_levels.get_feature_names_out())


def test_frequent_levels_of_lookbacks_from_a_file(tmp_path):
    """Two windows of a customer are two segments there, but one customer."""
    log = log_of([1, 80, 1], list("aab"), fields={"kind": list("xxy")})
    rows = pd.DataFrame({"who": list("aab"), "at": [5, 90, 5]})
    X = log.attach(rows, cutoff="at", lookback=20)
    X.to_parquet(tmp_path / "rows.parquet")
    again = pd.read_parquet(tmp_path / "rows.parquet")
    for table in (X, again, pd.concat([X[:1], again[1:]])):
        assert Aggregator().fit(table).levels_["history"]["kind"] == []
        # With one customer alone, any level is frequent.
        assert Aggregator().fit(table[:2]).levels_["history"]["kind"] == ["x"]


def test_levels_not_seen_in_fit():
    X = log_of(range(4), list("abab"), fields={"kind": ["x", "x", "y", "y"]}).snapshots(
        [4]
    )
    model = Aggregator(None).fit(X)
    other = log_of(
        range(3), list("aab"), fields={"kind": ["new", "y", "new"]}
    ).snapshots([4])
    found = model.transform(other)
    assert found["history__kind_last"].tolist() == ["y", RARE]
    assert found["history__kind=y_share"].tolist() == [0.5, 0]
    assert found["history__kind_n_levels"].tolist() == [2, 1]
    assert found.dtypes.equals(model.transform(X).dtypes)


def test_a_field_of_several_kinds_is_aggregated_by_kind():
    orders = log_of(
        [1, 2, 5],
        list("aab"),
        fields={"spend": [10.0, 20.0, 30.0], "shop": list("xyx")},
    )
    returns = log_of([3, 5, 8], list("aba"), fields={"spend": [-4.0, -5.0, -9.0]})
    log = EventLog.concat({"order": orders, "return": returns})
    X = log.snapshots([6])
    model = Aggregator(None, half_lives=None).fit(X)
    found = model.transform(X)
    assert found["history__spend_of_order_sum"].tolist() == [30, 30]
    assert_array_equal(found["history__spend_of_return_mean"], [-4, -5])
    assert_array_equal(found["history__event=return_since_last"], [3, 1])
    assert "history__spend_sum" not in found
    assert found["history__n_events"].tolist() == [3, 2]
    # A kind without visible events has no columns.
    early = Aggregator().fit(log.snapshots([3])).get_feature_names_out()
    assert "history__spend_of_order_sum" in early
    assert not any("return" in name for name in early)
    plain = log_of(
        [1], list("a"), fields={"spend": [3.0], "shop": "x", "event": "order"}
    )
    table = model.transform(plain.snapshots([6], min_events=1))
    assert table["history__spend_of_order_sum"].tolist() == [3]


def test_a_kind_and_a_field_of_one_name_get_two_names():
    orders = log_of(
        [1, 2], fields={"amount": [1.0, 2.0], "amount_of_order": [7.0, 8.0]}
    )
    returns = log_of([3, 4], fields={"amount": [3.0, 4.0]})
    X = EventLog.concat({"order": orders, "return": returns}).snapshots([9])
    found = aggregates(X, lookbacks=None)
    sums = found.filter(regex="amount.*_sum").iloc[0]
    assert sums.to_dict() == {
        "amount_of_order__sum": 3.0,
        "amount_of_return_sum": 7.0,
        "amount_of_order_sum": 15.0,
    }


def test_levels_that_are_numbers_or_dates():
    numbers = pd.Categorical([1, 2, 1, 1])
    dates = pd.Categorical(pd.to_datetime(["2024-01-01", "2024-01-02"] * 2))
    X = log_of(
        range(4), list("aabb"), fields={"shop": numbers, "valid": dates}
    ).snapshots([4])
    model = Aggregator(None).fit(X)
    found = model.transform(X)
    assert model.levels_["history"]["shop"] == [1]
    assert found["history__shop=1_share"].tolist() == [0.5, 1]
    assert found["history__shop_last"].tolist() == [RARE, "1"]
    assert "history__valid=2024-01-02 00_00_00_share" in found
    # A missing value turns integers into floats.
    floats = pd.Categorical([3.0, None, 1.0, 1.0])
    other = log_of(
        range(4), list("aabb"), fields={"shop": floats, "valid": dates}
    ).snapshots([4])
    assert model.transform(other)["history__shop=1_share"].tolist() == [0, 1]


# The limit ----------------------------------------------------------------------------


def test_max_features_keeps_the_first_by_priority():
    X = make_table()
    whole = Aggregator(moments=True, max_features=None).fit(X)
    every = whole.transform(X)
    names = [n for n in every if n.startswith("history__")]
    assert whole.left_out_ == {"history": []}
    kept_before: set[str] = set()
    for most in range(1, len(names) + 1, 3):
        model = Aggregator(moments=True, max_features=most).fit(X)
        found = model.transform(X)
        kept = [name for name in found if name in names]
        assert len(kept) == most
        assert sorted(kept + model.left_out_["history"]) == sorted(names)
        assert kept_before < set(kept)
        assert [name for name in names if name in kept] == kept
        kept_before = set(kept)
        if most in (1, 22, 40):
            assert_frame_equal(found, every[found.columns])
    few = Aggregator(max_features=22).fit(X).get_feature_names_out()
    # The sums of all fields precede the extremes of any.
    assert {"history__amount_sum", "history__due_sum"} < set(few)
    assert "history__amount_max" not in few


# Names and several histories; test_base.py has more of names --------------------------


def test_names():
    log = EventLog(
        ORDERS.rename(columns={"spend": "n_events", "product": 'a,"b"'}), "who", "day"
    )
    X = log.attach(PEOPLE, cutoff="2024-04-30", name="orders")
    model = Aggregator(lookbacks=["720h", pd.Timedelta("36h")]).fit(X)
    names = model.get_feature_names_out().tolist()
    assert len(set(names)) == len(names)
    # A field may be called like a statistic.
    assert {"orders__n_events_trend_30D", "orders__n_events_trend_30D_"} < set(names)
    assert {"orders__n_events_36h", 'orders__a,"b"=tea_share_30D'} < set(names)


def test_several_histories_and_statics():
    visits = log_of([1, 2, 3], list("abb"), fields={"page": list("xyx")})
    orders = log_of([1, 5], list("ab"), fields={"price": [3.0, 4.0]})
    rows = pd.DataFrame(
        {"who": list("ab"), "city": ["Rome", None], "vip": [True, False]}
    )
    X = orders.attach(
        visits.attach(rows, cutoff=4, name="visits"), cutoff=9, name="orders"
    )
    found = Aggregator(None, half_lives=None).fit_transform(X)
    assert found["visits__n_events"].tolist() == [1, 2]
    assert found["orders__price_sum"].tolist() == [3, 4]
    assert found["city"].cat.codes.tolist() == [0, -1]
    assert found["vip"].tolist() == [1, 0]
    assert found.columns[-2:].tolist() == ["city", "vip"]


# Moments ------------------------------------------------------------------------------


def rows_of_lines(n_pairs):
    """Return rows of 40 lines, with two at one time in the first `n_pairs` pairs."""
    times = np.arange(40)
    times[1 : 2 * n_pairs : 2] -= 1  # pairs at the times 0, 2, ...
    who = list("a" * 20 + "b" * 20)
    return log_of(
        times, who, fields={"spend": 1.0, "sent": pd.Timestamp("2024-01-01")}
    ).snapshots([40])


@pytest.mark.parametrize(("n_pairs", "joined"), [(0, False), (5, False), (6, True)])
def test_columns_of_moments_where_three_tenths_of_the_events_stand_together(
    n_pairs, joined
):
    # 5 pairs are 10 of 40 events, 6 pairs are 12.
    X = rows_of_lines(n_pairs)
    names = Aggregator().fit(X).get_feature_names_out()
    moments = [name for name in names if "moment" in name]
    assert bool(moments) == joined
    chosen = Aggregator(moments=joined).fit_transform(X)
    assert_frame_equal(Aggregator().fit_transform(X), chosen)
    # Days after an event are not summed.
    assert not [name for name in moments if "sent" in name]


def test_a_field_without_a_name_has_columns_of_moments():
    """Such as the index that a CSV file holds. It was a KeyError: 'mean'."""
    events = pd.DataFrame({"id": "a", "day": [1, 1, 2], "": [1.0, 2.0, 5.0]})
    X = EventLog(events, "id", "day").attach(events[["id"]].head(1), cutoff=3)
    table = HistoryAggregator(moments=True, min_rows=1).fit_transform(X)
    assert table["history___moment_mean"].tolist() == [4.0]


def test_moments_replace_no_column():
    X = rows_of_lines(10)
    without, every = (
        Aggregator(max_features=None, moments=moments).fit_transform(X)
        for moments in (False, True)
    )
    assert_frame_equal(every[without.columns], without)
    assert set(every) - set(without) >= {
        "history__n_moments", "history__spend_moment_mean"
    }  # fmt: skip


def test_the_order_of_lines_changes_no_column_of_moments():
    events = make_events().assign(amount=lambda e: e["amount"].round())
    tables = []
    for one in (events, events[::-1]):
        X = EventLog(one, "who", "when").attach(make_rows(), cutoff="at")
        tables.append(Aggregator(moments=True).fit_transform(X).filter(like="moment"))
    assert_frame_equal(*tables)


def test_logs_of_other_units():
    X = make_table()
    model = Aggregator(["30D"], half_lives=["1D"], max_levels=3)
    whole = model.fit(X).transform(X)
    events = make_events().assign(when=make_events()["when"].astype("datetime64[ns]"))
    finer = EventLog(events, "who", "when").attach(make_rows(), cutoff="at")
    assert_frame_equal(model.transform(finer), whole, rtol=1e-12)


def test_the_unit_of_times_changes_no_bit_of_a_trend():
    # Trees would cut between values that differ in the last bit only.
    events = pd.DataFrame({"who": "ann", "day": np.arange(0, 250, 7)})
    events["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(events["day"], "D")
    trends = []
    for unit in ("s", "us", "ns"):
        log = log_of_table(events.astype({"day": f"datetime64[{unit}]"}))
        X = log.snapshots(pd.date_range("2024-03-01", "2024-09-01", freq="D"))
        table = HistoryAggregator().fit_transform(X)
        trends.append(table.filter(like="trend").to_numpy())
    assert np.isfinite(trends[0]).sum() > 200
    assert_array_equal(trends[1], trends[0])
    assert_array_equal(trends[2], trends[0])


def test_includes_the_features_of_rfm():
    X = make_table()
    found = Aggregator(moments=True).fit_transform(X)
    names = ["recency", "n_moments", "amount_moment_mean", "tenure"]
    rfm = RFMFeatures("amount", remainder="drop").fit_transform(X)
    expected = rfm.set_axis([f"history__{name}" for name in names], axis=1)
    assert_frame_equal(found[expected.columns], expected)


def test_beside_rfm_in_a_union():
    """The code is that of the documentation."""
    X = make_table()
    rfm = RFMFeatures("amount", dialect="btyd", remainder="drop")
    both = make_union(rfm, Aggregator())
    table = both.set_output(transform="pandas").fit_transform(X)
    assert table.columns.is_unique
    assert table["historyaggregator__city"].dtype == "category"
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype")
    model = make_pipeline(both, boosting).fit(X, np.arange(len(X)) % 2)
    assert model.predict(X).shape == (len(X),)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lookbacks": [30]}, TypeError, "lookbacks must be a length of time"),
        ({"lookbacks": ["0D"]}, ValueError, "lookbacks must be longer than 0"),
        (
            {"lookbacks": "30D"},
            ValueError,
            "'lookbacks' parameter of HistoryAggregator",
        ),
        ({"half_lives": ["soon"]}, ValueError, "half_lives must be a length of time"),
        ({"time_unit": 1}, TypeError, "time_unit must be a length of time"),
        ({"moments": "1D"}, ValueError, "'moments' parameter"),
        ({"max_features": 0}, ValueError, "'max_features' parameter"),
        ({"max_levels": -1}, ValueError, "'max_levels' parameter"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        Aggregator(**options).fit(make_table())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda e: e.drop(columns="amount"), ValueError,
         r"'history' lack the field 'amount' .*they have \['kind', 'due'\]"),
        (lambda e: e.assign(amount="much"), TypeError,
         r"'amount' .* is categorical, but was numeric in fit; give it that type"),
        (lambda e: e.assign(kind=1.0), TypeError, "'kind' .* is numeric, but was cat"),
        (lambda e: e.assign(kind=pd.Categorical(e["kind"].factorize()[0])), TypeError,
         r"'kind' .* is categorical \(numbers\), but was categorical in fit; give"),
    ],
)  # fmt: skip
def test_another_log(change, error, message):
    model = Aggregator().fit(make_table())
    log = EventLog(change(make_events()), "who", "when")
    with pytest.raises(error, match=message):
        model.transform(log.attach(make_rows(), cutoff="at"))


def test_a_field_without_values_has_any_type():
    model = Aggregator().fit(make_table())
    log = EventLog(make_events().assign(amount=None, kind=np.nan), "who", "when")
    found = model.transform(log.attach(make_rows(), cutoff="at"))
    assert found.filter(regex="amount_mean|kind_last|share").isna().all(axis=None)
    assert found["history__kind_n_levels"].eq(0).all()


def test_columns_that_few_rows_have_are_left_out():
    orders = pd.DataFrame({"who": range(40), "day": 0, "spend": 2.0})
    twice = orders[:9].assign(day=3)
    log = EventLog(pd.concat([orders, twice]), "who", "day")
    for n_more, is_known in ((0, False), (1, True)):
        more = orders[9 : 9 + n_more].assign(day=3)
        X = log.append(more).snapshots([5]) if n_more else log.snapshots([5])
        model = HistoryAggregator(None)
        table = model.fit_transform(X)
        assert ("history__spend_std" in table) is is_known
        assert ("history__spend_std" in model.left_out_["history"]) is not is_known
        assert_frame_equal(model.transform(X), table)
        HistGradientBoostingClassifier(max_iter=2).fit(table, X["who"] % 2)


def test_a_network_reads_histories_and_aggregates():
    X = make_table(n_customers=10)
    y = make_y(X)
    network = LSTMClassifier(hidden_size=2, max_epochs=1, random_state=0, n_networks=1)
    model = make_pipeline(
        HistoryAggregator(keep_histories=True, max_features=5),
        make_history_pipeline(network),
    )
    table = model[0].fit_transform(X)
    assert table.columns[0] == "history"
    assert table["history"].array.equals(X["history"].array)
    plain = HistoryAggregator(max_features=5).fit_transform(X)
    assert_frame_equal(table.drop(columns="history"), plain)
    check_no_leakage(model.fit(X, y), X, n_cutoffs=1)
    # The five aggregates are further statics of the network.
    statics = model[-1][:-1].get_feature_names_out()[1:]
    assert sum(name.startswith("history__") for name in statics) == 5
    of_rows = model[-1][0].layouts_["history"].row_features
    assert model[-1][-1]._n_static == len(statics) + len(of_rows)
    of_polars = clone(model)
    of_polars[0].set_output(transform="polars")
    with pytest.raises(TypeError, match=r"transformer, its set_output\(transform='pan"):
        of_polars.fit(X, y)
