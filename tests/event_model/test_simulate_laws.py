"""Simulated events follow the likelihood, and targets read them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._levels import LevelDensity
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)
from sklearn_seqcrm.testing._small_data import make_events, make_rows

SMALL = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}
DAY = pd.Timedelta(days=1)


def test_simulated_events_are_events_after_the_cutoff(model, X):
    futures = model.sample(X, "200D", n_paths=20, random_state=0)
    assert futures.columns.tolist() == [
        "row",
        "who",
        "path",
        *X["history"].array.to_frame().columns[1:],
    ]
    cutoff = X["at"].to_numpy()[futures["row"]]
    assert (futures["when"] >= cutoff).all()
    assert (futures["when"] < cutoff + pd.Timedelta("200D")).all()
    assert futures["path"].between(0, 19).all()
    by = ["row", "path", "when"]
    assert_frame_equal(futures[by], futures[by].sort_values(by, ignore_index=True))
    # Levels and numbers are those of training, and so is the resolution of times.
    events = make_events(30)
    known = events["amount"][np.isfinite(events["amount"])]
    assert futures["amount"].dropna().between(known.min(), known.max()).all()
    assert set(futures["kind"].dropna()) <= set(events["kind"].dropna())
    assert 0 < futures["kind"].isna().mean() < 0.3
    assert (futures["when"] == futures["when"].dt.floor("min")).all()
    assert futures["when"].dtype == X["history"].array.log.to_frame()["when"].dtype
    assert set(futures["row"]) <= set(np.flatnonzero(X["history"].array.lengths))
    EventLog(futures.assign(id=futures["row"] * 20 + futures["path"]), "id", "when")


def test_simulated_events_are_as_probable_as_the_likelihood_says(monkeypatch):
    """At new moments and within baskets, with copies and shrinkage."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": rng.integers(0, 12, 200)})
    events["day"], events["item"] = (
        rng.integers(0, 20, 200),
        rng.choice([*"abcde"], 200),
    )
    X = EventLog(events, "who", "day").snapshots([20])
    model = LSTMEventModel(**SMALL).fit(X)
    density = model.net_.module_.fields[0]
    with torch.no_grad():
        density.output.weight.mul_(10)
        density.copies.gates.weight.mul_(10)
        density.copies.lift[2:] = torch.tensor([0.2, 0.5, 1.0, 2.0, 4.0])
        density.shrinkage.copy_(torch.tensor([[0.1, 0.8], [0.4, 1.0]]))
    log_probs, draw = [], LevelDensity.draw

    def kept(self, states, generator, state, is_tie, codes):
        codes = draw(self, states, generator, state, is_tie)
        shares = self.probabilities(states, state, is_tie)
        log_probs.append(shares.gather(1, codes[:, None])[:, 0].log().numpy())
        return codes

    monkeypatch.setattr(LevelDensity, "draw", kept)
    futures = model.sample(X, 5, random_state=1, n_paths=1)
    # Each step has the next event of the paths that continue, in their order.
    number = futures.groupby("row").cumcount()
    order = np.lexsort((futures["row"], number))
    histories = events.sort_values("day", kind="stable")
    ahead = futures.assign(who=X["who"].to_numpy()[futures["row"]])
    both = pd.concat([histories, ahead])[["who", "day", "item"]]
    scores = model.score_events(EventLog(both, "who", "day").snapshots([25]))
    had = events.groupby("who").size().to_numpy()
    found = scores["log_prob_item"][scores["event"] >= had[scores["row"]]].to_numpy()
    is_tie = futures.duplicated(["row", "day"])
    assert 10 < is_tie.sum() < len(futures) - 10
    # The likelihood allows missing values even if no training event has one.
    assert_allclose(np.concatenate(log_probs), found[order], atol=0.02)


def test_simulations_repeat_and_ignore_the_future(model, X):
    one = model.sample(X, "90D", n_paths=5, random_state=0)
    assert_frame_equal(one, model.sample(X, "90D", n_paths=5, random_state=0))
    assert not one.equals(model.sample(X, "90D", n_paths=5, random_state=1))
    events, rows = make_events(30), make_rows(30)
    last = events["who"].map(rows.groupby("who")["at"].max())
    without = EventLog(events[events["when"] < last], "who", "when")
    other = without.attach(rows, cutoff="at")
    assert_frame_equal(one, model.sample(other, "90D", n_paths=5, random_state=0))
    back = pickle.loads(pickle.dumps(model))
    assert_frame_equal(one, back.sample(X, "90D", n_paths=5, random_state=0))


