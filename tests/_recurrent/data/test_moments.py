"""Moments: events of a customer at one time, or within a period, are one step."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_seqcrm._recurrent.data import pad
from sklearn_seqcrm._recurrent.data._inputs import history_source
from sklearn_seqcrm._recurrent.network import StepReader
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline

DAY = pd.Timedelta("1D")
START = pd.Timestamp("2024-03-01")


def basket_lines(seed=0, n_events=400, n_customers=12, hours=12):
    """Return lines of baskets at few different times, so that many share one."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 20 * 24 // hours, n_events)
    return pd.DataFrame(
        {
            "who": rng.integers(0, n_customers, n_events),
            "time": START + pd.to_timedelta(hours * steps, unit="h"),
            "product": rng.choice(list("abcdef"), n_events),
            "place": rng.choice(["web", None], n_events),
            "amount": rng.gamma(2.0, 10.0, n_events).round(2),
        }
    )


def rows_of(lines, every="3D", lookback=None):
    """Return snapshots of all customers."""
    return rows_of_log(EventLog(lines, "who", "time"), every, lookback)


def rows_of_log(log, every="3D", lookback=None):
    """Return snapshots of all customers of a log."""
    cutoffs = pd.date_range(START + DAY * 1.75, START + 20 * DAY, freq=every)
    return log.snapshots(cutoffs, lookback=lookback)


def source_of(X, **options):
    """Return the encoded histories of rows as a source of steps."""
    return history_source(HistoryEncoder(**options).fit_transform(X)["history"].array)


def network(**options):
    """Return a small pipeline that is trained for two epochs."""
    small = {"hidden_size": 6, "max_epochs": 2, "random_state": 0}
    return make_history_pipeline(LSTMClassifier(**{**small, **options}, n_networks=1))


def labels_of(X):
    """Return labels without any meaning."""
    return np.arange(len(X)) % 3 == 0


def steps_by_loop(events, row, period, n_levels):
    """Return channels and level weights of the steps of a row, step by step."""
    start, stop = events.start[row], events.stop[row]
    times = events.times[start:stop]
    keys = times if period == 0 else times // period
    numbers, weights = [], []
    for key in dict.fromkeys(keys.tolist()):
        own = np.arange(start, stop)[keys == key]
        n = len(own)
        channels = events.channels[own].astype("float64")
        joined = channels.mean(axis=0)
        times = slice(events.interarrival_channel, None)
        joined[times] = channels[0, times]
        if not numbers:
            joined[events.interarrival_channel] = 0
        facts = channels[:, :1].sum(axis=0) / np.sqrt(n)
        numbers.append([*joined, *facts, np.log(n)])
        counts = [
            np.bincount(codes, minlength=size) / np.sqrt(n)
            for codes, size in zip(events.codes[own].T, n_levels, strict=True)
        ]
        weights.append([*counts[0], *counts[1]])
    return np.array(numbers), np.array(weights)


@pytest.mark.parametrize("lookback", [None, "100h"])
@pytest.mark.parametrize("moments", [True, "1D", "60h"])
def test_steps_against_a_loop(moments, lookback):
    X = rows_of(basket_lines(), lookback=lookback)
    layout = HistoryEncoder(moments=moments).fit(X).layouts_["history"]
    source = source_of(X, moments=moments)
    for share in (True, False):
        order = np.argsort(source.sequences, kind="stable")
        batch = pad(source, order, share)
        widest = batch.visible.shape[1]
        for i, row in enumerate(order):
            sequence = int(batch.place[i]) // widest
            n_steps = int(batch.visible.flatten()[batch.place[i]])
            numbers, weights = steps_by_loop(
                source.events, row, layout.moments, layout.n_levels
            )
            assert len(numbers) == n_steps == source.lengths[row]
            if not n_steps:
                continue
            got = batch.values[sequence, :n_steps].numpy()
            np.testing.assert_allclose(got, numbers, rtol=1e-5, atol=1e-6)
            table = np.concatenate([dense(rows) for rows in batch.levels], axis=1)
            table = table.reshape(*batch.values.shape[:2], -1)[sequence, :n_steps]
            np.testing.assert_allclose(table, without_unseen(weights, layout), 1e-5)


def dense(rows):
    """Return sparse rows as an array of shape (n_steps, 9)."""
    table = np.zeros((len(rows.offsets) - 1, 9))
    step = np.repeat(np.arange(len(table)), np.diff(rows.offsets))
    table[step, rows.levels.numpy()] = rows.weights
    return table


