import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from sklearn_seqcrm._recurrent.data._batches import Batch
from sklearn_seqcrm._recurrent.data._inputs import read_inputs
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection import (
    EventAttributionDisplay,
    HistoryDisplay,
    _explained,
    event_attributions,
)
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_table, make_y

matplotlib.use("agg")
SMALL = {"hidden_size": 6, "head_sizes": (8,), "max_epochs": 2, "random_state": 0}
METHODS = ["occlusion", "blanking", "integrated_gradients"]
COLUMNS = ["row", "history", "position", "customer", "time", "field", "value"]


def network(X, y=None, kind=LSTMClassifier, **options):
    model = make_history_pipeline(kind(**{**SMALL, **options}))
    return model.fit(X, make_y(X) if y is None else y)


def assert_complete(found, outputs, atol=1e-3):
    """Attributions of each row sum to its output less the baseline."""
    sums = found.groupby("row")["attribution"].sum()
    sums = sums.reindex(outputs.index, fill_value=0)  # rows without a line
    expected = outputs["output"] - outputs["baseline"]
    np.testing.assert_allclose(sums, expected, atol=atol)


def log_odds(model, X, k=1):
    p = model.predict_proba(X)[:, k]
    return np.log(p / (1 - p))


@pytest.fixture(scope="module", name="X")
def _table():
    return make_table(n_customers=6, n_cutoffs=2)


@pytest.fixture(scope="module")
def lstm(X):
    return network(X)


@pytest.fixture(scope="module")
def boosting(X):
    model = make_pipeline(
        HistoryAggregator(),
        HistGradientBoostingClassifier(min_samples_leaf=2, max_iter=5, random_state=0),
    )
    return model.fit(X.drop(columns=["city", "joined"]), make_y(X))


def cut_by_hand(X, i, drop=None, change=None):
    """Row `i` over a log that was built without an event, or with another value."""
    one = X.iloc[[i]]
    events = one["history"].array.to_frame()
    if change is not None:
        position, field = change
        events[field] = events[field].astype(object)
        events.iloc[position, events.columns.get_loc(field)] = None
        events[field] = events[field].astype(
            X["history"].array.log.to_frame()[field].dtype
        )
    if drop is not None:
        events = events.iloc[np.arange(len(events)) != drop]
    # Events of another customer: without them the log might be empty.
    rest = X["history"].array.log.to_frame().assign(who="somebody else")
    log = EventLog(pd.concat([events, rest]), "who", "when", categorical=[])
    return log.attach(one.drop(columns="history"), cutoff="at")


@pytest.mark.parametrize("kind", ["boosting", "network"])
def test_occlusion_against_a_log_without_the_event(X, boosting, lstm, kind):
    model = boosting if kind == "boosting" else lstm
    found = event_attributions(model, X)
    assert list(found) == [*COLUMNS, "attribution"]
    events = found[found["position"].notna()]
    assert len(events) == X["history"].array.lengths.sum()
    whole = log_odds(model, X)
    for line in events.sample(8, random_state=0).itertuples():
        without = cut_by_hand(X, line.row, drop=line.position)
        expected = whole[line.row] - log_odds(model, without)[0]
        assert line.attribution == pytest.approx(expected, abs=1e-5)
    fields = event_attributions(model, X, by="field")
    events = fields[fields["position"].notna()]
    for line in events.sample(8, random_state=0).itertuples():
        without = cut_by_hand(X, line.row, change=(line.position, line.field))
        expected = whole[line.row] - log_odds(model, without)[0]
        assert line.attribution == pytest.approx(expected, abs=1e-5)


