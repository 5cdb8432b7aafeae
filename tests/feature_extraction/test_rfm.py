import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_seqcrm._ragged import _segments
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from tests.feature_extraction.features import (
    MARKETING,
    ORDERS,
    features_of,
    read_orders,
    small_rows,
)
from tests.logs import log_of_table

# Tables to check by eye ---------------------------------------------------------------


def test_marketing():
    # c has its first event at the cutoff, e is unknown: both histories are empty.
    expected = [
        [6, 2, 60, 10],
        [2, 1, 5, 2],
        [np.nan, 0, np.nan, np.nan],
        [np.nan, 0, np.nan, np.nan],
    ]
    assert_frame_equal(
        features_of(small_rows()),
        pd.DataFrame(expected, columns=MARKETING, dtype=float),
    )


def test_marketing_sees_the_event_at_the_cutoff_on_request():
    X = small_rows(allow_exact_matches=True)
    assert features_of(X).loc[2].tolist() == [0, 1, 8, 0]


def test_marketing_with_lookback():
    # From 5 January on, a has one of two orders, in two lines.
    table = features_of(small_rows(lookback="6D"))
    assert table.loc[0].tolist() == [6, 1, 110, 6]


@pytest.mark.parametrize(
    ("moments", "expected"),
    # Periods of 10 days: one begins on 30 December 2023, the next on 9 January.
    [(False, [6, 3, 40, 10]), (True, [6, 2, 60, 10]), ("10D", [6, 1, 120, 10])],
)
def test_which_events_are_one_purchase(moments, expected):
    X = small_rows()
    assert features_of(X, moments=moments).loc[0].tolist() == expected
    # BTYD models have one purchase a period.
    assert_frame_equal(
        features_of(X, dialect="btyd", moments=moments), features_of(X, dialect="btyd")
    )


def test_times_that_differ_are_purchases_of_their_own():
    orders = read_orders(ORDERS).drop_duplicates(["id", "time"])
    X = log_of_table(orders).snapshots(["2024-01-11"])
    for name in ("frequency", "monetary"):
        by_moments, by_events = (
            features_of(X, moments=moments)[name] for moments in (True, False)
        )
        assert_array_equal(by_moments, by_events)


def test_time_unit():
    table = features_of(small_rows(), time_unit="12h")
    assert table.loc[0].tolist() == [12, 2, 60, 20]
    assert (
        features_of(small_rows(), time_unit=pd.Timedelta("4D")).loc[0, "recency"] == 1.5
    )


# The example of lifetimes, https://github.com/CamDavidsonPilon/lifetimes, with its
# frequency, recency, T and monetary value for observation_period_end="2015-02-07".
LIFETIMES_ORDERS = """
1 2015-01-01 1
1 2015-02-06 2
2 2015-01-01 2
3 2015-01-01 3
3 2015-01-02 1
3 2015-01-05 5
4 2015-01-16 6
4 2015-02-02 3
4 2015-02-05 3
4 2015-02-05 2
5 2015-01-16 3
5 2015-01-17 1
5 2015-01-18 8
6 2015-02-02 5
"""


def test_btyd_is_the_summary_of_lifetimes():
    log = log_of_table(read_orders(LIFETIMES_ORDERS))
    X = log.snapshots(["2015-02-07"])
    table = features_of(X, dialect="btyd")[
        ["frequency", "recency", "tenure", "monetary"]
    ]
    expected = [
        [1, 36, 37, 2],
        [0, 0, 37, 0],
        [2, 4, 37, 3],
        [2, 20, 22, 4],  # two orders on one day: (3 + (3 + 2)) / 2
        [2, 2, 22, 4.5],
        [0, 0, 5, 0],
    ]
    assert_allclose(table, expected, rtol=1e-12)


def test_btyd_is_the_published_summary_of_cdnow():
    # Customers 1 and 2 of the weekly summary of CDNOW (Fader and Hardie).
    orders = read_orders(
        """
        1 1997-01-01 29.33
        1 1997-01-18 29.73
        1 1997-08-02 14.96
        1 1997-12-12 26.48
        2 1997-01-01 63.34
        2 1997-01-13 11.77
        """
    )
    X = log_of_table(orders).attach(
        pd.DataFrame({"id": ["1", "2"]}), cutoff="1997-09-30", allow_exact_matches=True
    )
    table = features_of(X, dialect="btyd", time_unit="7D", period="1D")
    expected = [[30.43, 2, 22.35, 38.86], [1.71, 1, 11.77, 38.86]]
    assert_allclose(table, expected, atol=0.0051)


