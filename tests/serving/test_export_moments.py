"""ONNX graphs of pipelines whose networks read moments equal the pipeline."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.network import POOLINGS
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import export_onnx
from tests.clicks import DAY, END, clicks
from tests.serving.exports import (
    AFTER,
    CLOSE,
    EVENTS,
    NUMBER,
    PEOPLE,
    ROWS,
    SMALL,
    SOME,
    attach_both,
    check,
    check_both,
    rows_of,
    run,
    tensors_of,
)

pytest.importorskip("onnx")

LINES = EVENTS.assign(when=EVENTS["when"].dt.floor("120D") + pd.Timedelta("15h"))
LINES["when"] += pd.to_timedelta(4 * (np.arange(len(LINES)) % 4 == 0), unit="h")
LINES = LINES.sort_values("when", kind="stable", ignore_index=True)
LINES_LOG = EventLog(LINES, "who", "when", observed_until=AFTER)
LINES_ROWS = rows_of(LINES, SOME, AFTER)


def fit_moments(estimator, lookback=None, moments=True):
    X = LINES_LOG.attach(ROWS, cutoff="at", lookback=lookback)
    model = make_history_pipeline(estimator).set_params(encoder__moments=moments)
    return model.fit(X, NUMBER % 2)


@pytest.mark.parametrize(
    ("cell", "num_layers", "moments"),
    [("lstm", 2, True), ("gru", 1, "1D"), ("rnn", 1, "400D"), ("lstm", 1, "6h")],
)
def test_every_cell(cell, num_layers, moments, tmp_path):
    network = LSTMClassifier(
        cell=cell, num_layers=num_layers, pooling=POOLINGS, n_networks=1
    )
    model = fit_moments(network.set_params(**SMALL), moments=moments)
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    expected = {"probabilities": model.predict_proba(X)}
    assert len(check(model, tmp_path, LINES_ROWS, X, expected)) == 3


@pytest.mark.parametrize("pooling", [*POOLINGS, ("max", "last")])
def test_every_pooling(pooling, tmp_path):
    network = LSTMRegressor(pooling=pooling, n_networks=2, **SMALL)
    model = fit_moments(network)
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    check(model, tmp_path, LINES_ROWS, X, {"prediction": model.predict(X)})


def test_events_without_fields(tmp_path):
    events = LINES[["who", "when"]]
    log = EventLog(events, "who", "when", observed_until=AFTER)
    X = log.attach(PEOPLE[["who"]], cutoff=AFTER)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    model.set_params(encoder__moments=True).fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, PEOPLE[["who"]], AFTER), X, expected)


def test_vectors_of_levels(tmp_path):
    """Levels without a code of their own have vectors in the JSON."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": rng.choice(PEOPLE["who"], 900),
            "when": EVENTS["when"].min()
            + pd.to_timedelta(rng.integers(0, 40, 900), "D"),
            "product": [f"p{i}" for i in rng.zipf(1.3, 900).clip(max=250)],
        }
    )
    events.loc[::9, "product"] = None
    events = events.sort_values("when", kind="stable")
    people = PEOPLE[["who"]]

    def attach(table):
        log = EventLog(table, "who", "when", observed_until=AFTER)
        return log.attach(people, cutoff=AFTER)

    X = attach(events)
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=2))
    model.set_params(encoder__moments=True).fit(X, np.arange(len(X)) % 2)
    assert model[0].layouts_["history"].vectors == (("product", 8),)
    events.iloc[3, 2] = "never seen"
    X = attach(events)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, AFTER), X, expected)