def test_columns_of_the_table(X, boosting):
    found = event_attributions(boosting, X, by="field")
    events = found[found["position"].notna()].reset_index(drop=True)
    frame = X["history"].array.to_frame()
    position = frame.groupby(level=0).cumcount()
    expected = pd.concat(
        [
            pd.DataFrame(
                {
                    "row": frame.index,
                    "history": "history",
                    "position": position.to_numpy(),
                    "customer": frame["who"],
                    "time": frame["when"],
                    "field": field,
                    "value": frame[field].astype(object),
                }
            )
            for field in ("amount", "kind", "due")
        ]
    ).sort_values(["row", "position"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(events[COLUMNS], expected, check_dtype=False)
    statics = found[found["position"].isna()]
    assert statics["history"].isna().all()
    assert statics["time"].isna().all()
    assert list(statics["field"][statics["row"] == 3]) == [
        "age",
        "city",
        "joined",
        "member",
    ]
    age = statics[statics["field"] == "age"]
    np.testing.assert_array_equal(age["value"].astype(float), X["age"])
    missing = X.assign(age=np.nan)
    expected = log_odds(boosting, X) - log_odds(boosting, missing)
    np.testing.assert_allclose(age["attribution"], expected, atol=1e-12)


def test_model_of_the_third_last_event():
    class ThirdLast(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return self.classes_[(self.decision_function(X) > 0).astype(int)]

        def decision_function(self, X):
            frame = X["history"].array.to_frame()
            amounts = frame["amount"].fillna(0)[(frame["kind"] == "A").to_numpy()]
            from_end = amounts.groupby(level=0).cumcount(ascending=False)
            return (
                amounts[from_end == 2].reindex(range(len(X)), fill_value=0).to_numpy()
            )

    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(20), 12),
            "day": np.tile(np.arange(12), 20),
            "amount": rng.normal(size=240),
            "kind": rng.choice(list("AB"), 240),
        }
    )
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": np.arange(20)}))
    model = ThirdLast().fit(X, np.arange(20) % 2)
    found = event_attributions(model, X, by="field").query("field == 'amount'")
    kinds = X["history"].array.to_frame()["kind"].to_numpy()
    is_a = found.assign(is_a=kinds == "A").query("is_a")
    third = is_a.groupby("row").cumcount(ascending=False) == 2
    assert (found["attribution"].drop(is_a.index[third]) == 0).all()
    values = is_a[third]["value"].astype(float)
    np.testing.assert_allclose(is_a[third]["attribution"], values)
    other = event_attributions(model, X, by="field", target=0)
    np.testing.assert_allclose(
        other.query("field == 'amount'")["attribution"], -found["attribution"]
    )
    with pytest.raises(ValueError, match="has no predict_proba"):
        event_attributions(model, X, unit="probability")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "pooling": "attention", "bptt_steps": 3},
        {"cell": "rnn", "num_layers": 2, "head_sizes": (5, 4)},
        {"bidirectional": True, "head_sizes": ()},
        {"n_networks": 2, "num_layers": 2},
    ],
)
def test_completeness(X, options):
    model = network(X, learning_rate=0.1, **options)
    found, outputs = event_attributions(
        model, X, "integrated_gradients", by="field", return_outputs=True
    )
    np.testing.assert_allclose(outputs["output"], log_odds(model, X), atol=1e-5)
    assert (outputs["output"] - outputs["baseline"]).abs().max() > 0.3
    assert_complete(found, outputs)
    by_event = event_attributions(model, X, "integrated_gradients")
    events = found[found["position"].notna()].groupby(["row", "position"])
    whole = by_event[by_event["position"].notna()]
    np.testing.assert_allclose(whole["attribution"], events["attribution"].sum())
    assert {"amount", "kind", "due", "when"} < set(found["field"])
    assert {"age", "city", "joined", "member", "since_last"} < set(found["field"])


