"""The event model: its likelihood against a loop, its training, its bad input."""

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
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import future_count
from sklearn_seqcrm.testing._small_data import make_events, make_rows

SMALL = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}
DAY = pd.Timedelta(days=1)


# Likelihood ---------------------------------------------------------------------------


def test_likelihood_is_that_of_a_loop():
    """The loop takes one customer at a time, with the formulas and a torch cell."""
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
    density = model.net_.module_.fields[0]
    copies = density.copies
    with torch.no_grad():  # so that each parameter has an effect
        copies.gates.weight.mul_(5)
        copies.lift[2:] = torch.tensor([0.5, 1.0, 2.0])
        density.shrinkage.copy_(torch.tensor([[0.3, 0.8], [0.6, 1.0]]))
        time = model.net_.module_.time
        time.offset_never(1.5)
        time.shrinkage.fill_(0.6)
        time.center.copy_(torch.linspace(-0.5, 0.5, 6))
    popular = events.loc[events["day"] < at, "shop"].value_counts() + 0.5
    popular /= popular.sum()
    encoded = HistoryEncoder().fit_transform(X)["history"].array
    module, unit = model.net_.module_, model._learned.grid.unit / 86_400e6
    # The only field depends on the interarrival time, and not on the weekday.
    without_clock = torch.tensor([1.0, 0, 0])
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
                interarrival = (day - own["day"].iloc[j - 1]).days
                inputs = with_rate(h, own["day"].iloc[:j], unit)
                expected += log_prob_of_days(module, inputs, interarrival, unit)
            values = torch.tensor(encoded.log.channels[start + j])
            if not j:
                values[module.blocks.time.start] = 0
            context = torch.relu(
                module.from_state(h)
                + module.from_time(values[module.blocks.time] * without_clock)
            )
            is_tie = j > 0 and interarrival == 0
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
            inputs = with_rate(h, own["day"], unit)
            shares = [
                np.exp(log_prob_of_days(module, inputs, interarrival, unit))
                for interarrival in range(silence)
            ]
            expected += np.log(1 - np.sum(shares))
        assert_allclose(found[i], expected, rtol=1e-4, atol=1e-4, err_msg=f"row {i}")
    total = found.sum() / (events["day"] < at).sum()
    assert_allclose(model.score(X), total, rtol=1e-5)


def share_of(copies, context, shares, before, day, shop):
    """Return the probability of a shop: softmax, training shares and copies."""
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
    earlier = before.loc[before["day"] < day, "shop"].value_counts()
    for least in (0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32):
        habits = earlier[earlier >= max(1, least * earlier.sum())] ** 0
        counts.append(habits[~habits.index.isin(today.index)])
    total = np.array([kind.sum() for kind in counts])
    known = torch.tensor(total, dtype=torch.float32).minimum(copies.most_total)
    logits = copies.gates(torch.cat([context, known.log1p()]))
    logits[2:][torch.tensor(total == 0)] = -torch.inf
    gates = logits.softmax(0).tolist()
    share = gates[0] * shares["generated"] + gates[1] * shares["popular"]
    for gate, kind in zip(gates[2:], counts, strict=True):
        share += gate * kind.get(shop, 0) / max(kind.sum(), 1e-9)
    return share


def with_rate(h, days, unit):
    """Shrink the state and append the log rate; times of k days count as k - 1/2."""
    center = torch.linspace(-0.5, 0.5, 6)
    h = center + 0.6 * (h - center)
    interarrival = days.diff().dt.days.iloc[1:]
    interarrival = interarrival[interarrival > 0] - 0.5
    rate = (len(interarrival) + 0.5) / (interarrival.sum() / unit + 1)
    return torch.cat([h, torch.tensor([np.log(rate)], dtype=h.dtype)])


def log_prob_of_days(module, inputs, interarrival, unit):
    """Return the log probability of an interarrival time in days, by scipy."""
    numbers = module.time.output(inputs).detach().double().numpy()
    # A tie, no further event, and four components.
    odds = np.exp(numbers[:6] + module.time.logit_offset.numpy())
    shares = odds / odds.sum()
    if interarrival == 0:
        return np.log(shares[0])
    scale = np.exp(np.log1p(np.exp(numbers[10:] + 4.6)) - 4.6)
    mixture = stats.norm(numbers[6:10], scale)
    below = 0 if interarrival == 1 else mixture.cdf(np.log((interarrival - 1) / unit))
    return np.log(shares[2:] @ (mixture.cdf(np.log(interarrival / unit)) - below))


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
    """Per event, within .03 nats of the likelihood under the true process."""
    rng, end = np.random.default_rng(0), 20.0
    histories, truth = [], 0.0
    for _ in range(600):
        rate = rng.choice([0.3, 3.0]) if kind == "mixed" else 1.0
        shape = 1 if kind == "mixed" else 3
        interarrival = rng.gamma(shape, 1 / (rate * shape), 200)
        times = np.append(0.0, np.cumsum(interarrival))
        times = times[times < end]
        n_gaps = len(times) - 1
        histories.append(times)
        if kind == "mixed":  # the rate is latent
            rates = np.array([0.3, 3.0])
            truth += np.log(np.mean(rates**n_gaps * np.exp(-rates * end)))
        else:
            gamma = stats.gamma(3, scale=1 / 3)
            truth += gamma.logpdf(interarrival[:n_gaps]).sum() + gamma.logsf(
                end - times[-1]
            )
    n_events = sum(map(len, histories))
    who = np.repeat(range(600), [len(times) for times in histories])
    events = pd.DataFrame({"who": who, "time": np.concatenate(histories)})
    log = EventLog(events, "who", "time")
    X = log.attach(pd.DataFrame({"who": range(600)}), cutoff=end)
    model = LSTMEventModel(
        hidden_size=16, max_epochs=8, learning_rate=0.01, random_state=0
    ).fit(X)
    assert abs(model.score(X) - truth / n_events) < 0.03


