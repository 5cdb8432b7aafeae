"""Next values and baskets: as probable as in simulations."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._next_values import _top_levels
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.testing._small_data import make_table

SMALL = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}


def test_next_values_are_most_probable_first(model, X):
    found = model.predict_next(X, "kind", n=3)
    assert found.columns.tolist() == ["row", "who", "rank", "value", "probability"]
    assert found["who"].equals(X["who"].iloc[found["row"]].reset_index(drop=True))
    assert_array_equal(found["row"], np.repeat(range(len(X)), 3))
    assert_array_equal(found["rank"], np.tile([1, 2, 3], len(X)))
    by_row = found.groupby("row")["probability"]
    assert (by_row.diff().dropna() <= 0).all()
    assert by_row.sum().between(0.7, 1).all()  # the rest is missing
    assert_frame_equal(found, model.predict_next(X, "kind", n=3))


def test_numbers_of_draws_and_values_of_numpy(model, X):
    for draws in ({}, {"basket": True}, {"within": "90D"}):
        found = model.predict_next(X, "kind", np.int64(2), n_draws=np.int64(3), **draws)
        assert_frame_equal(found, model.predict_next(X, "kind", 2, n_draws=3, **draws))


def test_next_values_are_those_of_simulations(model, X):
    rows = X[X["history"].array.lengths > 2].iloc[:4]
    found = model.predict_next(rows, "kind", n=3, n_draws=500, at_cutoff=False)
    # Nearly every path has another event by then.
    futures = model.sample(rows, "1500D", n_paths=2000, random_state=0)
    first = futures.drop_duplicates(["row", "path"])
    n_first = first.groupby("row").size()
    assert (n_first > 1850).all()
    counts = pd.crosstab(first["row"], first["kind"]).div(n_first, axis=0)
    for row, value, share in found[["row", "value", "probability"]].to_numpy():
        assert abs(counts.loc[row, value] - share) < 0.05
    within = model.predict_next(rows, "kind", n=3, n_draws=2000, within="100D")
    some = model.sample(rows, "100D", n_paths=2000, random_state=1)
    some = some.drop_duplicates(["row", "path", "kind"])
    counts = pd.crosstab(some["row"], some["kind"]) / 2000
    for row, value, share in within[["row", "value", "probability"]].to_numpy():
        assert abs(counts.loc[row, value] - share) < 0.05


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
def test_next_baskets_are_those_of_simulations(monkeypatch):
    """Baskets of up to five lines, the first often milk."""
    rng = np.random.default_rng(0)
    n_lines = rng.integers(1, 6, 400)
    who, day = np.repeat(np.arange(400) % 40, n_lines), np.repeat(range(400), n_lines)
    item = rng.choice([*"abcdef", None], len(who))
    item[np.cumsum(n_lines) - n_lines] = rng.choice(["milk", "a"], 400, p=[0.8, 0.2])
    events = pd.DataFrame({"who": who, "day": day, "item": item, "price": 1.0})
    log = EventLog(events[["who", "day", "price", "item"]], "who", "day")
    X = log.attach(pd.DataFrame({"who": range(40)}), cutoff=400)
    model = LSTMEventModel(
        hidden_size=8, max_epochs=5, learning_rate=0.02, random_state=0
    ).fit(X)
    # Only the first basket of a path is needed.
    monkeypatch.setattr(BusiestWindows, "bound", lambda *_: 10)
    rows = X[:3]
    asked = {"n_draws": 600, "at_cutoff": False}
    found = model.predict_next(rows, "item", basket=True, **asked)
    assert_frame_equal(found, model.predict_next(rows, "item", basket=True, **asked))
    futures = model.sample(rows, 4000, n_paths=600, random_state=1)
    first = futures.groupby(["row", "path"])["day"].transform("min")
    basket = futures[futures["day"] == first].drop_duplicates(["row", "path", "item"])
    counts = pd.crosstab(basket["row"], basket["item"]) / 600
    assert basket.groupby(["row", "path"]).size().mean() > 2
    for row, value, share in found[["row", "value", "probability"]].to_numpy():
        assert abs(counts.loc[row, value] - share) < 0.08
    assert found["probability"].groupby(found["row"]).sum().gt(1.5).all()
    one = model.predict_next(rows, "item", **asked)
    assert one["probability"].groupby(one["row"]).sum().lt(1.01).all()
    with pytest.raises(ValueError, match=r"basket=True is .* within='3D' for a period"):
        model.predict_next(rows, "item", basket=True, within="3D")


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
@pytest.mark.parametrize("basket", [False, True])
def test_next_values_of_a_field_that_some_kinds_have(merged, basket, monkeypatch):
    """Events of other kinds have no value of the field."""
    model = LSTMEventModel(**SMALL).fit(merged)
    module = model.net_.module_
    module.time.is_possible[0] = True
    with torch.no_grad():  # of many events in a basket, later ones are visits
        module.time.output.bias[0] += 3
        module.fields[0].output.weight[:, -1] += torch.tensor([0.0, 0, 3, -3])
    rows = merged[merged["history"].array.lengths > 2].iloc[:3]
    params = {"basket": basket, "n_draws": 600, "at_cutoff": False}
    # Only the first moment of a path is needed.
    monkeypatch.setattr(BusiestWindows, "bound", lambda *_: 20)
    found = model.predict_next(rows, "page", **params)
    futures = model.sample(rows, "1500D", n_paths=600, random_state=0)
    first = futures.groupby(["row", "path"])["when"].transform("min")
    ahead = futures[futures["when"] == first]
    by = ["row", "path", "page"] if basket else ["row", "path"]
    ahead = ahead.drop_duplicates(by)
    counts = pd.crosstab(ahead["row"], ahead["page"]) / 600
    for row, value, share in found[["row", "value", "probability"]].to_numpy():
        assert abs(counts.loc[row, value] - share) < 0.08
    if basket:
        return
    # A kind with the field is drawn, weighted by the probability of all such kinds.
    del params["basket"]
    kinds = model.predict_next(rows, "event", **params).set_index(["row", "value"])
    visits = kinds["probability"].xs("visit", level="value")
    few = model.predict_next(rows, "page", n_draws=2, at_cutoff=False)
    total = few.groupby("row")["probability"].sum()
    assert_allclose(total, visits, rtol=0.05)
    assert not total.gt(0.9).any()


def rows_of_refills(cutoffs):
    """Return rows of customers who buy refills within five days, and else a lamp."""
    rng = np.random.default_rng(0)
    days = rng.choice([2, 3, 30, 40], (200, 8))
    events = pd.DataFrame({"who": np.repeat(range(200), 8), "gap": days.ravel()})
    events["day"] = days.cumsum(axis=1).ravel()
    events["item"] = np.where(events["gap"] < 6, "refill", "lamp")
    rows = events.groupby("who", as_index=False)["day"].max()
    log = EventLog(events[["who", "day", "item"]], "who", "day")
    return [
        log.attach(
            pd.DataFrame({"who": rows["who"], "at": rows["day"] + n}), cutoff="at"
        )
        for n in cutoffs
    ]


def test_the_next_event_is_at_the_cutoff_or_at_any_time():
    soon, late = rows_of_refills([2, 30])
    params = {"hidden_size": 8, "max_epochs": 15, "learning_rate": 0.02}
    model = LSTMEventModel(**params, early_stopping=False, random_state=0).fit(soon)

    def refills(rows, **options):
        found = model.predict_next(rows, "item", **options)
        return found.loc[found["value"] == "refill", "probability"].mean()

    assert refills(soon) > 0.95
    assert refills(late) < 0.05
    assert refills(soon, basket=True) > 0.95
    # At any time: half of the events are refills, unless it is too late for one.
    assert 0.35 < refills(soon, at_cutoff=False) < 0.65
    assert refills(late, at_cutoff=False) < 0.05
    with pytest.raises(ValueError, match=r"open_basket=True .* at_cutoff=False"):
        model.predict_next(soon, "item", open_basket=True, at_cutoff=False)


def test_favourites_are_bought_again():
    """Each customer has one of 60 products, independent of other customers."""
    rng = np.random.default_rng(0)
    who = np.repeat(range(120), 12)
    own = rng.permutation(np.arange(120) % 60)[who]
    item = np.where(rng.random(len(who)) < 0.8, own, rng.integers(0, 60, len(who)))
    day = rng.integers(0, 60, len(who))
    events = pd.DataFrame({"who": who, "day": day, "item": [f"{i}" for i in item]})
    log = EventLog(events, "who", "day")
    X = log.attach(pd.DataFrame({"who": range(120)}), cutoff=60)
    params = {"hidden_size": 8, "max_epochs": 8, "batch_size": 16, "random_state": 0}
    model = LSTMEventModel(**params, averaged_steps=10, learning_rate=0.01).fit(X[:90])
    first = model.predict_next(X[90:], "item", n=1)
    assert (first["value"] == own.reshape(120, 12)[90:, 0].astype(str)).mean() > 0.9
    assert abs(first["probability"].mean() - 0.8) < 0.1
    futures = model.sample(X[90:], 30, n_paths=5, random_state=0)
    favourite = own.reshape(120, 12)[90:, 0].astype(str)[futures["row"]]
    assert 0.45 < (futures["item"] == favourite).mean() < 0.95
    without = LSTMEventModel(**params, copies=False).fit(X[:90])
    assert without.score(X[90:]) < model.score(X[90:]) - 1


def test_ties_up_to_rounding_are_one_basket():
    """Likelihood and next values are those of events at the same time."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": rng.integers(0, 9, 90), "t": rng.uniform(0, 9, 90)})
    events["item"] = rng.choice([*"abc"], 90)
    log = EventLog(events, "who", "t")
    model = LSTMEventModel(**SMALL).fit(log.snapshots([10.0]))
    copies = model.net_.module_.fields[0].copies
    with torch.no_grad():  # copies are from the last moment only
        copies.gates.bias[3] = 9.0
    scores, shares = [], []
    for second in (0.3, 0.1 + 0.2):
        own = pd.DataFrame({"who": 0, "t": [0.1, 0.3, second], "item": [*"bac"]})
        X = EventLog(own, "who", "t").snapshots([5.0])
        scores.append(model.score_events(X)["log_prob"].to_numpy())
        found = model.predict_next(X, "item").set_index("value")
        shares.append(found["probability"][[*"abc"]].to_numpy())
    assert_allclose(scores[1], scores[0], rtol=1e-4)
    assert_allclose(shares[1], shares[0], rtol=1e-4)