def test_integrated_gradients_against_torch(X):
    """Against a sum over many points of plain gradients, one row at a time."""
    model = network(X, learning_rate=0.1)
    found = event_attributions(model, X, "integrated_gradients", by="field")
    encoded = model[:-1].transform(X)
    net = model[-1].net_
    row = int(X["history"].array.lengths.argmax())
    data = read_inputs(model[-1], encoded, reset=False).data
    [part] = Batch(data, [np.array([row])], share=False)
    module = net.module_.eval()
    steps = module.readers[0].embed(part.histories[0].values, part.histories[0].codes)
    steps, total, n = steps.detach(), 0.0, 200
    for k in range(n):
        at = ((k + 0.5) / n * steps).requires_grad_()
        static = (k + 0.5) / n * part.static
        [output] = module(type(part)(part.histories, static, None), [at])
        total = total + torch.autograd.grad(output[1] - output[0], at)[0] / n
    expected = (total * steps)[0].sum(dim=1)
    events = found[(found["row"] == row) & found["position"].notna()]
    actual = events.groupby("position")["attribution"].sum()
    assert expected.abs().max() > 0.02
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_independent_of_torch_settings(X, lstm):
    method = "integrated_gradients"
    state, module = torch.get_rng_state(), lstm[-1].net_.module_
    modes = [one.training for one in module.modules()]
    expected = event_attributions(lstm, X, method)
    with torch.inference_mode():
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    with torch.no_grad(), torch.autocast("cpu"):
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    torch.set_default_dtype(torch.float64)
    try:
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert [one.training for one in module.modules()] == modes
    assert all(one.requires_grad for one in module.parameters())


def test_paths_of_some_fields(X):
    """The baseline is the output of the row without these fields."""
    model = network(X, learning_rate=0.1)
    options = {"by": "field", "fields": ["amount", "kind"], "return_outputs": True}
    found, outputs = event_attributions(model, X, "integrated_gradients", **options)
    assert found["field"].unique().tolist() == ["amount", "kind"]
    assert found["position"].notna().all()
    encoded = model[:-1].transform(X)
    row = int(X["history"].array.lengths.argmax())
    data = read_inputs(model[-1], encoded, reset=False).data
    layout = encoded["history"].array.log.layout
    [part] = Batch(data, [np.array([row])], share=False)
    module = model[-1].net_.module_.eval()
    batch = part.histories[0]
    steps = module.readers[0].embed(batch.values, batch.codes).detach()
    n_channels = len(layout.channels)
    for j, source in enumerate(layout.sources[:n_channels]):
        if source in ("amount", "kind"):
            steps[:, :, j] = 0
    steps[:, :, n_channels:] = 0  # the only code is that of the kind
    [output] = module(part, [steps]).detach()
    expected = float(output[1] - output[0])
    assert outputs["baseline"][row] == pytest.approx(expected, abs=1e-5)
    assert abs(outputs["baseline"][row] - outputs["output"][row]) > 0.01
    assert_complete(found, outputs)
    whole, _ = event_attributions(
        model, X, "integrated_gradients", **{**options, "by": "event"}
    )
    np.testing.assert_allclose(
        whole["attribution"],
        found.groupby(["row", "position"])["attribution"].sum(),
        atol=1e-6,
    )


def test_paths_from_other_events(X):
    model = network(X, learning_rate=0.1, n_networks=2)
    options = {"by": "field", "fields": ["amount"], "return_outputs": True}
    method = "integrated_gradients"
    found, outputs = event_attributions(model, X, method, n_baselines=3, **options)
    again, _ = event_attributions(model, X, method, n_baselines=3, **options)
    pd.testing.assert_frame_equal(found, again)
    assert_complete(found, outputs)
    other, _ = event_attributions(
        model, X, method, n_baselines=3, random_state=1, **options
    )
    assert (other["attribution"] - found["attribution"]).abs().max() > 1e-4
    # Equal values in all events: baseline and input are equal.
    events = make_events(6).assign(amount=5.0)
    log = EventLog(events, "who", "when", categorical=[])
    same = log.attach(X.drop(columns="history"), cutoff="at")
    found = event_attributions(
        network(same), same, method, n_baselines=1, fields=["amount"]
    )
    np.testing.assert_allclose(found["attribution"], 0, atol=1e-7)
    # Rows without any event have nothing to draw from.
    empty = X["history"].array.log.attach(
        X.drop(columns="history"), cutoff="2000-01-01"
    )
    assert event_attributions(
        model, empty, method, n_baselines=2, fields=["kind"]
    ).empty