def test_periods_in_local_time(tmp_path):
    # 15:00 in UTC is the next day in Tokyo, and 13:00 is not.
    events, after = LINES.copy(), AFTER.tz_localize("UTC")
    events["when"] = LINES["when"].dt.tz_localize("UTC")
    events["due"] = LINES["due"].dt.tz_localize("UTC")
    events.loc[::3, "when"] -= pd.Timedelta("2h")
    events = events.sort_values("when", kind="stable")
    people = SOME[["who", "age", "city"]]
    X = EventLog(events, "who", "when", observed_until=after).attach(
        people, cutoff=after
    )
    model = make_history_pipeline(LSTMClassifier(**SMALL, n_networks=1))
    model.set_params(encoder__moments="1D", encoder__time_zone="Asia/Tokyo")
    model.fit(X, np.arange(len(X)) % 2)
    expected = {"probabilities": model.predict_proba(X)}
    check(model, tmp_path, rows_of(events, people, after), X, expected)
    moments = HistoryPadder().fit_transform(model[:-1].transform(X)).moments[""]
    of_day = events.groupby("who")["when"]
    days = of_day.agg(lambda when: when.dt.tz_convert("Asia/Tokyo").dt.date.nunique())
    assert (moments.max(axis=1) + 1).tolist() == days[people["who"]].tolist()
    assert (days != of_day.agg(lambda when: when.dt.date.nunique())).any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_moments_are_cut_and_padded(bidirectional, tmp_path):
    """Rows see a part of a first or last moment; padding has no effect."""
    network = LSTMClassifier(
        pooling=POOLINGS, bidirectional=bidirectional, **SMALL, n_networks=1
    )
    model = fit_moments(network, lookback="240D", moments="1D")
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    cut = LINES["when"].sort_values().iloc[len(LINES) // 2] + pd.Timedelta("1h")
    rows = PEOPLE.assign(at=[*[cut, AFTER] * (len(PEOPLE) // 2)])
    X = LINES_LOG.attach(rows, cutoff="at", lookback="240D")
    tensors = tensors_of(model, X)
    expected = model.predict_proba(X)
    assert_allclose(run(path, tensors)["probabilities"], expected, **CLOSE)
    padding = np.arange(tensors["values"].shape[1]) >= tensors["lengths"][:, None]
    assert padding[:, 0].any()
    assert not padding[:, -1].all()
    values, moments = tensors["values"].copy(), tensors["moments"].copy()
    values[padding], moments[padding] = 200.0, 7
    moments[:, 1::2] += np.where(padding[:, 1::2], 5, 0)
    other = {**tensors, "values": values, "moments": moments * 3 + 11}
    assert_allclose(run(path, other)["probabilities"], expected, **CLOSE)
    # Truncated histories begin within a moment, whose number is not 0.
    padder = HistoryPadder(max_length=2)
    padded = padder.fit_transform(model[:-1].transform(X))
    found = run(path, tensors_of(model, X, max_length=2))["probabilities"]
    assert_allclose(found, model[-1].predict_proba(padded), **CLOSE)


def test_one_of_two_history_columns_has_moments(tmp_path):
    network = LSTMRegressor(cell="gru", n_networks=2, pooling=POOLINGS, **SMALL)
    model = make_history_pipeline(network)
    # "auto": most events of one log stand with others, and few of the other.
    model.set_params(encoder__moments="auto")
    model.fit(attach_both(LINES_LOG, ROWS, "at"), NUMBER % 5)
    layouts = model[0].layouts_
    assert layouts["history"].moments == 0
    assert layouts["visits"].moments is None
    check_both(model, tmp_path, LINES_LOG, LINES)


def test_lines_of_a_moment_in_any_order(tmp_path):
    """In floating point, sums of a graph depend a little on the order."""
    model = fit_moments(LSTMClassifier(pooling=POOLINGS, **SMALL, n_networks=1))
    path = export_onnx(model, tmp_path / "model.onnx")[0]
    X = LINES_LOG.attach(SOME, cutoff=AFTER)
    expected = run(path, tensors_of(model, X))["probabilities"]
    log = EventLog(LINES.iloc[::-1], "who", "when", observed_until=AFTER)
    found = run(path, tensors_of(model, log.attach(SOME, cutoff=AFTER)))
    assert_allclose(found["probabilities"], expected, rtol=1e-5)


@pytest.mark.parametrize("network", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize("moments", [False, True])
def test_visits(network, moments, tmp_path):
    """The reader counts visits where the encoder does."""
    events = clicks(60).rename(columns={"time": "when"})
    log = EventLog(events, "who", "when", observed_until=END)
    people = pd.DataFrame({"who": [*range(9), -1]})
    X = log.snapshots([30 * DAY, END])
    model = make_history_pipeline(network(**SMALL, n_networks=1))
    model.set_params(encoder__moments=moments).fit(X, np.arange(len(X)) % 2)
    assert "n_visits" in model[0].layouts_["history"].row_features
    X = log.attach(people, cutoff=END)
    if network is LSTMClassifier:
        expected = {"probabilities": model.predict_proba(X)}
    else:
        expected = {"prediction": model.predict(X)}
    check(model, tmp_path, rows_of(events, people, END), X, expected)