@pytest.mark.parametrize("within", [None, "100D"])
def test_next_values_leave_out_seen_ones_and_others_than_candidates(model, X, within):
    only = model.predict_next(X, "kind", candidates=["order", "visit"], within=within)
    assert set(only["value"]) == {"order", "visit"}
    one = model.predict_next(X, "kind", candidates="order", within=within)
    listed = model.predict_next(X, "kind", candidates=["order"], within=within)
    assert_frame_equal(one, listed)
    assert set(one["value"]) == {"order"}
    new = model.predict_next(X, "kind", exclude_seen=True, within=within)
    seen = X["history"].array.to_frame()["kind"].to_numpy()
    row = np.repeat(range(len(X)), X["history"].array.lengths)
    had = {(i, value) for i, value in zip(row, seen, strict=True) if value == value}
    kinds = ["order", "return", "visit"]
    expected = {(i, v) for i in range(len(X)) for v in kinds} - had
    listed = set(zip(new["row"], new["value"], strict=True))
    if within is None:
        assert listed == expected
    else:
        assert listed < expected, "some are to have the probability 0"
        assert (new["probability"] > 0).all()


def test_excluded_values_may_be_newer_than_the_rows(model, X):
    """Those of the log are no surprise, others may be a misspelling."""
    expected = model.predict_next(X, "kind", exclude="order")
    assert "order" not in set(expected["value"])
    array = X["history"].array
    newer = array.to_frame().iloc[:1].assign(kind="postage")
    newer["when"] += pd.Timedelta("9000D")
    log = array.log.append(newer, observed_until=newer["when"].max())
    rows = log.attach(X.drop(columns="history"), customer="who", cutoff="at")
    found = model.predict_next(rows, "kind", exclude=["order", "postage"])
    assert_frame_equal(found, expected)
    with pytest.warns(UserWarning, match="1 of 3 values of exclude .* 'stamps': nothi"):
        found = model.predict_next(rows, "kind", exclude=["order", "postage", "stamps"])
    assert_frame_equal(found, expected)