def test_btyd_rounds_times_down_to_their_period():
    orders = pd.DataFrame(
        {
            "id": "a",
            "time": pd.to_datetime(["2024-01-01 23:00", "2024-01-02 01:00"]),
            "amount": [1.0, 2.0],
        }
    )
    X = log_of_table(orders).attach(
        pd.DataFrame({"id": ["a"]}), cutoff="2024-01-02 12:00"
    )
    assert features_of(X, dialect="btyd").loc[0].tolist() == [1, 1, 2, 1]
    assert features_of(X, dialect="btyd", period="7D").loc[0].tolist() == [0, 0, 0, 0]
    assert_allclose(features_of(X).loc[0], [11 / 24, 2, 1.5, 13 / 24])


def test_unrecorded_amounts():
    orders = read_orders(
        "a 1 nan\na 2 4\na 3 nan\na 3 8\nb 1 5\nb 2 nan\nc 1 inf", dates=False
    )
    X = log_of_table(orders).snapshots([9])
    assert_array_equal(features_of(X)["monetary"], [6, 5, np.nan])
    # The only repeat transaction of b has no amount; c has no repeat transaction.
    assert_array_equal(features_of(X, dialect="btyd")["monetary"], [6, np.nan, 0])


# Against a loop -----------------------------------------------------------------------


def sums_of_finite(keys, amounts):
    """Sum the finite amounts of each key; purchases without one are left out."""
    lists = {}
    for key, amount in zip(keys, amounts, strict=True):
        lists.setdefault(key, []).append(amount)
    finite = [[x for x in own if np.isfinite(x)] for own in lists.values()]
    return [sum(own) for own in finite if own]


