"""The event model: its likelihood against a loop, its simulations against its laws."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._learned import BusiestWindows
from sklearn_seqcrm.event_model._levels import LevelDensity
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_table

SMALL = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}
DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module", name="X")
def rows():
    return make_table(30)


@pytest.fixture(scope="module")
def model(X):
    return LSTMEventModel(**SMALL).fit(X)


# Likelihood ---------------------------------------------------------------------------


def test_likelihood_is_that_of_a_loop():
    """Customer by customer, with the formulas and a cell of torch."""
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + rng.integers(0, 60, 80) * DAY
    days = pd.DatetimeIndex(days).as_unit("us")  # pandas 2 makes "ns"
    events = pd.DataFrame(
        {"who": rng.integers(0, 12, 80), "day": days, "shop": rng.choice([*"abc"], 80)}
    ).sort_values(["who", "day"], ignore_index=True)
    at = pd.Timestamp("2024-02-20")
    X = EventLog(events, "who", "day").attach(
        pd.DataFrame({"who": range(13), "age": rng.normal(size=13)}), cutoff=at
    )
    model = LSTMEventModel(**SMALL).fit(X)
    density = model.net_.module_.fields["0"]
    copies = density.copies
    with torch.no_grad():  # so that all of it matters
        copies.gates.weight.mul_(5)
        copies.lift[2:] = torch.tensor([0.5, 1.0, 2.0])
        density.shrinkage.copy_(torch.tensor([[0.3, 0.8], [0.6, 1.0]]))
    popular = events.loc[events["day"] < at, "shop"].value_counts() + 0.5
    popular /= popular.sum()
    encoded = HistoryEncoder().fit_transform(X)["history"].array
    module, unit = model.net_.module_, model._learned.grid.unit / 86_400e6
    age = (X["age"] - X["age"].mean()) / X["age"].std(ddof=0)
    found = model.score_samples(X)
    for i in range(13):
        own = events[(events["who"] == i) & (events["day"] < at)]
        start = encoded.rows.start[i]
        expected, state = 0.0, None
        output, statics = module.initial_output, module.from_statics
        for j, (day, shop) in enumerate(zip(own["day"], own["shop"], strict=True)):
            h = output + statics.bias + statics.weight[:, 0] * age[i]
            if j:
                gap = (day - own["day"].iloc[j - 1]).days
                expected += log_prob_of_days(module, h, gap, unit)
            values = torch.tensor(encoded.log.channels[start + j])
            if not j:
                values[module.blocks.time.start] = 0
            context = torch.relu(
                module.from_state(h) + module.from_time(values[module.blocks.time])
            )
            is_tie = j > 0 and gap == 0
            of_output, of_gates = (
                torch.cat([context * factor[int(is_tie)], torch.tensor([1.0 - is_tie])])
                for factor in density.shrinkage
            )
            logits = density.output(of_output)[1:]  # but that of unseen levels
            generated = logits.softmax(0)["-abc".index(shop)].item()
            before = own.iloc[:j]
            shares = {"generated": generated, "popular": popular[shop]}
            expected += np.log(share_of(copies, of_gates, shares, before, day, shop))
            codes = torch.tensor(encoded.log.codes[start + j]).long()
            steps = module.reader.embed(values[None, None], codes[None, None])
            cell = module.reader.layers[0][0]
            outputs, state = cell(steps, state)
            output = outputs[0, 0]
        if len(own):
            h = output + statics.bias + statics.weight[:, 0] * age[i]
            silence = (at - own["day"].iloc[-1]).days
            shares = [
                np.exp(log_prob_of_days(module, h, gap, unit)) for gap in range(silence)
            ]
            expected += np.log(1 - np.sum(shares))
        assert_allclose(found[i], expected, rtol=1e-4, atol=1e-4, err_msg=f"row {i}")
    total = found.sum() / (events["day"] < at).sum()
    assert_allclose(model.score(X), total, rtol=1e-5)


def share_of(copies, context, shares, before, day, shop):
    """Return the probability of a shop: generated, popular or copied."""
    today = before.loc[before["day"] == day, "shop"].value_counts()
    lag = (before["day"].nunique() - before["day"].rank(method="dense") + 1)[
        before["day"] < day
    ] - (before["day"] == day).any()
    counts = [today]
    for reach in (1, 4, 16, 64, np.inf):
        weight = before["shop"].map(lambda x: copies.lift["__abc".index(x)].item())
        weight = weight.astype("float64")
        faded = (weight * np.exp(-lag / reach)).groupby(before["shop"]).sum()
        counts.append(faded[~faded.index.isin(today.index)])
    total = np.array([kind.sum() for kind in counts])
    logits = copies.gates(context)
    logits[2:][torch.tensor(total == 0)] = -torch.inf
    gates = logits.softmax(0).tolist()
    share = gates[0] * shares["generated"] + gates[1] * shares["popular"]
    for gate, kind in zip(gates[2:], counts, strict=True):
        share += gate * kind.get(shop, 0) / max(kind.sum(), 1e-9)
    return share


def log_prob_of_days(module, h, gap, unit):
    """Return the log probability of an interarrival time in days, by scipy."""
    numbers = module.time.output(h).detach().double().numpy()
    shares = np.exp(numbers[:5]) / np.exp(numbers[:5]).sum()
    if gap == 0:
        return np.log(shares[0])
    scale = np.exp(np.log1p(np.exp(numbers[9:] + 4.6)) - 4.6)
    mixture = stats.norm(numbers[5:9], scale)
    below = 0 if gap == 1 else mixture.cdf(np.log((gap - 1) / unit))
    return np.log(shares[1:] @ (mixture.cdf(np.log(gap / unit)) - below))


def test_events_add_up_to_rows(model, X):
    events = model.score_events(X)
    fields = [f"log_prob_{name}" for name in ("time", "amount", "kind", "due")]
    assert events.columns.tolist() == ["row", "event", "log_prob", *fields]
    assert_array_equal(
        events["row"], np.repeat(range(len(X)), X["history"].array.lengths)
    )
    assert_allclose(events[fields].sum(axis=1), events["log_prob"])
    assert (events.loc[events["event"] == 0, "log_prob_time"] == 0).all()
    of_rows = (
        events.groupby("row")["log_prob"].sum().reindex(range(len(X)), fill_value=0)
    )
    quiet = model.score_samples(X) - of_rows
    assert (quiet < 1e-3).all()


def test_time_since_the_last_event_lowers_the_likelihood():
    """Of two equal histories, the one with the later cutoff is less likely."""
    events = pd.DataFrame({"who": [1, 1, 2, 2], "day": [1, 3, 1, 3]})
    rows = pd.DataFrame({"who": [1, 2], "at": [4, 40]})
    X = EventLog(events, "who", "day").attach(rows, cutoff="at")
    near, far = LSTMEventModel(**SMALL).fit(X).score_samples(X)
    assert far < near - 0.1


@pytest.mark.parametrize("kind", ["renewal", "mixed"])
def test_likelihood_comes_close_to_the_truth(kind):
    """Within .03 nats an event of the process that made the events."""
    rng, end = np.random.default_rng(0), 20.0
    histories, truth = [], 0.0
    for _ in range(600):
        rate = rng.choice([0.3, 3.0]) if kind == "mixed" else 1.0
        shape = 1 if kind == "mixed" else 3
        gaps = rng.gamma(shape, 1 / (rate * shape), 200)
        times = np.append(0.0, np.cumsum(gaps))
        times = times[times < end]
        n_gaps = len(times) - 1
        histories.append(times)
        if kind == "mixed":  # the rate is latent
            rates = np.array([0.3, 3.0])
            truth += np.log(np.mean(rates**n_gaps * np.exp(-rates * end)))
        else:
            gamma = stats.gamma(3, scale=1 / 3)
            truth += gamma.logpdf(gaps[:n_gaps]).sum() + gamma.logsf(end - times[-1])
    n_events = sum(map(len, histories))
    who = np.repeat(range(600), [len(times) for times in histories])
    events = pd.DataFrame({"who": who, "time": np.concatenate(histories)})
    log = EventLog(events, "who", "time")
    X = log.attach(pd.DataFrame({"who": range(600)}), cutoff=end)
    model = LSTMEventModel(
        hidden_size=16, max_epochs=8, learning_rate=0.01, random_state=0
    ).fit(X)
    # A density is a probability over the width of the cells.
    density = model.score(X) - (1 - 600 / n_events) * np.log(model._learned.grid.step)
    assert abs(density - truth / n_events) < 0.03


# Simulation ---------------------------------------------------------------------------


def test_simulated_events_are_events_after_the_cutoff(model, X):
    futures = model.sample(X, "200D", n_paths=20, random_state=0)
    assert futures.columns.tolist() == ["row", "path", "when", "amount", "kind", "due"]
    cutoff = X["at"].to_numpy()[futures["row"]]
    assert (futures["when"] >= cutoff).all()
    assert (futures["when"] < cutoff + pd.Timedelta("200D")).all()
    assert futures["path"].between(0, 19).all()
    by = ["row", "path", "when"]
    assert_frame_equal(futures[by], futures[by].sort_values(by, ignore_index=True))
    # What happens has happened before, and times have the resolution that they had.
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
    density = model.net_.module_.fields["0"]
    with torch.no_grad():
        density.output.weight.mul_(10)
        density.copies.gates.weight.mul_(10)
        density.copies.lift[2:] = torch.tensor([0.2, 0.5, 1.0, 2.0, 4.0])
        density.shrinkage.copy_(torch.tensor([[0.1, 0.8], [0.4, 1.0]]))
    log_probs, draw = [], LevelDensity.draw

    def kept(self, states, generator, *args):
        codes = draw(self, states, generator, *args)
        shares = self.probabilities(states, *args)
        log_probs.append(shares.gather(1, codes[:, None])[:, 0].log().numpy())
        return codes

    monkeypatch.setattr(LevelDensity, "draw", kept)
    futures = model.sample(X, 5, random_state=1, n_paths=1)
    # A step has the next event of all paths that go on, by their number.
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
    # What no training event lacks has a small share of the likelihood alone.
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
    """The share of paths with an event against its probability."""
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


@pytest.mark.parametrize("number", [1e38, -1.7e308])
def test_extreme_numbers_keep_training_finite(number):
    events = make_events(10)
    events.loc[len(events) // 2, "amount"] = number
    X = EventLog(events, "who", "when").attach(make_rows(10), cutoff="at")
    model = LSTMEventModel(**SMALL).fit(X)
    found = model.score_events(X)["log_prob_amount"]
    assert np.isfinite(found.dropna()).all()


def test_more_paths_than_at_once(model, X, monkeypatch):
    """Batches of few paths; events stay in their own rows and windows."""
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
        return model.simulate_targets(X, target, horizon, 6, random_state=0)

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


def by_path(futures, n_rows, n_paths):
    """Yield the place of each path and its simulated events."""
    paths = dict(iter(futures.groupby(["row", "path"])))
    for key in np.ndindex(n_rows, n_paths):
        yield key, paths.get(key, futures[:0])


def test_targets_of_several_horizons_keep_their_names(model, X):
    """And their types, as do the columns of `time_to_next`."""
    X = X.iloc[:20]
    at, n, horizons = X["at"].to_numpy(), len(X), ["30D", "90D"]

    def simulated(target):
        return model.simulate_targets(X, target, "90D", 3, random_state=0)

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
        return model.simulate_targets(
            X, lambda rows: next_value(rows, field, "90D"), "90D", 3, random_state=0
        )

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
    """Not with that of the last cutoff among the rows."""
    assert X["at"].nunique() > 1

    def simulated(target):
        return model.simulate_targets(X, target, "90D", 3, random_state=0)

    waits = simulated(lambda rows: time_to_next(rows, censored="keep"))
    expected = simulated(lambda rows: time_to_next(rows, "90D"))
    assert_array_equal(waits["event"], expected["event"])
    # Up to the last moment of the record, a tick before its end.
    shorter = expected["time"] - waits["time"]
    assert shorter.between(pd.Timedelta(0), pd.Timedelta("1us")).all()
    longer = simulated(lambda rows: future_count(rows, ["9D", "91D"], censored="nan"))
    assert longer.notna().all().tolist() == [True, False]
    assert longer.isna().all().tolist() == [False, True]
    with pytest.raises(ValueError, match="run past the end of the log"):
        simulated(lambda rows: future_count(rows, "91D"))


def test_targets_in_another_order_are_put_in_place(model, X):
    def simulated(target):
        return model.simulate_targets(X, target, "90D", 3, random_state=0)

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


def make_merged():
    """Orders, which have an amount, and visits, which have a page."""
    events = make_events(30)
    orders = events.loc[np.isfinite(events["amount"]), ["who", "when", "amount"]]
    visits = events[["who", "when", "due"]].assign(page=events["kind"].fillna("none"))
    log = EventLog.concat(
        {
            "order": EventLog(orders, "who", "when"),
            "visit": EventLog(visits, "who", "when"),
        },
        kind_field="event",
    )
    return log.attach(make_rows(30), cutoff="at")


def test_merged_logs_keep_the_fields_of_their_kinds():
    X = make_merged()
    model = LSTMEventModel(**SMALL).fit(X)
    futures = model.sample(X, "300D", n_paths=10, random_state=0)
    is_order = futures["event"] == "order"
    assert 0.1 < is_order.mean() < 0.9
    assert futures.loc[is_order, "amount"].notna().all()
    assert futures.loc[is_order, ["page", "due"]].isna().all(axis=None)
    assert futures.loc[~is_order, "amount"].isna().all()
    assert futures.loc[~is_order, "page"].notna().all()
    scores = model.score_events(X)
    codes = X["history"].array.to_frame()["event"].to_numpy()
    assert (scores.loc[codes == "order", "log_prob_page"] == 0).all()
    assert (scores.loc[codes == "visit", "log_prob_page"] < 0).all()


def test_a_kind_without_training_events():
    """Its fields are missing in simulations, and likelihoods are finite."""
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


# What comes next ----------------------------------------------------------------------


def test_next_values_are_most_probable_first(model, X):
    found = model.predict_next(X, "kind", n=3)
    assert found.columns.tolist() == ["row", "rank", "value", "probability"]
    assert_array_equal(found["row"], np.repeat(range(len(X)), 3))
    assert_array_equal(found["rank"], np.tile([1, 2, 3], len(X)))
    by_row = found.groupby("row")["probability"]
    assert (by_row.diff().dropna() <= 0).all()
    assert by_row.sum().between(0.7, 1).all()  # the rest is missing
    assert_frame_equal(found, model.predict_next(X, "kind", n=3))


def test_next_values_are_those_of_simulations(model, X):
    rows = X[X["history"].array.lengths > 2].iloc[:4]
    found = model.predict_next(rows, "kind", n=3, n_draws=500)
    # By then nearly all have had another event.
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
    # The first basket is enough of a path.
    monkeypatch.setattr(BusiestWindows, "bound", lambda *_: 10)
    rows = X[:3]
    found = model.predict_next(rows, "item", basket=True, n_draws=600)
    assert_frame_equal(
        found, model.predict_next(rows, "item", basket=True, n_draws=600)
    )
    futures = model.sample(rows, 4000, n_paths=600, random_state=1)
    first = futures.groupby(["row", "path"])["day"].transform("min")
    basket = futures[futures["day"] == first].drop_duplicates(["row", "path", "item"])
    counts = pd.crosstab(basket["row"], basket["item"]) / 600
    assert basket.groupby(["row", "path"]).size().mean() > 2
    for row, value, share in found[["row", "value", "probability"]].to_numpy():
        assert abs(counts.loc[row, value] - share) < 0.08
    assert found["probability"].groupby(found["row"]).sum().gt(1.5).all()
    one = model.predict_next(rows, "item", n_draws=600)
    assert one["probability"].groupby(one["row"]).sum().lt(1.01).all()
    with pytest.raises(ValueError, match=r"basket=True is .* within='3D' for a period"):
        model.predict_next(rows, "item", basket=True, within="3D")


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
@pytest.mark.parametrize("basket", [False, True])
def test_next_values_of_a_field_that_some_kinds_have(basket, monkeypatch):
    """An event of another kind has none of its values."""
    X = make_merged()
    model = LSTMEventModel(**SMALL).fit(X)
    module = model.net_.module_
    module.time.is_possible[0] = True
    with torch.no_grad():  # of many events in a basket, later ones are visits
        module.time.output.bias[0] += 3
        module.fields["0"].output.weight[:, -1] += torch.tensor([0.0, 0, 3, -3])
    rows = X[X["history"].array.lengths > 2].iloc[:3]
    params = {"basket": basket, "n_draws": 600}
    # The first moment is enough of a path.
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
    # Which of the kinds that have it is drawn, and weighed with the chance of them all.
    kinds = model.predict_next(rows, "event", n_draws=600).set_index(["row", "value"])
    visits = kinds["probability"].xs("visit", level="value")
    few = model.predict_next(rows, "page", n_draws=2)
    total = few.groupby("row")["probability"].sum()
    assert_allclose(total, visits, rtol=0.05)
    assert not total.gt(0.9).any()


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
    params = {"hidden_size": 8, "max_epochs": 6, "batch_size": 16, "random_state": 0}
    params |= {"learning_rate": 0.02, "averaged_steps": 10, "early_stopping": False}
    model = LSTMEventModel(**params).fit(X[:90])
    first = model.predict_next(X[90:], "item", n=1)
    assert (first["value"] == own.reshape(120, 12)[90:, 0].astype(str)).mean() > 0.9
    assert first["probability"].between(0.5, 0.95).mean() > 0.8
    futures = model.sample(X[90:], 30, n_paths=5, random_state=0)
    favourite = own.reshape(120, 12)[90:, 0].astype(str)[futures["row"]]
    assert 0.45 < (futures["item"] == favourite).mean() < 0.95
    without = LSTMEventModel(**params, copies=False).fit(X[:90])
    assert without.score(X[90:]) < model.score(X[90:]) - 1


def test_ties_up_to_rounding_are_one_basket():
    """Their likelihood and next values are those of a tie."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": rng.integers(0, 9, 90), "t": rng.uniform(0, 9, 90)})
    events["item"] = rng.choice([*"abc"], 90)
    log = EventLog(events, "who", "t")
    model = LSTMEventModel(**SMALL).fit(log.snapshots([10.0]))
    copies = model.net_.module_.fields["0"].copies
    with torch.no_grad():  # all that is copied is of the last moment
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
    assert set(zip(new["row"], new["value"], strict=True)) == expected


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
    X = make_table(30)
    model = LSTMEventModel(**SMALL, max_categories=1).fit(X)
    found = model.predict_next(X, "kind")
    shares = found.pivot(index="row", columns="value", values="probability")
    counts = X["history"].array.to_frame().drop_duplicates(["who", "when", "amount"])
    counts = counts["kind"].value_counts()
    ratio = shares["order"] / shares["return"]
    assert_allclose(ratio, ratio.iloc[0], rtol=1e-4)
    assert_allclose(ratio.iloc[0], counts["order"] / counts["return"], rtol=0.2)