@pytest.mark.parametrize("fields", [None, ["amount", "due"]])
def test_blanking(X, fields):
    """For a row with one event, it is the sum of integrated gradients."""
    model = network(X, learning_rate=0.1)
    log = X["history"].array.log
    statics = X.drop(columns="history")
    one = log.attach(statics, cutoff="at", lookback="300D").pipe(
        lambda Z: Z[Z["history"].array.lengths == 1]
    )
    assert len(one)
    blank = event_attributions(model, one, "blanking", fields=fields)
    found = event_attributions(model, one, "integrated_gradients", fields=fields)
    found = found[found["position"].notna()]
    if fields is not None:  # otherwise row features are on the path as well
        np.testing.assert_allclose(
            blank["attribution"], found["attribution"], atol=1e-3
        )
    blank, outputs = event_attributions(
        model, X, "blanking", fields=fields, return_outputs=True
    )
    np.testing.assert_allclose(outputs["output"], log_odds(model, X), atol=1e-5)
    assert outputs["baseline"].isna().all()
    assert blank["attribution"].abs().max() > 0.01
    parts = event_attributions(model, X, "blanking", by="field", fields=fields)
    names = ["amount", "due"] if fields else ["amount", "kind", "due", "when"]
    assert set(parts["field"]) == set(names)
    same = event_attributions(model, X, "blanking", by="field", fields=["due"])
    np.testing.assert_allclose(
        parts.loc[parts["field"] == "due", "attribution"], same["attribution"]
    )


def test_signs_of_blanking_and_gradients_agree():
    """Blanking and integrated gradients have the same baseline."""
    rng = np.random.default_rng(0)
    n, length = 300, 15
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n), length),
            "day": np.cumsum(rng.integers(1, 9, n * length)),
            "amount": rng.normal(size=n * length),
            "kind": rng.choice(list("AB"), n * length),
        }
    )
    Z = EventLog(events, "who", "day").attach(pd.DataFrame({"who": np.arange(n)}))
    amount = (events["amount"] * (events["kind"] == "A")).to_numpy().reshape(n, length)
    y = (amount @ np.linspace(0, 1, length) > 0).astype(int)
    model = network(Z, y, max_epochs=6, learning_rate=0.01)
    found = event_attributions(model, Z[:60], "integrated_gradients")
    blank = event_attributions(model, Z[:60], "blanking").rename(
        columns={"attribution": "blank"}
    )
    both = found.merge(blank[["row", "position", "blank"]], on=["row", "position"])
    both["size"] = both["blank"].abs()
    strongest = both.sort_values("size").groupby("row").tail(10)
    assert (strongest["blank"] * strongest["attribution"] > 0).mean() > 0.9


def test_occlusion_of_some_fields(X, boosting):
    both = event_attributions(boosting, X, fields=["amount", "kind"])
    assert both["position"].notna().all()
    assert set(both["field"]) == {"event"}
    all_fields = event_attributions(boosting, X, by="field")
    one = event_attributions(boosting, X, by="field", fields=["kind"])
    expected = all_fields[all_fields["field"] == "kind"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, expected, check_dtype=False)
    alone = event_attributions(boosting, X, fields=["kind"])
    np.testing.assert_allclose(alone["attribution"], one["attribution"])