# Scores of several models -------------------------------------------------------------


def rows_of_times(events, end):
    """Return a row per customer of events with `who` and `time`, at the end."""
    log = EventLog(events, "who", "time")
    return log.attach(pd.DataFrame({"who": events["who"].unique()}), cutoff=end)


def random_times(rate, end, n=300, seed=0):
    """Return events of customers who come at random from time 0 on."""
    rng = np.random.default_rng(seed)
    interarrival = np.column_stack([np.zeros(n), rng.exponential(1 / rate, (n, 200))])
    times = interarrival.cumsum(axis=1)
    who, which = np.nonzero(times < end)
    return pd.DataFrame({"who": who, "time": times[who, which]})


def test_a_worse_model_does_not_score_better():
    """Of times without a step, a model of longer ones has wider cells."""
    rows = {
        rate: rows_of_times(random_times(rate, 60 / rate), 60 / rate)
        for rate in (1, 0.1)
    }
    test = rows_of_times(random_times(1, 60, seed=1), 60)
    params = {"hidden_size": 8, "max_epochs": 4, "learning_rate": 0.01}
    good, bad = (
        LSTMEventModel(**params, random_state=0).fit(own) for own in rows.values()
    )
    assert bad.resolutions_["time"] > 5 * good.resolutions_["time"]
    # The density of an exponential interarrival time is -1 in the mean.
    assert abs(good.score_events(test)["log_prob_time"].sum() / 60 / 300 + 1) < 0.1
    assert bad.score(test) < good.score(test) - 0.5


def test_weekly_training_customers_and_a_daily_log():
    daily = random_times(0.1, 365)
    daily["time"] = np.ceil(daily["time"])
    daily = daily.drop_duplicates(ignore_index=True)
    weekly = daily.assign(time=np.ceil(daily["time"] / 7) * 7).drop_duplicates()
    models, rows = [], []
    for events in (daily, weekly):
        day = pd.Timestamp("2024-01-01") + events["time"] * DAY
        events = events.assign(time=day.astype("datetime64[us]"))
        rows.append(rows_of_times(events, pd.Timestamp("2025-01-01")))
        models.append(LSTMEventModel(**{**SMALL, "max_epochs": 4}).fit(rows[-1]))
    assert [one.resolutions_["time"] for one in models] == [DAY, 7 * DAY]
    n_gaps = len(daily) - 300
    scores = [model.score_events(rows[0])["log_prob_time"] for model in models]
    found = [one.sum() / n_gaps for one in scores]
    truth = np.log(-np.expm1(-0.1)) - 0.1 * (1 / -np.expm1(-0.1) - 1)
    assert abs(found[0] - truth) < 0.1
    assert truth - 0.5 < found[1] < truth + 0.1


@pytest.mark.parametrize(("lookback", "last"), [(None, 90), ("1D", 2)])
def test_customers_with_one_basket_so_far(lookback, last):
    """Simulated times are whole days, and survival functions reach the cutoffs."""
    rng = np.random.default_rng(0)
    who = np.repeat(range(100), 2)  # baskets of two lines
    day = rng.integers(0, 90, 100)
    if lookback:
        day[:30] = 89
    start = pd.Timestamp("2024-01-01")
    events = pd.DataFrame({"who": who, "day": start + pd.to_timedelta(day[who], "D")})
    log = EventLog(events, "who", "day")
    X = log.snapshots([start + 90 * DAY], lookback=lookback)
    model = LSTMEventModel(**SMALL).fit(X)
    assert model.resolutions_ == {"day": DAY}
    assert_array_equal(model.unique_times_[[0, 1, -1]], [0, 1, last])
    paths = model.sample(X, f"{last}D", n_paths=5, random_state=0)
    assert len(paths)
    assert (paths["day"] == paths["day"].dt.normalize()).all()


