"""Where events come in visits, row features count them, by every path."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._encoding._training import Training
from sklearn_seqcrm._encoding._visits import InterarrivalCounts, Visits
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.inspection import event_attributions
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.partitions import PartitionedLog
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from tests.clicks import DAY, END, HOUR, clicks, pauses_of

SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 1, "random_state": 0}


def clicks_of(n=60, seed=0):
    """Return clicks with an amount and a page, some of them at the time of another."""
    events = clicks(n, seed)
    rng = np.random.default_rng(seed)
    events["time"] = events["time"] // 30 * 30
    # A visit of half an hour, in the midst of which a lookback of nine days begins.
    long = 11 * DAY + np.arange(-900, 900, 30)
    events = pd.concat([events, pd.DataFrame({"who": n, "time": long})])
    events = events.reset_index(drop=True)
    events["amount"] = rng.lognormal(size=len(events))
    events["page"] = pd.Categorical(rng.choice(list("abc"), len(events)))
    return events


def rows_of(events, lookback=None, clock="integers", **options):
    """Return four rows per customer, and one of an unknown customer."""
    who = np.append(np.repeat(events["who"].unique(), 4), 10**6)
    rows = pd.DataFrame({"who": who})
    rows["at"] = np.array([15, 20, 37, 50])[np.arange(len(rows)) % 4] * DAY
    end = END
    if clock == "floats":  # days
        events, end = events.assign(time=events["time"] / DAY), END / DAY
        rows["at"] /= DAY
        lookback = lookback and lookback / DAY
    elif clock == "times":
        events = events.assign(time=pd.to_datetime(events["time"], unit="s", utc=True))
        rows["at"] = pd.to_datetime(rows["at"], unit="s", utc=True)
        end = pd.Timestamp(END, unit="s", tz="UTC")
        lookback = lookback and pd.Timedelta(lookback, "s")
    log = EventLog(events, "who", "time", observed_until=end)
    return log.attach(rows, cutoff="at", lookback=lookback, **options)


def encode(X, **options):
    encoder = HistoryEncoder(**options)
    return encoder.fit_transform(X)["history"].array


# The rule -----------------------------------------------------------------------------


def counts_of(between, customers=1):
    """Count interarrival times of customers with about equally many."""
    clock, _ = Clock.of(pd.Series([0]), "time")
    counts = []
    for some in np.array_split(between, customers):
        times = np.append(0, np.cumsum(some))
        counts.append(InterarrivalCounts.of(Training(times, clock)))
    first, *others = counts
    for one in others:
        first = first.merge(one)
    return first


def test_clicks_of_a_visit_are_told_from_visits():
    between = pauses_of(clicks())
    pause, typical = counts_of(between).visits()
    # Clicks are a minute apart, visits more than a day.
    assert 600 < pause < 10 * HOUR
    assert_allclose(typical, np.median(between[between > HOUR]), rtol=0.1)


def test_visits_do_not_depend_on_ties():
    between = pauses_of(clicks())
    with_ties = counts_of(np.append(between, np.zeros(999, "int64")))
    assert with_ties.visits() == counts_of(between).visits()


def test_visits_do_not_depend_on_the_unit_of_times():
    between = pauses_of(clicks())
    found = {}
    for unit, per_second in {"s": 1, "us": 10**6, "ns": 10**9}.items():
        times = np.append(0, np.cumsum(between)) * per_second
        clock, _ = Clock.of(pd.Series(times.astype(f"M8[{unit}]")), "time")
        visits = InterarrivalCounts.of(Training(times, clock)).visits()
        found[unit] = np.array(visits) / per_second
    assert_array_equal(found["us"], found["s"])
    assert_array_equal(found["ns"], found["s"])
    # Numbers without a unit have other bins.
    assert_allclose(counts_of(between).visits(), found["s"], rtol=0.1)


@pytest.mark.parametrize(
    "between",
    [
        np.random.default_rng(0).exponential(1e6, 5000),
        # Customers with very different rates.
        np.exp(np.random.default_rng(0).normal(10, 1.5, 5000)),
        np.array([], "int64"),
        np.zeros(9, "int64"),
        # One wrong date among twenty times of a day.
        np.array([DAY] * 20 + [20_000 * DAY]),
        np.array([60] * 200 + [DAY] * 800),  # a fifth within visits
        np.array([60] * 99 + [DAY] * 99),  # few visits
    ],
    ids=["random", "heavy tail", "none", "ties", "wrong date", "few pauses", "few"],
)
def test_other_events_are_no_visits(between):
    assert counts_of(between).visits() is None


def test_a_quarter_of_short_times_are_enough():
    visits = counts_of(np.array([60] * 50 + [DAY] * 150)).visits()
    assert 60 < visits.pause < DAY
    assert_allclose(visits.between, DAY, rtol=0.05)


def test_wrong_dates_of_a_few_customers_do_not_move_the_pause():
    between = np.tile([60, 60, DAY], 2000)
    one = counts_of(between, 500).visits()
    wrong = counts_of(np.array([20_000 * DAY])).merge(counts_of(between, 500))
    assert wrong.visits() == one


def test_the_largest_and_the_smallest_times_are_counted():
    for time in (5e-324, 1.0, 2.0**62, 1e300):
        found = counts_of(np.array([time]))
        assert found.of_events.sum() == found.of_runs.sum() == 1


def test_times_between_two_customers_are_no_interarrival_times():
    clock, _ = Clock.of(pd.Series([0]), "time")
    runs = np.array([0, 2, 3]), np.array([2, 3, 6])
    times = np.array([0, 1, 500, 1000, 1001, 1016])
    found = InterarrivalCounts.of(Training(times, clock, runs))
    assert found.of_events[found.of_events > 0].tolist() == [2, 1]
    assert found.of_runs[found.of_runs > 0].tolist() == [1, 1]


def test_a_visit_starts_after_a_pause():
    visits = Visits(10.0, 100.0)
    times = np.array([0, 10, 21, 21, 5, 6])
    starts = visits.are_starts(times, np.array([0, 4]))
    assert starts.tolist() == [True, False, True, False, True, False]
    interarrival = np.array([np.nan, 10, 11, 0, np.nan, 1])
    assert_array_equal(visits.are_starts_after(interarrival), starts)


# Row features -------------------------------------------------------------------------


def features_of(array):
    """Return unscaled row features in a table."""
    raw = np.concatenate(list(array.log.raw_row_features(array.rows)))
    return pd.DataFrame(raw, columns=array.log.layout.row_features)


@pytest.mark.parametrize("lookback", [None, 9 * DAY])
@pytest.mark.parametrize("moments", ["auto", True])
@pytest.mark.parametrize("clock", ["integers", "floats", "times"])
def test_visits_are_counted(lookback, moments, clock):
    """Against a loop over the events of each row, which sees no others."""
    X = rows_of(clicks_of(), lookback, clock, allow_exact_matches=True)
    array = encode(X, moments=moments)
    layout, times = array.log.layout, array.log.timeline.times
    assert_allclose(layout.half_lives, layout.visits.between * 4.0 ** np.arange(4))
    found = features_of(array)
    names = [f"visits_{k}" for k in range(4)]
    for row, (start, stop, at) in enumerate(zip(*array.rows[2:], strict=True)):
        own = times[start:stop]
        since = np.append(np.inf, np.diff(own))[: len(own)]
        begins = own[since > layout.visits.pause]
        assert found.loc[row, "n_visits"] == pytest.approx(math.log1p(len(begins)))
        for name, half_life in zip(names, layout.half_lives, strict=True):
            total = sum(0.5 ** ((at - t) / half_life) for t in begins)
            assert found.loc[row, name] == pytest.approx(math.log1p(total))
    assert found["n_visits"].max() > math.log(3)


def test_means_stand_where_the_layout_says():
    X = rows_of(clicks_of())
    layout = encode(X).log.layout
    assert layout.row_features.index("amount_0") == layout.first_mean
    X = rows_of(clicks_of().rename(columns={"amount": "visits", "page": "n_visits"}))
    names = encode(X).log.layout.row_features
    assert len(set(names)) == len(names) == len(layout.row_features)
    assert encode(X, half_lives=[DAY]).log.layout.half_lives == (DAY,)


def test_periods_are_visits_of_their_own():
    """Beside the number of periods there is none of visits."""
    X = rows_of(clicks_of())
    layout = encode(X, moments=HOUR).log.layout
    assert layout.visits is not None
    assert "n_moments" in layout.row_features
    assert not any("visits" in name for name in layout.row_features)
    assert layout.half_lives[0] == layout.time_unit


def test_events_at_random_times_have_no_visits():
    rng = np.random.default_rng(0)
    who, times = rng.integers(0, 50, 2000), rng.integers(0, END, 2000)
    layout = encode(rows_of(pd.DataFrame({"who": who, "time": times}))).log.layout
    assert layout.visits is None
    assert layout.row_features[2:4] == ["n_events", "count_0"]


@pytest.mark.parametrize("lookback", [None, 9 * DAY])
def test_events_on_a_disk_have_the_same_visits(lookback, tmp_path):
    X = rows_of(clicks_of(), lookback)
    array = X["history"].array
    array.log.to_disk(tmp_path / "log")
    rows = array.rows._replace(log=EventLog.open(tmp_path / "log"))
    viewed = encode(X.assign(history=HistoryArray.of(rows, array.dtype)))
    expected = encode(X)
    assert viewed.log.is_on_disk
    assert viewed.log.layout == expected.log.layout
    own = viewed.log.row_features_and_sums(viewed.rows)
    wanted = expected.log.row_features_and_sums(expected.rows)
    for one, other in zip(own, wanted, strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_a_pretrained_encoder_keeps_its_visits():
    encoder = HistoryEncoder().fit(rows_of(clicks_of()))
    few = rows_of(clicks_of(5, seed=1))
    assert encode(few).log.layout.visits is None
    own = encode(few, pretrained=encoder)
    layout = encoder.layouts_["history"]
    assert own.log.layout.visits == layout.visits
    assert own.log.layout.half_lives == layout.half_lives


def test_a_row_alone_has_its_features():
    X = rows_of(clicks_of(), 9 * DAY)
    encoder = HistoryEncoder().fit(X)
    alone = encoder.transform(X.iloc[[31]])["history"].array
    array = encoder.transform(X)["history"].array
    own = array.log.row_features(array.rows)[[31]]
    assert_allclose(alone.log.row_features(alone.rows), own, rtol=1e-5, atol=1e-5)


# Models -------------------------------------------------------------------------------


@pytest.mark.parametrize("moments", [False, True])
@pytest.mark.parametrize("network", [LSTMClassifier, LSTMRegressor])
def test_streamed_clicks_have_the_same_visits(network, moments, tmp_path):
    """In tables, one by one, and after a restart."""
    events = clicks_of().sort_values("time", kind="stable", ignore_index=True)
    X = rows_of(events)
    model = make_history_pipeline(network(n_networks=1, **SMALL))
    model.set_params(encoder__moments=moments).fit(X, np.arange(len(X)) % 2)
    people = pd.DataFrame({"who": range(-1, 60)})
    log = EventLog(events, "who", "time", observed_until=END)
    rows = log.attach(people, cutoff=END)
    answer = "predict_proba" if network is LSTMClassifier else "predict"
    wanted = getattr(model, answer)(rows)
    scorer = StreamingScorer(model, "who", "time")
    scorer.update(events.iloc[:900])
    for event in events.iloc[900:950].to_dict("records"):
        scorer.score_one(event.pop("who"), event, cutoff=END)
    path = tmp_path / "states.parquet"
    scorer.to_parquet(path)
    scorer = StreamingScorer.from_parquet(path, model, "who", "time")
    scorer.update(events.iloc[950:])
    found = getattr(scorer, answer)(people, END)
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_explanations_name_visits():
    X = rows_of(clicks_of())
    model = make_history_pipeline(LSTMRegressor(**SMALL)).fit(X, np.arange(len(X)))
    some = X.iloc[:3]
    found = event_attributions(model, some, "integrated_gradients")
    lines = found[found["field"] == "number of visits"].set_index("row")["value"]
    array = model[0].transform(some)["history"].array
    assert_allclose(
        lines.astype("float64"), np.expm1(features_of(array)["n_visits"]), rtol=1e-5
    )
    decayed = found["field"].str.startswith("number of visits, half-life").sum()
    assert decayed == 3 * 4


def test_partitions_have_the_visits_of_one_process():
    events = clicks_of()
    parts = [events[events["who"] % 3 == i].assign(page="a") for i in range(3)]
    log = PartitionedLog(parts, "who", "time", observed_until=END)
    found = log.snapshots([20 * DAY, END]).fit(HistoryEncoder())
    log = EventLog(pd.concat(parts), "who", "time", observed_until=END)
    expected = HistoryEncoder().fit(log.snapshots([20 * DAY, END]))
    [one], [other] = found._encoders.values(), expected._encoders.values()
    assert one.layout.visits is not None
    assert one.layout.visits == other.layout.visits
    assert_allclose(one.row_scale, other.row_scale, rtol=1e-9)