# States and training ------------------------------------------------------------------


def test_states_are_columns(model, X):
    states = model.transform(X)
    assert states.index.equals(X.index)
    assert states.columns.tolist() == [f"state{i}" for i in range(6)]
    assert_array_equal(model.get_feature_names_out(), states.columns)
    assert (states[X["history"].array.lengths == 0] == 0).all(axis=None)
    piped = make_pipeline(LSTMEventModel(**SMALL)).fit(X)
    assert_frame_equal(piped.transform(X), states)
    check_no_leakage(model, X, n_cutoffs=3)


def test_training_continues(X):
    params = {**SMALL, "early_stopping": False}
    once = LSTMEventModel(**params).fit(X).score(X)
    step = LSTMEventModel(**params).partial_fit(X)
    first = step.score(X)
    assert step.partial_fit(X).n_iter_ == 2
    assert first < step.score(X)
    assert_allclose(step.score(X), once, rtol=1e-3)  # in batches drawn anew
    warm = LSTMEventModel(**params, warm_start=True).fit(X)
    assert warm.fit(X).n_iter_ == 4
    assert warm.score(X) > once


def test_every_event_is_learned_from_once(X):
    """Rows of a customer are one history up to the last cutoff."""
    last = X.loc[X.groupby("who")["at"].idxmax()]
    statics = [name for name in X if name not in ("who", "at", "history")]
    many = LSTMEventModel(**SMALL).fit(X.drop(columns=statics).sort_index())
    few = LSTMEventModel(**SMALL).fit(last.drop(columns=statics).sort_index())
    assert_allclose(many.score_samples(last), few.score_samples(last), rtol=1e-4)