def test_simulations_follow_the_survival_function(model, X):
    """The share of paths with an event equals its probability."""
    rows = X[X["history"].array.lengths > 0].iloc[:8]
    n_paths = 4000
    survival = model.predict_survival_function(rows, return_array=True)
    assert survival.shape == (8, len(model.unique_times_))
    assert (survival[:, 0] == 1).all()
    assert (np.diff(survival, axis=1) <= 1e-9).all()
    curve = model.predict_survival_function(rows)[3]
    assert_allclose(curve(model.unique_times_), survival[3], rtol=1e-9)
    assert_array_equal(curve(["36h", "5D"]), curve([1.5, 5.0]))
    for at in (40, 55):
        horizon = pd.Timedelta(days=model.unique_times_[at]).ceil("min")
        futures = model.sample(rows, horizon, n_paths, random_state=0)
        some = futures.drop_duplicates(["row", "path"])["row"]
        active = np.bincount(some, minlength=8) / n_paths
        error = 5 * np.sqrt(0.25 / n_paths) + 1e-3
        assert_allclose(active, 1 - survival[:, at], atol=error)


@pytest.mark.parametrize("number", [1e38, 1.7e308, -1.7e308])
def test_extreme_numbers_keep_training_finite(number):
    events = make_events(10)
    events.loc[len(events) // 2, "amount"] = number
    X = EventLog(events, "who", "when").attach(make_rows(10), cutoff="at")
    model = LSTMEventModel(**SMALL).fit(X)
    found = model.score_events(X)["log_prob_amount"]
    assert np.isfinite(found.dropna()).all()


def test_numbers_at_the_end_of_the_floats():
    """The median of an even number of them overflowed, with a warning of NumPy."""
    events = make_events(10).assign(amount=1.7e308)
    for n_events in (40, 41):
        log = EventLog(events.iloc[:n_events], "who", "when")
        model = LSTMEventModel(**SMALL).fit(log.attach(make_rows(10), cutoff="at"))
        assert model.resolutions_["amount"] == 1e-6


@pytest.mark.parametrize(
    ("size", "n_huge"), [(1e200, 200), (-1e200, 200), (1e200, 3), (-1e60, 20)]
)
def test_numbers_that_could_not_be_drawn_again_are_refused(size, n_huge):
    """Drawn numbers are at most exp(80) = 6e34 times the scale."""
    amounts = size * np.arange(1.0, 201.0)
    amounts[n_huge:] = 9 + np.arange(200 - n_huge) / 100
    events = pd.DataFrame({"who": np.arange(200) % 9, "when": np.arange(200)})
    log = EventLog(events.assign(amount=amounts), "who", "when")
    text = f"{n_huge} of 200 values of field 'amount' are larger than .e.3[45] "
    with pytest.raises(ValueError, match=text):
        LSTMEventModel(**SMALL).fit(log.snapshots([200]))


def test_more_paths_than_at_once(model, X, monkeypatch):
    """With batches of few paths, events stay in their own rows and windows."""
    from sklearn_seqcrm.event_model import _simulate

    monkeypatch.setattr(_simulate, "_PATHS_AT_ONCE", 7)
    monkeypatch.setattr(_simulate, "_FEWEST_PATHS", 3)
    X = X.iloc[:30]
    futures = model.sample(X, "200D", n_paths=10, random_state=0)
    cutoff = X["at"].to_numpy()[futures["row"]]
    assert ((futures["when"] >= cutoff) & (futures["when"] < cutoff + 200 * DAY)).all()
    whole = make_counts(model.sample(X, "200D", n_paths=10, random_state=1), len(X), 10)
    few = make_counts(futures, len(X), 10)
    error = 5 * whole.std() / np.sqrt(whole.size)
    assert_allclose(few.mean(), whole.mean(), atol=error)


def make_counts(futures, n_rows, n_paths):
    number = futures["row"] * n_paths + futures["path"]
    return np.bincount(number, minlength=n_rows * n_paths).reshape(n_rows, n_paths)


def test_targets_of_simulated_futures(model, X):
    futures = model.sample(X, "90D", n_paths=6, random_state=0)
    by_path = futures.groupby(["row", "path"])

    def simulated(target, horizon="90D"):
        return model.simulate_targets(
            X, target, horizon, 6, random_state=0, return_paths=True
        )

    counts = make_counts(futures, len(X), 6)
    assert_array_equal(simulated(lambda rows: future_count(rows, "90D")), counts)
    assert_array_equal(simulated(lambda rows: churned(rows, "90D")), counts == 0)
    spend = by_path["amount"].sum().unstack().reindex(range(len(X))).fillna(0)
    found = simulated(lambda rows: future_sum(rows, "amount", "90D"))
    assert_allclose(found, spend, rtol=1e-12)
    orders = make_counts(futures[futures["kind"] == "order"], len(X), 6)
    found = simulated(
        lambda rows: future_count(rows, "90D", kinds="order", kind_field="kind")
    )
    assert_array_equal(found, orders)


def paths_of(model, X, target):
    return model.simulate_targets(
        X, target, "90D", 3, random_state=0, return_paths=True
    )


def by_path(futures, n_rows, n_paths):
    """Yield the position of each path and its simulated events."""
    paths = dict(iter(futures.groupby(["row", "path"])))
    for key in np.ndindex(n_rows, n_paths):
        yield key, paths.get(key, futures[:0])


def test_targets_of_several_horizons_keep_their_names(model, X):
    """Types are kept as well, as are the columns of `time_to_next`."""
    X = X.iloc[:20]
    at, n, horizons = X["at"].to_numpy(), len(X), ["30D", "90D"]

    def simulated(target):
        return paths_of(model, X, target)

    counts = simulated(lambda rows: future_count(rows, horizons))
    sums = simulated(lambda rows: future_sum(rows, "amount", horizons))
    away = simulated(lambda rows: churned(rows, horizons))
    waits = simulated(lambda rows: time_to_next(rows, "90D"))
    for table in (counts, sums, away, waits):
        assert table.index.names == ["row", "path"]
        assert table.index.tolist() == list(np.ndindex(n, 3))
    for table in (counts, sums, away):
        assert table.columns.tolist() == [pd.Timedelta(one) for one in horizons]
    assert (counts.dtypes == "int64").all()
    assert waits.dtypes["event"] == "bool"
    assert waits.dtypes["time"].kind == "m"
    futures = model.sample(X, "90D", n_paths=3, random_state=0)
    for (row, path), own in by_path(futures, n, 3):
        since = own["when"] - at[row]
        for horizon in map(pd.Timedelta, horizons):
            there, place = since < horizon, ((row, path), horizon)
            assert counts.loc[place] == there.sum()
            assert away.loc[place] == (not there.any())
            assert_allclose(sums.loc[place], own.loc[there, "amount"].sum())
        wait = since.min() if len(own) else pd.Timedelta("90D")
        assert waits.loc[(row, path)].tolist() == [len(own) > 0, wait]
    means = counts.groupby("row").mean()
    both = simulated(lambda rows: future_count(rows, horizons).to_numpy())
    assert both.shape == (n, 3, 2)
    assert_allclose(both.mean(axis=1), means, rtol=1e-12)


def test_targets_that_are_values_of_the_next_event(model, X):
    X = X.iloc[:20]

    def simulated(field):
        return paths_of(model, X, lambda rows: next_value(rows, field, "90D"))

    kinds, due = simulated("kind"), simulated("due")
    assert kinds.shape == due.shape == (len(X), 3)
    assert due.dtype.kind == "M"
    futures = model.sample(X, "90D", n_paths=3, random_state=0)
    for place, own in by_path(futures, len(X), 3):
        if not len(own) or pd.isna(own["kind"].iloc[0]):
            assert pd.isna(kinds[place])
        else:
            assert kinds[place] == own["kind"].iloc[0]
        first = own["due"].iloc[0] if len(own) else pd.NaT
        assert pd.isna(due[place]) == pd.isna(first)
        assert pd.isna(first) or due[place] == first


def test_targets_end_with_the_simulation_of_their_row(model, X):
    """They do not end with the simulation of the last cutoff among the rows."""
    assert X["at"].nunique() > 1

    def simulated(target):
        return paths_of(model, X, target)

    waits = simulated(lambda rows: time_to_next(rows, censored="keep"))
    expected = simulated(lambda rows: time_to_next(rows, "90D"))
    assert_array_equal(waits["event"], expected["event"])
    # Up to the last time of the record, a tick before its end.
    shorter = expected["time"] - waits["time"]
    assert shorter.between(pd.Timedelta(0), pd.Timedelta("1us")).all()
    longer = simulated(lambda rows: future_count(rows, ["9D", "91D"], censored="nan"))
    assert longer.notna().all().tolist() == [True, False]
    assert longer.isna().all().tolist() == [False, True]
    says = r"run past the end of the log.*'nan'; or simulate for longer, by horizon="
    with pytest.raises(ValueError, match=says):
        simulated(lambda rows: future_count(rows, "91D"))


def test_targets_in_another_order_are_put_in_place(model, X):
    def simulated(target):
        return paths_of(model, X, target)

    counts = simulated(lambda rows: future_count(rows, "90D"))
    turned = simulated(lambda rows: future_count(rows, "90D").sort_values())
    assert_array_equal(turned, counts)


def test_weekly_customers_stay_weekly():
    """Simulations keep the weekly rhythm of training."""
    rng = np.random.default_rng(0)
    weeks = rng.integers(5, 12, 300)
    who = np.repeat(range(300), weeks)
    week = np.concatenate([np.arange(n) for n in weeks])
    day = pd.Timestamp("2024-01-01") + 7 * week * DAY + 1 * (who % 7) * DAY
    events = pd.DataFrame({"who": who, "day": day, "n": 1.0 + who % 2})
    log = EventLog(events, "who", "day")
    X = log.snapshots([pd.Timestamp("2024-02-05")])
    model = LSTMEventModel(
        hidden_size=16, max_epochs=25, learning_rate=0.02, random_state=0
    ).fit(X)
    futures = model.sample(X, "70D", n_paths=5, random_state=0)
    who = X["history"].array.customers[futures["row"]]
    weekday = (futures["day"] - pd.Timestamp("2024-01-01")).dt.days % 7
    assert (weekday == who % 7).mean() > 0.9
    assert (futures["n"] == 1 + who % 2).mean() > 0.95
    counts = make_counts(futures, len(X), 5)
    assert 9 < counts.mean() < 10.5


def test_paths_that_explode_end_with_a_warning(model, X, monkeypatch):
    monkeypatch.setattr(BusiestWindows, "bound", lambda self, length: 3)
    with pytest.warns(UserWarning, match="simulated paths had 3 events within 900D"):
        futures = model.sample(X, "900D", n_paths=4, random_state=0)
    assert make_counts(futures, len(X), 4).max() == 3


def test_merged_logs_keep_the_fields_of_their_kinds(merged):
    model = LSTMEventModel(**SMALL).fit(merged)
    futures = model.sample(merged, "300D", n_paths=10, random_state=0)
    is_order = futures["event"] == "order"
    assert 0.1 < is_order.mean() < 0.9
    assert futures.loc[is_order, "amount"].notna().all()
    assert futures.loc[is_order, ["page", "due"]].isna().all(axis=None)
    assert futures.loc[~is_order, "amount"].isna().all()
    assert futures.loc[~is_order, "page"].notna().all()
    scores = model.score_events(merged)
    codes = merged["history"].array.to_frame()["event"].to_numpy()
    assert (scores.loc[codes == "order", "log_prob_page"] == 0).all()
    assert (scores.loc[codes == "visit", "log_prob_page"] < 0).all()


def test_a_kind_without_training_events():
    """The fields of such a kind are missing in simulations; likelihoods are finite."""
    days = np.arange(60.0)
    orders = pd.DataFrame({"who": days % 12, "t": days, "item": [*"abc"] * 20})
    returns = pd.DataFrame({"who": days % 12, "t": days + 60, "why": [*"xy"] * 30})
    returns["fee"] = days
    log = EventLog.concat(
        {
            "order": EventLog(orders, "who", "t"),
            "return": EventLog(returns, "who", "t"),
        },
        observed_until=120.0,
    )
    X = log.snapshots([60.0])
    model = LSTMEventModel(**SMALL).fit(X)
    futures = model.sample(X, 20.0, n_paths=4, random_state=0)
    assert futures["item"].notna().all()
    assert futures[["why", "fee"]].isna().all(axis=None)
    scores = model.score_events(log.snapshots([100.0]))
    assert scores.notna().all(axis=None)
    assert set(model.predict_next(X, "item", 3)["value"]) == {*"abc"}