def slow_rfm(history, dialect, unit, period, moments=True):
    """Features of one History, event by event."""
    events, cutoff = history.to_frame(), history.cutoff
    if not len(events):
        return [np.nan, 0, np.nan, np.nan]
    zero = pd.Timestamp(0, tz=cutoff.tz) if isinstance(cutoff, pd.Timestamp) else 0
    times, amounts = list(events["time"]), list(events["amount"])
    if dialect == "marketing":
        purchase = list(range(len(times)))
        if moments is not False:
            length = None if moments is True else moments
            purchase = [(t - zero) // length if length else t for t in times]
        totals = sums_of_finite(purchase, amounts)
        return [
            (cutoff - times[-1]) / unit,
            len(set(purchase)),
            np.mean(totals) if totals else np.nan,
            (cutoff - times[0]) / unit,
        ]
    purchase = [(time - zero) // period for time in times]
    n_first = purchase.count(purchase[0])
    totals = sums_of_finite(purchase[n_first:], amounts[n_first:])
    no_mean = np.nan if len(times) > n_first else 0
    return [
        (purchase[-1] - purchase[0]) * period / unit,
        len(set(purchase)) - 1,
        np.mean(totals) if totals else no_mean,
        ((cutoff - zero) // period - purchase[0]) * period / unit,
    ]


AXES = {
    "hours": (lambda t: pd.Timestamp("2024-01-01") + pd.to_timedelta(t, "h"), "h"),
    "aware": (
        lambda t: pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(t, "h"),
        "h",
    ),
    "integers": (lambda t: np.asarray(t), None),
    "floats": (lambda t: np.asarray(t) / 4, None),
}


@pytest.mark.parametrize("lookback", [None, 90])
@pytest.mark.parametrize(
    ("dialect", "moments"),
    [("marketing", True), ("marketing", 24), ("marketing", False), ("btyd", True)],
)
@pytest.mark.parametrize(
    ("axis", "block"),
    [("hours", 3), ("aware", 2**18), ("integers", 50), ("floats", 2**18)],
)
def test_features_equal_a_loop(axis, dialect, moments, lookback, block, monkeypatch):
    monkeypatch.setattr(_segments, "BLOCK", block)
    times, hours = AXES[axis]
    rng = np.random.default_rng(1)
    amount = rng.lognormal(size=150).round(2)
    amount[rng.random(150) < 0.2] = np.nan
    events = pd.DataFrame(
        {
            "id": rng.integers(0, 8, 150),
            "time": times(rng.choice(300, 150)),
            "amount": amount,
        }
    )
    log = log_of_table(events)
    rows = pd.DataFrame(
        {"id": rng.integers(0, 10, 30), "at": times(rng.choice(320, 30))}
    )
    as_length = (lambda n: pd.Timedelta(n, hours)) if hours else (lambda n: n)
    X = log.attach(
        rows, cutoff="at", lookback=None if lookback is None else as_length(lookback)
    )
    lengths = [as_length(12), as_length(24)]
    lengths.append(as_length(24) if moments == 24 else moments)
    expected = [slow_rfm(history, dialect, *lengths) for history in X["history"]]
    options = zip(("time_unit", "period", "moments"), lengths, strict=True)
    table = features_of(X, dialect=dialect, **dict(options))
    assert_allclose(table, expected, rtol=1e-12)
    assert np.isnan(expected).any()


def test_large_amounts_do_not_spoil_small_ones():
    orders = read_orders("a 1 1e17\na 2 1\na 3 2\nb 1 3", dates=False)
    log = log_of_table(orders)
    rows = pd.DataFrame({"id": ["a", "b"]})
    assert (
        features_of(log.attach(rows, cutoff=4, lookback=2))["monetary"].tolist()[0]
        == 1.5
    )
    assert features_of(log.attach(rows, cutoff=4))["monetary"].tolist()[1] == 3
    # Amounts in single precision are summed in double precision.
    orders = pd.DataFrame({"id": "a", "time": 1, "amount": np.float32([1, 2**24, 1])})
    X = log_of_table(orders).snapshots([2])
    assert features_of(X).loc[0, "monetary"] == 2**24 + 2
    assert features_of(X, moments=False).loc[0, "monetary"] == (2**24 + 2) / 3


# The other columns --------------------------------------------------------------------


def test_text_becomes_categories_of_fit():
    X = small_rows()
    X["level"] = pd.Categorical(
        ["low", "high", None, "low"], categories=["low", "mid", "high"], ordered=True
    )
    X["flag"] = [True, False, True, False]
    X["mixed"] = pd.Series([None, "u", "v", "u"], dtype=object)
    rfm = RFMFeatures().fit(X)
    out = rfm.transform(X)
    assert out["city"].tolist()[:3] == ["X", "Y", "X"]
    assert out["city"].isna().tolist() == [False, False, False, True]
    assert out["city"].cat.categories.tolist() == ["X", "Y"]
    assert out["level"].dtype == X["level"].dtype
    assert out["mixed"].cat.codes.tolist() == [-1, 0, 1, 0]
    for name in ("age", "flag"):
        assert_array_equal(out[name], X[name])
        assert out[name].dtype == float

    new = X[:3].assign(city=["Z", "Y", None], mixed=[1, "v", "w"])
    new["level"] = pd.Categorical(["high", "top", None], categories=["top", "high"])
    out_of_new = rfm.transform(new)
    assert (out_of_new.dtypes == out.dtypes).all()
    assert out_of_new["city"].cat.codes.tolist() == [-1, 1, -1]
    assert out_of_new["level"].cat.codes.tolist() == [2, -1, -1]
    assert out_of_new["mixed"].cat.codes.tolist() == [-1, 1, -1]


@pytest.mark.parametrize("declared", [False, True])
def test_rare_categories_share_one(declared):
    city = pd.Series(["a", "b", "b", "c", "d", "d", None, "e"])
    city = city.astype("category") if declared else city
    log = EventLog(pd.DataFrame({"id": ["a"], "time": [1]}), "id", "time")
    X = log.attach(pd.DataFrame({"id": ["a"] * 8, "city": city}), cutoff=5)
    rfm = RFMFeatures(max_categories=3).fit(X)
    out = rfm.transform(X)["city"]
    rare = "infrequent_sklearn"
    assert out.cat.categories.tolist() == ["b", "d", rare]
    assert out.astype(object).tolist()[:6] == [rare, "b", "b", rare, "d", "d"]
    assert out.isna().tolist() == [*[False] * 6, True, False]
    unseen = rfm.transform(X.assign(city=["z", "b", *[None] * 6]))["city"]
    assert unseen.tolist()[:2] == [rare, "b"]
    assert unseen[2:].isna().all()
    for enough in (5, None):
        out = RFMFeatures(max_categories=enough).fit_transform(X)["city"]
        assert out.cat.categories.tolist() == list("abcde")


def test_too_many_declared_categories_are_those_that_occur():
    shop = pd.Categorical([7, 9, 7], categories=range(300))
    log = EventLog(pd.DataFrame({"id": ["a"], "time": [1]}), "id", "time")
    X = log.attach(pd.DataFrame({"id": ["a"] * 3, "shop": shop}), cutoff=5)
    rfm = RFMFeatures().fit(X)
    assert rfm.categories_["shop"].categories.tolist() == ["7", "9"]
    # A missing value turns integers into floats.
    new = X.assign(shop=[9.0, None, 8.0])
    assert rfm.transform(new)["shop"].cat.codes.tolist() == [1, -1, -1]


def test_gradient_boosting_reads_hundreds_of_categories():
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"id": np.arange(900), "time": 1})
    X = log_of_table(events).attach(events[["id"]], cutoff=5)
    X["postcode"] = rng.integers(0, 400, len(X)).astype(str)
    y = (X["postcode"] < "2").astype(int)
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype")
    make_pipeline(RFMFeatures(), boosting).fit(X, y)
    with pytest.raises(ValueError, match="cardinality"):
        make_pipeline(RFMFeatures(max_categories=None), boosting).fit(X, y)


def test_declared_categories_of_mixed_types():
    X = small_rows()
    out = RFMFeatures().fit_transform(X.assign(s=pd.Categorical([1, "1", 2, "a"])))
    assert out["s"].cat.categories.tolist() == ["1", "2", "a"]
    assert out["s"].tolist() == ["1", "1", "2", "a"]


def test_datetimes_become_days_before_the_cutoff():
    X = small_rows()
    X["signup"] = pd.to_datetime(
        ["2023-12-31 12", "2024-01-12 00", None, "2024-01-11 00"]
    )
    out = RFMFeatures().fit_transform(X)["signup"]
    assert_array_equal(out, [10.5, -1, np.nan, 0])
    with pytest.raises(ValueError, match="'signup' and the cutoffs are not both naive"):
        RFMFeatures().fit_transform(X.assign(signup=X["signup"].dt.tz_localize("UTC")))
    numbers = log_of_table(read_orders("a 1 10", dates=False))
    X = numbers.attach(X[["id", "signup"]], cutoff=3)
    with pytest.raises(ValueError, match=r"plain numbers.*'signup'"):
        RFMFeatures().fit_transform(X)


@pytest.mark.parametrize("dtype", [object, "string", "category", "nullable category"])
def test_gradient_boosting_reads_numbers_and_text(dtype):
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"id": rng.integers(0, 60, 300), "time": rng.choice(90, 300)})
    X = log_of_table(events).snapshots([50, 70])
    city = rng.choice(["Rome", "Oslo", "Bonn"], len(X))
    y = (city == "Rome").astype(int)
    city = pd.Series(city, dtype=object).mask(city == "Bonn", None)
    if dtype == "nullable category":
        city, dtype = city.astype("string"), "category"
    X = X.assign(age=rng.normal(size=len(X)), city=city.astype(dtype).array)
    model = make_pipeline(
        RFMFeatures(), HistGradientBoostingClassifier(categorical_features="from_dtype")
    )
    assert (cross_val_predict(model, X, y, cv=2) == y).all()


def test_linear_models_read_numbers_and_text():
    """The code is that of the documentation."""
    X = small_rows()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)
    to_numbers = make_column_transformer(
        (one_hot, make_column_selector(dtype_include="category")), remainder=numbers
    )
    model = make_pipeline(RFMFeatures(), to_numbers, LogisticRegression())
    assert model.fit(X, [0, 1, 0, 1]).predict_proba(X).shape == (4, 2)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dialect": "crm"}, ValueError, "'dialect' parameter"),
        ({"remainder": "keep"}, ValueError, "'remainder' parameter"),
        ({"amount": 3}, ValueError, "'amount' parameter"),
        ({"time_unit": 7}, TypeError, "time_unit must be a length of time"),
        ({"time_unit": "0D"}, ValueError, "time_unit must be longer than 0"),
        ({"period": "soon"}, ValueError, "period must be a length of time"),
        ({"period": "0D"}, ValueError, "period must be longer than 0"),
        ({"moments": 7}, TypeError, "moments must be a length of time"),
        ({"moments": "0D"}, ValueError, "moments must be longer than 0"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        RFMFeatures(**options).fit(small_rows())