# Bad input ----------------------------------------------------------------------------


def test_bad_input(model, X):
    empty = X[X["history"].array.lengths == 0]
    assert len(empty)
    with pytest.raises(ValueError, match=r"All .* histories in 'history' are empty"):
        LSTMEventModel().fit(empty)
    with pytest.raises(ValueError, match="No row of X sees an event"):
        model.score(empty)
    two = X.assign(other=X["history"].array)
    with pytest.raises(ValueError, match=r"2 history columns.*EventLog.concat merges"):
        LSTMEventModel().fit(two)
    with pytest.raises(TypeError, match="LSTMEventModel needs raw histories"):
        LSTMEventModel().fit(HistoryEncoder().fit_transform(X))
    with pytest.raises(ValueError, match="'n_components' parameter"):
        LSTMEventModel(n_components=0).fit(X)


def test_rows_without_events_have_no_future(model, X):
    empty = X[X["history"].array.lengths == 0]
    assert (model.score_samples(empty) == 0).all()
    assert not len(model.sample(empty, "900D", n_paths=3))
    assert (model.predict_survival_function(empty, return_array=True) == 1).all()
    counts = model.simulate_targets(empty, lambda r: future_count(r, "9D"), "9D", 3)
    assert_array_equal(counts, np.zeros((len(empty), 3)))
    for basket in (False, True):
        found = model.predict_next(empty, "kind", n=1, basket=basket)
        assert len(found) == len(empty)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_times_that_are_numbers(dtype):
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 1000, 60).astype(dtype)
    events = pd.DataFrame({"who": rng.integers(0, 6, 60), "t": time})
    log = EventLog(events, "who", "t")
    X = log.attach(pd.DataFrame({"who": range(6)}), cutoff=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LSTMEventModel(**SMALL).fit(X)
        futures = model.sample(X, 300, n_paths=10, random_state=0)
    assert futures["t"].dtype == dtype
    assert futures["t"].between(500, 800, inclusive="left").all()
    assert np.isfinite(model.score_samples(X)).all()