def without_unseen(weights, layout):
    """Return the weights of the levels in the columns of `dense`, without level 0."""
    own = np.split(weights, [layout.n_levels[0]], axis=1)
    table = np.zeros((len(weights), 18))
    for i, one in enumerate(own):
        table[:, 9 * i + 1 : 9 * i + one.shape[1]] = one[:, 1:]
    return table


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "pooling": ["last", "decay", "mean", "max", "attention"]},
        {"bidirectional": True, "cell": "rnn"},
        {"bptt_steps": 3, "category_dropout": 0.3, "num_layers": 2},
    ],
    ids=["default", "poolings", "bidirectional", "stretches"],
)
def test_the_order_of_lines_changes_nothing_to_the_last_bit(options):
    lines = basket_lines()
    X, permuted = rows_of(lines), rows_of(lines.sample(frac=1, random_state=0))
    y = labels_of(X)
    model = network(**options).set_params(encoder__moments=True).fit(X, y)
    other = network(**options).set_params(encoder__moments=True).fit(permuted, y)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(permuted), expected)
    np.testing.assert_array_equal(other.predict_proba(X), expected)
    # Event by event, the order of lines matters.
    by_line = network(**options).set_params(encoder__moments=False).fit(X, y)
    assert (by_line.predict_proba(X) != by_line.predict_proba(permuted)).any()


@pytest.mark.parametrize("moments", [True, "1D"])
@pytest.mark.parametrize("lookback", [None, "100h"])
def test_a_row_alone_equals_the_row_beside_others(moments, lookback):
    X = rows_of(basket_lines(), lookback=lookback)
    model = network(pooling=["last", "mean", "max", "decay"])
    model.set_params(encoder__moments=moments).fit(X, labels_of(X))
    expected = model.predict_proba(X)
    for i in range(0, len(X), 7):
        alone = model.predict_proba(X.iloc[[i]])
        np.testing.assert_allclose(alone[0], expected[i], atol=1e-6)


def test_a_day_that_goes_on_changes_no_earlier_row():
    lines = basket_lines(hours=3)
    X = rows_of(lines)
    model = network().set_params(encoder__moments="1D").fit(X, labels_of(X))
    cutoff = X["cutoff"].iloc[-1]
    assert cutoff != cutoff.normalize()  # within a day
    earlier = EventLog(lines[lines["time"] < cutoff], "who", "time")
    again = earlier.attach(X[["who", "cutoff"]], cutoff="cutoff")
    np.testing.assert_array_equal(model.predict_proba(again), model.predict_proba(X))


def test_auto_joins_lines_and_leaves_single_events_alone():
    lines = basket_lines()
    X = rows_of(lines)
    assert HistoryEncoder(moments="auto").fit(X).layouts_["history"].moments == 0
    singles = lines.drop_duplicates(["who", "time"])
    X = rows_of(singles)
    encoder = HistoryEncoder(moments="auto").fit(X)
    assert encoder.layouts_["history"].moments is None
    by_event = network().set_params(encoder__moments=False).fit(X, labels_of(X))
    auto = network().set_params(encoder__moments="auto").fit(X, labels_of(X))
    np.testing.assert_array_equal(auto.predict_proba(X), by_event.predict_proba(X))


@pytest.mark.parametrize(
    ("moments", "error", "message"),
    [
        ("0D", ValueError, "longer than 0; got '0D'. moments=True joins"),
        ("-1D", ValueError, "moments"),
        ("daily", ValueError, "moments"),
        (3, TypeError, "moments"),
        (None, ValueError, "moments=False makes each event a step"),
    ],
)
def test_periods_that_are_none(moments, error, message):
    with pytest.raises(error, match=message):
        HistoryEncoder(moments=moments).fit(rows_of(basket_lines()))


def test_a_nanosecond_between_lines_changes_little_where_times_say_little():
    lines = basket_lines()
    apart = lines.assign(time=lines["time"].astype("datetime64[ns]"))
    apart["time"] += pd.to_timedelta(np.arange(len(lines)) % 2, unit="ns")
    X, other = rows_of(lines), rows_of(apart)
    model = network(random_state=1).set_params(encoder__moments="1h")
    model.fit(X, labels_of(X))
    expected, got = model.predict_proba(X), model.predict_proba(other)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("moments", [True, "1D"])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_padded_tensors_have_the_moments_of_the_frame(moments, padding):
    X = rows_of(basket_lines(), lookback="100h")
    encoded = HistoryEncoder(moments=moments).fit_transform(X)
    tensors = HistoryPadder(padding=padding).fit_transform(encoded)
    model = LSTMClassifier(hidden_size=6, max_epochs=2, n_networks=1).fit(
        encoded, labels_of(X)
    )
    expected = model.predict_proba(encoded)
    np.testing.assert_allclose(model.predict_proba(tensors), expected, atol=1e-6)
    half = model.predict_proba(tensors[::2])
    np.testing.assert_allclose(half, expected[::2], atol=1e-6)
    model.fit(tensors, labels_of(X))


def test_a_log_on_disk_has_the_same_moments(tmp_path):
    X = rows_of(basket_lines())
    model = network().set_params(encoder__moments=True).fit(X, labels_of(X))
    EventLog(basket_lines(), "who", "time").to_disk(tmp_path / "log")
    log = EventLog.open(tmp_path / "log")
    on_disk = log.attach(X[["who", "cutoff"]], cutoff="cutoff")
    np.testing.assert_array_equal(model.predict_proba(on_disk), model.predict_proba(X))


