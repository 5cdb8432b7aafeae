import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from sklearn_seqcrm._recurrent.data._inputs import read_inputs
from sklearn_seqcrm._recurrent.explain._integrated_gradients import _MeanSlope
from sklearn_seqcrm.calibration import ConformalRegressor
from sklearn_seqcrm.ensemble import DiscreteTimeSurvival, RateRegressor, make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection import _explained_quantity, event_attributions
from sklearn_seqcrm.inspection._explained_quantity import unit_label
from sklearn_seqcrm.neural_network import LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_y
from sklearn_seqcrm.uplift import UpliftRegressor
from tests.inspection.models import (
    COLUMNS,
    METHODS,
    SMALL,
    assert_complete,
    log_odds,
    network,
)


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
    amounts = found["field"].str.extract("^(sum|mean) of amount, half-life ")[0]
    has_sums = {"squared_error": True, "poisson": "n_networks" in options}
    expected = ["mean", "sum"] if has_sums.get(options["loss"]) else ["mean"]
    assert sorted(amounts.dropna().unique()) == expected
    occluded = event_attributions(model, X, target=shift)
    assert occluded["attribution"].abs().max() > 0.1


def test_linear_parts(X):
    """With a head of zeros the output is a sum of one term per input."""
    y = 100.0 * X["history"].array.lengths
    model = network(X, y, LSTMRegressor)
    module = model[-1].net_.module_
    with torch.no_grad():
        module.head[-1].weight.zero_()
        module.linear.scaled.spread[-1] /= 1e6  # beyond the bend
    found = check_regression(model, X)
    data = read_inputs(model[-1], model[:-1].transform(X), reset=False, sums=True).data
    static, linear = data.linear_inputs, module.linear
    center, spread = linear.scaled.center.numpy(), linear.scaled.spread.numpy()
    objective = model[-1]._objective
    weight = linear.weights.weight[0].detach().numpy()
    ends = [
        np.clip((one - center) / spread, -1e3, 1e3)
        for one in (static, np.zeros_like(static))
    ]
    expected = (ends[0] - ends[1]) * weight * objective.scale * 2.0**objective.exponent
    layout = model[:-1].transform(X)["history"].array.log.layout
    sums = [name for name in found["field"].unique() if name.startswith("sum of ")]
    for name, column in [
        ("time since the last event", layout.row_features.index("since_last")),
        (sums[0], -len(layout.sums)),
        (sums[-1], -1),
    ]:
        lines = found[(found["field"] == name) & found["history"].notna()]
        assert np.abs(expected[:, column]).max() > 0
        np.testing.assert_allclose(
            lines["attribution"], expected[:, column], rtol=1e-3, atol=1e-3
        )