def test_other_targets(X):
    y = make_y(X, classes=["a", "b", "c"])
    model = network(X, y)
    codes = np.argmax(model.predict_proba(X), axis=1)
    p = model.predict_proba(X)
    for method in ("occlusion", "integrated_gradients"):
        _, outputs = event_attributions(model, X, method, return_outputs=True)
        assert list(outputs["target"]) == list(np.array(["a", "b", "c"])[codes])
        expected = np.log(p / (1 - p))[np.arange(len(X)), codes]
        np.testing.assert_allclose(outputs["output"], expected, atol=1e-5)
        found, outputs = event_attributions(
            model, X, method, target="c", unit="probability", return_outputs=True
        )
        np.testing.assert_allclose(outputs["output"], p[:, 2], atol=1e-6)
    assert_complete(found, outputs)


def check_regression(model, X, target=None):
    """Integrated gradients start at a row of zeros, and sum to the prediction."""
    method = "integrated_gradients"
    found, outputs = event_attributions(
        model, X, method, by="field", target=target, return_outputs=True
    )
    predicted = model.predict(X)
    predicted = predicted if target is None else predicted[:, target]
    scale = np.ptp(predicted)
    assert scale > 0
    np.testing.assert_allclose(outputs["output"], predicted, rtol=1e-4)
    assert_complete(found, outputs, atol=1e-3 * scale)
    return found


@pytest.mark.parametrize(
    ("options", "shift"),
    [
        ({"loss": "squared_error"}, None),
        ({"loss": "squared_error", "n_networks": 2}, None),
        ({"loss": "poisson"}, None),
        ({"loss": "poisson", "exposure": "age", "n_networks": 2}, None),
        ({"loss": "squared_error"}, 1),
        ({"loss": "zero_inflated_lognormal"}, 0),
        ({"loss": "quantile", "quantile": [0.2, 0.5, 0.9]}, None),
    ],
)
def test_units_of_regressors(X, options, shift):
    y = 100.0 * (1 + X["history"].array.lengths)
    X = X.assign(age=np.arange(1.0, 1 + len(X)))
    if shift is not None:
        y = np.column_stack([y, 5 * X["history"].array.lengths[::-1]])
    model = network(X, y, LSTMRegressor, **options)
    found = check_regression(model, X, shift)
    if options["loss"] == "squared_error":
        assert {"amount_sum_0", "amount_0"} < set(found["field"])
    occluded = event_attributions(model, X, target=shift)
    assert occluded["attribution"].abs().max() > 0.1


def test_linear_parts(X):
    """With a head of zeros the output is a sum of one term per input."""
    y = 100.0 * X["history"].array.lengths
    model = network(X, y, LSTMRegressor)
    module = model[-1].net_.module_
    with torch.no_grad():
        module.head[-1].weight.zero_()
        module.linear.spread[-1] /= 1e6  # beyond the bend
    found = check_regression(model, X)
    data = read_inputs(model[-1], model[:-1].transform(X), reset=False, sums=True).data
    static, linear = data.linear_inputs, module.linear
    objective = model[-1]._objective
    weight = linear.weights.weight[0].detach().numpy()
    ends = [
        np.clip((one - linear.center.numpy()) / linear.spread.numpy(), -1e3, 1e3)
        for one in (static, np.zeros_like(static))
    ]
    expected = (ends[0] - ends[1]) * weight * objective.scale * 2.0**objective.exponent
    layout = model[:-1].transform(X)["history"].array.log.layout
    for name, column in [
        ("since_last", layout.row_features.index("since_last")),
        (layout.sums[0], -len(layout.sums)),
        (layout.sums[-1], -1),
    ]:
        lines = found[(found["field"] == name) & found["history"].notna()]
        assert np.abs(expected[:, column]).max() > 0
        np.testing.assert_allclose(
            lines["attribution"], expected[:, column], rtol=1e-3, atol=1e-3
        )
        if column < 0:
            np.testing.assert_allclose(lines["value"].astype(float), static[:, column])