def test_the_unit_of_densities_is_named(model, X):
    scores = {
        unit: model.score_events(X, time_unit=unit) for unit in (None, "1D", "1h")
    }
    assert_frame_equal(scores[None], scores["1D"])
    change = scores["1D"]["log_prob_time"] - scores["1h"]["log_prob_time"]
    is_timed = change != 0
    assert 0 < is_timed.sum() < len(change)
    assert_allclose(change[is_timed], np.log(24))
    change = model.score_samples(X) - model.score_samples(X, time_unit="1h")
    n_timed = is_timed.groupby(scores["1D"]["row"]).sum().reindex(range(len(X)))
    assert_allclose(change, n_timed.fillna(0) * np.log(24), atol=1e-9)
    per_event = model.score_samples(X, time_unit="1h").sum() / len(is_timed)
    assert_allclose(model.score(X, time_unit="1h"), per_event)
    with pytest.raises(ValueError, match="time_unit must be longer than 0"):
        model.score(X, time_unit="0D")


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
    assert_allclose(step.score(X), once, rtol=1e-3)  # batches differ
    warm = LSTMEventModel(**params, warm_start=True).fit(X)
    assert warm.fit(X).n_iter_ == 4
    assert warm.score(X) > once


def test_batches_are_small_if_training_may_stop_early():
    events = pd.DataFrame({"who": np.repeat(range(100), 3), "day": np.arange(300.0)})
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": range(100)}))
    model = LSTMEventModel(hidden_size=1, max_epochs=1, random_state=0)
    assert model.fit(X).batch_size_ == model.net_.batch_size == 12
    assert model.partial_fit(X).batch_size_ == 64
    model.set_params(early_stopping=False)
    assert model.fit(X).batch_size_ == 64
    # Too few customers to stop early, unless asked to.
    model.set_params(early_stopping="auto")
    assert model.fit(X[:40]).batch_size_ == 64
    model.set_params(early_stopping=True)
    assert model.fit(X[:40]).batch_size_ == 8


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
    [curve] = model.predict_survival_function(X[:1])
    with pytest.raises(ValueError, match=r"0 and \d+.*, where the longest history"):
        curve(9000)


def table(**changed):
    """Return rows of a log with other columns."""
    return EventLog(make_events(30).assign(**changed), "who", "when").attach(
        make_rows(30), cutoff="at"
    )


# Of a method each: all of them look at the log before they encode it.
ASK = {
    "sample": lambda model, X: model.sample(X, "9D", n_paths=2),
    "score": LSTMEventModel.score,
    "next": lambda model, X: model.predict_next(X, "kind", exclude_seen=True),
    "open": lambda model, X: model.predict_next(X, "kind", open_basket=True),
    "demand": lambda model, X: model.demand(
        X.drop_duplicates("who"), "kind", "9D", n_paths=2
    ),
    "train": lambda model, X: pickle.loads(pickle.dumps(model)).partial_fit(X),
    "fit": lambda model, X: (
        pickle.loads(pickle.dumps(model))
        .set_params(warm_start=True, max_epochs=1)
        .fit(X)
    ),
}


@pytest.mark.parametrize("ask", ASK)
def test_other_fields_than_in_training(ask):
    model = LSTMEventModel(**SMALL).fit(table())
    # A few events of today may lack all values of a field.
    for column in ("kind", "amount", "due"):
        for nothing in (None, np.nan):
            ASK[ask](model, table(**{column: nothing}))
    with pytest.raises(ValueError, match="'kind' is numeric and was categorical"):
        ASK[ask](model, table(kind=1.5))
    log = EventLog(make_events(30).drop(columns="kind"), "who", "when")
    lacking = log.attach(make_rows(30), cutoff="at")
    with pytest.raises(ValueError, match=r"lacks the fields \['kind'\]"):
        ASK[ask](model, lacking)


@pytest.mark.parametrize(("column", "missing"), [("amount", np.nan), ("due", pd.NaT)])
def test_futures_do_not_depend_on_the_type_of_a_missing_field(column, missing):
    model = LSTMEventModel(**SMALL).fit(table())
    one, other = (
        model.sample(table(**{column: value}), "90D", n_paths=2, random_state=0)
        for value in (None, missing)
    )
    assert_frame_equal(one, other)


def test_rows_without_events_have_no_future(model, X):
    empty = X[X["history"].array.lengths == 0]
    assert (model.score_samples(empty) == 0).all()
    assert not len(model.sample(empty, "900D", n_paths=3))
    assert (model.predict_survival_function(empty, return_array=True) == 1).all()
    with pytest.raises(TypeError, match=r"return_array must be True or False; got \["):
        model.predict_survival_function(empty, [7, 14])
    counts = model.simulate_targets(empty, lambda r: future_count(r, "9D"), "9D", 3)
    assert counts.shape == (len(empty), 4)
    assert (counts == 0).all(axis=None)
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