def test_slopes_where_an_input_hardly_moves():
    """A quotient of rounding errors is no slope, and that of the function is."""
    slope = _MeanSlope(torch.nn.Tanh())
    with torch.no_grad():
        for at in ([0.5, 0.5], [0.5, 1.5]):
            slope(torch.tensor(at))
    numbers = torch.tensor([0.5, 1.0], requires_grad=True)
    (found,) = torch.autograd.grad(slope(numbers).sum(), numbers)
    expected = [1 - np.tanh(0.5) ** 2, np.tanh(1.5) - np.tanh(0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


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


@pytest.mark.parametrize("wrap", ["rate", "search", "hybrid", "frozen", "conformal"])
def test_exposures_are_never_missing(X, wrap):
    X = X[["who", "at", "history"]].assign(years=1.5, other=np.arange(len(X)))
    trees = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2)
    model = RateRegressor(make_pipeline(HistoryAggregator(), trees), "years")
    if wrap == "search":  # whose own regressor has another exposure
        model.set_params(exposure="other")
        model = GridSearchCV(model, {"exposure": ["years"]}, cv=2)
    elif wrap == "frozen":
        model = FrozenEstimator(model.fit(X, np.arange(len(X))))
    elif wrap == "conformal":
        frozen = FrozenEstimator(model.fit(X, np.arange(len(X))))
        model = ConformalRegressor(frozen, confidence_level=0.5, random_state=0)
    elif wrap == "hybrid":
        lstm = LSTMRegressor(loss="poisson", exposure="years", **SMALL)
        model = make_hybrid(lstm)
    found = event_attributions(model.fit(X, np.arange(len(X))), X)
    assert set(found["field"]) == {"event", "other"}
    if wrap == "hybrid":
        with pytest.raises(
            TypeError, match=r"no gradients\. Pass its network, `lstm_`"
        ):
            event_attributions(model, X, "integrated_gradients")


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


@pytest.mark.parametrize("wrap", [None, "search", "frozen"])
def test_effects_of_several_treatments_by_label(X, wrap):
    """Label 1 is the first effect, and position 1 would be that of treatment 2."""
    treatment = np.arange(len(X)) % 3
    model = UpliftRegressor(DummyRegressor(), learner="t", control=0)
    if wrap == "search":
        model = GridSearchCV(model, {}, cv=2, scoring=lambda *_: 0.0)
    model.fit(X, 10.0 * treatment**2, treatment=treatment)
    if wrap == "frozen":
        model = FrozenEstimator(Pipeline([("uplift", model)]))
    for target, effect in ((1, 10), (2, 40)):
        _, outputs = event_attributions(model, X, target=target, return_outputs=True)
        np.testing.assert_allclose(outputs["output"], effect)
        assert (outputs["target"] == target).all()
    assert unit_label(model, "log_odds") == "effect"
    with pytest.raises(ValueError, match=r"its treatment, \[1, 2\]; got 0"):
        event_attributions(model, X, target=0)


def test_a_search_of_survival_models_predicts_risks(X):
    trees = make_pipeline(HistoryAggregator(), DiscreteTimeSurvival(DummyClassifier()))
    y = pd.DataFrame({"event": np.arange(len(X)) % 3 > 0, "time": np.arange(len(X))})
    model = GridSearchCV(trees, {}, cv=2, scoring=lambda *_: 0.0).fit(X, y)
    assert unit_label(model, "log_odds") == "risk"


def test_a_target_is_one_class(X):
    """A list of the classes is compared with them one by one, and is none of them."""
    model = network(X, np.array(["no", "yes"])[make_y(X)])
    for several in (["no", "yes"], np.array(["no", "yes"]), pd.Series(["no", "yes"])):
        with pytest.raises(ValueError, match=r"(?s)target=.*no.*yes.* is none"):
            event_attributions(model, X, target=several)


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_a_target_may_be_a_date(X, unit):
    dates = np.array(["2024-01-01", "2024-02-01"], f"M8[{unit}]")
    model = network(X, dates[make_y(X)])
    by_default = event_attributions(model, X)
    for target in (dates[1], pd.Timestamp(dates[1])):
        found = event_attributions(model, X, target=target)
        pd.testing.assert_frame_equal(found, by_default)


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


@pytest.fixture(scope="module")
def two_histories(X):
    """Rows with two history columns, and a network that was fitted on them."""
    log = X["history"].array.log
    more = log.attach(X, cutoff="at", lookback="300D", name="recent")
    return more, network(more)


@pytest.mark.parametrize("method", METHODS)
def test_last_events_and_several_histories(two_histories, method):
    more, model = two_histories
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
    monkeypatch.setattr(_explained_quantity, "_MAX_EVENTS", 30)
    found = event_attributions(model, X, n_jobs=1)
    pd.testing.assert_frame_equal(found, whole)
    lines = found[found["position"].notna()]
    frame = X["history"].array.to_frame()
    np.testing.assert_allclose(lines["attribution"], frame["amount"])
    assert lines["time"].tolist() == frame["day"].tolist()


def test_processes_get_a_log_of_their_own_customers(X, boosting, monkeypatch):
    """A pickled history has its own customers only, whose events have new places."""
    some = X[X["who"].isin(X["who"].unique()[2:4])]
    expected = [event_attributions(boosting, some, by=by) for by in ("event", "field")]

    def pickled(function):
        return lambda *given: pickle.loads(pickle.dumps((function, given, {})))

    monkeypatch.setattr(_explained_quantity, "delayed", pickled)
    for by, found in zip(("event", "field"), expected, strict=True):
        pd.testing.assert_frame_equal(event_attributions(boosting, some, by=by), found)


@pytest.mark.parametrize("is_multi", [False, True])
def test_columns_called_by_tuples(X, is_multi):
    """A tuple is one name, not a column of names."""
    names = pd.Index([("shop", name) for name in X.columns], tupleize_cols=is_multi)
    tuples = X.set_axis(names, axis=1)
    # All other outputs would be called by text, and these by tuples.
    boosting = HistGradientBoostingRegressor(min_samples_leaf=2, max_iter=5)
    model = make_pipeline(HistoryAggregator(remainder="drop"), boosting)
    y = make_y(X, (0.0, 1.0))
    expected = event_attributions(model.fit(X, y), X)
    found = event_attributions(model.fit(tuples, y), tuples)
    assert found["attribution"].tolist() == expected["attribution"].tolist()
    assert set(found["history"].dropna()) == {("shop", "history")}
    is_static = found["history"].isna()
    own = expected.loc[is_static, "field"]
    assert found.loc[is_static, "field"].tolist() == [("shop", one) for one in own]


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


@pytest.mark.parametrize("by", ["event", "field"])
@pytest.mark.parametrize("method", METHODS)
def test_no_fields_to_explain(X, lstm, method, by):
    message = r"fields=\[\] has no field to explain; there are \['amount'"
    with pytest.raises(ValueError, match=message):
        event_attributions(lstm, X, method, by=by, fields=[])


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