def test_exposures(X):
    X = X.assign(age=np.arange(1.0, 1 + len(X)), score=2.0)
    y = X["history"].array.lengths + X["age"]
    model = network(X, y, LSTMRegressor, loss="poisson", exposure="age")
    with torch.no_grad():
        model[-1].net_.module_.head[-1].weight.zero_()
    found = check_regression(model, X)
    others = found[found["field"] != "age"]
    np.testing.assert_allclose(others["attribution"], 0, atol=1e-6)
    lines = found[found["field"] == "age"]
    slope = model[-1].net_.module_.slope.item()
    expected = model.predict(X) * (1 - (X["age"].mean() / X["age"]) ** slope)
    np.testing.assert_allclose(lines["attribution"], expected, rtol=1e-3, atol=1e-3)


def test_survival_networks(X):
    y = pd.DataFrame(
        {"event": np.arange(len(X)) % 3 > 0, "time": 1.0 + np.arange(len(X))}
    )
    model = network(X, y, LSTMSurvival, n_networks=2, learning_rate=0.05)
    check_regression(model, X)


def test_several_labels(X):
    y = np.column_stack([make_y(X, [0, 1]), make_y(X, [1, 0])])
    model = network(X, y)
    for method in ("occlusion", "integrated_gradients"):
        _, outputs = event_attributions(model, X, method, target=1, return_outputs=True)
        np.testing.assert_allclose(outputs["output"], log_odds(model, X), atol=1e-5)
    with pytest.raises(ValueError, match=r"give target=, its position, \[0, 1\]"):
        event_attributions(model, X)


@pytest.mark.parametrize("method", METHODS)
def test_future_events_have_no_effect(method):
    events = make_events(6)
    cutoff = pd.Timestamp("2023-06-01")
    rows = pd.DataFrame({"who": sorted(events["who"].unique())})
    later = (events["when"] >= cutoff).to_numpy()
    assert later.any()
    other = events.assign(
        amount=events["amount"].mask(later, 1e9),
        kind=events["kind"].mask(later, "order"),
    )
    X, Z = (
        EventLog(some, "who", "when", categorical=[]).attach(rows, cutoff=cutoff)
        for some in (events, other)
    )
    model = network(X)
    found = [event_attributions(model, some, method, by="field") for some in (X, Z)]
    pd.testing.assert_frame_equal(*found)
    assert (found[0]["time"].dropna() < cutoff).all()


@pytest.mark.parametrize("method", METHODS)
def test_empty_histories_have_no_lines(X, lstm, method):
    model = lstm
    log = X["history"].array.log
    empty = log.attach(X.drop(columns="history"), cutoff="2000-01-01")
    found = event_attributions(model, empty, method)
    assert len(found) or method == "blanking"  # has lines of events only
    assert found["position"].isna().all()
    alone = log.attach(pd.DataFrame({"who": ["c1", "new"]}), cutoff="2000-01-01")
    model = network(X[["who", "at", "history"]])
    for by in ("event", "field"):
        only = event_attributions(model, alone, method, by=by, fields=["amount"])
        assert list(only) == [*COLUMNS, "attribution"]
        assert only.empty


@pytest.mark.parametrize("method", METHODS)
def test_last_events_and_several_histories(X, method):
    more = X["history"].array.log.attach(X, cutoff="at", lookback="300D", name="recent")
    model = network(more)
    found = event_attributions(model, more, method, by="field")
    some = event_attributions(model, more, method, by="field", last_events=2)
    n_events = [
        np.minimum(more[name].array.lengths, 2).sum() for name in ("history", "recent")
    ]
    fields = 3 if method == "occlusion" else 4
    assert some["position"].notna().sum() == fields * sum(n_events)
    keys = [*COLUMNS[:5], "field"]
    both = some.merge(found, on=keys, how="left")
    np.testing.assert_allclose(both["attribution_x"], both["attribution_y"], atol=1e-5)
    jobs = event_attributions(model, more, method, by="field", last_events=2, n_jobs=1)
    pd.testing.assert_frame_equal(jobs, some)