def test_a_truth_value_is_no_number_to_exclude():
    """True equals 1, but is not the level 1: nothing is excluded, which is said."""
    size = pd.Categorical([1, 2, 2, 1])
    events = pd.DataFrame({"who": [0, 0, 1, 1], "day": [1, 2, 3, 5], "size": size})
    X = EventLog(events, "who", "day").snapshots([9])
    model = LSTMEventModel(**{**SMALL, "max_epochs": 1}).fit(X)
    with pytest.warns(UserWarning, match="1 of 1 values of exclude .* such as True"):
        found = model.predict_next(X, "size", exclude=True)
    assert set(found["value"]) == {1, 2}
    # pandas finds True at the level 1 only in lists with other values.
    with pytest.warns(UserWarning, match="1 of 2 values of exclude .* such as True"):
        found = model.predict_next(X, "size", exclude=[True, 2])
    assert set(found["value"]) == {1}
    with pytest.warns(UserWarning, match="2 of 2 values of exclude .* such as .*True"):
        model.predict_next(X, "size", exclude=[np.bool_(True), "1"])
    with pytest.raises(ValueError, match=r"1 of 2 .* candidates .* such as True"):
        model.predict_next(X, "size", candidates=[True, 2])
    for one in (1.0, np.int8(1)):
        assert set(model.predict_next(X, "size", exclude=one)["value"]) == {2}


