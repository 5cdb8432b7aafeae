"""Attributions, gates and gradients where the events of a moment are one step."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import (
    event_attributions,
    gradient_flow,
    history_importance,
    lstm_gates,
)
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_y
from tests.inspection.models import (
    METHODS,
    SMALL,
    assert_complete,
    assert_complete_by_field,
    log_odds,
)

EVENTS = make_events(6).assign(
    when=lambda table: table["when"].dt.floor("60D") + pd.Timedelta("9h")
)
# Two identical lines in each moment, and a later event of the same day.
LINES = pd.concat([EVENTS, EVENTS, EVENTS.iloc[::2]], ignore_index=True)
LINES.loc[2 * len(EVENTS) :, "when"] += pd.Timedelta("3h")
LINES["number"] = np.arange(len(LINES))
ROWS = make_rows(6, n_cutoffs=2)


def attach(lines, **options):
    log = EventLog(lines.drop(columns="number"), "who", "when")
    return log.attach(ROWS, cutoff="at", **options)


X = attach(LINES)


def network(X=X, y=None, estimator=LSTMClassifier, moments=True, **options):
    model = make_history_pipeline(estimator(**{**SMALL, **options}))
    model.set_params(encoder__moments=moments)
    return model.fit(X, make_y(X) if y is None else y)


@pytest.fixture(scope="module")
def lstm():
    return network(learning_rate=0.1)


@pytest.mark.parametrize(
    ("moments", "lookback", "options"),
    [
        (True, None, {}),
        ("1D", "300D", {"cell": "gru", "pooling": "attention", "bptt_steps": 3}),
        ("100D", "300D", {"cell": "rnn", "num_layers": 2, "pooling": ["decay"]}),
        (True, "300D", {"bidirectional": True, "n_networks": 2}),
    ],
)
def test_completeness(moments, lookback, options):
    X = attach(LINES, lookback=lookback)
    model = network(X, moments=moments, learning_rate=0.1, **options)
    assert_complete_by_field(model, X)


@pytest.mark.parametrize("n_baselines", [0, 3])
def test_completeness_of_fields(lstm, n_baselines):
    found, outputs = event_attributions(
        lstm,
        X,
        "integrated_gradients",
        fields=["amount", "kind"],
        n_baselines=n_baselines,
        return_outputs=True,
    )
    np.testing.assert_allclose(outputs["output"], log_odds(lstm, X), atol=1e-5)
    assert_complete(found, outputs)


@pytest.mark.parametrize("estimator", [LSTMRegressor, LSTMSurvival])
def test_completeness_of_numbers(estimator):
    y = np.arange(len(X)) % 3 + 1.0
    if estimator is LSTMSurvival:
        y = pd.DataFrame({"event": np.arange(len(X)) % 2, "time": y})
    model = network(y=y, estimator=estimator)
    found, outputs = event_attributions(
        model, X, "integrated_gradients", return_outputs=True
    )
    np.testing.assert_allclose(outputs["output"], model.predict(X), rtol=1e-5)
    assert_complete(found, outputs)


def lines_of(found):
    """Lines of events, sorted by what is in the table."""
    events = found[found["position"].notna()].drop(columns="position")
    events = events.assign(value=events["value"].astype(str))
    keys = [name for name in events if name != "attribution"]
    return events.sort_values([*keys, "attribution"], ignore_index=True)


@pytest.mark.parametrize("by", ["event", "field"])
@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_lines(lstm, method, by):
    """Attributions go along with their lines, and identical lines have equal ones."""
    found = event_attributions(lstm, X, method, by=by)
    permuted = attach(LINES.sample(frac=1, random_state=0))
    other = event_attributions(lstm, permuted, method, by=by)
    found, other = lines_of(found), lines_of(other)
    np.testing.assert_allclose(other["attribution"], found["attribution"], atol=1e-5)
    pd.testing.assert_frame_equal(
        other.drop(columns="attribution"), found.drop(columns="attribution")
    )
    row = [int(X["history"].array.lengths.argmax())]
    lines = event_attributions(lstm, X.iloc[row], method, by=by)
    lines = lines[lines["position"].notna()]
    lines = lines.pivot(index="position", columns="field", values="attribution")
    events = X["history"].array[row].to_frame()
    groups = events.groupby([*events], dropna=False, sort=False, observed=True)
    equal = groups.ngroup().to_numpy()
    assert (np.bincount(equal) == 2).sum() > 3
    for number in range(equal.max() + 1):
        own = lines[equal == number]
        np.testing.assert_allclose(own, own.iloc[[0] * len(own)], atol=1e-6)


def test_blanked_events_against_changed_tensors(lstm):
    row = X.iloc[[int(X["history"].array.lengths.argmax())]]
    found = event_attributions(lstm, row, "blanking", fields=["amount", "kind"])
    encoded = lstm[:-1].transform(row)
    layout = encoded["history"].array.log.layout
    is_blanked = np.isin(layout.channels, ["amount", "amount_missing"])
    assert layout.codes == ("kind",)
    for i, attribution in enumerate(found["attribution"]):
        tensors = HistoryPadder().fit_transform(encoded)
        tensors["values"][0, i, :-1][is_blanked] = 0
        tensors["codes"][0, i] = 0
        p = lstm[-1].predict_proba(tensors)[0]
        expected = log_odds(lstm, row) - np.log(p[1] / p[0])
        np.testing.assert_allclose(attribution, expected[0], atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("moments", [True, "1D"])
def test_gates_and_gradients_of_a_moment(cell, moments):
    model = network(cell=cell, moments=moments, num_layers=2)
    gates = lstm_gates(model, X, as_frame=False)
    events = gates.events
    assert len(events) == X["history"].array.lengths.sum()
    flow = gradient_flow(model, X)
    assert len(flow) == len(events)
    time = events["time"].dt.floor("1D") if moments == "1D" else events["time"]
    moment = events.assign(time=time).groupby(["row", "time"]).ngroup().to_numpy()
    first = pd.Series(np.arange(len(moment))).groupby(moment).transform("first")
    assert (first != np.arange(len(moment))).mean() > 0.4
    for name in gates:
        if name != "events":
            np.testing.assert_array_equal(gates[name], gates[name][first])
    np.testing.assert_array_equal(flow["norm"], flow["norm"].to_numpy()[first])
    permuted = attach(LINES.sample(frac=1, random_state=0))
    other = lstm_gates(model, permuted, as_frame=False)
    np.testing.assert_array_equal(other["hidden_state"], gates["hidden_state"])


def test_importance_of_lines(lstm):
    y = make_y(X)
    options = {"last_events": [1, 3], "last_time": ["90D"], "n_repeats": 2}
    found = history_importance(lstm, X, y, "roc_auc", **options)
    permuted = attach(LINES.sample(frac=1, random_state=0))
    other = history_importance(lstm, permuted, y, "roc_auc", **options)
    assert found.baseline_score == other.baseline_score
    assert np.isfinite(found.importances_mean).all()
    is_last_time = found.table["group"] == "last time"
    np.testing.assert_array_equal(
        found.importances[is_last_time], other.importances[is_last_time]
    )


def test_two_histories_one_of_which_has_moments():
    clicks = make_events(6, seed=3)[["who", "when", "kind"]]
    clicks = clicks.drop_duplicates(["who", "when"])
    both = EventLog(clicks, "who", "when").attach(X, cutoff="at", name="clicks")
    model = network(both, moments="auto", learning_rate=0.1)
    layouts = model[0].layouts_
    assert layouts["history"].moments == 0
    assert layouts["clicks"].moments is None
    found, outputs = event_attributions(
        model, both, "integrated_gradients", by="field", return_outputs=True
    )
    assert_complete(found, outputs)
    assert set(found["history"].dropna()) == {"history", "clicks"}
    blanked = event_attributions(model, both, "blanking")
    lengths = [both[name].array.lengths.sum() for name in layouts]
    assert len(blanked) == sum(lengths)