def test_numbers_as_times_and_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": rng.integers(0, 5, 60),
            "day": np.arange(60),
            "amount": rng.normal(size=60),
        }
    )
    X = EventLog(events, "who", "day").attach(pd.DataFrame({"who": range(5), "x": 1.0}))

    def spent(X):
        amount = X["history"].array.to_frame()["amount"]
        return amount.groupby(level=0).sum().reindex(range(len(X))).to_frame()

    model = make_pipeline(FunctionTransformer(spent), LinearRegression())
    model.fit(X, spent(X)["amount"])
    whole = event_attributions(model, X)
    monkeypatch.setattr(_explained, "_MAX_EVENTS", 30)
    found = event_attributions(model, X, n_jobs=1)
    pd.testing.assert_frame_equal(found, whole)
    lines = found[found["position"].notna()]
    frame = X["history"].array.to_frame()
    np.testing.assert_allclose(lines["attribution"], frame["amount"])
    assert lines["time"].tolist() == frame["day"].tolist()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "shap"}, ValueError, "method"),
        ({"target": 7}, ValueError, r"target=7 is none of the classes \[0, 1\]"),
        ({"method": "integrated_gradients"}, TypeError, "Boosting.* has no gradients"),
        ({"method": "blanking"}, TypeError, "Boosting.* has no gradients"),
        ({"last_events": 0}, ValueError, "last_events"),
        ({"fields": ["price"]}, KeyError, r"has the fields \['price'\]; there are"),
        ({"n_baselines": 2}, ValueError, "give fields="),
    ],
)
def test_errors(X, boosting, change, error, message):
    with pytest.raises(error, match=message):
        event_attributions(boosting, X, **change)


def test_errors_of_other_estimators(X, lstm):
    with pytest.raises(TypeError, match="needs raw histories"):
        event_attributions(lstm, HistoryEncoder().fit_transform(X))
    model = network(X, make_y(X, (0.0, 1.0)), LSTMRegressor)
    with pytest.raises(ValueError, match="has neither"):
        event_attributions(model, X, target=1)
    margins = make_pipeline(
        HistoryAggregator(remainder="drop"),
        FunctionTransformer(np.nan_to_num),
        LinearSVC(),
    ).fit(X, make_y(X))
    found = event_attributions(margins, X[:3])
    assert np.isfinite(found["attribution"]).all()


# Displays -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_display_of_many_rows(X, lstm):
    model = lstm
    found = event_attributions(model, X, "integrated_gradients", by="field")
    display = EventAttributionDisplay.from_attributions(found, max_events=3)
    array = X["history"].array
    filled = np.flatnonzero(array.lengths >= 2)
    lines = found[found["field"] == "amount"].set_index(["row", "position"])
    values = [abs(lines.at[(i, array.lengths[i] - 2), "attribution"]) for i in filled]
    assert display.means.at[2, "amount"] == pytest.approx(np.mean(values))
    assert list(display.means.index) == [1, 2, 3]
    others = found[found["position"].isna()]["attribution"].abs().sum()
    assert display.of_rows == pytest.approx(others / len(X))
    heights = [bar.get_height() for bar in display.ax_.patches]
    assert sum(heights) == pytest.approx(display.means.sum().sum() + display.of_rows)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == [
        "1",
        "2",
        "3",
        "statics and\nrow features",
    ]
    _, ax = plt.subplots()
    other = EventAttributionDisplay.from_estimator(model, X, max_events=3, ax=ax)
    assert other.ax_ is ax
    assert list(other.means) == ["event"]
    other.figure_.canvas.draw()


def test_a_field_named_others_keeps_its_bar():
    """The sum of the fields without a color is apart from it."""
    names = ["others", *"abcdefg"]
    means = pd.DataFrame([np.arange(8.0, 0, -1)], index=[1], columns=names)
    ax = EventAttributionDisplay(means=means).plot().ax_
    assert [bar.get_height() for bar in ax.patches] == [8, 7, 6, 5, 4, 3, 2 + 1]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == sorted([*names[:6], "other fields"])