def test_a_tuple_is_one_value_if_levels_are_tuples():
    size = pd.Series([("S", 1), ("S", 2), ("M", 1), ("S", 1)])
    events = pd.DataFrame({"who": [0, 0, 1, 1], "day": [1, 2, 3, 5], "size": size})
    X = EventLog(events, "who", "day").snapshots([9])
    model = LSTMEventModel(**{**SMALL, "max_epochs": 1}).fit(X)
    for given, left in (
        (("S", 1), {("S", 2), ("M", 1)}),
        ((("S", 1), ("M", 1)), {("S", 2)}),
        ((), set(size)),
    ):
        assert set(model.predict_next(X, "size", exclude=given)["value"]) == left
    chosen = model.predict_next(X, "size", candidates=("M", 1))
    assert set(chosen["value"]) == {("M", 1)}


def test_a_number_is_no_truth_value_to_exclude():
    gift = pd.Categorical([True, False, False, True])
    events = pd.DataFrame({"who": [0, 0, 1, 1], "day": [1, 2, 3, 5], "gift": gift})
    X = EventLog(events, "who", "day").snapshots([9])
    model = LSTMEventModel(**{**SMALL, "max_epochs": 1}).fit(X)
    with pytest.warns(UserWarning, match="1 of 2 values of exclude .* such as 1"):
        found = model.predict_next(X, "gift", exclude=[1, True])
    assert set(found["value"]) == {False}


def test_probabilities_do_not_exceed_1():
    """A field of one level, copied and generated, whose sums are rounded."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": rng.integers(0, 30, 600), "item": "a"})
    events["t"], events["shop"] = rng.integers(0, 60, 600), rng.choice([*"xy"], 600)
    X = EventLog(events, "who", "t").snapshots([61])
    model = LSTMEventModel(hidden_size=8, max_epochs=2, random_state=0).fit(X)
    found = model.predict_next(X, "item", n_draws=1)["probability"]
    assert found.max() <= 1
    assert_allclose(found, 1, rtol=1e-5)


def test_rare_values_share_their_probability():
    """Without copies, which look at the value itself."""
    X = make_table(30)
    model = LSTMEventModel(**SMALL, max_categories=1, copies=False).fit(X)
    found = model.predict_next(X, "kind")
    shares = found.pivot(index="row", columns="value", values="probability")
    counts = X["history"].array.to_frame().drop_duplicates(["who", "when", "amount"])
    counts = counts["kind"].value_counts()
    ratio = shares["order"] / shares["return"]
    assert_allclose(ratio, ratio.iloc[0], rtol=1e-4)
    assert_allclose(ratio.iloc[0], counts["order"] / counts["return"], rtol=0.2)


def test_rare_values_of_a_customer_are_copied():
    """Each of 200 customers buys a product of its own, or one of eight frequent ones.

    All others share the code of rare products, of which no softmax knows one.
    """
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(200), 8)
    own = np.char.add("own ", who.astype(str))
    item = np.where(rng.random(1600) < 0.7, own, rng.choice([*"abcdefgh"], 1600))
    events = pd.DataFrame({"who": who, "day": np.tile(np.arange(8), 200), "item": item})
    X = EventLog(events, "who", "day").snapshots([8])
    fast = {"hidden_size": 8, "max_epochs": 8, "learning_rate": 0.02}
    model = LSTMEventModel(**fast, max_categories=8, random_state=0).fit(X)
    first = model.predict_next(X, "item", n=1)
    is_own = first["value"] == np.char.add("own ", np.arange(200).astype(str))
    assert is_own.mean() > 0.98
    scores = model.score_events(X)
    of_own = scores["log_prob_item"][(item == own) & (scores["event"] > 3)]
    assert of_own.mean() > np.log(0.5)
    futures = model.sample(X, 6, n_paths=5, random_state=0)
    names = np.char.add("own ", futures["row"].to_numpy().astype(str))
    assert abs((futures["item"] == names).mean() - 0.7) < 0.15


def test_values_since_training_are_copied():
    """A product that is new since the fit, which one of two customers buys."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(150), 8)
    item = np.where(rng.random(1200) < 0.7, who % 20, rng.integers(0, 20, 1200))
    events = pd.DataFrame({"who": who, "day": np.tile(np.arange(8), 150)})
    events["item"] = np.char.add("item ", item.astype(str))
    fast = {"hidden_size": 8, "max_epochs": 6, "learning_rate": 0.02}
    X = EventLog(events, "who", "day").snapshots([8])
    model = LSTMEventModel(**fast, random_state=0).fit(X)
    two = events[events["who"] < 2].copy()
    two.loc[(two["who"] == 0) & (two["day"] > 1), "item"] = "new"
    later = EventLog(two, "who", "day").snapshots([8])
    for options in ({}, {"basket": True}, {"within": 9, "n_draws": 50}):
        found = model.predict_next(later, "item", n=100, **options)
        assert found[found["value"] == "new"]["row"].tolist() == [0]
        assert found["value"].iloc[0] == "new"
    # In the likelihood it is an unlikely level at first, and then a copy.
    scores = model.score_events(later)["log_prob_item"].to_numpy()
    assert scores[2] < np.log(0.01)
    assert (scores[4:8] > np.log(0.3)).all()
    futures = model.sample(later, 6, n_paths=20, random_state=0)
    share = (futures["item"] == "new").groupby(futures["row"]).mean()
    assert share[0] > 0.4
    assert share[1] == 0
    demand = model.demand(later, "item", 6, n_paths=20, random_state=0)
    assert "new" in set(demand["level"])
    without = LSTMEventModel(**fast, copies=False, random_state=0).fit(X)
    assert "new" not in set(without.predict_next(later, "item", n=100)["value"])
    assert np.isfinite(without.score_samples(later)).all()