def test_a_fit_on_disk_knows_nothing_of_later_events(tmp_path):
    lines = basket_lines(hours=3)
    keys = rows_of(lines)[["who", "cutoff"]]
    last = keys.groupby("who")["cutoff"].max()
    seen = lines[lines["time"] < lines["who"].map(last)]
    found = []
    for i, events in enumerate((lines, seen)):
        log = EventLog(events, "who", "time")
        log.to_disk(tmp_path / str(i))
        for one in (log, EventLog.open(tmp_path / str(i))):
            X = one.attach(keys, cutoff="cutoff", lookback="100h")
            model = network().set_params(encoder__moments="1D")
            found.append(model.fit(X, labels_of(X)).predict_proba(X))
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_padding_joins_no_events(tmp_path):
    lines = basket_lines()
    first = lines.sort_values(["who", "time"]).iloc[[0] * 500]
    log = EventLog(pd.concat([lines, first]), "who", "time")
    log.to_disk(tmp_path / "log")
    source = source_of(rows_of_log(EventLog.open(tmp_path / "log")), moments=True)
    n_joined = []

    class Channels:
        shape = source.channels.shape

        def __getitem__(self, steps):
            n_joined.append(np.size(steps))
            return source.channels[steps]

    pad(replace(source, channels=Channels()), np.arange(len(source.start)), False)
    assert n_joined == [source.lengths.sum()]


@pytest.mark.parametrize(
    ("moments", "options"),
    [
        (True, {"num_layers": 2}),
        ("1D", {"cell": "gru", "pooling": ["last", "decay", "max", "attention"]}),
    ],
)
def test_one_event_at_a_time_equals_a_batch(moments, options):
    X = rows_of(basket_lines())
    model = network(**options).set_params(encoder__moments=moments)
    model.fit(X, labels_of(X))
    source = history_source(model[0].transform(X)["history"].array)
    events, reader = source.events, model[-1].net_.module_.eval().readers[0]
    steps = StepReader(reader)
    states, ages, pooled = [], [], []
    for row in range(0, len(X), 5):
        with torch.no_grad():
            pooled.append(reader(pad(source, np.array([row]), share=False))[0])
        index, moment = source.visible_events(np.array([row]))
        state, since = steps.start, np.zeros(len(index), "float32")
        since[1:] = np.diff(events.times[index]) / events.time_unit
        channels = events.channels[index].copy()
        channels[:1, events.interarrival_channel] = 0
        for i, begins in enumerate(np.diff(moment, prepend=-1) > 0):
            event = channels[i], events.codes[index[i]], since[i]
            state = steps.update(state, *event, bool(begins))
        last = events.times[index[-1]] if len(index) else events.cutoff[row]
        ages.append(np.float32((events.cutoff[row] - last) / events.time_unit))
        states.append(steps.start.unpack(*state.pack()))
    for state, age, expected in zip(states, ages, pooled, strict=True):
        found = steps.read(state, age).ravel()
        np.testing.assert_allclose(found, expected, atol=2e-6)
    # Several histories at once, whose moments go on for some of them.
    together = states[0].map(lambda *one: np.stack(one), *states[1:])
    event = np.stack([events.channels[0]] * 9), np.stack([events.codes[0]] * 9)
    interarrival, begins = np.linspace(0, 2, 9, dtype="float32"), np.arange(9) % 3 > 0
    after = steps.update(together.take(slice(9)), *event, interarrival, begins)
    for i in range(9):
        alone = steps.update(
            states[i], event[0][i], event[1][i], interarrival[i], bool(begins[i])
        )
        expected = steps.read(alone, np.float32(1))
        found = steps.read(after.take(i), np.float32(1))
        np.testing.assert_allclose(found, expected, atol=2e-6)


@settings(max_examples=30)
@given(
    times=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    period=st.sampled_from([True, 2, 5]),
    lookback=st.sampled_from([None, 3, 7]),
)
def test_steps_of_any_history(times, period, lookback):
    events = pd.DataFrame({"who": np.array(times) % 2, "time": times, "n": times})
    log = EventLog(events, "who", "time")
    X = log.attach(
        pd.DataFrame({"who": [0, 1, 0, 1, 2], "cutoff": [4, 4, 9, 13, 5]}),
        cutoff="cutoff",
        lookback=lookback,
    )
    source = source_of(X, moments=period)
    for row, (who, cutoff) in enumerate(X[["who", "cutoff"]].to_numpy()):
        first = cutoff - (lookback or 99)
        own = np.array([t for t in times if t % 2 == who and first <= t < cutoff])
        periods = np.unique(own // (1 if period is True else period))
        assert source.lengths[row] == len(periods)
        index, step = source.visible_events(np.array([row]))
        assert len(index) == len(own)
        expected = np.sort(own) // (1 if period is True else period)
        np.testing.assert_array_equal(step, np.searchsorted(periods, expected))