def test_displays_name_the_explained_quantity(X, lstm):
    class Decision(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return self.classes_[(self.decision_function(X) > 0).astype(int)]

        def decision_function(self, X):
            return X["history"].array.lengths - 2.0

    y = pd.DataFrame({"time": np.arange(1.0, len(X) + 1), "event": True})
    labels = {
        "log odds": lstm,
        "decision function": Decision().fit(X, make_y(X)),
        "risk": network(X, y, LSTMSurvival),
    }
    for label, model in labels.items():
        many = EventAttributionDisplay.from_estimator(model, X[:3], max_events=1)
        assert many.ax_.get_ylabel() == f"mean |attribution|\n({label})"
        assert f", {label}" in HistoryDisplay.from_estimator(model, X).title
    amounts = pd.DataFrame({"a": np.arange(len(X)), "b": 1.0}).to_numpy()
    several = network(X, amounts, LSTMRegressor)
    assert (
        ", prediction of 0: "
        in HistoryDisplay.from_estimator(several, X, target=0).title
    )


def test_display_of_a_row(X, lstm):
    model = lstm
    row = int(X["history"].array.lengths.argmax())
    display = HistoryDisplay.from_estimator(model, X, row)
    one = X["history"].array[row]
    events = display.events
    assert list(events["time"]) == list(one.times)
    kinds = one.to_frame()["kind"].astype(object).fillna("(missing)")
    assert list(events["lane"]) == list(kinds)
    found = event_attributions(model, X)
    own = found[(found["row"] == row) & found["position"].notna()]
    np.testing.assert_allclose(events["attribution"], own["attribution"], atol=1e-5)
    value = log_odds(model, X)[row]
    assert (
        display.ax_.get_title("left") == f"{one.customer}, log odds of 1: {value:.3g}"
    )
    display.figure_.canvas.draw()
    _, ax = plt.subplots()
    some = event_attributions(model, X, last_events=1)
    part = HistoryDisplay.from_attributions(some, X, row, size_field="amount", ax=ax)
    assert part.events["attribution"].notna().sum() == 1
    # Events without an attribution are crosses.
    crosses, circles = ax.collections
    assert len(crosses.get_offsets()) == len(part.events) - 1
    assert len(crosses.get_paths()[0].vertices) == 4
    assert len(circles.get_offsets()) == 1
    part.figure_.canvas.draw()
    empty = int(X["history"].array.lengths.argmin())
    HistoryDisplay.from_estimator(model, X, empty).figure_.canvas.draw()
    with pytest.raises(KeyError, match="no field 'price'"):
        HistoryDisplay.from_attributions(some, X, row, size_field="price")
    with pytest.raises(IndexError):
        HistoryDisplay.from_attributions(some, X, 99)


def test_a_vector_is_one_field():
    """Attributions of its components are summed in one line."""
    X = make_table(n_customers=6, n_cutoffs=2, n_components=3)
    model = network(X)
    for method in ("occlusion", "integrated_gradients"):
        lines, ends = event_attributions(
            model, X, method, by="field", return_outputs=True
        )
        of_events = lines[lines["position"].notna()]
        own = of_events[of_events["field"] == "vector"]
        frame = X["history"].array.to_frame()
        assert len(own) == len(frame)
        for shown, value in zip(own["value"], frame["vector"], strict=True):
            assert (shown is None and value is None) or (shown == value).all()
        assert own["attribution"].abs().max() > 0
    assert_complete(lines, ends, atol=1e-4)
    whole = event_attributions(model, X, method)
    by_event = of_events.groupby(["row", "position"])["attribution"].sum()
    expected = whole[whole["position"].notna()].set_index(["row", "position"])
    np.testing.assert_allclose(by_event, expected["attribution"], atol=1e-9)
    HistoryDisplay.from_estimator(model, X.iloc[[0]])
    plt.close("all")
