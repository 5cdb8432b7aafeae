from itertools import pairwise, permutations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_campaign_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection import (
    ChannelAttributionDisplay,
    _explained_quantity,
    channel_attribution,
    first_touch_credit,
    last_touch_credit,
    linear_credit,
    markov_credit,
    position_based_credit,
    time_decay_credit,
)

matplotlib.use("agg")


class Worth(RegressorMixin, BaseEstimator):
    """Predicts `worth` of the set of channels of a row, plus its `x`."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        frame = X["history"].array.to_frame()
        found = np.zeros(len(X))
        for i in range(len(X)):
            own = frame[frame.index == i]
            found[i] = worth(own["channel"].dropna()) + len(own[own["channel"].isna()])
        return found + X["x"].to_numpy()


def worth(channels):
    here = set(channels)
    synergy = 5.0 * ({"a", "b"} <= here) - 3.0 * ({"b", "c", "d"} <= here)
    return sum(map(ord, here)) / 100 + synergy


@pytest.fixture(scope="module", name="X")
def _rows():
    rng = np.random.default_rng(0)
    channel = rng.choice(["a", "b", "c", "d", None], 60).astype(object)
    events = pd.DataFrame(
        {"who": rng.integers(0, 12, 60), "day": np.arange(60), "channel": channel}
    )
    rows = pd.DataFrame(
        {"who": np.arange(14), "x": np.arange(14.0)}, index=range(5, 19)
    )
    return EventLog(events, "who", "day").attach(rows, cutoff=50)


def by_hand(X):
    """Shapley values as the mean over all orders."""
    frame = X["history"].array.to_frame()
    credit = np.zeros((len(X), 4))
    for i in range(len(X)):
        own = frame["channel"][frame.index == i].dropna().unique()
        orders = list(permutations(own))
        for order in orders:
            for k, channel in enumerate(order):
                gain = worth(order[: k + 1]) - worth(order[:k])
                credit[i, "abcd".index(channel)] += gain / len(orders)
    return credit


def test_exact_values_against_all_orders(X):
    found = channel_attribution(Worth().fit(X), X, "channel")
    np.testing.assert_allclose(found.credit, by_hand(X), atol=1e-10)
    assert list(found.credit.index) == list(X.index)
    assert list(found.credit) == list("abcd")
    np.testing.assert_allclose(found.output, Worth().fit(X).predict(X))
    # Events without a channel stay.
    frame = X["history"].array.to_frame()
    none = (
        frame["channel"].isna().groupby(level=0).sum().reindex(range(14), fill_value=0)
    )
    np.testing.assert_allclose(found.baseline, none + X["x"].to_numpy())
    sums = found.credit.sum(axis=1)
    np.testing.assert_allclose(sums, found.output - found.baseline, atol=1e-10)
    np.testing.assert_allclose(found.total, found.credit.sum())
    assert found.share.sum() == pytest.approx(1)
    assert repr(found) == (
        "Bunch(credit=<DataFrame of shape (14, 4)>, output=<ndarray of shape (14,)>, "
        "baseline=<ndarray of shape (14,)>, total=<Series of shape (4,)>, "
        "share=<Series of shape (4,)>)"
    )


def test_drawn_orders(X, monkeypatch):
    model = Worth().fit(X)
    monkeypatch.setattr(_explained_quantity, "_MAX_EVENTS", 40)
    found = channel_attribution(model, X, "channel", max_exact=1, n_orders=200)
    np.testing.assert_allclose(found.credit, by_hand(X), atol=0.35)
    sums = found.credit.sum(axis=1)
    np.testing.assert_allclose(sums, found.output - found.baseline, atol=1e-10)
    few = channel_attribution(model, X, "channel", max_exact=1, n_orders=1)
    np.testing.assert_allclose(few.credit.sum(axis=1), sums)
    exact = channel_attribution(model, X, "channel", n_jobs=1)
    np.testing.assert_allclose(exact.credit, by_hand(X), atol=1e-10)


def test_rules_against_loops(X):
    touches = X["history"].array.to_frame().dropna(subset=["channel"])
    found = {
        "first": first_touch_credit(X, "channel"),
        "last": last_touch_credit(X, "channel"),
        "linear": linear_credit(X, "channel"),
        "decay": time_decay_credit(X, "channel", half_life=7),
        "position": position_based_credit(X, "channel", first=0.5, last=0.2),
    }
    for i in range(len(X)):
        own = touches[touches.index == i]
        n = len(own)
        decay = 0.5 ** ((50 - own["day"].to_numpy()) / 7)
        position = np.full(n, 0.3 / max(n - 2, 1))
        position[:1], position[-1:] = 0.5, 0.2
        weights = {
            "first": np.arange(n) == 0,
            "last": np.arange(n) == n - 1,
            "linear": np.ones(n),
            "decay": decay,
            "position": position,
        }
        for name, weight in weights.items():
            expected = pd.Series(0.0, list("abcd"))
            for channel, one in zip(own["channel"], weight, strict=True):
                expected[channel] += one / weight.sum()
            np.testing.assert_allclose(found[name].iloc[i], expected)
            assert list(found[name].index) == list(X.index)
    for first, last in [(0.9, 0.4), (-0.1, 0.4), (0, 0)]:
        with pytest.raises(ValueError, match="must not be negative"):
            position_based_credit(X, "channel", first=first, last=last)


@pytest.mark.parametrize("other", ["no", "False", "0", np.nan, None, pd.NA, 2])
def test_conversions_that_are_no_booleans_are_refused(other):
    """Text is True, whatever it says, and so is a missing number."""
    touches = pd.DataFrame({"who": [0, 1], "day": [1, 1], "channel": ["a", "b"]})
    X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0, 1]}))
    for converted in ([True, False], [1, 0], pd.Series([True, False], dtype="boolean")):
        assert markov_credit(X, "channel", converted).to_dict() == {"a": 1, "b": 0}
    with pytest.raises(ValueError, match="1 of 2 are other values, such as"):
        markov_credit(X, "channel", pd.Series([1, other], dtype=object))
    with pytest.raises(TypeError, match="for each row of X; got "):
        markov_credit(X, "channel", other)


def test_markov_chain_against_paths():
    """Probabilities by walking the chain for many steps."""
    rng = np.random.default_rng(0)
    who = rng.integers(0, 40, 150)
    events = pd.DataFrame(
        {"who": who, "day": np.arange(150), "channel": rng.choice(list("abc"), 150)}
    )
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": range(42)}))
    y = rng.integers(0, 2, 42)
    shares = markov_credit(X, "channel", y)
    frame = X["history"].array.to_frame()
    counts = pd.DataFrame(0.0, index=["start", *"abc"], columns=[*"abc", "yes", "no"])
    for i, own in frame.groupby(level=0):
        path = ["start", *own["channel"], "yes" if y[i] else "no"]
        for one, other in pairwise(path):
            counts.loc[one, other] += 1
    steps = counts.div(counts.sum(axis=1), axis=0)

    def converted(without=None):
        at, yes = pd.Series({"start": 1.0, "a": 0.0, "b": 0.0, "c": 0.0}), 0.0
        for _ in range(100):
            moved = at @ steps
            yes += moved["yes"]
            at = pd.Series({"start": 0.0, **{k: moved[k] for k in "abc"}})
            if without:
                at[without] = 0.0
        return yes

    effects = pd.Series({k: 1 - converted(k) / converted() for k in "abc"})
    np.testing.assert_allclose(shares, effects / effects.sum(), atol=1e-9)
    assert (markov_credit(X, "channel", np.zeros(42)) == 0).all()


def boosting():
    return make_pipeline(
        HistoryAggregator(),
        HistGradientBoostingClassifier(
            max_iter=50, learning_rate=0.05, max_leaf_nodes=8, random_state=0
        ),
    )


@pytest.mark.parametrize("seed", [0, 2])
def test_closer_to_the_truth_than_every_rule(seed):
    data = make_campaign_journeys(6000, random_state=seed)
    log = EventLog(data.events, "customer_id", "timestamp")
    X, y = log.attach(data.rows, cutoff="cutoff"), data.target
    found = channel_attribution(boosting().fit(X, y), X, "channel")
    truth = data.credit.sum() / data.credit.sum().sum()
    bought = X[y == 1]
    rules = [
        rule(bought, "channel").sum() / (y == 1).sum()
        for rule in (first_touch_credit, last_touch_credit, linear_credit)
    ]
    rules.append(time_decay_credit(bought, "channel", "7D").mean())
    rules.append(position_based_credit(bought, "channel").mean())
    rules.append(markov_credit(X, "channel", y))

    def error(shares):
        return (shares.reindex(data.channels) / shares.sum() - truth).abs().mean()

    assert error(found.share) < 0.9 * min(map(error, rules))
    assert spearmanr(found.share.reindex(data.channels), truth)[0] > 0.89


def test_credit_without_a_signal():
    data = make_campaign_journeys(2000, random_state=0)
    log = EventLog(data.events, "customer_id", "timestamp")
    X, y = log.attach(data.rows, cutoff="cutoff"), data.target
    found = channel_attribution(boosting().fit(X, y), X, "channel").total
    rng = np.random.RandomState(0)
    # One customer in fifty has no touch, so that credit by chance is not small.
    chance = pd.DataFrame(
        [
            channel_attribution(boosting().fit(X, some), X, "channel").total
            for some in (rng.permutation(y) for _ in range(4))
        ]
    )
    assert chance.abs().to_numpy().max() < found["search"]
    error = chance.std() / np.sqrt(len(chance))
    assert (chance.mean().abs() < 4 * error).all()


def test_empty_histories_and_errors(X):
    model = Worth().fit(X)
    empty = X["history"].array.log.attach(X.drop(columns="history"), cutoff=0)
    found = channel_attribution(model, empty, "channel")
    assert found.credit.shape == (14, 0)
    assert found.share.empty
    np.testing.assert_allclose(found.output, found.baseline)
    assert last_touch_credit(empty, "channel").shape == (14, 0)
    with pytest.raises(KeyError, match=r"no field \['channel'\]; it has \['"):
        last_touch_credit(empty, ["channel"])
    with pytest.raises(TypeError, match="field must be the name of a column"):
        last_touch_credit(empty, np.array(["channel"]))
    with pytest.raises(KeyError, match=r"no column \['history'\]; its .* \['history'"):
        last_touch_credit(empty, "channel", history=["history"])
    with pytest.raises(TypeError, match="history must be the name of a column of X"):
        last_touch_credit(empty, "channel", history=empty["history"])
    with pytest.raises(KeyError, match="no field 'medium'"):
        channel_attribution(model, X, "medium")
    events = X["history"].array.log.to_frame().assign(channel=1.5)
    numbers = EventLog(events, "who", "day").attach(X.drop(columns="history"))
    with pytest.raises(ValueError, match="'channel' is numeric"):
        channel_attribution(model, numbers, "channel")


def test_display(X):
    found = channel_attribution(Worth().fit(X), X, "channel")
    ways = {
        "model": found,
        "last touch": last_touch_credit(X, "channel"),
        "truth": pd.Series({"b": 3.0, "a": 1.0}),
    }
    _, ax = plt.subplots()
    display = ChannelAttributionDisplay.from_credit(ways, ax=ax)
    assert display.ax_ is ax
    assert display.shares["truth"].tolist() == [0.25, 0.75, 0, 0]
    np.testing.assert_allclose(display.shares.sum(), 1)
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, 100 * display.shares.to_numpy().T.ravel())
    # Three bars in order, the second at the tick of its channel, none on another.
    centers = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    step = 0.28 * np.arange(-1, 2)[:, None]
    np.testing.assert_allclose(centers, (np.arange(4) + step).ravel(), atol=1e-9)
    assert [text.get_text() for text in ax.get_legend().texts] == list(ways)
    with pytest.raises(TypeError, match="must be a dict"):
        ChannelAttributionDisplay.from_credit(found)
    plt.close("all")


class Sum(RegressorMixin, BaseEstimator):
    """Predicts the number of events."""

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return X["history"].array.lengths.astype(float)


def test_only_some_kinds_are_touches():
    """In a merged log, orders are events like others, but no touches."""
    log = EventLog.concat(
        {
            "mail": EventLog(
                pd.DataFrame({"who": [0, 0], "day": [1, 3]}), "who", "day"
            ),
            "visit": EventLog(pd.DataFrame({"who": [0], "day": [2]}), "who", "day"),
            "order": EventLog(pd.DataFrame({"who": [0], "day": [4]}), "who", "day"),
        }
    )
    X = log.attach(pd.DataFrame({"who": [0]}))
    assert last_touch_credit(X, "event").loc[0].to_dict() == {
        "mail": 0,
        "order": 1,
        "visit": 0,
    }
    touches = {"kinds": ["mail", "visit"]}
    thirds = {"mail": 2 / 3, "visit": 1 / 3}
    for rule, expected in (
        (first_touch_credit, {"mail": 1, "visit": 0}),
        (last_touch_credit, {"mail": 1, "visit": 0}),
        (linear_credit, thirds),
        (lambda X, *args, **o: time_decay_credit(X, *args, 1e9, **o), thirds),
        (position_based_credit, {"mail": 0.8, "visit": 0.2}),
    ):
        credit = rule(X, "event", **touches)
        assert credit.loc[0].to_dict() == pytest.approx(expected)
    assert list(markov_credit(X, "event", [1], **touches).index) == ["mail", "visit"]
    found = channel_attribution(Sum().fit(X), X, "event", **touches)
    # Orders are never removed, so that they are in the baseline.
    assert found.credit.loc[0].to_dict() == {"mail": 2, "visit": 1}
    assert found.baseline.tolist() == [1]
    with pytest.raises(ValueError, match=r"no events of the kinds \['call'\]"):
        linear_credit(X, "event", kinds="call")
    with pytest.raises(KeyError, match="no field 'what'"):
        linear_credit(X, "event", kinds="mail", kind_field="what")


def test_kinds_of_touches_that_no_row_of_a_file_sees(tmp_path):
    visit = EventLog(pd.DataFrame({"who": [0], "day": [2]}), "who", "day")
    order = EventLog(pd.DataFrame({"who": [0], "day": [4]}), "who", "day")
    log = EventLog.concat({"visit": visit, "order": order}, observed_until=5)
    log.snapshots([3]).to_parquet(tmp_path / "rows.parquet")
    X = pd.read_parquet(tmp_path / "rows.parquet")
    credit = linear_credit(X, "event", kinds=["visit", "order"])
    assert credit.loc[0].to_dict() == {"visit": 1}


def test_touches_many_half_lives_ago_have_no_credit():
    touches = pd.DataFrame({"who": 0, "day": [0, 1074, 2000], "channel": list("abc")})
    X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    with np.errstate(all="raise"):  # weights of 0 and just above
        credit = time_decay_credit(X, "channel", half_life=1)
    assert credit.loc[0].to_dict() == pytest.approx({"a": 0, "b": 0, "c": 1})


def test_credits_for_different_classes_are_not_added_up():
    data = make_campaign_journeys(300, random_state=0)
    log = EventLog(data.events, "customer_id", "timestamp")
    X = log.attach(data.rows, cutoff="cutoff")
    y = np.where(data.target == 1, "bought", np.where(X.index % 3, "lost", "left"))
    model = boosting().fit(X, y)
    with pytest.raises(ValueError, match="target must be one of the 3 classes"):
        channel_attribution(model, X, "channel")
    found = channel_attribution(model, X, "channel", target="bought")
    np.testing.assert_allclose(found.output, model.predict_proba(X)[:, 0])