@pytest.mark.parametrize(
    ("values", "dtype", "new", "rows"),
    [
        ([*"ab"], "string", "c", [9]),
        ([1, 2], "float", 3, [9]),
        ([1, 2], "float", 2.5, []),
    ],
    ids=["string", "whole", "fraction"],
)
def test_values_since_training_of_another_dtype(values, dtype, new, rows):
    """Those that the learned type can hold are new levels; others are as good as none.

    Regression test: pandas has several types of strings.
    """
    events = pd.DataFrame({"who": np.arange(40) // 4, "day": np.tile(range(4), 10)})
    events["item"] = values * 20
    X = EventLog(events, "who", "day", categorical=["item"]).snapshots([9])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    events["item"] = pd.Series([*values * 19, new, new], dtype=dtype)
    later = EventLog(events, "who", "day", categorical=["item"]).snapshots([9])
    found = model.predict_next(later, "item", n=9)
    assert found[found["value"] == new]["row"].tolist() == rows
    assert len(found) == 20 + len(rows)


def test_values_between_the_lookbacks_of_rows_are_in_no_history():
    """Neither row of the customer sees the purchase of a new value on day 20."""
    events = pd.DataFrame({"who": np.arange(40) // 4, "day": np.tile(range(4), 10)})
    X = EventLog(events.assign(item=[*"ab"] * 20), "who", "day").snapshots([9])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    later = pd.DataFrame({"who": 0, "day": [10, 20, 30], "item": ["a", "new", "b"]})
    rows = pd.DataFrame({"who": 0, "cutoff": [11, 31]})
    two = EventLog(later, "who", "day").attach(rows, cutoff="cutoff", lookback=5)
    demand = model.demand(two, "item", 5, by="cutoff", n_paths=2)
    assert set(demand["level"]) == {"a", "b"}
    with pytest.raises(ValueError, match=r"1 of 1 values of candidates.*'new'. Check"):
        model.predict_next(two, "item", candidates="new")


@pytest.mark.parametrize(
    "params", [{}, {"basket": True}, {"within": 5}], ids=["event", "basket", "within"]
)
def test_a_field_without_levels_has_no_next_values(params):
    events = pd.DataFrame({"who": np.arange(40) // 4, "day": np.tile(range(4), 10)})
    events["item"] = pd.Categorical([None] * 40, categories=[*"ab"])
    X = EventLog(events, "who", "day").snapshots([9])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    assert not len(model.predict_next(X, "item", **params))


def test_first_levels_are_taken_among_equally_probable_ones():
    """Regression test: levels of other rows decided which were taken."""
    rng = np.random.default_rng(0)
    for n_levels in (5, 40, 3000):
        shares = rng.integers(0, 3, (50, n_levels)).astype("float32")
        top = np.sort(_top_levels(shares, 5), axis=1)
        expected = np.argsort(-shares, axis=1, kind="stable")[:, :5]
        assert_array_equal(top, np.sort(expected, axis=1))


def test_log_without_categorical_fields():
    events = pd.DataFrame({"who": np.arange(40) // 4, "day": np.tile(range(4), 10)})
    X = EventLog(events, "who", "day").snapshots([9])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    match = r"^field='item' is not categorical, and the log has no categorical field; "
    with pytest.raises(ValueError, match=match):
        model.predict_next(X, "item")
